"""Ticks at the edges of spectra."""

import numpy as np
import pytest

pytest.importorskip("imgui_bundle", reason="needs requirements-gui.txt")

from viz.spectrum_axes import tick_step, ticks


@pytest.mark.parametrize("num_samples", [4, 5, 16, 17, 276])
def test_ticks_are_in_the_middle_of_their_samples(num_samples):
    expected = np.fft.fftshift(np.fft.fftfreq(num_samples, 1 / num_samples))
    found = dict(ticks(num_samples / 2, 1, num_samples, (100, 100 + num_samples)))
    for idx, frequency in enumerate(expected):
        assert found[frequency] == pytest.approx(100 + idx + 0.5)
    places = list(found.values())
    np.testing.assert_allclose(np.diff(places), 1)
    assert found[0] == pytest.approx(100 + num_samples // 2 + 0.5)


@pytest.mark.parametrize("highest", [2, 8, 18.5, 64, 512])
@pytest.mark.parametrize("most", [1, 4, 9, 30])
def test_steps_are_round_and_ticks_not_too_many(highest, most):
    step = tick_step(highest, most)
    assert f"{step:e}"[0] in "125" and float(f"{step:.0e}") == pytest.approx(step)
    assert 2 * highest / step <= max(most, 2) + 1e-6


@pytest.mark.slow
def test_ticks_of_the_window_are_evenly_spaced_on_both_axes(person, monkeypatch):
    from viz import spectrum_axes

    drawn = []

    def watched(*args):
        drawn.append(ticks(*args))
        return drawn[-1]

    monkeypatch.setattr(spectrum_axes, "ticks", watched)
    person.click("FFT")
    across, down = drawn[-2:]
    assert [frequency for frequency, _ in across] == [frequency for frequency, _ in down]
    for axis in (across, down):
        steps = np.diff([place for _, place in axis])
        assert len(steps) >= 2
        np.testing.assert_allclose(steps, steps[0])
