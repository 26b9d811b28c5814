"""Make the page of a report: one HTML file that needs no other file and contacts no host.

The charts are drawn by uPlot, which is part of this package (version 1.6.32, MIT licence in
`uplot-licence.txt`): 51 kB, with values under the pointer and zoom. Plotly would add 4.6 MB to
every page, and figures of Matplotlib show no values. The text is filled in by Jinja2, which
PyTorch brings along, and which escapes whatever comes from the files of a run. The page's policy
(Content-Security-Policy) forbids the browser to load anything.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from tqdm import tqdm

from data import reading
from dnnlib import text
from dnnlib.errors import message_of
from dnnlib.util import format_time
from dnnlib.version import __version__
from reports import charts, options_table, sheets
from reports.run_folder import RunFolder
from reports.sheets import SheetFile, SmallCopy

FOLDER = Path(__file__).parent
MAX_SHEETS = 40  # of a run
MIN_SHEET_BYTES = 30_000  # with less, fewer sheets show more
# Tell colours apart, also for the colour-blind; they stand out on white and on black.
COLOURS = ("#2f7ed8", "#e8590c", "#0ca678", "#c264c2", "#c99700", "#49a8c9", "#9c6b4f", "#8a8f98")


@dataclass(frozen=True)
class Page:
    """The text of a page, the number of its sheets, and sentences on what it leaves out."""

    html: str
    num_sheets: int
    left_out: list[str]


def make(runs: Sequence[RunFolder], max_bytes: int) -> Page:
    """Make the page of a report.

    Args:
        runs: The runs, in the order of their colours.
        max_bytes: Size of the page. Sheets become smaller and fewer until they fit; the rest of a
            page takes up to a megabyte per run.
    """
    found = charts.make(runs)
    left_out = [
        f"{runs[idx].name}: each point of its curves is the mean of {size} ticks."
        for idx, size in found.thinned.items()
    ]
    options = options_table.rows([run.options for run in runs])
    values: dict[str, Any] = dict(
        version=__version__,
        date=time.strftime("%Y-%m-%d %H:%M"),
        runs=[_describe(run, label) for run, label in zip(runs, labels(runs), strict=True)],
        colours=[_colour(idx) for idx in range(len(runs))],
        charts=dict(metrics=found.metrics, main=found.main, others=found.others),
        options=options,
        differing=options_table.differing(options),
        left_out=left_out,
        uplot_js=_read("uplot.min.js"),
        uplot_css=_read("uplot.min.css"),
        page_js=_read("page.js"),
        page_css=_read("page.css"),
    )
    template = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    ).from_string(_read("page.html"))
    room = max_bytes - _num_bytes(template.render(**values, galleries=[]))
    galleries = _galleries(runs, room, left_out)
    html = template.render(**values, galleries=galleries)
    if (size := _num_bytes(html)) > max_bytes:
        left_out.append(f"The page takes {size / 1e6:.1f} MB, most of it without the sheets.")
        html = template.render(**values, galleries=galleries)
    html = html.encode("utf-8", "replace").decode()  # names in JSON can hold lone surrogates
    return Page(html, sum(len(gallery["fakes"]) for gallery in galleries), left_out)


def labels(runs: Sequence[RunFolder]) -> list[str]:
    """Short names for legends: the numbers of the runs if these differ, or else new ones."""
    numbers = [run.name.partition("-")[0] for run in runs]
    if len(set(numbers)) == len(runs) and all(map(str.isdecimal, numbers)):
        return numbers
    return [f"run {number}" for number in range(1, len(runs) + 1)]


def _num_bytes(html: str) -> int:
    return len(html.encode("utf-8", "replace"))


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _colour(idx: int) -> str:
    """A colour for each run; beyond the list, hues of the golden angle."""
    return COLOURS[idx] if idx < len(COLOURS) else f"hsl({idx * 137.5 % 360:.0f} 65% 50%)"


def _describe(run: RunFolder, label: str) -> dict[str, Any]:
    """What the page says about a run."""
    total_sec = run.stats.last("Timing/total_sec")
    speed = run.stats.last("Timing/sec_per_kimg")
    stamp = run.stats.timestamp
    return dict(
        label=label,
        name=run.name,
        path=text.printable(str(run.path)),
        progress=_progress(run),
        time="" if total_sec is None else format_time(total_sec),
        speed="" if speed is None else f"{speed:.3g}",
        last_tick="" if stamp is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(stamp)),
        metrics=[
            f"{name} {list(values.values())[-1]:.4g} at {list(values)[-1]:g} kimg"
            for name, values in run.metrics.items()
        ],
        remarks=run.log.remarks,
        breaks=_breaks(run),
        problems=run.problems,
    )


def _progress(run: RunFolder) -> str:
    if run.is_complete:
        return f"complete, {run.kimg:g} kimg"
    if run.total_kimg is None:
        return f"{run.kimg:g} kimg"
    return f"unfinished, {run.kimg:g} of {run.total_kimg:g} kimg"


def _breaks(run: RunFolder) -> list[str]:
    """Sentences on interruptions."""
    found = [
        f"Continued at {c.kimg:g} kimg"
        + (f"; {c.lost_kimg:g} kimg were trained again." if c.lost_kimg else ".")
        for c in run.log.continuations
    ]
    found += [
        f"No tick for {format_time(pause.sec)} beyond the time of training, after "
        f"{pause.kimg:g} kimg."
        for pause in run.stats.pauses
    ]
    if run.stats.num_repeated:
        found.append(
            f"{run.stats.num_repeated} ticks came again after the run was continued; the later "
            "ones are shown."
        )
    return found


def _galleries(runs: Sequence[RunFolder], room: int, left_out: list[str]) -> list[dict[str, Any]]:
    """The sheets of each run as they fit into `room` bytes."""
    num_reals = sum(run.reals is not None for run in runs)
    most = max(room // MIN_SHEET_BYTES - num_reals, len(runs))  # at least the last of each run
    chosen = [sheets.choose(run.sheets, min(MAX_SHEETS, most // len(runs))) for run in runs]
    num = max(sum(map(len, chosen)) + num_reals, 1)
    progress = tqdm(total=num, desc="Sheets", leave=False, disable=None)
    galleries = []
    with progress:
        for run, files in zip(runs, chosen, strict=True):
            if len(files) < len(run.sheets):
                left_out.append(
                    f"{run.name}: {len(files)} of {len(run.sheets)} sheets are here, evenly spaced."
                )
            share = max(room // num - 300, 0)  # for the markup around an image
            fakes = _copies(files, share, run.problems, progress)
            reals = [] if run.reals is None else [SheetFile(run.reals, 0, "real images")]
            real = _copies(reals, share, run.problems, progress)
            galleries.append(dict(fakes=fakes, real=real[0] if real else None))
            left_out += _shrunken(run, [*fakes, *real])
    return galleries


def _copies(
    files: Sequence[SheetFile], max_bytes: int, problems: list[str], progress: tqdm
) -> list[dict[str, Any]]:
    copies: list[dict[str, Any]] = []
    for file in files:
        try:
            small = sheets.copy(file.path, max_bytes)
            copies.append(dict(label=file.label, kimg=file.kimg, image=small))
        except reading.UnusableImage as error:
            reason = str(error).partition(";")[0]  # the remedy is for images of a dataset
            problems.append(f"{file.path.name} {reason}, and is left out.")
        except OSError as error:
            problems.append(f"{file.path.name} is left out: {message_of(error)}")
        progress.update()
    return copies


def _shrunken(run: RunFolder, copies: Sequence[dict[str, Any]]) -> list[str]:
    """A sentence on sheets that are smaller than their files."""
    images: list[SmallCopy] = [item["image"] for item in copies]
    small = [image for image in images if image.size != image.full_size]
    if not small:
        return []
    least = min(small, key=lambda image: image.size[0])
    return [
        f"{run.name}: {len(small)} of {len(images)} sheets are scaled down, the smallest from "
        f"{_pixels(least.full_size)} to {_pixels(least.size)}; all are WebP of quality "
        f"{sheets.QUALITY}. The folder of the run has the whole ones."
    ]


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
