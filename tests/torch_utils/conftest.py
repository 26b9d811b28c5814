"""Fixtures for tests of persistence."""

import sys

import pytest

from torch_utils import persistence


@pytest.fixture
def no_traces(monkeypatch):
    """Put back the state of `persistence` afterwards."""
    for attribute in ("_texts", "_module_names"):
        monkeypatch.setattr(persistence, attribute, dict(getattr(persistence, attribute)))
    monkeypatch.setattr(persistence, "_import_hooks", [])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("_imported_module_"):
            del sys.modules[name]
