"""What run folders hold is read as it was written; what is damaged or does not fit is said."""

import json
import math

import numpy as np
import pytest

from reports import charts, json_lines, log_file, metric_records, options_table, statistics


def write_ticks(path, ticks):
    """A file of statistics, from kimg, seconds of training, the clock, and a loss."""
    with path.open("w") as file:
        for kimg, sec, clock, loss in ticks:
            record = {
                statistics.KIMG: dict(num=1, mean=kimg, std=0),
                statistics.TOTAL_SEC: dict(num=1, mean=sec, std=0),
                "Loss/G/loss": dict(num=4, mean=loss, std=0.1),
                "timestamp": clock,
            }
            file.write(json.dumps(record) + "\n")


def test_statistics_are_read_with_gaps_for_what_is_not_finite(tmp_path):
    path, problems = tmp_path / "training_stats.jsonl", []
    write_ticks(path, [(4, 60, 1000, 0.5), (8, 120, 1060, None), (12, 180, 1120, 0.75)])
    stats = statistics.read(path, problems)
    np.testing.assert_array_equal(stats.kimg, [4, 8, 12])
    np.testing.assert_array_equal(stats.means["Loss/G/loss"], [0.5, np.nan, 0.75])
    assert stats.last("Loss/G/loss") == 0.75 and stats.last("none") is None
    assert stats.timestamp == 1120 and stats.pauses == [] and problems == []


def test_repeated_ticks_count_once_and_interruptions_are_found(tmp_path):
    path, problems = tmp_path / "training_stats.jsonl", []
    ticks = [(4, 60, 1000, 1), (8, 120, 1060, 2), (12, 180, 1120, 3)]
    again = [(8, 120, 5000, 4), (12, 180, 5060, 5)]
    write_ticks(path, ticks + again)
    stats = statistics.read(path, problems)
    np.testing.assert_array_equal(stats.kimg, [4, 8, 12])
    np.testing.assert_array_equal(stats.means["Loss/G/loss"], [1, 4, 5])
    assert stats.num_repeated == 2
    assert stats.pauses == [statistics.Pause(4, 3940)]  # 4000 s, 60 of them in training


def test_clock_that_is_set_back_is_no_interruption(tmp_path):
    path = tmp_path / "training_stats.jsonl"
    write_ticks(path, [(4, 60, 9000, 1), (8, 120, 1000, 2), (12, 180, 1e300, 2)])
    stats = statistics.read(path, [])
    assert stats.pauses == [] and stats.timestamp is None


def test_damaged_lines_are_counted(tmp_path):
    path, problems = tmp_path / "training_stats.jsonl", []
    write_ticks(path, [(4, 60, 1000, 1)])
    with path.open("ab") as file:
        file.write(b"\xff\n[1]\n" + b"[" * 100_000 + b"\n{}\n")
    assert len(statistics.read(path, problems).kimg) == 1
    assert problems == [
        "training_stats.jsonl: 3 lines are damaged and left out, first line 2.",
        "training_stats.jsonl: 1 lines without Progress/kimg are left out.",
    ]


@pytest.mark.parametrize("value", [True, "1", None, math.inf, math.nan, 10**400, {}])
def test_what_is_no_finite_number_is_a_gap(value):
    assert math.isnan(json_lines.as_float(value))


def test_thinning_averages_what_there_is():
    rng = np.random.default_rng(0)
    values = rng.normal(size=6001)
    values[10:40] = np.nan
    thin = charts.average(values, 7)
    expected = [
        np.nanmean(part) if np.isfinite(part).any() else np.nan
        for part in np.split(values, range(7, 6001, 7))
    ]
    np.testing.assert_allclose(thin, expected)
    assert np.isnan(thin).sum() == 3
    np.testing.assert_array_equal(charts.average(values[:5], 1), values[:5])


def test_metrics_of_other_settings_are_left_out_and_counted(tmp_path):
    def record(kimg, value, **more):
        name = f"network-snapshot-{kimg:06d}.pkl"
        results = dict(fid50k_full=value)
        fields = dict(metric="fid50k_full", results=results, snapshot_pkl=name, **more)
        return json.dumps(fields) + "\n"

    lines = [
        record(200, 9),
        record(0, 300),
        record(200, 8),
        record(200, 70, num=1000),
        record(200, 60, subset=0),
    ]
    elsewhere = dict(metric="fid50k_full", results=dict(fid50k_full=1), snapshot_pkl="else.pkl")
    lines += [
        record(400, 7, num=50000),
        record(400, 9, dataset="other"),
        record(600, 1),
        json.dumps(elsewhere) + "\n",
        '{"metric": "fid50',
    ]
    (tmp_path / "metric-fid50k_full.jsonl").write_text("".join(lines))
    problems = []
    assert metric_records.read(tmp_path, 400.0, "own", problems) == {
        "fid50k_full": {0: 300, 200: 8, 400: 7}
    }
    assert problems == [
        f"Left out in {tmp_path / 'metric-fid50k_full.jsonl'}: 1 damaged (line 10).",
        "metric-fid50k_full.jsonl: 3 records of other settings (--data, --num, --seed, "
        "--detector, --images, --subset) are left out.",
        "metric-fid50k_full.jsonl: 1 records without a snapshot of the run are left out.",
        "metric-fid50k_full.jsonl: 1 records of later snapshots than the last tick are left out.",
    ]


def test_log_is_read_for_remarks_and_continuations(tmp_path):
    path, problems = tmp_path / "log.txt", []
    path.write_text(
        "Note: no metrics\n"
        "tick 0     kimg 0.1      time 6s\n"
        "Note: 3 gradients of this tick were not finite, and were replaced.\n"
        "tick 1     kimg 4.1      time 6s\n"
        "Note: 17 gradients of this tick were not finite, and were replaced.\n"
        "Traceback (most recent call last):\n"
        "Continuing at 2.0 kimg, tick 1.\n"
        "Warning: the images look alike \x1b[2J\n"
    )
    log = log_file.read(path, problems)
    assert [(r.kind, r.first_kimg, r.last_kimg, r.num) for r in log.remarks] == [
        ("Error", 4.1, 4.1, 1),
        ("Warning", 2.0, 2.0, 1),
        ("Note", None, None, 1),
        ("Note", 0.1, 4.1, 2),
    ]
    assert log.remarks[1].text == "the images look alike \\x1b[2J"
    (continuation,) = log.continuations
    assert continuation.kimg == 2 and continuation.lost_kimg == pytest.approx(2.1)
    assert problems == []


def test_options_are_flat_and_their_differences_found(tmp_path):
    path, problems = tmp_path / "training_options.json", []
    path.write_text('{"G_kwargs": {"z_dim": 8, "e": {}}, "metrics": [], "run_dir": "a"}')
    first = options_table.read(path, problems)
    assert first == {"G_kwargs.z_dim": "8", "G_kwargs.e": "{}", "metrics": "[]", "run_dir": '"a"'}
    second = {**first, "G_kwargs.z_dim": "9", "run_dir": '"b"', "total_kimg": "25000"}
    table = options_table.rows([first, second])
    assert options_table.differing(table) == [
        ("G_kwargs.z_dim", ["8", "9"]),
        ("total_kimg", ["-", "25000"]),
    ]
    assert options_table.total_kimg(second) == 25000
    assert options_table.total_kimg(first) is None and problems == []
    path.write_text('{"a":' * 500 + "1" + "}" * 500)
    options_table.read(path, problems)
    path.write_text("[" * 100_000)
    assert options_table.read(path, problems) == {}
    assert problems[-1] == "training_options.json is damaged: the options are unknown."
