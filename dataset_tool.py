"""Command that converts images into the archives that training reads."""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import functools
import signal
from pathlib import Path
from typing import Any, Literal

import click
from click.core import ParameterSource

from data import listing, notes
from data.conversion import inspection_report, sources
from data.conversion.classes import describe_labels
from data.conversion.convert import COLOURS, MAX_DEFAULT_WORKERS, Summary, convert_dataset
from data.conversion.inspection import inspect_source
from data.conversion.transform import Crop, Transform
from data.conversion.writer import check_destination
from dnnlib import cli, paths, util
from dnnlib.errors import InputError
from torch_utils.host_memory import keep_freed_memory
from training import advice

HELP = """\
Convert images into a dataset that training reads.

The dataset is an uncompressed ZIP (or a folder) of uncompressed PNGs and a dataset.json with
the labels. All images must end up square, of one power-of-two size, and all RGB or all grey;
the first that does not stops the conversion with the name of the option that helps.

Turned photos are set upright (EXIF), palettes expanded, 16-bit and 1-bit grey made 8-bit grey,
colours converted to sRGB by the image's profile (Display P3, Adobe RGB, ...). Transparent and
CMYK images are refused: what they should look like is not for us to guess. The summary counts
what was changed, and what was left out: files of other kinds, further frames and pages, hidden
files, and what programs leave behind (@eaDir, __MACOSX, Thumbs.db, ...).

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
  # What is in a dataset, is it fit for training, and with which options?
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
  synthetic                     drawn shapes in six classes, any number and resolution

\b
Transforms:
  (none)            Resize to --resolution, whatever the aspect ratio.
  center-crop       Crop to the largest central square, then resize.
  center-crop-wide  Crop rows at the top and bottom, resize to the WxH of --resolution and
                    centre on a black WxW square. Images smaller than that are dropped.

Labels are read from the dataset.json of the source, at its top or else the only one below:
{"labels": [["folder/name.png", 6], ...]}, with a class number (0, 1, ...) or a list of
numbers for every image. If some images have none, the conversion stops; --on-error=skip
leaves these images out, --labels=none all labels.
--labels=FILE.csv has a line NAME,CLASS or NAME,NUMBER,NUMBER,... for every image; a first line
that names no image holds headings. --labels=FILE.json is like dataset.json. Classes may be
words. Words and folders get numbers from 0 on: by size if all are whole numbers, otherwise in
alphabetical order, with c2 before c10; the summary lists them.
Names that differ from those of images by \\ for /, ./ in front, the encoding of accents,
folders in front of all of them, or the suffix are understood if only one image can be meant.
"""


def _not_empty(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value == "":
        raise click.BadParameter("an empty name", ctx, param)
    return value


@click.command(cls=cli.Command, help=HELP)
@click.option(
    "--source",
    type=cli.Address(),
    metavar="DIR|ZIP|FILE|synthetic",
    callback=_not_empty,
    help="Folder (with all below it) or .zip of images, a dataset under its own name (see below),"
    " or 'synthetic' for built-in drawings.",
)
@click.option(
    "--dest",
    type=cli.Address(),
    metavar="ZIP|DIR",
    callback=_not_empty,
    help="New .zip, or a new or empty folder; appears only when complete."
    " With --inspect, the contact sheet: a .png.",
)
@click.option(
    "--inspect",
    type=cli.Address(),
    metavar="PATH",
    callback=_not_empty,
    help="Instead of converting, report what is in a source or dataset, what is wrong with it and"
    " how to train on it; writes a contact sheet (--dest, by default NAME.contact-sheet.png here).",
)
@click.option(
    "--max-images",
    type=cli.WholeNumber(min=0),
    help="Look at the first so many images only (at least one is converted)."
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
    help="Width and height to resize to (Lanczos), such as 256x256.  [default: as they are;"
    f" {sources.SYNTHETIC_RESOLUTION}x{sources.SYNTHETIC_RESOLUTION} for synthetic ones]",
)
@click.option(
    "--labels",
    type=cli.Address(),
    metavar="folders|none|FILE",
    callback=_not_empty,
    help="Class of each image by its top folder, or labels from a CSV or JSON file, or none."
    "  [default: those that come with the source]",
)
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="Stop at the first image that cannot be used, or list and leave out all such images.",
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
    help="Random seed, for --source=synthetic only.  [default: 0]",
)
@click.option(
    "--keep-profile-values",
    is_flag=True,
    help="Take pixel values as they are instead of converting them to sRGB by the image's colour"
    " profile.",
)
@cli.version_option
@click.pass_context
def main(
    ctx: click.Context,
    source: str | None,
    dest: str | None,
    inspect: str | None,
    max_images: int | None,
    transform: Crop | None,
    resolution: tuple[int, int] | None,
    labels: str | None,
    on_error: Literal["stop", "skip"],
    workers: int | None,
    seed: int | None,
    keep_profile_values: bool,
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
            f"--dest={dest}: the images of a folder inside --source={source} would be taken for"
            " more of its images the next time; choose a folder beside it, or a .zip"
        )
    if source == "synthetic" and transform is not None:
        raise click.UsageError("--transform: synthetic images need none; leave it out")
    fit = Transform(transform, resolution)
    images = sources.open_source(source, max_images, resolution, seed, labels, keep_profile_values)
    summary = convert_dataset(images, Path(dest), fit, max_images, on_error, workers)
    click.echo(describe(summary, dest))


def refuse_options_of_conversion(ctx: click.Context) -> None:
    """Refuse options that do nothing together with `--inspect`."""
    for name in ("source", "transform", "resolution", "on_error", "seed", "keep_profile_values"):
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
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

    # PyTorch takes seconds to import: conversion and its worker processes do without it.
    from torch_utils import distributed

    advise = functools.partial(advice.describe_training, num_gpus=distributed.num_gpus())
    for line in inspection_report.describe(inspection, path, advise, labels):
        click.echo(util.printable(line))
    if inspection.sheet is not None:
        with util.open_atomic(sheet_path) as file:
            inspection.sheet.save(file, "png")
        click.echo(f"Contact sheet: {sheet_path}")


def choose_sheet(source: str, sheet: str | None) -> Path:
    """Where the contact sheet goes: never into the source, where it would be one of the images."""
    if sheet is None:
        # By its name, it is no image even if a folder around it is the source of another day.
        stem = paths.shorten_name(Path(source).absolute().stem, 200)
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
    """What was kept, what was dropped and why, and the labels, for people."""
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
    return "\n".join(map(util.printable, lines))  # texts of profiles and warnings are in them


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)  # as Ctrl-C: nothing unfinished stays behind
    keep_freed_memory()  # for the next images
    main()
