"""Networks in safetensors files."""

import io
import json
import pickle

import pytest
import safetensors.torch
import torch
from click.testing import CliRunner

import legacy
from network_files import safetensors_file
from tests.network_files.test_rebuild import NETWORKS, image
from torch_utils import persistence

TRAINING_SET = {"class_name": "training.dataset.ImageFolderDataset", "path": "x.zip"}


@pytest.fixture(scope="module")
def data() -> dict:
    names = {"G": "stylegan2", "D": "discriminator", "G_ema": "stylegan3-r"}
    return {
        **{key: NETWORKS[name] for key, name in names.items()},
        "augment_pipe": None,
        "training_set_kwargs": TRAINING_SET,
    }


@pytest.fixture(scope="module")
def content(data) -> bytes:
    buffer = io.BytesIO()
    safetensors_file.save(buffer, data)
    return buffer.getvalue()


def load(content: bytes) -> dict:
    return legacy.load_network_pkl(io.BytesIO(content), name="net.safetensors")


def test_networks_come_back(data, content):
    got = load(content)
    assert got["augment_pipe"] is None
    assert got["training_set_kwargs"] == TRAINING_SET
    for key in ("G", "D", "G_ema"):
        assert type(got[key]) is type(data[key])
        assert got[key].init_args == data[key].init_args
        assert got[key].init_kwargs == data[key].init_kwargs
        torch.testing.assert_close(got[key].state_dict(), data[key].state_dict(), rtol=0, atol=0)
        assert not any(module.training for module in got[key].modules())
        assert not any(param.requires_grad for param in got[key].parameters())


def test_file_is_plain_safetensors(data, content):
    tensors = safetensors.torch.load(content)
    weight = data["G_ema"].mapping.fc0.weight
    assert torch.equal(tensors["G_ema.mapping.fc0.weight"], weight)


def test_command_converts_to_and_fro(data, tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(data))
    for source, dest in (("a.pkl", "b.safetensors"), ("b.safetensors", "c.pkl")):
        args = [f"--source={tmp_path / source}", f"--dest={tmp_path / 'new' / dest}"]
        if source != "a.pkl":
            args[0] = f"--source={tmp_path / 'new' / source}"
        result = CliRunner().invoke(legacy.main, args)
        assert result.exit_code == 0, result.output
    images = [
        image(legacy.load_network(path)["G_ema"])
        for path in (tmp_path / "a.pkl", *(tmp_path / "new").iterdir())
    ]
    assert len(images) == 3
    assert torch.equal(images[0], images[1])
    assert torch.equal(images[0], images[2])


def edited(content: bytes, edit) -> bytes:
    """The file after a change of its tensors and its description."""
    tensors = safetensors.torch.load(content)
    description = safetensors_file._description(content)
    edit(tensors, description["networks"])
    metadata = {safetensors_file.METADATA_KEY: json.dumps(description)}
    return safetensors.torch.save(tensors, metadata)


def other_shape(tensors, networks):
    tensors["G_ema.mapping.w_avg"] = torch.zeros(9)


def missing_tensor(tensors, networks):
    del tensors["G_ema.mapping.w_avg"]


def unknown_tensor(tensors, networks):
    tensors["G_ema.mapping.w_std"] = torch.zeros(8)


def foreign_class(tensors, networks):
    networks["G_ema"]["class"] = "os.system"


def imported_class(tensors, networks):
    networks["G_ema"]["class"] = "training.preflight.Path"


def unknown_option(tensors, networks):
    networks["G_ema"]["init_kwargs"]["use_magic"] = 1


def no_options(tensors, networks):
    del networks["G_ema"]["init_kwargs"]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (other_shape, r"G_ema: .* mapping.w_avg is \[9\] in the file and \[8\] here"),
        (missing_tensor, "G_ema: .* mapping.w_avg is missing"),
        (unknown_tensor, "G_ema: .* mapping.w_std is unknown here"),
        (foreign_class, "os.system is no network class of this project"),
        (imported_class, "training.preflight.Path is no network class"),
        (unknown_option, "G_ema cannot be constructed: .*use_magic"),
        (no_options, "G_ema cannot be constructed"),
    ],
)
def test_files_that_do_not_match_are_refused_in_one_line(edit, message, content):
    with pytest.raises(ValueError, match=f"^net.safetensors: .*{message}") as info:
        load(edited(content, edit))
    assert "\n" not in str(info.value)
    assert "untrusted" not in str(info.value)  # there is no code to run


def test_other_safetensors_files_are_refused():
    with pytest.raises(ValueError, match="does not say which networks it holds"):
        load(safetensors.torch.save({"weight": torch.zeros(1)}))


@pytest.mark.parametrize("part", [0.01, 0.5, 0.999])
def test_truncated_files_are_refused(part, content):
    with pytest.raises(ValueError, match="damaged or truncated"):
        load(content[: int(len(content) * part)])


def test_networks_of_other_classes_are_not_written(tmp_path):
    @persistence.persistent_class
    class Net(torch.nn.Module):
        pass

    path = tmp_path / "net.safetensors"
    with pytest.raises(ValueError, match="Net is no network class of this project"):
        legacy.save_networks(path, {"G_ema": Net.__new__(Net)})
    assert not path.exists()
