"""Datasets in their true binary formats, with contents of our own."""

import gzip
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import PIL.Image


def random_pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randint(256, size=shape).astype(np.uint8)


def image_file(pixels: np.ndarray, kind: str = "png", **options) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def python2_batch(pixels: np.ndarray, labels: list[int], number: int = 1) -> bytes:
    """A batch of CIFAR-10 as cPickle of Python 2 wrote it: protocol 2, texts of bytes.

    Opcodes: pickletools.py of Python's library.
    """

    def short(text: bytes) -> bytes:
        return b"U" + bytes([len(text)]) + text  # SHORT_BINSTRING

    def integer(number: int) -> bytes:
        return b"K" + bytes([number]) if number < 256 else b"M" + struct.pack("<H", number)

    dtype = b"cnumpy\ndtype\n" + short(b"u1") + b"K\x00K\x01\x87R"
    dtype += b"(K\x03" + short(b"|") + b"NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\x00tb"
    data = pixels.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + short(b"b")
    array += b"\x87R(K\x01" + integer(pixels.shape[0]) + integer(pixels.shape[1]) + b"\x86"
    array += dtype + b"\x89" + b"T" + struct.pack("<i", len(data)) + data + b"tb"
    text = f"training batch {number} of 5".encode()
    names = b"](" + b"".join(short(f"img_{i}.png".encode()) for i in range(len(labels))) + b"e"
    return (
        b"\x80\x02}(" + short(b"batch_label") + short(text)
        + short(b"labels") + b"](" + b"".join(map(integer, labels)) + b"e"
        + short(b"data") + array + short(b"filenames") + names + b"u."
    )  # fmt: skip


def write_cifar(path: Path, batches: dict[str, bytes]) -> Path:
    """The archive, in an order of members that is not that of the batches."""
    with tarfile.open(path, "w:gz") as archive:
        folder = tarfile.TarInfo("cifar-10-batches-py")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in reversed(
            [*batches.items(), ("readme.html", b"<p>"), ("test_batch", b"")]
        ):
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def cifar(folder: Path, per_batch: int = 3) -> tuple[Path, np.ndarray, list[int]]:
    """The archive, its images `[N, 32, 32, 3]`, its labels."""
    pixels = random_pixels(5, per_batch, 3, 32, 32)
    labels = [(3 * i) % 10 for i in range(5 * per_batch)]
    batches = {
        f"data_batch_{i + 1}": python2_batch(
            pixels[i].reshape(per_batch, -1), labels[i * per_batch : (i + 1) * per_batch], i + 1
        )
        for i in range(5)
    }
    path = write_cifar(folder / "cifar-10-python.tar.gz", batches)
    return path, pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


def idx(data: np.ndarray) -> bytes:
    """The format of MNIST: bytes (0x08), number of axes, big-endian sizes."""
    return struct.pack(f">HBB{data.ndim}I", 0, 8, data.ndim, *data.shape) + data.tobytes()


def mnist(folder: Path, count: int = 12, prefix: str = "train") -> tuple[Path, np.ndarray, list]:
    images, labels = random_pixels(count, 28, 28), (np.arange(count) * 7 % 10).astype(np.uint8)
    path = folder / f"{prefix}-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx(images)))
    (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    return path, images, labels.tolist()


def lsun(folder: Path, values: dict[bytes, bytes]) -> Path:
    import lmdb

    path = folder / "church_outdoor_train_lmdb"
    with lmdb.open(str(path), map_size=2**24) as environment, environment.begin(write=True) as txn:
        for key, value in values.items():
            txn.put(key, value)
    (path / "lock.mdb").unlink()
    return path


class Evil:
    """Runs something where pickles are loaded without care."""

    def __reduce__(self):
        return (open, ("hacked", "w"))


def evil_batch() -> bytes:
    return pickle.dumps({b"data": Evil(), b"labels": [0]}, protocol=2)
