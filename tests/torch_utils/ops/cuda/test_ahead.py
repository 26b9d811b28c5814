"""Kernels are compiled before they are launched."""

import pytest
import torch

from tests.torch_utils.ops.cuda.probe import NAME, SOURCE, count_compilations
from torch_utils.ops.cuda import ahead, launcher

pytest.importorskip("cuda.bindings.nvrtc")
pytestmark = pytest.mark.usefixtures("fresh")


def test_kernels_of_a_run_are_compiled_without_a_cache(source_dir, monkeypatch):
    """There is no file that says that they are complete."""
    cache = source_dir.parent / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    monkeypatch.setattr(ahead, "_futures", {})
    compilations = count_compilations(monkeypatch)
    meta = torch.device("meta")
    with pytest.warns(UserWarning, match="chmod go-w"):
        for _ in range(2):
            ahead.compile_ahead(
                lambda: launcher.launch(SOURCE, NAME, meta, (1, 1, 1), (1, 1, 1), []),
                "run",
                "sm_90",
                1,
            )
    assert len(compilations) == 2 and list(cache.iterdir()) == []
