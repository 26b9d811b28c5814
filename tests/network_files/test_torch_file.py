"""Files of PyTorch in place of a network pickle: what they are, and what to take instead."""

import io
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import gen_images
import legacy
from training import checkpoint

WAY_OUT = (
    "not a network pickle; take the network's .pkl or .safetensors (train.py writes "
    "network-snapshot-*.pkl)"
)
STATE = dict(
    training_set_kwargs={"path": "x.zip"}, launch_id=None, cur_nimg=3500, networks=torch.ones(9)
)
IS_STATE = "this is the state of a training run, which train.py --resume continues; "
OLD = dict(_use_new_zipfile_serialization=False)


def message_for(path: Path) -> str:
    with pytest.raises(ValueError) as info:
        legacy.load_network(path)
    text = str(info.value)
    assert text.startswith(f"{path}: ") and "\n" not in text
    return text.removeprefix(f"{path}: ")


def test_files_of_torch_save_are_named(tmp_path):
    path, weights = tmp_path / "net.pt", {"b4.const": torch.ones(2)}
    torch.save(weights, path)
    assert message_for(path) == f"this is a torch.save file, {WAY_OUT}"
    for content in (weights, torch.ones(2), torch.nn.Linear(1, 1), [1], {"G_ema": weights}):
        for protocol in (2, 4):
            torch.save(content, path, pickle_protocol=protocol, **OLD)
            assert message_for(path) == (
                f"this is a torch.save file in the format before PyTorch 1.6, {WAY_OUT}"
            )


def test_allowing_everything_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv(legacy.UNTRUSTED_VARIABLE, "1")
    torch.save([1], tmp_path / "net.pt", **OLD)
    assert message_for(tmp_path / "net.pt").startswith("this is a torch.save file in the format")


def test_torchscript_is_named(tmp_path):
    module = torch.jit.trace(torch.nn.Linear(1, 1), torch.ones(1, 1))
    torch.jit.save(module, tmp_path / "net.pt")
    assert message_for(tmp_path / "net.pt") == f"this is a TorchScript file, {WAY_OUT}"


@pytest.mark.parametrize("damage", ["cut off", "compressed", "other"])
def test_other_archives_are_only_archives(tmp_path, damage):
    buffer = io.BytesIO()
    if damage == "cut off":
        torch.save([torch.ones(100)], buffer)
        data = buffer.getvalue()[:-50]
    else:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            name = "a/data.pkl" if damage == "compressed" else "images/data.png"
            archive.writestr(name, b"x" * 1000)
        data = bytearray(buffer.getvalue())
        data[60:64] = b"\xff\xff\xff\xff"
    path = tmp_path / "net.pt"
    path.write_bytes(data)
    assert message_for(path) == "this is a ZIP archive (a dataset?), not a network pickle"


@pytest.mark.parametrize(
    ("snapshots", "named"),
    [
        (["000000", "000003", "000004"], "000003"),  # what the run had when it saved the state
        (["000010"], "000010"),  # the state is older than all that is left
        (["000003", "1000000"], "000003"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".abandoned"])
def test_the_snapshot_beside_a_training_state_is_named(tmp_path, snapshots, named, suffix):
    path = checkpoint.save(tmp_path, STATE, 3500, keep=1)
    path = path.rename(f"{path}{suffix}")
    for number in snapshots:
        (tmp_path / f"network-snapshot-{number}.pkl").touch()
    (tmp_path / "network-snapshot-000002.pkl.partial").touch()
    expected = tmp_path / f"network-snapshot-{named}.pkl"
    assert message_for(path) == f"{IS_STATE}the network is in {expected}"


def test_a_state_under_another_name_leads_to_the_newest_network(tmp_path):
    path = checkpoint.save(tmp_path, STATE, 3500, keep=1).rename(tmp_path / "best-1.pt")
    for number in ("000003", "000004"):
        (tmp_path / f"network-snapshot-{number}.pkl").touch()
    assert message_for(path).endswith(
        "the network is in " + str(tmp_path / "network-snapshot-000004.pkl")
    )


def test_a_state_alone_says_so(tmp_path):
    path = checkpoint.save(tmp_path, STATE, 3500, keep=1)
    expected = "networks are in the run's network-snapshot-*.pkl, but there is none beside it"
    assert message_for(path) == IS_STATE + expected


def test_a_script_says_it_in_one_line(tmp_path):
    path = checkpoint.save(tmp_path, STATE, 3500, keep=1)
    (tmp_path / "network-snapshot-000003.pkl").touch()
    args = [f"--network={path}", "--seeds=0", f"--outdir={tmp_path / 'out'}", "--device=cpu"]
    result = CliRunner().invoke(gen_images.main, args)
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: --network: {path}: {IS_STATE}"
        f"the network is in {tmp_path / 'network-snapshot-000003.pkl'}\n"
    )


def test_whole_numbers_alone_are_no_files_of_torch(tmp_path):
    (tmp_path / "net.pkl").write_bytes(pickle.dumps(5))
    assert message_for(tmp_path / "net.pkl") == "holds an int, not a dictionary of networks"
