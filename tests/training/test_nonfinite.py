"""Training with values that are not finite: notices, files and refusals."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import CliRunner

import legacy
import train
from tests.metrics import stand_ins
from tests.training.test_continuation import GRAY, make_run, make_trainer
from torch_utils import images, misc, training_stats
from training import log

PROJECT = Path(train.__file__).parent
NAN, INF = math.nan, math.inf


def strict_lines(path: Path) -> list[dict]:
    """The records of a file; a number that strict JSON lacks fails the test."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line, parse_constant=pytest.fail) for line in lines]


@pytest.mark.parametrize(
    ("bad", "num_bad"), [({}, 0), ({3: NAN}, 1), ({0: INF, 1: -INF, 30: NAN}, 3)]
)
def test_sheet_is_written_and_says_what_is_not_finite(bad, num_bad, tmp_path, capsys):
    trainer = make_trainer(make_run(tmp_path / "run", "stylegan2"))
    trainer.log.close()
    num = [0]

    def spoil(module, args, img):
        for i in range(len(img)):
            if num[0] + i in bad:
                img[i, 0, 2, 5] = bad[num[0] + i]
        num[0] += len(img)
        return img

    columns, _ = trainer.sheet.grid_size
    reference = tmp_path / "reference.png"
    trainer.sheet.save_fakes(trainer.G_ema, reference)
    capsys.readouterr()
    trainer.G_ema.register_forward_hook(spoil)
    trainer.snapshots.save_sheet(trainer.snapshots.sheet_path(trainer.cur_nimg))
    path = tmp_path / "run" / "fakes000000.png"
    note = f"Note: {num_bad} of {num[0]} images of fakes000000.png hold NaN or infinite values"
    assert (note in capsys.readouterr().out) == (num_bad > 0)
    expected = np.array(PIL.Image.open(reference))
    for idx in bad:
        expected[idx // columns * 8 + 2, idx % columns * 8 + 5] = 0
    np.testing.assert_array_equal(np.array(PIL.Image.open(path)), expected)


@pytest.mark.parametrize("value", [NAN, INF])
def test_image_grid_with_what_is_no_number_is_refused(value, tmp_path):
    img = torch.zeros(4, 3, 8, 8)
    img[2, 1, 0, 0] = value
    for given in (img, img.numpy()):
        with pytest.raises(ValueError, match=r"x\.png would hold NaN or infinite values"):
            images.save_image_grid(given, tmp_path / "x.png", drange=(-1, 1), grid_size=(2, 2))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("stats", "written", "note"),
    [
        (dict(a=dict(num=2, mean=1.5, std=0.5)), dict(a=(2, 1.5, 0.5)), None),
        (dict(a=dict(num=0, mean=NAN, std=NAN)), dict(a=(0, None, None)), None),
        (dict(a=dict(num=3, mean=INF, std=NAN)), dict(a=(3, None, None)), "tick: a."),
        (
            {name: dict(num=1, mean=NAN, std=NAN) for name in "abcdefg"},
            dict.fromkeys("abcdefg", (1, None, None)),
            "tick: a, b, c, d and 3 more.",
        ),
    ],
)
def test_statistics_are_strict_json(stats, written, note, tmp_path, capsys):
    run_log = log.RunLog(tmp_path)
    capsys.readouterr()
    run_log.write(stats, 1000)
    run_log.close()
    (record,) = strict_lines(tmp_path / "training_stats.jsonl")
    assert {key: tuple(record[key].values()) for key in stats} == written
    out = capsys.readouterr().out
    assert out == ("" if note is None else f"Note: not finite in this {note}\n")


def test_statistics_of_infinite_reports_become_null(tmp_path, capsys):
    training_stats.Collector().update()  # forgets the reports of earlier tests
    collector = training_stats.Collector(regex="Test/.*")
    training_stats.report("Test/loss", torch.tensor([1.0, INF]))
    training_stats.report("Test/sound", torch.tensor([1.0, 2.0]))
    collector.update()
    run_log = log.RunLog(tmp_path)
    run_log.write(collector.as_dict(), 1000)
    run_log.close()
    (record,) = strict_lines(tmp_path / "training_stats.jsonl")
    assert record["Test/loss"] == dict(num=2, mean=None, std=None)
    assert record["Test/sound"] == dict(num=2, mean=1.5, std=0.5)
    assert "Note: not finite in this tick: Test/loss." in capsys.readouterr().out


@pytest.mark.parametrize("names", [["G"], ["G_ema"], ["G", "D", "G_ema"], []])
def test_snapshot_of_damaged_networks_is_reported(names, tmp_path, capsys):
    trainer = make_trainer(make_run(tmp_path / "run", "stylegan2"))
    trainer.log.close()
    with torch.no_grad():
        for name in names:
            first = next(getattr(trainer, name).parameters())
            first.view(-1)[0] = NAN
    capsys.readouterr()
    path = trainer.snapshots.network_path(trainer.cur_nimg)
    trainer.snapshots.save_networks(path)
    out = capsys.readouterr().out
    if names:
        which = ", ".join(f"{name} (1 tensors)" for name in ["G", "D", "G_ema"] if name in names)
        assert out == f"Note: {path.name} has NaN or infinite values in {which}.\n"
        with pytest.warns(UserWarning, match=f"NaN or infinite values in {names[0]}"):
            legacy.load_network(path)
    else:
        assert out == ""


@pytest.mark.parametrize("name", ["G", "D", "G_ema"])
def test_run_does_not_start_from_damaged_networks(name, tmp_path):
    trainer = make_trainer(make_run(tmp_path / "run", "stylegan2"))
    trainer.log.close()
    options = ["--cfg=stylegan2", f"--data={GRAY}", "--gpus=1", "--batch=8", "--gamma=1"]
    options += ["--cbase=64", "--cmax=2", "--map-depth=1", "--metrics=none", "--device=cpu"]
    with torch.no_grad():
        next(getattr(trainer, name).parameters()).view(-1)[0] = INF
    path = trainer.snapshots.network_path(trainer.cur_nimg)
    trainer.snapshots.save_networks(path)
    options += [f"--outdir={tmp_path / 'runs'}", f"--resume={path}"]
    result = CliRunner().invoke(train.main, options)
    (error,) = [line for line in result.output.splitlines() if line.startswith("Error:")]
    assert error.startswith(f"Error: --resume: NaN or infinite values in {name}, which training")
    assert result.exit_code == 1 and not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_run_that_breaks_goes_on_and_says_so(tmp_path):
    command = [sys.executable, "train.py", f"--outdir={tmp_path}", "--cfg=stylegan2", "--gamma=1"]
    command += [f"--data={GRAY}", "--gpus=1", "--batch=40", "--cbase=64", "--cmax=4", "--kimg=1"]
    command += ["--map-depth=1", "--workers=0", "--tick=1", "--snap=1", "--metrics=none"]
    command += ["--device=cpu", "--glr=1e36", "--aug=noaug"]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    (run_dir,) = tmp_path.iterdir()
    records = strict_lines(run_dir / "training_stats.jsonl")
    assert any(record["Loss/G/loss"]["mean"] is None for record in records)
    json.loads((run_dir / "training_options.json").read_text(), parse_constant=pytest.fail)
    for note in (
        r"Note: not finite in this tick: Loss/",
        "hold NaN or infinite values, which are black there.",
    ):
        assert note in result.stdout, result.stdout
    assert (run_dir / "fakes000001.png").exists()
    assert not any("Traceback" in text for text in (result.stdout, result.stderr))


def test_names_of_damaged_tensors_include_buffers():
    G = stand_ins.build_generator()
    assert misc.nonfinite_tensors(G) == []
    for name in ("mapping.w_avg", "synthesis.b8.conv0.noise_const", "synthesis.b4.torgb.bias"):
        tensor = dict([*G.named_parameters(), *G.named_buffers()])[name]
        tensor.view(-1)[-1] = -INF
    assert sorted(misc.nonfinite_tensors(G)) == sorted(
        ["mapping.w_avg", "synthesis.b8.conv0.noise_const", "synthesis.b4.torgb.bias"]
    )
    assert misc.nonfinite_tensors(torch.nn.ReLU()) == []
    with torch.device("meta"):
        assert misc.nonfinite_tensors(torch.nn.Linear(2, 2)) == []
