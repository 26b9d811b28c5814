"""Odd and hostile inputs, each with the outcome that is expected of it.

Whatever comes, the tool ends in a dataset or in one line; it writes nothing else, calls no other
program, and never takes much memory or time for little input.
"""

import gzip
import io
import os
import resource
import struct
import tarfile
import time
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

import dataset_tool
from data.decoding import Picture
from tests.data.conversion.formats import image_file, lsun, random_pixels, write_cifar
from tests.test_dataset_tool import read_archive, run

RGB, GREY = random_pixels(16, 16, 3), random_pixels(16, 16)
PNG = image_file(RGB)
RGB_PICTURE = Picture(RGB)
JPEG = image_file(RGB, "jpeg")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of_size(width: int, height: int) -> bytes:
    """A header that announces a size, and a few bytes of pixels."""
    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(b"\0" * 99))


def converted(mode: str, kind: str = "png", **options) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(RGB).convert(mode).save(file, kind, **options)
    return file.getvalue()


def pixels_of(data: bytes, mode: str | None = None) -> np.ndarray:
    return np.array(PIL.Image.open(io.BytesIO(data)).convert(mode))


def invoke(*args: str) -> tuple[int, str]:
    """Exit code and output; fails on a traceback."""
    result = CliRunner().invoke(dataset_tool.main, [str(arg) for arg in args])
    assert isinstance(result.exception, (SystemExit, type(None))), result.exception
    return result.exit_code, result.output


def with_text(size: int) -> bytes:
    """A PNG with a compressed text of zeros that unpacks to `size` bytes."""
    text = b"Comment\0\0" + zlib.compress(b"0" * size, 9)
    return PNG[:33] + chunk(b"zTXt", text) + PNG[33:]


def gif_of(num_frames: int) -> bytes:
    frames = [PIL.Image.fromarray(np.full([16, 16], 9 * i, np.uint8)) for i in range(num_frames)]
    file = io.BytesIO()
    frames[0].save(file, "gif", save_all=True, append_images=frames[1:])
    return file.getvalue()


def rotated(orientation: int) -> bytes:
    exif = PIL.Image.Exif()
    exif[274] = orientation
    return image_file(RGB, "png", exif=exif)


def grey16(kind: str) -> bytes:
    return image_file((GREY.astype(np.uint16) * 257), kind)


EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 16 16
%%EndComments
(%pipe%touch hacked) (w) file
"""
IMAGES = {
    # name: file name, content, and the pixels expected or a part of the message
    "plain RGB": ("a.png", PNG, RGB),
    "grey": ("a.png", image_file(GREY), GREY),
    "JPEG under another name": ("a.png", image_file(RGB, "jpeg", quality=100), "pixels"),
    "PNG named like a JPEG": ("a.jpg", PNG, RGB),
    "capital extension": ("A.PNG", PNG, RGB),
    "BMP": ("a.bmp", image_file(RGB, "bmp"), RGB),
    "WebP": ("a.webp", image_file(RGB, "webp", lossless=True), RGB),
    "TIFF, big-endian 16-bit grey": ("a.tif", grey16("tiff"), GREY),
    "16-bit grey": ("a.png", grey16("png"), GREY),
    "1-bit": ("a.png", converted("1"), pixels_of(converted("1")).astype(np.uint8) * 255),
    "palette": ("a.png", converted("P"), pixels_of(converted("P"), "RGB")),
    "opaque alpha": ("a.png", converted("RGBA"), RGB),
    "animated: the first picture": ("a.gif", gif_of(3), np.zeros([16, 16, 3], np.uint8)),
    "upside down by EXIF": ("a.png", rotated(3), RGB[::-1, ::-1]),
    "turned by EXIF": ("a.png", rotated(6), np.rot90(RGB, -1)),
    "mirrored by EXIF": ("a.png", rotated(2), RGB[:, ::-1]),
    "EXIF that makes no sense": ("a.png", rotated(77), RGB),
    "colour profile that is none": ("a.png", image_file(RGB, "png", icc_profile=b"x" * 99), RGB),
    "something after the end": ("a.png", PNG + b"<script>" * 100, RGB),
    "transparent": ("a.png", image_file(random_pixels(16, 16, 4)), "partly transparent"),
    "transparent grey": ("a.png", image_file(random_pixels(16, 16, 2)), "partly transparent"),
    "CMYK": ("a.jpg", converted("CMYK", "jpeg"), "has CMYK pixels"),
    "floating point": ("a.tif", image_file(np.zeros([16, 16], np.float32), "tiff"), "has F pixels"),
    "32-bit integers": ("a.tif", image_file(np.zeros([16, 16], np.int32), "tiff"), "has I pixels"),
    "LAB": ("a.tif", converted("LAB", "tiff"), "has LAB pixels"),
    "empty file": ("a.png", b"", "not an image"),
    "text": ("a.png", b"hello" * 100, "not an image"),
    "signature only": ("a.png", PNG[:8], "cannot be read"),
    "header only": ("a.png", PNG[:33], "cannot be read"),
    "truncated": ("a.png", PNG[:400], "cannot be read"),
    "truncated JPEG": ("a.jpg", JPEG[: len(JPEG) // 2], "cannot be read"),
    "damaged pixels": ("a.png", PNG[:200] + bytes(50) + PNG[250:], "cannot be read"),
    "no pixels wide": ("a.png", png_of_size(0, 16), "cannot be read"),
    "bomb: 50000x50000": ("a.png", png_of_size(50000, 50000), "too many pixels"),
    "bomb: 2^31 - 1 squared": ("a.png", png_of_size(2**31 - 1, 2**31 - 1), "too many pixels"),
    "bomb: fewer pixels than it says": ("a.png", png_of_size(8192, 8192), "cannot be read"),
    "bomb in a text": ("a.png", with_text(2**28), "cannot be read"),
    "EPS, a program": ("a.eps", EPS, "no image in the source (left out: 1 .eps)"),
    "SVG": ("a.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
    "HTML of an error page": ("a.jpg", b"<html>404</html>", "not an image"),
    "not square": ("a.png", image_file(RGB[:, :8]), "must be square"),
    "no power of two": ("a.png", image_file(RGB[:12, :12]), "power of two"),
    "one pixel": ("a.png", image_file(RGB[:1, :1]), RGB[:1, :1]),
    "odd name": ("a b\u00e4\u0301\U0001f600.png", PNG, RGB),
    "name with a line break": ("a\nError: b.png", b"", r"a\nError: b.png cannot be read"),
    "name that is no text": (os.fsdecode(b"\xff\xfe.png"), b"", ".png cannot be read"),
    "name that looks like an option": ("--dest=x.png", PNG, RGB),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("case", IMAGES)
def test_images(case, kind, tmp_path, monkeypatch):
    name, data, expected = IMAGES[case]
    (tmp_path / "src").mkdir()
    if kind == "folder":
        (tmp_path / "src" / name).write_bytes(data)
    else:
        if not name.isprintable():
            pytest.skip("as in a folder")
        with zipfile.ZipFile(tmp_path / "src/src.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, data)
    monkeypatch.chdir(tmp_path)
    source = "src" if kind == "folder" else "src/src.zip"
    args = [f"--source={source}", "--dest=out.zip"]
    start = time.process_time()
    if isinstance(expected, str) and expected != "pixels":
        output = run(*args, exit_code=1)
        assert expected in output
        exit_code, output = invoke(*args, "--on-error=skip")
        assert exit_code == 1 and output.splitlines()[-1].endswith("nothing was written")
        assert os.listdir(tmp_path) == ["src"]
    else:
        run(*args)
        (pixels,) = read_archive(tmp_path / "out.zip").values()
        if not isinstance(expected, str):
            np.testing.assert_array_equal(pixels, expected)
        assert sorted(os.listdir(tmp_path)) == ["out.zip", "src"]
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 8 * 2**20  # KiB


def archive_of(**files: bytes) -> bytearray:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.png"), data)
    return bytearray(file.getvalue())


def patched(at: bytes, offset: int, value: bytes) -> bytes:
    """An archive of two images with some bytes after the last `at` replaced."""
    data = archive_of(a=PNG, b=PNG)
    start = data.rindex(at) + offset
    data[start : start + len(value)] = value
    return bytes(data)


def renamed(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.png", PNG)
        archive.writestr(zipfile.ZipInfo(name), PNG)
    return file.getvalue()


def deflated(*files: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two files of one name
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files:
                archive.writestr(name, data)
    return file.getvalue()


def lying() -> bytes:
    """A member of a megabyte that says it has a hundred bytes."""
    data = bytearray(deflated(("a.png", bytes(2**20))))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.index(signature) + offset
        data[at : at + 4] = struct.pack("<I", 100)
    return bytes(data)


CENTRAL, END = b"PK\x01\x02", b"PK\x05\x06"
ARCHIVES = {
    # name: content, and the number of images expected or a part of the message
    "two images": (bytes(archive_of(a=PNG, b=PNG)), 2),
    "a comment": (bytes(archive_of(a=PNG))[:-2] + b"\x05\x00hello", 1),
    "a program before it": (b"#!/bin/sh\n" * 10 + bytes(archive_of(a=PNG, b=PNG)), 2),
    "no files": (bytes(archive_of()), "no image in the source"),
    "two of one name: the last": (deflated(("a.png", b"x"), ("a.png", PNG)), 1),
    "folders named like images": (deflated(("d.png/", b""), ("d.png/a.png", PNG)), 1),
    "macOS's additions": (
        deflated(("a.png", PNG), ("__MACOSX/._a.png", b"x"), ("._b.png", b"")),
        1,
    ),
    "name in code page 437": (patched(CENTRAL, 46, b"\x81.png"), 2),
    "name cut by a zero": (deflated(("a.png", PNG), ("b.png\0.exe", PNG)), 2),
    "a path to the root": (renamed("/etc/a.png"), "points outside"),
    "a path upwards": (renamed("x/../../a.png"), "points outside"),
    "a drive": (renamed("C:/a.png"), "points outside"),
    "a network path": (renamed("\\\\host\\a.png"), "points outside"),
    "a path upwards, Windows": (renamed("..\\a.png"), "points outside"),
    "a text beside, with a path upwards": (renamed("../readme.txt"), "points outside"),
    "empty file": (b"", "no readable ZIP archive"),
    "text": (b"hello" * 1000, "no readable ZIP archive"),
    "without its end": (bytes(archive_of(a=PNG, b=PNG))[:-30], "no readable ZIP archive"),
    "without its beginning": (bytes(archive_of(a=PNG, b=PNG))[100:], "no readable ZIP archive"),
    "index somewhere else": (patched(END, 16, b"\xff\xff\xff\x7f"), "no readable ZIP archive"),
    "index larger than the file": (
        patched(END, 12, b"\xff\xff\xff\x7f"),
        "no readable ZIP archive",
    ),
    "index of another kind": (patched(CENTRAL, 0, b"XX"), "no readable ZIP archive"),
    "index with a name too long": (patched(CENTRAL, 28, b"\xff\xff"), "no readable ZIP archive"),
    "several volumes": (patched(END, 4, b"\x01\x00"), "several volumes"),
    "member behind the end": (patched(CENTRAL, 42, b"\xff\xff\xff\x7f"), "ends outside"),
    "member larger than the file": (patched(CENTRAL, 20, b"\xff\xff\xff\x7f"), "ends outside"),
    "64-bit size that is missing": (patched(CENTRAL, 20, b"\xff\xff\xff\xff"), "lacks the size"),
    "member of 2 GB, it says": (patched(CENTRAL, 24, b"\xff\xff\xff\x7f"), "no sensible image"),
    "member somewhere else": (patched(CENTRAL, 42, b"\x07\x00\x00\x00"), "damaged header"),
    "member with another checksum": (patched(CENTRAL, 16, b"xxxx"), "damaged"),
    "member that unpacks to more than it says": (lying(), "damaged"),
    "encrypted": (patched(CENTRAL, 8, b"\x01\x00"), "is encrypted"),
    "unusual compression": (patched(CENTRAL, 10, b"\x0c\x00"), "unusual compression"),
    "labels without end": (
        deflated(("a.png", PNG), ("dataset.json", b"[" * 100_000)),
        "dataset.json",
    ),
    "labels that are none": (deflated(("a.png", PNG), ("dataset.json", b"\xff")), "dataset.json"),
    "labels of others": (deflated(("a.png", PNG), ("dataset.json", b'{"x": 1}')), "dataset.json"),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_archives(case, tmp_path, monkeypatch):
    data, expected = ARCHIVES[case]
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a.zip").write_bytes(data)
    monkeypatch.chdir(tmp_path)
    args = ["--source=src/a.zip", "--dest=out.zip"]
    if isinstance(expected, str):
        assert expected in run(*args, exit_code=1)
        assert os.listdir(tmp_path) == ["src"]
    else:
        assert f"Wrote {expected} images" in run(*args)
        assert len(read_archive(tmp_path / "out.zip")) == expected
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 8 * 2**20  # KiB


@pytest.mark.parametrize("step", range(7))
def test_damaged_archives_end_in_one_line(step, tmp_path):
    """One byte of the index or of a header changed, at every seventh position."""
    data = archive_of(a=PNG)
    for at in range(len(PNG) + 35 + step, len(data), 7):
        damaged = bytearray(data)
        damaged[at] ^= 0xFF
        (tmp_path / "a.zip").write_bytes(damaged)
        dest = tmp_path / f"{at}.zip"
        exit_code, output = invoke(f"--source={tmp_path / 'a.zip'}", f"--dest={dest}")
        assert exit_code in (0, 1)
        assert exit_code == 0 or output.count("\n") == 1
        assert (exit_code == 0) == dest.exists()


def test_folders_with_more_than_files(tmp_path):
    source = tmp_path / "src"
    (source / "deep/er").mkdir(parents=True)
    (source / "deep/er/a.png").write_bytes(PNG)
    (source / "d.png").mkdir()
    (source / "notes.txt").write_text("x")
    (source / "loop").symlink_to(source)
    (source / "link.png").symlink_to("deep/er/a.png")
    output = run(f"--source={source}", f"--dest={tmp_path / 'o.zip'}")
    assert "Wrote 2 images" in output
    os.mkfifo(source / "pipe.png")
    (source / "broken.png").symlink_to("nowhere")
    args = [f"--source={source}", f"--dest={tmp_path / 'p.zip'}"]
    assert "broken.png cannot be read" in run(*args, exit_code=1)
    _, output = invoke(*args, "--on-error=skip")
    assert "pipe.png is no file but a pipe" in output and "Dropped: 2 unusable" in output


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
def test_folders_that_cannot_be_looked_into(tmp_path):
    (tmp_path / "src/secret").mkdir(parents=True, mode=0o000)
    output = run(f"--source={tmp_path / 'src'}", f"--dest={tmp_path / 'o.zip'}", exit_code=1)
    assert "cannot look into" in output


@pytest.mark.parametrize(
    "dest", ["file/out.zip", "file/out", "src/a.png", "/dev/null", "/proc/x.zip"]
)
def test_destinations_that_cannot_be_written(dest, tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a.png").write_bytes(PNG)
    (tmp_path / "file").write_text("precious")
    run(f"--source={tmp_path / 'src'}", f"--dest={tmp_path / dest}", exit_code=1)
    assert (tmp_path / "file").read_text() == "precious"
    assert (tmp_path / "src/a.png").read_bytes() == PNG
    assert sorted(os.listdir(tmp_path)) == ["file", "src"]


@pytest.mark.parametrize("dest", ["sub", "deep/er/sub", "."])
def test_a_dataset_inside_its_own_source(dest, tmp_path):
    """A new dataset must not become a part of its source: ZIPs do not, their images would."""
    (tmp_path / "a.png").write_bytes(PNG)
    output = run(f"--source={tmp_path}", f"--dest={tmp_path / dest}", exit_code=1)
    assert "choose a folder beside it" in output or "is not empty" in output
    assert os.listdir(tmp_path) == ["a.png"]
    for name in ("a.zip", "b.zip"):
        run(f"--source={tmp_path}", f"--dest={tmp_path / name}")
        assert len(read_archive(tmp_path / name)) == 1


def test_large_zip_with_64_bit_fields(tmp_path):
    """As written by programs that do not know the size beforehand."""
    path = tmp_path / "a.zip"
    info = zipfile.ZipInfo("a.png")
    with zipfile.ZipFile(path, "w") as archive, archive.open(info, "w", force_zip64=True) as file:
        file.write(PNG)
    data = bytearray(path.read_bytes())
    # The same in the index: all three fields move to an extra field.
    at = data.index(CENTRAL)
    offset = 0
    extra = struct.pack("<HHQQQ", 1, 24, len(PNG), len(PNG), offset)
    header = data[at : at + 46]
    header[20:28] = b"\xff" * 8
    header[30:32] = struct.pack("<H", len(extra))
    header[42:46] = b"\xff" * 4
    index = bytes(header) + b"a.png" + extra
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, len(index), at)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at + len(index), 1)
    end = struct.pack("<4s4H2LH", END, 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
    path.write_bytes(bytes(data[:at]) + index + end64 + locator + end)
    assert zipfile.ZipFile(path).namelist() == ["a.png"]
    run(f"--source={path}", f"--dest={tmp_path / 'o.zip'}")
    (pixels,) = read_archive(tmp_path / "o.zip").values()
    np.testing.assert_array_equal(pixels, RGB)


# Tuples in tuples, 60 deep, under the number 0: 2^60 of them for whoever walks through.
NESTED = b")q\x000" + b"h\x00h\x00\x86q\x000" * 60


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


LONG_TEXT = text("x" * 2**20) + b"q\x00"
ENCODE = b"c_codecs\nencode\nq\x01"
ESCAPES = "os\n\x1b[2J\nWrote 50000 images"
BATCHES = {
    # name: the pickle, and a part of the message
    "key of tuples in tuples": (b"\x80\x02" + NESTED + b"}h\x00K\x01s.", "a tuple as a key"),
    "several keys": (b"\x80\x02" + NESTED + b"}(h\x00K\x01h\x00K\x01u.", "a tuple as a key"),
    "keys of a dictionary at once": (NESTED + b"(h\x00K\x01d.", "a tuple as a key"),
    "set of tuples in tuples": (b"\x80\x04" + NESTED + b"\x8f(h\x00\x90.", "a tuple as a key"),
    "array of tuples in tuples": (
        b"\x80\x02" + NESTED + b"cnumpy\ndtype\nh\x00\x85R.",
        "it has arrays of an unknown type",
    ),
    "array in the order of tuples in tuples": (
        b"\x80\x02" + NESTED + b"cnumpy.core.numeric\n_frombuffer\n(C\x00h\x00h\x00h\x00tR.",
        "an impossible shape",
    ),
    "text encoded as tuples in tuples": (
        b"\x80\x02" + NESTED + b"c_codecs\nencode\n" + text("x") + b"h\x00\x86R.",
        "an unknown encoding",
    ),
    "name that writes lines": (
        b"\x80\x04" + text(ESCAPES) + text("system") + b"\x93.",
        r"it asks for os\n\x1b[2J\nWrote 50000 images.system",
    ),
    "text copied over and over": (
        b"\x80\x02" + LONG_TEXT + text("latin1") + b"\x86q\x02" + ENCODE
        + b"h\x01h\x02R" * 3000 + b".",
        "copies the same data over and over",
    ),
    "arguments passed over and over": (
        b"\x80\x02" + b"cnumpy.core.multiarray\n_reconstruct\nq\x01(" + b"N" * 90_000 + b"tq\x02"
        + b"h\x01h\x02R0" * 90_000 + b".",
        "far more than such a file needs",
    ),
    "more arguments than there are": (
        b"\x80\x02" + b"cnumpy.core.multiarray\n_reconstruct\n(" + b"N" * 500 + b"tR.",
        "positional arguments",
    ),
    "object that is made": (b"\x80\x02cnumpy\ndtype\n)\x81.", "instruction"),
    "array called": (b"\x80\x02K\x01)R.", "it calls a int"),
    "number of a million digits": (b"L" + b"9" * 10**6 + b"L\n.", "is no batch of CIFAR-10"),
    "bytes of 2^60": (b"\x80\x05\x96" + struct.pack("<Q", 2**60) + b".", "is no batch"),
}  # fmt: skip


@pytest.mark.parametrize("case", BATCHES)
def test_batches_of_cifar10(case, tmp_path):
    batch, message = BATCHES[case]
    path = write_cifar(tmp_path / "cifar-10-python.tar.gz", {"data_batch_1": batch})
    start = time.process_time()
    exit_code, output = invoke(f"--source={path}", f"--dest={tmp_path / 'o.zip'}")
    assert time.process_time() - start < 5
    assert exit_code == 1 and output.count("\n") == 1 and output[:-1].isprintable()
    assert output.startswith(f"Error: --source={path}: data_batch_1 ") and message in output


def tar_member(name: str, kind: bytes, data: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    return info.tobuf() + data + bytes(-len(data) % 512)


@pytest.mark.parametrize(
    "content, message",
    [
        (tar_member("x", tarfile.GNUTYPE_LONGNAME, bytes(2**27)), "a header of 134217728 bytes"),
        (tar_member("x", tarfile.XHDTYPE, bytes(2**27)), "a header of 134217728 bytes"),
        (tar_member("data_batch_1", tarfile.REGTYPE, bytes(2**27)), "unpacks to 134217728 bytes"),
        (tar_member("data_batch_x\n\x1b[2J", tarfile.REGTYPE, b"") * 2, "has no data_batch_1"),
        (tar_member("x", tarfile.REGTYPE, b"x")[:700], "is the download complete"),
    ],
    ids=["long name", "extended header", "batch", "names", "cut short"],
)
def test_tars_of_cifar10(content, message, tmp_path):
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(gzip.compress(content, 1))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    output = run(f"--source={path}", f"--dest={tmp_path / 'o.zip'}", exit_code=1)
    assert message in output and output[:-1].isprintable()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 100 << 10  # KiB


@pytest.mark.parametrize(
    "offset, value, args",
    [
        (0, 0xEE, ()),  # the number of the page
        (10, 0, ()),  # its kind
        (11, 0xFF, ()),
        (16, 0xFF, ()),  # where the first entry stands
        (11, 0xFF, ("--labels=labels.csv",)),
        (11, 0xFF, ("--on-error=skip",)),
    ],
)
def test_damaged_lsun_databases_end_in_one_line(offset, value, args, tmp_path, monkeypatch):
    """One byte changed in the header of each page behind the first two, which are read first."""
    monkeypatch.chdir(tmp_path)
    path = lsun(tmp_path, {b"key%03d" % i: PNG for i in range(10)})
    Path("labels.csv").write_text("".join(f"key{i:03},{i % 2}\n" for i in range(10)))
    content = (path / "data.mdb").read_bytes()
    num_refused = 0
    for page in range(2 * 4096, len(content), 4096):
        damaged = bytearray(content)
        damaged[page + offset] = value
        (path / "data.mdb").write_bytes(damaged)
        exit_code, output = invoke(f"--source={path}", f"--dest={page}.zip", "--workers=1", *args)
        if exit_code:
            num_refused += 1
            assert output.splitlines()[-1].startswith("Error:"), output
            assert len(output.splitlines()) == 1 or "--on-error=skip" in args
    assert offset != 10 or num_refused > 0


def test_texts_of_files_write_no_lines_of_their_own(tmp_path, monkeypatch):
    """A warning of Pillow, say, may quote what is in the file."""
    monkeypatch.setattr(
        "data.decoding.decode",
        lambda data, notes, keep: (notes.update(["with\n\x1b[2JWrote 9 images"]), RGB_PICTURE)[1],
    )
    (tmp_path / "a.png").write_bytes(PNG)
    output = run(f"--source={tmp_path}", f"--dest={tmp_path}.zip")
    assert r"1 with\n\x1b[2JWrote 9 images" in output


def test_nothing_was_started_by_the_inputs():
    assert not Path("hacked").exists()
