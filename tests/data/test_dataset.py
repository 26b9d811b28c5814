import io
import json
import multiprocessing
import os
import pickle
import random
import struct
import zipfile

import numpy as np
import PIL.Image
import pytest
import torch.utils.data

from data import decoding
from data.dataset import Dataset, ImageFolderDataset
from data.zip_archive import ZipArchive
from tests import golden

FACTS = golden.load_json("dataset_facts.json")
CASES = {
    name: case
    for name, case in golden.load("dataset.npz").items()
    if case.meta["function"] == "ImageFolderDataset"
}
SMALL_RGB = golden.DATA_DIR / "datasets/dataset_small_rgb.zip"


def make_zip(path, files: dict[str, bytes], compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def make_png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def make_dataset(path, num_images=20, size=8, **options) -> ImageFolderDataset:
    """A ZIP whose image `i` has value `i` everywhere."""
    files = {
        f"{i:03d}.png": make_png(np.full([size, size, 3], i, np.uint8)) for i in range(num_images)
    }
    return ImageFolderDataset(make_zip(path, files, **options))


@pytest.mark.parametrize("name", CASES)
def test_dataset_matches_golden_values(name, tmp_path):
    meta, arrays = CASES[name].meta, CASES[name].arrays
    if meta["path"].startswith("unpack"):
        path = tmp_path / "folder.v1"
        zipfile.ZipFile(SMALL_RGB).extractall(path)
    else:
        path = golden.DATA_DIR / meta["path"]
    dataset = ImageFolderDataset(str(path), **meta["kwargs"])

    assert len(dataset) == meta["len"]
    for key in [
        "name", "image_shape", "num_channels", "resolution", "label_shape", "label_dim",
        "has_labels", "has_onehot_labels",
    ]:  # fmt: skip
        assert getattr(dataset, key) == meta[key], key
    details = [dataset.get_details(i) for i in range(len(dataset))]
    assert sorted(details[0]) == meta["details_keys"]
    np.testing.assert_array_equal([d.raw_idx for d in details], arrays["raw_idx"])
    np.testing.assert_array_equal([d.xflip for d in details], arrays["xflip"])
    assert type(details[0].raw_idx) is int and type(details[0].xflip) is bool
    raw_labels = np.stack([d.raw_label for d in details])
    np.testing.assert_array_equal(raw_labels, arrays["raw_labels"])
    assert raw_labels.dtype == meta["raw_label_dtype"]
    labels = np.stack([dataset.get_label(i) for i in range(len(dataset))])
    np.testing.assert_array_equal(labels, arrays["labels"])
    assert labels.dtype == meta["label_dtype"]

    if "images" in arrays:
        for i, (image, label) in enumerate(dataset):
            is_jpeg = meta["image_file_order"][details[i].raw_idx].endswith(("jpg", "jpeg"))
            assert image.dtype == np.uint8 and image.flags.c_contiguous
            difference = image.astype(int) - arrays["images"][i]
            assert np.abs(difference).max() <= (2 if is_jpeg else 0)
            np.testing.assert_array_equal(label, arrays["labels"][i])


@pytest.mark.parametrize("has_pyspng", [True, False], ids=["pyspng", "pillow"])
@pytest.mark.parametrize("file", FACTS["unusual_png_modes"])
def test_unusual_png_modes(file, has_pyspng, tmp_path, monkeypatch):
    facts = FACTS["unusual_png_modes"][file]
    # With both decoders the result is what pyspng gives; it cannot read grey with alpha.
    expected = facts["with_pillow_only" if file == "la.png" else "with_pyspng"]
    if not has_pyspng:
        monkeypatch.setattr(decoding, "pyspng", None)
    data = golden.load("dataset.npz")[f"pngmode_{file.removesuffix('.png')}"].arrays["bytes"]
    dataset = ImageFolderDataset(make_zip(tmp_path / "x.zip", {file: data.tobytes()}))
    image, _ = dataset[0]
    if expected["item"].startswith("fails"):  # in the published program
        deep = np.array(PIL.Image.open(io.BytesIO(data)))
        np.testing.assert_array_equal(image[0], np.rint(deep / 257))
    else:
        assert dataset.image_shape == expected["image_shape"]
        start = image[:, 0, : len(expected["first_values"][0])]
        np.testing.assert_array_equal(start, expected["first_values"])


@pytest.mark.parametrize("mode", ["P", "P with transparency", "L", "RGB"])
def test_decoders_agree(mode, tmp_path, monkeypatch):
    image = PIL.Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    image = image.convert(mode.partition(" ")[0])
    file = io.BytesIO()
    image.save(file, "png", **({"transparency": 3} if " " in mode else {}))
    path = make_zip(tmp_path / "x.zip", {"a.png": file.getvalue()})
    fast, _ = ImageFolderDataset(path)[0]
    monkeypatch.setattr(decoding, "pyspng", None)
    slow, _ = ImageFolderDataset(path)[0]
    np.testing.assert_array_equal(fast, slow)


def test_refuses_paths_that_are_no_dataset(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("x")
    broken = tmp_path / "broken.zip"
    broken.write_bytes(SMALL_RGB.read_bytes()[:5000])
    noimages = golden.DATA_DIR / "datasets/dataset_small_noimages.zip"
    for path, message in [
        (tmp_path / "nope", "no such folder or .zip"),
        (tmp_path / "nope.zip", "no such folder or .zip"),
        (text, "is a folder or a .zip"),
        (broken, "no readable ZIP"),
        (noimages, "no image file"),
    ]:
        with pytest.raises(OSError, match=message) as info:
            ImageFolderDataset(str(path))
        assert str(path) in str(info.value)


def test_refuses_another_resolution():
    with pytest.raises(OSError, match=r"00000/img00000000\.png is 16x16, but resolution 32"):
        ImageFolderDataset(SMALL_RGB, resolution=32)


def test_names_the_image_without_label():
    path = golden.DATA_DIR / "datasets/dataset_small_missinglabel.zip"
    ImageFolderDataset(path).get_label(0)
    dataset = ImageFolderDataset(path, use_labels=True)
    with pytest.raises(ValueError, match=r"no label for .*\.png \(1 of"):
        dataset.get_label(0)


def test_names_the_image_of_another_size():
    dataset = ImageFolderDataset(golden.DATA_DIR / "datasets/dataset_small_mixedsize.zip")
    dataset[0]
    with pytest.raises(ValueError, match=r"\.png is 16x16 .* 8x8 .* --resolution"):
        dataset[1]


def test_images_that_are_not_square_have_no_resolution():
    dataset = ImageFolderDataset(golden.DATA_DIR / "datasets/dataset_small_nonsquare.zip")
    dataset[0]
    with pytest.raises(ValueError, match="must be square"):
        _ = dataset.resolution


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_names_the_damaged_image(tmp_path, compression):
    pixels = np.random.RandomState(0).randint(256, size=[2, 16, 16, 3]).astype(np.uint8)
    pngs = [make_png(image) for image in pixels]
    path = make_zip(tmp_path / "x.zip", {"a.png": pngs[0], "b.png": pngs[1]}, compression)
    data = bytearray(path.read_bytes())
    data[len(data) * 3 // 4] ^= 255  # inside b.png
    path.write_bytes(data)
    dataset = ImageFolderDataset(path)
    dataset[0]
    with pytest.raises(OSError, match=r"b\.png cannot be read .*damaged"):
        dataset[1]

    truncated = make_zip(tmp_path / "y.zip", {"a.png": pngs[0], "b.png": pngs[1][:300]})
    with pytest.raises(OSError, match=r"b\.png cannot be read"):
        ImageFolderDataset(truncated)[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"labels": [["000.png"]]}', "expected"),
        ("[1]", "expected"),
        ("{", "expected"),
        ('{"labels": [["000.png", -1], ["001.png", 0]]}', "class numbers"),
        ('{"labels": [["000.png", "cat"], ["001.png", "dog"]]}', "class numbers"),
        ('{"labels": [["000.png", 0.5], ["001.png", 1.5]]}', "class numbers"),
        ('{"labels": [["000.png", [0, NaN]], ["001.png", [0, 1]]]}', "finite"),
        ('{"labels": [["000.png", [0, 1]], ["001.png", [0]]]}', "lists of the same length"),
    ],
)
def test_refuses_malformed_labels(text, message, tmp_path):
    png = make_png(np.zeros([4, 4, 3], np.uint8))
    files = {"000.png": png, "001.png": png, "dataset.json": text.encode()}
    dataset = ImageFolderDataset(make_zip(tmp_path / "x.zip", files), use_labels=True)
    with pytest.raises(ValueError, match=message):
        _ = dataset.label_shape


def labelled(path, labels: list, images=("000.png", "001.png"), name="dataset.json"):
    png = make_png(np.zeros([8, 8, 3], np.uint8))
    files = dict.fromkeys(images, png) | {name: json.dumps({"labels": labels}).encode()}
    return ImageFolderDataset(make_zip(path, files), use_labels=True)


@pytest.mark.parametrize(
    "names",
    [
        pytest.param([".\\x\\000.png", ".\\x\\001.png"], id="backslashes"),
        pytest.param(["x/000.jpg", "x/001.jpeg"], id="suffix"),
        pytest.param(["000.png", "001.png"], id="folder less"),
        pytest.param(["y/x/000.png", "y/x/001.png"], id="folder more"),
    ],
)
def test_labels_in_other_spellings_are_understood_and_noted(names, tmp_path):
    images = ["x/000.png", "x/001.png"]
    dataset = labelled(tmp_path / "x.zip", [[names[1], 4], [names[0], 2]], images)
    assert [dataset.get_details(i).raw_label for i in range(2)] == [2, 4]
    assert dataset.label_dim == 5 and dataset.has_onehot_labels
    (note,) = dataset.label_notes()
    assert "x.zip/dataset.json: 2 names matched after" in note and names[0] in note
    copy = pickle.loads(pickle.dumps(dataset))  # as in a loading process
    np.testing.assert_array_equal(copy.get_label(1), [0, 0, 0, 0, 1])


def test_labels_of_other_images_are_noted_or_named(tmp_path):
    dataset = labelled(tmp_path / "x.zip", [["000.png", 1], ["001.png", 0], ["ghost.png", 9]])
    assert dataset.label_dim == 2
    assert "1 of its labels name no image, such as ghost.png" in dataset.label_notes()[0]
    dataset = labelled(tmp_path / "y.zip", [["000.png", 1], ["ghost.png", 0]])
    message = (
        r"no label for 001\.png \(1 of 2 images have none; ghost\.png has one, but is no image"
    )
    with pytest.raises(ValueError, match=message):
        dataset.label_notes()
    assert labelled(tmp_path / "z.zip", [["000.png", 1], ["001.png", 0]]).label_notes() == []
    assert ImageFolderDataset(tmp_path / "x.zip").label_notes() == []  # nothing was read
    assert "--cond=1" in ImageFolderDataset(tmp_path / "y.zip").describe_unused_labels()


def test_labels_that_could_be_those_of_two_images_are_refused(tmp_path):
    dataset = labelled(
        tmp_path / "x.zip", [["a.jpg", 1], ["b.png", 0]], ["a.png", "a.gif", "b.png"]
    )
    with pytest.raises(ValueError, match=r"a\.jpg could be a\.gif or a\.png"):
        _ = dataset.label_dim
    dataset = labelled(tmp_path / "y.zip", [["a.png", 1], ["./a.png", 0]], ["a.png"])
    with pytest.raises(ValueError, match=r"a\.png and \./a\.png both name the image a\.png"):
        _ = dataset.label_dim


def test_a_list_of_labels_below_the_top_is_named_not_read(tmp_path):
    """As in published programs; but with a word."""
    labels = [["000.png", 1], ["001.png", 0]]
    dataset = labelled(tmp_path / "x.zip", labels, ["x/000.png", "x/001.png"], "x/dataset.json")
    assert not dataset.has_labels
    (note,) = dataset.label_notes()
    assert "labels are read from a dataset.json at the top, which x/dataset.json is not" in note
    assert "dataset_tool.py" in note


@pytest.mark.parametrize(
    "label", [2 * 10**9, 10**30, 10**400, 2**20], ids=["2e9", "1e30", "1e400", ""]
)
def test_labels_without_measure_are_refused_before_memory_is_taken(label, tmp_path):
    for value in (label, [0.5, label]):
        if value == [0.5, label] and label < 2**128:
            continue  # fits into float32
        dataset = labelled(tmp_path / "x.zip", [["000.png", 0], ["001.png", value]])
        with pytest.raises(ValueError, match=r"dataset\.json: the label of 001\.png is "):
            _ = dataset.label_shape


def test_names_of_images_in_messages_are_printable(tmp_path):
    png, name = make_png(np.zeros([8, 8, 3], np.uint8)), "a\x1b[31m\n.png"
    shown = r"a\\x1b\[31m\\n\.png"
    path = make_zip(tmp_path / "x.zip", {"0.png": png, name: png[:30]})
    with pytest.raises(OSError, match=f"{shown} cannot be read ") as info:
        ImageFolderDataset(path)[1]
    assert "\x1b" not in str(info.value) and "\n" not in str(info.value)
    small = make_png(np.zeros([4, 4, 3], np.uint8))
    path = make_zip(tmp_path / "y.zip", {"0.png": png, name: small, "dataset.json": b"{}"})
    with pytest.raises(ValueError, match=f"{shown} is 4x4"):
        ImageFolderDataset(path).check_images()
    with pytest.raises(OSError, match=f"{shown} is 4x4, but resolution 8"):
        ImageFolderDataset(make_zip(tmp_path / "z.zip", {name: small}), resolution=8)
    labels = json.dumps({"labels": [["0.png", 0]]}).encode()
    path = make_zip(tmp_path / "v.zip", {"0.png": png, name: png, "dataset.json": labels})
    with pytest.raises(ValueError, match="no label for ") as info:
        _ = ImageFolderDataset(path, use_labels=True).label_dim
    assert "\x1b" not in info.value.args[0] and r"a\x1b[31m\n.png" in info.value.args[0]


def test_items_are_copies(tmp_path):
    dataset = ImageFolderDataset(SMALL_RGB, use_labels=True)
    image, label = dataset[0]
    image[:], label[:] = 0, 7
    dataset.get_details(0).raw_label += 1
    again, label_again = dataset[0]
    assert again.any() and label_again.sum() == 1
    dataset.image_shape[0] = 9
    assert dataset.num_channels == 3


def test_grey_images_and_names_without_zip_extension_in_lower_case(tmp_path):
    path = make_zip(tmp_path / "My.Set.ZIP", {"a.png": make_png(np.zeros([4, 4], np.uint8))})
    dataset = ImageFolderDataset(path)
    assert dataset.image_shape == [1, 4, 4] and dataset.name == "My.Set"


def test_pickle_drops_handle_and_labels():
    dataset = ImageFolderDataset(SMALL_RGB, use_labels=True, xflip=True)
    before = dataset[3]
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy._archive._file is None and copy._raw_labels is None
    assert dataset._archive._file is not None
    for a, b in zip(before, copy[3], strict=True):
        np.testing.assert_array_equal(a, b)
    dataset.close()
    np.testing.assert_array_equal(dataset[3][0], before[0])


def read_many(dataset, seed, failures):
    rng = random.Random(seed)
    for _ in range(400):
        idx = rng.randrange(len(dataset))
        if not (dataset[idx][0] == idx).all():
            failures.put(idx)


def test_forked_processes_and_their_parent_read_at_once(tmp_path):
    dataset = make_dataset(tmp_path / "x.zip", num_images=60)
    dataset[0]  # opens the handle that children must not share
    context = multiprocessing.get_context("fork")
    failures = context.Queue()
    children = [
        context.Process(target=read_many, args=(dataset, seed, failures)) for seed in range(4)
    ]
    for child in children:
        child.start()
    read_many(dataset, 99, failures)
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert failures.empty()


def test_data_loader_with_workers(tmp_path):
    dataset = make_dataset(tmp_path / "x.zip", num_images=40)
    dataset[0]
    loader = torch.utils.data.DataLoader(dataset, batch_size=8, num_workers=2)
    images = torch.cat([images for images, _ in loader])
    np.testing.assert_array_equal(images[:, 0, 0, 0], np.arange(40))


def test_folder_and_zip_agree(tmp_path):
    folder = tmp_path / "folder"
    zipfile.ZipFile(SMALL_RGB).extractall(folder)
    (folder / ".png").write_bytes(b"no extension, so no image")
    from_zip = ImageFolderDataset(SMALL_RGB, use_labels=True)
    from_folder = ImageFolderDataset(folder, use_labels=True)
    assert len(from_zip) == len(from_folder)
    for a, b in zip(from_zip, from_folder, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])


def test_large_archives_open_once(tmp_path, monkeypatch):
    """The index is parsed once, not by every worker."""
    dataset = make_dataset(tmp_path / "x.zip")

    def refuse(*args):
        raise AssertionError("the index was parsed again")

    monkeypatch.setattr(zipfile, "ZipFile", refuse)
    assert (pickle.loads(pickle.dumps(dataset))[7][0] == 7).all()


def test_subclass_needs_only_two_methods():
    class Ramp(Dataset):
        def _load_raw_image(self, raw_idx):
            return np.full([1, 2, 2], raw_idx, dtype=np.uint8)

        def _load_raw_labels(self):
            return np.arange(5, dtype=np.int64) % 3

    dataset = Ramp("ramp", [5, 1, 2, 2], use_labels=True)
    assert dataset.label_dim == 3 and dataset.has_onehot_labels
    assert json.dumps(dataset.get_label(4).tolist()) == "[0.0, 1.0, 0.0]"
    assert dataset.name_of(4) == "image 4"


def test_images_are_named_by_their_files_however_they_are_chosen(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("a/1.png", "a/2.png", "b.png"):
        (tmp_path / name).write_bytes(make_png(np.zeros([8, 8, 3], np.uint8)))
    dataset = ImageFolderDataset(tmp_path, xflip=True)
    names = ["a/1.png", "a/2.png", "b.png"]
    assert [dataset.name_of(idx) for idx in range(6)] == names * 2
    dataset = ImageFolderDataset(tmp_path, max_size=2)
    assert [dataset.name_of(i) for i in range(2)] == [
        names[dataset.get_details(i).raw_idx] for i in range(2)
    ]


def test_refuses_encrypted_and_exotic_archives(tmp_path):
    path = make_zip(tmp_path / "x.zip", {"a.png": b"x" * 100}, zipfile.ZIP_BZIP2)
    with pytest.raises(OSError, match=r"x\.zip: 'a\.png' uses an unusual compression method"):
        ImageFolderDataset(path)
    make_zip(path, {"a.png": b"x"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match=r"'a\.png' is encrypted"):
        ImageFolderDataset(path)


@pytest.mark.parametrize("text", ["{", '{"labels": [["a.png", -1]]}', "[1]"])
def test_labels_that_nobody_asked_for_may_be_malformed_but_not_unsaid(text, tmp_path):
    (tmp_path / "a.png").write_bytes(make_png(np.zeros([8, 8, 3], np.uint8)))
    (tmp_path / "dataset.json").write_text(text)
    assert "this run ignores them" in ImageFolderDataset(tmp_path).describe_unused_labels()
    (tmp_path / "dataset.json").write_text('{"labels": null}')
    assert ImageFolderDataset(tmp_path).describe_unused_labels() is None


def test_archives_with_backslashes_have_folders(tmp_path):
    """As some programs for Windows write them."""
    png = make_png(np.zeros([8, 8, 3], np.uint8))
    files = {"cat\\1.png": png, "dog\\2.png": png, "__MACOSX\\._1.png": b"", ".git\\a.png": png}
    dataset = ImageFolderDataset(make_zip(tmp_path / "x.zip", files))
    assert dataset._image_fnames == ["cat/1.png", "dog/2.png"]
    assert dataset.left_out.startswith("2 hidden or left behind by other programs")
    mixed = ImageFolderDataset(make_zip(tmp_path / "y.zip", {"a/1.png": png, "b\\2.png": png}))
    assert mixed._image_fnames == ["a/1.png", "b\\2.png"]  # a name of Linux


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_labels_are_not_waited_for(tmp_path):
    (tmp_path / "a.png").write_bytes(make_png(np.zeros([8, 8, 3], np.uint8)))
    os.mkfifo(tmp_path / "dataset.json")
    assert "cannot be used" in ImageFolderDataset(tmp_path).describe_unused_labels()
    with pytest.raises(ValueError, match=r"dataset\.json is no file but a pipe, device or folder$"):
        _ = ImageFolderDataset(tmp_path, use_labels=True).label_dim


@pytest.mark.parametrize(("encoding", "is_flagged"), [("utf-8", 1), ("utf-8", 0), ("cp437", 0)])
def test_names_in_zips_are_read_in_the_encoding_that_they_have(encoding, is_flagged, tmp_path):
    """macOS writes UTF-8 without the flag for it, Windows cp437."""
    image = make_png(np.zeros([8, 8, 3], np.uint8))
    name = "kätze/1.png".encode(encoding)
    stand_in = b"_" * len(name)
    path = make_zip(tmp_path / "a.zip", {stand_in.decode(): image})
    data = bytearray(path.read_bytes().replace(stand_in, name))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        struct.pack_into("<H", data, data.index(signature) + offset, is_flagged << 11)
    path.write_bytes(data)
    assert ZipArchive(path).names == ["kätze/1.png"]


def test_one_class_of_a_dataset_keeps_order_and_size_of_labels(tmp_path):
    labels = [2, 0, 2, 5, 0, 2]
    entries = [[f"{idx}.png", label] for idx, label in enumerate(labels)]
    for idx in range(6):
        PIL.Image.fromarray(np.full([8, 8], idx, np.uint8)).save(tmp_path / f"{idx}.png")
    metadata = {"labels": entries, "class_names": ["a", "b", "c", "d", "e", "f"]}
    (tmp_path / "dataset.json").write_text(json.dumps(metadata))

    def values(**kwargs) -> list[int]:
        dataset = ImageFolderDataset(tmp_path, use_labels=True, **kwargs)
        assert dataset.label_dim == 6 and dataset.class_names() == metadata["class_names"]
        return [int(img.flat[0]) for img, _ in dataset]

    assert values() == list(range(6))
    assert values(class_idx=2) == [0, 2, 5]
    assert values(class_idx=2, xflip=True) == [0, 2, 5] * 2
    chosen = values(class_idx=2, max_size=2)
    assert len(chosen) == 2 and set(chosen) < {0, 2, 5}
    dataset = ImageFolderDataset(tmp_path, use_labels=True)
    assert dataset.class_sizes() == {0: 2, 2: 3, 5: 1}
    whole = dataset.fingerprint()
    assert ImageFolderDataset(tmp_path, use_labels=True, class_idx=2).fingerprint() == whole
    with pytest.raises(ValueError, match="no image is of class 1"):
        values(class_idx=1)
    with pytest.raises(ValueError, match="there are no labels, and so no classes"):
        ImageFolderDataset(tmp_path, class_idx=2)
