"""Old names of modules, classes and functions: `import training.dataset` gives `data.dataset`.

Programs for an earlier version, or for the published code, import the old names. Each old name is
an entry in one of the tables here and needs no separate file.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import PathFinder
from types import CodeType, ModuleType
from typing import Any

MODULES = {
    "dataset_conversion": "data.conversion",
    "dataset_conversion.cifar": "data.conversion.cifar",
    "dataset_conversion.convert": "data.conversion.convert",
    "dataset_conversion.decode": "data.conversion.decode",
    "dataset_conversion.inspection": "data.conversion.inspection",
    "dataset_conversion.labels": "data.conversion.labels",
    "dataset_conversion.lsun": "data.conversion.lsun",
    "dataset_conversion.mnist": "data.conversion.mnist",
    "dataset_conversion.parallel": "data.conversion.worker_processes",
    "dataset_conversion.sources": "data.conversion.sources",
    "dataset_conversion.transform": "data.conversion.transform",
    "dataset_conversion.writer": "data.conversion.writer",
    "generation.layout": "torch_utils.layout",
    "metrics.parallel": "metrics.lockstep",
    "network_files.state_file": "torch_utils.state_file",
    "torch_utils.ops.cuda.precompile": "training.precompile",
    "torch_utils.resample": "torch_utils.image_transforms",
    "training.batches": "data.batches",
    "training.dataset": "data.dataset",
    "training.dataset_json": "data.dataset_json",
    "training.image_cache": "data.image_cache",
    "training.loader": "data.loader",
    "training.synthetic_images": "data.synthetic_images",
    "training.zip_archive": "data.zip_archive",
    "viz.memory": "viz.settings",
}

# Old module -> new module -> names, which are the same in both.
NAMES = {
    "avg_spectra": {
        "generation.figures": (
            "LEVELS_DB MAX_CELLS SLICE_LIMITS_DB draw_heatmap draw_slices make_figure"
        ),
        "generation.sources": "dataset_images generated_images open_source",
        "generation.spectra": (
            "FFT_BYTES SMALLEST_POWER average_spectrum construct_heatmap construct_slices "
            "kaiser_window measure_stats"
        ),
    },
    "data.conversion.inspection": {
        "data.conversion.inspection_report": "describe",
    },
    "data.conversion.labels": {
        "data.conversion.classes": (
            "NUM_CLASSES_SHOWN WHOLE_NUMBER count_classes describe_classes"
        ),
        "data.conversion.label_tables": "COMMA_NUMBER NUMBER from_file",
    },
    "data.conversion.sources": {
        "data.conversion.source": "refuse_unlabelled",
    },
    "dnnlib.cli": {
        "dnnlib.errors": "is_out_of_memory",
        "dnnlib.options": (
            "allow_untrusted_option class_option device_option noise_mode_option "
            "trunc_option version_option"
        ),
    },
    "gen_images": {
        "dnnlib.cli": "parse_range parse_vec2",
        "generation.images": "generate_images load_ws prepare_outdir",
        "torch_utils.latents": "make_transform",
    },
    "gen_video": {
        "generation.trajectories": "assign_seeds interpolate map_keyframes",
        "generation.videos": "gen_interp_video layout_grid render_frames",
    },
    "legacy": {
        "network_files.load": "NETWORKS NUM_NAMED PARTS",
    },
    "metrics.detectors": {"metrics.servers": "PROBE_SEC"},
    "metrics.inception": {"metrics.state_dicts": "MAX_NAMES"},
    "metrics.state_dicts": {
        "torch_utils.restricted_tensors": "NUM_OLD_PICKLES",
        "torch_utils.state_file": "OLD_MAGIC",
    },
    "network_files.torch_file": {
        "torch_utils.state_file": "OLD_MAGIC",
    },
    "network_files.unpickler": {
        "dnnlib.restricted_pickle": "CALL_COST ITEM_COST MAX_COPIES MAX_DIMENSIONS",
        "torch_utils.restricted_tensors": "Storage StorageUnpickler",
    },
    "torch_utils.distributed": {
        "torch_utils.collectives": "any_of average broadcast broadcast_module gather",
        "torch_utils.devices": "DEVICES configure_backends num_gpus synchronize",
    },
    "torch_utils.misc": {
        "data.sampler": "InfiniteSampler",
    },
    "torch_utils.ops.cuda.compiler": {
        "torch_utils.ops.cuda.ahead": "compile_ahead",
        "torch_utils.ops.cuda.launcher": (
            "MAX_PLAIN_SHARED_BYTES UNRELATED UNSUITABLE failures launch"
        ),
        "torch_utils.ops.cuda.recorder": "record_launches",
    },
    "torch_utils.ops.cuda.upfirdn2d": {
        "torch_utils.ops.cuda.upfirdn2d_tiles": "MAX_SHARED_BYTES",
    },
    "torch_utils.ops.filtered_lrelu": {
        "torch_utils.ops.sums": "sum_of_products",
    },
    "training.stop_request": {
        "dnnlib.interrupts": "ignore_signals",
    },
    "calc_metrics": {"metrics.dataset_checks": "check_dataset choose_dataset compare_dataset"},
    "viz.capture_widget": {"viz.capture_folder": "next_path"},
    "viz.layer_widget": {"gui_utils.imgui_toolkit": "MIN_ROWS"},
    "viz.layers": {"editing.middle_features": "content_width"},
    "viz.application": {
        "viz.screenshot": "STILL_FRAMES take_screenshot",
        "viz.viewer": "MAX_STEP_SEC",
    },
    "viz.welcome": {"viz.offers": "MAX_OFFERED"},
    "viz.async_renderer": {"viz.shared_renderer": "STOP_SEC"},
}

RENAMED = {
    "dnnlib.cli.is_expected": "dnnlib.errors.is_for_users",
    "gen_video.parse_tuple": "dnnlib.cli.parse_size",
    "network_files.unpickler.LimitedUnpickler": "network_files.unpickler.NetworkUnpickler",
    "torch_utils.ops.cuda.bias_act.NAMES": "torch_utils.ops.cuda.cpp_types.CPP_TYPES",
    "torch_utils.ops.cuda.filtered_lrelu_plan.TYPES": "torch_utils.ops.cuda.cpp_types.CPP_TYPES",
    "torch_utils.ops.cuda.upfirdn2d.CHANNELS_LAST_TILES": (
        "torch_utils.ops.cuda.upfirdn2d_tiles.best_tile"
    ),
    "torch_utils.ops.cuda.upfirdn2d.NAMES": "torch_utils.ops.cuda.cpp_types.CPP_TYPES",
    "torch_utils.ops.cuda.upfirdn2d.SMALL_IMAGE_TILES": (
        "torch_utils.ops.cuda.upfirdn2d_tiles.best_tile"
    ),
    "torch_utils.ops.cuda.upfirdn2d.TILES": "torch_utils.ops.cuda.upfirdn2d_tiles.best_tile",
    "viz.latent_widget.MAX_NAMES": "gui_utils.imgui_toolkit.MAX_FOUND",
    "viz.layer_widget.MAX_DB": "viz.view.MAX_RANGE_DB",
    "viz.mixing_widget.MixingState": "viz.motion.SeedMotion",
    "viz.settings.Memory": "viz.settings.Settings",
    "viz.settings.load_memory": "viz.settings.load_settings",
    "viz.settings.memory_path": "viz.settings.settings_path",
    "viz.truncation_widget.NoiseState": "viz.motion.SeedMotion",
}


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds old names of modules.

    An old name gives the same module object as the new one, so that both see the same state. Python
    asks this finder first, because the usual finders would load the modules of a package that has
    moved a second time, under their old names.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in MODULES:
            return None
        is_in_moved_package = fullname.partition(".")[0] in MODULES
        # A program with a `training` of its own may have a module of this name there.
        if not is_in_moved_package and PathFinder.find_spec(fullname, path) is not None:
            return None
        # An old package has no folder, but still contains modules.
        is_package = any(name.startswith(f"{fullname}.") for name in MODULES)
        return importlib.machinery.ModuleSpec(fullname, self, is_package=is_package)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        # The import system returns the module that it finds here, not the empty one it has made.
        sys.modules[module.__name__] = importlib.import_module(MODULES[module.__name__])

    def get_code(self, fullname: str) -> CodeType:
        """The code that `python -m OLD.NAME` runs."""
        source = (
            f"from {MODULES[fullname]} import main\n"
            f"if __name__ == '__main__':\n    main(prog_name='python -m {fullname}')\n"
        )
        return compile(source, fullname, "exec")


def install() -> None:
    """Let Python find the old names of modules; a second call does nothing."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())


def names_of(module: str) -> Callable[[str], Any]:
    """A `__getattr__` for a module, which looks up names that have moved to other modules.

    Args:
        module: Name of the module in `NAMES` and `RENAMED`.
    """

    def find(name: str) -> Any:
        old = f"{module}.{name}"
        places = (new for new, names in NAMES.get(module, {}).items() if name in names.split())
        new = RENAMED.get(old) or next((f"{place}.{name}" for place in places), None)
        if new is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        new_module, _, attribute = new.rpartition(".")
        return getattr(importlib.import_module(new_module), attribute)

    return find
