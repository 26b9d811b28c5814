"""Evaluate a network or images: FID, KID, precision and recall, path length, equivariance."""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import dataclasses
import errno
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from dnnlib import cli, moved, options
from dnnlib.errors import InputError, MachineError
from dnnlib.text import format_table, printable
from metrics import (
    dataset_checks,
    image_sets,
    metric_main,
    stats_file,
    stats_options,
    stats_saving,
)
from metrics.class_subsets import ClassRequest, ClassSubset
from metrics.detector_option import DetectorSource as DetectorSource
from metrics.detector_option import detector_option
from metrics.metric_utils import ProgressMonitor
from network_files.load import load_network
from torch_utils import devices, distributed
from torch_utils.distributed import Worker

__getattr__ = moved.names_of(__name__)

HELP = """\
Compute metrics of a trained network, or of images of any origin.

Prints each result as one line of JSON. If the network, or the folder or ZIP of images, lies in the
folder of a training run, the line is also appended to metric-NAME.jsonl there. The same seed gives
the same value, with any number of processes.

--images takes folders and ZIPs of any generator, or two datasets to compare: square images of one
size, below the folder or in the ZIP, in the order of their names. They must have the size of the
real images. All are used, up to 50000; the record says how many (num).

\b
Recommended metrics (those with a * need --network)          better is
  fid50k_full    Frechet inception distance                  less
  kid50k_full    kernel inception distance                   less
  pr50k3_full    precision and recall                        more
  ppl2_wend    * perceptual path length in W                 less
  eqt50k_int   * equivariance to shifts by whole pixels, dB  more
  eqt50k_frac  * equivariance to any shifts, dB              more
  eqr50k       * equivariance to rotation, dB                more
Metrics of older papers
  fid50k, kid50k, pr50k3   against 50000 real images only
  is50k                    inception score
Further metrics
  dc50k5_full    density and coverage                        more
  memo           images that repeat no training image, %     more
  fid50k_full_clean, kid50k_full_clean
                 FID and KID, resized without aliasing       less
  fd_dinov2      Frechet distance of DINOv2's features       less
  kd_dinov2      kernel distance of DINOv2's features        less
  cmmd           kernel distance of CLIP's embeddings        less
  The last three need: pip install -r requirements-metrics.txt

\b
Examples:
  # FID of a snapshot, against the dataset of its training
  python calc_metrics.py --network=network-snapshot-025000.pkl
  # Several metrics on eight GPUs, against a dataset that has moved
  python calc_metrics.py --network=net.pkl --metrics=fid50k_full,pr50k3_full,eqt50k_int \\
      --data=photos-256x256.zip --gpus=8
  # Images of two generators against the same real images, as a table
  python calc_metrics.py --images=ours/ --images=theirs.zip --data=photos-256x256.zip \\
      --metrics=fid50k_full,kid50k_full,pr50k3_full
  # One class of a conditional network against the real images of this class; and all classes
  python calc_metrics.py --network=net.pkl --subset=3
  python calc_metrics.py --network=net.pkl --per-class --num=5000
  # Does the network repeat its training images? The 20 most suspicious pairs, side by side
  python calc_metrics.py --network=net.pkl --metrics=memo --memo-sheet=closest.png
  # The statistics of a benchmark's real images in a file, and an evaluation without the images
  python calc_metrics.py --data=photos-256x256.zip --metrics=fid50k_full,kid50k_full \\
      --save-stats=photos.stats
  python calc_metrics.py --images=theirs.zip --data=photos.stats --metrics=fid50k_full,kid50k_full
  # A quick look, not to be compared with published values
  python calc_metrics.py --network=net.pkl --metrics=fid50k --num=2000
  # How large the FID of infinitely many generated images would be
  python calc_metrics.py --network=net.pkl --metrics=fid50k_full --extrapolate
  # Without internet access: a feature network that was copied to this machine
  python calc_metrics.py --network=net.pkl \\
      --detector=inception=pt_inception-2015-12-05-6726825d.pth

Records state how sure values are: standard errors of KID, 95% intervals of precision, recall,
density and coverage, and with --extrapolate the FID of infinitely many generated images.

\b
Feature networks are downloaded once and cached. On machines without internet use --detector, or
put the files into a folder and name it in the environment variable STYLEGAN3_DETECTOR_DIR.
"""


@click.command(cls=cli.Command, help=HELP)
@options.value_option(
    "--network",
    cli.NetworkAddress(),
    "Trained network; pretrained:NAME is one in the box.",
    metavar=options.NETWORK_METAVAR,
)
@click.option(
    "--images",
    type=cli.Address(),
    multiple=True,
    metavar="DIR|ZIP",
    help="Instead of a network: images of any origin. Several --images give a table.",
)
@options.value_option(
    "--metrics",
    cli.NameList(metric_main.list_valid_metrics()),
    "Metrics to compute; see above.",
    default="fid50k_full",
    metavar="NAME,NAME",
)
@options.value_option(
    "--data",
    cli.Address(),
    "Real images; --images needs them.  [default: those that the network was trained with]",
    metavar="ZIP|DIR|FILE.stats",
)
@options.file_option(
    "--save-stats",
    "Write the real images' statistics for these metrics; --data takes them for the images.",
    metavar="FILE.stats",
)
@options.value_option(
    "--mirror",
    click.BOOL,
    "Add x-flipped images (fid50k, kid50k, pr50k3, memo).  [default: as in training]",
)
@options.value_option(
    "--subset",
    click.STRING,
    "Only one class: its number, or its name in dataset.json.",
    metavar="CLASS",
)
@click.option(
    "--per-class", is_flag=True, help="Every class by itself; gives a table with a row for each."
)
@options.file_option(
    "--memo-sheet",
    "Draw the 20 closest pairs of generated and training images (memo).",
    metavar="FILE.png",
)
@options.count_option("--gpus", "Processes, one on each GPU.", default=1)
@options.value_option("--verbose", click.BOOL, "Show progress.", default=True)
@options.count_option(
    "--num", "Number of generated images, instead of 50000; the result is then not comparable."
)
@click.option(
    "--extrapolate",
    is_flag=True,
    help="Add to each FID its estimate for infinitely many generated images.",
)
@detector_option
@options.count_option(
    "--batch-gen",
    "Images to generate at once; fewer need less memory.  [default: depends on the device]",
)
@options.seed_option("Random seed of latents, labels and subsets.")
@options.allow_untrusted_option
@options.device_option
@options.version_option
def main(
    network: str | None,
    images: tuple[str, ...],
    metrics: list[str],
    data: str | None,
    save_stats: Path | None,
    mirror: bool | None,
    subset: str | None,
    per_class: bool,
    memo_sheet: Path | None,
    gpus: int,
    verbose: bool,
    num: int | None,
    extrapolate: bool,
    replacements: tuple[tuple[str, str], ...],
    batch_gen: int | None,
    seed: int,
    allow_untrusted: bool,
    device: str,
) -> None:
    """Compute metrics of a trained network or of images; `HELP` is the help text."""
    if not metrics:
        raise click.BadParameter("name at least one metric", param_hint="--metrics")
    if network is None and not images and save_stats is None:
        ctx = click.get_current_context()
        (param,) = [param for param in ctx.command.params if param.name == "network"]
        raise click.MissingParameter("--images evaluates images without one.", ctx, param)
    if network is not None and images:
        raise click.UsageError("--images takes the place of --network: leave one of them out")
    if batch_gen is not None and network is None:
        raise click.UsageError("--batch-gen: without --network nothing is generated; leave it out")
    if memo_sheet is not None:
        check_sheet(memo_sheet, metrics)
    if extrapolate:
        check_extrapolates(metrics)
    classes = ClassRequest(subset, per_class)
    stats_options.check(metrics, data, save_stats, mirror, classes, bool(network or images))
    distributed.check_devices(gpus, device)
    common = dict(
        seed=seed,
        batch_gen=batch_gen,
        detectors=dict(replacements),
        allow_untrusted=allow_untrusted,
        memo_sheet=memo_sheet,
        extrapolate=extrapolate,
    )
    request = Request(metrics, verbose, data, save_stats, mirror, num, classes, common)
    job = images_job(images, request) if network is None else network_job(network, request)
    if memo_sheet is not None:
        prepare_sheet(memo_sheet, job.rows)
    if distributed.is_main_process():
        missing = metric_main.find_missing(metrics, dict(replacements), allow_untrusted)
        if missing:
            names = ", ".join(missing)
            raise MachineError(f"cannot compute {names}: {next(iter(missing.values()))}")
        if stats_file.is_stats_file(data):
            stats_saving.check_data(str(data), metrics, job.nums, dict(replacements))
    if gpus > 1 and not distributed.is_torchrun():
        job = dataclasses.replace(job, G=None)  # each process loads its own
    distributed.launch(evaluate, gpus, device, job)


def check_extrapolates(metrics: Sequence[str]) -> None:
    """Refuse metrics of which none has a value for infinitely many images.

    Raises:
        click.BadParameter: The message names metrics that do.
    """
    can = [
        name
        for name in metric_main.list_valid_metrics()
        if metric_main.get_metric(name).extrapolates
    ]
    if not set(can) & set(metrics):
        raise click.BadParameter(
            f"there is nothing to extrapolate: leave it out, or compute {' or '.join(can)}",
            param_hint="--extrapolate",
        )


@dataclass(frozen=True)
class Request:
    """Options that networks and images share.

    Attributes:
        metrics, verbose, data, save_stats, mirror, num: As on the command line.
        classes: The classes to evaluate one by one.
        common: Keyword arguments of `MetricOptions` that need no check.
    """

    metrics: list[str]
    verbose: bool
    data: str | None
    save_stats: Path | None
    mirror: bool | None
    num: int | None
    classes: ClassRequest
    common: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """What is evaluated: a network or images, or one class of them.

    Attributes:
        path: Path or URL.
        options: Keyword arguments of `MetricOptions` for this row alone.
        subset: The class; `None` for all images.
        num_real: Number of real images of the class, if a metric looks at them.
    """

    path: str
    options: dict[str, Any]
    subset: ClassSubset | None = None
    num_real: int | None = None

    def __str__(self) -> str:
        return self.path if self.subset is None else f"class {self.subset} of {self.path}"

    def merged(self, common: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments of `MetricOptions`, of which `common` are those of all rows."""
        options = {**common, **self.options}
        if self.subset is not None and "dataset_kwargs" in options:
            # A network gets the labels of random real images, and these are all of this class.
            options["dataset_kwargs"] = {
                **options["dataset_kwargs"],
                "class_idx": self.subset.idx,
            }
        return options

    def facts(self) -> dict[str, Any]:
        """What the record of a metric says about the class."""
        return {} if self.subset is None else dict(subset=self.subset.idx)


@dataclass(frozen=True)
class Job:
    """What to evaluate, and the metrics to compute.

    Attributes:
        request: Metrics and options.
        rows: What to evaluate, one after the other.
        options: Keyword arguments of `MetricOptions` for all rows and metrics.
        network: Path or URL of the network; `None` without one.
        G: The generator; `None` if each process loads its own.
    """

    request: Request
    rows: list[Row]
    options: dict[str, Any]
    network: str | None = None
    G: torch.nn.Module | None = None

    @property
    def nums(self) -> list[int | None]:
        """The numbers of generated images, each once; `None` is the metric's own."""
        nums = [row.options["num"] for row in self.rows] or [self.request.num]
        return list(dict.fromkeys(nums))


def check_sheet(path: Path, metrics: Sequence[str]) -> None:
    """Refuse a sheet that no metric draws, or that is no PNG."""
    if "memo" not in metrics:
        raise click.UsageError("--memo-sheet needs the metric memo: add it to --metrics")
    if path.suffix.lower() != ".png":
        raise click.BadParameter(f"{path} is no .png", param_hint="--memo-sheet")


def prepare_sheet(path: Path, rows: Sequence[Row]) -> None:
    """Make the folder of a sheet.

    Raises:
        ValueError: If there are several rows.
        ClickException: If the folder cannot be made.
    """
    if len(rows) > 1:
        raise InputError(
            f"--memo-sheet shows one set of images, and there are {len(rows)}: name one of "
            "--images, or a class with --subset"
        )
    with cli.blame("--memo-sheet"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK | os.X_OK):  # an error now saves hours
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path.parent))


def network_job(network: str, request: Request) -> Job:
    """Load a network, check the dataset, and say on stderr what is to know about the dataset."""
    is_main, data = distributed.is_main_process(), request.data
    if is_main and request.verbose:
        click.echo(f"Loading {network} ...", err=True)
    allow_untrusted = request.common["allow_untrusted"]
    networks = load_network(network, option="--network", allow_untrusted=allow_untrusted)
    G = networks["G_ema"]
    if request.classes and G.c_dim == 0:
        raise InputError(f"{request.classes.option}: {network} knows no classes; leave it out")
    kwargs = dataset_checks.choose_dataset(G, networks["training_set_kwargs"], data, request.mirror)
    real = dataset_checks.check_dataset(request.metrics, G, kwargs, data)
    identity = None if real is None else real.fingerprint
    notes = [dataset_checks.compare_dataset(networks, kwargs, identity, data)]
    own = dict(num=request.num)
    rows = [Row(network, own)]
    if request.classes:
        assert real is not None  # because the network is conditional
        classes, class_notes = request.classes.choose([real])
        notes += class_notes
        rows = [Row(network, own, subset, subset.sizes[0]) for subset in classes]
    if is_main:
        for note in filter(None, notes):
            click.echo(note, err=True)
    options = dict(**request.common, dataset_kwargs=kwargs, dataset_fingerprint=identity)
    return Job(request, rows, options, network, G)


def images_job(paths: Sequence[str], request: Request) -> Job:
    """Check the images and the real images, and say on stderr how many of them are used."""
    image_sets.check_metrics(request.metrics)
    use_labels = bool(request.classes)
    options = dict(request.common)
    real = None
    if dataset_checks.uses_dataset(request.metrics):
        if request.data is None:
            raise InputError("--data is missing: the real images to compare --images with")
        real = dataset_checks.open_checked("--data", request.data, use_labels=use_labels)
        kwargs = dataset_checks.dataset_kwargs(real, request.mirror, use_labels)
        options |= dict(dataset_kwargs=kwargs, dataset_fingerprint=real.fingerprint)
    chosen: list[image_sets.ImageSet] = []
    notes: list[str] = []
    for path in paths:
        checked = image_sets.open_images(path, real, use_labels)
        subsets: list[ClassSubset | None] = [None]
        if request.classes:
            classes, class_notes = request.classes.choose([checked] + ([real] if real else []))
            subsets, notes = [*classes], notes + class_notes
        chosen += [image_sets.choose_images(checked, request.num, subset) for subset in subsets]
    rows = [
        Row(
            image_set.path,
            image_set.options(request.common["seed"]),
            image_set.subset,
            image_set.subset.sizes[1] if image_set.subset is not None and real else None,
        )
        for image_set in chosen
    ]
    if distributed.is_main_process():
        for note in [*notes, *image_sets.notes(chosen, real)]:
            click.echo(note, err=True)
    return Job(request, rows, options)


def evaluate(worker: Worker, job: Job) -> None:
    """Compute and report all metrics of a job; every process calls this."""
    devices.configure_backends(worker.device, cudnn_benchmark=True)
    G = job.G
    if G is None and job.network is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the starting process has warned already
            G = load_network(
                job.network, option="--network", allow_untrusted=job.options["allow_untrusted"]
            )["G_ema"]
    if job.request.save_stats is not None:
        progress = ProgressMonitor(verbose=job.request.verbose)
        note = stats_saving.save(
            job.request.save_stats,
            job.request.metrics,
            job.nums,
            worker=worker,
            progress=progress,
            **job.options,
        )
        if worker.is_main:
            click.echo(note, err=True)
    results: list[list[Mapping[str, Any]]] = []
    for row in job.rows:
        results.append([])
        options = row.merged(job.options)
        passes = metric_main.plan(job.request.metrics, G=G, worker=worker, **options)
        for metric in job.request.metrics:
            if job.request.verbose and worker.is_main:
                of_which = f" of {row}" if len(job.rows) > 1 else ""
                click.echo(f"Calculating {metric}{of_which} ...", err=True)
            result = metric_main.calc_metric(
                metric,
                G=G,
                worker=worker,
                progress=ProgressMonitor(verbose=job.request.verbose),
                passes=passes,
                **options,
            )
            result.update(row.facts())
            results[-1].append(result)
            if worker.is_main:
                metric_main.report_metric(result, find_run_dir(row.path), job.network)
    if worker.is_main and len(job.rows) > 1:
        click.echo(describe_rows(job.rows, results), err=True)


def describe_rows(rows: Sequence[Row], results: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    """A table of several rows, with a column for every value; a dash where a row has none."""
    lines = []
    for row, line in zip(rows, results, strict=True):
        kind = "images" if "images_kwargs" in row.options else "network"
        cells = {kind: printable(row.path)}
        if row.subset is not None:
            cells["class"] = str(row.subset)
        cells["num"] = str(row.options["num"] or metric_main.NUM_SAMPLES)
        if row.num_real is not None:
            cells["real"] = str(row.num_real)
        for result in line:
            cells |= {name: f"{value:.5g}" for name, value in result["results"].items()}
            for name, value in result.get("extrapolated", {}).items():
                cells[f"{name}_extrapolated"] = f"{value:.5g}"
        lines.append(cells)
    header = list(dict.fromkeys(name for cells in lines for name in cells))
    return format_table(header, [[cells.get(name, "-") for name in header] for cells in lines])


def find_run_dir(path: str) -> str | None:
    """The folder of the training run that holds a network or images; `None` for other folders."""
    folder = Path(path).absolute().parent
    is_run = os.path.exists(path) and (folder / "training_options.json").is_file()
    return str(folder) if is_run else None


if __name__ == "__main__":
    main()
