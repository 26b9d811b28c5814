"""Datasets of others, in their own formats; and labels of all kinds."""

import gzip
import json
import os
import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from data.conversion import cifar
from data.conversion.cifar import parse_batch
from data.dataset import ImageFolderDataset
from tests.data.conversion import formats
from tests.test_dataset_tool import read_archive, run


def convert(source: Path, *options: str) -> tuple[np.ndarray, dict, str]:
    """Pixels and metadata of what the tool makes of a source, and what it prints."""
    dest = source.parent / f"out-{len(os.listdir(source.parent))}.zip"
    output = run(f"--source={source}", f"--dest={dest}", *options)
    with zipfile.ZipFile(dest) as archive:
        metadata = json.loads(archive.read("dataset.json"))
    return np.stack(list(read_archive(dest).values())), metadata, output


def labels_of(metadata: dict) -> list:
    return [label for _, label in metadata["labels"]]


def test_cifar10_as_python2_pickled_it(tmp_path):
    path, expected, labels = formats.cifar(tmp_path)
    pixels, metadata, output = convert(path)
    np.testing.assert_array_equal(pixels, expected)
    assert labels_of(metadata) == labels and "10 classes" in output
    assert convert(path, "--labels=none")[1]["labels"] is None
    assert convert(path, "--max-images=4", "--resolution=8x8")[0].shape == (4, 8, 8, 3)


@pytest.mark.parametrize("protocol", range(6))
def test_cifar10_pickled_again_by_python3(protocol):
    pixels = formats.random_pixels(4, 3072)
    data = pickle.dumps({b"data": pixels, b"labels": [0, 9, 5, 1]}, protocol=protocol)
    parsed, labels = parse_batch(data, "x")
    np.testing.assert_array_equal(parsed, pixels.reshape(4, 3, 32, 32).transpose(0, 2, 3, 1))
    assert labels == [0, 9, 5, 1]


@pytest.mark.parametrize("prefix", ["train", "t10k"])
def test_mnist_is_padded_to_32x32(prefix, tmp_path):
    path, expected, labels = formats.mnist(tmp_path, prefix=prefix)
    pixels, metadata, _ = convert(path)
    np.testing.assert_array_equal(pixels, np.pad(expected, [(0, 0), (2, 2), (2, 2)]))
    assert labels_of(metadata) == labels


def test_mnist_without_labels(tmp_path):
    path, _, _ = formats.mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    output = run(f"--source={path}", f"--dest={tmp_path / 'o.zip'}", exit_code=1)
    assert "no train-labels-idx1-ubyte.gz beside it" in output and "--labels=none" in output
    assert convert(path, "--labels=none")[1] == {"labels": None}


def test_lsun_database_of_webp_images(tmp_path):
    pixels = formats.random_pixels(5, 16, 16, 3)
    keys = [b"c", b"a", b"e", b"b", b"d"]
    path = formats.lsun(tmp_path, {
        key: formats.image_file(image, "webp", lossless=True)
        for key, image in zip(keys, pixels, strict=True)
    })  # fmt: skip
    found, metadata, output = convert(path, "--workers=1")
    np.testing.assert_array_equal(found, pixels[np.argsort(keys)])
    assert metadata == {"labels": None} and "Wrote 5 images" in output
    assert not (path / "lock.mdb").exists()
    (tmp_path / "labels.csv").write_text(
        "key,class\n" + "".join(f"{k},{i}\n" for i, k in enumerate("abcde"))
    )
    _, metadata, _ = convert(path, f"--labels={tmp_path / 'labels.csv'}", "--max-images=2")
    assert labels_of(metadata) == [0, 1]


def test_lsun_skips_what_cannot_be_read(tmp_path):
    good = formats.image_file(formats.random_pixels(16, 16, 3), "webp")
    path = formats.lsun(tmp_path, {b"a": good, b"b\xff\n": b"RIFF", b"c": good})
    output = run(f"--source={path}", f"--dest={tmp_path / 'o.zip'}", exit_code=1)
    assert r"_lmdb: b\xff\n cannot be read" in output
    assert "Dropped: 1 unusable" in convert(path, "--on-error=skip")[2]


def test_lsun_needs_a_package_that_is_named(tmp_path, monkeypatch):
    path = formats.lsun(tmp_path, {b"a": b""})
    monkeypatch.setitem(sys.modules, "lmdb", None)
    output = run(f"--source={path}", f"--dest={tmp_path / 'o.zip'}", exit_code=1)
    assert "pip install lmdb" in output


def test_truncated_lsun_database_is_refused_before_it_crashes(tmp_path):
    big = os.urandom(50_000)
    path = formats.lsun(tmp_path, {bytes([i]): big for i in range(20)})
    data = (path / "data.mdb").read_bytes()
    (path / "data.mdb").write_bytes(data[: len(data) // 2])
    output = run(f"--source={path}", f"--dest={tmp_path / 'o.zip'}", exit_code=1)
    assert "is the download or copy complete" in output


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_classes_by_folder(kind, tmp_path):
    names = ["cat/2.png", "cat/deep/1.png", "ant/x.png", "dog/y.png", "dog/z.png"]
    png = formats.image_file(formats.random_pixels(8, 8, 3))
    source = tmp_path / "src"
    with zipfile.ZipFile(tmp_path / "src.zip", "w") as archive:
        for name in names:
            archive.writestr(name, png)
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(png)
    source = source if kind == "folder" else tmp_path / "src.zip"
    _, metadata, output = convert(source, "--labels=folders")
    assert labels_of(metadata) == [0, 1, 1, 2, 2] and "3 classes" in output
    assert metadata["class_names"] == ["ant", "cat", "dog"]
    assert convert(source)[1] == {"labels": None}  # off by default
    dataset = ImageFolderDataset(
        max(tmp_path.glob("out-*.zip"), key=os.path.getsize), use_labels=True
    )
    assert dataset.label_dim == 3 and dataset.has_onehot_labels
    # Names are carried along, and numbers do not depend on how many images are converted.
    again = max(tmp_path.glob("out-*.zip"), key=os.path.getsize)
    assert convert(again, "--resolution=4x4")[1]["class_names"] == ["ant", "cat", "dog"]
    assert labels_of(convert(source, "--labels=folders", "--max-images=1")[1]) == [0]


TABLES = {
    "numbers": ("a.csv", "a/1.png,3\nb.png,0\n", [3, 0]),
    "headings": ("a.csv", "filename,label\na/1.png,3\nb.png,0\n", [3, 0]),
    "words": ("a.csv", "a/1.png,dog\nb.png,cat\n", [1, 0]),
    "vectors": ("a.csv", "a/1.png,0.5,-1\nb.png,1e-3,2\n", [[0.5, -1], [0.001, 2]]),
    "one number": ("a.csv", "a/1.png,0.5\nb.png,2\n", [[0.5], [2]]),
    "semicolons": ("a.csv", "a/1.png;3\nb.png;0\n", [3, 0]),
    "tabs": ("a.tsv", "a/1.png\t3\nb.png\t0\n", [3, 0]),
    "windows": ("a.csv", "\ufeffname,label\r\n.\\a\\1.png,3\r\nb.png,0\r\n\r\n", [3, 0]),
    "quotes": ("a.csv", '"a/1.png","3"\nb.png, 0\n', [3, 0]),
    "more than needed": ("a.csv", "a/1.png,3\nother.png,9\nb.png,0\n", [3, 0]),
    "dataset.json": ("a.json", '{"labels": [["a/1.png", 3], ["b.png", 0]]}', [3, 0]),
    "list": ("a.json", '[["a/1.png", [1.5]], ["b.png", [0]]]', [[1.5], [0]]),
    "mapping": ("a.json", '{"a/1.png": "x", "b.png": "y"}', [0, 1]),
}


def two_images(folder: Path) -> Path:
    png = formats.image_file(formats.random_pixels(8, 8, 3))
    (folder / "src/a").mkdir(parents=True)
    for name in ("a/1.png", "b.png"):
        (folder / "src" / name).write_bytes(png)
    return folder / "src"


@pytest.mark.parametrize("case", TABLES)
def test_labels_from_a_file(case, tmp_path):
    name, text, expected = TABLES[case]
    source = two_images(tmp_path)
    (tmp_path / name).write_bytes(text.encode())
    _, metadata, _ = convert(source, f"--labels={tmp_path / name}")
    assert labels_of(metadata) == expected
    words = {"words": ["cat", "dog"], "mapping": ["x", "y"]}
    assert metadata.get("class_names") == words.get(case)


REFUSED_TABLES = {
    "no file": (None, "", "no such file"),
    "empty": ("a.csv", "", "the file has no label"),
    "one column": ("a.csv", "a/1.png\n", "line 1 has 1 columns; expected NAME,LABEL"),
    "ragged": ("a.csv", "a/1.png,1,2\nb.png,1\n", "line 2 has 2 columns; expected 3"),
    "no number": ("a.csv", "a/1.png,1,x\nb.png,1,2\n", "line 1: 'x' is not a number"),
    "not finite": ("a.csv", "a/1.png,1,nan\nb.png,1,2\n", "finite numbers"),
    "negative": ("a.json", '{"a/1.png": -1}', "class numbers"),
    "mixed": ("a.json", '{"a/1.png": 1, "b.png": [1]}', "all be"),
    "two labels": ("a.csv", "a/1.png,1\na/1.png,2\n", "a/1.png has two labels"),
    "other names": ("a.csv", "1.png,1\n2.png,2\n", "names no image of"),
    "missing": ("a.csv", "a/1.png,1\n", "b.png has no label in"),
    "no word": ("a.csv", "a/1.png,cat\nb.png,\n", "line 2 has no label"),
    "no JSON": ("a.json", "{", "not JSON"),
    "other JSON": ("a.json", "[1, 2]", "expected"),
    "binary": ("a.csv", b"\xff\xfe\x00", "not UTF-8"),
}


@pytest.mark.parametrize("case", REFUSED_TABLES)
def test_refuses_tables_of_labels(case, tmp_path):
    name, text, message = REFUSED_TABLES[case]
    source = two_images(tmp_path)
    path = tmp_path / (name or "nothing.csv")
    if name is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    output = run(
        f"--source={source}", f"--dest={tmp_path / 'o.zip'}", f"--labels={path}", exit_code=1
    )
    assert message in output
    assert not (tmp_path / "o.zip").exists()


def test_images_without_label_are_left_out_on_request(tmp_path):
    source = two_images(tmp_path)
    (tmp_path / "a.csv").write_text("b.png,1\n")
    _, metadata, output = convert(source, f"--labels={tmp_path / 'a.csv'}", "--on-error=skip")
    assert metadata == {"labels": [["00000/img00000001.png", 1]]} and "1 unusable" in output
    output = run(
        f"--source={source}", f"--dest={tmp_path / 'o.zip'}", "--labels=folders", exit_code=1
    )
    assert "b.png lies in no folder" in output


def test_labels_that_come_with_a_source_can_be_left_out(tmp_path):
    source = two_images(tmp_path)
    (source / "dataset.json").write_text('{"labels": [["a/1.png", 1], ["b.png", 0]]}')
    assert labels_of(convert(source)[1]) == [1, 0]
    assert convert(source, "--labels=none")[1] == {"labels": None}
    args = ["--source=synthetic", f"--dest={tmp_path / 'o.zip'}", "--labels=folders"]
    assert "has labels of its own" in run(*args, exit_code=1)


FORBIDDEN_PICKLES = {
    "a call": formats.evil_batch(),
    "os.system": b"cos\nsystem\n(S'touch hacked'\ntR.",
    "an instance": b"(ios\nsystem\n(S'touch hacked'\nl.",
    "an array of objects": pickle.dumps({b"data": np.array([None]), b"labels": []}, protocol=2),
    "an array of floats": pickle.dumps({b"data": np.zeros([1, 3072]), b"labels": [0]}, protocol=2),
    "another module's name": pickle.dumps({b"data": np.random.RandomState, b"labels": []}),
    "a class of ours without contents": b"\x80\x02}(U\x04dataX\x00\x00\x00\x00u.",
    "no array": pickle.dumps({b"data": [1], b"labels": [1]}),
    "a list": pickle.dumps([1]),
    "another width": pickle.dumps({b"data": np.zeros([2, 5], np.uint8), b"labels": [0, 1]}),
    "labels too large": pickle.dumps({b"data": np.zeros([1, 3072], np.uint8), b"labels": [10]}),
    "labels too few": pickle.dumps({b"data": np.zeros([2, 3072], np.uint8), b"labels": [1]}),
    "memory without end": b"\x80\x05\x96" + b"\xff" * 7 + b"\x0f.",
    "shape larger than data": formats.python2_batch(np.zeros([2, 3072], np.uint8), [0, 1]).replace(
        b"M\x00\x0c", b"M\x00\x0d"
    ),
    "truncated": formats.python2_batch(np.zeros([2, 3072], np.uint8), [0, 1])[:500],
    "nothing": b"",
    "no pickle": b"hello",
}


@pytest.mark.parametrize("case", FORBIDDEN_PICKLES)
def test_cifar10_pickles_may_hold_arrays_and_nothing_else(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no batch of CIFAR-10"):
        parse_batch(FORBIDDEN_PICKLES[case], "data_batch_1")
    path = formats.write_cifar(tmp_path / cifar.FILE_NAME, {
        f"data_batch_{i}": FORBIDDEN_PICKLES[case] for i in range(1, 6)
    })  # fmt: skip
    output = run(f"--source={path}", "--dest=o.zip", exit_code=1)
    assert "data_batch_1 is no batch of CIFAR-10" in output
    assert os.listdir(tmp_path) == [path.name]


def test_mnist_images_are_images(tmp_path):
    path, _, _ = formats.mnist(tmp_path)
    for content, message in {
        gzip.compress(formats.idx(np.zeros([2, 20, 20], np.uint8))): "20x20, those of MNIST are",
        gzip.compress(formats.idx(np.zeros([12, 28, 28], np.uint8)))[:40]: "cannot be read",
        gzip.compress(formats.idx(np.zeros([12, 28, 28], np.uint8)) + b"x"): "more or less",
        gzip.compress(formats.idx(np.zeros([13, 28, 28], np.uint8))): "13 images, but 12 labels",
        gzip.compress(formats.idx(np.zeros([99], np.uint8))): "not a file of MNIST",
        gzip.compress(b"\0\0\x08\x03" + b"\xff" * 12): "not a file of MNIST",
        b"plain": "cannot be read",
        b"": "cannot be read",
    }.items():
        path.write_bytes(content)
        assert message in run(f"--source={path}", f"--dest={tmp_path / 'o.zip'}", exit_code=1)


def test_mirrored_and_named_as_the_source_says(tmp_path):
    """A converted CIFAR-10 is what training reads, mirrored copies included."""
    path, expected, labels = formats.cifar(tmp_path)
    run(f"--source={path}", f"--dest={tmp_path / 'o'}")
    dataset = ImageFolderDataset(tmp_path / "o", use_labels=True, xflip=True)
    image, label = dataset[len(labels) + 2]
    np.testing.assert_array_equal(image.transpose(1, 2, 0), expected[2][:, ::-1])
    assert label.argmax() == labels[2]
    assert PIL.Image.open(tmp_path / "o/00000/img00000000.png").mode == "RGB"
