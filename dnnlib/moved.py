"""Old names of what has moved: `import training.dataset` gives `data.dataset`.

Programs that were written for an earlier version, or for the published code, import old names. Each
old name is an entry in one of the two tables here, and needs no file of its own.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import CodeType, ModuleType
from typing import Any

_CONVERSION = """
    cifar convert decode inspection labels lsun mnist sources transform writer
""".split()  # noqa: SIM905

MODULES = {
    "dataset_conversion": "data.conversion",
    **{f"dataset_conversion.{name}": f"data.conversion.{name}" for name in _CONVERSION},
    "dataset_conversion.parallel": "data.conversion.worker_processes",
    "network_files.state_file": "torch_utils.state_file",
    "torch_utils.ops.cuda.precompile": "training.precompile",
    "training.batches": "data.batches",
    "training.dataset": "data.dataset",
    "training.dataset_json": "data.dataset_json",
    "training.image_cache": "data.image_cache",
    "training.loader": "data.loader",
    "training.synthetic_images": "data.synthetic_images",
    "training.zip_archive": "data.zip_archive",
}

NAMES = {
    "data.conversion.inspection.describe": "data.conversion.inspection_report.describe",
    "data.conversion.labels.COMMA_NUMBER": "data.conversion.label_tables.COMMA_NUMBER",
    "data.conversion.labels.NUMBER": "data.conversion.label_tables.NUMBER",
    "data.conversion.labels.NUM_CLASSES_SHOWN": "data.conversion.classes.NUM_CLASSES_SHOWN",
    "data.conversion.labels.WHOLE_NUMBER": "data.conversion.classes.WHOLE_NUMBER",
    "data.conversion.labels.count_classes": "data.conversion.classes.count_classes",
    "data.conversion.labels.describe_classes": "data.conversion.classes.describe_classes",
    "data.conversion.labels.from_file": "data.conversion.label_tables.from_file",
    "data.conversion.sources.refuse_unlabelled": "data.conversion.source.refuse_unlabelled",
    "dnnlib.cli.is_expected": "dnnlib.errors.is_for_users",
    "dnnlib.cli.is_out_of_memory": "dnnlib.errors.is_out_of_memory",
    "legacy.NETWORKS": "network_files.load.NETWORKS",
    "legacy.NUM_NAMED": "network_files.load.NUM_NAMED",
    "legacy.PARTS": "network_files.load.PARTS",
    "metrics.state_dicts.NUM_OLD_PICKLES": "torch_utils.restricted_tensors.NUM_OLD_PICKLES",
    "metrics.state_dicts.OLD_MAGIC": "torch_utils.state_file.OLD_MAGIC",
    "network_files.torch_file.OLD_MAGIC": "torch_utils.state_file.OLD_MAGIC",
    "network_files.unpickler.CALL_COST": "dnnlib.restricted_pickle.CALL_COST",
    "network_files.unpickler.ITEM_COST": "dnnlib.restricted_pickle.ITEM_COST",
    "network_files.unpickler.LimitedUnpickler": "network_files.unpickler.NetworkUnpickler",
    "network_files.unpickler.MAX_COPIES": "dnnlib.restricted_pickle.MAX_COPIES",
    "network_files.unpickler.MAX_DIMENSIONS": "dnnlib.restricted_pickle.MAX_DIMENSIONS",
    "network_files.unpickler.Storage": "torch_utils.restricted_tensors.Storage",
    "network_files.unpickler.StorageUnpickler": "torch_utils.restricted_tensors.StorageUnpickler",
    "training.stop_request.ignore_signals": "dnnlib.interrupts.ignore_signals",
    "torch_utils.misc.InfiniteSampler": "data.sampler.InfiniteSampler",
}


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds old names of modules.

    Python asks this finder before all others: in a package that has moved, they would load every
    module a second time, under its old name. An old name gives the same module object as the new
    one, so that both see the same state.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in MODULES:
            return None
        # An old package has no folder, but it has modules.
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
        module: Name of the module in `NAMES`.
    """

    def find(name: str) -> Any:
        new = NAMES.get(f"{module}.{name}")
        if new is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        new_module, _, attribute = new.rpartition(".")
        return getattr(importlib.import_module(new_module), attribute)

    return find
