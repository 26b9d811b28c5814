"""Odd image files of many formats, each with the picture that it holds.

    python -m tests.data.conversion.zoo FOLDER

writes them, and prints what conversion, inspection and training make of each.
"""

import base64
import io
import struct
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import PIL.Image

from tests.data.conversion import icc
from tests.data.conversion.formats import image_file, random_pixels

SIZE = 16
RGB, GREY = random_pixels(SIZE, SIZE, 3), random_pixels(SIZE, SIZE)
RAMP = np.tile(np.linspace(0, 1, SIZE), (SIZE, 1))  # black at the left, white at the right
RAMP_8 = np.rint(RAMP * 255).astype(np.uint8)
ALPHA = random_pixels(SIZE, SIZE, seed=1)
OPAQUE = np.full_like(ALPHA, 255)
ADOBE_GAMMA = icc.gamma(563 / 256)


class Animal(NamedTuple):
    """A file and what it is: pixels `[H, W]`, `[H, W, 3]` or `[H, W, 4]`, or why it is refused.

    What is no image has no `expected`, and must be left out and counted.
    """

    name: str
    data: bytes
    expected: np.ndarray | str | None
    tolerance: int = 0
    noted: str = ""  # a part of what must be said about it


def animals() -> list[Animal]:
    """All files, with names that differ."""
    return [*_pngs(), *_jpegs(), *_tiffs(), *_others(), *_names(), *_no_images()]


def chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def png(
    pixels: np.ndarray, depth: int, colour_type: int, before: bytes = b"", after: bytes = b""
) -> bytes:
    """Any kind of PNG from samples `[H, W, C]`; `before` and `after` are chunks around IDAT."""
    height, width = pixels.shape[:2]
    bits = np.unpackbits(pixels.astype(">u2").reshape(height, -1, 1).view(np.uint8), axis=2)
    bits = bits[:, :, 16 - depth :].reshape(height, -1)
    rows = np.insert(np.packbits(bits, axis=1), 0, 0, axis=1)  # unfiltered
    ihdr = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    idat = chunk(b"IDAT", zlib.compress(rows.tobytes()))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + before + idat + after + chunk(b"IEND", b"")


def tiff(samples: np.ndarray, bits: int, photometric: int, order: str = "<", **tags: int) -> bytes:
    """An uncompressed TIFF from samples `[H, W, C]`, or `[C, H, W]` for `planar=2`.

    `format` is 1 for unsigned samples, 2 for signed ones, 3 for floating point; `pages` repeats
    the first page; `orientation` is EXIF's.
    """
    is_planar = tags.get("planar", 1) == 2
    count, height, width = samples.shape if is_planar else np.moveaxis(samples, 2, 0).shape
    if bits in (16, 32):
        kind = {1: "u", 2: "i", 3: "f"}[tags.get("format", 1)]
        data = samples.astype(f"{order}{kind}{bits // 8}").tobytes()
    else:
        digits = np.unpackbits(samples.astype(">u2")[..., None].view(np.uint8), axis=-1)
        rows = digits[..., 16 - bits :].reshape(samples.shape[0], -1)
        data = np.packbits(rows, axis=1).tobytes()
    strips = count if is_planar else 1
    entries = {
        256: [width], 257: [height], 258: [bits] * count, 259: [1], 262: [photometric],
        273: [8 + i * len(data) // strips for i in range(strips)],
        274: [tags.get("orientation", 1)], 277: [count], 278: [height],
        279: [len(data) // strips] * strips, 284: [tags.get("planar", 1)],
        339: [tags.get("format", 1)] * count,
    }  # fmt: skip
    blob = (b"II*\0" if order == "<" else b"MM\0*") + bytes(4) + data
    pointer = 4  # where the position of the next directory stands
    for _ in range(tags.get("pages", 1)):
        directory = struct.pack(f"{order}H", len(entries))
        places = b""
        start = len(blob) + 2 + 12 * len(entries) + 4
        for tag, values in entries.items():
            content = struct.pack(f"{order}{len(values)}I", *values)
            if len(content) > 4:
                places, content = places + content, struct.pack(f"{order}I", start + len(places))
            directory += struct.pack(f"{order}HHI", tag, 4, len(values)) + content
        blob = blob[:pointer] + struct.pack(f"{order}I", len(blob)) + blob[pointer + 4 :]
        pointer = len(blob) + len(directory)
        blob += directory + bytes(4) + places
    return blob


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels as they are meant to be seen, by the definition in EXIF (Sec. 4.6.4)."""
    return {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(pixels),
    }[orientation]


def exif(orientation: int) -> PIL.Image.Exif:
    tags = PIL.Image.Exif()
    tags[274] = orientation
    return tags


def decoded(data: bytes, mode: str | None = None) -> np.ndarray:
    """Pixels as Pillow reads them, without any of their metadata."""
    return np.array(PIL.Image.open(io.BytesIO(data)).convert(mode))


def _animated(kind: str, **options) -> bytes:
    frames = [PIL.Image.fromarray(np.full_like(RGB, 9 * i)) for i in range(4)]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], **options)
    return file.getvalue()


def _with_fourth_channel() -> bytes:
    file = io.BytesIO()
    PIL.Image.merge(
        "RGBX", [PIL.Image.fromarray(x) for x in (*np.moveaxis(RGB, 2, 0), ALPHA)]
    ).save(file, "tiff")
    return file.getvalue()


def _pngs() -> list[Animal]:
    rows = []
    for depth in (1, 2, 4, 8, 16):
        samples = np.rint(RAMP * (2**depth - 1)).astype(np.uint16)[:, :, None]
        expected = np.rint(samples[:, :, 0] / (2**depth - 1) * 255).astype(np.uint8)
        noted = "scaled from 16 to 8 bits" if depth == 16 else ""
        rows.append(Animal(f"grey-{depth}bit.png", png(samples, depth, 0), expected, 0, noted))
    for depth in (1, 2, 4):  # one level means transparent
        samples = GREY[:, :, None] >> (8 - depth)
        key = chunk(b"tRNS", struct.pack(">H", int(samples[0, 0, 0])))
        data = png(samples, depth, 0, key)
        rows.append(Animal(f"grey-key-{depth}bit.png", data, "partly transparent"))
    for depth in (1, 2, 4, 8):
        palette = random_pixels(2**depth, 3, seed=depth)
        indices = random_pixels(SIZE, SIZE, seed=9) >> (8 - depth)
        plte = chunk(b"PLTE", palette.tobytes())
        data = png(indices[:, :, None], depth, 3, plte)
        rows.append(Animal(f"palette-{depth}bit.png", data, palette[indices]))
        if depth == 8:
            alpha = random_pixels(256, seed=3)
            data = png(indices[:, :, None], depth, 3, plte + chunk(b"tRNS", alpha.tobytes()))
            expected = np.dstack([palette[indices], alpha[indices]])
            rows.append(Animal("palette-transparent.png", data, expected))
            data = png(indices[:, :, None], depth, 3, plte + chunk(b"tRNS", b"\xff" * 256))
            rows.append(Animal("palette-opaque.png", data, palette[indices], 0, "opaque alpha"))
    deep = np.random.RandomState(0).randint(65536, size=[SIZE, SIZE, 3])
    p3 = icc.rgb_profile("Display P3", icc.DISPLAY_P3, icc.srgb_curve)
    in_srgb = icc.convert(RGB, icc.DISPLAY_P3, icc.srgb_curve)
    grey_18 = icc.grey_profile("Gray Gamma 1.8", icc.gamma(1.8))
    grey_in_srgb = icc.convert(np.dstack([GREY] * 3), icc.SRGB, icc.gamma(1.8))[:, :, 0]
    same = icc.rgb_profile("sRGB built-in", icc.SRGB, icc.srgb_curve)
    magick = chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(
        b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    )
    xmp = (
        b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf="
        b"'http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:Description xmlns:tiff="
        b'"http://ns.adobe.com/tiff/1.0/" tiff:Orientation="3"/></rdf:RDF></x:xmpmeta>'
    )
    level = int(GREY[0, 0])
    holes = np.dstack([RGB, np.where((RGB[0, 0] == RGB).all(axis=2), 0, 255).astype(np.uint8)])
    key = struct.pack(">3H", *RGB[0, 0].tolist())
    rows += [
        Animal("rgb-8bit.png", png(RGB, 8, 2), RGB),
        Animal("rgb-16bit.png", png(deep, 16, 2), (deep >> 8).astype(np.uint8), 0, "16 to 8 bits"),
        Animal("rgb-12bit-in-16.png", png(deep >> 4, 16, 2), (deep >> 12).astype(np.uint8), 0,
               "dark"),
        Animal("rgb-alpha.png", png(np.dstack([RGB, ALPHA]), 8, 6), np.dstack([RGB, ALPHA])),
        Animal("rgb-opaque.png", png(np.dstack([RGB, OPAQUE]), 8, 6), RGB, 0, "opaque alpha"),
        Animal(
            "rgb-opaque-16bit.png", png(np.dstack([deep, 0 * deep[:, :, :1] + 65535]), 16, 6),
            (deep >> 8).astype(np.uint8), 0, "opaque alpha",
        ),
        Animal("grey-opaque.png", png(np.dstack([GREY, OPAQUE]), 8, 4), GREY, 0, "opaque alpha"),
        Animal("grey-alpha.png", png(np.dstack([GREY, ALPHA]), 8, 4), "partly transparent"),
        Animal(
            "grey-opaque-16bit.png", png(257 * np.dstack([GREY.astype(int), OPAQUE]), 16, 4),
            GREY, 0, "opaque alpha",
        ),
        Animal(
            "grey-key.png", png(GREY[:, :, None], 8, 0, chunk(b"tRNS", struct.pack(">H", level))),
            "partly transparent",
        ),
        Animal(
            "grey-key-16bit.png",
            png(257 * GREY.astype(int)[:, :, None], 16, 0,
                chunk(b"tRNS", struct.pack(">H", 257 * level))),
            "partly transparent",
        ),
        Animal(
            "rgb-key-16bit.png", png(257 * RGB.astype(int), 16, 2,
            chunk(b"tRNS", struct.pack(">3H", *(257 * RGB[0, 0].astype(int)).tolist()))),
            "has 16 bits per sample and",
        ),
        Animal("rgb-key.png", png(RGB, 8, 2, chunk(b"tRNS", key)), holes),
        Animal(
            "rgb-key-unused.png", png(RGB | 1, 8, 2, chunk(b"tRNS", bytes(6))), RGB | 1, 0,
            "opaque alpha",
        ),
        Animal("as-magick-writes.png", png(RGB, 8, 2, magick), RGB),
        Animal(
            "another-gamma.png", png(RGB, 8, 2, chunk(b"gAMA", struct.pack(">I", 100000))), RGB, 0,
            "colour space other than sRGB",
        ),
        Animal(
            "gamma-overruled.png",
            png(RGB, 8, 2, chunk(b"sRGB", b"\0") + chunk(b"gAMA", struct.pack(">I", 100000))), RGB,
        ),
        Animal("short-primaries.png", png(RGB, 8, 2, chunk(b"cHRM", bytes(16))), RGB, 0,
               "colour space other than sRGB"),
        Animal("bt2100.png", png(RGB, 8, 2, chunk(b"cICP", bytes([9, 16, 0, 1]))), RGB, 0,
               "colour space other than sRGB"),
        Animal("coded-srgb.png", png(RGB, 8, 2, chunk(b"cICP", bytes([1, 13, 0, 1]))), RGB),
        Animal("xmp-upside-down.png", png(RGB, 8, 2, chunk(b"iTXt", xmp)), turned(RGB, 3), 0,
               "upright"),
        Animal(
            "exif-at-the-end.png", png(RGB, 8, 2, after=chunk(b"eXIf", exif(6).tobytes()[6:])),
            turned(RGB, 6), 0, "upright",
        ),
        Animal(
            "display-p3.png", image_file(RGB, icc_profile=p3), in_srgb, 1, "Display P3 to sRGB"
        ),
        Animal(
            "display-p3-opaque.png", image_file(np.dstack([RGB, OPAQUE]), icc_profile=p3), in_srgb,
            1, "Display P3 to sRGB",
        ),
        Animal(
            "display-p3-alpha.png", image_file(np.dstack([RGB, ALPHA]), icc_profile=p3),
            np.dstack([in_srgb, ALPHA]), 1,
        ),
        Animal("grey-gamma.png", image_file(GREY, icc_profile=grey_18), grey_in_srgb, 1,
               "Gray Gamma 1.8 to sRGB"),
        Animal("srgb-profile.png", image_file(RGB, icc_profile=same), RGB),
        Animal("broken-profile.png", image_file(RGB, icc_profile=b"x" * 99), RGB, 0,
               "cannot be used"),
        Animal("grey-profile-in-rgb.png", image_file(RGB, icc_profile=grey_18), RGB, 0,
               "cannot be used"),
        Animal("animated.png", _animated("png"), np.zeros_like(RGB), 0, "3 further frames"),
        Animal("truncated.png", png(RGB, 8, 2)[:200], "cannot be read"),
        Animal("other-checksum.png", png(RGB, 8, 2)[:-20] + b"????" + png(RGB, 8, 2)[-16:],
               "cannot be read"),
        Animal("bomb.png", png(RGB, 8, 2).replace(struct.pack(">II", SIZE, SIZE),
               struct.pack(">II", 46000, 46000)), "too many pixels"),
    ]  # fmt: skip
    for orientation in range(1, 9):
        data = image_file(RGB, exif=exif(orientation))
        noted = "turned upright (EXIF)" if orientation > 1 else ""
        name = f"turned-{orientation}.png"
        rows.append(Animal(name, data, turned(RGB, orientation), 0, noted))
    return rows


def _jpegs() -> list[Animal]:
    plain, grey = image_file(RGB, "jpeg", quality=95), image_file(GREY, "jpeg", quality=95)
    rows = [
        Animal("plain.jpg", plain, decoded(plain)),
        Animal("grey.jpeg", grey, decoded(grey)),
        Animal("progressive.jfif", image_file(RGB, "jpeg", quality=95, progressive=True),
               decoded(plain)),
        Animal("really-a-png.jpg", png(RGB, 8, 2), RGB),
        Animal("truncated.jpg", plain[: len(plain) // 2], "cannot be read"),
        Animal("webpage.jpg", b"<html>404</html>", "not an image"),
    ]  # fmt: skip
    for orientation in range(2, 9):
        data = image_file(RGB, "jpeg", quality=95, exif=exif(orientation))
        rows.append(
            Animal(f"turned-{orientation}.jpg", data, turned(decoded(plain), orientation), 0,
                   "turned upright (EXIF)")
        )  # fmt: skip
    adobe = icc.rgb_profile("Adobe RGB (1998)", icc.ADOBE_RGB, ADOBE_GAMMA)
    data = image_file(RGB, "jpeg", quality=95, icc_profile=adobe)
    expected = icc.convert(decoded(plain), icc.ADOBE_RGB, ADOBE_GAMMA)
    rows.append(Animal("adobe-rgb.jpg", data, expected, 1, "Adobe RGB (1998) to sRGB"))
    data = image_file(RGB, "jpeg", quality=95, icc_profile=adobe, exif=exif(6))
    rows.append(Animal("adobe-rgb-turned.jpg", data, turned(expected, 6), 1, "Adobe RGB (1998)"))
    data = image_file(GREY, "jpeg", quality=95, icc_profile=adobe)
    expected = icc.convert(np.dstack([decoded(grey)] * 3), icc.SRGB, ADOBE_GAMMA)[:, :, 0]
    rows.append(Animal("grey-in-adobe-rgb.jpg", data, expected, 1, "Adobe RGB (1998)"))
    tags = PIL.Image.Exif()
    tags.get_ifd(0x8769)[0xA005] = {1: "R03"}
    data = image_file(RGB, "jpeg", quality=95, exif=tags)
    rows.append(Animal("adobe-rgb-by-camera.jpg", data, decoded(plain), 0, "no profile"))
    file = io.BytesIO()
    PIL.Image.fromarray(RGB).convert("CMYK").save(file, "jpeg")
    rows.append(Animal("cmyk.jpg", file.getvalue(), "has CMYK pixels"))
    frames = [PIL.Image.fromarray(RGB), PIL.Image.fromarray(RGB[::-1])]
    file = io.BytesIO()
    frames[0].save(file, "mpo", save_all=True, append_images=frames[1:], quality=95)
    expected = decoded(image_file(RGB, "jpeg", quality=95))
    rows.append(Animal("stereo.mpo", file.getvalue(), expected, 0, "1 further frames"))
    return rows


def _tiffs() -> list[Animal]:
    rows = []
    for order, name in (("<", "little"), (">", "big")):
        samples = np.rint(RAMP * 65535).astype(np.uint16)[:, :, None]
        data = tiff(samples, 16, 1, order)
        rows.append(Animal(f"grey-16bit-{name}.tif", data, RAMP_8, 0, "from 16 to 8 bits"))
        data = tiff(65535 - samples, 16, 0, order)
        rows.append(Animal(f"white-is-zero-16bit-{name}.tif", data, RAMP_8, 0, "16 to 8"))
    for bits in (8, 9, 10, 12, 14):
        samples = np.rint(RAMP * (2**bits - 1)).astype(np.uint16)[:, :, None]
        expected = np.rint(samples[:, :, 0] / (2**bits - 1) * 255).astype(np.uint8)
        noted = f"scaled from {bits} to 8 bits" if bits > 8 else ""
        data = tiff(samples, bits, 1)
        rows.append(Animal(f"grey-{bits}bit.tif", data, expected, 0, noted))
        data = tiff(2**bits - 1 - samples, bits, 0, ">" if bits == 14 else "<")
        rows.append(Animal(f"white-is-zero-{bits}bit.tif", data, expected, 0, noted))
    ten = np.random.RandomState(2).randint(1024, size=[SIZE, SIZE, 1])
    seen = np.rint(ten[:, :, 0] / 1023 * 255).astype(np.uint8)
    data = tiff(ten, 10, 1, orientation=6, pages=3)
    rows += [
        Animal("turned-pages-10bit.tif", data, turned(seen, 6), 0, "2 further frames or pages"),
        Animal("truncated-10bit.tif", tiff(ten, 10, 1)[:-30], "cannot be read"),
        Animal("rgb-10bit.tif", tiff(np.dstack([ten] * 3), 10, 2), "10 bits per sample, of a kind"),
        Animal("signed-10bit.tif", tiff(ten, 10, 1, format=2), "10 bits per sample, of a kind"),
        Animal("palette-10bit.tif", tiff(ten, 10, 3), "10 bits per sample, of a kind"),
    ]
    deep = np.random.RandomState(1).randint(65536, size=[SIZE, SIZE, 3])
    dark = np.rint(RAMP * 4095).astype(np.uint16)[:, :, None]
    lab = PIL.Image.merge("LAB", PIL.Image.fromarray(RGB).split())
    file = io.BytesIO()
    lab.save(file, "tiff")
    rows += [
        Animal("rgb.tif", tiff(RGB, 8, 2), RGB),
        Animal("rgb-16bit.tiff", tiff(deep, 16, 2), (deep >> 8).astype(np.uint8), 0,
               "16 to 8 bits"),
        Animal("infrared.tif", _with_fourth_channel(), RGB, 0,
               "channels besides grey or RGB"),
        Animal("rgb-planar.tif", tiff(np.moveaxis(RGB, 2, 0), 8, 2, planar=2), RGB),
        Animal("rgb-planar-16bit.tif", tiff(np.moveaxis(deep, 2, 0), 16, 2, planar=2),
               "16 bits per sample in separate planes"),
        Animal("signed-8bit.tif", tiff(GREY[:, :, None], 8, 1, format=2), "signed samples"),
        Animal("signed-16bit.tif", tiff(dark, 16, 1, format=2), "has I pixels"),
        Animal("float.tif", tiff(RAMP[:, :, None], 32, 1, format=3), "has F pixels"),
        Animal("integers.tif", tiff(dark.astype(np.uint32), 32, 1), "has I pixels"),
        Animal("12bit-in-16.tif", tiff(dark, 16, 1),
               np.rint(dark[:, :, 0] / 257).astype(np.uint8), 0, "dark"),
        Animal("lab.tif", file.getvalue(), "has LAB pixels"),
        Animal("pages.tif", tiff(RGB, 8, 2, pages=3), RGB, 0, "2 further frames or pages"),
        Animal("deflated.tif", image_file(RGB, "tiff", compression="tiff_adobe_deflate"), RGB),
        Animal("lzw-16bit.tif", image_file(257 * GREY.astype(np.uint16), "tiff",
               compression="tiff_lzw"), GREY, 0, "16 to 8 bits"),
        Animal("cmyk.tif", tiff(np.dstack([RGB, ALPHA]), 8, 5), "has CMYK pixels"),
        Animal("truncated.tif", tiff(RGB, 8, 2)[:300], "cannot be read"),
    ]  # fmt: skip
    for orientation in (3, 6, 7):
        data = tiff(RGB, 8, 2, orientation=orientation)
        name = f"turned-{orientation}.tif"
        rows.append(Animal(name, data, turned(RGB, orientation), 0, "turned upright (EXIF)"))
    return rows


# A ramp of 12 bits per sample in three components, by OpenJPEG; no program here writes such files.
JPEG2000_12BIT = zlib.decompress(
    base64.b85decode(
        "c-"
        "s5#|38pHp8*5}pcn>F`OMsmj1crch=B(vz{tqJ!otA#KZb$DA>n@tgDL}~b5UwyNotBhQl)}_L28~?fUCPgS!z*n"
        "W`3T6k)ElZ$^QuqTp+_3^?@2E-+wA2m~FJ~g~+v(ua<MT#r3vc@YVjN@=cdl-"
        "7q6lHFlkPt%H2rKQ4p)lTCgV)QYt%Uw*my#THdtyE)t)=K|YI)c+ly{--"
        "+qYw6YI_@#PQE30$&&I`O&X|wJ2&8Hqx`)239`Ly_}@a=4cTicdznRY$wcI>r36_cf2-"
        "Ok>1zh5XhHafRF`r{*??A0w#%V+-zm%V=WuXf*S9E{K1N-"
        "kUCPblcSE#E6O_e6S2asS)xY+^e;i#%+)f9Seg(j0^6A5o9b1h;X=q~Ch2xw_?b!<p}%Hwt6bW7yJn`5o?hY4yO^"
        "_EMQlxaW0-hZ}C>m`U@t9Ztl>Xm4ove-i-N&8}G"
    )
)


def _others() -> list[Animal]:
    avif = image_file(RGB, "avif", quality=90)
    webp = image_file(RGB, "webp", quality=80)
    palette = PIL.Image.fromarray(RGB).quantize(16)
    gif = io.BytesIO()
    palette.save(gif, "gif")
    holes = io.BytesIO()
    palette.save(holes, "gif", transparency=int(np.array(palette)[0, 0]))
    maxval = 1023
    ramp_10bit = np.rint(RAMP * maxval).astype(">u2")
    fits = b"".join(
        text.ljust(80).encode()
        for text in ("SIMPLE  = T", "BITPIX  = 16", "NAXIS   = 2", "NAXIS1  = 16", "NAXIS2  = 16",
                     "END")
    ).ljust(2880)  # fmt: skip
    return [
        Animal("plain.bmp", image_file(RGB, "bmp"), RGB),
        Animal("plain.gif", gif.getvalue(), decoded(gif.getvalue(), "RGB")),
        Animal("holes.gif", holes.getvalue(), decoded(holes.getvalue(), "RGBA")),
        Animal("animated.gif", _animated("gif"), np.zeros_like(RGB), 0, "3 further frames"),
        Animal("lossless.webp", image_file(RGB, "webp", lossless=True), RGB),
        Animal("lossy.webp", webp, decoded(webp)),
        Animal("turned.webp", image_file(RGB, "webp", lossless=True, exif=exif(8)),
               turned(RGB, 8), 0, "upright"),
        Animal("animated.webp", _animated("webp", lossless=True), np.zeros_like(RGB), 0,
               "3 further frames"),
        Animal("transparent.webp", image_file(np.dstack([RGB, ALPHA | 1]), "webp", lossless=True),
               np.dstack([RGB, ALPHA | 1])),
        Animal("plain.avif", avif, decoded(avif)),
        Animal("plain.jp2", image_file(RGB, "jpeg2000"), RGB),
        Animal("grey-16bit.jp2", image_file(257 * GREY.astype(np.uint16), "jpeg2000"), GREY, 0,
               "16 to 8 bits"),
        Animal("rgb-12bit.j2k", JPEG2000_12BIT, "12 bits per sample"),
        Animal("plain.ppm", image_file(RGB, "ppm"), RGB),
        Animal("grey-10bit.pgm", b"P5 16 16 1023\n" + ramp_10bit.tobytes(),
               np.rint(ramp_10bit / maxval * 255).astype(np.uint8), 0, "16 to 8 bits"),
        Animal("rgb-10bit.ppm", b"P6 16 16 1023\n" + np.dstack([ramp_10bit] * 3).tobytes(),
               "samples up to 1023"),
        Animal("float.pfm", b"Pf\n16 16\n-1.0\n" + RAMP.astype("<f4").tobytes(), "has F pixels"),
        Animal("bits.pbm", b"P4 16 16\n" + np.packbits(RAMP < 0.5, axis=1).tobytes(),
               (RAMP >= 0.5).astype(np.uint8) * 255),
        Animal("plain.tga", image_file(RGB, "tga"), RGB),
        Animal("opaque.tga", image_file(np.dstack([RGB, OPAQUE]), "tga"), RGB, 0, "opaque alpha"),
        Animal("plain.pcx", image_file(RGB, "pcx"), RGB),
        Animal("plain.qoi", image_file(RGB, "qoi"), RGB),
        Animal("plain.sgi", image_file(RGB, "sgi"), RGB),
        Animal("plain.ico", image_file(RGB, "ico"), RGB),
        Animal("plain.dds", image_file(RGB, "dds"), RGB),
        Animal("telescope.fits", fits + (RAMP * 32767).astype(">i2").tobytes().ljust(2880, b"\0"),
               "signed or big-endian samples"),
    ]  # fmt: skip


def _names() -> list[Animal]:
    data = png(RGB, 8, 2)
    return [
        Animal(name, data, RGB)
        for name in ("CAPITALS.PNG", "two words.png", "a\u0308 as two.png", "\U0001f600.png",
                     "--dest=x.png", "two.dots.png", "line\nbreak.png", "escape\x1b[31m.png")
    ]  # fmt: skip


def _no_images() -> list[Animal]:
    data = png(RGB, 8, 2)
    return [
        Animal("film.mp4", b"\0\0\0\x18ftypmp42", None),
        Animal("photo.dng", tiff(RGB, 8, 2), None),
        Animal("scan.dcm", bytes(128) + b"DICM", None),
        Animal("drawing.svg", b"<svg/>", None),
        Animal("program.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n", None),
        Animal("film.mpg", b"\0\0\x01\xb3", None),
        Animal("measured.h5", b"\x89HDF\r\n\x1a\n", None),
        Animal("paper.pdf", b"%PDF-1.4", None),
        Animal("no-extension", data, None),
        Animal(".hidden.png", data, None),
        Animal("._resource-fork.png", b"\0\5\x16\7", None),
        Animal("Thumbs.db", b"", None),
        Animal("@eaDir/thumbnail.png", data, None),
        Animal("__MACOSX/._x.png", data, None),
        Animal(".ipynb_checkpoints/x.png", data, None),
        Animal("$RECYCLE.BIN/x.png", data, None),
        Animal("#recycle/x.png", data, None),
    ]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """Write all files, each into a folder of its own, and print what becomes of it."""
    from tests.data.conversion.test_zoo import judge

    click.echo(f"{'file':32}{'conversion':25}{'inspection (sheet)':25}training")
    for number, animal in enumerate(animals()):
        source = folder / f"{number:03d}"
        (source / animal.name).parent.mkdir(parents=True)
        (source / animal.name).write_bytes(animal.data)
        click.echo(f"{animal.name!a:31} " + "".join(f"{text:25}" for text in judge(source)))


if __name__ == "__main__":
    sys.exit(main())
