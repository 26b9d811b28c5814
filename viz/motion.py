"""Animations that move from one seed to the next."""

from dataclasses import dataclass

from dnnlib.cli import MAX_SEED


@dataclass
class SeedMotion:
    """Whether the seed moves, and its progress from one seed to the next, 0 to 1."""

    is_animated: bool = False
    progress: float = 0

    def advance(self, seed: int, num_seeds: float) -> int:
        """The seed after a move by `num_seeds`; fractions add up."""
        self.progress += num_seeds
        seed += int(self.progress)
        self.progress %= 1
        return seed


def wrapped(seed: int) -> int:
    """Wrap a number to a valid seed; after the last seed comes 0."""
    return seed % (MAX_SEED + 1)
