"""`torch.save` files are outlined in both formats; sizes that a file does not have are refused."""

import io
import pickle
import zipfile

import pytest
import torch

from torch_utils import state_file


def old_file(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


@pytest.mark.parametrize("is_old", [False, True])
def test_outline_has_meta_tensors(is_old, tmp_path):
    shared = torch.zeros(6, dtype=torch.float16)
    state = {"a": shared.view(2, 3), "b": shared[1:], "c": [1, ("x", None)]}
    torch.save(state, tmp_path / "x.pt", _use_new_zipfile_serialization=not is_old)
    outline = state_file.outline(tmp_path / "x.pt")
    assert outline["c"] == state["c"]
    for name in ("a", "b"):
        assert outline[name].is_meta and outline[name].dtype == torch.float16
        assert outline[name].shape == state[name].shape


def test_old_format_has_no_storage_that_is_larger_than_the_file(tmp_path):
    data = old_file({"a": torch.zeros(3, dtype=torch.uint8)})
    assert data.count(b"K\x03Nt") == 1  # the size of the storage, and no view
    (tmp_path / "x.pt").write_bytes(data.replace(b"K\x03Nt", b"J\x00\x00\x00\x40Nt"))
    with pytest.raises(ValueError, match="larger or smaller than its data"):
        state_file.outline(tmp_path / "x.pt")


def test_archive_behind_a_pickle_hides_nothing(tmp_path):
    """PyTorch looks at the first bytes, and Python's `zipfile` at the last."""
    path = tmp_path / "x.pt"
    path.write_bytes(old_file({"code": print}))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x/data.pkl", pickle.dumps({}, protocol=2))
    with pytest.raises(ValueError, match=r"it asks for \S+\.print"):
        state_file.outline(path)
