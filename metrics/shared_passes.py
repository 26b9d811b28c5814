"""Passes over images that several metrics share: images are generated once, for all of them.

First all metrics are planned: each function runs up to the point where it asks for features, and
its requests are noted. When a metric then needs features, the same pass computes the features that
later metrics have requested of the same images, and keeps them until those metrics take them.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from metrics.feature_stats import FeatureStats

Items = tuple[tuple[str, Any], ...]  # of a dictionary, sorted
REAL = "real "  # the beginning of the description of real images


@dataclass(frozen=True)
class Request:
    """Features of images, and what is kept of the features. Equal requests have equal answers.

    Attributes:
        images: All that the images depend on, as a text; see `describe`.
        max_items: Largest number of images.
        detector_url: Published address of the feature network.
        detector_kwargs: How the feature network is called.
        stats_kwargs: Kind of the statistics: `capture_all`, `capture_mean_cov`.
    """

    images: str
    max_items: int | None
    detector_url: str
    detector_kwargs: Items
    stats_kwargs: Items

    @property
    def is_real(self) -> bool:
        """Whether the images are the real ones."""
        return self.images.startswith(REAL)

    @property
    def call(self) -> tuple[str, Items]:
        """The call of a feature network."""
        return self.detector_url, self.detector_kwargs

    def new_stats(self, num_items: int | None = None) -> FeatureStats:
        """Statistics to collect the features in, of `num_items` images or else `max_items`."""
        max_items = self.max_items if num_items is None else num_items
        return FeatureStats(max_items=max_items, **dict(self.stats_kwargs))


class Planned(Exception):
    """Ends a metric's function when its requests are noted."""


class SharedPasses:
    """Requests of the metrics of one network, and the features that are ready for them.

    All metrics must have the same generator, device, feature networks and seed.

    Attributes:
        is_planning: Whether the function of a metric runs only up to its requests.
    """

    def __init__(self) -> None:
        self.is_planning = False
        self._waiting: Counter[Request] = Counter()  # the number of metrics
        self._ready: dict[Request, FeatureStats] = {}

    @contextlib.contextmanager
    def planning(self) -> Iterator[None]:
        """Note the requests of a metric whose function is called inside."""
        self.is_planning = True
        try:
            yield
        except Exception:  # other errors come again when the metric is computed
            pass
        finally:
            self.is_planning = False

    def note(self, *requests: Request) -> None:
        """Note all that a metric asks for, and end its function.

        Raises:
            Planned: Always.
        """
        self._waiting.update(requests)
        raise Planned

    def take(self, request: Request) -> FeatureStats | None:
        """The answer to a request of one metric, `None` if nobody has computed it."""
        self._waiting[request] -= 1
        if self._waiting[request] > 0:
            return self._ready.get(request)
        del self._waiting[request]
        return self._ready.pop(request, None)

    def waiting(self) -> list[Request]:
        """Requests of metrics that are not computed yet."""
        return list(self._waiting)

    def companions(self, request: Request) -> list[Request]:
        """Other requests for features of the same images that have no answer."""
        return [
            other
            for other in self._waiting
            if other.images == request.images and other != request and other not in self._ready
        ]

    def keep(self, request: Request, stats: FeatureStats) -> None:
        """Keep an answer if a metric waits for it."""
        if self._waiting[request] > 0:
            self._ready[request] = stats

    def drop(self, requests: list[Request]) -> None:
        """Share these requests no more; metrics that wait for them make passes of their own."""
        for request in requests:
            del self._waiting[request]


def describe(**facts: Any) -> str:
    """A text for facts: equal for equal facts, whatever their order."""
    return repr(
        {key: items(x) if isinstance(x, Mapping) else x for key, x in sorted(facts.items())}
    )


def items(mapping: Mapping[str, Any]) -> Items:
    """The items of a dictionary, in an order that does not depend on its own."""
    return tuple(sorted(mapping.items()))
