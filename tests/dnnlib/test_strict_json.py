"""JSON without NaN and infinities."""

import json
import math

import numpy as np
import pytest

from dnnlib import strict_json

INF, NAN = math.inf, math.nan


def parse(text: str):
    """As strict readers do, such as those of browsers."""

    def refuse(token):
        raise AssertionError(token)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    ("value", "copy", "paths"),
    [
        (1.5, 1.5, []),
        (NAN, None, ["the value"]),
        ({"a": [1, NAN, {"b": -INF}]}, {"a": [1, None, {"b": None}]}, ["a[1]", "a[2].b"]),
        ({"a": {"num": 0, "mean": np.float64(NAN)}}, {"a": {"num": 0, "mean": None}}, ["a.mean"]),
        ([True, None, "NaN", 10**400, 1e308], [True, None, "NaN", 10**400, 1e308], []),
        ((INF,), [None], ["[0]"]),
    ],
)
def test_nonfinite_numbers_are_found_and_replaced(value, copy, paths):
    assert strict_json.replace_nonfinite(value) == (copy, paths)
    assert parse(strict_json.dumps(copy)) == copy
    if not paths:
        assert strict_json.dumps(value, indent=2) == json.dumps(value, indent=2)
        return
    with pytest.raises(ValueError, match="JSON has no NaN and no infinities: ") as error:
        strict_json.dumps(value)
    assert str(error.value).endswith(", ".join(paths))
