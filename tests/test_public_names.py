"""Every public name that commit 6dc54a0 had can still be imported from its old module."""

import importlib
import subprocess
import sys

import pytest

from dnnlib import moved
from tests import golden

# Names of each module, separated by spaces; see `dnnlib.moved` for those that live elsewhere now.
# One is left out on purpose: `dnnlib.cli.PROJECT_DIR` served to recognise errors by their source.
NAMES = golden.load_json("public_names.json")
NEEDS_A_WINDOW = ("viz", "gui_utils", "visualizer")  # Python 3.10 has no wheel of imgui-bundle


@pytest.mark.parametrize("module", NAMES)
def test_public_names_of_before_import(module):
    if module.partition(".")[0] in NEEDS_A_WINDOW:
        pytest.importorskip("imgui_bundle")
    imported = importlib.import_module(module)
    assert [name for name in NAMES[module].split() if not hasattr(imported, name)] == []


# `dataset_conversion` is a package that is no more: it is found once `dnnlib` has been imported.
STILL_PACKAGES = [name for name in moved.MODULES if not name.startswith("dataset_conversion")]


@pytest.mark.parametrize("module", STILL_PACKAGES)
def test_old_modules_are_found_by_a_program_that_imports_nothing_before(module):
    code = f"import importlib.util; assert importlib.util.find_spec({module!r}) is not None"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
