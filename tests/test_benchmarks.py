"""The benchmarks run, count what they mean to count, and refuse what they cannot measure."""

import pytest
import torch
from click.testing import CliRunner

from benchmarks import synthesis, timing

CPU = torch.device("cpu")
TINY = ["--resolution=16", "--cbase=256", "--cmax=8", "--repeat=1", "--threads=1", "--device=cpu"]


def _record(cfg: str, resolution: int = 32) -> list[synthesis.Convolution]:
    network = synthesis.build_generator(cfg, resolution, cbase=256, cmax=8).synthesis
    ws = torch.zeros([2, network.num_ws, network.w_dim])
    with torch.no_grad(), synthesis.ConvolutionRecorder() as recorder:
        network(ws)
    synthesis.check_convolutions(recorder.convs, network)
    return recorder.convs


def test_synthesis_prints_a_row_per_config():
    result = CliRunner().invoke(synthesis.main, TINY)
    assert result.exit_code == 0, result.output
    header, _, *rows = result.stdout.splitlines()[3:]
    assert header.split() == " ".join(synthesis.HEADER).split()
    cells = [row.split() for row in rows]
    assert [row[0] for row in cells] == ["stylegan3-t", "stylegan3-r", "stylegan2"]
    assert [row[7] for row in cells] == ["15", "15", "8"]  # convolutions
    for row in cells:
        sec, bare_sec, ratio = float(row[2]), float(row[4]), float(row[6])
        assert ratio == pytest.approx(sec / bare_sec, rel=0.1, abs=0.01)
        assert row[10] == "1+1"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--configs=stylegan1"], "'stylegan1' is unknown"),
        (["--configs=none"], "name at least one configuration"),
        (["--resolution=24"], "must be a power of two from 4 on, got 24"),
        (["--device=cpu", "--fp16=true"], "float16 on cuda only, not on cpu"),
    ],
)
def test_synthesis_refuses_bad_options(args, message):
    result = CliRunner().invoke(synthesis.main, args)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


@pytest.mark.parametrize(("cfg", "width"), [("stylegan3-t", 3), ("stylegan3-r", 1)])
def test_recorder_finds_convolutions_of_stylegan3(cfg, width):
    convs = _record(cfg)
    assert [conv.kernel[2] for conv in convs] == [width] * 14 + [1]
    assert not any(conv.is_transposed for conv in convs)
    assert convs[-1].kernel[1:] == (3, 1) and convs[-1].out_shape == (2, 3, 32, 32)
    assert convs[-1].flop == 2 * convs[-1].kernel[0] * 3 * (2 * 32 * 32)


def test_recorder_finds_convolutions_of_stylegan2():
    convs = _record("stylegan2")
    assert [conv.kernel for conv in convs[:5]] == [
        *((8, 8, 3), (8, 3, 1)),  # 4x4
        *((8, 8, 3), (8, 8, 3), (8, 3, 1)),  # 8x8
    ]
    assert [conv.is_transposed for conv in convs] == [False] * 2 + [True, False, False] * 3
    # Each of 4x4 input pixels meets each of 3x3 taps, for each pair of channels.
    assert convs[2].flop == 2 * 2 * (4 * 4) * (3 * 3) * 8 * 8


def test_replay_repeats_recorded_convolutions():
    convs = _record("stylegan2", resolution=8)
    with synthesis.ConvolutionRecorder() as recorder:
        synthesis.Replay(convs, CPU)()
    assert recorder.convs == [*convs, *convs]  # tried once, repeated once


def test_check_convolutions_notices_a_missing_one():
    network = synthesis.build_generator("stylegan2", 8, cbase=256, cmax=8).synthesis
    with pytest.raises(RuntimeError, match="does not make the convolutions of its layers"):
        synthesis.check_convolutions(_record("stylegan2", resolution=8)[1:], network)


def test_measure_counts_runs_and_keeps_the_last_result():
    results = iter(range(100))
    measured = timing.measure(lambda: next(results), CPU, num_runs=3, num_warmup=2)
    assert len(measured.runs_sec) == 3 and measured.result == 4


def test_measure_stops_at_its_budget():
    assert len(timing.measure(lambda: None, CPU, budget_sec=0).runs_sec) == timing.MIN_RUNS
    assert len(timing.measure(lambda: None, CPU, budget_sec=9).runs_sec) == timing.MAX_RUNS


def test_spread_is_the_range_of_few_and_interquartile_of_many():
    assert timing.Timing((1.0, 3.0), None).spread == 1
    assert timing.Timing((1.0, 2.0, 3.0, 4.0, 90.0), None).spread == pytest.approx(2 / 3)


def test_format_table_aligns_columns():
    assert timing.format_table(["a", "bc"], [["def", "1"]]) == "a    bc\n---  --\ndef   1"
