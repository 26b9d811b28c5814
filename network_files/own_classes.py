"""Find this project's network classes, even if another package named `training` hides ours.

Programs with a package `training` of their own import `legacy` with their folder first on the path.
Our network modules import nothing from our package `training`, so they can be made from their
texts, as for pickles: the same text always gives the same module.
"""

import functools
import importlib
import importlib.util
import os
import sys
import warnings
from pathlib import Path
from types import ModuleType

from torch_utils import persistence

PROJECT_DIR = Path(__file__).resolve().parent.parent
PACKAGE = "training"  # of the classes with which networks are rebuilt
SHIPPED = ("networks_stylegan3", "networks_stylegan2", "augment")


class MissingError(ImportError):
    """A file of ours with network classes is missing."""


def texts() -> dict[str, str]:
    """The texts of our modules whose classes a file may name, by the names of the modules.

    These are only the modules with persistent classes: a module that a file names is imported, and
    importing other modules could run scripts.
    """
    paths = [*sorted((PROJECT_DIR / PACKAGE).glob("*.py")), PROJECT_DIR / "torch_utils/layers.py"]
    found = {f"{path.parent.name}.{path.stem}": _read(path) for path in paths}
    return {name: text for name, text in found.items() if "persistent_class" in text}


def load(module_name: str) -> ModuleType:
    """Import a module of ours by its name, such as `training.networks_stylegan3`.

    Warns, once for each place, if another package of the same name hides ours.

    Raises:
        MissingError: If its file is missing.
    """
    if not module_name.startswith(f"{PACKAGE}."):
        return importlib.import_module(module_name)
    path = PROJECT_DIR.joinpath(*module_name.split(".")).with_suffix(".py")
    if not path.is_file():
        raise MissingError(
            f"networks are rebuilt with {path}, which is missing: keep {path.parent} beside "
            f"{Path(__file__).parent}"
        )
    is_own, place = _find_package(PACKAGE)
    if is_own:
        return importlib.import_module(module_name)
    if place is not None:
        _warn_of_hiding(place)
    return persistence.module_of_text(_read(path))


def is_ours(package: str) -> bool:
    """Whether importing this package finds ours, not another package of the same name."""
    return _find_package(package)[0]


def path_of(cls: type) -> str | None:
    """The dotted path of one of our classes, even if our package is hidden; `None` for others."""
    own_texts, text = texts(), persistence.text_of(cls)
    names = [name for name, own_text in own_texts.items() if own_text == text]
    if not names and cls.__module__ in own_texts:  # its file may have been edited meanwhile
        names = [cls.__module__] if load(cls.__module__).__name__ == cls.__module__ else []
    return f"{names[0]}.{cls.__qualname__}" if names else None


def _read(path: Path) -> str:
    return persistence.normalised(path.read_text(encoding="utf-8", errors="replace"))


def _find_package(package: str) -> tuple[bool, str | None]:
    """Whether an import finds our package, and the place of the package that it finds."""
    module = sys.modules.get(package)
    if module is None:
        spec = importlib.util.find_spec(package)
        folders, file = (spec.submodule_search_locations, spec.origin) if spec else (None, None)
    else:
        folders, file = getattr(module, "__path__", None), getattr(module, "__file__", None)
    place = next(iter(folders or ()), file)
    if place is None:
        return False, None if module is None else f"the running program ({module!r})"
    own = PROJECT_DIR / package
    return os.path.exists(place) and os.path.samefile(place, own), str(place)


@functools.cache  # once for each place
def _warn_of_hiding(place: str) -> None:
    own = PROJECT_DIR / PACKAGE
    warnings.warn(
        f"{place} hides the package {own}, whose classes still rebuild networks; "
        f"to end this warning, rename the former, or put {PROJECT_DIR} before it in sys.path",
        stacklevel=3,
    )
