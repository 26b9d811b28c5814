"""Limits on how often something may happen, in bounded memory."""

import time
from collections import OrderedDict
from collections.abc import Callable

MAX_SOURCES = 4096  # that are remembered


class Rate:
    """A limit of `per_sec` events a second, after a first burst.

    Args:
        burst: Events that may happen at once.
        per_sec: Events a second from then on.
        clock: Time in seconds.
    """

    def __init__(
        self, burst: float, per_sec: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._per_sec = per_sec
        self._clock = clock
        self._left = burst
        self._last_sec = clock()

    def wait_sec(self) -> float:
        """Seconds until the next event may happen; 0 if it may happen now."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._last_sec) * self._per_sec)
        self._last_sec = now
        # Without a tolerance, rounding could leave a wait that is too short for any clock.
        return 0.0 if self._left > 1 - 1e-6 else (1 - self._left) / self._per_sec

    def take(self) -> float:
        """Count an event that may happen now; otherwise return the seconds until it may."""
        wait_sec = self.wait_sec()
        if wait_sec == 0:
            self._left -= 1
        return wait_sec


class Rates:
    """The same limit for each of many sources; those without events for longest are forgotten."""

    def __init__(
        self, burst: float, per_sec: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = (burst, per_sec, clock)
        self._rates: OrderedDict[str, Rate] = OrderedDict()

    def wait_sec(self, source: str) -> float:
        """As for `Rate`; a source that is not known may act at once."""
        rate = self._rates.get(source)
        return 0.0 if rate is None else rate.wait_sec()

    def take(self, source: str) -> float:
        """As for `Rate`."""
        rate = self._rates.pop(source, None) or Rate(*self._limits)
        self._rates[source] = rate  # the latest is last
        if len(self._rates) > MAX_SOURCES:
            self._rates.popitem(last=False)
        return rate.take()
