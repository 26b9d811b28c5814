"""The image formats that Pillow and its installed plugins can read."""

import functools
import importlib
import importlib.util

import PIL.Image

# EPS is a program for Ghostscript, WMF one for Windows. Programs in files are not run.
PROGRAM_FORMATS = ("EPS", "WMF")
# Pillow recognises these, but cannot decode them.
UNDECODABLE_FORMATS = ("BUFR", "GRIB", "HDF5", "MPEG")

# Extensions of image files that a plugin of Pillow reads, by the name of its package in pip.
PLUGINS = {
    "pillow-heif": (".heic", ".heics", ".heif", ".heifs", ".hif"),
    "pillow-jxl-plugin": (".jxl",),
}
SIGNATURES = {  # of their files: position and first bytes; a brand of ISO 14496-12, or the file's
    "pillow-heif": (8, (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")),
    "pillow-jxl-plugin": (0, (b"\xff\x0a", b"\0\0\0\x0cJXL ")),
}
MODULES = {"pillow-heif": "pillow_heif", "pillow-jxl-plugin": "pillow_jxl"}


@functools.cache
def readable_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are decoded, including formats of installed plugins."""
    PIL.Image.init()
    for package, module in MODULES.items():
        if is_installed(package):
            plugin = importlib.import_module(module)
            if package == "pillow-heif":  # pillow-jxl-plugin registers itself
                plugin.register_heif_opener()
    left_out = (*PROGRAM_FORMATS, *UNDECODABLE_FORMATS)
    return tuple(name for name in PIL.Image.ID if name not in left_out)


@functools.cache
def image_extensions() -> frozenset[str]:
    """Extensions of image files, in lower case with their dot."""
    formats = {*readable_formats(), "MPO"}  # MPO is opened as JPEG
    return frozenset(
        extension for extension, name in PIL.Image.EXTENSION.items() if name in formats
    )


def extension_of(name: str) -> str:
    """The extension in lower case with its dot; empty for names without one, such as `.png`."""
    stem, dot, extension = name.rpartition("/")[2].rpartition(".")
    return (dot + extension).lower() if stem else ""


def plugin_for(extension: str) -> str | None:
    """The missing package that reads files with this extension; `None` if no package helps."""
    for package, extensions in PLUGINS.items():
        if extension in extensions and not is_installed(package):
            return package
    return None


def plugin_for_content(data: bytes) -> str | None:
    """The missing package that reads this file, by its content; `None` if no package helps."""
    for package, (position, signatures) in SIGNATURES.items():
        is_brand = position == 0 or data[4:8] == b"ftyp"
        if is_brand and data.startswith(signatures, position) and not is_installed(package):
            return package
    return None


def is_installed(package: str) -> bool:
    """Whether a plugin of `PLUGINS` can be imported."""
    try:
        return importlib.util.find_spec(MODULES[package]) is not None
    except ValueError:  # sys.modules[name] is None: importing is forbidden
        return False
