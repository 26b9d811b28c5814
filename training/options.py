"""The options of `train.py` that shape a run, each declared once: as a field of `TrainOptions`.

To add an option, add a field here, and define its effect on a run in `config.make_config`. The
command line, the check of saved options, and the list of options that a continued run may change
follow from the fields.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar, get_args

import click

from dnnlib import cli
from dnnlib.errors import InputError
from dnnlib.options import allow_untrusted_option
from training import wandb_log

Cfg = Literal["stylegan3-t", "stylegan3-r", "stylegan2"]
Aug = Literal["noaug", "ada", "fixed"]
AugPipe = Literal[
    "blit", "geom", "color", "filter", "noise", "cutout", "bg", "bgc", "bgcf", "bgcfn", "bgcfnc"
]
Cache = Literal["none", "ram", "auto"]
Precision = Literal["fp32", "fp16", "bf16"]

# A value to choose when the dataset is open, or the run is set up.
AUTO: Final = "auto"

F = TypeVar("F", bound=Callable[..., Any])


class MetricNames(cli.NameList):
    """Comma-separated names of metrics."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        from metrics import metric_main  # imports torch, which dataset_tool.py does not need

        self.choices = metric_main.list_valid_metrics()
        return super().convert(value, param, ctx)


class _OrAuto(click.ParamType):
    """Adds `AUTO` to the values of the type that follows in the list of base classes."""

    does: str  # what happens with `AUTO`

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == AUTO:
            return value
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            self.fail(f"{error.message}; {AUTO} {self.does}", param, ctx)


class Gamma(_OrAuto, cli.FiniteFloat):
    """A weight of R1, or `AUTO`."""

    does = "chooses one for the dataset"


class PassSize(_OrAuto, cli.WholeNumber):
    """A number of samples, or `AUTO`."""

    does = "tries how many fit into memory"


def _option(
    type: click.ParamType | type[bool],
    help: str,
    *,
    default: Any = dataclasses.MISSING,
    may_change: bool = False,
    metavar: str | None = None,
) -> Any:
    """Declare an option.

    Args:
        type: Click's type, which checks the value.
        help: Text for `--help`.
        default: Value without the option. An option without a default is required for a new run.
        may_change: Whether a continued run may change the value.
        metavar: Name of the value in `--help`; `None` takes the name from the type.
    """
    given: dict[str, Any] = dict(type=type, help=help, metavar=metavar)
    if default not in (dataclasses.MISSING, None):
        text = ",".join(default) if isinstance(default, tuple) else default
        given.update(default=text, show_default=True)
    metadata = dict(declare=lambda name: click.option(name, **given), may_change=may_change)
    return dataclasses.field(default=default, metadata=metadata)


def _choice(choices: Any) -> click.Choice:
    return click.Choice(get_args(choices))


_FROM_0, _FROM_1 = cli.WholeNumber(min=0), cli.WholeNumber(min=1)
_NOT_NEGATIVE, _SHARE = cli.FiniteFloat(min=0), cli.FiniteFloat(min=0, max=1)


@dataclass(frozen=True)
class TrainOptions:
    """The options that shape a run, in the order of `--help`.

    Learning rates, averaging, `gamma`, and kind and strength of augmentation may change: a user who
    gives one of them wants to change the training from here on.

    `gamma` is a number here: `train.py` replaces `AUTO` when it knows the dataset.

    `fp32` and `precision` are two options for the same, see `completed`.
    """

    cfg: Cfg = _option(
        _choice(Cfg), "Translation (t), translation and rotation (r), or StyleGAN2.  [required]"
    )
    gpus: int = _option(
        _FROM_1,
        "Number of processes, one per GPU.  [required, except under torchrun]",
        may_change=True,
    )
    batch: int = _option(_FROM_1, "Total batch size.  [required]")
    gamma: float = _option(
        Gamma(min=0),
        "R1 weight; auto computes it from cfg, image size and batch.  [required]",
        may_change=True,
        metavar="NUMBER|auto",
    )
    mirror: bool = _option(bool, "Add x-flipped images.", default=False)
    aug: Aug = _option(_choice(Aug), "Augmentation.", default="ada")
    augpipe: AugPipe = _option(
        _choice(AugPipe),
        "What augmentation changes; bgc is blit, geom and color, and so on.",
        default="bgc",
        may_change=True,
    )
    resume: str | None = _option(
        cli.Address(),
        "Start from trained networks, or continue a run: its folder, or the latest in --outdir.",
        default=None,
        metavar="PATH|URL|pretrained:NAME|RUN|latest",
    )
    allow_untrusted: bool = dataclasses.field(
        default=False,
        metadata=dict(declare=lambda name: allow_untrusted_option, may_change=True),
    )
    freezed: int = _option(_FROM_0, "How many of the first layers of D to freeze.", default=0)
    p: float = _option(_SHARE, "Probability for --aug=fixed.", default=0.2, may_change=True)
    target: float = _option(_SHARE, "Target for --aug=ada.", default=0.6, may_change=True)
    aug_max: float | None = _option(
        cli.FiniteFloat(min=0, max=1, min_open=True),
        "Largest strength for --aug=ada; beyond 0.8, augmentations leak into the images."
        "  [default: no limit]",
        default=None,
        may_change=True,
    )
    batch_gpu: int | Literal["auto"] | None = _option(
        PassSize(min=1),
        "Samples per process and pass; gradients accumulate; auto tries how many fit into memory."
        "  [default: batch / gpus]",
        default=None,
        may_change=True,
        metavar="NUMBER|auto",
    )
    cbase: int = _option(_FROM_1, "Capacity multiplier.", default=32768)
    cmax: int = _option(_FROM_1, "Largest number of feature maps.", default=512)
    d_cbase: int | None = _option(
        _FROM_1, "Capacity multiplier of D alone.  [default: that of --cbase]", default=None
    )
    d_cmax: int | None = _option(
        _FROM_1, "Largest number of feature maps of D.  [default: that of --cmax]", default=None
    )
    glr: float | None = _option(
        _NOT_NEGATIVE,
        "Learning rate of G.  [default: 0.002 for stylegan2, else 0.0025]",
        default=None,
        may_change=True,
    )
    dlr: float = _option(_NOT_NEGATIVE, "Learning rate of D.", default=0.002, may_change=True)
    ema_kimg: float | None = _option(
        _NOT_NEGATIVE,
        "Half-life of the average of G's weights, in thousands of images; less for short runs."
        "  [default: batch * 10 / 32]",
        default=None,
        may_change=True,
    )
    map_depth: int | None = _option(
        _FROM_1, "Layers of the mapping network.  [default: 8 for stylegan2, else 2]", default=None
    )
    d_map_depth: int | None = _option(
        _FROM_1,
        "Layers that map labels in D; with 2, short runs learn classes sooner.  [default: 8]",
        default=None,
    )
    mbstd_group: int = _option(
        _FROM_1, "Group size of the minibatch standard deviation.", default=4
    )
    metrics: tuple[str, ...] = _option(
        MetricNames(),
        "Metrics to evaluate at each snapshot; calc_metrics.py --help lists them.",
        default=("fid50k_full",),
        may_change=True,
        metavar="NAME,NAME|none",
    )
    keep_best: str | None = _option(
        click.STRING,
        "Keep the snapshot that is best by this metric, or value of a metric, as network-best.pkl."
        "  [default: the first of --metrics that has a single value]",
        default=None,
        may_change=True,
        metavar="NAME|none",
    )
    patience: int = _option(
        _FROM_0,
        "End the run after this many evaluations in a row without a better value, at least 2; 0 "
        "never ends it.",
        default=0,
        may_change=True,
    )
    kimg: int = _option(
        _FROM_1, "Length of the run, in thousands of images.", default=25000, may_change=True
    )
    max_minutes: float = _option(
        _NOT_NEGATIVE,
        "Save the state and stop in time for this limit, which counts from the start of the "
        "process; exit code 3. 0 sets no limit.",
        default=0,
        may_change=True,
    )
    tick: int = _option(
        _FROM_1, "Thousands of images between two status lines.", default=4, may_change=True
    )
    snap: int = _option(_FROM_1, "Ticks per snapshot.", default=50, may_change=True)
    wandb: str | None = _option(
        wandb_log.Project(),
        "Copy statistics, metrics and sheets to this project of Weights & Biases.",
        default=None,
        may_change=True,
        metavar="[OWNER/]PROJECT|none",
    )
    keep_snapshots: int = _option(
        _FROM_0,
        "Number of network snapshots to keep: many new ones, few old ones, and the best; 0 keeps "
        "all.",
        default=0,
        may_change=True,
    )
    seed: int = _option(_FROM_0, "Random seed.", default=0)
    fp32: bool | None = _option(
        bool, "No mixed precision, as --precision=fp32.  [default: False]", default=None
    )
    precision: Precision | None = _option(
        _choice(Precision),
        "Type of the features at high resolutions; fp16 needs CUDA.  [default: fp16]",
        default=None,
    )
    tf32: bool = _option(
        bool,
        "Round the inputs of float32 products to 10 bits, for the tensor cores of GPUs.",
        default=False,
        may_change=True,
    )
    nobench: bool = _option(bool, "No cuDNN autotuning.", default=False, may_change=True)
    workers: int = _option(
        _FROM_0,
        "Processes that load images; 0 loads them in the training process.",
        default=3,
        may_change=True,
    )
    state_minutes: float = _option(
        _NOT_NEGATIVE, "Save the state of the run at least this often.", default=30, may_change=True
    )
    watchdog_minutes: float = _option(
        _NOT_NEGATIVE,
        "End the run if a process keeps the others waiting this long; 0 turns this off.",
        default=10,
        may_change=True,
    )
    keep_states: int = _option(_FROM_1, "Number of states to keep.", default=2, may_change=True)
    max_nan_steps: int = _option(
        _FROM_1,
        "Give up after this many steps in a row with losses that are not finite.",
        default=200,
        may_change=True,
    )
    skip_damaged: bool = _option(
        bool,
        "Skip and count images that cannot be read, instead of stopping.",
        default=False,
        may_change=True,
    )
    deterministic: bool = _option(
        bool,
        "Compute the same bits in each run on the same machine; slower on GPUs.",
        default=False,
        may_change=True,
    )
    cache: Cache = _option(
        _choice(Cache),
        "Keep decoded images in memory; auto does so if half of the free memory is enough.",
        default="none",
        may_change=True,
    )

    def completed(self) -> "TrainOptions":
        """The same options, where `fp32` and `precision` both say what one of them says.

        Raises:
            InputError: If they contradict each other.
        """
        precision = self.precision or ("fp32" if self.fp32 else "fp16")
        is_fp32 = precision == "fp32"
        if self.fp32 not in (None, is_fp32):
            raise InputError(
                f"--fp32={self.fp32} contradicts --precision={precision}; leave one of them out"
            )
        return dataclasses.replace(self, precision=precision, fp32=is_fp32)


NAMES = tuple(field.name for field in dataclasses.fields(TrainOptions))
CHANGEABLE = {
    field.name for field in dataclasses.fields(TrainOptions) if field.metadata["may_change"]
}


def click_options(first: str, last: str | None = None) -> Callable[[F], F]:
    """Give a click command the options from one field of `TrainOptions` to another.

    Args:
        first: Name of the first field.
        last: Name of the last field; `None` for the first one alone.
    """
    fields = dataclasses.fields(TrainOptions)
    start, end = NAMES.index(first), NAMES.index(last or first)

    def decorate(command: F) -> F:
        # From last to first, as a stack of decorators is applied.
        for field in reversed(fields[start : end + 1]):
            command = field.metadata["declare"](flag_of(field.name))(command)
        return command

    return decorate


def flag_of(name: str) -> str:
    """The option of a field: `--batch-gpu` for `batch_gpu`."""
    return "--" + name.replace("_", "-")


def make(given: dict[str, Any]) -> TrainOptions:
    """The options among the parameters of a command line."""
    values = {name: given[name] for name in NAMES}
    return TrainOptions(**{**values, "metrics": tuple(given["metrics"])})
