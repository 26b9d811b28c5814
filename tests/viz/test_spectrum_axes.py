"""Ticks at the edges of spectra."""

import numpy as np
import pytest

pytest.importorskip("imgui_bundle", reason="needs requirements-gui.txt")

from viz.spectrum_axes import place_of, tick_step


@pytest.mark.parametrize("num_samples", [4, 5, 16, 17, 276])
def test_ticks_are_in_the_middle_of_their_samples(num_samples):
    frequencies = np.fft.fftshift(np.fft.fftfreq(num_samples)) * 2
    places = [place_of(frequency, num_samples) * num_samples for frequency in frequencies]
    np.testing.assert_allclose(places, np.arange(num_samples) + 0.5)


@pytest.mark.parametrize("highest", [2, 8, 18.5, 64, 512])
@pytest.mark.parametrize("most", [1, 4, 9, 30])
def test_steps_are_round_and_ticks_not_too_many(highest, most):
    step = tick_step(highest, most)
    assert f"{step:e}"[0] in "125" and float(f"{step:.0e}") == pytest.approx(step)
    assert 2 * highest / step <= max(most, 2) + 1e-6
