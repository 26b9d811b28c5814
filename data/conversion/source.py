"""What a source of images is."""

import contextlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from data.conversion.labels import Labels
from data.dataset_json import Label
from data.decoding import Picture
from dnnlib.errors import InputError


class SourceImage(NamedTuple):
    """An image that is read where and when it is needed.

    `load` is picklable. It returns the picture, and what was changed or left out to get it, with
    how often. Of its errors, a `ValueError` says a phrase that completes "<name> ...", with the
    remedy after a semicolon; an `OSError` may say anything.
    """

    name: str  # for messages
    load: Callable[[], tuple[Picture, Counter[str]]]
    label: Label | None = None


@dataclass(frozen=True)
class Source:
    """Images in output order, how many, and what is left out of the source, for people."""

    images: Iterator[SourceImage]
    count: int
    labels: Labels = field(default_factory=lambda: Labels({}))  # if images have names
    gaps: str | None = None  # what is wrong if some images have labels and others have none
    left_out: str | None = None
    num_repeated: int = 0  # images that symbolic links make appear more than once

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Close what the images come from, when enough of them have been read."""
        try:
            yield
        finally:
            if isinstance(self.images, Generator):
                self.images.close()


def refuse_unlabelled(images: Iterable[SourceImage], lack: str) -> Iterator[SourceImage]:
    """Where labels were asked for, or are there, an image without one cannot be used."""
    for image in images:
        yield image if image.label is not None else image._replace(load=partial(_refuse, lack))


def _refuse(reason: str) -> tuple[Picture, Counter[str]]:
    raise InputError(f"{reason}; add it, or leave such files out with --on-error=skip")
