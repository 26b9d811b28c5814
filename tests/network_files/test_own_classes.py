"""Loading where another program's package `training` comes first on the path."""

import json
import os
import pickle
import subprocess
import sys
import textwrap

import pytest

import legacy
from network_files import own_classes
from tests.network_files import seeds
from tests.network_files.test_rebuild import load, new_networks
from training import networks_stylegan2, networks_stylegan3

TENSORFLOW = own_classes.PROJECT_DIR / "tests/data/legacy_tf/tf_v5_cond_resnetG_skipD_16.pkl"

SCRIPT = """
    import json, os, pickle, sys, warnings
    from pathlib import Path
    import legacy
    heavy = {"torch._dynamo", "scipy", "training", "metrics"}
    facts = {"heavy": sorted(heavy & sys.modules.keys())}
    from training.networks_stylegan2 import Generator
    import training, metrics, data

    def load(path):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loaded = legacy.load_network(path)
        facts.setdefault("warnings", []).append([str(w.message) for w in caught])
        return loaded

    data = load("net.pkl")
    nets = [data[key] for key in ("G_ema", "D", "augment_pipe")]
    with open("net.pkl", "rb") as f:
        unpickled = pickle.load(f)["G_ema"]
    facts["is same class"] = type(unpickled) is type(nets[0])
    facts["is foreign class"] = isinstance(nets[0], Generator)
    facts["is found again"] = [type(pickle.loads(pickle.dumps(net))) is type(net) for net in nets]
    legacy.save_networks(Path("net.safetensors"), data)
    again = load("net.safetensors")
    facts["is read again"] = type(again["G_ema"]) is type(nets[0])
    load("tensorflow.pkl")
    try:
        legacy.save_networks(Path("x.safetensors"), {"G": Generator()})
    except ValueError as error:
        facts["refusal"] = str(error)
    Path("again.pkl").write_bytes(pickle.dumps(data))
    Path("facts.json").write_text(json.dumps(facts))
"""
FOREIGN_NETWORK = """
import torch
from torch_utils import persistence

@persistence.persistent_class
class Generator(torch.nn.Module):
    pass
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a program that has packages of the same names, after it has run."""
    folder = tmp_path_factory.mktemp("fork")
    for name in ("training", "metrics", "data"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").touch()
    (folder / "training/networks_stylegan2.py").write_text(FOREIGN_NETWORK)
    (folder / "program.py").write_text(textwrap.dedent(SCRIPT))
    (folder / "net.pkl").write_bytes(pickle.dumps(seeds.networks()))
    (folder / "tensorflow.pkl").write_bytes(TENSORFLOW.read_bytes())
    env = {**os.environ, "PYTHONPATH": str(own_classes.PROJECT_DIR)}
    subprocess.run([sys.executable, folder / "program.py"], cwd=folder, env=env, check=True)
    return folder


@pytest.fixture(scope="module")
def facts(folder):
    return json.loads((folder / "facts.json").read_text())


@pytest.mark.slow
def test_importing_legacy_is_light(facts):
    assert facts["heavy"] == []


def test_networks_are_rebuilt_with_one_warning(facts, folder):
    (first,), *others = facts["warnings"]
    assert first.startswith(f"{folder / 'training'} hides the package {own_classes.PROJECT_DIR}")
    assert "\n" not in first and "sys.path" in first
    assert others == [[], []]


def test_classes_are_the_same_however_they_were_loaded(facts):
    assert facts["is same class"] and facts["is read again"]
    assert facts["is found again"] == [True, True, True]


def test_a_foreign_class_of_the_same_name_is_not_taken_for_ours(facts):
    assert not facts["is foreign class"]
    assert facts["refusal"].startswith("training.networks_stylegan2.Generator is no network class")


def test_what_was_written_there_is_ours_here(folder):
    for name in ("again.pkl", "net.safetensors"):
        data = legacy.load_network(folder / name)
        assert type(data["G_ema"]) is networks_stylegan3.Generator
        assert type(data["D"]) is networks_stylegan2.Discriminator


def test_path_of_a_class_is_that_of_its_text():
    path = "training.networks_stylegan3.Generator"
    assert own_classes.path_of(networks_stylegan3.Generator) == path
    assert own_classes.path_of(dict) is None


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    data = pickle.dumps({"G_ema": new_networks()["stylegan2"]})
    monkeypatch.setattr(own_classes, "PROJECT_DIR", tmp_path)
    (tmp_path / "torch_utils").mkdir()
    (tmp_path / "torch_utils/layers.py").touch()
    with pytest.raises(ImportError, match=rf"{tmp_path}/training/networks_\w+\.py, .* is missing"):
        load(data)
