"""The demo: its steps, what it reuses, and its last sheet. `make demo-quick` runs it for real."""

import os
import pickle
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

import dataset_tool
import demo
from tests.small_networks import stylegan3
from torch_utils.layout import GAP
from training.networks_stylegan2 import Discriminator


class Steps:
    """Stands in for `demo.run`: writes what the commands would write, and remembers them."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, dict[str, str]]] = []

    def __call__(self, script: str, *args: str) -> None:
        options = dict(arg.removeprefix("--").split("=", 1) for arg in args)
        self.commands.append((script, options))
        if script == "dataset_tool.py":
            result = CliRunner().invoke(dataset_tool.main, args, catch_exceptions=False)
            assert result.exit_code == 0, result.output
        elif script == "gen_images.py":
            width, height = map(int, options["grid"].split("x"))
            level = 50 if "scratch" in options["network"] else 200
            path = Path(options["outdir"], "grid.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.new("RGB", (32 * width, 32 * height), (level,) * 3).save(path)
        elif script == "train.py":
            run_dir = Path(options["outdir"], f"00000-{options['desc']}")
            run_dir.mkdir(parents=True)
            (run_dir / f"network-snapshot-{int(options['kimg']):06d}.pkl").touch()
        else:
            Path(options["output"]).touch()

    def scripts(self) -> list[str]:
        """The commands since the last call, without their endings."""
        names = [script.removesuffix(".py") for script, _ in self.commands]
        self.commands.clear()
        return names


@pytest.fixture
def steps(monkeypatch, tmp_path) -> Steps:
    network = tmp_path / "network.pkl"
    D = Discriminator(6, 32, 3, channel_base=128, channel_max=16)
    network.write_bytes(pickle.dumps({"G_ema": stylegan3(c_dim=6), "D": D}))
    monkeypatch.setattr(demo, "NETWORK", str(network))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "run", steps := Steps())
    return steps


def run(*args: str) -> str:
    result = CliRunner().invoke(demo.main, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_trained_network_draws_first_and_trainings_differ_in_their_start_and_rates(steps):
    output = run("--kimg=2")
    first, _, scratch, transfer = (options for _, options in steps.commands[:4])
    assert first["network"] == demo.NETWORK and first["class"] == "0-5"
    assert transfer.pop("resume") == demo.NETWORK
    assert (scratch.pop("desc"), transfer.pop("desc")) == ("scratch", "transfer")
    assert (scratch.pop("glr"), scratch.pop("dlr")) == ("0.005", "0.004")
    assert scratch == transfer
    assert scratch["kimg"] == "2" and scratch["cond"] == "1"
    # The layers are those of the network in the box.
    assert (scratch["cfg"], scratch["cbase"], scratch["cmax"]) == ("stylegan3-t", "64", "8")
    assert (scratch["d-cbase"], scratch["d-cmax"]) == ("128", "16")
    assert scratch["map-depth"] == "1"
    assert steps.scripts() == [
        "gen_images", "dataset_tool", "train", "train", "gen_images", "gen_images", "gen_video",
    ]  # fmt: skip
    for name in ("first/grid.png", "sheet.png", "flowers.mp4", "00000-transfer", "visualizer.py"):
        assert name in output


def test_existing_results_are_reused_and_a_longer_training_is_drawn_again(steps):
    run("--kimg=1")
    steps.scripts()
    run("--kimg=1")
    assert steps.scripts() == []
    later = Path("demo/flowers.mp4").stat().st_mtime + 10
    run_dir = Path("demo/runs/00000-transfer")
    (run_dir / "network-snapshot-000001.pkl").rename(run_dir / "network-snapshot-000002.pkl")
    os.utime(run_dir / "network-snapshot-000002.pkl", (later, later))
    Path("demo/runs/00000-scratch/network-snapshot-000001.pkl").rename(
        "demo/runs/00000-scratch/network-snapshot-000002.pkl"
    )
    run("--kimg=2")
    assert steps.scripts() == ["gen_images", "gen_video"]  # of the network that is newer


def test_quick_networks_are_too_small_for_the_box(steps):
    run("--quick")
    options = [options for script, options in steps.commands if script == "train.py"]
    assert options[1].pop("resume").endswith("00000-scratch/network-snapshot-000001.pkl")
    assert options[0]["cbase"] == "128" and options[0]["outdir"] == "demo/quick/runs"


def test_last_sheet_has_three_columns_in_order(steps):
    run("--kimg=1")
    sheet = np.array(PIL.Image.open("demo/sheet.png"))
    width = demo.NUM_CLASSES * 32 * demo.SCALE
    assert sheet.shape[1] == 3 * (width + GAP)
    real, scratch, transfer = (sheet[-60:, i * (width + GAP) :][:, :width] for i in range(3))
    assert len(np.unique(real)) > 50 and (scratch == 50).all() and (transfer == 200).all()


def test_a_failing_step_ends_the_demo(monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "NETWORK", str(tmp_path / "missing.pkl"))
    result = CliRunner().invoke(demo.main, [f"--outdir={tmp_path}"])
    assert result.exit_code == 1
    assert result.stderr.endswith("Error: gen_images.py failed; see its message above\n")
