"""Records of metrics: reading and appending lines of JSON."""

import json
import math
from pathlib import Path

import pytest

from metrics import metric_main, records

GOOD = dict(results=dict(fid50k_full=12.5), metric="fid50k_full", snapshot_pkl="net.pkl")


def write(path: Path, *lines) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{text}\n" for text in texts))
    return path


def test_what_a_metric_reports_is_read_back(tmp_path, capsys):
    result = dict(
        results=dict(fid50k_full=12.5),
        metric="fid50k_full",
        num=10,
        standard_errors=dict(fid50k_full=0.5),
    )
    snapshot = tmp_path / "network-snapshot-000001.pkl"
    metric_main.report_metric(result, tmp_path, snapshot)
    (printed,) = capsys.readouterr().out.splitlines()
    (file,) = records.find_files(tmp_path)
    assert file.name == "metric-fid50k_full.jsonl"
    reading = records.read(file)
    assert reading.left_out() is None
    (record,) = reading.records
    assert record.fields == json.loads(printed)
    assert (record.metric, record.results, record.errors) == (
        "fid50k_full",
        dict(fid50k_full=12.5),
        dict(fid50k_full=0.5),
    )
    assert (record.evaluated, record.is_of_images) == (str(snapshot), False)
    assert (record.num, record.subset) == (10, None)
    assert records.find_files(file) == [file]


def test_defaults_and_paths(tmp_path):
    images = GOOD | dict(snapshot_pkl=None, images="theirs.zip", subset=3)
    address = GOOD | dict(snapshot_pkl="https://host/net.pkl")
    kept = records.read(write(tmp_path / "metric-x.jsonl", GOOD, images, address)).records
    found = [str(tmp_path / "net.pkl"), "theirs.zip", "https://host/net.pkl"]
    assert [record.evaluated for record in kept] == found
    assert [record.subset for record in kept] == [None, 3, None]
    (printed,) = records.read(write(tmp_path / "printed.txt", GOOD)).records
    assert printed.evaluated == "net.pkl"
    assert (printed.num, printed.timestamp) == (metric_main.NUM_SAMPLES, -math.inf)


BAD = {
    "cut": json.dumps(GOOD)[:-5],
    "two in a line": json.dumps(GOOD) * 2,
    "NaN": '{"metric": "x", "results": {"x": NaN}}',
    "infinite": '{"metric": "x", "results": {"x": 1e999}}',
    "huge": '{"metric": "x", "results": {"x": 1' + "0" * 400 + "}}",
    "endless": '{"metric": "x", "results": {"x": ' + "1" * 5000 + "}}",
    "text": GOOD | dict(results=dict(fid50k_full="12.5")),
    "truth": GOOD | dict(results=dict(fid50k_full=True)),
    "list": GOOD | dict(results=[1]),
    "no metric": dict(results={}),
    "metric": GOOD | dict(metric=1),
    "num": GOOD | dict(num="50000"),
    "errors": GOOD | dict(standard_errors=[1]),
    "path": GOOD | dict(snapshot_pkl=[1]),
    "nested": '{"metric": ' + "[" * 100_000,
}


@pytest.mark.parametrize("kind", BAD)
def test_damaged_lines_are_counted(kind, tmp_path):
    reading = records.read(write(tmp_path / "x.jsonl", GOOD, BAD[kind], GOOD))
    assert (len(reading.records), reading.damaged, reading.num_others) == (2, [2], 0)
    assert reading.left_out() == f"Left out in {tmp_path / 'x.jsonl'}: 1 damaged (line 2)"


def test_bytes_that_are_no_text_and_lines_of_a_log(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b'{"a": "\xff"}\n\nCalculating ...\n' + json.dumps(GOOD).encode())
    reading = records.read(path)
    assert (len(reading.records), reading.damaged, reading.num_others) == (1, [1], 1)
    assert reading.left_out().endswith(": 1 damaged (line 1), 1 that are no records")


def test_a_record_after_a_torn_one_is_not_lost(tmp_path):
    path = tmp_path / "metric-x.jsonl"
    records.append(path, json.dumps(GOOD))
    with path.open("a") as f:
        f.write(json.dumps(GOOD)[:20])  # the process was killed here
    records.append(path, json.dumps(GOOD))
    assert path.read_bytes().endswith(b"}\n")
    reading = records.read(path)
    assert (len(reading.records), reading.damaged) == (2, [2])


def test_folders_without_records_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no metric-\*\.jsonl"):
        records.find_files(tmp_path)
