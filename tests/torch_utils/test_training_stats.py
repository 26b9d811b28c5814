"""torch_utils.training_stats: collected numbers, and agreement between processes."""

import numpy as np
import pytest
import torch

from tests import golden
from torch_utils import training_stats


@pytest.fixture(autouse=True)
def fresh_state(monkeypatch):
    """Each test starts as a process does, and leaves no names behind."""
    for name in ("_new_nums", "_new_sums"):
        monkeypatch.setattr(training_stats, name, {})
    monkeypatch.setattr(training_stats, "_agreed_names", [])
    monkeypatch.setattr(training_stats, "_rank", 0)
    monkeypatch.setattr(training_stats, "_sync_device", None)


def test_collectors_match_golden_operations():
    example = golden.load_json("run_artifacts.json")["training_stats_example"]
    collectors = {
        "all": training_stats.Collector(),
        "only_a": training_stats.Collector(regex="a/.*"),
        "all_no_keep": training_stats.Collector(keep_previous=False),
    }
    results = []
    for op, *args in example["operations"]:
        if op == "update":
            for collector in collectors.values():
                collector.update()
        elif op == "dict":
            results.append({name: c.as_dict() for name, c in collectors.items()})
        else:
            getattr(training_stats, op)(*args)
    for got, expected in zip(results, example["results"], strict=True):
        for collector, stats in expected.items():
            assert list(got[collector]) == list(stats)
            for name, row in stats.items():
                assert list(got[collector][name]) == ["num", "mean", "std"]
                assert type(got[collector][name].num) is int
                got_row, row = list(got[collector][name].values()), list(row.values())
                np.testing.assert_allclose(got_row, row, rtol=1e-6, equal_nan=True)


@pytest.mark.parametrize(
    "value",
    [
        3,
        2.5,
        [1, 2, 4],
        np.array([[1.0, 2.0], [3.0, 5.0]]),
        torch.tensor([1.0, 7.0], requires_grad=True),
        torch.arange(6).reshape(2, 3).half(),
        torch.tensor(True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_of_any_kind(value):
    collector = training_stats.Collector()
    assert training_stats.report("x", value) is value
    collector.update()
    array = np.float64(value.detach() if isinstance(value, torch.Tensor) else value)
    assert collector.num("x") == array.size
    assert collector["x"] == collector.mean("x") == pytest.approx(array.mean())
    assert collector.std("x") == pytest.approx(array.std())


def test_values_add_up_exactly_over_many_reports():
    collector = training_stats.Collector()
    for _ in range(3000):
        training_stats.report("x", 1e6 + 0.25)
    collector.update()
    assert collector["x"] == 1e6 + 0.25


def test_infinite_values_do_not_outlive_their_tick():
    collector = training_stats.Collector()
    for value in (float("inf"), float("nan"), 4.0):
        training_stats.report("x", value)
        collector.update()
    assert (collector["x"], collector.std("x")) == (4.0, 0.0)


def test_new_collector_does_not_see_what_was_collected_before():
    training_stats.report("x", 1.0)
    training_stats.default_collector.update()
    collector = training_stats.Collector()
    training_stats.report("x", 3.0)
    training_stats.default_collector.update()
    collector.update()
    assert (collector.num("x"), collector["x"]) == (1, 3.0)


def test_collector_updated_rarely_sees_everything():
    often, rarely = training_stats.Collector(), training_stats.Collector()
    for value in range(5):
        training_stats.report("x", value)
        often.update()
    rarely.update()
    assert (often.num("x"), rarely.num("x"), rarely["x"]) == (1, 5, 2.0)


def test_unknown_and_unmatched_names():
    collector = training_stats.Collector("a/.*")
    assert collector.num("a/x") == 0 and np.isnan(collector["a/x"])
    with pytest.raises(KeyError, match="b/x"):
        collector.mean("b/x")


def test_report0_makes_the_name_known_on_other_ranks():
    training_stats.init_multiprocessing(rank=1, sync_device=None)
    collector = training_stats.Collector()
    assert training_stats.report0("x", 5.0) == 5.0
    collector.update()
    assert collector.names() == ["x"] and collector.num("x") == 0


def test_reports_in_inference_mode_mix_with_others():
    collector = training_stats.Collector()
    with torch.inference_mode():
        training_stats.report("x", torch.ones(2))
    training_stats.report("x", torch.ones(1))
    collector.update()
    assert collector.num("x") == 3


def test_later_changes_of_a_value_do_not_change_its_report():
    collector = training_stats.Collector()
    for num in (4, training_stats.MAX_WAITING_ELEMENTS + 1):
        values, array = torch.ones(num), np.ones(num, np.float32)
        training_stats.report("x", values)
        training_stats.report("y", array)
        values.fill_(7)
        array.fill(7)
    collector.update()
    assert (collector["x"], collector["y"]) == (1, 1)


def test_sums_are_those_of_each_report_by_itself_to_the_last_bit():
    torch.manual_seed(0)
    collector = training_stats.Collector()
    expected: dict[str, torch.Tensor] = {}
    sizes = [1, 3, 8, 100, training_stats.MAX_WAITING_ELEMENTS, 5000]
    for i in range(2 * training_stats.MAX_WAITING):
        name, values = f"{i % 5}", torch.randn(sizes[i % len(sizes)]) * 10.0 ** (i % 7)
        training_stats.report(name, values)
        sums = torch.stack([values.sum(), values.square().sum()]).double()
        expected[name] = expected.get(name, 0) + sums
    collector.update()
    assert {n: torch.from_numpy(row[1:]).tolist() for n, row in collector._moments.items()} == {
        name: sums.tolist() for name, sums in expected.items()
    }


def test_reports_that_nobody_collects_take_limited_memory(monkeypatch):
    training_stats.Collector().update()  # forget the reports of other tests
    monkeypatch.setattr(training_stats, "MAX_UNCOLLECTED", 100)
    collector = training_stats.Collector()
    large = torch.ones(training_stats.MAX_WAITING_ELEMENTS + 1)
    for i in range(1000):
        training_stats.report("x", large if i % 2 else 3.0)
        kept = training_stats._new_sums[large.device]
        assert len(kept._names) <= 100 and len(kept._rows) <= 100
    collector.update()
    num_ones = 500 * len(large)
    assert collector.num("x") == num_ones + 500
    assert collector["x"] == (num_ones + 3 * 500) / (num_ones + 500)


@pytest.mark.gpu
def test_reports_do_not_wait_for_the_device():
    collector = training_stats.Collector()
    values = torch.arange(4.0, device="cuda")
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            training_stats.report("x", values)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    training_stats.report("x", 4.0)
    collector.update()
    assert (collector.num("x"), collector["x"]) == (13, 22 / 13)


def test_state_continues_in_another_process():
    collector = training_stats.Collector()
    other = training_stats.Collector()
    training_stats.report("x", [1.0, 2.0])
    other.update()  # brings the values to `collector`, which has not been updated itself
    state = collector.state_dict()
    training_stats._agreed_names.clear()
    resumed = training_stats.Collector()
    resumed.load_state_dict(state)
    resumed.update()
    assert resumed.as_dict() == other.as_dict()


def _reports_of_rank(rank: int) -> list[tuple[str, list[float]]]:
    if rank == 0:
        return [("both", [1.0, 2.0]), ("first", [5.0]), ("later", [])]
    return [("second", [7.0, 9.0]), ("later", [1.0]), ("both", [6.0])]


def _run_rank(rank: int, init_file: str, out_dir: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{init_file}", rank=rank, world_size=2
    )
    training_stats.init_multiprocessing(rank, torch.device("cpu"))
    collector = training_stats.Collector()
    results = []
    for tick in range(3):
        for name, value in _reports_of_rank(rank) if tick != 1 else []:
            training_stats.report(name, value)
        if tick == 2 and rank == 1:
            training_stats.report("only in the end", 3.0)
        training_stats.report0("tick", tick)
        collector.update()
        results.append(dict(collector.as_dict()))
    torch.save(results, f"{out_dir}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.multiprocess
def test_two_processes_with_different_names_agree(tmp_path):
    torch.multiprocessing.spawn(_run_rank, (str(tmp_path / "init"), str(tmp_path)), nprocs=2)
    results = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(2)]
    assert repr(results[0]) == repr(results[1])
    first, second, last = results[0]
    assert list(first) == ["both", "first", "later", "tick", "second"]
    assert list(last) == [*first, "only in the end"]
    assert {name: (row.num, row.mean) for name, row in first.items()} == {
        "both": (3, 3.0),
        "first": (1, 5.0),
        "later": (1, 1.0),
        "tick": (1, 0.0),
        "second": (2, 8.0),
    }
    assert second["both"] == first["both"] and second["tick"].mean == 1.0
    assert last["only in the end"].num == 1


def test_held_reports_count_after_the_block_in_their_order():
    values = torch.arange(3.0)
    collectors = [training_stats.Collector(), training_stats.Collector()]
    with training_stats.held():
        training_stats.report("b", values)
        training_stats.report0("a", [])
        values += 10  # a report is a copy
        assert training_stats._new_nums == {}
    collectors[0].update()
    assert collectors[0].names() == ["b", "a"]
    assert (collectors[0].mean("b"), collectors[0].num("b")) == (1, 3)


@pytest.mark.parametrize("end", ["cleared", "error"])
def test_held_reports_can_be_taken_back(end):
    collector = training_stats.Collector()
    training_stats.report("x", 1)
    try:
        with training_stats.held() as reports:
            training_stats.report("x", 5)
            training_stats.report("y", 5)
            if end == "error":
                raise KeyError
            reports.clear()
    except KeyError:
        pass
    training_stats.report("x", 2)
    collector.update()
    assert collector.names() == ["x"] and collector.mean("x") == 1.5


def test_holding_twice_is_refused():
    is_refused = pytest.raises(RuntimeError, match="already held")
    with training_stats.held(), is_refused, training_stats.held():
        pass
    training_stats.report("x", 1)
    assert training_stats._new_nums == {"x": 1}
