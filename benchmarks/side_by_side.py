"""Rows of comparisons whose sides take turns, so that a slow moment hits all of them."""

from collections.abc import Callable, Iterator, Mapping
from statistics import median

from benchmarks import memory, timing
from benchmarks.gpu_plan import Plan
from benchmarks.report import Row

HEADER = ("comparison", "side", "ms", "spread", "relative to the first", "peak GB")


def alternate(
    plan: Plan,
    calls: Mapping[str, Callable[[], object]],
    measure: Callable[..., timing.Timing] = timing.measure_kernels,
) -> dict[str, list[float]]:
    """Median seconds of each call, in each round."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(plan.num_rounds):
        for name, call in calls.items():
            timed = measure(call, plan.device, plan.num_runs, budget_sec=0.05)
            found[name].append(timed.median_sec)
    return found


def rows(
    comparison: str,
    found: Mapping[str, list[float]],
    peaks: Mapping[str, int | None] | None = None,
) -> Iterator[Row]:
    """Rows for `HEADER`.

    Args:
        comparison: Name of the comparison.
        found: Seconds of each side, in each round.
        peaks: Peak memory of each side.
    """
    first = median(next(iter(found.values()), [1.0]))
    for name, seconds in found.items():
        timed = timing.Timing(tuple(seconds), None)
        row = [comparison, name, f"{timed.median_sec * 1e3:.4g}", f"{timed.spread:.0%}"]
        row.append(f"{timed.median_sec / first:.3f}")
        yield [*row, memory.gigabytes((peaks or {}).get(name))]
