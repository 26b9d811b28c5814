"""How good and how large moving pictures are, by what the connection has taken so far."""

SLOW_SEC, FAST_SEC = 0.1, 0.05  # transfer of one picture that is too long, and that leaves room
VERY_SLOW_SEC = 0.3
FIRST_PATIENCE, LAST_PATIENCE = 8, 256  # fast pictures before a better one is tried
# From good to small: a factor for the quality, and a divisor for width and height.
LEVELS = ((1.0, 1), (0.75, 1), (0.5, 1), (0.5, 2), (0.5, 4), (0.25, 4))


class Pace:
    """Chooses quality and size.

    A very slow picture, or two slow ones in a row, make the next ones smaller. A single slow one
    may have any cause. Some fast pictures in a row make the next ones better. If these are slow,
    the pace waits twice as long before it tries them again.

    Args:
        quality: Quality of the best pictures, 1 to 100.
    """

    def __init__(self, quality: int) -> None:
        self._best = quality
        self._level = 0
        self._patience = FIRST_PATIENCE
        self._num_fast = self._num_slow = 0  # in a row
        self._is_trying = False  # the level was raised, and has not proved itself yet

    @property
    def quality(self) -> int:
        """Quality of the next picture, 1 to 100."""
        return max(round(self._best * LEVELS[self._level][0]), 1)

    @property
    def reduction(self) -> int:
        """Divisor for width and height of the next picture."""
        return LEVELS[self._level][1]

    def add(self, transfer_sec: float) -> None:
        """Learn how long the transfer of a picture took."""
        is_slow = transfer_sec > SLOW_SEC
        self._num_slow = self._num_slow + 1 if is_slow else 0
        if self._num_slow == 2 or transfer_sec > VERY_SLOW_SEC:
            if self._is_trying:
                self._patience = min(2 * self._patience, LAST_PATIENCE)
            self._level = min(self._level + 1, len(LEVELS) - 1)
            self._num_fast, self._num_slow, self._is_trying = 0, 0, False
            return
        self._num_fast = self._num_fast + 1 if transfer_sec < FAST_SEC else 0
        if self._num_fast < self._patience:
            return
        self._num_fast = 0
        if self._is_trying:
            self._patience = FIRST_PATIENCE
        self._is_trying = self._level > 0
        self._level = max(self._level - 1, 0)
