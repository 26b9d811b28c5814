"""Average power spectra: reference numbers and the plain definition."""

import numpy as np
import pytest
import torch

from generation import sources, spectra
from tests import golden

CASES = golden.load("spectra.npz")
CALC = golden.case_names("spectra.npz", "calc_")


def test_stats_are_exact():
    case = CASES["stats_rgb_num5_seed0"]
    batches, size = sources.open_source(
        str(golden.DATA_DIR / case.meta["source"]), 5, 0, 2, torch.device("cpu")
    )
    mean, std = spectra.measure_stats(batches)
    np.testing.assert_allclose(mean, case.arrays["mean"], rtol=1e-12)
    np.testing.assert_allclose(std, case.arrays["std"], rtol=1e-12)
    assert size == 32


@pytest.mark.parametrize("name", CALC)
def test_window_matches_reference(name):
    expected = CASES[name].arrays["window_1d"]
    window = spectra.kaiser_window(len(expected), CASES[name].meta["beta"])
    np.testing.assert_allclose(window.numpy(), expected, rtol=1e-6)
    assert window.dtype == torch.float32


@pytest.mark.parametrize("name", CALC)
def test_heatmaps_and_slices_match_reference(name, tmp_path):
    case = CASES[name]
    size = len(case.arrays["window_1d"])
    np.savez(tmp_path / "x.npz", spectrum=case.arrays["spectrum"], image_size=size)
    for key, expected in case.arrays.items():
        if key.startswith("heatmap_smooth"):
            smooth = float(key.removeprefix("heatmap_smooth"))
            hmap, image_size = spectra.construct_heatmap(tmp_path / "x.npz", smooth)
            assert (image_size, hmap.dtype) == (size, np.float32)
            np.testing.assert_allclose(hmap, expected, atol=1e-3)
    hmap, _ = spectra.construct_heatmap(tmp_path / "x.npz", 0)
    straight, diagonal = spectra.construct_slices(hmap)
    np.testing.assert_allclose(straight, case.arrays["slice0_smooth0"], atol=1e-3)
    np.testing.assert_allclose(diagonal, case.arrays["slice45_smooth0"], atol=1e-3)


@pytest.mark.parametrize(("size", "interp"), [(5, 1), (5, 2), (5, 3), (7, 5), (8, 4), (1, 3)])
def test_spectrum_is_the_plain_definition(size, interp):
    x = np.random.RandomState(0).randint(0, 256, [6, 2, size, size], dtype=np.uint8)
    window = np.outer(*[spectra.kaiser_window(size, 6).numpy().astype(float)] * 2)
    whitened = (x.astype(float) - 120) / 60 * window
    expected = np.abs(np.fft.fft2(whitened, s=[size * interp] * 2)) ** 2
    batches = iter(torch.from_numpy(x).split([1, 3, 2]))
    got = spectra.average_spectrum(batches, size, 120, 60, 6, interp)
    np.testing.assert_allclose(got, expected.mean(axis=(0, 1)), rtol=1e-9, atol=1e-13)


def test_few_images_are_transformed_at_a_time(monkeypatch):
    x = torch.randint(0, 256, [5, 3, 8, 8], dtype=torch.uint8)
    expected = spectra.average_spectrum(iter([x]), 8, 120, 60, 8, 4)
    monkeypatch.setitem(spectra.FFT_BYTES, "cpu", 16 * 9 * 16 * 2)
    got = spectra.average_spectrum(iter([x]), 8, 120, 60, 8, 4)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize(
    "arrays",
    [
        {"spectrum": np.ones([8, 8])},
        {"spectrum": np.ones([8, 4]), "image_size": 4},
        {"spectrum": np.ones([8]), "image_size": 4},
        {"spectrum": np.ones([8, 8], dtype=int), "image_size": 4},
        {"spectrum": np.ones([8, 8]), "image_size": 16},
        {"spectrum": np.ones([8, 8]), "image_size": 0},
        {"spectrum": np.ones([8, 8]), "image_size": np.inf},
        {"spectrum": np.array({}, dtype=object), "image_size": 16},
    ],
)
def test_other_npz_files_are_refused(arrays, tmp_path):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ValueError, match="is not a file that `calc` writes"):
        spectra.construct_heatmap(tmp_path / "x.npz", 0)
