"""The same network in every format: generating and resuming through the scripts."""

import functools
import http.server
import pickle
import threading
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import CliRunner

import gen_images
import legacy
import train
from tests import golden
from tests.network_files import pickles
from tests.network_files.test_rebuild import nest_options
from tests.network_files.test_tensorflow import as_tensorflow
from training.networks_stylegan2 import Discriminator, Generator

GRAY = golden.DATA_DIR / "datasets" / "dataset_small_gray.zip"  # 8x8
FORMATS = ["native.pkl", "tensorflow.pkl", "stylegan2-ada.pkl", "net.safetensors"]
SIZES = dict(c_dim=0, img_resolution=8, img_channels=1)
OPTIONS = dict(channel_base=64, channel_max=4, num_fp16_res=0, conv_clamp=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """One generator and discriminator, of the sizes that train.py makes, in all formats."""
    folder = tmp_path_factory.mktemp("formats")
    mapping_kwargs = dict(num_layers=2, w_avg_beta=0.995)
    G = Generator(512, w_dim=512, mapping_kwargs=mapping_kwargs, **SIZES, **OPTIONS)
    D = Discriminator(
        **SIZES, **OPTIONS, mapping_kwargs=dict(num_layers=0, lr_multiplier=0.1), epilogue_kwargs={}
    )
    G = golden.fill_weights(G, 0.01).eval().requires_grad_(False)
    D = golden.fill_weights(D, 0.1).eval().requires_grad_(False)
    data = dict(G=G, D=D, G_ema=G, augment_pipe=None, training_set_kwargs=None)
    (folder / "native.pkl").write_bytes(pickle.dumps(data))
    (folder / "stylegan2-ada.pkl").write_bytes(pickles.dumps(data, edit=nest_options))
    legacy.save_networks(folder / "net.safetensors", data)
    common = dict(resolution=8, num_channels=1, fmap_base=32, fmap_max=4)
    tf_G = as_tensorflow(G, **common, mapping_layers=2)
    tf_D = as_tensorflow(D, **common)
    (folder / "tensorflow.pkl").write_bytes(pickles.tensorflow_dumps((tf_G, tf_D, tf_G)))
    return folder


@pytest.fixture
def server(folder):
    """Serves the folder; gives the address."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *args: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def generated(network: str | Path, tmp_path: Path) -> np.ndarray:
    args = [f"--network={network}", "--seeds=3", "--trunc=0.7", f"--outdir={tmp_path}"]
    result = CliRunner().invoke(gen_images.main, [*args, "--device=cpu"])
    assert result.exit_code == 0, result.output
    with PIL.Image.open(tmp_path / "seed0003.png") as png:
        return np.asarray(png)


@pytest.mark.parametrize("name", FORMATS[1:])
def test_images_are_the_same_in_all_formats(name, folder, tmp_path):
    expected = generated(folder / "native.pkl", tmp_path / "native")
    assert expected.std() > 1
    np.testing.assert_array_equal(generated(folder / name, tmp_path / "other"), expected)


def test_images_are_the_same_from_an_address(server, folder, tmp_path):
    expected = generated(folder / "native.pkl", tmp_path / "native")
    got = generated(f"{server}/net.safetensors", tmp_path / "other")
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("name", FORMATS)
def test_command_converts_all_formats_to_native_pickles(name, folder, tmp_path):
    dest = tmp_path / "converted.pkl"
    args = [f"--source={folder / name}", f"--dest={dest}"]
    result = CliRunner().invoke(legacy.main, args)
    assert result.exit_code == 0, result.output
    data, expected = (legacy.load_network(path) for path in (dest, folder / "native.pkl"))
    for key in ("G", "D", "G_ema"):
        torch.testing.assert_close(
            data[key].state_dict(), expected[key].state_dict(), rtol=0, atol=2e-7
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FORMATS, "url"])
def test_training_starts_from_all_formats(name, folder, server, tmp_path):
    source = f"{server}/stylegan2-ada.pkl" if name == "url" else folder / name
    args = ["--cfg=stylegan2", f"--data={GRAY}", "--batch=250", "--aug=noaug", "--gpus=1"]
    args += ["--cbase=64", "--cmax=4", "--map-depth=2", "--workers=0", "--device=cpu"]
    args += ["--gamma=1", "--kimg=1", "--tick=1", "--snap=1", "--freezed=1", "--fp32=1"]
    result = CliRunner().invoke(
        train.main, [*args, f"--resume={source}", f"--outdir={tmp_path / 'runs'}"]
    )
    assert result.exit_code == 0, result.output
    for key in ("G", "D", "G_ema"):
        assert f"{key}: all " in result.output
    (snapshot,) = tmp_path.glob("runs/*/network-snapshot-000001.pkl")
    got, start = (legacy.load_network(path)["D"] for path in (snapshot, folder / "native.pkl"))
    torch.testing.assert_close(got.b8.fromrgb.weight, start.b8.fromrgb.weight, rtol=0, atol=0)
    assert not torch.equal(got.b8.conv0.weight, start.b8.conv0.weight)
