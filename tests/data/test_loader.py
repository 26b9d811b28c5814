"""Batches, memory that loading processes share, the cache, files without compression."""

import io
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import zipfile

import numpy as np
import PIL.Image
import psutil
import pyspng
import pytest
import torch
from torch.utils.data._utils import signal_handling

from data import decoding, image_cache, plain_png
from data.dataset import ImageFolderDataset
from data.image_cache import ImageCache
from data.loader import BatchLoader, LoaderDiedError, LoadingError
from data.zip_archive import ZipArchive
from tests.data.test_dataset import make_dataset, make_png, make_zip

SHAPES = {"grey": (5, 7), "RGB": (8, 8, 3), "wide": (1, 300, 3), "tall": (99, 1), "one": (1, 1, 3)}


def random_image(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randint(256, size=shape).astype(np.uint8)


@pytest.fixture
def photos(tmp_path) -> ImageFolderDataset:
    """Twenty different labelled images."""
    files = {f"{i:02d}.png": make_png(random_image(8, 8, 3, seed=i)) for i in range(20)}
    labels = [[name, i % 3] for i, name in enumerate(files)]
    files["dataset.json"] = json.dumps({"labels": labels}).encode()
    return ImageFolderDataset(make_zip(tmp_path / "p.zip", files), use_labels=True, xflip=True)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_plain_png_is_what_others_read(shape):
    pixels = random_image(*shape)
    data = plain_png.encode(pixels)
    image = PIL.Image.open(io.BytesIO(data))
    np.testing.assert_array_equal(np.array(image), pixels)
    np.testing.assert_array_equal(pyspng.load(data).reshape(shape), pixels)
    found = plain_png.find_pixels(data)
    np.testing.assert_array_equal(found.reshape(shape), pixels)
    assert found.ndim == 3 and not image.info
    PIL.Image.open(io.BytesIO(data)).verify()  # checksums


def test_plain_png_takes_views():
    pixels = random_image(8, 8, 3)
    assert plain_png.encode(pixels[::-1, ::2]) == plain_png.encode(pixels[::-1, ::2].copy())
    with pytest.raises(ValueError, match="too long"):
        plain_png.encode(np.zeros([1, 30000, 3], np.uint8))


def test_only_plain_pngs_pass_for_such():
    pixels = random_image(8, 8, 3)
    data = plain_png.encode(pixels)
    for compression in (0, 6):
        file = io.BytesIO()
        PIL.Image.fromarray(pixels).save(file, "png", compress_level=compression)
        assert plain_png.find_pixels(file.getvalue()) is None
    for other in (b"", data[:-1], data + b"x", data[:50], b"\xff" * len(data)):
        assert plain_png.find_pixels(other) is None
    stride = 6 + 8 * 3
    for at in [0, 8, 17, 24, 25, 28, 34, 41, *(43 + 3 * stride + i for i in range(6))]:
        changed = bytearray(data)
        changed[at] ^= 1
        assert plain_png.find_pixels(bytes(changed)) is None, at


def test_damaged_plain_pngs_are_noticed_when_first_read(tmp_path):
    pngs = [plain_png.encode(random_image(16, 16, 3, seed=i)) for i in range(2)]
    path = make_zip(tmp_path / "x.zip", {"a.png": pngs[0], "b.png": pngs[1]})
    data = bytearray(path.read_bytes())
    data[data.rindex(b"IDAT") + 99] ^= 255
    path.write_bytes(data)
    with pytest.raises(OSError, match=r"b\.png cannot be read .*damaged"):
        ImageFolderDataset(path)[1]


@pytest.mark.parametrize("is_plain", [True, False])
def test_pngs_that_were_damaged_before_they_were_archived_are_noticed(is_plain, tmp_path):
    pixels = random_image(8, 8, 3)
    png = bytearray(plain_png.encode(pixels) if is_plain else make_png(pixels))
    png[png.rindex(b"IDAT") + 99] ^= 255
    path = make_zip(tmp_path / "x.zip", {"a.png": make_png(pixels), "b.png": bytes(png)})
    with pytest.raises(OSError, match=r"b\.png cannot be read .*damaged"):
        ImageFolderDataset(path)[1]


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_batches_are_the_items_in_order(num_workers, photos):
    order = np.random.RandomState(0).randint(len(photos), size=150).tolist()
    batches = BatchLoader(photos, order, 8, num_workers)
    for start in range(0, 150, 8):
        images, labels = next(batches)
        expected = [photos[i] for i in order[start : start + 8]]
        assert images.dtype == torch.uint8 and labels.dtype == torch.float32
        np.testing.assert_array_equal(images.numpy(), np.stack([image for image, _ in expected]))
        np.testing.assert_array_equal(labels.numpy(), np.stack([label for _, label in expected]))
    assert len(images) == 150 % 8
    with pytest.raises(StopIteration):
        next(batches)


class Doubled(ImageFolderDataset):
    """A program's own dataset, whose items are not those of `load_into`."""

    def __getitem__(self, idx: int) -> tuple[np.ndarray, np.ndarray]:
        image, label = super().__getitem__(idx)
        return image // 2 * 2, label * 2


class Published(torch.utils.data.Dataset):
    """A dataset like the published one, which has no `load_into`."""

    image_shape, label_dim = [3, 8, 8], 2

    def __len__(self) -> int:
        return 5

    def __getitem__(self, idx: int) -> tuple[np.ndarray, np.ndarray]:
        return np.full(self.image_shape, idx, np.uint8), np.full(2, idx, np.float32)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_items_of_other_datasets_are_respected(num_workers, photos, tmp_path):
    for dataset in (Doubled(tmp_path / "p.zip", use_labels=True), Published()):
        loader = BatchLoader(dataset, range(5), 5, num_workers)
        images, labels = next(loader)
        for idx in range(5):
            image, label = dataset[idx]
            np.testing.assert_array_equal(images[idx].numpy(), image)
            np.testing.assert_array_equal(labels[idx].numpy(), label)
        loader.close()


def test_a_batch_stays_until_the_next_is_asked_for(tmp_path):
    dataset = make_dataset(tmp_path / "x.zip", num_images=60)
    batches = BatchLoader(dataset, range(60), 5, num_workers=2, prefetch_factor=3)
    for i in range(12):
        images, labels = next(batches)
        if i == 3:  # all that may be read ahead is read
            multiprocessing.Event().wait(0.5)
        np.testing.assert_array_equal(images[:, 0, 0, 0], np.arange(5 * i, 5 * i + 5))
        assert labels.shape == (5, 0)


def test_errors_of_loading_processes_arrive(tmp_path):
    files = {"a.png": make_png(random_image(8, 8, 3)), "b.png": b"x"}
    dataset = ImageFolderDataset(make_zip(tmp_path / "x.zip", files))
    for num_workers in (0, 1):
        batches = BatchLoader(dataset, [0, 1], 1, num_workers, content="photos")
        assert len(next(batches)[0]) == 1
        with pytest.raises(LoadingError) as info:
            next(batches)
        text = str(info.value)
        assert text.startswith("loading photos failed: ") and "b.png cannot be read" in text
        assert "\n" not in text


def test_bugs_keep_their_type(photos, monkeypatch):
    monkeypatch.setattr(ImageFolderDataset, "load_into", lambda *args: 1 / 0)
    for num_workers in (0, 1):
        with pytest.raises(ZeroDivisionError):
            next(BatchLoader(photos, range(20), 4, num_workers))


def test_death_of_a_process_is_told_from_an_error(photos):
    batches = BatchLoader(photos, range(20), 4, num_workers=1)
    os.kill(batches.worker_pids[0], signal.SIGKILL)
    with pytest.raises(LoaderDiedError, match="a process that loads images has died"):
        list(batches)


def test_end_beside_other_loaders_of_the_program(photos, monkeypatch):
    """PyTorch's handler, which they set, takes no process that is ended for one that failed."""
    monkeypatch.setattr(signal_handling, "_SIGCHLD_handler_set", False)
    handler = signal.getsignal(signal.SIGCHLD)
    try:
        others = iter(torch.utils.data.DataLoader(range(20), batch_size=None, num_workers=1))
        next(others)
        assert signal.getsignal(signal.SIGCHLD) is not handler
        batches = BatchLoader(photos, range(20), 4, num_workers=2)
        pids = batches.worker_pids
        batches.close()
        assert len(pids) == 2 and not any(psutil.pid_exists(pid) for pid in pids)
        assert len(list(others)) == 19
    finally:
        signal.signal(signal.SIGCHLD, handler)


def test_batches_do_not_need_dev_shm(photos):
    """Containers limit it to 64 MB: what is shared is memory like any other."""
    batches = BatchLoader(photos, range(20), 4, num_workers=1)
    next(batches)
    with open("/proc/self/maps") as maps:
        assert "/dev/shm/torch" not in maps.read()


@pytest.mark.slow
def test_spawned_processes_load_too(tmp_path):
    """As on Windows and macOS."""
    path = make_dataset(tmp_path / "x.zip")._path
    code = f"""
import multiprocessing
from data.dataset import ImageFolderDataset
from data.loader import BatchLoader
if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    dataset = ImageFolderDataset({str(path)!r}, cache="ram")
    for i, (images, _) in enumerate(BatchLoader(dataset, range(20), 4, num_workers=1)):
        assert images[:, 0, 0, 0].tolist() == list(range(4 * i, 4 * i + 4))
    print("done")
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    result = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, check=False
    )
    assert result.stdout == "done\n", result.stderr


def test_cache_reads_every_file_once_in_all_processes(photos, monkeypatch):
    photos = ImageFolderDataset(photos._path, use_labels=True, xflip=True, cache="ram")
    expected = [photos[i] for i in range(len(photos))]

    def refuse(*args, **options):
        raise AssertionError("decoded again")

    monkeypatch.setattr(decoding, "decode", refuse)
    for num_workers in (0, 2):
        images = [
            image
            for batch, _ in BatchLoader(photos, range(40), 7, num_workers)
            for image in batch.clone()
        ]
        np.testing.assert_array_equal(np.stack(images), np.stack([image for image, _ in expected]))


def test_cache_is_filled_by_forked_processes(photos):
    dataset = ImageFolderDataset(photos._path, cache="ram")
    list(BatchLoader(dataset, range(20), 4, num_workers=2))
    assert all(dataset._cache.get(i) is not None for i in range(20))
    assert pickle.loads(pickle.dumps(dataset))._cache is None
    dataset[3][0][:] = 0  # a copy
    assert dataset[3][0].any()


def test_cache_modes():
    free = image_cache.free_bytes()
    assert image_cache.choose("auto", 10) == "ram" == image_cache.choose("ram", 10)
    assert image_cache.choose("auto", int(0.9 * free)) == "none" == image_cache.choose("none", 10)
    assert image_cache.choose("auto", free // 16, num_processes=16) == "none"
    with pytest.raises(MemoryError, match="GB of memory are free"):
        image_cache.choose("ram", 2 * free)
    with pytest.raises(ValueError, match="choose none, ram or auto"):
        image_cache.choose("disk", 1)


def test_cache_takes_memory_only_for_what_is_in_it():
    cache = ImageCache([10**6, 3, 256, 256])  # 200 GB
    assert cache.get(999_999) is None
    cache.put(999_999, random_image(3, 256, 256))
    np.testing.assert_array_equal(cache.get(999_999), random_image(3, 256, 256))


def test_labels_are_drawn_without_images(photos, monkeypatch):
    monkeypatch.setattr(ImageFolderDataset, "_load_raw_image", lambda *args: 1 / 0)
    assert [photos.get_label(i).argmax() for i in (0, 1, 22)] == [0, 1, 2]


def test_large_zip_opens_fast_and_travels_light(tmp_path):
    path = tmp_path / "large.zip"
    tiny = plain_png.encode(np.zeros([1, 1, 3], np.uint8))
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(20_000):
            archive.writestr(zipfile.ZipInfo(f"{i // 1000:05d}/img{i:08d}.png"), tiny)
    start = os.times().user
    dataset = ImageFolderDataset(path)
    assert os.times().user - start < 1
    assert len(dataset) == 20_000
    assert len(pickle.dumps(dataset)) < 100 * 20_000


def test_index_agrees_with_pythons(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = b"a comment"
        for i in range(50):
            info = zipfile.ZipInfo(f"{i}-ä.txt" if i % 2 else f"{i}.txt")
            info.extra, info.comment = b"\x99\x99\x03\x00abc", b"remark"
            info.compress_type = zipfile.ZIP_DEFLATED if i % 3 else zipfile.ZIP_STORED
            archive.writestr(info, os.urandom(i) * 3)
    ours = ZipArchive(path)
    with zipfile.ZipFile(path) as theirs:
        assert ours.names == theirs.namelist()
        for name in ours.names:
            assert ours.read(name) == theirs.read(name)


def test_comments_may_hold_anything(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = b"PK\x05\x06 is how the last record starts" * 2
        archive.writestr("a", b"text")
    assert ZipArchive(path).read("a") == b"text"
