"""Networks with NaN or infinite weights: scripts say so, and write neither image nor number."""

import json
import math
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import avg_spectra
import calc_metrics
import gen_images
import gen_video
import legacy
from metrics import detectors, feature_cache, metric_main, metric_utils
from metrics.feature_stats import FeatureStats
from tests.metrics import small_transformers, stand_ins
from tests.metrics.conftest import dataset_zip, detector_files  # noqa: F401
from training import networks_stylegan2, networks_stylegan3

PROJECT = Path(legacy.__file__).parent
NAN, INF = math.nan, math.inf


def stylegan2() -> torch.nn.Module:
    return stand_ins.build_generator()


def stylegan3() -> torch.nn.Module:
    torch.manual_seed(0)
    sizes = dict(channel_base=256, channel_max=8, num_layers=4, mapping_kwargs=dict(num_layers=1))
    return networks_stylegan3.Generator(8, 0, 8, 16, 3, **sizes).eval().requires_grad_(False)


# How a generator is damaged: what makes it, which tensor, with what, and whether images show it.
DAMAGES = {
    "weight": (stylegan2, "synthesis.b16.conv0.weight", NAN, True),
    "infinite weight": (stylegan2, "synthesis.b4.torgb.weight", INF, False),  # clamped
    "bias": (stylegan2, "synthesis.b8.conv1.bias", -INF, False),
    "constant": (stylegan2, "synthesis.b4.const", NAN, True),
    "noise": (stylegan2, "synthesis.b16.conv1.noise_const", NAN, True),
    "mapping": (stylegan2, "mapping.fc0.weight", NAN, True),
    "average": (stylegan2, "mapping.w_avg", NAN, False),
    "magnitude": (stylegan3, "synthesis.L0_36_8.magnitude_ema", NAN, True),
    "frequencies": (stylegan3, "synthesis.input.freqs", INF, True),
}
damages = pytest.mark.parametrize("name", DAMAGES)
visible = pytest.mark.parametrize("name", [name for name, d in DAMAGES.items() if d[3]])
SEEN = "values of the image are NaN or infinite"


def damaged(name: str) -> torch.nn.Module:
    make, tensor_name, value, _ = DAMAGES[name]
    G = make()
    tensor = dict([*G.named_parameters(), *G.named_buffers()])[tensor_name]
    with torch.no_grad():
        tensor.view(-1)[0] = value
    return G


def write(path: Path, **networks) -> Path:
    path.write_bytes(pickle.dumps(networks))
    return path


@pytest.fixture
def network(request, tmp_path) -> Path:
    """A pickle with the damage that the test is parametrized with, in the folder of a run."""
    run_dir = tmp_path / "00000-run"
    run_dir.mkdir()
    (run_dir / "training_options.json").write_text("{}")
    return write(run_dir / "net.pkl", G_ema=damaged(request.getfixturevalue("name")))


def refused(command, *arguments) -> str:
    """The error that a command ends in, after one warning about the network."""
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == 1, result.output
    lines = result.output.splitlines()
    assert sum(line.startswith("Warning:") for line in lines) == 1, result.output
    (error,) = [line for line in lines if line.startswith("Error:")]
    assert "earlier snapshot" in error and not result.stdout.strip().startswith("{")
    return error


# The loader.


@damages
def test_loader_names_the_damaged_tensors(name, network):
    with pytest.warns(UserWarning) as caught:
        legacy.load_network(network)
    (message,) = [str(warning.message) for warning in caught]
    assert message.startswith(f"{network}: NaN or infinite values in G_ema.{DAMAGES[name][1]};")
    assert "\n" not in message


def test_loader_counts_what_it_does_not_name(tmp_path):
    G = stylegan2()
    with torch.no_grad():
        for parameter in G.parameters():
            parameter.fill_(NAN)
    D = networks_stylegan2.Discriminator(0, 16, 3, channel_base=64, channel_max=4)
    with torch.no_grad():
        D.b4.out.bias.fill_(INF)
    with pytest.warns(UserWarning) as caught:
        legacy.load_network(write(tmp_path / "net.pkl", G=stylegan2(), D=D, G_ema=G))
    (message,) = [str(warning.message) for warning in caught]
    num = len(list(G.parameters())) + 1
    assert "D.b4.out.bias, G_ema." in message and f" and {num - 3} more; the networks" in message


def test_sound_networks_load_without_a_word(tmp_path):
    for make in (stylegan2, stylegan3):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            legacy.load_network(write(tmp_path / "net.pkl", G_ema=make()))


@pytest.mark.parametrize("name", ["weight", "magnitude"])
@pytest.mark.parametrize("dest", ["new.pkl", "new.safetensors"])
def test_converted_networks_stay_damaged_and_both_are_reported(name, dest, network, tmp_path):
    result = CliRunner().invoke(legacy.main, [f"--source={network}", f"--dest={tmp_path / dest}"])
    assert result.exit_code == 0
    assert f"Warning: {network}: NaN or infinite values in G_ema." in result.output
    with pytest.warns(UserWarning, match=f"{dest}: NaN or infinite values in G_ema."):
        legacy.load_network(tmp_path / dest)


# Images, videos, spectra.


@visible
def test_no_image_is_written(name, network, tmp_path):
    out = tmp_path / "out"
    options = [f"--network={network}", f"--outdir={out}", "--device=cpu"]
    for more in (["--seeds=7"], ["--seeds=7-9", "--batch=2"], ["--seeds=7-9", "--grid=3x1"]):
        error = refused(gen_images.main, *options, *more)
        assert error.startswith("Error: seed 7: ") and SEEN in error
        assert list(out.iterdir()) == []


def test_damaged_average_shows_with_truncation_only(tmp_path):
    path = write(tmp_path / "net.pkl", G_ema=damaged("average"))
    options = [f"--network={path}", f"--outdir={tmp_path / 'out'}", "--seeds=1", "--device=cpu"]
    assert CliRunner().invoke(gen_images.main, options).exit_code == 0
    assert (tmp_path / "out" / "seed0001.png").exists()
    assert "Error: seed 1: " in refused(gen_images.main, *options, "--trunc=0.5")
    assert "the styles of seed 3 are NaN" in refused(
        gen_video.main,
        f"--network={path}",
        "--seeds=3",
        "--trunc=0.5",
        f"--output={tmp_path}/x.gif",
    )


class Failing(torch.nn.Module):
    """A generator whose images of some calls are not finite."""

    def __init__(self, bad: dict[int, float]) -> None:
        super().__init__()
        self.G, self.bad, self.num = stylegan2(), bad, 0
        for key in ("z_dim", "c_dim", "w_dim", "num_ws", "img_resolution", "img_channels"):
            setattr(self, key, getattr(self.G, key))
        self.mapping = self.G.mapping

    def synthesis(self, ws, **kwargs):
        img = self.G.synthesis(ws.to(torch.float32), noise_mode="const")
        for i in range(len(img)):
            if self.num + i in self.bad:
                img[i, 1, 2, 3] = self.bad[self.num + i]
        self.num += len(img)
        return img

    def forward(self, z, c, **kwargs):
        return self.synthesis(self.mapping(z, c))


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize(("batch", "written"), [(1, 3), (2, 2), (5, 0)])
def test_single_bad_image_is_named_and_not_written(value, batch, written, tmp_path):
    with pytest.raises(ValueError, match=r"^seed 13: 1 of 768 values of the image are NaN"):
        gen_images.generate_images(Failing({3: value}), range(10, 15), tmp_path, batch=batch)
    assert len(list(tmp_path.iterdir())) == written


def test_single_bad_projection_is_named(tmp_path):
    G = Failing({1: NAN})
    with pytest.raises(ValueError, match=r"^style 1 of --latents: 1 of 768"):
        gen_images.generate_images(G, None, tmp_path, ws=torch.zeros(2, G.num_ws, G.w_dim))


@pytest.mark.parametrize("value", [NAN, INF])
def test_projected_styles_that_are_not_finite_are_refused(value, tmp_path):
    ws = np.zeros([1, 6, 8], dtype=np.float32)
    ws[0, 2, 3] = value
    np.savez(tmp_path / "w.npz", w=ws)
    with pytest.raises(ValueError, match=r"w\.npz: 'w' holds NaN or infinite values"):
        gen_images.load_ws(tmp_path / "w.npz")


@pytest.mark.parametrize("extension", ["mp4", "gif"])
@pytest.mark.parametrize("name", ["weight", "magnitude"])
def test_no_video_is_written(name, network, extension, tmp_path):
    out = tmp_path / "videos"
    options = ["--seeds=3,4", "--w-frames=2", "--device=cpu", f"--output={out}/x.{extension}"]
    error = refused(gen_video.main, f"--network={network}", *options)
    assert error.startswith("Error: frame 0, between seed 3 and seed 4: ") and SEEN in error
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("bad", "grid", "message"),
    [
        (1, (1, 1), "frame 0, between seed 5 and seed 6"),  # image 0 is the warm-up
        (4, (1, 1), "frame 3, between seed 6 and seed 7"),
        (6, (1, 1), "frame 5, between seed 7 and seed 5"),
        (6, (2, 1), "frame 2, between seed 9 and seed 10"),
    ],
)
def test_bad_frame_is_named(bad, grid, message, tmp_path):
    seeds = [5, 6, 7] if grid == (1, 1) else [5, 6, 7, 8, 9, 10]
    with pytest.raises(ValueError, match=f"^{message}: 1 of 768"):
        gen_video.gen_interp_video(
            Failing({bad: NAN}), tmp_path / "x.gif", seeds, w_frames=2, grid_dims=grid
        )
    assert list(tmp_path.iterdir()) == []


@visible
def test_spectra_of_damaged_networks_are_refused(name, network, tmp_path):
    options = [f"--source={network}", "--num=3", "--seed=5", "--device=cpu"]
    dest = [f"--dest={tmp_path / 'x' / 'x.npz'}", "--mean=100", "--std=50"]
    for error in (
        refused(avg_spectra.stats, *options),
        refused(avg_spectra.calc, *options, *dest),
    ):
        assert error.startswith("Error: seed 5: ") and SEEN in error
    assert list((tmp_path / "x").iterdir()) == []


def test_single_bad_image_of_a_spectrum_is_named():
    batches = avg_spectra.generated_images(Failing({4: NAN}), 6, 2**32 - 2, 3, torch.device("cpu"))
    next(batches)
    with pytest.raises(ValueError, match=r"^seed 2: 1 of 768"):  # seeds start again at 0
        next(batches)


def test_spectra_that_are_not_finite_are_neither_made_nor_drawn(tmp_path, dataset_zip):  # noqa: F811
    arguments = [f"--source={dataset_zip}", f"--dest={tmp_path / 'x.npz'}", "--num=2"]
    result = CliRunner().invoke(avg_spectra.calc, [*arguments, "--mean=1", "--std=1e-300"])
    assert result.exit_code == 1
    assert "--mean=1 --std=1e-300 make a spectrum that is not finite" in result.output
    assert list(tmp_path.iterdir()) == []
    np.savez(tmp_path / "nan.npz", spectrum=np.full([16, 16], NAN), image_size=8)
    for command in (avg_spectra.heatmap, avg_spectra.slices):
        save = f"--save={tmp_path / 'x.png'}"
        result = CliRunner().invoke(command, [str(tmp_path / "nan.npz"), save])
        assert "nan.npz holds NaN or infinite powers" in result.output and result.exit_code == 1
    assert not (tmp_path / "x.png").exists()


# Metrics.

METRICS = [name for name in metric_main.list_valid_metrics() if not name.startswith("eq")]


def calc_options(network, dataset, files) -> list:
    found = [f"--detector={name}={path}" for name, path in files.items()]
    found.append("--allow-untrusted")  # TorchScript
    return [f"--network={network}", f"--data={dataset}", "--num=40", "--device=cpu", *found]


@pytest.fixture(scope="module")
def all_detector_files(detector_files, tmp_path_factory) -> dict[str, Path]:  # noqa: F811
    models = small_transformers.save_models(tmp_path_factory.mktemp("models"))
    return {**detector_files, **models}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", ["weight", "infinite weight", "bias", "mapping"])
def test_metric_is_refused(name, metric, network, dataset_zip, all_detector_files):  # noqa: F811
    options = calc_options(network, dataset_zip, all_detector_files)
    error = refused(calc_metrics.main, *options, f"--metrics={metric}", "--verbose=0")
    assert "NaN or infinite" in error
    assert not list(network.parent.glob("metric-*.jsonl"))


@pytest.mark.parametrize("metric", ["eqt50k_int", "eqt50k_frac", "eqr50k"])
@pytest.mark.parametrize("name", ["magnitude", "frequencies"])
def test_equivariance_is_refused(name, metric, network):
    options = [f"--network={network}", "--num=4", "--device=cpu", "--verbose=0"]
    assert "NaN or infinite" in refused(calc_metrics.main, *options, f"--metrics={metric}")
    assert not list(network.parent.glob("metric-*.jsonl"))


@pytest.mark.slow
@pytest.mark.multiprocess
@pytest.mark.parametrize("name", ["weight"])
def test_metric_of_two_processes_is_refused(name, network, dataset_zip, detector_files):  # noqa: F811
    command = [sys.executable, PROJECT / "calc_metrics.py", "--gpus=2", "--metrics=fid50k"]
    options = calc_options(network, dataset_zip, detector_files)
    result = subprocess.run([*command, *options], capture_output=True, text=True, timeout=300)
    assert result.returncode == 1 and "Error: " in result.stderr, result.stderr
    assert "the network has NaN or infinite values in synthesis.b16.conv0" in result.stderr
    assert "{" not in result.stdout and "Traceback" not in result.stderr
    assert result.stderr.count("the networks are damaged") == 1


@pytest.mark.parametrize(
    ("bad", "num_seen"), [({2: NAN}, 1), ({37: INF}, 1), ({1: NAN, 38: NAN}, 1)]
)
@pytest.mark.parametrize("metric", ["fid50k_full", "pr50k3_full", "is50k"])
def test_single_bad_image_is_counted(bad, num_seen, metric, dataset_zip, detector_files):  # noqa: F811
    kwargs = dict(class_name="training.dataset.ImageFolderDataset", path=str(dataset_zip))
    message = f"^{num_seen} of {16 if min(bad) < 16 else 40} generated images hold NaN"
    with pytest.raises(ValueError, match=message):
        metric_main.calc_metric(
            metric,
            G=Failing(bad),
            dataset_kwargs=kwargs,
            detectors={key: str(path) for key, path in detector_files.items()},
            allow_untrusted=True,
            num=40,
            device=torch.device("cpu"),
        )


def test_damaged_average_changes_no_metric(dataset_zip, detector_files, tmp_path):  # noqa: F811
    found = []
    for G in (stylegan2(), damaged("average")):
        options = calc_options(write(tmp_path / "net.pkl", G_ema=G), dataset_zip, detector_files)
        result = CliRunner().invoke(calc_metrics.main, [*options, "--metrics=fid50k"])
        found.append(json.loads(result.stdout)["results"])
    assert found[0] == found[1]


class BlindInception(stand_ins.Inception):
    def forward(self, img, **kwargs):
        return super().forward(img, **kwargs) + NAN


def test_features_of_real_images_that_are_not_finite_are_refused_and_not_kept(
    dataset_zip,  # noqa: F811
    monkeypatch,
    tmp_path,
):
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(metric_utils, "get_feature_detector", lambda *_, **__: BlindInception())
    monkeypatch.setattr(detectors, "identity", lambda source: "blind")
    kwargs = dict(class_name="training.dataset.ImageFolderDataset", path=str(dataset_zip))
    with pytest.raises(ValueError, match=r"of 16 real images hold NaN .* \(--detector\)"):
        metric_main.calc_metric(
            "fid50k_full",
            G=stylegan2(),
            dataset_kwargs=kwargs,
            num=40,
            device=torch.device("cpu"),
        )
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("kind", ["capture_all", "capture_mean_cov"])
def test_statistics_that_are_not_finite_are_refused(value, kind, tmp_path):
    stats = FeatureStats(**{kind: True})
    x = torch.randn(6, 4)
    x[4, 1] = value
    stats.append(x[:3])
    assert stats.num_nonfinite == 0
    (stats.get_all if kind == "capture_all" else stats.get_mean_cov)()
    stats.append(x[3:])
    assert stats.num_nonfinite == 1
    with pytest.raises(ValueError, match="1 of 6 feature vectors are not finite"):
        (stats.get_all_torch if kind == "capture_all" else stats.get_mean_cov)()
    stats.save(tmp_path / "stats.safetensors")
    with pytest.warns(UserWarning, match="is damaged and will be made again .*not finite"):
        assert feature_cache.load(tmp_path / "stats.safetensors", 6, None) is None


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_result_that_is_not_finite_is_no_record(value, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(metric_main, "_metrics", {})
    metric_main.register_metric(_strange := lambda opts: dict(strange=value))
    with pytest.raises(RuntimeError, match=f"^strange came out as {value}"):
        metric_main.calc_metric(_strange.__name__, device=torch.device("cpu"))
    result = dict(results=dict(strange=value), metric=_strange.__name__, total_time=1.0)
    with pytest.raises(ValueError, match=r"JSON has no NaN and no infinities: results\.strange"):
        metric_main.report_metric(result, run_dir=tmp_path)
    assert not list(tmp_path.iterdir()) and capsys.readouterr().out == ""


def test_record_of_a_sound_network_is_strict_json(dataset_zip, detector_files, tmp_path):  # noqa: F811
    path = write(tmp_path / "net.pkl", G_ema=stylegan2())
    options = calc_options(path, dataset_zip, detector_files)
    result = CliRunner().invoke(calc_metrics.main, [*options, "--metrics=fid50k", "--verbose=0"])
    json.loads(result.stdout, parse_constant=pytest.fail)
