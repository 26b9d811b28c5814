"""Arrays from NPZ files: what is read, and what is refused without its memory."""

import io
import struct
import zipfile

import numpy as np
import pytest

from torch_utils import npz


def write_npy(path, shape: str, data: bytes = b"", descr: str = "'<f4'", **kwargs):
    """An NPZ file whose array claims a shape."""
    facts = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(facts)) + facts + data
    with zipfile.ZipFile(path, "w", **kwargs) as archive:
        archive.writestr("w.npy", content)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3, 4)])
def test_arrays_are_those_that_were_saved(tmp_path, save, shape):
    x = np.random.default_rng(0).standard_normal(shape)
    save(tmp_path / "x.npz", other=np.zeros(3), w=x)
    np.testing.assert_array_equal(npz.read_array(tmp_path / "x.npz", "w"), x, strict=True)


def test_small_arrays_may_be_compressed_well(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", w=np.zeros([1 << 20]))
    assert npz.read_array(tmp_path / "x.npz", "w").shape == (1 << 20,)


@pytest.mark.parametrize(
    "shape", ["(1099511627776,)", "(2,)", "(1 << 70,)", "(-1,)", "((((1,),),),)"]
)
def test_claims_that_the_file_does_not_keep_are_refused(tmp_path, shape):
    with pytest.raises(ValueError, match="has no array 'w' that can be read"):
        npz.read_array(write_npy(tmp_path / "x.npz", shape, bytes(4)), "w")


def test_bombs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "MAX_SMALL_BYTES", 1000)
    path = tmp_path / "x.npz"
    write_npy(path, "(262144,)", bytes(1 << 20), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="has no array 'w'") as info:
        npz.read_array(path, "w")
    assert "far larger than the file" in str(info.value.__cause__)


@pytest.mark.parametrize(
    ("offset", "value"), [(8, b"\x01\x00"), (10, b"\x63\x00")], ids=["encrypted", "compression"]
)
def test_archives_of_other_kinds_are_refused(tmp_path, offset, value):
    buffer = io.BytesIO()
    np.savez(buffer, w=np.ones(3))
    data = bytearray(buffer.getvalue())
    start = data.rindex(b"PK\x01\x02") + offset
    data[start : start + 2] = value
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(ValueError, match="has no array 'w' that can be read"):
        npz.read_array(tmp_path / "x.npz", "w")


@pytest.mark.parametrize("version", [b"\x14", b"\xff"], ids=["end", "version"])
def test_damaged_files_have_no_names(tmp_path, version):
    buffer = io.BytesIO()
    np.savez(buffer, w=np.ones(3))
    data = bytearray(buffer.getvalue())
    data[data.rindex(b"PK\x01\x02") + 6] = version[0]  # to extract it
    (tmp_path / "x.npz").write_bytes(data if version == b"\xff" else data[:-4])
    with pytest.raises(ValueError, match=r"x.npz is not an NPZ file"):
        npz.names(tmp_path / "x.npz")


def test_objects_and_other_names_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", w=np.array([{}], dtype=object))
    for name in ("w", "v"):
        with pytest.raises(ValueError, match=f"has no array '{name}'"):
            npz.read_array(tmp_path / "x.npz", name)
    with pytest.raises(FileNotFoundError):
        npz.read_array(tmp_path / "missing.npz", "w")


def test_a_long_list_of_arrays_is_refused_unparsed(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for n in range(12_000):
            archive.writestr(str(n), b"")
    monkeypatch.setattr(zipfile.ZipInfo, "__init__", lambda *args: pytest.fail("parsed"))
    with pytest.raises(ValueError, match=r"x.npz lists more arrays") as info:
        npz.names(path)
    assert "\n" not in str(info.value)
    with pytest.raises(ValueError, match="has no array 'w' that can be read"):
        npz.read_array(path, "w")


def test_large_arrays_are_not_taken_for_a_list(tmp_path):
    x = np.array(["x" * npz.MAX_DIRECTORY_BYTES])  # NumPy reads it at once
    np.savez(tmp_path / "x.npz", w=x)
    assert npz.names(tmp_path / "x.npz") == {"w"}
    np.testing.assert_array_equal(npz.read_array(tmp_path / "x.npz", "w"), x, strict=True)
