"""Tables of colours: what a colour bar and the renderer agree on."""

import subprocess
import sys

import numpy as np
import pytest

from viz import color_maps


@pytest.mark.parametrize("name", [*color_maps.NAMES, color_maps.SPECTRUM])
def test_maps_are_tables_that_nobody_changes(name):
    table = color_maps.colors(name)
    assert (table.dtype, table.shape) == (np.uint8, (256, 3))
    assert len(np.unique(table, axis=0)) > 200
    with pytest.raises(ValueError, match="read-only"):
        table[0] = 0


@pytest.mark.parametrize("name", ["grey", "viridis", "inferno", "cividis", color_maps.SPECTRUM])
def test_larger_values_are_brighter(name):
    brightness = color_maps.colors(name) @ [0.2126, 0.7152, 0.0722]
    assert np.diff(brightness[::8]).min() > 0


def test_diverging_map_is_lightest_in_the_middle_and_has_two_sides():
    table = color_maps.colors("coolwarm").astype(int)
    assert 118 < table.min(axis=1).argmax() < 138
    assert table[0, 2] > table[0, 0] + 50 and table[-1, 0] > table[-1, 2] + 50


def test_spectrum_passes_its_control_colors():
    table = color_maps.colors(color_maps.SPECTRUM)
    np.testing.assert_array_equal(table[0], color_maps.SPECTRUM_COLORS[0])
    np.testing.assert_array_equal(table[-1], color_maps.SPECTRUM_COLORS[-1])
    middle = table[127].astype(int) - color_maps.SPECTRUM_COLORS[2]
    assert np.abs(middle).max() <= 2


def test_unknown_map_is_refused():
    with pytest.raises(
        ValueError, match="there is no colour map 'jet', but grey, viridis, inferno"
    ):
        color_maps.colors("jet")


def test_views_and_colors_need_neither_pytorch_nor_matplotlib():
    code = (
        "import sys; from viz import color_maps, view; view.View(); color_maps.colors('spectrum');"
        "print([name for name in ('torch', 'matplotlib', 'imgui_bundle') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
