"""The notebooks in docs/notebooks, run from the first cell to the last with small sizes."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.metrics import stand_ins

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "docs" / "notebooks"
TIMEOUT_SEC = 300  # of a cell

TRAIN = """
IMAGES = {data!r}
STORE = {store!r}
RESOLUTION = 16
PRESET = "stylegan3-t-32-cpu"
MINUTES = {minutes}
OPTIONS = "--gamma=1 --cbase=64 --cmax=4 --workers=0 --device=cpu --kimg=1 --keep-snapshots=5"
"""
EXPLORE = """
NETWORK = "pretrained:shapes-t"
SEEDS = range(8)
VIDEO_FRAMES = 2
NUM_SAMPLES = 64
DATA = {data!r}
NUM_MEASURED = 4
"""


def run(name: str, folder: Path, parameters: str) -> list[str]:
    """The texts that the cells of a notebook print, with other parameters; errors are raised."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "parameters" in tags:
            cell.source = parameters
        elif "folder" in tags:
            cell.source = f"FOLDER = {str(ROOT)!r}"
        elif "setup" in tags:  # the packages are there
            cell.source = cell.source.partition("%pip")[0]
    notebook.metadata.kernelspec.name = "python3"
    client = NotebookClient(notebook, timeout=TIMEOUT_SEC, resources={"metadata": {"path": folder}})
    client.execute()
    return [_printed(cell) for cell in notebook.cells if cell.cell_type == "code"]


def _printed(cell) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


@pytest.mark.slow
def test_training_goes_on_in_the_next_session(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    data = str(stand_ins.save_dataset(tmp_path / "shapes.zip"))
    store = str(tmp_path / "store")
    first = run("train", tmp_path, TRAIN.format(data=data, store=store, minutes=0.01))
    assert any("The time is over" in text for text in first)
    second = run("train", tmp_path, TRAIN.format(data=data, store=store, minutes=60))
    assert any("Complete." in text for text in second)
    assert second[-1].strip().endswith("network-snapshot-000001.pkl")
    assert len(list(Path(store, "runs").iterdir())) == 1
    assert Path(store, "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_network_is_explored(tmp_path):
    data = stand_ins.save_dataset(tmp_path / "shapes.zip", num_images=12, resolution=32)
    printed = run("explore", tmp_path, EXPLORE.format(data=str(data)))
    assert "32x32 pixels" in "".join(printed)
    assert "dB, from 4 images" in printed[-1]
