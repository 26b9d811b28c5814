"""Tracks: how they are written, their values, and the transforms that they make."""

import numpy as np
import pytest

from dnnlib.errors import InputError
from generation import tracks
from generation.tracks import Track
from torch_utils import latents

TIMES = np.array([0, 0.25, 0.5, 0.75])


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("2", [2, 2, 2, 2]),
        ("-1", [-1, -1, -1, -1]),
        ("0..4", [0, 1, 2, 3]),
        ("-1..-0.5", [-1, -0.875, -0.75, -0.625]),
        ("0:0,0.5:1,1:0", [0, 0.5, 1, 0.5]),
        ("0.25:8,0.75:4", [8, 8, 6, 4]),  # level outside
        ("0.5:3", [3, 3, 3, 3]),
        ("1e-1...3", [0.1, 0.15, 0.2, 0.25]),
    ],
)
def test_values_of_a_track(text, values):
    np.testing.assert_allclose(tracks.parse(text)(TIMES), values, atol=1e-12)


@pytest.mark.parametrize("text", ["0,1..4,-1", "0:0,1,1:4,-1"])
def test_values_may_have_commas(text):
    pair = lambda text: tuple(float(x) for x in text.split(","))  # noqa: E731
    got = tracks.parse(text, pair)(TIMES)
    np.testing.assert_allclose(got, [[0, 1], [1, 0.5], [2, 0], [3, -0.5]], atol=1e-12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x:1,1:2", "'x' in 'x:1,1:2' is not a time; write keys as TIME:VALUE"),
        ("nan:1", "is not a time"),
        ("0:0.5..1", r"'0:0\.5\.\.1' mixes FROM\.\.TO with keys; write keys as TIME:VALUE"),
        ("0..1:2", r"mixes FROM\.\.TO with keys"),
        ("0:1,2:3", r"time 2 is not from 0 \(the start\) to 1"),
        ("-0.5:1", "time -0.5 is not from 0"),
        ("0:1,0.5:2,0.5:3", "time 0.5 comes after 0.5; times must increase"),
    ],
)
def test_bad_times_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        tracks.parse(text)


def test_a_track_without_keys_is_refused():
    with pytest.raises(InputError, match="0 times and 0 values"):
        Track((), ())


def test_shares_of_keys_add_up_and_only_neighbours_have_some():
    shares = tracks.parse("0:5,0.5:7,1:5").weights(np.array([0, 0.125, 0.5, 1]))
    expected = [[1, 0, 0], [0.75, 0.25, 0], [0, 1, 0], [0, 0, 1]]
    np.testing.assert_allclose(shares, expected)


def test_constants_are_known():
    assert tracks.parse("0.7").constant == 0.7
    assert tracks.parse("0.7..0.7").constant == 0.7
    assert tracks.parse("0.7..0.8").constant is None


def test_content_is_scaled_then_turned_then_shifted():
    matrices = tracks.content_matrices(
        tracks.constant((0.1, 0.2)), tracks.parse("0..360"), tracks.parse("1..5")
    )
    # At a quarter: twice as large, turned by 90 degrees counterclockwise as y points down.
    point = matrices(np.array([0.25]))[0] @ [0.3, 0, 1]
    np.testing.assert_allclose(point, [0.1, 0.2 - 0.6, 1], atol=1e-12)


def test_content_that_stays_has_no_matrices():
    still = tracks.constant((0.0, 0.0)), tracks.constant(0.0), tracks.constant(1.0)
    assert tracks.content_matrices(*still) is None
    assert tracks.content_matrices() is None


@pytest.mark.parametrize(
    ("zoom", "least"), [(lambda t: 1 - 2 * t, "-1"), (tracks.parse("1..0.0005"), "0.000[4-9]")]
)
def test_zooms_too_small_to_invert_are_refused(zoom, least):
    matrices = tracks.content_matrices(zoom=zoom)
    message = f"--zoom: a zoom must stay above 0.001, but it reaches {least}"
    with pytest.raises(InputError, match=message):
        matrices(np.array([0, 0.75, 1 - 1e-9]))
    smallest = tracks.content_matrices(zoom=tracks.constant(tracks.MIN_ZOOM * (1 + 1e-6)))
    assert latents.have_inverse(smallest(TIMES)).all()
