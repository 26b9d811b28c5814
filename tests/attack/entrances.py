"""Where files of others come in: the scripts with a hostile file in each place for one."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dnnlib import downloads
from metrics import detectors

DEVICE = "--device=cpu"
TRAINING = [
    "--cfg=stylegan2",
    "--gpus=1",
    "--batch=40",
    "--gamma=1",
    "--cbase=64",
    "--cmax=4",
    "--map-depth=1",
    "--workers=0",
    "--kimg=1",
    "--metrics=none",
    "--aug=noaug",
    DEVICE,
]
STATE = "training-state-000001000.pt"  # of a run that has seen all its images


@dataclass(frozen=True)
class Props:
    """Sound files that scripts need beside the hostile one; see `props.build`.

    Attributes:
        folder: Where they are.
        caches: Names of the files with features below the cache folder that a sound run writes.
    """

    folder: Path
    caches: tuple[str, ...] = ()

    @property
    def dataset(self) -> Path:
        return self.folder / "shapes.zip"

    @property
    def network(self) -> Path:
        return self.folder / "network.pkl"

    @property
    def state(self) -> Path:
        return self.folder / STATE

    @property
    def state_dict(self) -> Path:
        """Of the feature network, which needs no trust."""
        return self.folder / "inception.pth"

    @property
    def detector(self) -> Path:
        """A small feature network, which needs trust."""
        return self.folder / "inception.pt"

    @property
    def spectrum(self) -> Path:
        return self.folder / "spectrum.npz"

    @property
    def statistics(self) -> Path:
        """Of a run, by tick."""
        return self.folder / "training_stats.jsonl"

    @property
    def styles(self) -> Path:
        return self.folder / "styles.npz"


@dataclass(frozen=True)
class Entrance:
    """A script, and the place in which it finds the file.

    Attributes:
        script: Name of the script.
        args: Its arguments, from the props.
        places: Where the file lies, relative to the folder in which the script runs.
        sound: A file that the entrance takes; None if it takes only files that nobody can make.
        environment: Variables of the environment.
    """

    script: str
    args: Callable[[Props], list[str]]
    sound: Callable[[Props], Path] | None
    places: Callable[[Props], list[str]] = lambda props: ["in/hostile.pkl"]
    environment: Mapping[str, str] = field(default_factory=dict)


def _metric(props: Props) -> list[str]:
    """A metric of few images; KID because the features of FID take seconds."""
    return [f"--data={props.dataset}", "--metrics=kid50k_full", "--num=4", DEVICE]


def _with_state_dict(props: Props) -> list[str]:
    return [*_metric(props), f"--detector=inception={props.state_dict}"]


def _cached_detector(props: Props) -> list[str]:
    path = downloads.cached_path(detectors.URLS["inception"], Path("cache/downloads"))
    return [os.fspath(path)]


FILE = "in/hostile.pkl"
ENTRANCES = {
    "legacy": Entrance(
        "legacy",
        lambda props: [f"--source={FILE}", "--dest=out/new.pkl"],
        lambda props: props.network,
    ),
    "gen_images": Entrance(
        "gen_images",
        lambda props: [f"--network={FILE}", "--seeds=0", "--outdir=out", DEVICE],
        lambda props: props.network,
    ),
    "gen_video": Entrance(
        "gen_video",
        lambda props: [
            f"--network={FILE}",
            "--seeds=0,1",
            "--w-frames=1",
            "--output=out/video.gif",
            DEVICE,
        ],
        lambda props: props.network,
    ),
    "styles": Entrance(
        "gen_images",
        lambda props: [
            f"--network={props.network}",
            "--projected-w=in/hostile.npz",
            "--outdir=out",
            DEVICE,
        ],
        lambda props: props.styles,
        lambda props: ["in/hostile.npz"],
    ),
    "train": Entrance(
        "train",
        lambda props: [
            f"--resume={FILE}",
            f"--data={props.dataset}",
            "--outdir=out",
            *TRAINING,
        ],
        lambda props: props.network,
    ),
    "state": Entrance(
        "train",
        lambda props: [f"--resume=in/00000-run/{STATE}", DEVICE],
        lambda props: props.state,
        lambda props: [f"in/00000-run/{STATE}"],
    ),
    "run": Entrance(
        "train",
        lambda props: ["--resume=latest", "--outdir=in", *TRAINING[:2], DEVICE],
        lambda props: props.state,
        lambda props: [f"in/00000-run/{STATE}"],
    ),
    "avg_spectra": Entrance(
        "avg_spectra",
        lambda props: ["stats", f"--source={FILE}", "--num=1", DEVICE],
        lambda props: props.network,
    ),
    "spectrum": Entrance(
        "avg_spectra",
        lambda props: ["heatmap", "in/hostile.npz", "--save=out/heatmap.png", "--dpi=20"],
        lambda props: props.spectrum,
        lambda props: ["in/hostile.npz"],
    ),
    "report": Entrance(
        "report",
        lambda props: ["in/00000-run", "--out=out/report.html", "--max-mb=1"],
        lambda props: props.statistics,
        lambda props: [
            f"in/00000-run/{name}"
            for name in (
                "training_stats.jsonl",
                "training_options.json",
                "log.txt",
                "reals.png",
                "metric-fid50k_full.jsonl",
            )
        ],
    ),
    "visualizer": Entrance(
        "visualizer",
        lambda props: ["--screenshot=window.png", "--size=320x240", DEVICE, FILE],
        lambda props: props.network,
    ),
    "calc_metrics": Entrance(
        "calc_metrics",
        lambda props: [f"--network={FILE}", *_with_state_dict(props)[1:]],
        lambda props: props.network,
    ),
    "detector": Entrance(
        "calc_metrics",
        lambda props: [
            f"--network={props.network}",
            *_metric(props),
            f"--detector=inception={FILE}",
        ],
        lambda props: props.state_dict,
    ),
    "detector folder": Entrance(
        "calc_metrics",
        lambda props: [f"--network={props.network}", *_metric(props)],
        lambda props: props.state_dict,
        lambda props: ["in/inception-2015-12-05.pt"],
        environment={detectors.FOLDER_VARIABLE: "in"},
    ),
    "detector cache": Entrance(
        "calc_metrics",
        lambda props: [f"--network={props.network}", *_metric(props)],
        None,  # the published file
        _cached_detector,
    ),
    "features": Entrance(
        "calc_metrics",
        lambda props: [
            f"--network={props.network}",
            f"--data={props.dataset}",
            "--metrics=fid50k_full",
            "--num=8",
            f"--detector=inception={props.detector}",
            "--allow-untrusted",  # for the detector; a cache runs nothing whatever is allowed
            DEVICE,
        ],
        lambda props: props.folder / "cache" / props.caches[0],
        lambda props: [f"cache/{name}" for name in props.caches],
    ),
}
