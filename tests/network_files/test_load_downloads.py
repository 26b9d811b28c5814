"""legacy.load_network from web addresses: what is damaged does not stay in the cache."""

import io
import os
import pickle
from pathlib import Path

import pytest
import torch

import legacy
from dnnlib import util
from network_files import load
from tests.dnnlib import web_server
from tests.dnnlib.web_server import Answer
from training.networks_stylegan2 import Generator

PAGE = b"\n<!DOCTYPE html><html><body>Please log in"
REMOVED = "; its copy in the cache was removed, so that the next attempt downloads it again"


@pytest.fixture(scope="module")
def G() -> Generator:
    return Generator(
        z_dim=8,
        c_dim=0,
        w_dim=8,
        img_resolution=8,
        img_channels=3,
        mapping_kwargs={"num_layers": 1},
        channel_base=64,
        channel_max=8,
        num_fp16_res=0,
    )


@pytest.fixture(scope="module")
def files(G, tmp_path_factory) -> dict[str, bytes]:
    """The same network in each format."""
    path = tmp_path_factory.mktemp("networks") / "G.safetensors"
    legacy.save_networks(path, {"G_ema": G})
    return {"pickle": pickle.dumps({"G_ema": G}), "safetensors": path.read_bytes()}


@pytest.fixture
def server(monkeypatch):
    with web_server.running(monkeypatch) as server:
        server.headers = {}
        yield server


def refuse(url: str, **kwargs) -> str:
    """The message of a failure; it is one line that names the address."""
    with pytest.raises(ValueError) as error:
        legacy.load_network(url, **kwargs)
    assert str(error.value).startswith(f"{url}: ") and str(error.value).isprintable()
    return str(error.value)


@pytest.mark.parametrize("kind", ["page", "nothing", "half", "half without a length", "text"])
@pytest.mark.parametrize("file_format", ["pickle", "safetensors"])
def test_what_is_no_network_is_downloaded_again(server, files, G, kind, file_format):
    server.body = files[file_format]
    half = files[file_format][: len(files[file_format]) // 2]
    body = {"page": PAGE, "nothing": b"", "text": b"moved"}.get(kind, half)
    server.plan = [Answer(body=body, is_framed=kind != "half without a length")]
    message = refuse(server.url)
    assert message.endswith(REMOVED)
    if kind == "page":
        assert "the server sent a web page in place of a network" in message
    if "half" in kind:
        assert "truncated" in message
    loaded = legacy.load_network(server.url)["G_ema"]
    torch.testing.assert_close(loaded.state_dict(), G.state_dict(), rtol=0, atol=0)
    assert len(server.requests) == 2


class Missing:
    """Is nowhere when the pickle is read."""

    def __reduce__(self):
        return (os.path.join, ("a", "b"))


def torch_archive() -> bytes:
    file = io.BytesIO()
    torch.save({"weight": torch.zeros(3)}, file)
    return file.getvalue()


@pytest.mark.parametrize(
    "body, message",
    [
        (pickle.dumps([1, 2]), "holds a list"),
        (pickle.dumps({"G": None}), "has no generator"),
        (pickle.dumps({"x": Missing()}), "--allow-untrusted"),
        (pickle.dumps({"x": 1}, protocol=0), "not a network pickle"),
        (b"\x80\x03I1\n.", "it has the instruction INT"),
        (torch_archive(), "this is a torch.save file"),
    ],
    ids=["list", "no generator", "untrusted", "protocol 0", "instruction", "torch.save"],
)
def test_what_is_something_else_stays_and_its_place_is_named(server, body, message):
    server.body = body
    for _ in range(2):
        found = refuse(server.url)
        path = util.open_url(server.url, return_filename=True)
        assert message in found and found.endswith(f"; it is cached as {path}")
    assert Path(path).read_bytes() == body
    assert len(server.requests) == 1


def test_code_that_was_allowed_and_fails_does_not_cost_the_file(server):
    server.body = b"\x80\x02cno.such.module\nNet\n)R."
    with pytest.warns(UserWarning, match="as allowed"):
        assert "No module named" in refuse(server.url, allow_untrusted=True)
    assert Path(util.cached_download(server.url)).is_file()


@pytest.mark.skipif(os.name == "nt", reason="links take rights there")
def test_file_of_the_user_stays(tmp_path, server, files):
    path = tmp_path / "net.pkl"
    path.write_bytes(PAGE)
    assert "this is a web page" in refuse(str(path))
    cached = Path(util.cached_download(server.url))
    cached.parent.mkdir(parents=True)
    cached.symlink_to(path)
    assert refuse(server.url).endswith(f"; it is cached as {cached}")
    assert path.read_bytes() == PAGE and cached.is_symlink()


@pytest.mark.skipif(os.name == "nt", reason="open files cannot be replaced there")
def test_file_that_replaced_the_damaged_one_stays(server, monkeypatch):
    """Another process may have seen the damage first."""
    cached = Path(util.cached_download(server.url))

    def replace_and_fail(f, force_fp16, name, allow_untrusted):
        (cached.parent / "new").write_bytes(b"a good one")
        os.replace(cached.parent / "new", cached)
        raise legacy.DamagedFileError(f"{name}: damaged")

    monkeypatch.setattr(load, "load_network_pkl", replace_and_fail)
    refuse(server.url)
    assert cached.read_bytes() == b"a good one"


def test_cache_that_cannot_be_changed_is_told(server, monkeypatch):
    server.body = PAGE
    util.open_url(server.url).close()

    def deny(path, missing_ok=False):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", deny)
    path = util.cached_download(server.url)
    assert f"; delete {path}, which cannot be removed from here" in refuse(server.url)
