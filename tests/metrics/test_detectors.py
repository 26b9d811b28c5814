"""Feature networks: where they come from, which files are understood, what is refused."""

import io
import json
import os
import pickle
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import safetensors.torch
import torch

from metrics import detectors, inception, metric_main, metric_utils, published, servers
from tests.metrics import stand_ins

CPU = torch.device("cpu")
IMAGES = torch.arange(2 * 3 * 16 * 16).reshape(2, 3, 16, 16).to(torch.uint8)


class Wrapper(torch.nn.Module):
    """What a pickle may hold: a module that restores itself from TorchScript bytes."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = data

    def __reduce__(self):
        return _restore, (self.data,)


def _restore(data: bytes) -> torch.nn.Module:
    return torch.jit.load(io.BytesIO(data))


@pytest.fixture
def pickle_file(tmp_path, detector_files):
    path = tmp_path / "inception-2015-12-05.pkl"
    path.write_bytes(pickle.dumps(Wrapper(detector_files["inception"].read_bytes())))
    return path


def load(location, name="inception", **kwargs) -> torch.nn.Module:
    source = detectors.find(detectors.URLS[name], {name: str(location)})
    return detectors.load(source, CPU, **kwargs)


def expected_features() -> torch.Tensor:
    return stand_ins.Inception()(IMAGES, return_features=True)


def test_torchscript_loads_from_a_file_and_from_a_server(detector_files, serve):
    address, requests = serve(detector_files["inception"].parent)
    for location in (detector_files["inception"], f"{address}/inception.pt"):
        detector = load(location, allow_untrusted=True)
        torch.testing.assert_close(detector(IMAGES, return_features=True), expected_features())
    assert requests == ["HEAD /inception.pt", "GET /inception.pt"]
    assert (
        load(f"{address}/inception.pt", allow_untrusted=True) is detector
    )  # the same file, loaded once
    assert len(requests) == 2


def test_published_keywords_are_accepted(pickle_file):
    detector = metric_utils.get_feature_detector(
        detectors.URLS["inception"],
        device=CPU,
        num_gpus=1,
        rank=0,
        verbose=True,
        replacements={"inception": str(pickle_file)},
        allow_untrusted=True,
    )
    torch.testing.assert_close(detector(IMAGES, return_features=True), expected_features())


@pytest.fixture
def publisher(pickle_file, serve, monkeypatch):
    """A server with the pickle of a publisher, as if over https; its requests."""
    address, requests = serve(pickle_file.parent)
    monkeypatch.setitem(detectors.URLS, "inception", f"{address}/{pickle_file.name}")
    monkeypatch.setattr(published, "is_secure", lambda url: True)
    return requests


def load_published(**kwargs) -> torch.nn.Module:
    """Load the detector as a new process would."""
    detectors._loaded.clear()
    return metric_utils.get_feature_detector(detectors.URLS["inception"], CPU, **kwargs)


def refuse_published() -> str:
    """The line that the published detector is refused with."""
    with pytest.raises(ValueError) as info:
        load_published()
    message = str(info.value)
    assert "--allow-untrusted loads it all the same" in message and "\n" not in message
    return message


def cached_file() -> Path:
    return published.cached_path(detectors.URLS["inception"])


class Canary:
    """In a pickle, writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "ran")


def test_published_pickle_is_trusted(publisher):
    for _ in range(2):  # the second time from the cache
        detector = load_published()
        torch.testing.assert_close(detector(IMAGES, return_features=True), expected_features())
    assert len(publisher) == 2
    record = published.record_path(cached_file())
    assert json.loads(record.read_text()) == dict(
        url=detectors.URLS["inception"], sha256=published.sha256_of(cached_file())
    )
    assert record.stat().st_mode & 0o077 == 0


def test_published_file_that_was_put_there_by_hand_needs_trust(publisher, tmp_path):
    path = cached_file()
    path.parent.mkdir()
    path.write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    message = refuse_published()
    assert f"{path} is a pickle, which can run code when it is loaded" in message
    assert "was not downloaded from" in message and "delete it to download it again" in message
    assert not (tmp_path / "canary").exists()
    assert publisher == []
    with pytest.raises(ValueError, match="found a"):
        load_published(allow_untrusted=True)
    assert (tmp_path / "canary").exists()
    path.unlink()  # as the message says
    load_published()
    assert publisher


def test_published_file_that_has_changed_is_refused(publisher, tmp_path):
    load_published()
    path = cached_file()
    path.write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    message = refuse_published()
    assert "is not the file that was first downloaded from" in message
    assert published.sha256_of(path) in message
    assert str(published.record_path(path)) in message
    assert not (tmp_path / "canary").exists()
    path.unlink()
    load_published()


def test_publication_that_has_changed_is_refused_until_the_record_is_deleted(
    publisher, pickle_file
):
    load_published()
    cached_file().unlink()
    pickle_file.write_bytes(pickle_file.read_bytes() + b" ")
    assert "is not the file that was first downloaded" in refuse_published()
    published.record_path(cached_file()).unlink()
    cached_file().unlink()
    load_published()


@pytest.mark.parametrize("is_published", [True, False])
@pytest.mark.parametrize("damage", ["web page", "half"])
def test_damaged_download_is_dropped_and_fetched_again(
    damage, is_published, publisher, pickle_file
):
    whole = pickle_file.read_bytes()
    pickle_file.write_bytes(
        b"\n<!DOCTYPE html><html>log in</html>"
        if damage == "web page"
        else whole[: len(whole) // 2]
    )

    def load_again() -> torch.nn.Module:
        if is_published:
            return load_published()
        detectors._loaded.clear()
        return load(f"{detectors.URLS['inception']}?x", allow_untrusted=True)

    expected = "the server sent a web page" if damage == "web page" else "holds no feature network"
    with pytest.raises(ValueError, match=rf"{expected}.*; its copy in the cache was removed, so"):
        load_again()
    pickle_file.write_bytes(whole)
    detector = load_again()
    torch.testing.assert_close(detector(IMAGES, return_features=True), expected_features())


def test_published_addresses_are_secure():
    assert published.is_secure(detectors.BASE_URL)
    assert not published.is_secure("http://127.0.0.1:9/x.pkl")


@pytest.mark.skipif(os.name == "nt", reason="no owners and modes")
def test_download_into_a_folder_of_all_users_is_not_remembered(publisher):
    folder = cached_file().parent
    folder.mkdir()
    folder.chmod(0o777)
    assert f"chmod go-w {folder}" in refuse_published()
    folder.chmod(0o755)
    assert "was not downloaded from" in refuse_published()
    cached_file().unlink()
    load_published()


def test_published_pickle_over_http_needs_trust(publisher, monkeypatch):
    monkeypatch.setattr(published, "is_secure", lambda url: False)
    assert "was not downloaded from" in refuse_published()
    assert not published.record_path(cached_file()).exists()


@pytest.mark.skipif(os.name == "nt", reason="no owners and modes")
@pytest.mark.parametrize("what", ["folder", "file", "record"])
@pytest.mark.parametrize("fault", ["foreign", "writable"])
def test_published_file_that_others_could_have_put_there_is_refused(
    what, fault, publisher, monkeypatch
):
    load_published()
    path = cached_file()
    place = dict(folder=path.parent, file=path, record=published.record_path(path))[what]
    if fault == "writable":
        place.chmod(place.stat().st_mode | 0o002)
        expected = f"other users may write to {place} (mode "
    else:
        lstat = Path.lstat
        foreign = {place: 54321}
        monkeypatch.setattr(
            Path,
            "lstat",
            lambda p: os.stat_result(
                [*lstat(p)[:4], foreign.get(p, lstat(p).st_uid), *lstat(p)[5:]]
            ),
        )
        expected = f"{place} belongs to another user (uid 54321"
    message = refuse_published()
    assert expected in message and "DNNLIB_CACHE_DIR" in message
    load_published(allow_untrusted=True)


def test_processes_that_need_a_published_file_at_once_all_trust_it(publisher):
    source = detectors.find(detectors.URLS["inception"])
    with ThreadPoolExecutor(4) as pool:
        checks = [pool.submit(detectors.check, source, False) for _ in range(4)]
        assert {check.result() for check in checks} == {(cached_file(), "pickle")}
    assert sum(request.startswith("GET") for request in publisher) == 1


def test_other_pickles_need_trust(pickle_file, monkeypatch):
    with pytest.raises(ValueError, match="--allow-untrusted loads it all the same") as info:
        load(pickle_file)
    assert str(pickle_file) in str(info.value) and "\n" not in str(info.value)
    detector = load(pickle_file, allow_untrusted=True)
    torch.testing.assert_close(detector(IMAGES, return_features=True), expected_features())
    monkeypatch.setenv(detectors.FOLDER_VARIABLE, str(pickle_file.parent))
    with pytest.raises(ValueError, match="is a pickle, which can run code"):
        metric_utils.get_feature_detector(detectors.URLS["inception"], CPU)


def test_tensors_of_a_gpu_load_without_one(pickle_file, monkeypatch):
    seen = []
    original = torch.jit.load

    def spy(f, map_location=None, *args, **kwargs):
        seen.append(map_location)
        return original(f, map_location, *args, **kwargs)

    monkeypatch.setattr(torch.jit, "load", spy)
    load(pickle_file, allow_untrusted=True)
    assert seen == ["cpu"]
    assert torch.jit.load is spy


def test_folder_in_the_environment_is_looked_at_first(detector_files, tmp_path, monkeypatch):
    monkeypatch.setenv(detectors.FOLDER_VARIABLE, str(tmp_path))
    url = detectors.URLS["inception"]
    assert detectors.find(url).location == url
    path = tmp_path / "inception-2015-12-05.pt"
    path.write_bytes(detector_files["inception"].read_bytes())
    assert detectors.find(url).location == str(path)
    assert detectors.find(url, dict(inception="other.pt")).location == "other.pt"


def test_identity_is_the_content(detector_files, tmp_path):
    copy = tmp_path / "renamed.pt"
    copy.write_bytes(detector_files["inception"].read_bytes())
    sources = [
        detectors.find(detectors.URLS["inception"], dict(inception=str(path)))
        for path in (detector_files["inception"], copy)
    ]
    first, second = map(detectors.identity, sources)
    assert first.partition("/")[0] == second.partition("/")[0]
    assert [detectors.stem(name) for name in (first, second)] == ["inception", "renamed"]


@pytest.mark.parametrize("legacy_format", [False, True])
def test_state_dicts_go_to_inception(legacy_format, tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    state = dict(a=torch.zeros(2))
    torch.save(state, path, _use_new_zipfile_serialization=not legacy_format)
    seen = []

    def build(path, kind, name):
        seen.append((path, kind, name))
        return stand_ins.Inception()

    monkeypatch.setattr(detectors, "_load_state_dict", build)
    load(path)
    assert seen == [(path, "state dict", "inception")]


def state_dict() -> dict[str, torch.Tensor]:
    """Random weights of the Inception network, in float16 to be small."""
    state = inception.InceptionV3().state_dict()
    return {name: torch.rand_like(value).half() for name, value in state.items()}


def test_state_dicts_and_safetensors_give_the_same_inception_without_trust(tmp_path):
    state = state_dict()
    torch.save(state, tmp_path / "weights.pth")
    safetensors.torch.save_file(state, tmp_path / "weights.bin")
    first, second = (load(tmp_path / name) for name in ("weights.pth", "weights.bin"))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])


def test_safetensors_of_something_else_are_refused(tmp_path):
    safetensors.torch.save_file(dict(a=torch.zeros(2)), tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"x\.safetensors holds no .* lacks Conv2d"):
        load(tmp_path / "x.safetensors")


# TorchScript runs code, too.


@pytest.fixture
def canary(tmp_path) -> Path:
    path = tmp_path / "canary"
    path.write_text(stand_ins.ALIVE)
    return path


@pytest.fixture
def overwriting(tmp_path, canary) -> Path:
    """A TorchScript file that writes to the canary."""
    return stand_ins.save_overwriting_detector(tmp_path / "attack.pt", canary)


def test_torchscript_that_writes_a_file_needs_trust(overwriting, canary, monkeypatch):
    with pytest.raises(ValueError, match="is a TorchScript file, which can run code") as info:
        load(overwriting)
    assert str(overwriting) in str(info.value) and "\n" not in str(info.value)
    folder = overwriting.parent
    overwriting.rename(folder / "inception-2015-12-05.pt")
    monkeypatch.setenv(detectors.FOLDER_VARIABLE, str(folder))
    missing = metric_main.find_missing(["fid50k_full"])
    assert "is a TorchScript file, which can run code" in missing["fid50k_full"]
    assert canary.read_text() == stand_ins.ALIVE
    load(folder / "inception-2015-12-05.pt", allow_untrusted=True)
    assert canary.read_text() == stand_ins.OVERWRITTEN


def rewrite(path: Path, rename, **options) -> None:
    """Write a TorchScript archive again under other names of its members."""
    with zipfile.ZipFile(path) as archive:
        members = [(rename(name), archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in members:
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(data)


def disguise_as_state_dict(path: Path) -> None:
    """A state dict in front, and what only the end of the file leads to."""
    buffer = io.BytesIO()
    torch.save(dict(a=torch.zeros(2)), buffer)
    path.write_bytes(buffer.getvalue() + path.read_bytes())


DISGUISES = {
    "zip64": lambda path: rewrite(path, lambda name: name),
    "compressed": lambda path: rewrite(path, str, compression=zipfile.ZIP_DEFLATED),
    "capitals": lambda path: rewrite(path, lambda name: name.replace("constants", "CONSTANTS")),
    "folder": lambda path: rewrite(path, lambda name: f"a/{name}"),
    "no folder": lambda path: rewrite(path, lambda name: name.partition("/")[2]),
    "no constants": lambda path: rewrite(path, lambda name: name.replace("constants", "other")),
    "backslashes": lambda path: rewrite(path, lambda name: name.replace("/", "\\")),
    "prefix": lambda path: path.write_bytes(b"prefix" + path.read_bytes()),
    "zeros in front": lambda path: path.write_bytes(bytes(64) + path.read_bytes()),
    "state dict in front": disguise_as_state_dict,
    "pickle in front": lambda path: path.write_bytes(pickle.dumps({}) + path.read_bytes()),
    "end cut off": lambda path: path.write_bytes(path.read_bytes()[:-22]),
}


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("name", ["inception", "vgg16"])
def test_disguised_torchscript_is_never_loaded(disguise, name, overwriting, canary, monkeypatch):
    def load_script(*args, **kwargs):
        raise AssertionError("loaded")

    monkeypatch.setattr(torch.jit, "load", load_script)
    monkeypatch.setattr(torch._C, "import_ir_module", load_script)
    DISGUISES[disguise](overwriting)
    with pytest.raises(ValueError) as info:
        load(overwriting, name)
    assert "\n" not in str(info.value) and "loaded)" not in str(info.value)
    assert canary.read_text() == stand_ins.ALIVE


def test_file_that_changes_after_the_look_runs_nothing(overwriting, canary, monkeypatch):
    """What was taken for data is read by what reads nothing else."""
    monkeypatch.setattr(detectors, "_kind", lambda path: "state dict")
    with pytest.raises(ValueError, match="holds no feature network"):
        load(overwriting)
    assert canary.read_text() == stand_ins.ALIVE


def test_state_dict_of_vgg16_is_refused(tmp_path):
    torch.save(dict(a=torch.zeros(2)), tmp_path / "vgg.pth")
    with pytest.raises(ValueError, match=r"vgg\.pth holds no .* 'vgg16' must be TorchScript"):
        load(tmp_path / "vgg.pth", name="vgg16")


@pytest.mark.parametrize("content", [b"", b"hello", pickle.dumps([1, 2])])
def test_files_of_another_kind_are_refused(content, tmp_path):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.pt holds no feature network"):
        load(tmp_path / "x.pt", allow_untrusted=True)
    with pytest.raises(ValueError, match="is a pickle"):
        load(tmp_path / "x.pt")


def test_message_says_which_file_and_both_ways_out(no_network):
    missing = metric_main.find_missing(["fid50k_full", "is50k", "ppl2_wend", "eqr50k"])
    assert list(missing) == ["fid50k_full", "is50k", "ppl2_wend"]
    assert missing["fid50k_full"] == missing["is50k"]
    for metric, name in (("fid50k_full", "inception"), ("ppl2_wend", "vgg16")):
        message = missing[metric]
        url = no_network[name]
        way_out = f"fetch {detectors.REPLACEMENTS[name][1]}"
        assert detectors.REPLACEMENTS[name][0] in detectors.FILE_NAMES[name]
        for part in (url.rpartition("/")[2], url, f"--detector {name}=PATH", way_out):
            assert part in message
        assert detectors.FOLDER_VARIABLE in message
        assert "\n" not in message
        assert "the server cannot be reached: ConnectionError" in message


def test_named_file_that_is_missing(tmp_path):
    missing = metric_main.find_missing(["is50k"], dict(inception=str(tmp_path / "no.pt")))
    assert "No such file or directory" in missing["is50k"]
    assert "no.pt" in missing["is50k"]


def test_network_that_swallows_everything_is_noticed_in_time(monkeypatch):
    monkeypatch.setattr(servers, "PROBE_SEC", 0.2)
    is_over, gave_up = threading.Event(), []

    def wait(*args, **kwargs):
        if not is_over.wait(60):
            gave_up.append(args)
        raise servers.requests.exceptions.ConnectionError

    monkeypatch.setattr(servers.requests, "head", wait)
    missing = metric_main.find_missing(["fid50k_full", "kid50k_full"])
    is_over.set()
    assert not gave_up
    assert "nothing within 0.2 s" in missing["kid50k_full"]
    for thread in threading.enumerate():
        if thread.daemon and thread.name.endswith("(ask)"):
            thread.join()


@pytest.mark.parametrize("text", ["inception", "vgg=x.pt", "inception=", "=x"])
def test_senseless_options_are_refused(text):
    with pytest.raises(ValueError, match="is not inception=PATH or vgg16=PATH"):
        detectors.parse(text)
    assert detectors.parse("vgg16=a=b.pt") == ("vgg16", "a=b.pt")
