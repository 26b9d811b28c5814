"""Evaluate a trained network: FID, KID, precision and recall, path length, equivariance."""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from data import fingerprint, notes
from data.dataset import ImageFolderDataset
from dnnlib import cli, errors, options
from dnnlib.errors import InputError, MachineError
from dnnlib.text import one_line
from metrics import metric_main
from metrics.detector_option import DetectorSource as DetectorSource
from metrics.detector_option import detector_option
from metrics.metric_utils import ProgressMonitor
from network_files.load import load_network
from torch_utils import devices, distributed
from torch_utils.distributed import Worker

HELP = """\
Compute metrics of a trained network.

Prints each result as one line of JSON. If the network lies in the folder of a training run, the
line is also appended to metric-NAME.jsonl there. The same seed gives the same value, with any
number of processes.

\b
Recommended metrics                                          better is
  fid50k_full    Frechet inception distance                  less
  kid50k_full    kernel inception distance                   less
  pr50k3_full    precision and recall                        more
  ppl2_wend      perceptual path length in W                 less
  eqt50k_int     equivariance to shifts by whole pixels, dB  more
  eqt50k_frac    equivariance to any shifts, dB              more
  eqr50k         equivariance to rotation, dB                more
Metrics of older papers
  fid50k, kid50k, pr50k3   against 50000 real images only
  is50k                    inception score
Further metrics
  dc50k5_full    density and coverage                        more

\b
Examples:
  # FID of a snapshot, against the dataset of its training
  python calc_metrics.py --network=network-snapshot-025000.pkl
  # Several metrics on eight GPUs, against a dataset that has moved
  python calc_metrics.py --network=net.pkl --metrics=fid50k_full,pr50k3_full,eqt50k_int \\
      --data=photos-256x256.zip --gpus=8
  # A quick look, not to be compared with published values
  python calc_metrics.py --network=net.pkl --metrics=fid50k --num=2000
  # Without internet access: a feature network that was copied to this machine
  python calc_metrics.py --network=net.pkl \\
      --detector=inception=pt_inception-2015-12-05-6726825d.pth

\b
Feature networks are downloaded once and cached. On machines without internet use --detector, or
put the files into a folder and name it in the environment variable STYLEGAN3_DETECTOR_DIR.
"""


@click.command(cls=cli.Command, help=HELP)
@options.network_option
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
    "Real images.  [default: the images that the network was trained with]",
    metavar="ZIP|DIR",
)
@options.value_option(
    "--mirror",
    click.BOOL,
    "Add x-flipped images (fid50k, kid50k, pr50k3).  [default: as in training]",
)
@options.count_option("--gpus", "Processes, one on each GPU.", default=1)
@options.value_option("--verbose", click.BOOL, "Show progress.", default=True)
@options.count_option(
    "--num", "Number of samples, instead of 50000; the result is then not comparable."
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
    network: str,
    metrics: list[str],
    data: str | None,
    mirror: bool | None,
    gpus: int,
    verbose: bool,
    num: int | None,
    replacements: tuple[tuple[str, str], ...],
    batch_gen: int | None,
    seed: int,
    allow_untrusted: bool,
    device: str,
) -> None:
    """Compute metrics of a trained network; `HELP` is the help text."""
    if not metrics:
        raise click.BadParameter("name at least one metric", param_hint="--metrics")
    distributed.check_devices(gpus, device)
    is_main = distributed.is_main_process()
    if is_main and verbose:
        click.echo(f"Loading {network} ...", err=True)
    networks = load_network(network, option="--network", allow_untrusted=allow_untrusted)
    G = networks["G_ema"]
    dataset_kwargs = choose_dataset(G, networks["training_set_kwargs"], data, mirror)
    identity = check_dataset(metrics, G, dataset_kwargs, data)
    note = compare_dataset(networks, dataset_kwargs, identity, data)
    if is_main and note is not None:
        click.echo(note, err=True)
    if is_main:
        missing = metric_main.find_missing(metrics, dict(replacements), allow_untrusted)
        if missing:
            names = ", ".join(missing)
            raise MachineError(f"cannot compute {names}: {next(iter(missing.values()))}")
    job = Job(
        network=network,
        metrics=metrics,
        verbose=verbose,
        options=dict(
            dataset_kwargs=dataset_kwargs,
            seed=seed,
            num=num,
            batch_gen=batch_gen,
            detectors=dict(replacements),
            allow_untrusted=allow_untrusted,
            dataset_fingerprint=identity,
        ),
        G=G if gpus == 1 or distributed.is_torchrun() else None,
    )
    distributed.launch(evaluate, gpus, device, job)


@dataclass(frozen=True)
class Job:
    """A network and the metrics to compute.

    Attributes:
        network: Path or URL of the network.
        metrics: Names of the metrics.
        verbose: Whether to show progress.
        options: Keyword arguments of `MetricOptions` for all metrics.
        G: The generator; `None` if each process loads its own.
    """

    network: str
    metrics: list[str]
    verbose: bool
    options: dict[str, Any]
    G: torch.nn.Module | None = None


def evaluate(worker: Worker, job: Job) -> None:
    """Compute and report all metrics of a job; every process calls this."""
    devices.configure_backends(worker.device, cudnn_benchmark=True)
    G = job.G
    if G is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the starting process has warned already
            G = load_network(
                job.network, option="--network", allow_untrusted=job.options["allow_untrusted"]
            )["G_ema"]
    run_dir = find_run_dir(job.network)
    passes = metric_main.plan(job.metrics, G=G, worker=worker, **job.options)
    for metric in job.metrics:
        if job.verbose and worker.is_main:
            click.echo(f"Calculating {metric} ...", err=True)
        result = metric_main.calc_metric(
            metric,
            G=G,
            worker=worker,
            progress=ProgressMonitor(verbose=job.verbose),
            passes=passes,
            **job.options,
        )
        if worker.is_main:
            metric_main.report_metric(result, run_dir=run_dir, snapshot_pkl=job.network)


def choose_dataset(
    G: torch.nn.Module,
    training_set_kwargs: Mapping[str, Any] | None,
    data: str | None,
    mirror: bool | None,
) -> dict[str, Any]:
    """Keyword arguments of the dataset, from `--data` or the network; empty if unknown."""
    if data is not None:
        kwargs = dict(
            class_name="training.dataset.ImageFolderDataset",
            path=data,
            resolution=G.img_resolution,
            use_labels=G.c_dim != 0,
        )
    else:
        kwargs = dict(training_set_kwargs or {})
    if mirror is not None and kwargs:
        kwargs["xflip"] = mirror
    return kwargs


def check_dataset(
    metrics: list[str], G: torch.nn.Module, kwargs: Mapping[str, Any], data: str | None
) -> dict[str, Any] | None:
    """If a dataset is needed, refuse a dataset that cannot be opened or does not suit the network.

    Returns:
        The fingerprint of the dataset, see `data.fingerprint`; `None` if no dataset is needed.

    Raises:
        ValueError: The message names `--data`.
    """
    uses_dataset = any(metric_main.get_metric(metric).uses_dataset for metric in metrics)
    if not uses_dataset and G.c_dim == 0:
        return None
    if not kwargs:
        raise InputError("--data is missing: the network does not name its training data")
    path = kwargs.get("path")
    hint = "" if data is not None else "; the network was trained with it, name another"
    try:
        if not isinstance(path, str | os.PathLike):
            raise InputError(f"{path!r} is not a path")
        known = {key: kwargs[key] for key in ("resolution", "use_labels") if key in kwargs}
        dataset = ImageFolderDataset(path, **known)
        label_dim = dataset.label_dim
        label_notes = dataset.label_notes()
        identity = dataset.fingerprint()
        found = dataset.check_images() if distributed.is_main_process() else None
    except (OSError, ValueError, TypeError) as error:  # a network file can hold options of any type
        message = one_line(errors.message_of(error))  # the path can come from the network
        raise InputError(f"--data: {message}{hint}") from error
    if found is not None:
        _report_dataset(one_line(str(path)), dataset, found, label_notes)
    if dataset.resolution != G.img_resolution:
        raise InputError(
            f"--data: {path} has images of {dataset.resolution}x{dataset.resolution}, the network "
            f"makes {G.img_resolution}x{G.img_resolution}"
        )
    if label_dim != G.c_dim:
        raise InputError(
            f"--data: the labels of {path} are {label_dim} numbers, the network takes {G.c_dim}"
            + "".join(f"; {note}" for note in label_notes)
        )
    return identity


def _report_dataset(
    path: str, dataset: ImageFolderDataset, found: Counter[str], label_notes: Sequence[str]
) -> None:
    for title, text in notes.describe(found, dataset.left_out).items():
        click.echo(f"{title} in {path}: {text}", err=True)
    for note in label_notes:
        click.echo(f"Note: {note}", err=True)


def compare_dataset(
    networks: Mapping[str, Any],
    kwargs: Mapping[str, Any],
    identity: Mapping[str, Any] | None,
    data: str | None,
) -> str | None:
    """Refuse a dataset that has changed since the training, unless `--data` names it.

    Args:
        networks: Result of `network_files.load.load_network`.
        kwargs: Keyword arguments of the dataset.
        identity: The fingerprint of the dataset; `None` if no metric needs it.
        data: The option.

    Returns:
        A note for the user about the dataset, if there is one.

    Raises:
        ValueError: The message names `--data`.
    """
    if identity is None:
        return None
    saved, path = networks.get("dataset_fingerprint"), kwargs["path"]
    differences = " and ".join(fingerprint.differences(saved, identity))
    if data is not None:
        if not differences:
            return None
        return f"Note: {path} is not what the network was trained with: it has {differences}."
    if differences:
        raise InputError(
            f"--data: {path} is not what the network was trained with any more: it has "
            f"{differences}; --data=PATH names the real images to compare with"
        )
    if fingerprint.is_unknown(saved):
        return (
            f"Note: the real images are what is now in {Path(path).absolute()}; the network does "
            "not tell whether it was trained with them, --data=PATH names others."
        )
    return None


def find_run_dir(network: str) -> str | None:
    """The folder of the training run that holds a network; `None` for other folders."""
    folder = Path(network).absolute().parent
    is_run = os.path.isfile(network) and (folder / "training_options.json").is_file()
    return str(folder) if is_run else None


if __name__ == "__main__":
    main()
