"""DINOv2 and CLIP through the library transformers: small models with random weights."""

import hashlib
import http.server
import json
import pickle
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import calc_metrics
from metrics import (
    detectors,
    frechet_inception_distance,
    kernel_inception_distance,
    metric_main,
    model_files,
    servers,
    vision_transformers,
)
from tests.metrics import small_transformers, stand_ins
from tests.metrics.test_clip_mmd import oracle

transformers = pytest.importorskip("transformers", reason="needs requirements-metrics.txt")
huggingface_hub = pytest.importorskip("huggingface_hub")
CPU = torch.device("cpu")
METRICS = ["fd_dinov2", "kd_dinov2", "cmmd"]
PREPROCESSING = {  # size, mean, standard deviation
    "dinov2": (224, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "clip": (
        56,
        [0.48145466, 0.4578275, 0.40821073],
        [0.26862954, 0.26130258, 0.27577711],
    ),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Folders of small models, by name."""
    return small_transformers.save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def own(folders, tmp_path) -> Path:
    """A copy of DINOv2's folder, to be damaged."""
    return Path(shutil.copytree(folders["dinov2"], tmp_path / "own"))


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The library's cache is empty, and its hub is out of reach."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    name_hub(monkeypatch, "http://127.0.0.1:9")  # nobody listens there


def name_hub(monkeypatch, address: str) -> None:
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def load(name: str, location: Path | str) -> torch.nn.Module:
    return detectors.load(detectors.find(detectors.URLS[name], {name: str(location)}), CPU)


def pictures(num: int = 3, size: int = 64) -> np.ndarray:
    """Smooth pictures, uint8 `[num, size, size, 3]`."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, [num, 6, 6, 3], dtype=np.uint8)
    return np.stack([Image.fromarray(x).resize((size, size), Image.BICUBIC) for x in small])


def to_tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def by_pillow(name: str, images: np.ndarray) -> torch.Tensor:
    """Input of a model `[N, 3, size, size]` as programs with Pillow make it."""
    size, mean, std = PREPROCESSING[name]
    resized = [Image.fromarray(x).resize((size, size), Image.BICUBIC) for x in images]
    x = (np.stack(resized).astype(np.float32) / 255 - mean) / std
    return to_tensor(x).float()


def reference(name: str, images: np.ndarray) -> torch.Tensor:
    """Features by the library and Pillow."""
    with torch.no_grad():
        if name == "dinov2":
            return small_transformers.build_dinov2()(by_pillow(name, images)).pooler_output
        x = (
            small_transformers.build_clip()
            .get_image_features(by_pillow(name, images))
            .pooler_output
        )
        return x / x.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("name", ["dinov2", "clip"])
def test_features_are_those_of_the_library_and_pillow(name, folders):
    images = pictures()
    network = load(name, folders[name])
    features, expected = network(to_tensor(images)), reference(name, images)
    assert features.shape == expected.shape and features.dtype == torch.float32
    assert not features.requires_grad and not network.training
    spread = expected.std(dim=0).norm()
    # Pillow rounds to whole numbers, twice: half a level and more of 255.
    assert (features - expected).norm(dim=1).max() < 0.02 * spread
    resized = network.preprocess(to_tensor(images))
    rounding = (resized - by_pillow(name, images)) * network.std * 255
    assert rounding.abs().max() < 1.2 and rounding.square().mean().sqrt() < 0.45


def test_description_names_the_model_and_its_weights(folders):
    digest = hashlib.sha256((folders["dinov2"] / "model.safetensors").read_bytes()).hexdigest()
    text = f"DINOv2 2 layers of 24/14, 224x224, weights {digest[:12]}"
    assert load("dinov2", folders["dinov2"]).description == text
    assert load("clip", folders["clip"]).description.startswith("CLIP 2 layers of 24/14, 56x56, w")


def test_positions_are_resampled_as_in_the_published_network(tmp_path):
    """A grid of 37 by 37 is sampled at steps of 37 / 16.1, by a cubic with a = -0.75."""

    def cubic(x):
        x = np.abs(x)
        near = 1.25 * x**3 - 2.25 * x**2 + 1
        far = -0.75 * (x**3 - 5 * x**2 + 8 * x - 4)
        return np.where(x < 1, near, np.where(x < 2, far, 0))

    positions = torch.randn(1, 1 + 37 * 37, 5, dtype=torch.float64)
    places = (np.arange(16) + 0.5) * 37 / 16.1 - 0.5
    taps = np.floor(places)[:, None].astype(int) + np.arange(-1, 3)
    weights = np.zeros([16, 37])
    np.add.at(weights, (np.arange(16)[:, None], taps.clip(0, 36)), cubic(places[:, None] - taps))
    grid = positions[0, 1:].numpy().reshape(37, 37, 5)
    expected = np.einsum("ih,jw,hwc->ijc", weights, weights, grid)
    new = vision_transformers.resample_positions(positions, 16)
    assert torch.equal(new[0, 0], positions[0, 0])
    np.testing.assert_allclose(new[0, 1:].numpy().reshape(16, 16, 5), expected, atol=1e-12)

    # The library would resample them a little differently.
    model = small_transformers.build_dinov2(image_size=518)
    network = load("dinov2", small_transformers.save(model, tmp_path))
    img = to_tensor(pictures())
    with torch.no_grad():
        x = network.preprocess(img)
        assert not torch.equal(network(img), model(x).pooler_output)
        old = model.embeddings.position_embeddings
        old.data = vision_transformers.resample_positions(old.data, 16)
        assert torch.equal(network(img), model(x).pooler_output)


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_images_and_alpha(channels, folders):
    network = load("clip", folders["clip"])
    img = to_tensor(pictures())[:, [0, 1, 2, 0]][:, :channels]
    rgb = img.expand(-1, 3, -1, -1) if channels == 1 else img[:, :3]
    features = metric_main.metric_utils.detect(network, img, {})
    assert torch.equal(features, network(rgb))


def compute(*args) -> tuple[list[dict], str]:
    result = CliRunner().invoke(calc_metrics.main, ["--device=cpu", *map(str, args)])
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines() if line.startswith("{")]
    return [json.loads(line) for line in lines], result.stderr


def test_metrics_of_a_network(folders, dataset_zip, tmp_path):
    network = stand_ins.save_network(tmp_path / "net.pkl", dataset_zip)
    options = [f"--network={network}", f"--metrics={','.join(METRICS)}", "--num=20"]
    chosen = [f"--detector={name}={folder}" for name, folder in folders.items()]
    records, messages = compute(*options, *chosen)
    assert [record["metric"] for record in records] == METRICS
    values = [record["results"][record["metric"]] for record in records]
    assert all(value > 0 for value in values)
    for record, name in zip(records, ["dinov2", "dinov2", "clip"], strict=True):
        assert record["detectors"] == {name: str(folders[name])}
        assert record["feature_network"] == load(name, folders[name]).description
    assert all("Calculating" in line or "items" in line for line in messages.splitlines()[1:])
    for metric, value in zip(METRICS, values, strict=True):  # without a shared pass
        (alone,), _ = compute(f"--network={network}", f"--metrics={metric}", "--num=20", *chosen)
        assert alone["results"][metric] == value


def test_statistics_in_place_of_the_real_images(folders, dataset_zip, tmp_path):
    chosen = [f"--detector={name}={folder}" for name, folder in folders.items()]
    metrics, stats = f"--metrics={','.join(METRICS)}", tmp_path / "x.stats"
    compute(f"--data={dataset_zip}", f"--save-stats={stats}", metrics, *chosen)
    other = stand_ins.save_dataset(tmp_path / "other.zip", 30)
    with_images, with_stats = (
        compute(f"--images={other}", f"--data={data}", metrics, *chosen)[0]
        for data in (dataset_zip, stats)
    )
    assert [one["results"] for one in with_stats] == [one["results"] for one in with_images]


def test_metrics_of_images_beside_their_formulas(folders, dataset_zip, tmp_path, monkeypatch):
    """Features by the library and Pillow; the folder comes from the environment."""
    monkeypatch.setenv(detectors.FOLDER_VARIABLE, str(folders["clip"].parent))
    other = stand_ins.save_dataset(tmp_path / "other.zip", 30)
    files = [f"--images={other}", f"--data={dataset_zip}", f"--metrics={','.join(METRICS)}"]
    records, _ = compute(*files)
    values = {record["metric"]: record["results"][record["metric"]] for record in records}
    assert all("detectors" not in record for record in records)

    def features(name, path):
        dataset = metric_main.metric_utils.open_dataset(
            metric_main.MetricOptions(
                dataset_kwargs=dict(class_name="data.dataset.ImageFolderDataset", path=str(path))
            )
        )
        images = np.stack([dataset[i][0].transpose(1, 2, 0) for i in range(len(dataset))])
        dataset.close()
        return reference(name, images).double().numpy()

    real, gen = features("dinov2", dataset_zip), features("dinov2", other)
    moments = [part(x) for x in (real, gen) for part in (lambda x: x.mean(0), covariance)]
    expected = frechet_inception_distance.frechet_distance(*moments)
    assert values["fd_dinov2"] == pytest.approx(expected, rel=0.02)
    expected = kernel_inception_distance.kernel_distance(
        torch.from_numpy(gen), torch.from_numpy(real[:30])
    )
    assert abs(values["kd_dinov2"] - expected) < 1  # of other subsets
    expected = 1000 * oracle(features("clip", other), features("clip", dataset_zip))
    assert values["cmmd"] == pytest.approx(expected, rel=0.02)


def covariance(x: np.ndarray) -> np.ndarray:
    return np.cov(x, rowvar=False, bias=True)


def test_weights_of_torch_save_are_data(own):
    """`pytorch_model.bin`, which some repositories have alone, with names of old versions."""
    expected = load("dinov2", own)(to_tensor(pictures()))
    state = small_transformers.build_dinov2().state_dict()
    state["embeddings.position_ids"] = torch.arange(5)[None]
    (own / "model.safetensors").unlink()
    torch.save(state, own / "pytorch_model.bin")
    assert torch.equal(load("dinov2", own)(to_tensor(pictures())), expected)


class Command:
    def __reduce__(self):
        return open, ("proof", "w")


@pytest.mark.parametrize("allow_untrusted", [False, True])
def test_pickles_are_never_run(own, monkeypatch, tmp_path, allow_untrusted):
    monkeypatch.chdir(tmp_path)
    (own / "model.safetensors").unlink()
    source = detectors.find(detectors.URLS["dinov2"], dict(dinov2=str(own)))
    for write in (pickle.dump, torch.save):
        with (own / "pytorch_model.bin").open("wb") as f:
            write(dict(x=Command()), f)
        with pytest.raises(ValueError, match="own holds no DINOv2 model") as info:
            detectors.load(source, CPU, allow_untrusted)
        assert "\n" not in str(info.value)
    assert not Path("proof").exists()


def edit_config(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_code_and_settings_of_a_folder_are_ignored(own):
    """Only known settings are read: others could name code, or another precision."""
    expected = load("dinov2", own)(to_tensor(pictures()))
    edit_config(
        own,
        auto_map={"AutoModel": "evil.Model"},
        attn_implementation="evil/kernel",
        _attn_implementation="evil/kernel",
        quantization_config={"quant_method": "bitsandbytes"},
        dtype="float16",
    )
    (own / "evil.py").write_text("raise SystemExit('run')")
    assert torch.equal(load("dinov2", own)(to_tensor(pictures())), expected)


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(model_type="vit"), "`model_type` in config.json is 'vit', not 'dinov2'"),
        (dict(patch_size=[14, 14]), "`patch_size` in config.json is \\[14, 14\\], not a number"),
        (dict(mlp_ratio=2), "other shapes of encoder.layer.0.mlp.fc1.bias, .* and 3 more"),
        (dict(num_hidden_layers=1), "have unknown encoder.layer.1.* and .* more"),
        (dict(num_hidden_layers=10**9), "is not between 1 and 1000"),
        (dict(hidden_size=2**20), "describes a model of .* numbers, and the weights have"),
        (dict(hidden_act="exec"), "holds no DINOv2 model"),
        (dict(num_attention_heads=7), "holds no DINOv2 model"),
        (dict(hidden_size="24"), "holds no DINOv2 model"),
    ],
)
def test_settings_that_do_not_fit_are_refused(own, changes, message):
    edit_config(own, **changes)
    with pytest.raises(ValueError, match=message) as info:
        load("dinov2", own)
    assert str(own) in str(info.value) and "\n" not in str(info.value)


def test_weights_that_are_missing_are_no_random_ones(own):
    state = small_transformers.build_dinov2().state_dict()
    state["spare"] = state.pop("layernorm.weight")
    (own / "model.safetensors").unlink()
    torch.save(state, own / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"lack layernorm\.weight, have unknown spare"):
        load("dinov2", own)


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_damaged_files_are_named_in_one_line(own, content, dataset_zip):
    path = own / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-40] if content is None else content)
    result = CliRunner().invoke(
        calc_metrics.main,
        [
            f"--images={dataset_zip}",
            f"--data={dataset_zip}",
            "--metrics=fd_dinov2",
            f"--detector=dinov2={own}",
            "--device=cpu",
        ],
    )
    assert result.exit_code == 1
    error = result.stderr.splitlines()[-1]
    assert error.startswith("Error:") and f"{own} holds no DINOv2 model" in error
    path.unlink()
    reason = metric_main.find_missing(["kd_dinov2"], dict(dinov2=str(own)))["kd_dinov2"]
    assert f"{own} must hold config.json and model.safetensors or pytorch_model.bin" in reason


def test_identity_depends_on_both_files(own):
    source = detectors.find(detectors.URLS["dinov2"], dict(dinov2=str(own)))
    first = detectors.identity(source)
    assert detectors.stem(first) == "dinov2"
    edit_config(own, layer_norm_eps=1e-5)
    second = detectors.identity(source)
    (own / "model.safetensors").write_bytes(b"x")
    assert len({first, second, detectors.identity(source)}) == 3


@pytest.mark.parametrize("location", ["no-such-folder", "a/b/c", "https://example.org/x", "large/"])
def test_locations_that_are_neither_folders_nor_models(location):
    reason = metric_main.find_missing(["fd_dinov2"], dict(dinov2=location))["fd_dinov2"]
    assert reason.startswith(f"dinov2={location} is no folder; name one that holds config.json")
    assert "vitl14" in reason and "facebook/dinov2-large" in reason


@pytest.mark.parametrize(
    "location, repository",
    [
        (None, "facebook/dinov2-large"),
        ("small", "facebook/dinov2-small"),
        ("vitg14", "facebook/dinov2-giant"),
        ("someone/dinov2-x.1", "someone/dinov2-x.1"),
        ("./x", None),
    ],
)
def test_names_of_models(location, repository):
    assert vision_transformers.repository("dinov2", location) == repository


def test_missing_weights_say_which_files_and_both_ways_out(hub):
    start = time.monotonic()
    missing = metric_main.find_missing(METRICS)
    assert time.monotonic() - start < 5
    assert missing["fd_dinov2"] == missing["kd_dinov2"]
    for metric, name, repository in (
        ("fd_dinov2", "dinov2", "facebook/dinov2-large"),
        ("cmmd", "clip", "openai/clip-vit-large-patch14-336"),
    ):
        for part in (repository, model_files.NEEDED, f"--detector {name}=FOLDER"):
            assert part in missing[metric]
        assert detectors.FOLDER_VARIABLE in missing[metric] and "\n" not in missing[metric]
        assert "the server cannot be reached: ConnectionError" in missing[metric]


def test_offline_mode_asks_nobody(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(servers, "probe", lambda url: pytest.fail("asked"))
    reason = metric_main.find_missing(["cmmd"], dict(clip="some/one"))["cmmd"]
    assert "some/one is not in the cache" in reason and "(HF_HUB_OFFLINE is set)" in reason


def test_missing_library_is_named_with_its_requirements(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    reason = metric_main.find_missing(METRICS)["cmmd"]
    assert "needs the package transformers" in reason
    assert "pip install -r requirements-metrics.txt" in reason and "\n" not in reason


@pytest.mark.slow
def test_other_metrics_do_not_import_the_library():
    code = "import calc_metrics, sys; print({'transformers', 'huggingface_hub'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "set()\n", done.stderr


@pytest.fixture
def serve_hub(monkeypatch, hub):
    """A hub with one model; gives the list of requests."""
    servers_started = []

    def serve(repository: str, folder: Path) -> list[str]:
        requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, format, *args):
                pass

            def do_HEAD(self):
                self.answer()

            def do_GET(self):
                self.answer()

            def answer(self):
                requests.append(f"{self.command} {self.path}")
                start = f"/{repository}/resolve/main/"
                path = folder / self.path.removeprefix(start)
                if self.path == "/":
                    self.respond(200, b"")
                elif not self.path.startswith(start):
                    self.respond(404, b"", {"X-Error-Code": "RepoNotFound"})
                elif not path.is_file():
                    self.respond(404, b"", {"X-Error-Code": "EntryNotFound"})
                else:
                    content = path.read_bytes()
                    etag = hashlib.sha256(content).hexdigest()
                    self.respond(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": "a" * 40})

            def respond(self, status, content, headers=None):
                self.send_response(status)
                for key, value in {**(headers or {}), "Content-Length": len(content)}.items():
                    self.send_header(key, str(value))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers_started.append(server)
        name_hub(monkeypatch, f"http://127.0.0.1:{server.server_address[1]}")
        return requests

    yield serve
    for server in servers_started:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("has_safetensors", [True, False])
def test_models_are_downloaded_once(own, serve_hub, has_safetensors, capsys):
    expected = load("dinov2", own)(to_tensor(pictures()))
    if not has_safetensors:
        (own / "model.safetensors").unlink()
        torch.save(small_transformers.build_dinov2().state_dict(), own / "pytorch_model.bin")
    requests = serve_hub("facebook/dinov2-small", own)
    assert not metric_main.find_missing(["fd_dinov2"], dict(dinov2="small"))
    assert "facebook/dinov2-small" in capsys.readouterr().err
    first = len(requests)
    assert torch.equal(load("dinov2", "facebook/dinov2-small")(to_tensor(pictures())), expected)
    assert len(requests) == first


def test_repositories_that_lack_files_or_do_not_exist(own, serve_hub):
    (own / "model.safetensors").unlink()
    serve_hub("some/model", own)
    reason = metric_main.find_missing(["cmmd"], dict(clip="some/model"))["cmmd"]
    assert "some/model does not hold config.json and model.safetensors or" in reason
    reason = metric_main.find_missing(["cmmd"], dict(clip="other/model"))["cmmd"]
    assert "the hub has no public repository other/model" in reason
