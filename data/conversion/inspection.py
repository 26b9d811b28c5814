"""What is in a source: counts, sizes, labels, problems, and a sheet of some of its images."""

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import PIL.Image
from tqdm import tqdm

from data import notes
from data.conversion.convert import COLOURS, MAX_DEFAULT_WORKERS
from data.conversion.labels import count_classes, describe_classes
from data.conversion.parallel import map_ordered
from data.conversion.sources import Source, SourceImage
from data.conversion.transform import suggest_size
from data.dataset_json import Label
from data.listing import note_repeated
from dnnlib.util import is_power_of_two

SHEET_COLUMNS, SHEET_ROWS, CELL = 8, 6, 128
BACKGROUND = 32  # grey
MAX_LISTED = 8  # sizes, classes, files in a list
MAX_SUGGESTED_SIZE = 1024
SMALL_DATASET = 1000

Advice = Callable[[str, int, bool], Iterable[str]]


@dataclass
class Inspection:
    """What was found in a source."""

    num_images: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)  # width and height
    modes: Counter[str] = field(default_factory=Counter)  # L or RGB
    labels: list[Label | None] = field(default_factory=list)
    class_names: list[str] | None = None
    label_notes: tuple[str, ...] = ()
    label_gaps: str | None = None  # what is wrong if some images have no label
    are_labels_in_place: bool = True  # where training finds them
    unusable: list[str] = field(default_factory=list)  # "<name> <problem>"
    num_duplicates: int = 0
    notes: Counter[str] = field(default_factory=Counter)  # what loading changes, by what it is
    left_out: str | None = None  # files that are no images, for people
    sheet: PIL.Image.Image | None = None


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
    """Look at all images of a source, or at the first `max_images`, in several processes."""
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
            if image.thumbnail is not None:
                thumbnails.append(image.thumbnail)
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


def describe(
    inspection: Inspection, path: str, advise: Advice, labels: str | None = None
) -> Iterator[str]:
    """The findings, line by line: facts, problems, and what to do next.

    Args:
        inspection: The findings.
        path: The source.
        advise: Gives the commands that train on a dataset: its path, the resolution, and whether
            the images have labels.
        labels: What `--labels` said.
    """
    if inspection.num_images == 0:
        yield f"There is no image in {path}"
        if inspection.left_out:
            yield f"Left out: {inspection.left_out}"
        return
    yield f"Images:   {inspection.num_images} in {path}"
    yield f"Sizes:    {_list_counts({f'{w}x{h}': n for (w, h), n in inspection.sizes.items()})}"
    colours = {COLOURS[mode]: num for mode, num in inspection.modes.items()}
    channels = {"grey": "1 channel", "RGB": "3 channels"}
    yield f"Colours:  {_list_counts({f'{c} ({channels[c]})': n for c, n in colours.items()})}"
    for title, text in notes.describe(inspection.notes, inspection.left_out).items():
        yield f"{title + ':':9} {text}"
    yield from _describe_labels(inspection)
    yield from (f"Note: {note}" for note in inspection.label_notes)
    problems = list(find_problems(inspection))
    yield "Problems:" + ("" if problems else " none")
    yield from (f"  - {problem}" for problem in problems)
    if inspection.sizes:
        yield from _describe_next(inspection, path, advise, labels)


def find_problems(inspection: Inspection) -> Iterator[str]:
    """What keeps images from being trained on, or is probably not what was meant."""
    if inspection.unusable:
        yield f"{len(inspection.unusable)} images cannot be used (--on-error=skip leaves them out):"
        yield from (f"  {text}" for text in inspection.unusable[:MAX_LISTED])
        if len(inspection.unusable) > MAX_LISTED:
            yield f"  ... and {len(inspection.unusable) - MAX_LISTED} more"
    if num := sum("is partly transparent" in text for text in inspection.unusable):
        yield (
            f"{num} of them are partly transparent: train.py takes folders and ZIPs of RGBA images"
            " as they are, with --aug=noaug; dataset_tool.py does not convert them"
        )
    if len(inspection.sizes) > 1:
        yield f"{len(inspection.sizes)} different sizes; training needs one"
    if any(width != height for width, height in inspection.sizes):
        num = sum(n for (w, h), n in inspection.sizes.items() if w != h)
        yield f"{num} images are not square"
    elif any(not is_power_of_two(width) for width, _ in inspection.sizes):
        yield "the side is no power of two"
    if len(inspection.modes) > 1:
        yield "some images are grey, others RGB; convert them to one of both"
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
    pixels = np.ascontiguousarray(picture.pixels)
    digest = hashlib.blake2b(pixels, digest_size=16, key=picture.mode.encode()).digest()
    found = _Found(name, label, None, picture.size, picture.mode, digest, notes=found_notes)
    if is_shown:
        image = picture.image
        image.thumbnail((CELL, CELL))
        factor = CELL // max(image.size)  # small ones are shown larger, pixel by pixel
        size = image.width * factor, image.height * factor
        found.thumbnail = image.convert("RGB").resize(size, PIL.Image.Resampling.NEAREST)
    return found


def _describe_labels(inspection: Inspection) -> Iterator[str]:
    labels = [label for label in inspection.labels if label is not None]
    if not labels:
        yield "Labels:   none"
    elif isinstance(labels[0], list):
        yield f"Labels:   vectors of length {len(labels[0])}"
    else:
        yield f"Labels:   {count_classes(labels)}"
        yield from describe_classes(labels, inspection.class_names)


def _describe_next(
    inspection: Inspection, path: str, advise: Advice, labels: str | None
) -> Iterator[str]:
    """The command that makes a dataset of it, if it is none yet, and those that train on it."""
    (width, height), _ = inspection.sizes.most_common(1)[0]
    is_ready = (
        len(inspection.sizes) == len(inspection.modes) == 1
        and not inspection.unusable
        and width == height
        and is_power_of_two(width)
    )
    is_dataset = os.path.isdir(path) or path.lower().endswith(".zip")
    is_dataset = is_dataset and inspection.are_labels_in_place and inspection.label_gaps is None
    data, resolution = path, width
    if not (is_ready and is_dataset):
        smallest = min(min(size) for size in inspection.sizes)
        size = suggest_size(min(min(width, height), max(smallest, 8), MAX_SUGGESTED_SIZE))
        resolution = int(size.partition("x")[0])
        data = "dataset.zip"
        options = "" if is_ready else f" --transform=center-crop --resolution={size}"
        options += f" --labels={labels}" if labels is not None else ""
        is_lacking = inspection.unusable or inspection.label_gaps or len(inspection.modes) > 1
        options += " --on-error=skip" if is_lacking else ""
        yield "To make a dataset of it:"
        yield f"  python dataset_tool.py --source={path} --dest={data}{options}"
    if resolution < 8:
        yield f"Networks start at 8x8; {resolution}x{resolution} is too small to train on"
        return
    is_labelled = any(label is not None for label in inspection.labels)
    yield from advise(data, resolution, is_labelled)


def _list_counts(counts: dict[str, int]) -> str:
    if not counts:
        return "unknown"
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    text = ", ".join(f"{name}: {num}" for name, num in ordered[:MAX_LISTED])
    rest = len(ordered) - MAX_LISTED
    return text + (f", and {rest} more" if rest > 0 else "")
