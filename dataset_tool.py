"""Command that converts images into the datasets that training reads."""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import functools
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click

from data import dataset_info, listing, notes
from data.conversion import inspection_report, sources
from data.conversion.background import Background
from data.conversion.background_option import background_option
from data.conversion.classes import describe_labels
from data.conversion.convert import COLOURS, MAX_DEFAULT_WORKERS, Summary, convert_dataset
from data.conversion.decode import DecodeOptions
from data.conversion.inspection import inspect_source
from data.conversion.transform import RESIZE_FILTERS, Crop, ResizeFilter, Transform
from data.conversion.writer import check_destination
from dnnlib import cli, paths, util
from dnnlib.errors import InputError
from dnnlib.options import version_option
from torch_utils.host_memory import keep_freed_memory
from training import advice

HELP = """\
Convert images into a dataset that training reads.

The dataset is an uncompressed ZIP (or a folder) of uncompressed PNGs, a dataset.json with the
labels, and a dataset-info.json that says how the dataset was made. All images must become square,
of one power-of-two size, and all RGB or all grey. The first image that does not fit stops the
conversion; the message names an option that helps.

Turned photos are set upright (EXIF), palettes expanded, 16-bit and 1-bit grey made 8-bit grey,
colours converted to sRGB by the image's profile (Display P3, Adobe RGB, ...). CMYK images are
refused, because their appearance would be a guess, and so are transparent images without a
--background. The summary counts what was changed, and what was left out: files of other kinds,
further frames and pages, hidden files, and files that programs leave behind (@eaDir, __MACOSX,
Thumbs.db, ...).

\b
Examples:
  # A thousand drawn images with six classes, to try everything without a download
  python dataset_tool.py --source=synthetic --dest=shapes.zip --resolution=32x32
  # Photos of any size, below a folder: central square of each, scaled to 256x256
  python dataset_tool.py --source=photos/ --dest=photos-256x256.zip \\
      --transform=center-crop --resolution=256x256
  # A smaller version of an existing dataset, leaving out damaged files
  python dataset_tool.py --source=photos-256x256.zip --dest=small.zip \\
      --resolution=64x64 --on-error=skip
  # Classes by folder: animals/cat/1.jpg, animals/dog/2.jpg, ...
  python dataset_tool.py --source=animals/ --dest=animals.zip --labels=folders \\
      --transform=center-crop --resolution=128x128
  # Transparent emoji on white
  python dataset_tool.py --source=faces/ --dest=faces.zip --resolution=32x32 --background=white
  # Is a dataset fit for training, and with which options?
  python dataset_tool.py --inspect=photos-256x256.zip
  # Wide images on black bars, 512x512 with 384 rows of picture
  python dataset_tool.py --source=cars/ --dest=cars.zip \\
      --transform=center-crop-wide --resolution=512x384

\b
Sources:
  DIR, ZIP                      all images in it, by the extensions that Pillow knows; HEIC and
                                JPEG XL, too (pip install pillow-heif, pillow-jxl-plugin)
  *_lmdb/                       LSUN (pip install lmdb)
  cifar-10-python.tar.gz        CIFAR-10, training images with classes
  train-images-idx3-ubyte.gz    MNIST, with the labels file beside it; padded to 32x32
  synthetic, synthetic:shapes   drawn shapes in six classes, any number and resolution: warm
                                discs, squares, triangles, rings, stars, crosses on dark skies
  synthetic:symbols             others, for transfer learning: cool hearts, crescents, drops,
                                flowers, arrows and bolts on light paper

\b
Transforms:
  (none)            Resize to --resolution, whatever the aspect ratio.
  center-crop       Crop to the largest central square, then resize.
  center-crop-wide  Crop rows at the top and bottom, resize to the WxH of --resolution and
                    centre on a black WxW square, whatever the --background. Images smaller
                    than that are dropped.

Labels are read from the dataset.json at the top of the source, or else from the only one below:
{"labels": [["folder/name.png", 6], ...]}, with a class number (0, 1, ...) or a list of
numbers for every image. If some images have no label, the conversion stops; --on-error=skip
leaves out these images, --labels=none leaves out all labels.
--labels=FILE.csv has a line NAME,CLASS or NAME,NUMBER,NUMBER,... for every image; a first line
that names no image holds headings. --labels=FILE.json is like dataset.json. Classes may be
words. Words and folders get numbers from 0 on: by size if all are whole numbers, otherwise in
alphabetical order, with c2 before c10; the summary lists them.
Names may differ from the names of images by \\ for /, ./ in front, the encoding of accents, a
common folder in front of all, or the suffix, if only one image can be meant.
"""


def _not_empty(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value == "":
        raise click.BadParameter("an empty name", ctx, param)
    return value


def _address_option(name: str, metavar: str, help_text: str) -> Callable[[Callable], Callable]:
    return click.option(
        name, type=cli.Address(), metavar=metavar, callback=_not_empty, help=help_text
    )


@click.command(cls=cli.Command, help=HELP)
@_address_option(
    "--source",
    "DIR|ZIP|FILE|synthetic[:NAME]",
    "Folder (with all folders below) or .zip of images, a dataset under its own name (see"
    " above), or 'synthetic' for built-in drawings.",
)
@_address_option(
    "--dest",
    "ZIP|DIR",
    "New .zip, or a new or empty folder; appears only when it is complete."
    " With --inspect, the contact sheet: a .png.",
)
@_address_option(
    "--inspect",
    "PATH",
    "Instead of converting, report the contents and problems of a source or dataset, and how"
    " to train on it. Writes a contact sheet (--dest, by default NAME.contact-sheet.png here).",
)
@click.option(
    "--max-images",
    type=cli.WholeNumber(min=0),
    help="Read only this many images of the source, the first ones; at least one."
    f"  [default: all; {sources.SYNTHETIC_COUNT} synthetic ones]",
)
@click.option(
    "--transform",
    type=click.Choice(["center-crop", "center-crop-wide"]),
    help="Crop before resizing, see above; needs --resolution.",
)
@click.option(
    "--resolution",
    type=cli.Size(),
    help="Width and height to resize to, such as 256x256.  [default: as they are;"
    f" {sources.SYNTHETIC_RESOLUTION}x{sources.SYNTHETIC_RESOLUTION} for synthetic ones]",
)
@click.option(
    "--resize-filter",
    type=click.Choice(RESIZE_FILTERS),
    default="lanczos",
    show_default=True,
    help="How --resolution resizes, always with antialiasing. Metrics see the difference.",
)
@_address_option(
    "--labels",
    "folders|none|FILE",
    "Class of each image by its top folder, or labels from a CSV or JSON file, or none."
    "  [default: the labels of the source]",
)
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="Stop at the first image that cannot be used, or list and leave out such images.",
)
@click.option(
    "--workers",
    type=cli.WholeNumber(min=1),
    help="Processes; the result is the same for any number."
    f"  [default: one per core, at most {MAX_DEFAULT_WORKERS}]",
)
@click.option(
    "--seed",
    type=cli.WholeNumber(min=0),
    help="Random seed of synthetic images.  [default: 0]",
)
@click.option(
    "--keep-profile-values",
    is_flag=True,
    help="Keep pixel values instead of converting them to sRGB by the image's colour profile.",
)
@background_option
@version_option
@click.pass_context
def main(
    ctx: click.Context,
    source: str | None,
    dest: str | None,
    inspect: str | None,
    max_images: int | None,
    transform: Crop | None,
    resolution: tuple[int, int] | None,
    resize_filter: ResizeFilter,
    labels: str | None,
    on_error: Literal["stop", "skip"],
    workers: int | None,
    seed: int | None,
    keep_profile_values: bool,
    background: Background | None,
) -> None:
    """Convert images into a dataset, or inspect one."""
    if inspect is not None:
        refuse_options_of_conversion(ctx)
        inspect_dataset(inspect, dest, max_images, labels, workers)
        return
    for option, value in (("--source", source), ("--dest", dest)):
        if value is None:
            raise click.UsageError(f"Missing option '{option}'.")
    assert source is not None and dest is not None
    check_destination(Path(dest))
    if paths.is_inside(Path(dest), Path(source)) and Path(dest).suffix.lower() != ".zip":
        raise InputError(
            f"--dest={dest}: the next conversion of --source={source} would take the images in a"
            " folder inside it for images of the source; choose a folder beside it, or a .zip"
        )
    if sources.is_synthetic(source) and transform is not None:
        raise click.UsageError("--transform: synthetic images need none; leave it out")
    if cli.is_given(ctx, "resize_filter") and (resolution is None or sources.is_synthetic(source)):
        raise click.UsageError(
            "--resize-filter: only --resolution resizes, and never synthetic images; leave it out"
        )
    fit = Transform(transform, resolution, resize_filter)
    decode_options = DecodeOptions(keep_profile_values, background)
    images = sources.open_source(source, max_images, resolution, seed, labels, decode_options)
    summary = convert_dataset(images, Path(dest), fit, max_images, on_error, workers)
    click.echo(describe(summary, dest))
    if background is not None and not summary.notes[background.note]:
        click.echo(
            f"Note: --background={background.name} has changed nothing: no image is transparent."
        )


def refuse_options_of_conversion(ctx: click.Context) -> None:
    """Refuse options that do nothing together with `--inspect`."""
    names = ("source", "transform", "resolution", "resize_filter", "on_error", "seed")
    for name in (*names, "keep_profile_values", "background"):
        if cli.is_given(ctx, name):
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(
                f"{option}: --inspect converts nothing; leave out {option} or --inspect"
            )


def inspect_dataset(
    path: str, sheet: str | None, max_images: int | None, labels: str | None, workers: int | None
) -> None:
    """Print a report about a source, and save a sheet of some of its images."""
    sheet_path = choose_sheet(path, sheet)
    source = sources.open_source(path, max_images, labels=labels)
    inspection = inspect_source(source, max_images, workers)
    made_by = dataset_info.find(path)

    # PyTorch takes seconds to import: conversion and its worker processes do without it.
    from torch_utils import devices

    advise = functools.partial(advice.describe_training, num_gpus=devices.num_gpus())
    for line in inspection_report.describe(inspection, path, advise, labels, made_by):
        click.echo(util.printable(line))
    if inspection.sheet is not None:
        with util.open_atomic(sheet_path) as file:
            inspection.sheet.save(file, "png")
        click.echo(f"Contact sheet: {sheet_path}")


def choose_sheet(source: str, sheet: str | None) -> Path:
    """The path of the contact sheet; never inside the source, where it would become an image."""
    if sheet is None:
        # `data.listing` knows this suffix, in case a folder around the sheet is a source later.
        # A colon, as in synthetic:symbols, names a stream of a file on Windows.
        stem = paths.shorten_name(Path(source).absolute().stem.replace(":", "-"), 200)
        path = Path(stem + listing.SHEET_SUFFIX)
        beside = Path(source).resolve().parent
        return beside / path if paths.is_inside(path, Path(source)) else path
    if not sheet.lower().endswith(".png"):
        raise InputError(f"--dest={sheet}: with --inspect it is the contact sheet, a .png file")
    if paths.is_inside(Path(sheet), Path(source)):
        raise InputError(
            f"--dest={sheet}: the contact sheet would become one of the images in {source}; put it"
            " somewhere else"
        )
    check_destination(Path(sheet))
    return Path(sheet)


def _interrupt(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt


def describe(summary: Summary, dest: str) -> str:
    """Describe which images were kept, dropped and changed, and their labels, for the user."""
    lines = [f"Wrote {summary.num_kept} images to {dest}"]
    if summary.size is not None and summary.mode is not None:
        width, height = summary.size
        lines[0] += f": {width}x{height}, {COLOURS[summary.mode]}"
    if summary.dropped:
        reasons = ", ".join(f"{num} {reason}" for reason, num in summary.dropped.items())
        lines.append(f"Dropped: {reasons}")
    found = notes.describe(summary.notes, summary.left_out)
    lines += [f"{title}: {text}" for title, text in found.items()]
    values = [label for _, label in summary.labels or []]
    labels, *classes = describe_labels(values, summary.class_names)
    lines += [f"Labels: {labels}", *classes]
    lines += [f"Note: {note}" for note in summary.label_notes]
    return "\n".join(map(util.printable, lines))  # they hold texts of profiles and warnings


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)  # as for Ctrl-C: unfinished files are removed
    keep_freed_memory()  # for the next images
    main()
