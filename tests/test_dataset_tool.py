import hashlib
import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import psutil
import pytest
from click.testing import CliRunner

import dataset_tool
from data import synthetic_images, synthetic_symbols
from data.conversion.sources import open_source
from data.dataset import ImageFolderDataset
from data.synthetic_images import CLASSES, draw_image
from tests import golden

CASES = golden.load("dataset_tool.npz")
# The published tool ignores EXIF rotation, writes palette indices as grey values, drops all labels
# without a word if one image has none, takes hidden files for images, and makes empty datasets;
# ours does not.
DIFFERENT = ["mode_exif_rotated", "mode_palette", "mode_palette_res8", "partial_labels"]
DIFFERENT += ["hidden_png", "empty_folder"]
CRASHES = [name for name, case in CASES.items() if "crashes" in case.meta["outcome"]]
PLAIN = [name for name in CASES if name not in [*CRASHES, *DIFFERENT]]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    zipfile.ZipFile(golden.DATA_DIR / "dataset_tool_inputs.zip").extractall(folder)
    return folder


def run(*args: str, exit_code: int = 0) -> str:
    """Run the command in this process; returns all it printed."""
    result = CliRunner().invoke(dataset_tool.main, [str(arg) for arg in args])
    assert result.exit_code == exit_code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    if exit_code == 1:
        assert result.output.startswith("Error: ") and result.output.count("\n") == 1
    return result.output


def run_case(name: str, inputs: Path, tmp_path: Path, exit_code: int) -> tuple[Path, str]:
    meta = CASES[name].meta
    dest = tmp_path / meta["dest"] if meta["dest"] else ""
    options = [f"--{key.replace('_', '-')}={value}" for key, value in meta["options"].items()]
    source = inputs / meta["source"]
    return dest, run(f"--source={source}", f"--dest={dest}", *options, exit_code=exit_code)


def read_archive(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        return {
            name: np.array(PIL.Image.open(io.BytesIO(archive.read(name))))
            for name in archive.namelist()
            if name.endswith(".png")
        }


def save(path: Path, pixels: np.ndarray | None = None, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels is None:
        pixels = np.random.RandomState(0).randint(256, size=[16, 16, 3]).astype(np.uint8)
    PIL.Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("name", PLAIN)
def test_matches_golden_values(name, inputs, tmp_path):
    meta, arrays = CASES[name].meta, CASES[name].arrays
    if name == "dest_nonempty_dir":
        (tmp_path / "occupied").mkdir()
        (tmp_path / "occupied/f").touch()
    dest, output = run_case(name, inputs, tmp_path, meta["exit_code"])
    if meta["exit_code"] != 0:
        assert "Error: " in output
        assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == meta["members"]
        return

    if dest.suffix == ".zip":
        images = read_archive(dest)
        with zipfile.ZipFile(dest) as archive:
            assert archive.namelist() == [*meta["members"], "dataset-info.json"]
            text = archive.read("dataset.json").decode()
    else:
        files = sorted(path for path in dest.rglob("*") if path.is_file())
        assert files.pop(-2).name == "dataset-info.json"
        assert [path.relative_to(dest).as_posix() for path in files] == meta["members"]
        images = {path.name: np.array(PIL.Image.open(path)) for path in files[:-1]}
        text = files[-1].read_text()
    assert text == meta["dataset_json_text"]
    if "images" in arrays:
        pixels = np.stack(list(images.values()))
        assert pixels.shape == arrays["images"].shape
        error = np.abs(pixels.astype(int) - arrays["images"]).max(axis=tuple(range(1, pixels.ndim)))
        is_exact = "resolution" not in meta["options"]
        assert np.count_nonzero(error) <= (1 if is_exact else len(error))  # sq32 holds one JPEG
        assert error.max() <= 2
    assert len(images) == len(meta.get("image_members", []))


def test_exif_rotation_is_applied(inputs, tmp_path):
    dest, _ = run_case("mode_exif_rotated", inputs, tmp_path, 0)
    (image,) = read_archive(dest).values()
    (unrotated,) = CASES["mode_exif_rotated"].arrays["images"]
    assert np.abs(image.astype(int) - np.rot90(unrotated, -1)).max() <= 2


@pytest.mark.parametrize("name", ["mode_palette", "mode_palette_res8"])
def test_palettes_are_expanded(name, inputs, tmp_path):
    dest, _ = run_case(name, inputs, tmp_path, 0)
    (image,) = read_archive(dest).values()
    expected = PIL.Image.open(inputs / "mode_palette/0.png").convert("RGB")
    expected = expected.resize(image.shape[:2], PIL.Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(image, np.array(expected))


@pytest.mark.parametrize("name", CRASHES)
def test_handles_what_the_published_tool_crashes_on(name, inputs, tmp_path):
    refused = {
        "unknown_file": "unknown kind of file; give a folder",
        "mnist_labels_as_source": "these are labels; give the images beside it",
    }
    dest, output = run_case(name, inputs, tmp_path, 1 if name in refused else 0)
    if name in refused:
        assert refused[name] in output
        return
    images = np.stack(list(read_archive(dest).values()))
    size = int(CASES[name].meta["options"].get("resolution", "16x16").split("x")[0])
    is_grey = name.startswith(("gray", "mode"))
    assert images.shape[1:] == ((size, size) if is_grey else (size, size, 3))
    if name == "mode_bilevel":
        assert set(np.unique(images)) == {0, 255}
    if name == "mode_gray16":
        deep = np.array(PIL.Image.open(inputs / "mode_gray16/0.png"))
        np.testing.assert_array_equal(images[0], np.rint(deep / 257))
    if name == "gray_wide":
        assert not images[:, [0, -1]].any() and images[:, 1:-1].any()


def test_result_does_not_depend_on_workers(tmp_path, monkeypatch):
    monkeypatch.setattr("data.conversion.convert.IMAGES_PER_WORKER", 1)
    contents = []
    for workers in (1, 3):
        dest = tmp_path / f"{workers}.zip"
        output = run(
            "--source=synthetic", f"--dest={dest}", "--resolution=8x8", "--max-images=50",
            f"--workers={workers}",
        )  # fmt: skip
        assert "Wrote 50 images" in output and "8x8, RGB" in output and "6 classes" in output
        contents.append(dest.read_bytes())
    assert contents[0] == contents[1]


def test_synthetic_images_depend_on_seed_and_index_only(tmp_path):
    run("--source=synthetic", f"--dest={tmp_path / 'a'}", "--max-images=9", "--resolution=16x16")
    run(
        "--source=synthetic", f"--dest={tmp_path / 'b.zip'}", "--max-images=4",
        "--resolution=16x16", "--seed=0",
    )  # fmt: skip
    run(
        "--source=synthetic", f"--dest={tmp_path / 'c.zip'}", "--max-images=4",
        "--resolution=16x16", "--seed=1",
    )  # fmt: skip
    nine, four, other = (
        ImageFolderDataset(tmp_path / name, use_labels=True) for name in ("a", "b.zip", "c.zip")
    )
    assert nine.label_dim == len(CLASSES)
    for i in range(4):
        np.testing.assert_array_equal(nine[i][0], four[i][0])
        assert (four[i][0] != other[i][0]).any()


@pytest.mark.parametrize("drawings", [synthetic_images, synthetic_symbols])
def test_synthetic_images_are_alike_at_all_resolutions(drawings):
    draw_image = drawings.draw_image
    for index in range(len(drawings.CLASSES)):
        large, label = draw_image(index, 5, 128)
        small, _ = draw_image(index, 5, 32)
        assert label == index and large.dtype == np.uint8 and large.shape == (128, 128, 3)
        averaged = large.reshape(32, 4, 32, 4, 3).mean(axis=(1, 3))
        assert np.abs(averaged - small).mean() < 2.5


def test_drawn_shapes_stay_the_same_bit_for_bit():
    digest = hashlib.sha256()
    for index in range(60):
        for resolution in (8, 32, 64):
            digest.update(draw_image(index, 3, resolution)[0].tobytes())
    expected = "39e4961c57c0339e72f7305f178585e5d475a3452312972f639baf84aad00ef3"
    assert digest.hexdigest() == expected


def test_synthetic_drawings_are_chosen_by_name(tmp_path):
    for name, drawings in {
        "synthetic": synthetic_images,
        "synthetic:shapes": synthetic_images,
        "synthetic:symbols": synthetic_symbols,
    }.items():
        dest = tmp_path / name.replace(":", "-")
        run(f"--source={name}", f"--dest={dest}", "--max-images=7", "--resolution=16x16")
        dataset = ImageFolderDataset(dest, use_labels=True)
        assert dataset.label_dim == len(drawings.CLASSES) == 6
        for idx in (0, 6):
            pixels, label = drawings.draw_image(idx, 0, 16)
            np.testing.assert_array_equal(dataset[idx][0], pixels.transpose(2, 0, 1))
            assert dataset[idx][1].argmax() == label


def test_symbols_are_cool_on_light_paper_and_shapes_warm_on_dark_skies():
    for index in range(12):
        shape, symbol = (
            drawings.draw_image(index, 0, 32)[0].astype(int)
            for drawings in (synthetic_images, synthetic_symbols)
        )
        assert shape[:2].mean() < 110 and symbol[:2].mean() > 200  # the upper edge
        red, _, blue = np.moveaxis(shape, -1, 0)
        assert (red - blue).max() > 60
        red, green, blue = np.moveaxis(symbol, -1, 0)
        assert (np.maximum(green, blue) - red).max() > 60


def test_synthetic_defaults():
    source = open_source("synthetic")
    picture, notes = next(source.images).load()
    assert not notes
    assert source.count == 1000 and picture.size == (64, 64)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGBX"])
def test_opaque_alpha_is_dropped(mode, tmp_path):
    image = PIL.Image.effect_noise((16, 16), 90).convert("RGB" if mode[0] == "R" else "L")
    (tmp_path / "src").mkdir()
    image.convert(mode).save(tmp_path / "src/a.tiff" if mode == "RGBX" else tmp_path / "src/a.png")
    run(f"--source={tmp_path / 'src'}", f"--dest={tmp_path / 'out.zip'}")
    (pixels,) = read_archive(tmp_path / "out.zip").values()
    np.testing.assert_array_equal(pixels, np.array(image))


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_transparent_colours_are_noticed(mode, tmp_path):
    image = PIL.Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert(mode)
    (tmp_path / "src").mkdir()
    image.save(tmp_path / "src/a.png", transparency=(7, 7, 7) if mode == "RGB" else 7)
    args = [f"--source={tmp_path / 'src'}", f"--dest={tmp_path / 'out.zip'}"]
    assert "partly transparent" in run(*args, exit_code=1)
    unused = (7, 8, 9) if mode == "RGB" else None
    image.save(tmp_path / "src/a.png", **({"transparency": unused} if unused else {}))
    run(*args)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("mode_rgba", "partly transparent; --background=white puts it on white"),
        ("mode_la", "partly transparent; --background=white puts it on white"),
        ("mode_cmyk_jpeg", "CMYK pixels; convert it to RGB"),
        ("mode_rgb_then_gray", "is grey, but the images before it are RGB; convert it"),
        ("size_nonsquare", "--transform=center-crop --resolution=16x16"),
        ("size_notpow2", "--resolution=32x32"),
        ("size_differs", "--resolution=16x16"),
        ("varied_ccrop_nores", "needs --resolution=WxH"),
        ("varied_wide_nores", "needs --resolution=WxH"),
        ("varied_res32x24_ccrop_nonsquare", "try --resolution=32x32"),
        ("res_notpow2", "--resolution=24x24: the width must be a power of two; try --resolution="),
        ("res_nonsquare", "--transform=center-crop-wide"),
        ("missing_source", "no such file or folder"),
    ],
)
def test_errors_name_the_file_and_the_way_out(name, remedy, inputs, tmp_path):
    _, output = run_case(name, inputs, tmp_path, 1)
    assert remedy in output
    assert (
        "--resolution" in output or "--transform" in output or CASES[name].meta["source"] in output
    )
    if name.startswith(("mode", "size")):
        assert CASES[name].meta["source"] + "/" in output


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--source=synthetic", "--resolution=250x250"], "power of two; try --resolution=256x256"),
        (["--source=synthetic", "--resolution=32x16"], "square"),
        (["--source=synthetic:"], "there are synthetic:shapes and synthetic:symbols"),
        (["--source=synthetic:hearts"], "there are synthetic:shapes and synthetic:symbols"),
        (["--source={src}", "--resolution=250x250"], "try --resolution=256x256"),
        (["--source={src}", "--resolution=250x200"], "square; try --resolution=256x256"),
        (["--source={src}", "--seed=1"], "--seed"),
        (["--source=synthetic", "--keep-profile-values"], "have no colour profiles"),
        (["--source={src}", "--resolution=16x32", "--transform=center-crop-wide"], "32x16"),
        (["--source={src}", "--resolution=250x141", "--transform=center-crop-wide"], "256x144"),
    ],
)
def test_options_that_do_not_fit_together(args, message, tmp_path):
    save(tmp_path / "src/a.png")
    args = [arg.format(src=tmp_path / "src") for arg in args]
    assert message in run(*args, f"--dest={tmp_path / 'out.zip'}", exit_code=1)


@pytest.mark.parametrize(
    "args",
    [
        ["--source=synthetic", "--transform=center-crop", "--resolution=32x32"],
        ["--source=synthetic", "--workers=0"],
        ["--source=synthetic", "--max-images=-1"],
        ["--source=synthetic", "--resolution=0x0"],
        ["--source="],
        [],
    ],
)
def test_usage_errors(args, tmp_path):
    run(*args, f"--dest={tmp_path / 'out.zip'}", exit_code=2)
    assert list(tmp_path.iterdir()) == []


def make_damaged_source(folder: Path) -> None:
    save(folder / "1.png")
    (folder / "2.png").write_bytes((folder / "1.png").read_bytes()[:400])
    (folder / "3.jpg").write_bytes(b"no image at all")
    (folder / "4.gif").touch()
    save(folder / "5.png", np.zeros([16, 16], np.uint8))
    save(folder / "6.png", np.zeros([16, 16, 4], np.uint8))
    save(folder / "7.png")
    labels = [[path.name, 3 if path.name == "1.png" else 0] for path in sorted(folder.iterdir())]
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))


def test_skipped_images_are_listed_and_counted(tmp_path):
    make_damaged_source(tmp_path / "src")
    output = run(f"--source={tmp_path / 'src'}", f"--dest={tmp_path / 'o.zip'}", "--on-error=skip")
    for name in ("2.png", "3.jpg", "4.gif", "5.png", "6.png"):
        assert f"Skipped: {tmp_path / 'src' / name} " in output
    assert "Wrote 2 images" in output and "Dropped: 5 unusable" in output
    assert "Labels: 2 classes (2 lower numbers do not occur)" in output
    names = ["00000/img00000000.png", "00000/img00000006.png"]  # gaps, as dropped images leave
    assert list(read_archive(tmp_path / "o.zip")) == names
    labels = json.loads(zipfile.ZipFile(tmp_path / "o.zip").read("dataset.json"))["labels"]
    assert labels == [[names[0], 3], [names[1], 0]]


def test_stops_at_the_first_damaged_image(tmp_path):
    make_damaged_source(tmp_path / "src")
    output = run(f"--source={tmp_path / 'src'}", f"--dest={tmp_path / 'new/o.zip'}", exit_code=1)
    assert f"{tmp_path / 'src/2.png'} cannot be read" in output and "--on-error=skip" in output
    assert os.listdir(tmp_path) == ["src"]  # the parent folder is gone too


def test_damaged_zip_member_is_skipped(tmp_path):
    png = save(tmp_path / "a.png").read_bytes()
    with zipfile.ZipFile(tmp_path / "src.zip", "w") as archive:
        for name in ("a.png", "b.png"):
            archive.writestr(name, png)
    data = bytearray((tmp_path / "src.zip").read_bytes())
    data[500] ^= 255
    (tmp_path / "src.zip").write_bytes(data)
    args = [f"--source={tmp_path / 'src.zip'}", f"--dest={tmp_path / 'out.zip'}"]
    assert "src.zip/a.png cannot be read" in run(*args, exit_code=1)
    assert "Dropped: 1 unusable" in run(*args, "--on-error=skip")


def test_nothing_is_written_if_all_images_are_dropped(tmp_path):
    save(tmp_path / "src/a.png")
    output = run(
        f"--source={tmp_path / 'src'}", f"--dest={tmp_path / 'out.zip'}",
        "--transform=center-crop-wide", "--resolution=64x32", exit_code=1,
    )  # fmt: skip
    assert "no image is left (1 too small" in output
    assert not (tmp_path / "out.zip").exists()


def test_empty_source_is_an_error(inputs, tmp_path):
    dest, output = run_case("empty_folder", inputs, tmp_path, 1)
    assert (
        "there is no image in the source (left out: 1 .txt); nothing was written" in output
        and not dest.exists()
    )


def test_hidden_images_are_passed_over_and_counted(inputs, tmp_path):
    dest, output = run_case("hidden_png", inputs, tmp_path, 0)
    assert "Left out: 2 hidden or left behind by other programs" in output
    visible = np.array(PIL.Image.open(inputs / "hidden_png/a.png"))
    (image,) = read_archive(dest).values()
    np.testing.assert_array_equal(image, visible)


@pytest.mark.parametrize("name", ["/etc/x.png", "../x.png", "a/../../x.png", "C:\\x.png", "..\\x"])
def test_zip_members_outside_the_archive_are_refused(name, tmp_path):
    png = save(tmp_path / "a.png").read_bytes()
    with zipfile.ZipFile(tmp_path / "src.zip", "w") as archive:
        archive.writestr("a.png", png)
        archive.writestr(name, png)
    args = [f"--source={tmp_path / 'src.zip'}", f"--dest={tmp_path / 'out.zip'}"]
    assert "points outside the archive" in run(*args, "--on-error=skip", exit_code=1)


def test_decompression_bombs_are_refused(tmp_path, monkeypatch):
    png = bytearray(save(tmp_path / "src/a.png").read_bytes())
    png[16:24] = struct.pack(">II", 50000, 50000)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    (tmp_path / "src/a.png").write_bytes(png)
    args = [f"--source={tmp_path / 'src'}", f"--dest={tmp_path / 'out.zip'}"]
    assert "a.png has too many pixels" in run(*args, exit_code=1)
    monkeypatch.setattr("data.reading.MAX_FILE_BYTES", 10)
    assert "is no sensible image file" in run(*args, exit_code=1)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"labels": [["a.png"]]}',
        '{"labels": [["a.png", "cat"]]}',
        '{"labels": [["a.png", -1]]}',
        '{"labels": [["a.png", true]]}',
        '{"labels": [["a.png", 1], ["b.png", [1.0]]]}',
        '{"labels": [["a.png", [1.0]], ["b.png", [1.0, 2.0]]]}',
    ],
)
def test_malformed_labels_are_refused(text, tmp_path):
    save(tmp_path / "src/a.png")
    (tmp_path / "src/dataset.json").write_text(text)
    args = [f"--source={tmp_path / 'src'}", f"--dest={tmp_path / 'out.zip'}"]
    assert "dataset.json" in run(*args, exit_code=1)


def test_existing_destinations_are_kept(tmp_path):
    save(tmp_path / "src/a.png")
    for name in ("out.zip", "file"):
        (tmp_path / name).write_text("precious")
        args = [f"--source={tmp_path / 'src'}", f"--dest={tmp_path / name}"]
        assert "exists already" in run(*args, exit_code=1)
        assert (tmp_path / name).read_text() == "precious"


def test_existing_empty_folder_is_filled(tmp_path):
    save(tmp_path / "src/a.png")
    (tmp_path / "out").mkdir()
    inode = (tmp_path / "out").stat().st_ino
    run(f"--source={tmp_path / 'src'}", f"--dest={tmp_path / 'out'}")
    assert sorted(os.listdir(tmp_path / "out")) == [
        "00000",
        "dataset-info.json",
        "dataset.json",
    ]
    assert (tmp_path / "out").stat().st_ino == inode


def test_metadata_of_the_source_is_left_out(tmp_path):
    image = PIL.Image.open(save(tmp_path / "x.png"))
    exif = image.getexif()
    exif[315] = "somebody"
    (tmp_path / "src").mkdir()
    image.save(tmp_path / "src/a.png", exif=exif, icc_profile=b"x" * 200, dpi=(72, 72))
    run(f"--source={tmp_path / 'src'}", f"--dest={tmp_path / 'out'}")
    written = PIL.Image.open(tmp_path / "out/00000/img00000000.png")
    assert not written.info and not written.getexif()


@pytest.mark.parametrize(
    ("dest", "signum"),
    [
        ("out.zip", signal.SIGINT),
        ("out", signal.SIGINT),
        ("new/out.zip", signal.SIGINT),
        ("out.zip", signal.SIGTERM),  # as schedulers of clusters send it
    ],
)
def test_interrupt_leaves_nothing(dest, signum, tmp_path):
    process = subprocess.Popen(
        [
            sys.executable, "dataset_tool.py", "--source=synthetic", f"--dest={tmp_path / dest}",
            "--max-images=1000000", "--workers=2", "--resolution=32x32",
        ],
        cwd=Path(dataset_tool.__file__).parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not any(p.is_file() and p.stat().st_size > 9000 for p in tmp_path.rglob("*")):
        if dest == "out" and any(tmp_path.rglob("*.png")):
            break
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    # A terminal interrupts the workers, too.
    (os.killpg if signum == signal.SIGINT else os.kill)(process.pid, signum)
    output, _ = process.communicate(timeout=30)
    assert process.returncode not in (0, -signum)
    assert "Traceback" not in output and "Aborted" in output
    assert list(tmp_path.iterdir()) == []


def test_starts_without_what_takes_seconds_to_import():
    """Every one of its worker processes would import PyTorch, too."""
    slow = {"torch", "scipy", "matplotlib"}
    code = f"import dataset_tool, sys; print(sorted({slow} & set(sys.modules)))"
    folder = Path(dataset_tool.__file__).parent
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


def test_help_shows_examples():
    output = run("--help")
    for text in ("--source=synthetic", "--transform=center-crop", "dataset.json", "--workers"):
        assert text in output
    assert "0.1.0" in run("--version")


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_workers_end_with_a_killed_parent(tmp_path):
    process = subprocess.Popen(
        [
            sys.executable, dataset_tool.__file__, "--source=synthetic",
            f"--dest={tmp_path / 'd.zip'}", "--max-images=100000", "--workers=2",
        ],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while (
            len(workers := psutil.Process(process.pid).children(recursive=True)) < 3
        ):  # and the tracker
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
