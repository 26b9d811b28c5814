"""compare_metrics.py: a table of records, and warnings of values that cannot be compared."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import compare_metrics


def record(value: float, snapshot: str | None, metric: str = "fid50k_full", **fields) -> str:
    results = {metric: value}
    known = dict(dataset="d" * 12, dataset_pixels="a" * 12)
    fields = {name: x for name, x in {**known, **fields}.items() if x is not None}
    return json.dumps(dict(results=results, metric=metric, snapshot_pkl=snapshot, **fields)) + "\n"


def snapshot(kimg: int) -> str:
    return f"network-snapshot-{kimg:06d}.pkl"


@pytest.fixture
def runs(tmp_path, monkeypatch) -> list[str]:
    """Two runs; the first is best at 2000, and the second at 1000."""
    monkeypatch.chdir(tmp_path)
    for name, values in (("one", [30, 10, 20]), ("two", [11, 12])):
        folder = Path(name)
        folder.mkdir()
        lines = [record(x, snapshot(1000 * (i + 1))) for i, x in enumerate(values)]
        (folder / "metric-fid50k_full.jsonl").write_text("".join(lines))
    (Path("one") / "metric-eqt50k_int.jsonl").write_text(
        record(40, snapshot(3000), "eqt50k_int", dataset=None, dataset_pixels=None)
    )
    return ["one", "two"]


def run(*args) -> tuple[list[list[str]], list[str]]:
    """The words of the table's rows, and the lines on stderr."""
    result = CliRunner().invoke(compare_metrics.main, [str(arg) for arg in args])
    assert result.exit_code == 0, result.output
    header, rule, *rows = result.stdout.splitlines()
    assert set(rule) <= {"-", " "}
    return [header.split(), *(row.split() for row in rows)], result.stderr.splitlines()


def refuse(*args) -> str:
    result = CliRunner().invoke(compare_metrics.main, [str(arg) for arg in args])
    assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit)
    return result.output.splitlines()[-1]


def test_the_best_snapshot_of_each_run(runs):
    table, notes = run(*runs)
    assert table == [
        ["network", "fid50k_full"],
        [f"one/{snapshot(2000)}", "10"],
        [f"two/{snapshot(1000)}", "11"],
    ]
    assert notes == [
        "Note: the best snapshot of each run is shown, by fid50k_full (less is better)."
    ]
    table, notes = run("one", "--by=eqt50k_int")
    assert table[1:] == [[f"one/{snapshot(3000)}", "20", "40"]]
    assert "by eqt50k_int (more is better)" in notes[0]
    assert notes[1] == "Note: 2 snapshots have no eqt50k_int and count as worse than others."


def test_the_best_of_values_that_cannot_be_compared(runs):
    file = Path("two") / "metric-fid50k_full.jsonl"
    with file.open("a") as f:
        f.write(record(1, snapshot(3000), num=100))
    table, notes = run("two")
    assert table[1:] == [[f"two/{snapshot(3000)}", "1"]]
    assert notes[1] == (
        "Warning: fid50k_full of the snapshots in two: not comparable: num is 50000 in 2 rows, 100 "
        f"in two/{snapshot(3000)}"
    )


def test_the_last_snapshot_and_all(runs):
    table, notes = run(*runs, "--show=last")
    assert table == [
        ["network", "fid50k_full", "eqt50k_int"],
        [f"one/{snapshot(3000)}", "20", "40"],
        [f"two/{snapshot(2000)}", "12", "-"],
    ]
    assert not notes
    table, _ = run(*runs, "--show=all")
    assert [row[1] for row in table] == ["fid50k_full", "30", "10", "20", "11", "12"]


def test_networks_and_images_in_files(runs):
    Path("x.txt").write_text(
        record(5, None, images="theirs/", num=30)
        + record(6, "https://host/net.pkl", standard_errors=dict(fid50k_full=0.1234))
        + record(7, None, images="theirs/", subset=2, num_real=9)
        + record(9, "other.pkl", "is50k_mean")
    )
    table, notes = run("x.txt")
    assert table == [
        ["network", "or", "images", "class", "fid50k_full", "is50k_mean"],
        ["theirs/", "5", "-"],
        ["https://host/net.pkl", "6", "±", "0.12", "-"],
        ["theirs/", "2", "7", "-"],
        ["other.pkl", "-", "9"],
    ]
    assert notes == [
        "Warning: fid50k_full: not comparable: num is 50000 in 2 rows, 30 in theirs/",
        "Warning: fid50k_full: not comparable: they are of all images in 2 rows, a class in class "
        "2 of theirs/",
    ]


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        (dict(num=2000), "num is 50000 in a.pkl, 2000 in b.pkl"),
        (dict(num=50000), None),
        (dict(num_real=9), None),  # the other does not say
        (dict(feature_network="x"), None),
        (dict(seed=3), "seed is 0 in a.pkl, 3 in b.pkl"),
        (dict(detectors={"vgg16": "v.pt"}), "detectors are as published in a.pkl, vgg16=v.pt in"),
        (dict(dataset_pixels="b" * 12), f"the real images are {'a' * 12} in a.pkl, {'b' * 12} in"),
        (dict(dataset="e" * 12), None),  # the same pixels in other files
        (dict(dataset_pixels=None), None),  # the same files
        (
            dict(dataset_pixels=None, dataset="e" * 12),
            f"the real images are {'a' * 12} in a.pkl, {'e' * 12} in b.pkl",
        ),
    ],
)
def test_values_that_cannot_be_compared_cause_a_line(fields, warning, tmp_path):
    path = tmp_path / "x.txt"
    path.write_text(record(1, "a.pkl") + record(2, "b.pkl", **fields))
    table, notes = run(path)
    assert len(table) == 3
    if warning is None:
        assert not notes
    else:
        (note,) = notes
        assert note.startswith(f"Warning: fid50k_full: not comparable: {warning}")


@pytest.mark.parametrize("name", ["num_real", "feature_network"])
def test_facts_that_only_some_records_state_are_compared_where_they_are_stated(name, tmp_path):
    path = tmp_path / "x.txt"
    lines = [record(i, f"{i}.pkl", **fields) for i, fields in enumerate([{}, {name: 1}, {name: 2}])]
    path.write_text("".join(lines))
    _, notes = run(path)
    assert notes == [f"Warning: fid50k_full: not comparable: {name} is 1 in 1.pkl, 2 in 2.pkl"]


def test_columns_with_the_same_reason_share_a_line_and_settings_are_limited(tmp_path):
    path = tmp_path / "x.txt"
    names = ("fid50k_full", "kid50k_full")
    path.write_text(
        "".join(record(1, f"{i}.pkl", name, num=i + 1) for i in range(6) for name in names)
    )
    _, (note,) = run(path)
    assert note == (
        "Warning: fid50k_full, kid50k_full: not comparable: num is 1 in 0.pkl, 2 in 1.pkl, 3 in "
        "2.pkl, 4 in 3.pkl and 2 more"
    )


def test_unknown_real_images_are_said(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text(record(1, "a.pkl") + record(2, "b.pkl", dataset=None, dataset_pixels=None))
    _, notes = run(path)
    assert notes == ["Warning: fid50k_full: the real images of 1 of 2 rows are unknown"]


def test_the_latest_of_several_values_counts(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text(
        record(1, "a.pkl", timestamp=3.0)
        + record(2, "a.pkl", timestamp=2.0)
        + record(3, "b.pkl")
        + record(4, "b.pkl")
        + record(4, "b.pkl")
    )
    table, (note,) = run(path)
    assert table[1:] == [["a.pkl", "1"], ["b.pkl", "4"]]
    assert note == "Note: 2 values differ from others of the same row; the latest are shown."


def test_lines_that_are_left_out_are_said(runs):
    file = Path("one") / "metric-fid50k_full.jsonl"
    with file.open("a") as f:
        f.write(record(1, snapshot(4000))[:-9])
    table, notes = run("one", "--show=all")
    assert len(table) == 4
    assert notes == [f"Left out in {file}: 1 damaged (line 4)"]


def test_names_from_files_cannot_write_lines_of_their_own(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text(record(1, "a\nForged\x1b[2J", "x\nForged", num=1) + record(1, "b", "x\nForged"))
    result = CliRunner().invoke(compare_metrics.main, [str(path)])
    assert "\x1b" not in result.output
    assert not [line for line in result.output.splitlines() if line.startswith("Forged")]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["empty"], "Error: empty has no metric-*.jsonl: name folders of training runs, or files"),
        (["empty.txt"], "Error: no records of metrics in empty.txt"),
        (
            ["one", "--by=x"],
            "no such value, or none with a best; there are fid50k_full, eqt50k_int",
        ),
        (["one", "--by=fid50k_full", "--show=all"], "--by says what is best: it needs --show=best"),
        (["own.txt"], "no value says which snapshot is best; --show=last needs none"),
        (["gone"], "does not exist"),
        ([], "Missing argument"),
    ],
)
def test_what_cannot_be_compared_is_refused(options, error, runs):
    Path("empty").mkdir()
    Path("empty.txt").touch()
    own = [record(1, snapshot(i), "my_metric") for i in (1, 2)]
    Path("own.txt").write_text("".join(own))
    assert error in refuse(*options)


def test_printed_lines_of_snapshots_with_the_same_name_stay_apart(runs):
    for name, value in (("a.txt", 3), ("b.txt", 7)):
        Path(name).write_text(record(value, snapshot(1)))
    rows, _ = run("a.txt", "b.txt")
    names = {" ".join(row[:-1]): row[-1] for row in rows[-2:]}
    assert names == {
        f"{name}: {snapshot(1)}": value for name, value in (("a.txt", "3"), ("b.txt", "7"))
    }
