"""The equivariance metrics on a network whose content is known, and the reference numbers."""

import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmarks import equivariance as benchmark
from metrics import equivariance
from metrics.metric_utils import MetricOptions
from tests import golden
from torch_utils.distributed import Worker
from training.config import CFGS

DATA = "metrics_equivariance.npz"


class Waves(torch.nn.Module):
    """A generator of cosines of the transformed coordinates, exactly equivariant but for noise."""

    def __init__(self, F: np.ndarray, A: np.ndarray, img_resolution: int) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.img_resolution = len(F), 0, img_resolution
        self.synthesis = WavesSynthesis(F, A, img_resolution)

    def mapping(self, z, c):
        assert c.shape == (len(z), 0)
        return z


class WavesSynthesis(torch.nn.Module):
    def __init__(self, F: np.ndarray, A: np.ndarray, img_resolution: int) -> None:
        super().__init__()
        self.F, self.A, self.img_resolution = torch.tensor(F), torch.tensor(A), img_resolution
        self.input = torch.nn.Module()
        self.input.register_buffer("transform", torch.eye(3))
        self.noise = torch.nn.Module()
        self.noise.register_buffer("noise_const", torch.zeros([img_resolution] * 2))

    def forward(self, ws, noise_mode, force_fp32):
        assert noise_mode == "const" and force_fp32
        t = (torch.arange(self.img_resolution, dtype=torch.float64) + 0.5) / self.img_resolution
        y, x = torch.meshgrid(t - 0.5, t - 0.5, indexing="ij")
        p = self.input.transform[:2].double() @ torch.stack([x, y, x * 0 + 1]).flatten(1)
        phase = (2 * np.pi * self.F.double() @ p)[None] + ws.double()[:, :, None]
        img = torch.einsum("kc,nkp->ncp", self.A.double(), phase.cos())
        img = img.unflatten(2, x.shape) + 0.001 * self.noise.noise_const
        return img.float()


class Progress:
    """Remembers what it was told."""

    def __init__(self):
        self.updates = []

    def sub(self, tag=None, num_items=None):
        self.num_items = num_items
        return self

    def update(self, num):
        self.updates.append(num)


def options(G, worker=None, **kwargs):
    """Options of the metric, with a progress that remembers."""
    opts = MetricOptions(G=G, G_kwargs={"force_fp32": True}, worker=worker or Worker(), **kwargs)
    opts.progress = Progress()
    return opts


@pytest.mark.parametrize("name", golden.case_names(DATA, "eqmetric"))
def test_metrics_match_the_reference(name):
    case = golden.load(DATA)[name]
    G = Waves(case.arrays["F"], case.arrays["A"], case.meta["img_resolution"])
    opts = options(G)
    keys = (
        "num_samples",
        "batch_size",
        "translate_max",
        "rotate_max",
        "compute_eqt_int",
        "compute_eqt_frac",
        "compute_eqr",
    )
    torch.manual_seed(case.meta["torch_seed"])
    got = equivariance.compute_equivariance_metrics(
        opts, **{key: case.meta[key] for key in keys if key in case.meta}
    )
    assert isinstance(got, tuple) == (case.meta["returns"] == "tuple")
    np.testing.assert_allclose(np.atleast_1d(got), case.arrays["psnr"], atol=0.02)
    assert opts.progress.num_items == opts.progress.updates[-1] == case.meta["num_samples"]
    assert torch.equal(G.synthesis.input.transform, torch.eye(3))
    assert not G.synthesis.noise.noise_const.any()


def waves(num=4, img_resolution=32):
    """A generator of `num` waves within the band that 32x32 pixels hold."""
    rng = np.random.RandomState(0)
    return Waves(rng.randn(num, 2) * 3, rng.randn(num, 3) * 0.2, img_resolution)


def test_metrics_refuse_networks_without_an_input_transform():
    G = waves()
    del G.synthesis.input
    with pytest.raises(
        ValueError, match=r"input transform.*Waves has no `synthesis.input"
    ) as error:
        equivariance.compute_equivariance_metrics(options(G), 4, 4, compute_eqr=True)
    assert "\n" not in str(error.value)


def test_metrics_refuse_to_measure_nothing():
    with pytest.raises(ValueError, match="compute_eqt_int"):
        equivariance.compute_equivariance_metrics(options(waves()), 4, 4)


def test_noise_that_stays_in_place_has_the_ratio_of_unrelated_pixels():
    G = waves()
    G.synthesis.A.zero_()
    torch.manual_seed(0)
    value = equivariance.compute_equivariance_metrics(options(G), 40, 4, compute_eqt_int=True)
    # Noise alone: the difference of two independent pixels of standard deviation 0.001.
    assert value == pytest.approx(10 * np.log10(4 / 2e-6), abs=0.3)


def test_metric_of_exact_images_is_infinite():
    G = waves()
    G.synthesis.A.zero_()
    del G.synthesis.noise
    G.synthesis.noise = torch.nn.Module()
    G.synthesis.noise.noise_const = torch.zeros([])
    assert equivariance.compute_equivariance_metrics(
        options(G), 4, 4, compute_eqt_int=True
    ) == float("inf")


def test_metrics_that_compare_no_pixels_are_refused():
    G = waves(img_resolution=8)  # smaller than the filters
    with pytest.raises(ValueError, match="no pixels are left to compare"):
        equivariance.compute_equivariance_metrics(options(G), 4, 4, compute_eqr=True)


def test_labels_come_from_the_dataset(monkeypatch):
    G = waves()
    G.c_dim = 3
    drawn = []

    def mapping(z, c):
        drawn.append(c)
        return z

    class Labels:
        def __init__(self, opts):
            pass

        def get(self, start, stop):
            return torch.full([stop - start, 3], float(start))

    G.mapping = mapping
    monkeypatch.setattr(equivariance, "RandomLabels", Labels)
    equivariance.compute_equivariance_metrics(options(G), 5, 2, compute_eqt_int=True)
    assert [c[0].tolist() for c in drawn] == [[0] * 3, [2] * 3, [4] * 3]


def _measure_in_a_process(rank: int, num: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/sync", rank=rank, world_size=num
    )
    opts = options(waves(), Worker(rank, num), seed=3)
    kwargs = dict(compute_eqt_int=True, compute_eqr=True)
    values = equivariance.compute_equivariance_metrics(opts, 7, 2, **kwargs)
    np.save(f"{folder}/{rank}.npy", [*values, len(opts.progress.updates)])
    torch.distributed.destroy_process_group()


@pytest.mark.multiprocess
def test_two_processes_share_the_samples_and_agree(tmp_path):
    torch.multiprocessing.start_processes(
        _measure_in_a_process, (2, str(tmp_path)), nprocs=2, start_method="fork"
    )
    of_ranks = [np.load(tmp_path / f"{rank}.npy") for rank in range(2)]
    np.testing.assert_array_equal(of_ranks[0], of_ranks[1])
    assert of_ranks[0][-1] == 4  # batches

    # Nobody sees how many there were.
    opts = options(waves(), seed=3)
    kwargs = dict(compute_eqt_int=True, compute_eqr=True)
    values = equivariance.compute_equivariance_metrics(opts, 7, 2, **kwargs)
    np.testing.assert_array_equal(of_ranks[0][:2], values)


@pytest.mark.slow
def test_untrained_networks_show_what_the_paper_promises():
    rows = {}
    for cfg in CFGS:
        G = benchmark.build_movable_generator(cfg, resolution=32, cbase=512, cmax=16)
        _, *values, _ = benchmark.measure_network(cfg, G, 4, 1, 0, torch.device("cpu"))
        rows[cfg] = dict(zip(("t", "t_frac", "r"), map(float, values), strict=True))
    for metric in ("t", "t_frac"):
        for cfg in ("stylegan3-t", "stylegan3-r"):
            assert rows[cfg][metric] > rows["stylegan2"][metric] + 25
    assert rows["stylegan3-r"]["r"] > rows["stylegan3-t"]["r"] + 25
    assert rows["stylegan3-r"]["r"] > rows["stylegan2"]["r"] + 40


def test_benchmark_prints_both_tables():
    args = ["--configs=stylegan3-r", "--resolution=16", "--cbase=256", "--cmax=8", "--num=2"]
    args += ["--batch=2", "--operator-resolution=16", "--repeat=1", "--threads=1", "--device=cpu"]
    result = CliRunner().invoke(benchmark.main, args)
    assert result.exit_code == 0, result.output
    assert re.search(r"^stylegan3-r +\d+\.\d\d +\d+\.\d\d +\d+\.\d\d ", result.stdout, re.MULTILINE)
    assert re.search(r"^rotation +\d", result.stdout, re.MULTILINE)
