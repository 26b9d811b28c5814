"""The presets of `train.py`: rows of docs/configs.md, by name.

A preset gives values to options that the command line leaves out. This module imports no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dnnlib.errors import InputError
from training import advice
from training.config import Cfg
from training.options import flag_of


@dataclass(frozen=True)
class Preset:
    """A starting point for images of one size, and a number of GPUs; 0 is for the CPU."""

    cfg: Cfg
    resolution: int
    gpus: int

    @property
    def name(self) -> str:
        """The value of `--preset`: `stylegan3-t-256-gpus8`."""
        return f"{self.cfg}-{self.resolution}-{f'gpus{self.gpus}' if self.gpus else 'cpu'}"

    @property
    def options(self) -> dict[str, str]:
        """Names of fields of `TrainOptions`, and values as on a command line."""
        options = advice.starting_point(self.cfg, self.resolution, self.gpus)
        return {name.replace("-", "_"): value for name, value in options.items()}


# Resolution and number of GPUs of each preset.
_ROWS: dict[Cfg, list[tuple[int, int]]] = {
    "stylegan3-t": [(128, 1), (256, 1), (256, 8), (512, 1), (512, 8), (1024, 1), (1024, 8)],
    "stylegan3-r": [(128, 1), (256, 1), (256, 8), (512, 1), (512, 8), (1024, 8), (1024, 16)],
    "stylegan2": [(128, 1), (256, 1), (256, 8), (512, 1), (512, 8), (1024, 8)],
}
CPU = Preset("stylegan3-t", advice.CPU_RESOLUTION, gpus=0)
PRESETS = {
    preset.name: preset
    for preset in (*(Preset(cfg, *row) for cfg, rows in _ROWS.items() for row in rows), CPU)
}


def missing_options(preset: Preset, given: Mapping[str, Any]) -> dict[str, str]:
    """The options of a preset that the command line leaves out.

    Args:
        preset: The preset.
        given: The options of the command line, by field.

    Returns:
        Values by field. `batch_gpu` is left out, too, if no process has a larger part of the batch,
        because other numbers are given for the batch or the processes.
    """
    options = {name: value for name, value in preset.options.items() if name not in given}
    if "batch_gpu" in options:
        batch, gpus = (int(given.get(name, preset.options[name])) for name in ("batch", "gpus"))
        if batch <= gpus * int(options["batch_gpu"]):
            del options["batch_gpu"]
    return options


def describe(preset: Preset, given: Mapping[str, Any]) -> str:
    """A line on what a preset sets; arguments as for `missing_options`."""
    options = missing_options(preset, given)
    others = [flag_of(name) for name in preset.options if name in given]
    line = f"--preset={preset.name} sets {advice.as_arguments(options) or 'nothing'}"
    return f"{line}; it leaves {', '.join(others)} as given." if others else f"{line}."


def check(preset: Preset, given: Mapping[str, Any], resolution: int) -> str | None:
    """Refuse the `gamma` of a preset where it does not apply.

    Args:
        preset: The preset.
        given: The options of the command line, by field.
        resolution: Width and height of the training images.

    Returns:
        A note on images of another size, if `gamma` is given; otherwise `None`.

    Raises:
        ValueError: If `gamma` is not given, but another size, batch or `cfg` than the preset's is.
    """
    is_other_size = resolution != preset.resolution
    its_size, size = (f"{side}x{side}" for side in (preset.resolution, resolution))
    if "gamma" in given:
        return (
            f"--preset={preset.name} is for images of {its_size}, and these are {size}; check the "
            "options that it sets."
            if is_other_size
            else None
        )
    others = [f"images of {size}"] if is_other_size else []
    for name in ("cfg", "batch"):
        if str(given.get(name, preset.options[name])) != preset.options[name]:
            others.append(f"{flag_of(name)}={given[name]}")
    if others:
        way_out = "give --gamma, perhaps as --gamma=auto"
        others_of_size = _names_for(preset, resolution) if is_other_size else []
        if others_of_size:
            way_out += f", or choose --preset={' or '.join(others_of_size)}"
        raise InputError(
            f"--preset={preset.name}: its --gamma={preset.options['gamma']} is for images of "
            f"{its_size} in batches of {preset.options['batch']}, not for {' and '.join(others)}; "
            f"{way_out}"
        )
    return None


def _names_for(preset: Preset, resolution: int) -> list[str]:
    """The presets of the same configuration for images of this size."""
    return [p.name for p in PRESETS.values() if (p.cfg, p.resolution) == (preset.cfg, resolution)]
