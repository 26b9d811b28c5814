"""Old names of what has moved: `import training.dataset` gives `data.dataset`.

Programs that were written for an earlier version, or for the published one, import the old names.
Each old name is an entry of one of the two tables here, and costs no file of its own.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import CodeType, ModuleType
from typing import Any

_CONVERSION = """
    cifar convert decode inspection labels lsun mnist parallel sources transform writer
""".split()  # noqa: SIM905

_DEVICES = ("DEVICES", "configure_backends", "num_gpus", "synchronize")
_EXCHANGES = ("any_of", "average", "broadcast", "broadcast_module", "gather")
_CUDA = "torch_utils.ops.cuda"
_LAUNCHING = ("MAX_PLAIN_SHARED_BYTES", "UNRELATED", "UNSUITABLE", "failures", "launch")

MODULES = {
    "metrics.parallel": "metrics.lockstep",
    "viz.memory": "viz.settings",
    "dataset_conversion": "data.conversion",
    **{f"dataset_conversion.{name}": f"data.conversion.{name}" for name in _CONVERSION},
    "torch_utils.ops.cuda.precompile": "training.precompile",
    "torch_utils.resample": "torch_utils.image_transforms",
    "training.batches": "data.batches",
    "training.dataset": "data.dataset",
    "training.dataset_json": "data.dataset_json",
    "training.image_cache": "data.image_cache",
    "training.loader": "data.loader",
    "training.synthetic_images": "data.synthetic_images",
    "training.zip_archive": "data.zip_archive",
}

_SAME_NAME = {
    "gen_images": {
        "generation.images": "generate_images load_ws prepare_outdir",
        "dnnlib.cli": "parse_range parse_vec2",
        "torch_utils.latents": "make_transform",
    },
    "gen_video": {
        "generation.videos": "gen_interp_video layout_grid render_frames",
        "generation.trajectories": "assign_seeds interpolate map_keyframes",
    },
    "avg_spectra": {
        "generation.sources": "dataset_images generated_images open_source",
        "generation.spectra": "FFT_BYTES SMALLEST_POWER average_spectrum construct_heatmap "
        "construct_slices kaiser_window measure_stats",
        "generation.figures": "LEVELS_DB MAX_CELLS SLICE_LIMITS_DB draw_heatmap draw_slices "
        "make_figure",
    },
    "dnnlib.cli": {
        "dnnlib.options": "allow_untrusted_option class_option device_option noise_mode_option "
        "trunc_option version_option",
    },
}

NAMES = {
    "training.stop_request.ignore_signals": "dnnlib.interrupts.ignore_signals",
    **{
        f"{old}.{name}": f"{new}.{name}"
        for old, places in _SAME_NAME.items()
        for new, names in places.items()
        for name in names.split()
    },
    "viz.application.STILL_FRAMES": "viz.screenshot.STILL_FRAMES",
    "viz.application.take_screenshot": "viz.screenshot.take_screenshot",
    "viz.mixing_widget.MixingState": "viz.motion.SeedMotion",
    "viz.truncation_widget.NoiseState": "viz.motion.SeedMotion",
    "viz.settings.Memory": "viz.settings.Settings",
    "viz.settings.load_memory": "viz.settings.load_settings",
    "viz.settings.memory_path": "viz.settings.settings_path",
    "gen_video.parse_tuple": "dnnlib.cli.parse_size",
    "dnnlib.cli.is_expected": "dnnlib.errors.is_for_users",
    "dnnlib.cli.is_out_of_memory": "dnnlib.errors.is_out_of_memory",
    "legacy.NETWORKS": "network_files.load.NETWORKS",
    "legacy.NUM_NAMED": "network_files.load.NUM_NAMED",
    "legacy.PARTS": "network_files.load.PARTS",
    "torch_utils.misc.InfiniteSampler": "data.sampler.InfiniteSampler",
    **{f"torch_utils.distributed.{name}": f"torch_utils.devices.{name}" for name in _DEVICES},
    **{f"torch_utils.distributed.{name}": f"torch_utils.collectives.{name}" for name in _EXCHANGES},
    **{f"{_CUDA}.compiler.{name}": f"{_CUDA}.launcher.{name}" for name in _LAUNCHING},
    f"{_CUDA}.compiler.compile_ahead": f"{_CUDA}.ahead.compile_ahead",
    f"{_CUDA}.compiler.record_launches": f"{_CUDA}.recorder.record_launches",
    f"{_CUDA}.bias_act.NAMES": f"{_CUDA}.cpp_types.CPP_TYPES",
    f"{_CUDA}.filtered_lrelu_plan.TYPES": f"{_CUDA}.cpp_types.CPP_TYPES",
    f"{_CUDA}.upfirdn2d.NAMES": f"{_CUDA}.cpp_types.CPP_TYPES",
}


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds old names of modules, after everything else has been asked.

    An old name gives the same module object as the new one, so that both see the same state.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in MODULES:
            return None
        # An old package has no folder, and still holds modules.
        is_package = any(name.startswith(f"{fullname}.") for name in MODULES)
        return importlib.machinery.ModuleSpec(fullname, self, is_package=is_package)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        # The import system returns what it finds here, rather than the empty module it has made.
        sys.modules[module.__name__] = importlib.import_module(MODULES[module.__name__])

    def get_code(self, fullname: str) -> CodeType:
        """What `python -m OLD.NAME` runs."""
        source = (
            f"from {MODULES[fullname]} import main\n"
            f"if __name__ == '__main__':\n    main(prog_name='python -m {fullname}')\n"
        )
        return compile(source, fullname, "exec")


def install() -> None:
    """Let Python find the old names of modules; a second call does nothing."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.append(Finder())


def names_of(module: str) -> Callable[[str], Any]:
    """A module's `__getattr__` that looks up what has moved out of the module.

    Args:
        module: Name of the module, as it is in `NAMES`.
    """

    def find(name: str) -> Any:
        new = NAMES.get(f"{module}.{name}")
        if new is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        new_module, _, attribute = new.rpartition(".")
        return getattr(importlib.import_module(new_module), attribute)

    return find
