"""Pages of training runs: of real runs, in a real browser, and of what is left of runs."""

import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

import report
import train
from reports import page as page_module
from reports import run_folder
from tests.reports.browser import ask, needs_browser
from tests.training.real_runs import COMMAND

NAMES = ("00000-tiny-gamma1", "00001-tiny-gamma2")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with a run of the real script, and a copy with other options and a longer past."""
    folder = tmp_path_factory.mktemp("runs")
    options = ["--gpus=1", "--metrics=none", "--workers=0", "--device=cpu", "--batch=250"]
    command = [*COMMAND, *options, f"--outdir={folder / 'made'}"]
    result = CliRunner().invoke(train.main, command)
    assert result.exit_code == 0, result.output
    (made,) = (folder / "made").iterdir()
    for name in NAMES:
        shutil.copytree(made, folder / name)
    shutil.rmtree(folder / "made")
    other = folder / NAMES[1]
    path = other / "training_options.json"
    saved = json.loads(path.read_text())
    saved["loss_kwargs"]["r1_gamma"] = 2
    path.write_text(json.dumps(saved))
    with (other / "log.txt").open("a") as log:
        log.write(
            "Continuing at 0.5 kimg, tick 1.\nWarning: </script><b>the images look alike</b>\n"
        )
    results = dict(fid50k_full=12.5)
    record = dict(metric="fid50k_full", results=results, snapshot_pkl="network-snapshot-000001.pkl")
    (other / "metric-fid50k_full.jsonl").write_text(json.dumps(record) + "\n")
    return folder


@pytest.fixture
def tiny(runs, tmp_path) -> Path:
    """A copy of one run, which a test may damage."""
    return Path(shutil.copytree(runs / NAMES[0], tmp_path / NAMES[0]))


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory) -> Path:
    """The page of both runs."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    make(*[str(runs / name) for name in NAMES], f"--out={path}")
    return path


def make(*args: str) -> str:
    """The output of the script."""
    result = CliRunner().invoke(report.main, args)
    assert result.exit_code == 0, result.output
    return result.output


class Elements(HTMLParser):
    """All elements of a page: tag and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_page_names_no_other_file_and_no_host(page):
    elements = Elements(page.read_text("utf-8")).found
    addresses = [attrs[a] for _, attrs in elements for a in ("src", "href") if a in attrs]
    # Two sheets of images before training and after 0 and 1 kimg, and real ones.
    assert len(addresses) == 8
    assert all(address.startswith("data:image/webp;base64,") for address in addresses)
    policies = [attrs["content"] for _, attrs in elements if "http-equiv" in attrs]
    assert len(policies) == 1 and policies[0].startswith("default-src 'none'; img-src data:;")


def test_text_from_files_stays_text(page):
    text = page.read_text("utf-8")
    assert [tag for tag, _ in Elements(text).found].count("script") == 3
    assert "&lt;/script&gt;&lt;b&gt;the images look alike&lt;/b&gt;" in text


def test_page_says_what_the_runs_are_and_how_they_differ(page):
    text = " ".join(re.sub(r"<[^>]*>", " ", page.read_text("utf-8")).split())
    assert "2 training runs" in text and all(name in text for name in NAMES)
    assert "complete, 1 kimg" in text and "fid50k_full 12.5 at 1 kimg" in text
    assert "Those in which the runs differ. option 00000 00001 loss_kwargs.r1_gamma 1.0 2" in text
    assert "Warning 0.5 1 </script><b>the images look alike</b>" in html.unescape(text)
    assert "Continued at 0.5 kimg; 0.5 kimg were trained again." in text


@needs_browser
def test_browser_draws_the_curves_and_moves_through_time(page):
    script = """
        const visible = () => [...document.querySelectorAll(".fakes img:not([hidden])")];
        const shown = () => visible().map((image) => image.alt);
        const painted = (canvas) => canvas.getContext("2d")
            .getImageData(0, 0, canvas.width, canvas.height).data.some((x) => x > 0);
        const canvases = [...document.querySelectorAll("canvas")];
        const result = { first: shown(), charts: canvases.length };
        result.painted = canvases.every(painted);
        const slider = document.querySelector(".gallery input");
        slider.value = 0;
        slider.dispatchEvent(new Event("input"));
        result.moved = shown();
        document.querySelector("details").open = true;
        document.querySelector("#together").checked = false;
        slider.value = 1;
        slider.dispatchEvent(new Event("input"));
        result.alone = shown();
        const run = document.querySelector("#runs input");
        run.checked = false;
        run.dispatchEvent(new Event("change"));
        result.off = document.querySelectorAll(".u-series.u-off").length;
        result.wide = document.documentElement.scrollWidth;
        return result;
    """
    result, console = ask(page, script)
    assert console == []
    assert result["first"] == ["Generated images, 1 kimg"] * 2
    assert result["moved"] == ["Generated images, before training"] * 2
    assert result["alone"] == [
        "Generated images, 0 kimg",
        "Generated images, before training",
    ]
    # A metric, losses, scores, r_t, two penalties, speed and memory; p is zero so early.
    assert result["charts"] == 9 and result["painted"]
    assert result["off"] == 9  # the scores are two curves, the metric has only the second run
    assert result["wide"] <= 1280


@needs_browser
def test_values_appear_under_the_pointer(page, runs):
    script = """
        const chart = [...document.querySelectorAll(".chart")]
            .find((chart) => chart.textContent.startsWith("Loss of the generator"));
        const over = chart.querySelector(".u-over");
        const box = over.getBoundingClientRect();
        const place = { clientX: box.right - 1, clientY: box.top + 9 };
        for (const name of ["mouseenter", "mousemove"])
            over.dispatchEvent(new MouseEvent(name, place));
        return new Promise((done) => setTimeout(
            () => done([...chart.querySelectorAll(".u-value")].map((v) => v.textContent)), 100));
    """
    values, _ = ask(page, script)
    last = (runs / NAMES[0] / "training_stats.jsonl").read_text().splitlines()[-1]
    expected = json.loads(last)["Loss/G/loss"]["mean"]
    assert [float(value) for value in values] == pytest.approx([1, expected, expected], rel=1e-4)


@needs_browser
def test_page_fits_a_phone(page):
    script = """
        const right = (element) => element.getBoundingClientRect().right;
        const wide = [...document.querySelectorAll("h1, .run, .chart, canvas, figure, .slide")]
            .filter((element) => right(element) > innerWidth).map((element) => element.className);
        return { width: innerWidth, scrolled: document.documentElement.scrollWidth, wide };
    """
    result, console = ask(page, script, width=390)
    assert result["width"] == 390 and result["scrolled"] <= 390
    assert result["wide"] == [] and console == []


def test_damaged_and_missing_files_are_said(tiny, tmp_path):
    with (tiny / "training_stats.jsonl").open("a") as file:
        file.write('{"Progress/kimg": {"num": 1, "me')
    (tiny / "training_options.json").write_text("{")
    (tiny / "log.txt").unlink()
    (tiny / "fakes000000.png").write_bytes((tiny / "reals.png").read_bytes()[:500])
    text = make(str(tiny), f"--out={tmp_path / 'page.html'}")
    notes = [line.removeprefix(f"Note: {tiny.name}: ") for line in text.splitlines()[:-1]]
    assert notes == [
        "training_options.json is damaged: the options are unknown.",
        "training_stats.jsonl: the last line is unfinished and left out.",
        "log.txt is missing: warnings and notes are unknown.",
        "fakes000000.png cannot be read (damaged: it ends early, or a checksum differs), and is "
        "left out.",
    ]
    assert text.splitlines()[-1].startswith(f"Wrote {tmp_path / 'page.html'}: 1 run, 2 sheets, ")


def test_run_that_has_only_begun_has_a_page(tiny, tmp_path):
    for path in tiny.iterdir():
        if path.name != "training_options.json":
            path.unlink()
    text = make(str(tiny), f"--out={tmp_path / 'page.html'}")
    assert "training_stats.jsonl is missing: there are no curves." in text
    assert "unfinished, 0 of 1 kimg" in (tmp_path / "page.html").read_text("utf-8")


def test_what_is_no_run_is_refused_in_one_line(runs, tmp_path):
    out = tmp_path / "page.html"
    for folder, hint in (
        (tmp_path, "name a folder that train.py has made"),
        (runs, "it holds runs"),
    ):
        result = CliRunner().invoke(report.main, [str(folder), f"--out={out}"])
        assert result.exit_code == 1
        (line,) = result.output.splitlines()
        assert line.startswith(f"Error: {folder} is not the folder of a run") and hint in line
    assert not out.exists()


def test_page_keeps_to_its_size_and_says_what_became_smaller(tiny):
    noise = np.random.default_rng(0).integers(0, 255, [512, 512, 3], dtype=np.uint8)
    PIL.Image.fromarray(noise).save(tiny / "fakes000000.png")
    for kimg in range(1, 20):
        shutil.copy(tiny / "fakes000000.png", tiny / f"fakes{kimg:06d}.png")
    assert any("18 sheets of later images" in text for text in run_folder.read(tiny).problems)
    with (tiny / "training_stats.jsonl").open("r+") as stats:
        tick = json.loads(stats.readlines()[-1])
        tick["Progress/kimg"]["mean"] = 19
        stats.write(json.dumps(tick) + "\n")
    made = page_module.make([run_folder.read(tiny)], 400_000)
    assert len(made.html) < 400_000 and 3 <= made.num_sheets < 15
    few, small = made.left_out
    assert few == f"{tiny.name}: {made.num_sheets} of 21 sheets are here, evenly spaced."
    assert "sheets are scaled down, the smallest from 512x512 to " in small
    text = html.unescape(made.html)
    assert few in text and small in text
    assert "Generated images, before training" in text and "Generated images, 19 kimg" in text


def test_page_whose_text_alone_is_too_large_is_made_and_says_so(tiny):
    made = page_module.make([run_folder.read(tiny)], 1000)
    assert made.num_sheets == 1
    assert made.left_out[-1].endswith("MB, most of it without the sheets.")


def test_runs_named_twice_are_shown_once(tiny, tmp_path):
    text = make(str(tiny), f"{tiny}/", f"--out={tmp_path / 'page.html'}")
    assert text.startswith("Note: runs that are named twice are shown once.") and ": 1 run," in text
