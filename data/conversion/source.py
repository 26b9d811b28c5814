"""A source of images, and an image that is read when it is needed."""

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
    """An image that is read only when and where it is needed.

    `load` can be pickled. It returns the picture, and counts of what was changed or left out. The
    message of its `ValueError` completes "<name> ..."; a remedy follows a semicolon. The message
    of its `OSError` can be anything.
    """

    name: str  # for messages
    load: Callable[[], tuple[Picture, Counter[str]]]
    label: Label | None = None


@dataclass(frozen=True)
class Source:
    """Images in output order, their number and labels, and omitted files of the source."""

    images: Iterator[SourceImage]
    count: int
    labels: Labels = field(default_factory=lambda: Labels({}))  # if images have names
    gaps: str | None = None  # the message if only some images have labels
    left_out: str | None = None  # files that are no images, for people
    num_repeated: int = 0  # images that symbolic links make appear more than once

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Close the files of the source after the block, even if not all images were read."""
        try:
            yield
        finally:
            if isinstance(self.images, Generator):
                self.images.close()


def refuse_unlabelled(images: Iterable[SourceImage], lack: str) -> Iterator[SourceImage]:
    """Make it an error to load an image without label; `lack` completes the message."""
    for image in images:
        yield image if image.label is not None else image._replace(load=partial(_refuse, lack))


def _refuse(reason: str) -> tuple[Picture, Counter[str]]:
    raise InputError(f"{reason}; add it, or leave such files out with --on-error=skip")
