"""Feature networks: where they come from, which files are understood, what is refused."""

import pickle
import threading
import time

import pytest
import torch

from metrics import detectors, metric_main, metric_utils
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
    import io

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
        detector = load(location)
        torch.testing.assert_close(detector(IMAGES, return_features=True), expected_features())
    assert requests == ["HEAD /inception.pt", "GET /inception.pt"]
    assert load(f"{address}/inception.pt") is detector  # the same file, loaded once
    assert len(requests) == 2


def test_published_pickle_is_trusted(pickle_file, serve, monkeypatch):
    address, requests = serve(pickle_file.parent)
    url = f"{address}/{pickle_file.name}"
    monkeypatch.setitem(detectors.URLS, "inception", url)
    for _ in range(2):  # the second time from the cache
        monkeypatch.setattr(detectors, "_loaded", {})
        detector = metric_utils.get_feature_detector(url, CPU)
        torch.testing.assert_close(detector(IMAGES, return_features=True), expected_features())
    assert len(requests) == 2
    source = detectors.find(url)
    assert detectors.identity(source) == url


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

    def build(path, name):
        seen.append((path, name))
        return stand_ins.Inception()

    monkeypatch.setattr(detectors, "_load_state_dict", build)
    load(path)
    assert seen == [(path, "inception")]


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
        for part in (url.rpartition("/")[2], url, f"--detector {name}=PATH"):
            assert part in message
        assert detectors.FOLDER_VARIABLE in message
        assert "\n" not in message
        assert "the server cannot be reached: ConnectionError" in message


def test_named_file_that_is_missing(tmp_path):
    missing = metric_main.find_missing(["is50k"], dict(inception=str(tmp_path / "no.pt")))
    assert "No such file or directory" in missing["is50k"]
    assert "no.pt" in missing["is50k"]


def test_network_that_swallows_everything_is_noticed_in_time(monkeypatch):
    monkeypatch.setattr(detectors, "PROBE_SEC", 0.2)
    monkeypatch.setattr(detectors.requests, "head", lambda *args, **kwargs: wait())

    def wait():
        time.sleep(1.5)
        raise detectors.requests.exceptions.ConnectionError

    start = time.monotonic()
    missing = metric_main.find_missing(["fid50k_full", "kid50k_full"])
    assert time.monotonic() - start < 1
    assert "nothing within 0.2 s" in missing["kid50k_full"]
    for thread in threading.enumerate():
        if thread.daemon and thread.name.endswith("(ask)"):
            thread.join()


@pytest.mark.parametrize("text", ["inception", "vgg=x.pt", "inception=", "=x"])
def test_senseless_options_are_refused(text):
    with pytest.raises(ValueError, match="is not inception=PATH or vgg16=PATH"):
        detectors.parse(text)
    assert detectors.parse("vgg16=a=b.pt") == ("vgg16", "a=b.pt")
