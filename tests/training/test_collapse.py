"""A run that really collapses says so."""

import json
from statistics import median

import pytest

import dataset_tool

# Absurd: the published learning rates are about 0.002, and there is no R1 at all.
OPTIONS = [
    "--cfg=stylegan2",
    "--gpus=1",
    "--batch=64",
    "--gamma=0",
    "--glr=0.3",
    "--dlr=0.01",
    "--cbase=64",
    "--cmax=8",
    "--map-depth=2",
    "--aug=noaug",
    "--metrics=none",
    "--workers=1",
    "--kimg=18",
    "--tick=1",
    "--snap=18",
]


@pytest.mark.slow
def test_run_that_collapses_says_so(start, tmp_path):
    data = tmp_path / "shapes.zip"
    args = ["--source=synthetic", f"--dest={data}", "--resolution=32x32", "--max-images=500"]
    dataset_tool.main(args, standalone_mode=False)
    process = start(tmp_path / "runs", f"--data={data}", *OPTIONS)
    output = process.communicate(timeout=280)[0]
    assert process.returncode == 0, output
    (run_dir,) = (tmp_path / "runs").glob("*-*")
    log = (run_dir / "log.txt").read_text()
    assert log.count("Warning: generated images are alike") >= 1, log
    assert log.count("Warning: the discriminator has told real images from generated") >= 1, log
    assert sum(line.startswith("Warning: ") for line in log.splitlines()) <= 6, log
    records = [json.loads(line) for line in (run_dir / "training_stats.jsonl").open()]
    known = [record["Progress/diversity"] for record in records if "Progress/diversity" in record]
    assert median(diversity["mean"] for diversity in known[-5:]) < 0.6
    assert records[-1]["Warning/diversity"]["num"] == records[-1]["Warning/scores"]["num"] == 1
