"""Command lines of `train.py` and the resulting configurations, from golden dry runs."""

import copy
import dataclasses
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

import train
from dnnlib import pretrained
from tests import golden
from training import run_dirs
from training.config import TrainOptions, make_config, run_description

GOLDEN = golden.load_json("train_options.json")
DATASETS = golden.DATA_DIR / "datasets"
ARCHIVES = {
    "data16": "rgb",
    "data32vec": "float",
    "data8gray": "gray",
    "noimages": "noimages",
    "nonsq": "nonsquare",
}

# What the `Error:` line of a refused command line must name.
NAMED = {
    "data path does not exist": "--data",
    "archive without images": "--data",
    "non-square images": "--data",
    "conditional training without labels": "--cond",
    "batch not a multiple of gpus": "--batch=4 must be a multiple of --gpus=3",
    "batch not a multiple of gpus times batch-gpu": "--batch-gpu",
    "batch per gpu smaller than the minibatch-std group": "--mbstd-group",
    "unknown metric": "--metrics",
    "negative gamma": "--gamma",
    "gamma missing": "--gamma",
    "unknown cfg": "--cfg",
    "gpus below 1": "--gpus",
    "p outside [0,1]": "--p",
    "map-depth below 1": "--map-depth",
}


@pytest.fixture(scope="module")
def datasets(tmp_path_factory) -> Path:
    """A folder with datasets under the names in the command lines."""
    folder = tmp_path_factory.mktemp("datasets")
    for name, source in ARCHIVES.items():
        shutil.copy(DATASETS / f"dataset_small_{source}.zip", folder / f"{name}.zip")
    with zipfile.ZipFile(folder / "data16.zip") as archive:
        archive.extractall(folder / "folder.d" / "nested")
    (folder / "old").mkdir()
    for name in ("a.pkl", "x.pkl", "old/network-snapshot-000100.pkl"):  # --resume of some
        (folder / name).touch()
    return folder


@pytest.fixture
def dry_run(datasets, monkeypatch):
    """Run `train.py --dry-run` in the folder of datasets, and make sure that it leaves no trace."""

    def dry_run(line: str):
        before = sorted(datasets.rglob("*"))
        arguments = ["--outdir=training-runs", "--dry-run", *line.split()]
        result = CliRunner().invoke(train.main, arguments)
        assert sorted(datasets.rglob("*")) == before
        return result

    monkeypatch.chdir(datasets)
    return dry_run


def printed_options(output: str) -> dict:
    return json.loads(output[output.index("{\n") : output.index("\n}\n") + 2])


@pytest.mark.parametrize("line", GOLDEN["runs"])
def test_options_match_reference(line, dry_run):
    result = dry_run(line)
    assert result.exit_code == 0, result.output
    options = printed_options(result.output)
    expected = copy.deepcopy(GOLDEN["runs"][line]["options"])
    # The reference stores paths as they were given; ours are absolute, beside what was given.
    given = {"data": expected["training_set_kwargs"]["path"], "resume": expected.get("resume_pkl")}
    assert options.pop("given") == {"outdir": "training-runs", "preset": None, **given}
    expected["training_set_kwargs"]["path"] = os.path.abspath(given["data"])
    if given["resume"] is not None:
        expected["resume_pkl"] = os.path.abspath(given["resume"])
    assert options.pop("run_dir") == os.path.abspath(GOLDEN["runs"][line]["run_dir"])
    del expected["run_dir"]
    assert options.pop("dataset_fingerprint")["num_images"] == expected["training_set_kwargs"].get(
        "max_size"
    )
    assert {key: options.get(key) for key in expected} == expected
    # Keys beyond the reference's spell out its defaults.
    unlisted = dict(
        G_reg_interval=None,
        D_reg_interval=16,
        augment_kwargs=None,
        augment_p=0,
        ada_target=None,
        ada_interval=4,
        ada_kimg=500,
        ada_max=None,
        resume_pkl=None,
        allow_untrusted=False,
        ema_rampup=0.05,
        cudnn_benchmark=True,
        deterministic=False,
        tf32=False,
        state_minutes=30,
        watchdog_minutes=10,
        keep_states=2,
        keep_best=next(iter(expected["metrics"]), None),
        patience=0,
        max_minutes=0,
        keep_snapshots=0,
        max_nan_steps=200,
        skip_damaged_images=False,
        cache="none",
        wandb=None,
    )
    beyond = {key: value for key, value in options.items() if key not in expected}
    assert beyond == {key: unlisted[key] for key in beyond}


@pytest.mark.parametrize("line", GOLDEN["rejected"])
def test_invalid_command_line_is_refused_in_one_line(line, dry_run):
    case = GOLDEN["rejected"][line]
    result = dry_run(line)
    # Click itself refuses an unknown metric, as a usage error; the reference raises later.
    expected_code = 2 if case["reason"] == "unknown metric" else case["exit_code"]
    assert result.exit_code == expected_code, result.output
    assert isinstance(result.exception, SystemExit)
    (error,) = [text for text in result.output.splitlines() if text.startswith("Error:")]
    assert result.output.rstrip().endswith(error)
    assert NAMED[case["reason"]] in error


def test_network_in_the_box_keeps_its_address(dry_run, monkeypatch, tmp_path):
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    (tmp_path / "tiny.safetensors").write_bytes(b"")
    line = "--cfg=stylegan2 --data=data16.zip --gpus=1 --batch=4 --gamma=1 --resume=pretrained:"
    options = printed_options(dry_run(f"{line}tiny").output)
    assert options["resume_pkl"] == "pretrained:tiny"
    result = dry_run(f"{line}tinny")
    assert result.exit_code == 1
    message = "there is no such network; did you mean pretrained:tiny? In the box: pretrained:tiny"
    assert result.output.endswith(f"Error: --resume: pretrained:tinny: {message}\n")


def test_metrics_value_rule(dry_run):
    line = "--cfg=stylegan2 --data=data16.zip --gpus=1 --batch=4 --gamma=1"
    for value, names in {
        "none": [],
        "NONE": [],
        "": [],
        "kid50k,is50k": ["kid50k", "is50k"],
    }.items():
        result = dry_run(f"{line} --metrics={value}")
        assert printed_options(result.output)["metrics"] == names


def test_run_directories_are_numbered_as_in_the_reference(tmp_path, monkeypatch):
    case = GOLDEN["run_dir_numbering"]
    monkeypatch.chdir(tmp_path)
    outdir = Path("training-runs")
    _, _, description = Path(case["result"]).name.partition("-")
    assert run_dirs.next_run_dir(outdir, description) == outdir / f"00000-{description}"
    assert not outdir.exists()
    for name in case["existing_directories"]:
        (outdir / name).mkdir(parents=True)
    (outdir / "00099-a-file").touch()
    assert str(run_dirs.next_run_dir(outdir, description)) == case["result"]


@pytest.mark.parametrize(
    "expected", GOLDEN["command_line_options"], ids=lambda option: option["names"][-1]
)
def test_option_has_the_name_range_and_default_of_the_reference(expected):
    name = expected["names"][-1]
    (param,) = [param for param in train.main.params if name in param.opts]
    info = param.to_info_dict()
    assert param.opts == expected["names"]
    # A continued run has them already, so the check comes later.
    assert ("[required" in (param.help or "")) == expected["required"]
    assert info["is_flag"] == expected["is_flag"]
    if name == "--metrics":
        assert info["default"] == "fid50k_full"
        return
    assert param.type.name == expected["type"]
    assert getattr(param.type, "choices", None) in (expected["choices"], None) or list(
        param.type.choices
    ) == list(expected["choices"])
    # We allow loading images in the training process; the reference does not.
    minimum = 0 if name == "--workers" else expected["min"]
    assert getattr(param.type, "min", None) == minimum
    assert getattr(param.type, "max", None) == expected["max"]
    assert (info["default"] or None) == (expected["default"] or None)


def test_defaults_of_train_options_are_those_of_the_command_line():
    by_hand = TrainOptions(cfg="stylegan2", gpus=1, batch=4, gamma=1)
    for param in train.main.params:
        if hasattr(by_hand, param.name) and "[required" not in param.help:
            default = param.to_info_dict()["default"]
            default = (default,) if param.name == "metrics" else default
            assert getattr(by_hand, param.name) == default, param.name


def test_learning_rate_zero_is_kept():
    options = TrainOptions(cfg="stylegan2", gpus=1, batch=4, gamma=1, glr=0.0, dlr=0.0)
    config = make_config(options, {})
    assert config.G_opt_kwargs["lr"] == config.D_opt_kwargs["lr"] == 0


@pytest.mark.parametrize("cfg", ["stylegan2", "stylegan3-t", "stylegan3-r"])
def test_discriminator_has_the_capacity_of_the_run_or_its_own(cfg):
    options = TrainOptions(cfg=cfg, gpus=1, batch=4, gamma=1, cbase=1024, cmax=32)

    def capacities(**changes):
        config = make_config(dataclasses.replace(options, **changes), {})
        kwargs = (config.G_kwargs, config.D_kwargs)
        return [(net["channel_base"], net["channel_max"]) for net in kwargs]

    G = capacities()[0]
    assert capacities() == [G, (1024, 32)]
    assert capacities(d_cbase=2048, d_cmax=64) == [G, (2048, 64)]
    assert capacities(d_cmax=8) == [G, (1024, 8)]


def test_depth_of_the_label_mapping_is_that_of_the_discriminator_alone():
    options = TrainOptions(cfg="stylegan3-t", gpus=1, batch=4, gamma=1)
    assert make_config(options, {}).D_kwargs["mapping_kwargs"] == {}  # 8, as published
    shallow = make_config(dataclasses.replace(options, d_map_depth=2), {})
    assert shallow.D_kwargs["mapping_kwargs"] == {"num_layers": 2}
    assert shallow.G_kwargs["mapping_kwargs"] == {"num_layers": 2}  # of StyleGAN3


@pytest.mark.parametrize(("given", "expected"), [(None, 1.25), (0.25, 0.25), (0.0, 0)])
def test_averaging_follows_the_batch_or_the_option(given, expected):
    options = TrainOptions(cfg="stylegan3-t", gpus=1, batch=4, gamma=1, ema_kimg=given)
    assert make_config(options, {}).ema_kimg == expected


def test_description_names_the_run():
    options = TrainOptions(cfg="stylegan3-t", gpus=2, batch=16, gamma=0.50)
    assert run_description(options, "pets") == "stylegan3-t-pets-gpus2-batch16-gamma0.5"
    assert run_description(options, "pets", "try").endswith("-gamma0.5-try")
