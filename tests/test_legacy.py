"""Loading network pickles, rewriting them, and what is said about files that are none."""

import io
import pickle
import zipfile

import pytest
import torch
from click.testing import CliRunner

import legacy
from network_files.precision import with_precision
from training.networks_stylegan2 import Discriminator, Generator


@pytest.fixture(scope="module")
def networks() -> dict:
    sizes = {"c_dim": 0, "img_resolution": 16, "img_channels": 3}
    small = {"channel_base": 64, "channel_max": 8, "num_fp16_res": 0, "conv_clamp": None}
    G = Generator(z_dim=8, w_dim=8, mapping_kwargs={"num_layers": 1}, **sizes, **small)
    D = Discriminator(**sizes, **small)
    return {"G": G, "D": D, "G_ema": G, "training_set_kwargs": {"path": "x.zip"}}


@pytest.fixture(scope="module")
def pickled(networks) -> bytes:
    return pickle.dumps(networks)


def load(data: bytes, **kwargs) -> dict:
    return legacy.load_network_pkl(io.BytesIO(data), **kwargs)


def assert_same_state(got: torch.nn.Module, expected: torch.nn.Module) -> None:
    torch.testing.assert_close(got.state_dict(), expected.state_dict(), rtol=0, atol=0)


def test_loads_networks_and_fills_in_missing_fields(networks, pickled):
    data = load(pickled)
    assert set(data) == {"G", "D", "G_ema", "augment_pipe", "training_set_kwargs"}
    assert data["augment_pipe"] is None
    assert data["training_set_kwargs"] == {"path": "x.zip"}
    for key in ("G", "D", "G_ema"):
        assert_same_state(data[key], networks[key])


def test_a_generator_alone_is_enough_and_other_fields_are_kept(networks):
    data = load(pickle.dumps({"G_ema": networks["G_ema"], "note": 3}))
    assert data["G"] is data["D"] is data["training_set_kwargs"] is None
    assert data["note"] == 3


def test_force_fp16_rebuilds_with_the_same_weights(networks, pickled):
    data = load(pickled, force_fp16=True)
    for key in ("G", "D", "G_ema"):
        kwargs = data[key].init_kwargs
        assert (kwargs["num_fp16_res"], kwargs["conv_clamp"]) == (4, 256)
        assert_same_state(data[key], networks[key])
        assert not data[key].training
        assert not any(p.requires_grad for p in data[key].parameters())
    half = data["G_ema"]
    assert with_precision(half, "fp16") is half


def zip_file() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", b"x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "the file is empty", id="empty"),
        pytest.param(b"<!DOCTYPE html><html>", "a web page", id="html"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer", id="lfs"),
        pytest.param(zip_file(), "a ZIP archive", id="zip"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "this is an image", id="png"),
        pytest.param(b"hello world", "this is not a network pickle", id="text"),
        pytest.param(pickle.dumps([1, 2]), "holds a list", id="list"),
        pytest.param(
            pickle.dumps({"state": 1}), r"no generator 'G_ema' \(what it has: state\)", id="dict"
        ),
        pytest.param(b"\x80\x03I1x\n.", "the pickle is damaged", id="damaged"),
        pytest.param(
            b"\x80\x03cno.such.module\nNet\n.", "asks for no.such.module.Net", id="module"
        ),
    ],
)
def test_foreign_files_are_refused_in_one_line(data, message):
    with pytest.raises(ValueError, match=f"^my.pkl: .*{message}") as info:
        load(data, name="my.pkl")
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("part", [0.001, 0.3, 0.7, 0.999])
def test_truncated_files_are_refused(pickled, part):
    with pytest.raises(ValueError, match="truncated"):
        load(pickled[: int(len(pickled) * part)])


@pytest.mark.parametrize("key", ["G", "D", "augment_pipe", "training_set_kwargs"])
def test_fields_of_other_types_are_refused(networks, key):
    with pytest.raises(ValueError, match=f"'{key}' must be a .* or None, found str"):
        load(pickle.dumps({**networks, key: "x"}))


def test_networks_in_the_place_of_others_are_refused(networks):
    with pytest.raises(ValueError, match="'G_ema' is a Discriminator, which is no generator"):
        load(pickle.dumps({"G_ema": networks["D"]}))
    with pytest.raises(ValueError, match="'D' is a Generator, which is no discriminator"):
        load(pickle.dumps({**networks, "D": networks["G"]}))


def test_options_given_by_position_cannot_be_changed_to_half_precision(networks):
    D = Discriminator(0, 16, 3, "resnet", 64, 8, 0)
    with pytest.raises(ValueError, match=r"^Discriminator cannot use fp16: .*multiple"):
        load(pickle.dumps({**networks, "D": D}), force_fp16=True)


def test_what_our_networks_do_not_need_can_be_allowed(networks):
    data = pickle.dumps({**networks, "note": {(1, 2): 3}})
    with pytest.raises(ValueError, match=r"it has a tuple as a key\. --allow-untrusted"):
        load(data)
    with pytest.warns(UserWarning, match=r"it has a tuple as a key\. Running the code"):
        assert load(data, allow_untrusted=True)["note"] == {(1, 2): 3}


def test_command_rewrites_a_pickle(networks, pickled, tmp_path):
    source, dest = tmp_path / "a.pkl", tmp_path / "new" / "b.pkl"
    source.write_bytes(pickled)
    args = [f"--source={source}", f"--dest={dest}", "--force-fp16=1"]
    result = CliRunner().invoke(legacy.main, args)
    assert result.exit_code == 0, result.output
    data = legacy.load_network(dest)
    assert data["G_ema"].init_kwargs["num_fp16_res"] == 4
    assert_same_state(data["G_ema"], networks["G_ema"])


def test_command_reports_failures_in_one_line(tmp_path):
    source = tmp_path / "a.pkl"
    source.write_bytes(b"")
    args = [f"--source={source}", f"--dest={tmp_path / 'new' / 'b.pkl'}"]
    result = CliRunner().invoke(legacy.main, args)
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: --source: {source}: the file is empty\n",
    )
    assert not (tmp_path / "new").exists()
    source.unlink()
    result = CliRunner().invoke(legacy.main, args)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
