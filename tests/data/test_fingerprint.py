"""What identifies a dataset, and what tells that its files have changed."""

import hashlib
import json
import os
import shutil
import subprocess
import zipfile
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data import file_states, fingerprint
from data.dataset import Dataset, ImageFolderDataset
from tests import golden

SMALL_RGB = golden.DATA_DIR / "datasets/dataset_small_rgb.zip"  # with labels


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def files_of(path: Path) -> dict[str, bytes]:
    """The labels, and the images that have one, which are all."""
    with zipfile.ZipFile(path) as archive:
        labels = dict(json.loads(archive.read("dataset.json"))["labels"])
        names = [name for name in archive.namelist() if name in {*labels, "dataset.json"}]
        return {name: archive.read(name) for name in names}


def images_of(files: dict[str, bytes]) -> list[str]:
    return sorted(set(files) - {"dataset.json"})


def without_shared_folder(names: list[str]) -> list[str]:
    shared = os.path.commonpath([os.path.dirname(name) for name in names])
    return [os.path.relpath(name, shared or ".") for name in names]


def write_zip(path: Path, files: dict[str, bytes], compression=zipfile.ZIP_STORED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def of(path: Path, use_labels: bool = True) -> fingerprint.Fingerprint:
    return ImageFolderDataset(path, use_labels=use_labels).fingerprint()


def other_png(data: bytes) -> bytes:
    """Another file of the same size; what it shows does not matter here."""
    return data[:-30] + bytes([data[-30] ^ 1]) + data[-29:]


@pytest.mark.parametrize("folder", ["data", "a/b", "00000"])
@pytest.mark.parametrize("names", [["1.png"], ["x/1.png", "y/2.png"], ["x/1.png", "x/y/2.png"]])
def test_a_folder_around_all_images_does_not_matter(folder, names, tmp_path):
    """As `zip -r data.zip data/` puts one there."""
    files = {name: name.encode() for name in names}
    around = {f"{folder}/{name}": data for name, data in files.items()}
    inside = fingerprint.of_folder(write_folder(tmp_path / "x", files), list(files))
    outside = fingerprint.of_folder(write_folder(tmp_path / "y", around), list(around))
    assert fingerprint.differences(inside, outside) == [] and inside == outside
    if len(names) > 1:
        renamed = {f"{folder}{i}/{name}": data for i, (name, data) in enumerate(files.items())}
        other = fingerprint.of_folder(write_folder(tmp_path / "z", renamed), list(renamed))
        assert fingerprint.differences(inside, other) == ["other names of images"]


def test_digests_are_those_of_names_sizes_checksums_and_labels():
    files = files_of(SMALL_RGB)
    names = images_of(files)
    labels = dict(json.loads(files["dataset.json"])["labels"])
    crcs = np.array([zlib.crc32(files[name]) for name in names], "<u4").tobytes()
    classes = np.array([labels[name] for name in names], "<i8")
    expected = dict(
        version=1,
        num_images=len(names),
        names=digest("\0".join(without_shared_folder(names)).encode()),
        sizes=digest(np.array([len(files[name]) for name in names], "<i8").tobytes()),
        sample=digest(crcs),
        contents=digest(crcs),
        labels=digest(f"<i8 ({len(names)},) ".encode() + classes.tobytes()),
    )
    assert of(SMALL_RGB) == expected
    assert of(SMALL_RGB, use_labels=False) == {**expected, "labels": None}
    assert json.loads(json.dumps(expected)) == expected


def test_dataset_keeps_its_fingerprint_wherever_it_lies(tmp_path):
    files = files_of(SMALL_RGB)
    shuffled = dict(sorted(files.items(), key=lambda item: zlib.crc32(item[0].encode())))
    labels = json.loads(files["dataset.json"])
    labels["labels"].reverse()
    again = {**files, "dataset.json": json.dumps(labels, indent=1).encode(), "readme.txt": b"hi"}
    moved = Path(shutil.copy(SMALL_RGB, tmp_path / "moved.zip"))
    os.utime(moved, (1, 1))
    others = [
        moved,
        write_zip(tmp_path / "deflated.zip", files, zipfile.ZIP_DEFLATED),
        write_zip(tmp_path / "shuffled.zip", shuffled),
        write_zip(tmp_path / "labels-in-another-order.zip", again),
    ]
    for other in others:
        assert of(other) == of(SMALL_RGB), other
    folder = write_folder(tmp_path / "folder", again)
    assert of(folder) == {**of(SMALL_RGB), "contents": None}
    assert fingerprint.short(of(folder)) == fingerprint.short(of(SMALL_RGB, use_labels=False))
    for saved, now in ((of(SMALL_RGB), of(folder)), (of(folder), of(SMALL_RGB))):
        assert fingerprint.differences(saved, now) == []


def test_differences_are_named(tmp_path):
    files = files_of(SMALL_RGB)
    names = images_of(files)
    first, last = names[0], names[-1]
    without_last = {name: data for name, data in files.items() if name != last}
    labels = json.loads(files["dataset.json"])
    labels["labels"][3][1] = (labels["labels"][3][1] + 1) % 6
    relabelled = {**files, "dataset.json": json.dumps(labels).encode()}
    renamed = {**without_last, f"{last}.png": files[last]}
    renamed["dataset.json"] = files["dataset.json"].replace(last.encode(), f"{last}.png".encode())
    num = len(names)
    for name, changed, expected in (
        ("fewer", without_last, [f"{num - 1} images, not {num}"]),
        ("renamed", renamed, ["other names of images"]),
        ("replaced", {**files, last: other_png(files[last])}, ["other contents of images"]),
        ("longer", {**files, first: files[first] + b"more"}, ["other contents of images"]),
        (
            "swapped",
            {**files, first: files[last], last: files[first]},
            ["other contents of images"],
        ),
        ("relabelled", relabelled, ["other labels"]),
    ):
        for path in (
            write_zip(tmp_path / f"{name}.zip", changed),
            write_folder(tmp_path / name, changed),
        ):
            found = fingerprint.differences(of(SMALL_RGB), of(path))
            assert found[:1] == expected, path
            assert found[1:] in ([], ["other labels"]), path  # fewer images have fewer labels
            is_same = fingerprint.short(of(path)) == fingerprint.short(of(SMALL_RGB))
            assert is_same == (name == "relabelled")
    unused = of(tmp_path / "relabelled.zip", use_labels=False)
    assert fingerprint.differences(of(SMALL_RGB, use_labels=False), unused) == []


@pytest.mark.slow
def test_folder_is_sampled_evenly_and_a_zip_completely(tmp_path):
    """One byte of one image of 1000 is changed: a ZIP tells always, a folder by its sample."""
    names = [f"{i:04d}.png" for i in range(1000)]
    folder = write_folder(tmp_path / "folder", {name: name.encode() for name in names})
    whole = fingerprint.of_folder(folder, names)
    crcs = np.array([zlib.crc32(name.encode()) for name in names])
    sizes = np.full(1000, 8)
    assert fingerprint.of_archive(names, sizes, crcs) == {
        **whole,
        "contents": digest(crcs.astype("<u4").tobytes()),
    }
    noticed = []
    for i, name in enumerate(names):
        changed = crcs.copy()
        changed[i] ^= 1
        now = fingerprint.of_archive(names, sizes, changed)
        assert now["contents"] != digest(crcs.astype("<u4").tobytes())
        if now["sample"] != whole["sample"]:
            noticed.append(i)
            (folder / name).write_bytes(b"X" * 8)
            assert fingerprint.of_folder(folder, names)["sample"] != whole["sample"]
            (folder / name).write_bytes(name.encode())
    assert len(noticed) == fingerprint.SAMPLE_SIZE
    assert noticed[0] == 0 and set(np.diff(noticed)) == {3, 4}


@pytest.mark.parametrize(
    "saved",
    [None, "text", [1], {}, {"version": 2}, {**of(SMALL_RGB), "version": 2}, {"version": 1}]
    + [{**of(SMALL_RGB), key: 1.5} for key in ("num_images", "names", "sample", "labels")]
    + [{**of(SMALL_RGB), "num_images": 10**5000}],
)
def test_what_is_no_fingerprint_says_nothing(saved):
    assert fingerprint.is_unknown(saved) and fingerprint.short(saved) is None
    assert fingerprint.differences(saved, of(SMALL_RGB)) == []
    assert not fingerprint.is_unknown(of(SMALL_RGB))
    assert Dataset("x", [1, 3, 8, 8]).fingerprint() is None


def test_names_that_are_no_text_are_names(tmp_path):
    name = os.fsdecode(b"bild-\xfc.png")
    (tmp_path / name).write_bytes(b"x")
    assert fingerprint.of_folder(tmp_path, [name])["names"] == digest(b"bild-\xfc.png")
    assert file_states.describe(tmp_path, [name])


# The state of files.


def move_over(new: Path, old: Path) -> None:
    subprocess.run(["mv", new, old], check=True)


def copy_over(new: Path, old: Path) -> None:
    subprocess.run(["cp", "-p", new, old], check=True)


def copy_beside_and_rename(new: Path, old: Path) -> None:
    """As `rsync -a` does it."""
    shutil.copy2(new, old.with_name(".incoming"))
    (old.with_name(".incoming")).replace(old)


REPLACEMENTS = [move_over, copy_over, copy_beside_and_rename]


@pytest.mark.parametrize("replace", REPLACEMENTS)
@pytest.mark.parametrize("is_older", [False, True], ids=["same-time", "older"])
@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_replaced_file_changes_the_state(replace, is_older, kind, tmp_path):
    files = files_of(SMALL_RGB)
    name = images_of(files)[-2]
    changed = {**files, name: other_png(files[name])}
    if kind == "zip":
        old, new = (write_zip(tmp_path / f"{i}.zip", f) for i, f in enumerate((files, changed)))
        path = old
    else:
        folders = [write_folder(tmp_path / str(i), f) for i, f in enumerate((files, changed))]
        old, new = (folder / name for folder in folders)
        path = folders[0]
    assert old.stat().st_size == new.stat().st_size
    os.utime(old, ns=(0, 1_700_000_000_000_000_000))
    os.utime(new, ns=(0, 1_700_000_000_000_000_000 - is_older))
    before = ImageFolderDataset(path).file_states()
    assert ImageFolderDataset(path).file_states() == before
    replace(new, old)
    assert ImageFolderDataset(path).file_states() != before


def test_renamed_and_touched_files_change_the_state(tmp_path):
    files = files_of(SMALL_RGB)
    folder = write_folder(tmp_path / "folder", files)
    states = [ImageFolderDataset(folder).file_states()]
    name = images_of(files)[0]
    (folder / name).rename((folder / name).with_name("renamed.png"))
    states.append(ImageFolderDataset(folder).file_states())
    os.utime((folder / name).with_name("renamed.png"), (5, 5))
    states.append(ImageFolderDataset(folder).file_states())
    (folder / "notes.txt").write_text("no image")
    assert ImageFolderDataset(folder).file_states() == states[-1]
    assert len(set(states)) == 3


def test_index_of_a_zip_is_part_of_its_state(tmp_path, monkeypatch):
    """Even where a file system has no use for inodes and times of change."""
    files = files_of(SMALL_RGB)
    name = images_of(files)[-2]
    path = write_zip(tmp_path / "x.zip", files)
    fixed = os.stat(path)
    system = SimpleNamespace(stat=lambda path: fixed, path=os.path, fspath=os.fspath)
    monkeypatch.setattr(file_states, "os", system)
    before = ImageFolderDataset(path).file_states()
    write_zip(path, {**files, name: other_png(files[name])})
    assert ImageFolderDataset(path).file_states() != before
