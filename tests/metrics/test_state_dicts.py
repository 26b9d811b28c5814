"""State dicts are read as before; what asks for more than its size is refused at once."""

import io
import pickle
import time
import zipfile

import pytest
import torch

from metrics import inception, state_dicts


def file_of(path, content, is_old: bool):
    torch.save(content, path, _use_new_zipfile_serialization=not is_old)
    return path


@pytest.mark.parametrize("is_old", [False, True])
def test_state_dicts_of_pytorch_pass(is_old, tmp_path):
    with torch.device("meta"):
        shapes = {name: t.shape for name, t in inception.InceptionV3().state_dict().items()}
    shared = torch.zeros(5)
    layer = torch.nn.BatchNorm1d(4)
    for content in (
        {name: torch.zeros(shape[:1]) for name, shape in shapes.items()},
        layer.state_dict(),
        {"weight": layer.weight, "half": torch.zeros(3).half(), "count": 7},
        {"a": shared, "b": shared[1:3], "c": shared},
    ):
        state_dicts.check(file_of(tmp_path / "x.pth", content, is_old))
        assert state_dicts.is_old_format((tmp_path / "x.pth").read_bytes()) == is_old


def laughs(depth: int = 60) -> object:
    value = ()
    for _ in range(depth):
        value = (value, value)
    return value


HOSTILE = {
    "billion laughs": {"x": laughs()},
    "billion laughs as a key": None,  # Python cannot make these
    "copies of a dictionary": None,
    "a storage of 2^30 numbers": None,
    "code": {"x": print},
    "large numbers": {"x": 1 << 5000},
    "bytes": {"x": bytearray(10)},
    "too long": {"x": list(range(state_dicts.MAX_INSTRUCTIONS))},
}


def pickle_of(name: str) -> bytes:
    if name == "billion laughs as a key":
        tuples = b"".join(b"q%c" % i + b"h%c" % i + b"\x86" for i in range(60))
        return b"\x80\x02})" + tuples + b"K\x01s."
    ordered = b"\x80\x02ccollections\nOrderedDict\nq\x00"
    if name == "copies of a dictionary":
        pairs = b"".join(b"(K%cK\x00t" % (i % 256) for i in range(1000))
        whole = ordered + b"](" + pairs + b"e\x85Rq\x01"
        return whole + b"h\x00h\x01\x85R0" * 10_000 + b"."
    if name == "a storage of 2^30 numbers":
        return b"\x80\x02ctorch\nFloatStorage\nJ\x00\x00\x00\x40\x85R."
    return pickle.dumps(HOSTILE[name], protocol=2)


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_what_asks_for_more_is_refused_at_once(name, is_old, tmp_path):
    path = tmp_path / "x.pth"
    if is_old:
        whole = io.BytesIO()
        torch.save({}, whole, _use_new_zipfile_serialization=False)
        end_of_facts = whole.getvalue().index(b"}", whole.getvalue().rindex(b"sizes")) + 1
        path.write_bytes(whole.getvalue()[:end_of_facts] + b"." + pickle_of(name))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x/data.pkl", pickle_of(name))
    start = time.process_time()
    with pytest.raises(ValueError):
        state_dicts.check(path)
    assert time.process_time() - start < 5


def test_archive_behind_a_hostile_file_hides_nothing(tmp_path):
    """PyTorch looks at the first bytes, and Python's `is_zipfile` at the last."""
    path = tmp_path / "x.pth"
    path.write_bytes(pickle_of("billion laughs as a key"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x/data.pkl", pickle.dumps({}, protocol=2))
    assert zipfile.is_zipfile(path)
    with pytest.raises(ValueError, match="a tuple as a key"):
        state_dicts.check(path)


def test_compressed_archives_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", pickle.dumps({}, protocol=2))
        archive.writestr("x/data/0", bytes(10_000_000))
    with pytest.raises(ValueError, match="compressed"):
        state_dicts.check(tmp_path / "x.pth")
