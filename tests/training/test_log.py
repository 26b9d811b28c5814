"""Sheets in TensorBoard's files."""

import numpy as np
import PIL.Image
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.log import RunLog


def sheets(folder, tag: str) -> list:
    """The images under a tag, by step."""
    events = EventAccumulator(str(folder), size_guidance={"images": 0})
    events.Reload()
    return events.Images(tag) if tag in events.Tags()["images"] else []


@pytest.mark.parametrize(
    ("size", "expected"), [((64, 48), (64, 48)), ((4096, 1024), (2048, 512))], ids=str
)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_sheets_are_images_of_a_bounded_size(mode, size, expected, tmp_path):
    rng = np.random.default_rng(0)
    channels = len(mode)
    cells = rng.integers(0, 255, [6, 8, channels], dtype=np.uint8).squeeze()
    image = PIL.Image.fromarray(cells).resize(size, PIL.Image.Resampling.NEAREST)
    image.save(tmp_path / "fakes000004.png")
    log = RunLog(tmp_path)
    log.write_sheet("fakes", tmp_path / "fakes000004.png", 4032)
    log.close()
    (sheet,) = sheets(tmp_path, "Sheets/fakes")
    assert (sheet.step, sheet.width, sheet.height) == (4, *expected)


def test_continued_run_replaces_the_sheets_that_come_again(tmp_path):
    path = tmp_path / "sheet.png"
    PIL.Image.new("RGB", (8, 8)).save(path)
    log = RunLog(tmp_path)
    for kimg in (0, 4, 8):
        log.write_sheet("fakes", path, kimg * 1000)
    log.close()
    log = RunLog(tmp_path, cur_nimg=4000)
    log.write_sheet("fakes", path, 12000)
    log.close()
    assert [sheet.step for sheet in sheets(tmp_path, "Sheets/fakes")] == [0, 4, 12]


def test_sheet_that_cannot_be_read_costs_a_warning(tmp_path, capsys):
    path = tmp_path / "fakes000004.png"
    path.write_bytes(b"\x89PNG")
    log = RunLog(tmp_path)
    log.write_sheet("fakes", path, 4000)
    log.write_sheet("fakes", tmp_path / "none.png", 4000)
    log.close()
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("Warning: fakes000004.png is missing in TensorBoard: cannot be read")
    assert second.startswith("Warning: none.png is missing in TensorBoard: No such file")
    assert sheets(tmp_path, "Sheets/fakes") == []
