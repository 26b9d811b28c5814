"""A folder of sources with a cache of its own, for the tests of compiling and launching."""

import pytest

from tests.torch_utils.ops.cuda.probe import CODE, SOURCE
from torch_utils.ops.cuda import compiler


@pytest.fixture
def fresh():
    """Facts about this machine are found out anew, before and after a test."""
    cached = compiler.core, compiler._arch, compiler._can_compile_for
    cached += (compiler._warn_that_there_are_none,)
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


@pytest.fixture
def source_dir(tmp_path, monkeypatch):
    """A folder of sources and a cache of their own; the cache is `tmp_path / "cache"`."""
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / SOURCE).write_text(CODE)
    (folder / "scale.cuh").write_text("template <class T> __device__ T scale(T x) { return x; }")
    monkeypatch.setattr(compiler, "SOURCE_DIR", folder)
    monkeypatch.setenv("STYLEGAN3_KERNEL_CACHE_DIR", str(tmp_path / "cache"))
    return folder
