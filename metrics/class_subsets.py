"""The classes that metrics are computed of, one by one: `--subset` and `--per-class`."""

from collections.abc import Sequence
from dataclasses import dataclass

from dnnlib.errors import InputError
from dnnlib.text import printable
from metrics.dataset_checks import CheckedDataset


@dataclass(frozen=True)
class ClassSubset:
    """A class.

    Attributes:
        idx: Its number.
        name: Its name; empty if it is unknown.
        sizes: Its number of images in each dataset.
    """

    idx: int
    name: str
    sizes: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.idx} {printable(self.name)}".rstrip()


@dataclass(frozen=True)
class ClassRequest:
    """The options `--subset` and `--per-class`.

    Attributes:
        subset: Number or name of a class; `None` without the option.
        per_class: Whether all classes are wanted.
    """

    subset: str | None = None
    per_class: bool = False

    def __post_init__(self) -> None:
        if self.subset is not None and self.per_class:
            raise InputError("--per-class computes every class: leave out --subset")

    def __bool__(self) -> bool:
        return self.subset is not None or self.per_class

    @property
    def option(self) -> str:
        """The option that was given."""
        return "--per-class" if self.per_class else "--subset"

    def choose(self, datasets: Sequence[CheckedDataset]) -> tuple[list[ClassSubset], list[str]]:
        """The classes of datasets.

        Args:
            datasets: They have been opened with their labels.

        Returns:
            The classes that all datasets have, in their order, and notes on the classes that are
            left out.

        Raises:
            ValueError: If a dataset has no classes, if their names differ, or if a dataset has no
                image of the class.
        """
        try:
            sizes = [checked.dataset.class_sizes() for checked in datasets]
        except ValueError as error:
            raise InputError(f"{self.option}: {error}; labels are in dataset.json") from error
        names = self._names(datasets)
        shared = sorted(set(sizes[0]).intersection(*sizes[1:]))
        if self.subset is not None:
            shared = [self._find(self.subset, names, datasets, sizes)]
        classes = [
            ClassSubset(
                idx, names[idx] if idx < len(names) else "", tuple(size[idx] for size in sizes)
            )
            for idx in shared
        ]
        if not classes:
            paths = " and ".join(checked.path for checked in datasets)
            raise InputError(f"{self.option}: {paths} have no class in common")
        return classes, [] if self.subset is not None else _notes(datasets, sizes, shared)

    def _names(self, datasets: Sequence[CheckedDataset]) -> list[str]:
        """The names of the classes, which must be the same wherever they are known."""
        known = [(checked.path, checked.dataset.class_names()) for checked in datasets]
        known = [(path, names) for path, names in known if names]
        for path, names in known[1:]:
            if names != known[0][1]:
                raise InputError(
                    f"{self.option}: {known[0][0]} and {path} number their classes in different "
                    "ways (class_names in dataset.json)"
                )
        return known[0][1] if known else []

    def _find(
        self,
        text: str,
        names: list[str],
        datasets: Sequence[CheckedDataset],
        sizes: list[dict[int, int]],
    ) -> int:
        """The number of the class that the option names."""
        if text in names:
            idx = names.index(text)
        elif text.isascii() and text.isdigit():
            idx = int(text)
        else:
            some = f"; there are {', '.join(map(printable, names[:12]))}" if names else ""
            raise InputError(f"--subset={text}: neither the number nor the name of a class{some}")
        for checked, size in zip(datasets, sizes, strict=True):
            if idx not in size:
                raise InputError(
                    f"--subset={text}: {checked.path} has no image of this class; it has the "
                    f"classes {_describe(sorted(size))}"
                )
        return idx


def _notes(
    datasets: Sequence[CheckedDataset], sizes: list[dict[int, int]], shared: list[int]
) -> list[str]:
    """What is to say about classes that only some of the datasets have."""
    found = []
    for checked, size in zip(datasets, sizes, strict=True):
        if rest := sorted(set(size) - set(shared)):
            found.append(
                f"Note: left out are the classes {_describe(rest)}, which only {checked.path} has."
            )
    return found


def _describe(classes: Sequence[int]) -> str:
    """Numbers for people: `0, 1, 2`, and at most twelve of them."""
    more = f" and {len(classes) - 12} more" if len(classes) > 12 else ""
    return ", ".join(map(str, classes[:12])) + more
