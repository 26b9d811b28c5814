"""Old names give the same modules and objects as the new ones."""

import importlib

import pytest

from dnnlib import moved


@pytest.mark.parametrize("old", moved.MODULES)
def test_old_module_is_the_new_one(old):
    assert importlib.import_module(old) is importlib.import_module(moved.MODULES[old])


MOVED = {
    f"{old}.{name}": f"{new}.{name}"
    for old, places in moved.NAMES.items()
    for new, names in places.items()
    for name in names.split()
}


@pytest.mark.parametrize("old", [*MOVED, *moved.RENAMED])
def test_old_name_is_the_new_one(old):
    if old.startswith("viz."):
        pytest.importorskip("imgui_bundle")  # of which Python 3.10 has no wheel
    found = []
    for name in (old, MOVED.get(old) or moved.RENAMED[old]):
        module, _, attribute = name.rpartition(".")
        found.append(getattr(importlib.import_module(module), attribute))
    assert found[0] is found[1]


def test_unknown_names_are_no_attributes():
    with pytest.raises(AttributeError, match=r"'data\.conversion\.labels' has no attribute 'no'"):
        _ = importlib.import_module("dataset_conversion.labels").no
