"""calc_metrics.py with small feature networks, from a server or a file."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner

import calc_metrics
from data import fingerprint
from data.dataset import ImageFolderDataset
from metrics import detectors, feature_cache, metric_main, metric_utils
from tests import golden
from tests.metrics import stand_ins
from training import networks_stylegan3

EQUIVARIANCE = ["eqt50k_int", "eqt50k_frac", "eqr50k"]
CHEAP = ["fid50k_full", "kid50k_full", "pr50k3_full", "ppl2_wend", "fid50k", "pr50k3", "is50k"]
ALL = [*CHEAP, "dc50k5_full"]  # the last needs more than five images
LAYOUT = golden.load_json("metrics_registry.json")["report_metric"]
KEYS = [key for key, _ in LAYOUT["record_keys_in_order_with_json_types"]]


@pytest.fixture
def network(tmp_path, dataset_zip) -> Path:
    """A network in the folder of a run."""
    run_dir = tmp_path / "00000-run"
    path = stand_ins.save_network(run_dir / "network-snapshot-000001.pkl", dataset_zip)
    (run_dir / "training_options.json").write_text("{}")
    return path


@pytest.fixture
def files(detector_files) -> list[str]:
    options = [f"--detector={name}={path}" for name, path in detector_files.items()]
    return [*options, "--allow-untrusted"]  # TorchScript


def run(*args) -> tuple[list[dict], click.testing.Result]:
    """Run the command; the records that it printed."""
    result = CliRunner().invoke(calc_metrics.main, ["--device=cpu", *map(str, args)])
    lines = [line for line in result.stdout.splitlines() if line.startswith("{")]
    return [json.loads(line) for line in lines], result


def compute(*args) -> dict:
    """Results of all metrics."""
    records, result = run(*args)
    assert result.exit_code == 0, result.output
    return {key: value for record in records for key, value in record["results"].items()}


def refuse(*args, exit_code: int = 1) -> str:
    """The single line that the command refuses with."""
    records, result = run(*args)
    assert not records
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == exit_code, result.output
    (error,) = [line for line in result.output.splitlines() if line.startswith("Error:")]
    assert result.output.rstrip().endswith(error)
    return error


def test_metrics_with_networks_from_a_server(network, detector_files, serve, dataset_zip):
    dataset = fingerprint.short(ImageFolderDataset(dataset_zip).fingerprint())
    address, requests = serve(detector_files["inception"].parent)
    options = [
        f"--network={network}",
        f"--metrics={','.join(ALL)}",
        "--num=40",
        f"--detector=inception={address}/inception.pt",
        f"--detector=vgg16={address}/vgg16.pt",
        "--allow-untrusted",
    ]
    records, result = run(*options)
    assert result.exit_code == 0, result.output
    assert [record["metric"] for record in records] == ALL
    assert all(len(set(requests)) == len(requests) == 4 for _ in records)
    for record in records:
        uses_dataset = metric_main.get_metric(record["metric"]).uses_dataset
        identity = ["dataset", "dataset_pixels"] if uses_dataset else []
        num = ["num", "num_real"] if uses_dataset else ["num"]
        sure = {"kid": ["standard_errors"], "pr5": ["intervals"], "dc5": ["intervals"]}
        facts = [*num, *sure.get(record["metric"][:3], [])]
        assert list(record) == [*KEYS, *facts, "detectors", *identity]
        assert record.get("dataset", dataset) == dataset
        assert record["num"] == 40 and record["num_gpus"] == 1
        assert record["snapshot_pkl"] == network.name
        lines = (network.parent / f"metric-{record['metric']}.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == [record]
        for value in record["results"].values():
            assert value == pytest.approx(value) and value >= 0

    again, result = run(*options, "--verbose=0")
    assert [record["results"] for record in again] == [record["results"] for record in records]
    assert result.output == "".join(json.dumps(record) + "\n" for record in again)
    lines = (network.parent / "metric-fid50k.jsonl").read_text().splitlines()
    assert len(lines) == 2


@pytest.mark.slow
@pytest.mark.multiprocess
def test_number_of_processes_does_not_change_values(dataset_zip, files, tmp_path, monkeypatch):
    network = stand_ins.save_network(tmp_path / "net.pkl", dataset_zip, c_dim=6)
    options = [f"--network={network}", f"--metrics={','.join(ALL)}", "--num=41", *files]
    one = compute(*options)
    other = compute(*options, "--seed=1")
    assert all(other[key] != one[key] for key in one if not key.startswith(("pr50k3", "dc50k5")))

    # The features of the dataset are computed anew, too. The processes print for themselves.
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "other-cache"))
    script = [sys.executable, calc_metrics.__file__, "--device=cpu", "--gpus=2", *options]
    done = subprocess.run(script, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["metric"] for record in records] == ALL
    assert {record["num_gpus"] for record in records} == {2}
    two = {key: value for record in records for key, value in record["results"].items()}
    assert two == one


def test_cache_is_used_the_second_time(network, files, monkeypatch):
    counts = []
    original = metric_utils.detect

    def detect(*args):
        counts[-1] += 1
        return original(*args)

    monkeypatch.setattr(metric_utils, "detect", detect)
    options = [f"--network={network}", "--metrics=fid50k_full", "--num=16", *files]
    values = []
    for _ in range(3):
        counts.append(0)
        records, result = run(*options)
        values.append(records[0]["results"])
        name = "dataset features" if len(counts) != 2 else "cached features"
        assert name in result.stderr
        if len(counts) == 2:
            (file,) = feature_cache.cache_file("x").parent.iterdir()
            file.write_bytes(file.read_bytes()[:100])
        elif len(counts) == 3:
            assert "Warning: " in result.stderr and "is damaged" in result.stderr
    assert counts == [8, 1, 8]  # 100 images in batches of 16, and 16 generated ones
    assert values[0] == values[1] == values[2]


def test_path_length_and_inception_score_need_no_dataset(files, tmp_path):
    network = stand_ins.save_network(tmp_path / "net.pkl")
    results = compute(f"--network={network}", "--metrics=ppl2_wend,is50k", "--num=12", *files)
    assert set(results) == {"ppl2_wend", "is50k_mean", "is50k_std"}
    error = refuse(f"--network={network}", *files)
    assert error.startswith("Error: --data is missing")


def test_data_replaces_the_dataset_of_the_pickle(network, files, tmp_path, dataset_zip):
    options = [f"--network={network}", "--num=16", *files]
    moved = shutil.copy(dataset_zip, tmp_path / "moved.zip")
    for metrics in ("fid50k_full", "fid50k"):
        expected = compute(*options, f"--metrics={metrics}")
        assert compute(*options, f"--metrics={metrics}", f"--data={moved}") == expected
    other = stand_ins.save_dataset(tmp_path / "other.zip", num_images=40)
    assert compute(*options, f"--data={other}") != compute(*options)


def test_mirrored_images_count_where_all_are_not_used(network, files):
    options = [f"--network={network}", "--num=150", *files]
    for metric, is_changed in (("fid50k_full", False), ("fid50k", True)):
        plain, mirrored = (
            compute(*options, f"--metrics={metric}", f"--mirror={mirror}") for mirror in (0, 1)
        )
        assert (plain != mirrored) == is_changed


def test_batch_gen_changes_no_more_than_rounding(network, files):
    options = [f"--network={network}", "--metrics=fid50k", "--num=32", *files]
    fid = compute(*options)["fid50k"]
    assert compute(*options, "--batch-gen=4")["fid50k"] == fid
    assert compute(*options, "--batch-gen=1")["fid50k"] == pytest.approx(fid, rel=0.05)


def test_equivariance_of_a_stylegan3(tmp_path):
    torch.manual_seed(0)
    G = networks_stylegan3.Generator(8, 0, 8, 32, 3, channel_base=64, channel_max=4).eval()
    (tmp_path / "net.pkl").write_bytes(pickle.dumps(dict(G_ema=G)))
    results = compute(
        f"--network={tmp_path / 'net.pkl'}", f"--metrics={','.join(EQUIVARIANCE)}", "--num=8"
    )
    assert list(results) == EQUIVARIANCE
    assert results["eqt50k_int"] > 20


def test_network_outside_of_a_run_leaves_no_files(files, tmp_path):
    network = stand_ins.save_network(tmp_path / "net.pkl")
    compute(f"--network={network}", "--metrics=is50k", "--num=10", *files)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.pkl"]


def test_gray_and_conditional_networks(files, tmp_path):
    data = golden.DATA_DIR / "datasets"
    gray = stand_ins.save_network(
        tmp_path / "gray.pkl", data / "dataset_small_gray.zip", resolution=8, channels=1
    )
    rgb = stand_ins.save_network(tmp_path / "rgb.pkl", data / "dataset_small_rgb.zip", c_dim=6)
    for network in (gray, rgb):
        results = compute(
            f"--network={network}", f"--metrics={','.join(CHEAP)}", "--num=12", *files
        )
        assert all(value == pytest.approx(value) for value in results.values())


# Refusals.


def test_missing_detector_is_one_line_before_anything_is_computed(network, no_network):
    error = refuse(f"--network={network}", "--metrics=ppl2_wend,fid50k_full,pr50k3_full")
    assert "cannot compute ppl2_wend, fid50k_full, pr50k3_full" in error
    assert no_network["vgg16"] in error
    assert "--detector vgg16=PATH" in error
    assert detectors.FOLDER_VARIABLE in error


@pytest.mark.parametrize("path", ["x\nFORGED\x1b[2J.zip", "x" * 100_000])
def test_paths_in_networks_cannot_write_lines_of_their_own(path, network, files, tmp_path):
    with network.open("rb") as f:
        data = pickle.load(f)
    data["training_set_kwargs"]["path"] = path
    (tmp_path / "hostile.pkl").write_bytes(pickle.dumps(data))
    error = refuse(f"--network={tmp_path / 'hostile.pkl'}", *files)
    assert error.startswith("Error: --data: ") and len(error) < 1000
    assert "FORGED" not in error or "x\\nFORGED\\x1b[2J.zip: no such folder" in error


def test_pickled_detector_needs_trust(network, tmp_path):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(torch.nn.Identity()))
    options = [f"--network={network}", f"--detector=inception={tmp_path / 'x.pkl'}", "--num=8"]
    assert "--allow-untrusted loads it all the same" in refuse(*options)
    _, result = run(*options, "--allow-untrusted")
    assert "unexpected keyword argument" in str(result.exception)  # it was loaded, and called


@pytest.mark.slow
@pytest.mark.parametrize("entrance", ["option", "folder"])
def test_torchscript_that_writes_files_ends_in_one_line(entrance, network, tmp_path, monkeypatch):
    """As users run the command; a file of theirs is untouched."""
    victim, folder = tmp_path / "victim", tmp_path / "detectors"
    victim.write_text(stand_ins.ALIVE)
    folder.mkdir()
    attack = stand_ins.save_overwriting_detector(folder / "inception-2015-12-05.pt", victim)
    options = [f"--network={network}", "--metrics=fid50k_full", "--num=8", "--verbose=0"]
    if entrance == "option":
        options.append(f"--detector=inception={attack}")
    else:
        monkeypatch.setenv(detectors.FOLDER_VARIABLE, str(folder))
    script = [sys.executable, calc_metrics.__file__, "--device=cpu", *options]
    done = subprocess.run(script, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Error: cannot compute fid50k_full: {attack} is a TorchScript file")
    assert victim.read_text() == stand_ins.ALIVE
    records, _ = run(*options, "--allow-untrusted")
    assert [record["metric"] for record in records] == ["fid50k_full"]
    assert victim.read_text() == stand_ins.OVERWRITTEN


@pytest.mark.parametrize(
    ("options", "named", "exit_code"),
    [
        (["--metrics=fid9k"], "'fid9k' is unknown", 2),
        (["--metrics=none"], "name at least one metric", 2),
        (["--gpus=0"], "--gpus", 2),
        (["--num=0"], "--num", 2),
        (["--batch-gen=0"], "--batch-gen", 2),
        (["--seed=-1"], "--seed", 2),
        (["--detector=vgg=x"], "'vgg=x' is not inception=PATH", 2),
        (["--data=missing.zip"], "--data: missing.zip: no such folder", 1),
        (["--gpus=2", "--device=auto"], "--gpus=2", 1),
        (["--metrics=is50k", "--num=9"], "needs 10 samples", 1),
        (["--metrics=kid50k", "--num=1"], "needs two images", 1),
    ],
)
def test_senseless_options_are_refused(options, named, exit_code, network, files):
    assert named in refuse(f"--network={network}", *files, *options, exit_code=exit_code)


def test_missing_network_is_refused(tmp_path):
    error = refuse(f"--network={tmp_path / 'net.pkl'}")
    assert error.startswith("Error: --network: No such file")


def test_datasets_that_do_not_suit_the_network_are_refused(files, tmp_path, dataset_zip):
    network = stand_ins.save_network(tmp_path / "net.pkl", dataset_zip, resolution=8)
    error = refuse(f"--network={network}", *files)
    assert error.startswith("Error: --data: ") and "8x8" in error
    network = stand_ins.save_network(tmp_path / "net.pkl", dataset_zip, c_dim=4)
    error = refuse(f"--network={network}", "--metrics=is50k", *files)
    assert "are 6 numbers, the network takes 4" in error
    network = stand_ins.save_network(tmp_path / "net.pkl", tmp_path / "gone.zip")
    error = refuse(f"--network={network}", *files)
    assert "gone.zip" in error and "trained with it, name another" in error


@pytest.mark.slow
@pytest.mark.multiprocess
def test_failure_in_one_of_two_processes_is_one_line(network, files, tmp_path):
    (tmp_path / "cut.pt").write_bytes(Path(files[0].rpartition("=")[2]).read_bytes()[:-40])
    options = [f"--network={network}", "--gpus=2", "--num=8", "--allow-untrusted"]
    error = refuse(*options, f"--detector=inception={tmp_path}/cut.pt")
    assert "cut.pt holds no feature network" in error


def test_help_lists_all_metrics():
    text = CliRunner().invoke(calc_metrics.main, ["--help"]).output
    assert all(name in text for name in metric_main.list_valid_metrics())
