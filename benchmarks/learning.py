"""What networks have learnt of the drawn shapes: `python -m benchmarks.learning --run=RUN`.

A small classifier of the shapes replaces the feature networks of `calc_metrics.py`. It needs no
download, and says what these networks cannot say: which shape a picture shows.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import dataclasses
import functools
import math
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from benchmarks import options, timing
from benchmarks.learning_figure import draw_curves
from benchmarks.shape_judge import (
    Judge,
    check_network,
    generate,
    labels_of,
    measure_equivariance,
)
from data.dataset import ImageFolderDataset
from dnnlib import cli, strict_json
from dnnlib.errors import InputError
from dnnlib.options import NETWORK_METAVAR, allow_untrusted_option, count_option, seed_option
from dnnlib.util import make_cache_dir_path
from generation import figures
from network_files.load import load_network
from torch_utils.networks import Generator

HEADER = (
    "network",
    "distance",
    "x floor",
    "precision",
    "recall",
    "sure",
    "right",
    "rarest",
    "commonest",
    "EQ-T",
    "EQ-R",
    "sec",
)
Record = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """A network to measure.

    Attributes:
        address: Path or URL.
        kimg: Thousands of images that it was trained with, if its name says so.
    """

    address: str
    kimg: int | None

    @property
    def name(self) -> str:
        """Short name for tables."""
        return Path(self.address).name if self.kimg is None else f"{self.kimg} kimg"


@dataclass(frozen=True)
class Origin:
    """What a network was trained with.

    Attributes:
        resolution: Size of its images.
        data: Path of its dataset, if it is known.
        is_mirrored: Whether mirrored images were shown, too.
    """

    resolution: int
    data: str | None
    is_mirrored: bool


@click.command(cls=cli.Command)
@click.option(
    "--run",
    type=cli.LocalPath(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of a training run, with network-snapshot-*.pkl.",
)
@click.option(
    "--network",
    "networks",
    type=cli.NetworkAddress(),
    multiple=True,
    metavar=NETWORK_METAVAR,
    help="Network to measure, instead of a run; give the option again for more.",
)
@count_option("--every", "Measure every n-th snapshot of the run, and the last.", default=1)
@click.option(
    "--data",
    type=cli.LocalPath(path_type=Path),
    metavar="ZIP|DIR",
    help="The networks' dataset, if it is not where they were trained.",
)
@click.option(
    "--outdir",
    type=cli.LocalPath(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where to write learning.jsonl and, for a run, learning.png.",
)
@options.number("--num", "Pictures per network, and drawings.", default=3000, minimum=60)
@options.number(
    "--eq-num", "Pictures for the equivariance of StyleGAN3; 0 for none.", default=192, minimum=0
)
@count_option("--batch", "Pictures per pass.", default=32)
@seed_option("Seed of latents, translations and angles.")
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
@allow_untrusted_option
@options.machine
def main(
    run: Path | None,
    networks: tuple[str, ...],
    every: int,
    data: Path | None,
    outdir: Path | None,
    num: int,
    eq_num: int,
    batch: int,
    seed: int,
    markdown: bool,
    allow_untrusted: bool,
    threads: int | None,
    device: str,
) -> None:
    """Measure what networks have learnt of the drawn shapes of dataset_tool.py.

    The first call trains a classifier of the six shapes, which takes one or two minutes on two CPU
    cores, and keeps it in the cache. Each network then draws pictures, in equal numbers of all
    classes if it knows classes. The columns of the table:

    \b
      distance   Fréchet distance of the classifier's features to held-out drawings
      x floor    the distance relative to that of other drawings, as many
      precision  pictures that lie among the drawings
      recall     drawings that lie among the pictures
      sure       pictures that the classifier recognises, with a probability above 0.9
      right      pictures of the class that was asked for
      rarest     pictures that surely show the rarest class; of six, 17 % is ideal
      commonest  pictures that surely show the commonest class
      EQ-T EQ-R  equivariance to translation and rotation, in dB (StyleGAN3)

    The first row has the figures of other drawings: no network can be expected to be better.
    Networks of other data are refused; calc_metrics.py measures them.

    \b
    Examples:
      # Every fourth snapshot of a run, with a curve
      python -m benchmarks.learning --run=runs/00000-stylegan3-t-shapes --every=4 --outdir=out
      # One network, quickly
      python -m benchmarks.learning --network=net.pkl --num=600 --eq-num=0
    """
    sources = find_sources(run, networks, every)
    torch_device = options.start(device, threads)
    load = functools.partial(load_network, allow_untrusted=allow_untrusted)
    # Networks that cannot be measured are refused before the work begins.
    origins = [find_origin(source, load(source.address), data) for source in sources]

    click.echo(timing.describe_machine(torch_device))
    cache = Path(make_cache_dir_path("shape-classifiers"))
    judges = {
        key: Judge(*key, num, cache, torch_device)
        for key in dict.fromkeys((origin.resolution, origin.is_mirrored) for origin in origins)
    }
    for origin in dict.fromkeys(origins):
        check_data(judges[origin.resolution, origin.is_mirrored], origin.data)
    records: list[Record] = []
    for (resolution, is_mirrored), judge in judges.items():
        records.append(record_of_drawings(judge, resolution, is_mirrored))
        click.echo(describe(judge, resolution, num, seed))
    for source, origin in zip(sources, origins, strict=True):
        judge = judges[origin.resolution, origin.is_mirrored]
        G = load(source.address)["G_ema"].to(torch_device)
        records.append(measure(source, G, judge, num, eq_num, batch, seed))
        write_records(outdir, records)
    click.echo()
    make_table = timing.format_markdown if markdown else timing.format_table
    click.echo(make_table(HEADER, [row_of(record) for record in records]))
    if outdir is not None:
        click.echo(f"\nWrote {outdir / 'learning.jsonl'}")
    measured = records[len(judges) :]
    if run is not None and outdir is not None and len(measured) > 1:
        floor = records[0]["distance"]
        figures.make_figure(
            lambda fig: draw_curves(fig, measured, floor), outdir / "learning.png", dpi=100
        )
        click.echo(f"Wrote {outdir / 'learning.png'}")


def find_sources(run: Path | None, networks: Sequence[str], every: int) -> list[Source]:
    """The networks that the options name, in order.

    Raises:
        click.UsageError: If neither or both of `run` and `networks` are given.
        InputError: If the run has no snapshots.
    """
    if (run is None) == (len(networks) == 0):
        raise click.UsageError("Give either --run or --network.")
    if run is None:
        return [_source(address) for address in networks]
    paths = sorted(run.glob("network-snapshot-*.pkl"))
    if not paths:
        raise InputError(
            f"--run={run}: there is no network-snapshot-*.pkl in this folder; name the folder of "
            "one run, as in runs/00000-stylegan3-t-shapes"
        )
    thinned = paths[::every]
    if thinned[-1] != paths[-1]:
        thinned.append(paths[-1])
    return [_source(str(path)) for path in thinned]


def find_origin(source: Source, contents: Record, data: Path | None) -> Origin:
    """What a network was trained with; `data` replaces the path of its dataset.

    Raises:
        InputError: If its images cannot be the drawn shapes, or could be any.
    """
    G = contents["G_ema"]
    with cli.blame(source.address):
        check_network(G)
    kwargs = contents["training_set_kwargs"] or {}
    path = kwargs.get("path") if data is None else str(data)
    if G.c_dim == 0 and not _exists(path):
        raise InputError(
            f"{source.address} has no classes, and its dataset is not here "
            f"({path or 'its path is unknown'}): it may draw anything; name the dataset with --data"
        )
    return Origin(G.img_resolution, path, bool(kwargs.get("xflip", False)))


def check_data(judge: Judge, path: str | None) -> None:
    """Refuse a dataset of anything but the drawn shapes; say so if it is not here.

    Raises:
        click.ClickException: If the images show something else; the message names the path.
    """
    if path is None or not _exists(path):
        click.echo(
            f"Note: a dataset is not here ({path or 'its path is unknown'}). Whether its classes "
            "are the drawn shapes is not checked; --data names it.",
            err=True,
        )
        return
    with cli.blame(path):
        dataset = ImageFolderDataset(path)
        judge.check_data(dataset)
        dataset.close()


def measure(
    source: Source, G: Generator, judge: Judge, num: int, eq_num: int, batch: int, seed: int
) -> Record:
    """The record of a network.

    Raises:
        click.ClickException: If its pictures are not finite.
    """
    start = time.perf_counter()
    pictures = generate(G, num, seed, batch, judge.device)
    progress = tqdm(pictures, source.name, math.ceil(num / batch), leave=False, disable=None)
    with cli.blame(source.address):
        findings = judge.judge(judge.look(progress), labels_of(G, num))
    eq = measure_equivariance(G, eq_num, seed, judge.device) if eq_num > 0 else None
    return {
        "network": source.address,
        "name": source.name,
        "kimg": source.kimg,
        "resolution": G.img_resolution,
        "num": num,
        "seed": seed,
        "floor": judge.floor,
        **dataclasses.asdict(findings),
        "eq_num": eq_num,
        "eqt_db": _finite(eq[0]) if eq else None,
        "eqr_db": _finite(eq[1]) if eq else None,
        "sec": time.perf_counter() - start,
    }


def record_of_drawings(judge: Judge, resolution: int, is_mirrored: bool) -> Record:
    """The record of other drawings, in place of a network's."""
    name = "drawings, half of them mirrored" if is_mirrored else "drawings"
    return {
        "network": None,
        "name": name,
        "kimg": None,
        "resolution": resolution,
        "num": len(judge.labels),
        "floor": judge.floor,
        **dataclasses.asdict(judge.of_drawings),
        "accuracy": judge.accuracy,
        "sure_of_others": judge.sure_of_others,
    }


def describe(judge: Judge, resolution: int, num: int, seed: int) -> str:
    """Two lines about the classifier and the settings."""
    others = [f"{share:.1%} of {kind}" for kind, share in judge.sure_of_others.items()]
    return (
        f"{num} pictures {resolution}x{resolution} each, seed {seed}; the classifier is right about"
        f" {judge.accuracy:.2%} of {num} held-out drawings,\n"
        f"sure of {judge.held_out.is_sure.float().mean():.2%} of them, and sure of "
        f"{' and '.join(others)} drawings"
    )


def row_of(record: Record) -> list[str]:
    """A row of the table."""
    shares = record["class_shares"].values()
    return [
        record["name"],
        f"{record['distance']:.3g}",
        f"{record['distance'] / record['floor']:.1f}",
        *(_percent(record[name]) for name in ("precision", "recall", "sure", "right")),
        _percent(min(shares)),
        _percent(max(shares)),
        *(_number(record.get(name)) for name in ("eqt_db", "eqr_db", "sec")),
    ]


def write_records(outdir: Path | None, records: Sequence[Record]) -> None:
    """Write one line of JSON per record to `learning.jsonl`, if there is a folder to write to."""
    if outdir is not None:
        outdir.mkdir(parents=True, exist_ok=True)
        lines = "".join(strict_json.dumps(record) + "\n" for record in records)
        (outdir / "learning.jsonl").write_text(lines, encoding="utf-8")


def _source(address: str) -> Source:
    match = re.search(r"network-snapshot-(\d+)\.\w+$", address, re.ASCII)
    return Source(address, int(match[1]) if match else None)


def _exists(path: str | None) -> bool:
    return path is not None and os.path.exists(path)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}%"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    main()
