"""A metric's value together with facts about it."""

from collections.abc import Mapping
from typing import Any


class Value(float):
    """A value of a metric that brings along facts about itself, such as its standard error.

    It is a number like any other. `metric_main.calc_metric` enters the facts in the record, under
    the name that the metric gives the value.

    Args:
        value: The number.
        **facts: By their field in the record; finite numbers, texts, and lists and dictionaries of
            these.
    """

    facts: dict[str, Any]

    def __new__(cls, value: float, **facts: Any) -> "Value":
        self = super().__new__(cls, value)
        self.facts = facts
        return self


def facts_by_field(results: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """The facts of all values: field of the record -> name of the value -> fact."""
    fields: dict[str, dict[str, Any]] = {}
    for name, value in results.items():
        for field, fact in getattr(value, "facts", {}).items():
            fields.setdefault(field, {})[name] = fact
    return fields
