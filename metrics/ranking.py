"""Which of two networks a metric prefers, by the name of its value."""

from collections.abc import Iterable
from dataclasses import dataclass

from metrics import metric_main


@dataclass(frozen=True)
class Ranking:
    """A value that tells which of two networks is better.

    Attributes:
        value_name: Name of the value, such as `pr50k3_full_recall`.
        metric: Name of the metric that has it.
        higher_is_better: Whether the better network has the higher value.
    """

    value_name: str
    metric: str
    higher_is_better: bool

    def is_better(self, value: float, than: float) -> bool:
        """Whether a value is better than another one; equal values are not."""
        return value > than if self.higher_is_better else value < than

    def describe(self) -> str:
        """`the lowest fid50k_full`."""
        return f"the {'highest' if self.higher_is_better else 'lowest'} {self.value_name}"


def of_metric(name: str) -> list[Ranking]:
    """The values of a metric that rank networks; there may be none."""
    metric = metric_main.get_metric(name)
    return [Ranking(name + end, name, metric.higher_is_better) for end in metric.ranked_by]


def of_metrics(names: Iterable[str]) -> dict[str, Ranking]:
    """The same of several metrics, by the name of the value."""
    return {ranking.value_name: ranking for name in names for ranking in of_metric(name)}
