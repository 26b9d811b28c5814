"""Continue an interrupted run: find it, and combine its options with the command line."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from data import fingerprint
from dnnlib.addresses import is_address
from dnnlib.errors import InputError
from dnnlib.text import printable
from training import checkpoint, minibatch_groups, options
from training.options import CHANGEABLE, TrainOptions


@dataclasses.dataclass(frozen=True)
class Continuation:
    """A run to continue: its folder, its newest good state, and the contents of the state."""

    run_dir: Path
    state_path: Path
    state: dict[str, Any]


def find(resume: str | None, outdir: Path) -> Continuation | None:
    """The run that `--resume` names: by `latest`, its folder or one of its states.

    Args:
        resume: The value of the option.
        outdir: Folder of the runs, where `latest` looks.

    Returns:
        `None` if the option is missing or names a network, or if no run has a state yet.

    Raises:
        ValueError: If the run has no state that can be read.
    """
    if resume == "latest":
        return find_latest(outdir)
    if resume is None or is_address(resume):
        return None
    path = Path(resume)
    if path.is_dir():
        return _continuation(path)
    if checkpoint.FILE_NAME.fullmatch(path.name):
        return Continuation(path.parent, path, checkpoint.load(path))
    return None


def find_latest(outdir: Path, description: str = "") -> Continuation | None:
    """The run in `outdir` with the most recently saved state; `None` if no run has a state.

    Args:
        outdir: Folder of the runs.
        description: Consider only runs whose name ends with this text.
    """
    if not outdir.is_dir():
        return None
    newest = [
        (paths[0].stat().st_mtime, run_dir)
        for run_dir in outdir.iterdir()
        if run_dir.is_dir()
        and not run_dir.name.startswith(".")  # belongs to a run that is just being created
        and run_dir.name.endswith(description)
        and (paths := checkpoint.states(run_dir))
    ]
    return _continuation(max(newest)[1]) if newest else None


def refresh(run: Continuation, resume: str | None) -> Continuation:
    """The same run with its newest state, unless the option `resume` names the state."""
    is_named = resume is not None and Path(resume) == run.state_path
    if is_named or checkpoint.states(run.run_dir)[0] == run.state_path:
        return run
    return _continuation(run.run_dir)


def combine(saved: Mapping[str, Any], given: Mapping[str, Any]) -> TrainOptions:
    """The options of a continued run.

    `allow_untrusted` is never taken from the state, because its author could have set it.

    Args:
        saved: The options that the run was started with.
        given: The options on the command line now.

    Raises:
        ValueError: If an option that must not change has another value.
    """
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()}
    before = TrainOptions(**{**values, "allow_untrusted": False})
    completed = before.completed()
    for name in options.NAMES:
        if name in given and name not in {*CHANGEABLE, "resume"}:
            check_unchanged(options.flag_of(name), getattr(completed, name), given[name])
    changes = {name: value for name, value in given.items() if name in CHANGEABLE}
    return dataclasses.replace(before, **changes)


def fit_batch_gpu(
    options: TrainOptions, given: Mapping[str, Any]
) -> tuple[TrainOptions, str | None]:
    """Change a saved `--batch-gpu` that does not suit another `--gpus`, and say so.

    The run may have found the saved value itself, so the user need not know it.

    Args:
        options: The options of the continued run.
        given: The options on the command line now.

    Returns:
        The options with the next smaller value that is possible, and a note; both are unchanged and
        `None` if the value suits, or comes from the command line.
    """
    saved, per_process = options.batch_gpu, options.batch // options.gpus
    is_fixed = "gpus" not in given or "batch_gpu" in given or options.batch % options.gpus != 0
    if is_fixed or not isinstance(saved, int) or per_process % saved == 0:
        return options, None
    sizes = minibatch_groups.pass_sizes(per_process, options.mbstd_group)
    batch_gpu = next((size for size in sizes if size <= saved), None)
    if batch_gpu is None:
        return options, None  # is refused
    note = (
        f"Note: --batch-gpu={saved} of the run does not suit --gpus={options.gpus}: from here on "
        f"it is {batch_gpu}."
    )
    return dataclasses.replace(options, batch_gpu=batch_gpu), note


def nothing_to_train(cur_nimg: int, total_kimg: int) -> str | None:
    """A note on a run that has seen all its images already; `None` if it has not.

    Args:
        cur_nimg: Images that the run has seen.
        total_kimg: Value of `--kimg`.
    """
    if cur_nimg < total_kimg * 1000:
        return None
    return (
        f"Note: the run has seen {cur_nimg / 1000:.1f} kimg already, and --kimg={total_kimg} asks "
        "for no more: nothing is trained. A larger --kimg continues it."
    )


def check_unchanged(option: str, saved: Any, given: Any) -> None:
    """Refuse an option whose value differs from that at the start of the run.

    Raises:
        ValueError: If the values differ.
    """
    if given != saved:
        shown = printable(str(saved))
        raise InputError(
            f"{option}={given}: the run was started with {option}={shown}; leave the option out to "
            "continue it, or --resume to start another"
        )


def check_training_set(
    saved: Mapping[str, Any],
    now: Mapping[str, Any],
    saved_fingerprint: Mapping[str, Any] | None = None,
    fingerprint_now: Mapping[str, Any] | None = None,
    allow_other_data: bool = False,
) -> None:
    """Refuse a dataset other than the run's; only its path may differ.

    Args:
        saved: How the run constructed its dataset.
        now: How it would construct the dataset now.
        saved_fingerprint: Identifies the data of the run; states of older versions have none.
        fingerprint_now: Identifies the data that is at the path now.
        allow_other_data: Accept other images and labels of the same kind.

    Raises:
        ValueError: If images, size, resolution or labels differ.
    """
    differences = fingerprint.differences(saved_fingerprint, fingerprint_now)
    if differences and not allow_other_data:
        raise InputError(
            f"--data: {now['path']} is not what the run was trained on: it has "
            f"{' and '.join(differences)}; --data=PATH names that dataset, and --data=PATH "
            "--allow-other-data=1 continues with another"
        )
    for key in ("resolution", "use_labels", "xflip", *([] if allow_other_data else ["max_size"])):
        if saved.get(key) != now[key]:
            raise InputError(
                f"--data: {now['path']} is not what the run was trained on: its {key} is "
                f"{now[key]}, and was {saved.get(key)} in {saved['path']}"
            )


def check_networks(state: Mapping[str, Any], networks: Mapping[str, torch.nn.Module]) -> None:
    """Refuse a dataset that does not fit the layers of the run's networks.

    Args:
        state: The training state.
        networks: `G_ema` and `D` for the dataset, on any device.

    Raises:
        ValueError: If the size of the labels or the number of channels differs.
    """
    for name, network in networks.items():
        saved = {key: list(tensor.shape) for key, tensor in state["networks"][name].items()}
        shapes = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}
        if shapes == saved:
            continue
        # Labels enter through this layer, [features, c_dim]; unconditional networks lack it.
        label_dim = saved.get("mapping.embed.weight", [0, 0])[1]
        if label_dim != network.c_dim:
            raise InputError(
                f"--data: its labels are {network.c_dim} numbers, the networks of the run take "
                f"{label_dim}; --data=PATH names another dataset, --resume=network-snapshot-*.pkl "
                "starts another run from these networks"
            )
        key = next(k for k in {**shapes, **saved} if shapes.get(k) != saved.get(k))
        raise InputError(
            f"--data: its images have {network.img_channels} channel(s), which do not suit the "
            f"networks of the run ({name}: {key} is {saved.get(key)}, not {shapes.get(key)}); "
            "--data=PATH names another dataset"
        )


def _continuation(run_dir: Path) -> Continuation:
    return Continuation(run_dir, *checkpoint.load_newest(run_dir))
