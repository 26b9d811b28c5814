"""Inspect a source: counts, sizes, labels, problems, and a sheet of some of its images."""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import PIL.Image
from tqdm import tqdm

from data.conversion.convert import MAX_DEFAULT_WORKERS
from data.conversion.source import Source, SourceImage
from data.conversion.worker_processes import map_ordered
from data.dataset_info import PixelDigest, digest_of
from data.dataset_json import Label
from data.listing import note_repeated
from dnnlib import moved
from dnnlib.util import is_power_of_two

__getattr__ = moved.names_of(__name__)
SHEET_COLUMNS, SHEET_ROWS, CELL = 8, 6, 128
BACKGROUND = 32  # grey
MAX_SUGGESTED_SIZE = 1024  # of images to convert to
MAX_LISTED = 8  # sizes, classes, files in a list
SMALL_DATASET = 1000

Advice = Callable[[str, int, bool], Iterable[str]]


@dataclass
class Inspection:
    """The findings about a source."""

    num_images: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)  # width and height
    modes: Counter[str] = field(default_factory=Counter)  # L or RGB
    labels: list[Label | None] = field(default_factory=list)
    class_names: list[str] | None = None
    label_notes: tuple[str, ...] = ()
    label_gaps: str | None = None  # the message if only some images have labels
    are_labels_in_place: bool = True  # whether training finds them
    unusable: list[str] = field(default_factory=list)  # "<name> <problem>"
    num_duplicates: int = 0
    pixels: str | None = None  # see `PixelDigest`; `None` if not all images were read
    notes: Counter[str] = field(default_factory=Counter)  # number of images by change in loading
    left_out: str | None = None  # files that are no images, for people
    sheet: PIL.Image.Image | None = None

    @property
    def num_transparent(self) -> int:
        """Number of the unusable images that `dataset_tool.py --background` makes usable."""
        return sum("is partly transparent" in text for text in self.unusable)


@dataclass
class _Found:
    name: str
    label: Label | None
    problem: str | None = None
    size: tuple[int, int] = (0, 0)
    mode: str = ""
    digest: bytes = b""
    thumbnail: PIL.Image.Image | None = None
    notes: Counter[str] = field(default_factory=Counter)


def inspect_source(
    source: Source, max_images: int | None = None, num_workers: int | None = None
) -> Inspection:
    """Decode all images of a source, or the first `max_images`, in several processes."""
    count = source.count if max_images is None else min(source.count, max(max_images, 1))
    num_shown = min(count, SHEET_COLUMNS * SHEET_ROWS)
    shown = {i * count // num_shown for i in range(num_shown)}  # evenly spread
    jobs = ((image, i in shown) for i, image in zip(range(count), source.images, strict=False))
    num_workers = num_workers or min(os.cpu_count() or 1, MAX_DEFAULT_WORKERS)
    inspection = Inspection(
        class_names=source.labels.class_names,
        left_out=source.left_out,
        notes=note_repeated(source.num_repeated),
        label_notes=source.labels.notes,
        label_gaps=source.gaps,
        are_labels_in_place=source.labels.are_in_place or not source.labels.by_name,
    )
    digests: set[bytes] = set()
    pixels = PixelDigest()
    thumbnails = []
    with (
        source.reading(),
        contextlib.closing(map_ordered(_look_at, jobs, min(num_workers, -(-count // 64)))) as found,
        tqdm(found, "Inspecting", total=count, unit="img", leave=False, disable=None) as progress,
    ):
        for image in progress:
            inspection.num_images += 1
            if image.problem is not None:
                inspection.unusable.append(f"{image.name} {image.problem.partition(';')[0]}")
                continue
            inspection.sizes[image.size] += 1
            inspection.modes[image.mode] += 1
            inspection.labels.append(image.label)
            inspection.notes.update(image.notes)
            inspection.num_duplicates += image.digest in digests
            digests.add(image.digest)
            pixels.add(image.digest)
            if image.thumbnail is not None:
                thumbnails.append(image.thumbnail)
    if inspection.num_images == source.count and not inspection.unusable:
        inspection.pixels = pixels.text()
    inspection.sheet = make_sheet(thumbnails)
    return inspection


def make_sheet(thumbnails: list[PIL.Image.Image]) -> PIL.Image.Image | None:
    """Small images side by side on grey; `None` if there are none."""
    if not thumbnails:
        return None
    columns = min(len(thumbnails), SHEET_COLUMNS)
    rows = -(-len(thumbnails) // columns)
    sheet = PIL.Image.new("RGB", (columns * CELL, rows * CELL), (BACKGROUND,) * 3)
    for i, image in enumerate(thumbnails):
        left, top = i % columns * CELL, i // columns * CELL
        sheet.paste(image, (left + (CELL - image.width) // 2, top + (CELL - image.height) // 2))
    return sheet


def find_problems(inspection: Inspection) -> Iterator[str]:
    """Describe obstacles to training on the images, and probable mistakes."""
    if inspection.unusable:
        yield f"{len(inspection.unusable)} images cannot be used (--on-error=skip leaves them out):"
        yield from (f"  {text}" for text in inspection.unusable[:MAX_LISTED])
        if len(inspection.unusable) > MAX_LISTED:
            yield f"  ... and {len(inspection.unusable) - MAX_LISTED} more"
    if num := inspection.num_transparent:
        yield (
            f"{num} of them are partly transparent: dataset_tool.py --background=white puts them on"
            " white; train.py takes folders and ZIPs of RGBA images as they are, with --aug=noaug"
        )
    if len(inspection.sizes) > 1:
        yield f"{len(inspection.sizes)} different sizes; training needs one"
    if any(width != height for width, height in inspection.sizes):
        num = sum(n for (w, h), n in inspection.sizes.items() if w != h)
        yield f"{num} images are not square"
    elif any(not is_power_of_two(width) for width, _ in inspection.sizes):
        yield "the side is no power of two"
    if len(inspection.modes) > 1:
        yield "some images are grey, others RGB; convert all to grey or all to RGB"
    if inspection.label_gaps is not None:
        unlabelled = sum(label is None for label in inspection.labels)
        yield f"{unlabelled} images have no label: {inspection.label_gaps}"
    classes = Counter(label for label in inspection.labels if isinstance(label, int))
    if classes:
        if missing := max(classes) + 1 - len(classes):
            yield f"{missing} class numbers below the largest do not occur"
        if len(classes) > 1 and max(classes.values()) > 20 * min(classes.values()):
            yield "the largest class has more than 20 times the images of the smallest"
    if inspection.num_duplicates:
        yield f"{inspection.num_duplicates} images are exact copies of others"
    if 0 < inspection.num_images < SMALL_DATASET:
        yield f"fewer than {SMALL_DATASET} images: start from a trained network (--resume)"


def _look_at(job: tuple[SourceImage, bool]) -> _Found:
    (name, load, label), is_shown = job
    try:
        picture, found_notes = load()
    except (OSError, ValueError) as error:
        return _Found(name, label, problem=str(error))
    digest = digest_of(picture.pixels)
    found = _Found(name, label, None, picture.size, picture.mode, digest, notes=found_notes)
    if is_shown:
        image = picture.image
        image.thumbnail((CELL, CELL))
        factor = CELL // max(image.size)  # small images are enlarged by repeating pixels
        size = image.width * factor, image.height * factor
        found.thumbnail = image.convert("RGB").resize(size, PIL.Image.Resampling.NEAREST)
    return found
