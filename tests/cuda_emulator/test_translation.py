"""Declarations of shared memory become references to what the emulator places."""

import re

import pytest

from tests.cuda_emulator.translation import translate


def placed(text):
    """Type with size, name and alignment of each variable that is placed."""
    pattern = r'using \w+ = (.*?) ; static .*? = \{"(\w+)", .*?, (\w+)(?:\(\w+\))?, '
    return re.findall(pattern, translate(text).replace("];", "] ;"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("__shared__ float tile[8];", [("float [8]", "tile", "alignof")]),
        (
            "__shared__ T a[N < 2 ? 1 : N], b[2][M];",
            [("T [N < 2 ? 1 : N]", "a", "alignof"), ("T [2][M]", "b", "alignof")],
        ),
        ("__shared__ Taps<F, S> taps;", [("Taps<F, S>", "taps", "alignof")]),
        (
            "__shared__ __align__(16) float f[round_up(N, 4)];",
            [("float [round_up(N, 4)]", "f", "16")],
        ),
        ("__shared__ alignas(8) char c[9];", [("char [9]", "c", "8")]),
        ("// __shared__ float tile[8];", []),
    ],
)
def test_variables_are_placed(text, expected):
    assert placed(text) == expected


def test_dynamic_memory_is_a_pointer():
    text = translate("extern __shared__ __align__(16) unsigned char bytes[];")
    assert text.startswith("unsigned char* const bytes = static_cast<unsigned char*>(")


def test_lines_keep_their_numbers():
    text = "a;\n__shared__ float x[2],\n    y[3];\nb;\n"
    assert translate(text).split("\n")[3] == "b;"
    assert translate(text).count("\n") == text.count("\n")
