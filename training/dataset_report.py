"""The report of `dataset_tool.py --inspect`: what is in a source, and how to train on it."""

import os
from collections.abc import Iterator

from data import notes
from data.conversion.classes import describe_labels
from data.conversion.convert import COLOURS
from data.conversion.inspection import MAX_LISTED, Inspection, find_problems
from data.conversion.transform import suggest_size
from dnnlib.util import is_power_of_two
from training import advice
from training.config import CFGS, Cfg

MAX_SUGGESTED_SIZE = 1024


def describe(
    inspection: Inspection, path: str, num_gpus: int, labels: str | None = None
) -> Iterator[str]:
    """The findings, line by line: facts, problems, and what to do next.

    Args:
        inspection: The findings.
        path: The source.
        num_gpus: GPUs of this machine, for which commands are advised.
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
    values = [label for label in inspection.labels if label is not None]
    labels_found, *classes = describe_labels(values, inspection.class_names)
    yield f"Labels:   {labels_found}"
    yield from classes
    yield from (f"Note: {note}" for note in inspection.label_notes)
    problems = list(find_problems(inspection))
    yield "Problems:" + ("" if problems else " none")
    yield from (f"  - {problem}" for problem in problems)
    if inspection.sizes:
        yield from _describe_next(inspection, path, num_gpus, labels)


def _describe_next(
    inspection: Inspection, path: str, num_gpus: int, labels: str | None
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
    yield from _describe_training(data, resolution, num_gpus, is_labelled)


def _describe_training(
    data: str, resolution: int, num_gpus: int, is_labelled: bool
) -> Iterator[str]:
    """Commands that train, for this machine; where it has no GPU, also for one that has."""

    def command(cfg: Cfg, gpus: int) -> str:
        options = advice.starting_point(cfg, resolution, gpus)
        labels = {"cond": "1"} if is_labelled else {}
        arguments = advice.as_arguments(
            {"outdir": "training-runs", "cfg": cfg, "data": data, **options, **labels}
        )
        return f"  python train.py {arguments}"

    size = f"{resolution}x{resolution}"
    if num_gpus == 0:
        yield f"This machine has no GPU. To try training at {size} on it, with a small network:"
        yield command("stylegan3-t", 0)
        factor = (resolution / 32) ** 2
        longer = "" if factor <= 1 else f"; here, {factor:g} times as long"
        yield f"  At 32x32 this takes about ten minutes on two cores{longer}."
    gpus = max(num_gpus, 1)
    where = "with one GPU" if gpus == 1 else f"with the {gpus} GPUs of this machine"
    yield f"To train on it at {size} {where}, one of:"
    for cfg in CFGS:
        yield command(cfg, gpus)
    yield (
        "--gamma is a starting point: 0.001 * resolution^2 / batch for StyleGAN3, a fifth of it for"
        " StyleGAN2. Try a third and three times as much. docs/configs.md says what else to change."
    )


def _list_counts(counts: dict[str, int]) -> str:
    if not counts:
        return "unknown"
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    text = ", ".join(f"{name}: {num}" for name, num in ordered[:MAX_LISTED])
    rest = len(ordered) - MAX_LISTED
    return text + (f", and {rest} more" if rest > 0 else "")
