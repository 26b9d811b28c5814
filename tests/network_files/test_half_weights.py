"""Small files: weights rounded to float16, without the networks that are not needed."""

import io
import json
import pickle
import warnings

import pytest
import safetensors.torch
import torch
from click.testing import CliRunner

import legacy
from network_files import safetensors_file
from network_files.half_weights import Rounding
from network_files.precision import with_precision
from tests.network_files.test_rebuild import NETWORKS, image, new_networks


@pytest.fixture
def data() -> dict:
    found = new_networks()
    return {
        "G": found["stylegan3-t"],
        "D": found["discriminator"],
        "G_ema": found["stylegan3-t"],
        "augment_pipe": None,
        "training_set_kwargs": {"path": "/home/me/x.zip"},
    }


def saved(data: dict, **kwargs) -> bytes:
    buffer = io.BytesIO()
    safetensors_file.save(buffer, data, **kwargs)
    return buffer.getvalue()


def load(content: bytes) -> dict:
    return legacy.load_network_pkl(io.BytesIO(content), name="net.safetensors")


@pytest.mark.parametrize("name", ["stylegan2", "stylegan3-t", "stylegan3-r"])
def test_weights_are_halved_and_loaded_as_float32_without_comment(name):
    G = NETWORKS[name]
    whole, half = saved({"G_ema": G}), saved({"G_ema": G}, store_as="float16")
    assert len(half) < 0.9 * len(whole)  # buffers and the header stay
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = load(half)["G_ema"]
    assert type(got) is type(G) and got.init_kwargs == G.init_kwargs
    expected = dict(G.named_parameters())
    for key, param in got.named_parameters():
        assert param.dtype == torch.float32
        assert torch.equal(param, expected[key].half().float())
    for key, buffer in got.named_buffers():
        assert torch.equal(buffer, G.get_buffer(key)), key  # filters, averages, noise


def test_the_file_says_how_its_tensors_are_stored(data):
    content = saved(data, store_as="float16")
    description = safetensors_file._description(content)
    kinds = [str(t.dtype) for t in safetensors.torch.load(content).values()]
    assert description["version"] == 1  # readers of before convert as well
    assert description["stored_as"] == {
        kind: kinds.count(f"torch.{kind}") for kind in ("float16", "float32")
    }


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.float16])
def test_another_program_that_changed_the_types_is_noticed(kind, data):
    content = saved(data)
    tensors = safetensors.torch.load(content)
    tensors["G_ema.mapping.fc0.bias"] = tensors["G_ema.mapping.fc0.bias"].to(kind)
    text = json.dumps(safetensors_file._description(content))
    changed = safetensors.torch.save(tensors, {safetensors_file.METADATA_KEY: text})
    name = str(kind).removeprefix("torch.")
    with pytest.warns(UserWarning, match=f"were converted: 1 of {name};"):
        got = load(changed)
    assert got["G_ema"].mapping.fc0.bias.dtype == torch.float32


def test_weights_that_float16_cannot_hold_stay_float32_and_are_named():
    rounding = Rounding()
    x = torch.randn(64)
    large, small, mixed = x * 1e5, x * 1e-7, torch.cat([x, x * 1e-9])
    assert torch.equal(rounding.store("a", large), large)
    assert torch.equal(rounding.store("b", small), small)
    assert torch.equal(rounding.store("c", mixed), mixed.half())
    assert rounding.store("d", torch.zeros(3)).dtype == torch.float16
    assert rounding.counts == {"float16": 2, "float32": 2}
    assert rounding.num_zeroed == (mixed.half() == 0).sum() == 64
    assert rounding.max_error < 5e-4
    text = rounding.describe()
    assert "2 as float16" in text and "64 weights became 0" in text
    assert "float16 cannot hold a (out of range), b (too small)" in text


def test_damage_is_not_hidden_by_rounding():
    x = torch.tensor([1.0, float("nan"), float("inf")])
    stored = Rounding().store("x", x)
    assert stored.dtype == torch.float16 and torch.equal(stored[2:].float(), x[2:])
    assert stored[1].isnan()


def test_command_writes_a_small_file(data, tmp_path):
    (tmp_path / "net.pkl").write_bytes(pickle.dumps(data))
    dest = tmp_path / "small.safetensors"
    args = [f"--source={tmp_path / 'net.pkl'}", f"--dest={dest}", "--networks=G_ema,D"]
    args += ["--store-as=float16", "--data=x.zip"]
    result = CliRunner().invoke(legacy.main, args)
    assert result.exit_code == 0, result.output
    assert "Left out: G\n" in result.output
    assert "as float16" in result.output and "rounding changed each by 0.0" in result.output
    assert f"Wrote {dest} (0.0" in result.output
    got = legacy.load_network(dest)
    assert got["G"] is None and got["D"] is not None
    assert got["training_set_kwargs"] == {"path": "x.zip"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--store-as=float16"], "only .safetensors files hold weights as float16"),
        (["--networks=D"], "G_ema is missing, which every file needs"),
        (["--networks=G_ema,H"], "'H' is unknown"),
        (
            ["--networks=G_ema,augment_pipe"],
            "there is no augment_pipe in the file, but",
        ),
        (["--force-fp16=1", "--precision=fp32"], "--force-fp16=1 contradicts --precision=fp32"),
    ],
)
def test_command_refuses_what_it_cannot_write(options, message, data, tmp_path):
    (tmp_path / "net.pkl").write_bytes(pickle.dumps(data))
    dest = tmp_path / "other.pkl"
    args = [f"--source={tmp_path / 'net.pkl'}", f"--dest={dest}", *options]
    result = CliRunner().invoke(legacy.main, args)
    assert result.exit_code != 0 and message in result.output
    assert "Traceback" not in result.output and not dest.exists()


@pytest.mark.parametrize("name", ["stylegan2", "stylegan3-t", "discriminator"])
def test_precision_of_features_changes_and_weights_stay(name):
    net = NETWORKS[name]
    bf16 = with_precision(net, "bf16")
    expected = {"fp32": ("fp16", 0), "fp16": ("fp16", 4), "bf16": ("bf16", 4)}
    for precision, (half_dtype, num) in expected.items():
        got = with_precision(bf16, precision)
        kinds = {m.half_dtype for m in got.modules() if hasattr(m, "half_dtype")}
        assert kinds == {half_dtype}
        assert got.init_kwargs["num_fp16_res"] == num
        assert any(m.use_fp16 for m in got.modules() if hasattr(m, "use_fp16")) == (num > 0)
        torch.testing.assert_close(got.state_dict(), net.state_dict(), rtol=0, atol=0)
        assert with_precision(got, precision) is got


def test_command_sets_a_network_of_bfloat16_back(data, tmp_path):
    bf16 = {key: with_precision(data[key], "bf16") for key in ("G", "D", "G_ema")}
    (tmp_path / "net.pkl").write_bytes(pickle.dumps({**data, **bf16}))
    dest = tmp_path / "net.safetensors"
    args = [f"--source={tmp_path / 'net.pkl'}", f"--dest={dest}", "--precision=fp16"]
    assert CliRunner().invoke(legacy.main, args).exit_code == 0
    got = legacy.load_network(dest)
    for key in ("G", "D", "G_ema"):
        assert "half_dtype" not in got[key].init_kwargs
        assert got[key].init_kwargs["conv_clamp"] == 256
    # Float16 is for GPUs: on the CPU the images are those of float32.
    assert torch.equal(image(got["G_ema"]), image(with_precision(data["G_ema"], "fp32")))
