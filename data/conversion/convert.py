"""Convert a source to a dataset: read, transform, check, write and count its images."""

import contextlib
import itertools
import os
import sys
import zlib
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from data import dataset_info, plain_png
from data.conversion.info_recorder import InfoRecorder
from data.conversion.source import Source, SourceImage, refuse_unlabelled
from data.conversion.transform import Transform, explain_misfit
from data.conversion.worker_processes import map_ordered
from data.conversion.writer import Write, open_destination
from data.dataset_json import Label
from data.decoding import Picture
from data.listing import note_repeated
from dnnlib import strict_json
from dnnlib.errors import InputError
from dnnlib.util import printable

MAX_DEFAULT_WORKERS = 8
IMAGES_PER_WORKER = 128  # starting a process takes about as long as converting these

COLOURS = {"L": "grey", "RGB": "RGB"}


@dataclass
class Summary:
    """Result of a conversion."""

    num_kept: int = 0
    size: tuple[int, int] | None = None  # width and height, of all kept images
    mode: str | None = None  # L or RGB
    labels: list[tuple[str, Label]] | None = field(default_factory=list)  # by name in the dataset
    num_unlabelled: int = 0
    class_names: list[str] | None = None
    label_notes: tuple[str, ...] = ()  # how labels were found, and which are ignored
    dropped: Counter[str] = field(default_factory=Counter)  # number of images by reason
    notes: Counter[str] = field(default_factory=Counter)  # number of kept images by change
    left_out: str | None = None  # files of the source that are no images, for people


def convert_dataset(
    source: Source,
    dest: Path,
    transform: Transform | None = None,
    max_images: int | None = None,
    on_error: Literal["stop", "skip"] = "stop",
    num_workers: int | None = None,
) -> Summary:
    """Write a dataset archive or folder; the result does not depend on the number of workers.

    Args:
        source: The images, see `sources.open_source`.
        dest: `.zip`, or a new or empty folder. Appears only when complete.
        transform: Crop and size; images stay as they are if `None`.
        max_images: Number of images of the source to read, at least one; `None` for all.
        on_error: `stop` at an image that cannot be used, or `skip` it and report it on stderr.
        num_workers: Processes; `None` for one per core, at most `MAX_DEFAULT_WORKERS`.

    Raises:
        ValueError: If an image cannot be used and `on_error` is `stop`, or if none is left.
            An image without a label cannot be used if others have labels.
        OSError: If the destination exists or cannot be written.
    """
    images, count, labels = source.images, source.count, source.labels
    if source.gaps is not None and (on_error == "stop" or not labels.by_name):
        raise InputError(source.gaps)
    if labels.lack:
        images = refuse_unlabelled(images, labels.lack)
    if max_images is not None:
        images = itertools.islice(images, max(max_images, 1))
        count = min(count, max(max_images, 1))
    if num_workers is None:
        num_workers = min(os.cpu_count() or 1, MAX_DEFAULT_WORKERS)
    num_workers = min(num_workers, -(-count // IMAGES_PER_WORKER))

    summary = Summary(
        class_names=labels.class_names,
        label_notes=labels.notes,
        left_out=source.left_out,
        notes=note_repeated(source.num_repeated),
    )
    transform = transform or Transform()
    recorder = InfoRecorder(transform)
    job, num_read = partial(_convert_image, transform), 0
    with (
        source.reading(),
        open_destination(dest) as write,
        contextlib.closing(map_ordered(job, images, num_workers)) as results,
        tqdm(results, total=count, unit="img", disable=None) as progress,
    ):
        for index, result in enumerate(progress):
            name = _keep_or_drop(result, index, summary, write, on_error)
            if name is not None:
                recorder.add(name, len(result.png), result.crc, result.pixel_digest)
            num_read = index + 1
        if summary.num_kept == 0:
            raise InputError(_describe_nothing(summary))
        if summary.num_unlabelled > 0:
            summary.labels = None
        write("dataset.json", strict_json.dumps(_metadata(summary)).encode())
        assert summary.size is not None and summary.mode is not None  # an image was kept
        info = recorder.info(num_read, summary.size, COLOURS[summary.mode])
        write(dataset_info.FILE_NAME, info.to_json())
    return summary


def _describe_nothing(summary: Summary) -> str:
    reasons = [f"{num} {reason}" for reason, num in summary.dropped.items()]
    if summary.left_out:
        reasons.append(f"left out: {summary.left_out}")
    what = "no image is left" if summary.dropped else "there is no image in the source"
    return what + (f" ({'; '.join(reasons)})" if reasons else "") + "; nothing was written"


def _metadata(summary: Summary) -> dict[str, Any]:
    """The content of `dataset.json`, with names of classes if they are known."""
    if summary.class_names is None or not summary.labels:
        return {"labels": summary.labels}
    return {"labels": summary.labels, "class_names": summary.class_names}


@dataclass
class _Result:
    """One converted image, or the problem with it, which completes "<name> ..."."""

    name: str
    png: bytes = b""
    crc: int = 0  # of the PNG file
    pixel_digest: bytes = b""
    size: tuple[int, int] = (0, 0)
    mode: str = ""
    label: Label | None = None
    problem: str | None = None
    is_too_small: bool = False
    notes: Counter[str] = field(default_factory=Counter)


def _convert_image(transform: Transform, source_image: SourceImage) -> _Result:
    name, load, label = source_image
    try:
        picture, notes = load()
    except OSError as error:
        return _Result(
            name,
            problem=f"cannot be read ({error}); replace it, or leave such files out with"
            " --on-error=skip",
        )
    except ValueError as error:
        return _Result(name, problem=str(error))
    if transform.size is not None:
        image = transform(picture.image)
        if image is None:
            width, height = picture.size
            return _Result(name, problem=f"is too small ({width}x{height})", is_too_small=True)
        picture = Picture(image)
    if problem := explain_misfit(picture.size):
        return _Result(name, problem=problem)
    # The file gets pixels only, and no metadata of the source (colour profile, text).
    png, digest = plain_png.encode(picture.pixels), dataset_info.digest_of(picture.pixels)
    return _Result(
        name, png, zlib.crc32(png), digest, picture.size, picture.mode, label, notes=notes
    )


def _find_mismatch(result: _Result, summary: Summary) -> str | None:
    """How a usable image differs from the images before it, with the remedy."""
    if summary.size is None or summary.mode is None:  # none was kept
        return None
    if result.size != summary.size:
        width, height = summary.size
        return (
            f"is {result.size[0]}x{result.size[1]}, but the images before it are {width}x{height};"
            f" --resolution={width}x{height} makes all equal"
        )
    if result.mode != summary.mode:
        return (
            f"is {COLOURS[result.mode]}, but the images before it are {COLOURS[summary.mode]};"
            " convert it, or leave such files out with --on-error=skip"
        )
    return None


def _keep_or_drop(
    result: _Result,
    index: int,
    summary: Summary,
    write: Write,
    on_error: Literal["stop", "skip"],
) -> str | None:
    """Write a usable image, and count the others; the name of the file, if there is one."""
    problem = result.problem or _find_mismatch(result, summary)
    if problem is None:
        return _keep(result, index, summary, write)
    if result.is_too_small:
        summary.dropped["too small for --resolution"] += 1
    elif on_error == "skip":
        reason = printable(problem.partition(";")[0])
        tqdm.write(f"Skipped: {result.name} {reason}", file=sys.stderr)
        summary.dropped["unusable"] += 1
    else:
        raise InputError(f"{result.name} {printable(problem)}")
    return None


def _keep(result: _Result, index: int, summary: Summary, write: Write) -> str:
    """Write an image under its number in the source, so dropped images leave gaps; its name."""
    number = f"{index:08d}"
    name = f"{number[:5]}/img{number}.png"
    write(name, result.png)
    summary.num_kept += 1
    summary.notes.update(result.notes)
    summary.size, summary.mode = result.size, result.mode
    if result.label is None:
        summary.num_unlabelled += 1
    else:
        assert summary.labels is not None  # until the end
        summary.labels.append((name, result.label))
    return name
