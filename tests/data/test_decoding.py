"""What only decoding in training has: channels by all images, checks that cost no decoding."""

import io
import os
import resource
import struct
import time
import zipfile
import zlib
from collections import Counter

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest

from data import decoding, notes, png_header
from data.dataset import ImageFolderDataset
from data.reading import UnusableImage
from tests.data.conversion import icc, zoo
from tests.data.conversion.formats import image_file, random_pixels
from training import preflight

RGB = random_pixels(8, 8, 3)
OPAQUE = np.dstack([RGB, np.full([8, 8], 255, np.uint8)])
SPRITE = np.dstack([RGB, random_pixels(8, 8, seed=1)])


def make(folder, images) -> ImageFolderDataset:
    folder.mkdir()
    for i, pixels in enumerate(images):
        (folder / f"{i:04d}.png").write_bytes(image_file(pixels))
    return ImageFolderDataset(folder)


def test_an_alpha_channel_that_nothing_uses_is_dropped_and_counted(tmp_path):
    dataset = make(tmp_path / "a", [OPAQUE, OPAQUE, RGB])
    assert dataset.image_shape == [3, 8, 8]
    for image, _ in dataset:
        np.testing.assert_array_equal(image, RGB.transpose(2, 0, 1))
    assert dataset.check_images() == {decoding.OPAQUE: 2}


def test_sprites_keep_it_all(tmp_path):
    dataset = make(tmp_path / "a", [OPAQUE, SPRITE, OPAQUE])
    assert dataset.image_shape == [4, 8, 8] and not dataset.check_images()
    for i, pixels in enumerate([OPAQUE, SPRITE, OPAQUE]):
        np.testing.assert_array_equal(dataset[i][0], pixels.transpose(2, 0, 1))


def test_sprites_that_are_not_plain_keep_it_too(tmp_path):
    """A profile of sRGB, which changes nothing, takes them another way."""
    profile = icc.rgb_profile("sRGB", icc.SRGB, icc.srgb_curve)
    for i, pixels in enumerate([SPRITE, OPAQUE]):
        (tmp_path / f"{i}.png").write_bytes(image_file(pixels, icc_profile=profile))
    dataset = ImageFolderDataset(tmp_path)
    np.testing.assert_array_equal(dataset[1][0], OPAQUE.transpose(2, 0, 1))
    assert not dataset.check_images()


def test_lists_of_what_was_noted_end():
    found = Counter({f"converted from {i} to sRGB": 100 - i for i in range(50)})
    line = notes.describe(found, None)["Noted"]
    assert line.startswith("100 converted from 0 to sRGB; 99 converted from 1")
    assert line.endswith(
        f"; {sum(100 - i for i in range(12, 50))} changed or warned of in other ways"
    )


def test_a_transparent_image_among_opaque_ones_is_named(tmp_path):
    dataset = make(tmp_path / "a", [OPAQUE] * 133 + [SPRITE] + [OPAQUE])
    assert dataset.image_shape == [3, 8, 8]
    with pytest.raises(ValueError, match=r"0133\.png is 8x8 with 4 channel.*--on-error=skip"):
        dataset.check_images()
    with pytest.raises(ValueError, match=r"0133\.png is 8x8 with 4 channel"):
        dataset[133]


def test_images_without_alpha_among_sprites_are_named(tmp_path):
    dataset = make(tmp_path / "a", [SPRITE, RGB])
    with pytest.raises(ValueError, match=r"0001\.png is 8x8 with 3 channel"):
        dataset.check_images()


def test_a_profile_counts_more_than_what_a_camera_says_of_its_colours():
    """Also where the first bytes of a JPEG tell all of it."""
    tags = PIL.Image.Exif()
    tags.get_ifd(0x8769)[0xA005] = {1: "R03"}
    profile = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    data = image_file(RGB, "jpeg", exif=tags, icc_profile=profile)
    probed, decoded = Counter(), Counter()
    assert decoding.probe(data, probed) is not None
    decoding.decode(data, decoded)
    assert probed == decoded == Counter()


def test_the_first_bytes_of_a_jpeg_tell_of_further_pictures():
    """Telephones append pictures for depth or gain, and call the file .jpg."""
    file = io.BytesIO()
    picture = PIL.Image.fromarray(RGB)
    picture.save(file, "mpo", save_all=True, append_images=[picture, picture])
    probed = Counter()
    assert decoding.probe(file.getvalue(), probed) is not None
    assert probed == {decoding.FURTHER: 2}


def bomb(width: int, height: int) -> bytes:
    """A PNG of black pixels, highly compressed."""
    packer = zlib.compressobj(9)
    row = bytes(1 + 3 * width)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", data), (b"IEND", b"")
    return png_header.SIGNATURE + b"".join(zoo.chunk(*part) for part in parts)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_large_pictures_are_refused_before_they_are_decoded(kind, tmp_path):
    """One that any program may open is named by its size, one that none should open by that."""
    files = {"a.png": image_file(RGB), "b.png": bomb(9000, 9000)}
    if kind == "zip":
        path = tmp_path / "x.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        path = tmp_path
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
    dataset = ImageFolderDataset(path)
    too_large = bomb(46000, 4600)  # to make it takes seconds
    start = time.process_time()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"b\.png is 9000x9000"):
        dataset.check_images()
    with pytest.raises(UnusableImage, match="too many pixels"):
        decoding.decode(too_large)
    with pytest.raises(UnusableImage, match="too many pixels"):
        decoding.probe(too_large[: decoding.HEAD_BYTES])
    assert time.process_time() - start < 5
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 150_000  # KiB: to decode the smaller one takes 240 MB


def test_members_that_unpack_to_gigabytes_are_refused_by_their_size(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", image_file(RGB))
        archive.writestr("b.png", image_file(RGB))
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02") + 24
    data[at : at + 4] = struct.pack("<I", 2**31 - 1)
    path.write_bytes(data)
    dataset = ImageFolderDataset(path)
    for read in (dataset.check_images, lambda: dataset[1]):
        with pytest.raises(OSError, match=r"b\.png unpacks to 2147483647 bytes"):
            read()


@pytest.mark.parametrize("name", [n for n, a in ((a.name, a) for a in zoo.animals())
                                  if isinstance(a.expected, np.ndarray)], ids=ascii)  # fmt: skip
def test_what_the_start_of_a_file_tells_is_true(name):
    animal = next(animal for animal in zoo.animals() if animal.name == name)
    said, done = Counter(), Counter()
    picture = decoding.decode(animal.data, done)
    probe = decoding.probe(animal.data[: decoding.HEAD_BYTES], said)
    if probe is None:
        return
    assert (probe.width, probe.height) == picture.size
    assert probe.channels == picture.pixels.shape[2] + (
        probe.has_alpha and picture.mode in ("L", "RGB")
    )
    if not probe.has_alpha and decoding.FURTHER not in done:
        assert said == done


def test_decoders_agree_but_for_what_they_cannot_read(monkeypatch):
    images = [a for a in zoo.animals() if isinstance(a.expected, np.ndarray)]
    fast = [decoding.decode(animal.data).pixels for animal in images]
    monkeypatch.setattr(decoding, "pyspng", None)
    for animal, pixels in zip(images, fast, strict=True):
        np.testing.assert_array_equal(decoding.decode(animal.data).pixels, pixels, animal.name)


def test_checksums_are_looked_at_unless_they_were(tmp_path):
    for pixels, options in ((RGB, {}), (RGB[:, :, 0], {}), (RGB, {"compress_level": 0})):
        data = bytearray(image_file(pixels, **options))
        data[data.index(b"IDAT") + 40] ^= 1
        with pytest.raises(UnusableImage, match="a checksum differs"):
            decoding.decode(bytes(data))
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(OSError, match=r"a\.png cannot be read \(damaged"):
        ImageFolderDataset(tmp_path)


def test_profile_values_can_be_kept():
    animal = next(animal for animal in zoo.animals() if animal.name == "display-p3.png")
    notes = Counter()
    picture = decoding.decode(animal.data, notes, keep_profile_values=True)
    np.testing.assert_array_equal(picture.pixels, zoo.RGB)
    assert notes == {"with a colour profile, which was dropped": 1}


def test_warnings_of_pillow_are_counted(capsys):
    file = io.BytesIO()
    PIL.Image.fromarray(RGB).save(file, "jpeg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    notes = Counter()
    decoding.decode(file.getvalue(), notes)
    (note,) = notes
    assert "warning of Pillow" in note or "EXIF that cannot be read" in note
    assert capsys.readouterr().err == ""


def test_files_are_closed(tmp_path):
    (tmp_path / "a.png").write_bytes(image_file(RGB))
    (tmp_path / "b.png").write_bytes(image_file(RGB))
    dataset = ImageFolderDataset(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        dataset[1], dataset.check_images()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("seed", range(4))
def test_damaged_deep_tiffs_are_pictures_or_refused_in_one_line(seed):
    rng = np.random.RandomState(seed)
    files = [animal.data for animal in zoo.animals() if animal.name.endswith("bit.tif")]
    num_refused = 0
    for _ in range(500):
        data = bytearray(files[rng.randint(len(files))])
        for _ in range(rng.randint(1, 5)):
            data[rng.randint(len(data) - 200, len(data))] = rng.randint(256)  # of the directory
        try:
            assert decoding.decode(bytes(data)).pixels.dtype == np.uint8
        except UnusableImage as error:
            num_refused += 1
            assert "\n" not in str(error)
    assert 0 < num_refused < 500


def test_training_says_what_it_changes_and_leaves_out(tmp_path):
    make(tmp_path / "a", [OPAQUE, RGB, OPAQUE])
    (tmp_path / "a/notes.txt").write_text("x")
    assert preflight.check_images(ImageFolderDataset(tmp_path / "a")) == [
        "Noted in the dataset: 2 with an opaque alpha channel, which was dropped",
        "Left out in the dataset: 1 .txt",
    ]
