"""Names, arguments, records and cache files of metrics, against the reference."""

import json
import os
from types import SimpleNamespace

import pytest
import torch

import dnnlib
from metrics import (
    comparison,
    equivariance,
    feature_cache,
    frechet_inception_distance,
    inception_score,
    kernel_inception_distance,
    metric_main,
    metric_utils,
    perceptual_path_length,
    precision_recall,
    ranking,
)
from metrics.metric_utils import MetricOptions, ProgressMonitor
from tests import golden
from torch_utils.distributed import Worker

GOLDEN = golden.load_json("metrics_registry.json")
MODULES = {
    "compute_equivariance_metrics": equivariance,
    "compute_fid": frechet_inception_distance,
    "compute_kid": kernel_inception_distance,
    "compute_pr": precision_recall,
    "compute_ppl": perceptual_path_length,
    "compute_is": inception_score,
}
CPU = torch.device("cpu")


MORE = [  # which the reference lacks
    *("dc50k5_full", "memo", "fid50k_full_clean", "kid50k_full_clean"),
    *("fd_dinov2", "kd_dinov2", "cmmd"),
]


def test_names_are_those_of_the_reference_in_its_order_and_then_more():
    assert metric_main.list_valid_metrics() == [*GOLDEN["registered_order"], *MORE]
    assert metric_main.is_valid_metric("is50k")
    assert not metric_main.is_valid_metric("fid9k")


def test_more_metrics_can_be_registered(monkeypatch):
    monkeypatch.setattr(metric_main, "_metrics", dict(metric_main._metrics))

    @metric_main.register_metric
    def answer(opts):
        return dict(answer=42)

    @metric_main.register_metric(detectors=["vgg16"], uses_dataset=True)
    def question(opts):
        return {}

    assert metric_main.list_valid_metrics()[-2:] == ["answer", "question"]
    assert metric_main.calc_metric("answer", device=CPU).results == dict(answer=42.0)
    assert metric_main.get_metric("question").detectors == ("vgg16",)


@pytest.mark.parametrize("name", GOLDEN["registered_order"])
def test_metric_is_called_as_in_the_reference(name, monkeypatch):
    expected = GOLDEN["metrics"][name]
    function = expected["implementation"].rpartition(".")[2]
    module = MODULES[function]
    seen = SimpleNamespace()

    def compute(opts, **arguments):
        seen.opts, seen.arguments = opts, arguments
        is_pair = function in ("compute_pr", "compute_is")
        return (1.0, 2.0) if is_pair else 1.0

    monkeypatch.setattr(module, function, compute)
    dataset_kwargs = dict(class_name="a.b", path="x.zip", max_size=7, xflip=True)
    before = dict(dataset_kwargs)
    result = metric_main.calc_metric(name, dataset_kwargs=dataset_kwargs, device=CPU)
    assert dataset_kwargs == before
    assert seen.arguments == expected["arguments"]
    assert list(result.results) == expected["result_keys"]
    assert dict(seen.opts.G_kwargs) == expected["G_kwargs_effect"]
    effects = " ".join(expected["dataset_options_effect"])
    assert seen.opts.dataset_kwargs == {
        **before,
        **(dict(max_size=None) if "max_size is forced to null" in effects else {}),
        **(dict(xflip=False) if "xflip is forced to false" in effects else {}),
    }
    metric_main.calc_metric(name, dataset_kwargs=before, device=CPU, num=64)
    changed = dict(expected["arguments"])
    for key in ("num_gen", "num_samples", "max_real"):
        if changed.get(key) == 50000:
            changed[key] = 64
    assert seen.arguments == changed


def test_result_has_the_layout_of_the_reference(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(inception_score, "compute_is", lambda *args, **kwargs: (9.0, 0.1))
    result = metric_main.calc_metric("is50k", device=CPU)
    assert type(result) is dnnlib.EasyDict and type(result.results) is dnnlib.EasyDict
    snapshot = tmp_path / "network-snapshot-000001.pkl"
    for _ in range(2):
        metric_main.report_metric(result, run_dir=tmp_path, snapshot_pkl=snapshot)
    printed = capsys.readouterr().out.splitlines()
    assert (tmp_path / "metric-is50k.jsonl").read_text().splitlines() == printed
    expected = GOLDEN["report_metric"]
    for line in printed:
        record = json.loads(line)
        layout = [[key, type(value).__name__] for key, value in record.items()]
        assert layout == expected["record_keys_in_order_with_json_types"]
        example = {**expected["example"], "timestamp": record["timestamp"]}
        example.update(total_time=record["total_time"])
        assert record == example


def test_report_without_a_folder_only_prints(tmp_path, capsys):
    result = dict(results={}, metric="is50k", total_time=0.0, total_time_str="0s", num_gpus=1)
    metric_main.report_metric(result, run_dir=tmp_path / "none", snapshot_pkl="net.pkl")
    metric_main.report_metric(result)
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = [record["snapshot_pkl"] for record in records]
    assert names == [os.path.relpath("net.pkl", tmp_path / "none"), None]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(AssertionError, match="fid9k"):
        metric_main.report_metric({**result, "metric": "fid9k"})


def test_unusual_options_are_in_the_record(monkeypatch, capsys):
    monkeypatch.setattr(inception_score, "compute_is", lambda *args, **kwargs: (9.0, 0.1))
    options = dict(num=64, seed=3, detectors=dict(inception="a.pt", vgg16="b.pt"))
    metric_main.report_metric(metric_main.calc_metric("is50k", device=CPU, **options))
    record = json.loads(capsys.readouterr().out)
    assert list(record.items())[7:] == [
        ("num", 64),
        ("seed", 3),
        ("detectors", dict(inception="a.pt")),
    ]


def test_random_generators_are_left_alone(monkeypatch):
    def draw(opts, **kwargs):
        return torch.rand([]).item(), kernel_inception_distance.np.random.rand()

    monkeypatch.setattr(inception_score, "compute_is", draw)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = metric_main.calc_metric("is50k", device=CPU).results
    assert torch.equal(torch.rand(3), expected)
    assert metric_main.calc_metric("is50k", device=CPU).results == first


@pytest.mark.parametrize("example", GOLDEN["dataset_feature_cache"]["examples"])
def test_cache_file_has_the_name_of_the_reference(example):
    tag = feature_cache.cache_tag(
        example["dataset_name"],
        dnnlib.EasyDict(example["dataset_kwargs_in_insertion_order"]),
        example["detector_url"],
        example["detector_kwargs"],
        example["stats_kwargs"],
    )
    assert tag == example["cache_tag"]
    root = dnnlib.util.make_cache_dir_path()
    path = feature_cache.cache_file(tag)
    expected = example["relative_cache_file"].removesuffix(".pkl")
    assert path.relative_to(root).as_posix() == f"{expected}.safetensors"
    assert feature_cache.cache_file(tag, 64).name == f"{tag}-first64.safetensors"


def test_names_of_detectors_match_reference():
    for url, name in GOLDEN["detectors"]["name_function_examples"].items():
        assert metric_utils.get_feature_detector_name(url) == name


def test_progress_is_reported_as_in_the_reference():
    calls = []
    root = ProgressMonitor(progress_fn=lambda *position: calls.append(list(position)))
    stage = root.sub("a", num_items=2500, rel_lo=0, rel_hi=0.5)
    for count in range(0, 2501, 500):
        stage.update(count)
    stage = root.sub("b", num_items=10, flush_interval=4, rel_lo=0.5, rel_hi=1)
    for count in range(11):
        stage.update(count)
    assert calls == GOLDEN["progress_monitor_example"]["calls"]


def test_progress_ends_in_a_line(capsys):
    stage = ProgressMonitor(verbose=True).sub("dataset features", num_items=100)
    for count in (50, 100):
        stage.update(count)
    (line,) = capsys.readouterr().err.splitlines()
    assert line[:51] == f"{'dataset features':<19s} items {100:<7d} time {'0s':<12s}"
    assert line[51:].startswith(" ms/item ")
    ProgressMonitor().sub("silent", num_items=1).update(1)
    assert capsys.readouterr() == ("", "")


def test_durations_are_written_as_in_the_reference():
    for seconds, text in GOLDEN["dnnlib_format_time_examples"].items():
        assert dnnlib.util.format_time(float(seconds)) == text


def test_options_are_copied():
    kwargs = dict(a=1)
    opts = MetricOptions(G_kwargs=kwargs, dataset_kwargs=kwargs, worker=Worker())
    opts.G_kwargs.b = opts.dataset_kwargs.b = 2
    assert kwargs == dict(a=1)


def test_options_take_a_worker_or_what_published_programs_give():
    device = torch.device("cpu")
    published = MetricOptions(None, {}, {}, num_gpus=3, rank=1, device="cpu", progress=None)
    for opts in (published, MetricOptions(worker=Worker(1, 3, device))):
        assert (opts.rank, opts.num_gpus, opts.device) == (1, 3, device)
        assert opts.worker == Worker(1, 3, device)


def test_tables_prefer_the_values_that_training_prefers():
    """`compare_metrics.py` must not import the metrics, so it knows the directions by itself."""
    found = ranking.of_metrics(metric_main.list_valid_metrics())
    for name, value in found.items():
        signs = [sign for kind, sign in comparison.SIGNS.items() if name.startswith(kind)]
        assert signs and signs[0] == (1 if value.higher_is_better else -1), name
