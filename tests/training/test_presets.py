"""`--preset` and `--gamma=auto`: what they set, where they are refused, and a run with both."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import dataset_tool
import legacy
import train
from tests.training.test_config import printed_options
from training import checkpoint, presets
from training.config import AUGMENTATIONS, TrainOptions, make_config, suggest_gamma
from training.presets import PRESETS

T_256_1, T_256_8 = PRESETS["stylegan3-t-256-gpus1"], PRESETS["stylegan3-t-256-gpus8"]
# A preset for large images with a size of network, images and run that takes seconds on a CPU.
TINY = (
    *("--preset=stylegan2-256-gpus1", "--gamma=auto", "--augpipe=bgcfnc", "--aug-max=0.1"),
    *("--batch=40", "--cbase=64", "--cmax=4", "--kimg=1", "--tick=1", "--snap=1", "--workers=0"),
    *("--metrics=none", "--data=drawn.zip"),
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """A folder with drawings of 32x32."""
    folder = tmp_path_factory.mktemp("workspace")
    make = ["--source=synthetic", f"--dest={folder}/drawn.zip", "--resolution=32x32"]
    result = CliRunner().invoke(dataset_tool.main, [*make, "--max-images=20"])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def dry_run(workspace, monkeypatch):
    def dry_run(*options: str, outdir: str = "runs"):
        return CliRunner().invoke(train.main, [f"--outdir={outdir}", "--dry-run", *options])

    monkeypatch.chdir(workspace)
    return dry_run


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_run_for_what_its_name_says(name):
    params = train.main.make_context("train", [f"--preset={name}", "--data=data.zip"]).params
    with train.main.make_context("train", [f"--preset={name}"]):
        filled = train._with_preset(params)
    options = {field.name: filled[field.name] for field in dataclasses.fields(TrainOptions)}
    config = make_config(TrainOptions(**options), {})
    cfg, size, where = re.fullmatch(r"(stylegan\d(?:-[tr])?)-(\d+)-(cpu|gpus\d+)", name).groups()
    assert options["cfg"] == cfg
    assert config.num_gpus == (1 if where == "cpu" else int(where.removeprefix("gpus")))
    if where != "cpu":
        gamma = suggest_gamma(cfg, int(size), config.batch_size)
        assert config.loss_kwargs["r1_gamma"] == pytest.approx(gamma, rel=0.05)


@pytest.mark.parametrize(
    ("preset", "given", "expected"),
    [
        (T_256_8, {}, dict(cfg="stylegan3-t", gpus="8", batch="32", gamma="2", cbase="16384")),
        (T_256_8, dict(gpus=4, gamma=1.0), dict(cfg="stylegan3-t", batch="32", cbase="16384")),
        (T_256_8, dict(kimg=1), T_256_8.options),
        (T_256_1, dict(gpus=2), {k: v for k, v in T_256_1.options.items() if k != "gpus"}),
        # A process has 8 samples, which go through in one pass in any case.
        (T_256_1, dict(gpus=4), dict(cfg="stylegan3-t", batch="32", gamma="2", cbase="16384")),
        (T_256_1, dict(batch=4), dict(cfg="stylegan3-t", gpus="1", gamma="2", cbase="16384")),
        (T_256_1, dict.fromkeys(T_256_1.options), {}),
    ],
    ids=["nothing", "some", "others", "two", "four", "batch", "all"],
)
def test_preset_gives_values_to_what_is_missing(preset, given, expected):
    assert presets.missing_options(preset, given) == expected


@pytest.mark.parametrize(
    ("given", "resolution", "message"),
    [
        ({}, 256, None),
        (dict(gpus=1, cbase=1), 256, None),
        (dict(batch=32, cfg="stylegan3-t"), 256, None),
        (dict(batch=16, gamma=4.0), 256, None),
        ({}, 512, "not for images of 512x512; .*choose --preset=stylegan3-t-512-gpus1 or .*gpus8$"),
        ({}, 64, "not for images of 64x64; give --gamma, perhaps as --gamma=auto$"),
        (dict(batch=16), 256, "its --gamma=2 is .* in batches of 32, not for --batch=16; give"),
        (dict(batch=16), 64, "not for images of 64x64 and --batch=16"),
        (dict(cfg="stylegan2"), 256, "not for --cfg=stylegan2"),
    ],
)
def test_gamma_of_a_preset_is_refused_where_it_does_not_apply(given, resolution, message):
    if message is None:
        assert presets.check(T_256_8, given, resolution) is None
        return
    with pytest.raises(ValueError, match=message):
        presets.check(T_256_8, given, resolution)


def test_dry_run_tells_what_the_preset_sets(dry_run):
    result = dry_run("--preset=stylegan3-t-32-cpu", "--data=drawn.zip", "--kimg=2", "--seed=3")
    assert result.exit_code == 0, result.output
    line = (
        "--preset=stylegan3-t-32-cpu sets --cfg=stylegan3-t --gpus=1 --batch=4 --gamma=1 "
        "--cbase=512 --cmax=32 --aug=noaug --tick=1 --snap=2 --metrics=none; it leaves --kimg as "
        "given."
    )
    assert line in result.output.splitlines()
    options = printed_options(result.output)
    assert options["given"]["preset"] == "stylegan3-t-32-cpu"
    assert options["run_dir"].endswith("00000-stylegan3-t-drawn-gpus1-batch4-gamma1")
    by_hand = line.split(" sets ")[1].split(";")[0].split()
    expected = printed_options(dry_run(*by_hand, "--data=drawn.zip", "--kimg=2", "--seed=3").output)
    expected["given"]["preset"] = "stylegan3-t-32-cpu"
    assert options == expected


def test_preset_for_another_size_is_refused_or_noted(dry_run):
    options = ("--preset=stylegan2-256-gpus1", "--data=drawn.zip", "--batch=8")
    result = dry_run(*options)
    assert result.exit_code == 1
    error = result.output.splitlines()[-1]
    assert error.startswith("Error: --preset=stylegan2-256-gpus1: its --gamma=0.82 is for images")
    result = dry_run(*options, "--gamma=auto")
    assert result.exit_code == 0
    note = "Note: --preset=stylegan2-256-gpus1 is for images of 256x256, and these are 32x32; "
    assert note in result.output


def test_unknown_preset_lists_those_that_exist(dry_run):
    result = dry_run("--preset=stylegan4", "--data=drawn.zip")
    assert result.exit_code == 2
    error = result.output.splitlines()[-1]
    assert error.startswith("Error: Invalid value for '--preset': 'stylegan4' is not one of ")
    assert all(f"'{name}'" in error for name in PRESETS)


def test_torchrun_replaces_the_number_of_processes(dry_run, monkeypatch):
    for name, value in dict(WORLD_SIZE="2", RANK="0", LOCAL_RANK="0").items():
        monkeypatch.setenv(name, value)
    result = dry_run("--preset=stylegan3-t-32-cpu", "--data=drawn.zip", "--mbstd-group=2")
    options = printed_options(result.output)
    assert (options["num_gpus"], options["batch_size"], options["batch_gpu"]) == (2, 4, 2)
    assert "it leaves --gpus as given" in result.output


@pytest.mark.parametrize(
    ("cfg", "batch", "gamma"),
    [
        ("stylegan3-t", 4, "0.26"),
        ("stylegan3-r", 32, "0.032"),
        ("stylegan2", 8, "0.026"),
        ("stylegan2", 1024, "0.0002"),
    ],
)
def test_automatic_gamma_is_the_heuristic_for_the_dataset(cfg, batch, gamma, dry_run):
    result = dry_run(f"--cfg={cfg}", f"--batch={batch}", "--gpus=1", "--gamma=auto", TINY[-1])
    assert result.exit_code == 0, result.output
    options = printed_options(result.output)
    assert options["loss_kwargs"]["r1_gamma"] == float(gamma)
    assert options["run_dir"].endswith(f"-batch{batch}-gamma{gamma}")
    (line,) = [line for line in result.output.splitlines() if line.startswith("--gamma=auto: ")]
    assert line.startswith(f"--gamma=auto: {gamma} (0.001 * resolution^2 / batch for StyleGAN3, ")
    assert line.endswith("also try a third and three times as much.")


def test_what_is_no_gamma_is_refused(dry_run):
    for value in ("automatic", "-1", "nan"):
        result = dry_run("--cfg=stylegan2", "--gpus=1", "--batch=8", f"--gamma={value}", TINY[-1])
        assert result.exit_code == 2
        assert result.output.rstrip().endswith("; auto chooses one for the dataset")


@pytest.mark.slow
def test_run_with_a_preset_and_what_it_stores(start, dry_run, workspace, monkeypatch):
    process = start(workspace / "real", *TINY, cwd=workspace)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    (run_dir,) = (workspace / "real").iterdir()
    gamma = 0.0051  # 0.0002 * 32**2 / 40
    assert run_dir.name == f"00000-stylegan2-drawn-gpus1-batch40-gamma{gamma}"
    options = json.loads((run_dir / "training_options.json").read_text())
    assert options["given"]["preset"] == "stylegan2-256-gpus1"
    assert options["loss_kwargs"]["r1_gamma"] == gamma and options["ada_max"] == 0.1
    assert options["G_opt_kwargs"]["lr"] == 0.0025  # of the preset; 0.002 without it
    assert "Augmentation: adaptive, target 0.6, strength up to 0.1" in output
    pipe = legacy.load_network(run_dir / "network-snapshot-000001.pkl")["augment_pipe"]
    assert all(getattr(pipe, name) == 1 for name in AUGMENTATIONS["bgcfnc"])

    # Continue it: the number is stored, and the preset is part of the run.
    state_path = checkpoint.states(run_dir)[0]
    state = checkpoint.load(state_path)
    assert state["options"]["gamma"] == gamma
    resumed = dry_run(f"--resume={run_dir}", "--kimg=2", "--augpipe=bg", "--aug-max=0.5")
    assert resumed.exit_code == 0, resumed.output
    after = printed_options(resumed.output)
    assert after["loss_kwargs"] == options["loss_kwargs"] and after["ada_max"] == 0.5
    assert after["augment_kwargs"].keys() == {"class_name", *AUGMENTATIONS["bg"]}
    assert "--preset" not in resumed.output
    resumed = dry_run(f"--resume={run_dir}", "--preset=stylegan2-256-gpus1", "--gamma=auto")
    assert printed_options(resumed.output)["loss_kwargs"] == options["loss_kwargs"]
    assert f"--gamma=auto: {gamma} (" in resumed.output
    resumed = dry_run(f"--resume={run_dir}", "--preset=stylegan2-256-gpus8")
    assert resumed.output.startswith(
        "Error: --preset=stylegan2-256-gpus8: the run was started with "
        "--preset=stylegan2-256-gpus1; leave the option out to continue it"
    )

    # Torchrun starts the same command again after a failure.
    state["launch_id"] = "job"
    checkpoint.save(run_dir, state, state["cur_nimg"], keep=2)
    for name, value in dict(WORLD_SIZE="1", RANK="0", TORCHELASTIC_RUN_ID="job").items():
        monkeypatch.setenv(name, value)
    again = dry_run(*TINY, outdir="real")
    assert again.exit_code == 0, again.output
    assert f"Continuing from {state_path.relative_to(workspace)}" in again.output
