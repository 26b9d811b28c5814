"""A kernel that the tests of compiling and launching have in common."""

from torch_utils.ops.cuda import compiler

SOURCE = "probe.cu"
NAME = "probe<float>"
CODE = """
#include "scale.cuh"
struct Pair { int a; double b; };
template <class T> __global__ void probe(T* x, int i, long long l, float f, double d, Pair p) {
    x[threadIdx.x] = scale(T(i + l + f + d + p.a + p.b));
}
"""


def cached_files(source_dir):
    return sorted((source_dir.parent / "cache").iterdir())


def count_compilations(monkeypatch):
    """A list that grows with every compilation."""
    compilations, compile = [], compiler._compile

    def counted(*args):
        compilations.append(args)
        return compile(*args)

    monkeypatch.setattr(compiler, "_compile", counted)
    return compilations
