"""The report of `dataset_tool.py --inspect`, line by line."""

import os
from collections.abc import Callable, Iterable, Iterator

from data import notes
from data.conversion.classes import describe_labels
from data.conversion.convert import COLOURS
from data.conversion.inspection import MAX_LISTED, MAX_SUGGESTED_SIZE, Inspection, find_problems
from data.conversion.transform import suggest_size
from data.dataset_info import FILE_NAME, DatasetInfo
from dnnlib.util import is_power_of_two

Advice = Callable[[str, int, bool], Iterable[str]]


def describe(
    inspection: Inspection,
    path: str,
    advise: Advice,
    labels: str | None = None,
    made_by: DatasetInfo | str | None = None,
) -> Iterator[str]:
    """The findings, line by line: facts, problems, and what to do next.

    Args:
        inspection: The findings.
        path: The source.
        advise: Returns commands that train on a dataset, for its path, its resolution, and whether
            its images have labels.
        labels: Value of `--labels`.
        made_by: Result of `dataset_info.find`.
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
    if isinstance(made_by, DatasetInfo):
        yield f"Made of:  {made_by}"
    if inspection.pixels is not None:
        yield f"Pixels:   {inspection.pixels[:12]}"
    values = [label for label in inspection.labels if label is not None]
    labels_found, *classes = describe_labels(values, inspection.class_names)
    yield f"Labels:   {labels_found}"
    yield from classes
    yield from (f"Note: {note}" for note in inspection.label_notes)
    problems = [*find_problems(inspection), *_find_doubts(inspection, made_by)]
    yield "Problems:" + ("" if problems else " none")
    yield from (f"  - {problem}" for problem in problems)
    if inspection.sizes:
        yield from _describe_next(inspection, path, advise, labels)


def _find_doubts(inspection: Inspection, made_by: DatasetInfo | str | None) -> Iterator[str]:
    """Describe why `dataset-info.json` does not tell how these images were made."""
    if isinstance(made_by, str):
        yield made_by
    elif made_by is not None and inspection.pixels not in (None, made_by.pixels):
        yield (
            f"{FILE_NAME} is about other pixels ({made_by.pixels[:12]}): images were added, removed"
            " or changed after the conversion"
        )


def _describe_next(
    inspection: Inspection, path: str, advise: Advice, labels: str | None
) -> Iterator[str]:
    """The command that makes a dataset (unless the source is one) and commands to train on it."""
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
        options += " --background=white" if inspection.num_transparent else ""
        num_unusable = len(inspection.unusable) - inspection.num_transparent
        is_lacking = num_unusable > 0 or inspection.label_gaps or len(inspection.modes) > 1
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
