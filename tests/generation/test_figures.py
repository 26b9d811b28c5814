"""Figures of spectra."""

import numpy as np

from generation import figures


def test_large_heatmaps_are_thinned_out(monkeypatch):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    drawn = []
    contourf = Axes.contourf

    def spy(self, *args, **kwargs):
        drawn.extend(args)
        return contourf(self, *args, **kwargs)

    monkeypatch.setattr(Axes, "contourf", spy)
    monkeypatch.setattr(figures, "MAX_CELLS", 10)
    hmap = np.random.RandomState(0).randn(25, 25) * 10
    figures.draw_heatmap(Figure(), hmap, "x", 8)
    x, y, values, _ = drawn
    assert x.tolist() == y.tolist() and x[[0, -1]].tolist() == [-0.5, 0.5]
    np.testing.assert_array_equal(values, hmap[::3, ::3])
