"""Which files of a folder or an archive count as images."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from data import formats, listing
from data.dataset import ImageFolderDataset
from tests.data.conversion.formats import image_file, random_pixels
from tests.test_dataset_tool import run

PNG = image_file(random_pixels(8, 8, 3))

# Files, how many are images, and what is said about the others.
TREES = {
    "nothing else": (["a.png", "b/c.JPG"], 2, None),
    "hidden files and folders": (
        [".a.png", ".trash/a.png", ".trash/b.png", "x/.b/c/d.png", "x/y.png"],
        1,
        "3 hidden or left behind by other programs (.a.png, .b, .trash)",
    ),
    "macOS": (
        ["a.png", "._a.png", ".DS_Store", "__MACOSX/._a.png", "b/Icon\r"],
        1,
        "4 hidden or left behind",
    ),
    "network storage": (
        ["a.png", "@eaDir/a.png/SYNOPHOTO_THUMB_M.png", "#recycle/b.png", "b/@eaDir/x.jpg"],
        1,
        "3 hidden or left behind by other programs (@eaDir, #recycle)",
    ),
    "Windows": (
        ["a.png", "Thumbs.db", "b/THUMBS.DB", "$RECYCLE.BIN/x.png", "desktop.ini"],
        1,
        "4 hidden or left behind",
    ),
    "names that only look like those": (
        ["a..png", "b/thumbs.png", "@home/c.png", "dot./d.png"],
        4,
        None,
    ),
    "other kinds": (
        ["a.png", "1.heic", "2.HEIC", "3.jxl", "4.mp4", "README", "x/5.txt", "6.txt"],
        1,
        "2 .heic (to read them: pip install pillow-heif), 2 .txt, 1 file without an extension,"
        " 1 .jxl (to read them: pip install pillow-jxl-plugin), 1 .mp4",
    ),
    "labels": (["a.png", "dataset.json", "b/dataset.json"], 1, None),
    "many kinds": (["a.png", *(f"{i}.k{i}" for i in range(12))], 1, "4 of other kinds"),
    "an extension with an escape": (["a.png", "b.\x1b[31m"], 1, "1 .\\x1b[31m"),
}  # fmt: skip


def make(tree: list[str], kind: str, folder: Path) -> Path:
    if kind == "zip":
        with zipfile.ZipFile(folder / "set.zip", "w") as archive:
            for name in tree:
                archive.writestr(name, PNG)
        return folder / "set.zip"
    for name in tree:
        (folder / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "set" / name).write_bytes(PNG)
    return folder / "set"


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("case", TREES)
def test_conversion_inspection_and_training_take_the_same_files(case, kind, tmp_path):
    tree, num_images, left_out = TREES[case]
    source = make(tree, kind, tmp_path)
    dataset = ImageFolderDataset(source)
    assert len(dataset) == num_images
    converted = run(f"--source={source}", f"--dest={tmp_path / 'o.zip'}", "--labels=none")
    assert f"Wrote {num_images} images" in converted
    inspected = run(f"--inspect={source}", f"--dest={tmp_path / 's.png'}", "--labels=none")
    assert f"Images:   {num_images} in" in inspected
    if left_out is None:
        assert dataset.left_out is None
        assert "Left out" not in converted and "Left out" not in inspected
    else:
        for text in (dataset.left_out, converted, inspected):
            assert left_out in text
        other = make(tree, "folder" if kind == "zip" else "zip", tmp_path)
        assert ImageFolderDataset(other).left_out == dataset.left_out


@pytest.mark.parametrize("tree", [["a.heic"], [".a.png"], ["x.txt", "@eaDir/a.png"]])
def test_nothing_left_is_an_error_that_says_why(tree, tmp_path):
    source = make(tree, "folder", tmp_path)
    output = run(f"--source={source}", f"--dest={tmp_path / 'o.zip'}", exit_code=1)
    assert "no image in the source (left out: 1 " in output and "nothing was written" in output
    assert not (tmp_path / "o.zip").exists()
    with pytest.raises(OSError, match=r"no image file in it \(left out: 1 "):
        ImageFolderDataset(source)
    assert "Left out: 1 " in run(f"--inspect={source}", f"--dest={tmp_path / 's.png'}")


def test_a_source_below_a_hidden_folder_is_taken(tmp_path):
    make(["a.png"], "folder", tmp_path / ".cache")
    assert len(ImageFolderDataset(tmp_path / ".cache/set")) == 1


LINKS = {
    "a folder somewhere else": ([("set/cat", "../disk/cat")], 3, None),
    "a chain of links": ([("set/cat", "../one"), ("one", "two"), ("two", "disk/cat")], 3, None),
    "the same folder twice": ([("set/x", "../disk/cat"), ("set/y", "../disk/cat")], 5, None),
    "a file": ([("set/x.png", "../disk/cat/1.png")], 2, None),
    "back to the source": ([("set/loop", "../set")], 1, "1 link to a folder around it"),
    "back to a folder above": ([("set/bird/loop", "../../set")], 1, "1 link to a folder around it"),
    "loops across": (
        [("set/cat", "../disk/cat"), ("disk/cat/back", "../../set")],
        3,
        "1 link to a folder around it",
    ),
    "to itself, no image": ([("set/self", "self")], 1, "1 link that leads nowhere"),
    "to a class that is gone": ([("set/cat", "../gone")], 1, "1 link that leads nowhere"),
}


@pytest.mark.parametrize("case", LINKS)
def test_links_are_followed_but_not_in_circles(case, tmp_path):
    links, num_images, left_out = LINKS[case]
    for name in ("set/bird/1.png", "disk/cat/1.png", "disk/cat/2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(PNG)
    for name, target in links:
        (tmp_path / name).symlink_to(target)
    dataset = ImageFolderDataset(tmp_path / "set")
    assert len(dataset) == num_images and dataset.left_out == left_out
    assert dataset[num_images - 1][0].shape == (3, 8, 8)
    output = run(f"--source={tmp_path / 'set'}", f"--dest={tmp_path / 'o.zip'}")
    assert f"Wrote {num_images} images" in output
    # As `cp -rL` copies it, where that ends.
    if left_out is None:
        subprocess.run(["cp", "-rL", tmp_path / "set", tmp_path / "copy"], check=True)
        assert len(ImageFolderDataset(tmp_path / "copy")) == num_images


def test_images_that_links_repeat_are_counted(tmp_path):
    make(["v2/a.png", "v2/b.png", "v1/c.png"], "folder", tmp_path)
    source = tmp_path / "set"
    (source / "latest").symlink_to("v2")
    note = "2 in folders that symbolic links repeat"
    dataset = ImageFolderDataset(source)
    assert len(dataset) == 5 and dataset.check_images() == {listing.REPEATED: 2}
    assert note in run(f"--source={source}", f"--dest={tmp_path / 'o.zip'}")
    assert note in run(f"--inspect={source}", f"--dest={tmp_path / 's.png'}")


def test_links_that_multiply_are_refused(tmp_path):
    """Ten folders, each with two links to the next: a thousand ways to the last."""
    for i in range(10):
        (tmp_path / f"set/{i}").mkdir(parents=True)
        for name in "xy":
            (tmp_path / f"set/{i}/{name}").symlink_to(f"../{i + 1}")
    (tmp_path / "set/10").mkdir()
    (tmp_path / "set/10/a.png").write_bytes(PNG)
    with pytest.raises(ValueError, match="by more than 16 ways through symbolic links"):
        ImageFolderDataset(tmp_path / "set")
    output = run(f"--source={tmp_path / 'set'}", f"--dest={tmp_path / 'o.zip'}", exit_code=1)
    assert "symbolic links" in output


@pytest.mark.parametrize("kind", ["pipe", "broken link", "link to itself"])
def test_what_is_no_file_is_named_and_never_waited_for(kind, tmp_path):
    source = make(["a.png"], "folder", tmp_path)
    if kind == "pipe":
        os.mkfifo(source / "b.png")
    else:
        (source / "b.png").symlink_to("nowhere" if kind == "broken link" else "b.png")
    dataset = ImageFolderDataset(source)
    with pytest.raises(OSError, match=r"set: b\.png (is no file but a pipe|cannot be read)"):
        dataset.check_images()
    with pytest.raises(OSError, match=r"b\.png"):
        dataset[1]
    with pytest.raises(OSError, match=r"b\.png|No such file|Too many levels"):
        dataset.fingerprint()
    args = [f"--source={source}", f"--dest={tmp_path / 'o.zip'}"]
    assert "b.png" in run(*args, exit_code=1)
    assert "Dropped: 1 unusable" in run(*args, "--on-error=skip")


PLUGIN = """
import PIL.Image, PIL.PngImagePlugin

class Heic(PIL.PngImagePlugin.PngImageFile):
    format = "HEIF"

def register_heif_opener():
    PIL.Image.register_open("HEIF", Heic, lambda start: start.startswith(b"\\x89PNG"))
    PIL.Image.register_extensions("HEIF", [".heic", ".heif"])
"""


def test_plugins_are_used_where_they_are_installed(tmp_path):
    """A stand-in of the real one, whose files are PNGs."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/pillow_heif.py").write_text(PLUGIN)
    source = make(["a.heic", "b.jxl"], "folder", tmp_path)
    result = subprocess.run(
        [sys.executable, "dataset_tool.py", f"--source={source}", f"--dest={tmp_path / 'o.zip'}"],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "plugins")},
        cwd=Path(listing.__file__).parent.parent,
        capture_output=True,
        text=True,
    )
    assert "Wrote 1 images" in result.stdout, result.stderr
    assert "Left out: 1 .jxl (to read them: pip install pillow-jxl-plugin)" in result.stdout


@pytest.mark.parametrize("package", formats.PLUGINS)
def test_the_content_tells_which_plugin_is_missing(package, tmp_path):
    if formats.is_installed(package):
        pytest.skip(f"{package} is installed")
    content = {
        "pillow-heif": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "pillow-jxl-plugin": b"\xff\x0a" + bytes(9),
    }[package]
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.jpg").write_bytes(content)  # as phones and browsers name them
    output = run(f"--source={tmp_path / 'set'}", f"--dest={tmp_path / 'o.zip'}", exit_code=1)
    assert f"a.jpg cannot be read (it takes another package: pip install {package})" in output
