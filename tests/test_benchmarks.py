"""The benchmarks run, count what they mean to count, and refuse what they cannot measure."""

import dataclasses
import mmap
import os

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner

from benchmarks import (
    PROJECT_DIR,
    busy,
    calls,
    convolutions,
    correctness,
    dataset,
    dragging,
    gpu_report,
    host_time,
    memory,
    metrics,
    neighbours,
    op_calls,
    ops,
    sample_size,
    shared_passes,
    synthesis,
    timing,
    training,
    training_step,
    video,
    watching,
    work,
)
from benchmarks.calls import Layout
from benchmarks.networks import Setup, Training, build_generator
from benchmarks.peaks import Peaks, measure_peaks
from dnnlib import openmp
from dnnlib.errors import MachineError
from torch_utils.ops.cpu import convolution as cpu_convolution
from torch_utils.ops.selection import wants_reference
from training import networks_stylegan3
from training.config import AUGMENTATIONS

CPU = torch.device("cpu")
TINY = ["--resolution=16", "--cbase=256", "--cmax=8", "--repeat=1", "--threads=1", "--device=cpu"]


def _record(cfg: str, resolution: int = 32) -> list[synthesis.Convolution]:
    network = build_generator(cfg, resolution, cbase=256, cmax=8).synthesis
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


def test_dragging_prints_a_row_per_network_and_size():
    args = ["--resolutions=32", *TINY[1:]]
    result = CliRunner().invoke(dragging.main, args)
    assert result.exit_code == 0, result.output
    header, _, *rows = result.stdout.splitlines()[3:]
    assert " ".join(header.split()) == " ".join(dragging.HEADER)
    assert [row.split()[:3] for row in rows] == [
        ["stylegan2", "32x32", "b32"],
        ["stylegan3-t", "32x32", "L12_52_8"],
    ]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--configs=stylegan1"], "'stylegan1' is unknown"),
        (["--configs=none"], "name at least one"),
        (["--resolution=24"], "must be a power of two from 4 on, got 24"),
        (["--device=cpu", "--fp16=true"], "float16 on cuda only, not on cpu"),
    ],
)
def test_synthesis_refuses_bad_options(args, message):
    result = CliRunner().invoke(synthesis.main, args)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_video_prints_a_row_per_config(tmp_path):
    args = ["--configs=stylegan2,stylegan3-t", "--frames=3", "--grid=2x1", "--batch=4", *TINY]
    result = CliRunner().invoke(video.main, args)
    assert result.exit_code == 0, result.output
    header, _, *rows = result.stdout.splitlines()[3:]
    assert header.split() == " ".join(video.HEADER).split()
    cells = [row.split() for row in rows]
    assert [row[:2] for row in cells] == [["stylegan2", "32x16"], ["stylegan3-t", "32x16"]]
    assert [row[-1] for row in cells] == ["3", "3"]


def test_video_of_another_length_is_refused(tmp_path):
    G = build_generator("stylegan2", 16, cbase=256, cmax=8)
    video.measure_pair(G, tmp_path / "x.mp4", (1, 1), num_frames=2, batch=1)
    video.check_video(tmp_path / "x.mp4", (16, 16), 2)
    with pytest.raises(RuntimeError, match=r"has 2 frames of .*16, 16.*, expected 3 of"):
        video.check_video(tmp_path / "x.mp4", (16, 16), 3)


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
    network = build_generator("stylegan2", 8, cbase=256, cmax=8).synthesis
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


# Recorded calls


def test_layout_random_repeats_expanded_and_transposed_tensors():
    for x in (torch.zeros([2, 1, 3]).expand(2, 4, 3), torch.zeros([2, 3, 5]).transpose(0, 2)):
        y = Layout.of(x).random(CPU)
        assert (y.shape, y.stride(), y.dtype) == (x.shape, x.stride(), x.dtype)
        assert y.isfinite().all() and y.std() > 0
    assert Layout.of(torch.zeros([0, 3])).random(CPU).shape == (0, 3)


def test_convolution_calls_include_gradients_but_no_filters():
    x, w = torch.randn([2, 4, 8, 8], requires_grad=True), torch.randn([6, 4, 3, 3])
    with calls.ConvolutionCallRecorder() as recorder:
        y = F.conv2d(x, w) + F.conv2d(x, w)
        F.conv2d(y, torch.ones([6, 1, 3, 3]), groups=6).sum().backward()
    counted = {call.function: count for call, count in calls.count_calls(recorder.calls)}
    aten = torch.ops.aten
    assert counted == {aten.convolution.default: 2, aten.convolution_backward.default: 2}
    assert calls.measure_calls(recorder.calls, CPU, num_runs=1, budget_sec=0) > 0
    dx, dw, _ = recorder.calls[-1].prepare(CPU)()
    assert dx.shape == x.shape and dw is None


def test_record_calls_notes_layers_and_leaves_no_trace():
    setup = Setup("stylegan3-t", 16, batch=2, cbase=256, cmax=8)
    before = networks_stylegan3.filtered_lrelu
    found = op_calls.network_calls("stylegan3-t", setup, CPU)
    assert networks_stylegan3.filtered_lrelu is before
    assert {call.op for call in found} == {"filtered_lrelu"}
    assert sum(call.count for call in found) == 15
    assert found[0].layer.startswith("L0_") and found[-1].layer.startswith("L14_16_3")
    assert found[-1].arguments["x"].shape == (2, 3, 16, 16)
    assert found[-1].arguments["slope"] == 1


def test_record_calls_finds_resampling_of_all_other_networks():
    setup = Setup("stylegan2", 16, batch=1, cbase=256, cmax=8)
    factors = {}
    for network in ("stylegan2", "discriminator", "augment"):
        found = [c for c in op_calls.network_calls(network, setup, CPU) if c.op == "upfirdn2d"]
        factors[network] = [(c.arguments["up"], c.arguments["down"]) for c in found]
    assert set(factors["stylegan2"]) == {(1, 1), (2, 1)}
    assert set(factors["discriminator"]) == {(1, 2), (1, 1)}
    assert factors["augment"] == [(2, 1), (1, 2)]


# Work by formula


def test_filter_flop_counts_taps_that_do_not_meet_zeros():
    f = torch.ones(6)
    # Up-sampled twofold, 3 of 6 taps meet an input: 4x8 samples along y, then 8x8 along x.
    assert work.filter_flop(f, (4, 4), (8, 8), up=(2, 2)) == 2 * (4 * 8 * 3 + 8 * 8 * 3)
    # Rows first is cheaper where the output is narrow: 2x9 and then 2x4.
    assert work.filter_flop(f, (9, 9), (2, 4), planes=5) == 2 * 5 * (2 * 9 * 6 + 2 * 4 * 6)
    radial = torch.ones([6, 6])
    radial[0, 0] = 0
    assert work.filter_flop(radial, (8, 8), (3, 3)) == 2 * 9 * 36
    assert work.filter_flop(torch.ones([6, 6]), (8, 8), (3, 3)) == 2 * (8 * 3 * 6 + 3 * 3 * 6)
    assert work.filter_flop(torch.ones([1, 1]), (8, 8), (8, 8)) == 0


def test_work_of_filtered_lrelu():
    f = torch.ones(12) / 12
    x = Layout.of(torch.empty([2, 3, 10, 10]))
    arguments = dict(
        x=x, fu=f, fd=f, b=Layout.of(torch.empty(3)), up=2, down=2, padding=11, gain=1.0,
        slope=0.2, clamp=256, flip_filter=False, impl="cuda",
    )  # fmt: skip
    # 10 -> 2 * 10 + 2 * 11 - 11 = 31 samples -> (31 - 12) // 2 + 1 = 10
    up = 2 * (10 * 31 * 6 + 31 * 31 * 6)
    down = 2 * (31 * 10 * 12 + 10 * 10 * 12)
    forward = work.work_of("filtered_lrelu", arguments, with_grad=False)
    assert forward.flop == 6 * (100 + up + 4 * 31 * 31 + down)
    assert forward.byte == 6 * (100 + 100) * 4
    both = work.work_of("filtered_lrelu", arguments, with_grad=True)
    adjoint_up = 2 * (10 * 31 * 6 + 31 * 31 * 6)  # with `fd`
    adjoint_down = 2 * (31 * 10 * 12 + 10 * 10 * 12)  # with `fu`
    assert both.flop - forward.flop == 6 * (adjoint_up + 2 * 31 * 31 + adjoint_down + 100)
    mask = 6 * 31 * 31 * 2 // 8
    assert both.byte - forward.byte == 6 * 200 * 4 + 2 * mask


def test_work_of_bias_act_and_upfirdn2d():
    x = Layout.of(torch.empty([2, 3, 8, 8], dtype=torch.bfloat16))
    bias_act = dict(x=x, b=None, act="lrelu", gain=None, clamp=256, alpha=None, dim=1, impl="ref")
    assert work.work_of("bias_act", bias_act, with_grad=False) == work.Work(384 * 5, 384 * 4)
    assert work.work_of("bias_act", bias_act, with_grad=True).byte == 384 * 2 * (2 + 3)
    fir = dict(x=x, f=torch.ones(4), up=1, down=2, padding=[1, 1, 1, 1], gain=1, impl="ref")
    flop = 6 * 2 * (8 * 4 * 4 + 4 * 4 * 4)
    assert work.work_of("upfirdn2d", fir, with_grad=False) == work.Work(flop, 6 * (64 + 16) * 2)
    assert work.work_of("upfirdn2d", fir, with_grad=True).byte == 2 * 6 * (64 + 16) * 2


def test_peaks_say_which_rate_binds():
    peaks = Peaks(flop_per_sec=100, byte_per_sec=10)
    assert peaks.bound(work.Work(200, 10)) == "flops" and peaks.floor_sec(work.Work(200, 10)) == 2
    assert peaks.bound(work.Work(200, 30)) == "bytes" and peaks.floor_sec(work.Work(200, 30)) == 3
    measured = measure_peaks(CPU, matrix_size=64, copy_bytes=1 << 16)
    assert 0 < measured.flop_per_sec < 1e15 and 0 < measured.byte_per_sec < 1e15
    assert measured.best(Peaks(1e15, 1)) == Peaks(1e15, measured.byte_per_sec)


# benchmarks.ops


def test_ops_prints_calls_and_totals(monkeypatch):
    monkeypatch.setattr(ops, "measure_peaks", lambda _: Peaks(1e11, 1e10))
    args = [*TINY, "--grad", "--networks=stylegan3-r,discriminator"]
    result = CliRunner().invoke(ops.main, args)
    assert result.exit_code == 0, result.output
    assert "GFLOP/s" in result.stdout.splitlines()[1]
    rows = [line.split() for line in result.stdout.splitlines()[6:]]
    assert {row[0] for row in rows} == {"filtered_lrelu", "upfirdn2d", "bias_act"}
    totals = [row for row in rows if row[2] == "total"]
    assert [(row[0], row[1], row[3]) for row in totals] == [
        ("filtered_lrelu", "stylegan3-r", "15"),
        ("upfirdn2d", "discriminator", "4"),
        ("bias_act", "discriminator", "6"),
    ]


@pytest.mark.parametrize(
    ("command", "args", "message"),
    [
        (ops, ["--ops=fma"], "'fma' is unknown"),
        (ops, ["--networks=none"], "name at least one"),
        (ops, ["--resolution=4"], "must be a power of two from 8 on, got 4"),
        (training, ["--phases=Gboth"], "'Gboth' is unknown"),
        (training, ["--configs=stylegan3-t", "--phases=Greg"], "none of these takes place"),
        (gpu_report, ["--sections=none"], "name at least one"),
        (metrics, ["--resolution=24"], "must be a power of two from 4 on, got 24"),
        (busy, ["--tasks=T 33"], "'T 33' is unknown"),
        (busy, ["--settings=fast"], "'fast' is unknown"),
    ],
)
def test_benchmarks_refuse_bad_options(command, args, message):
    result = CliRunner().invoke(command.main, args)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


@pytest.mark.skipif(
    not cpu_convolution.is_supported(torch.float32), reason="not the instructions of this processor"
)
def test_convolutions_prints_a_row_per_result(monkeypatch):
    monkeypatch.setattr(convolutions, "SHAPES", [(1, 3, 5, 8, 1, 1), (1, 3, 5, 9, 2, 0)])
    result = CliRunner().invoke(convolutions.main, ["--dtypes=float32", "--repeat=1"])
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()[4:]]
    assert [row[-6] for row in rows] == ["output", "dx", "dw"] * 2


def test_convolutions_say_what_a_processor_lacks(monkeypatch):
    monkeypatch.setattr(cpu_convolution, "is_supported", lambda dtype: False)
    result = CliRunner().invoke(convolutions.main, [])
    assert result.exit_code == 1
    assert "AVX-512" in result.output


def test_busy_sets_one_variable_in_place_of_all_others(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    found = {name: busy.environment(name) for name in ("default", "ours", "passive", "300")}
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    assert {name: [env.get(n) for n in names] for name, env in found.items()} == {
        "default": [None, None],
        "ours": [None, str(openmp.SPIN_COUNT)],
        "passive": ["PASSIVE", None],
        "300": [None, "300"],
    }


@pytest.mark.slow
def test_busy_times_processes_beside_a_loop(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    assert busy.fair_share(1) == 2
    args = ["--tasks=T 32,training", "--busy=1", "--settings=ours", "--rounds=1", "--seconds=0"]
    result = CliRunner().invoke(busy.main, args, catch_exceptions=False)
    assert result.exit_code == 0
    rows = [line.rsplit(maxsplit=3) for line in result.stdout.splitlines()[-2:]]
    assert [row[:3] for row in rows] == [["T 32", "1", "2.0"], ["training", "1", "2.0"]]
    assert all(float(row[3]) > 0 for row in rows)


def _wrong(function, slope):
    """An op whose kernel is off by a factor, in its value or only in its gradient."""

    class Scale(torch.autograd.Function):
        @staticmethod
        def forward(ctx, y):
            return y if slope else y * 1.01

        @staticmethod
        def backward(ctx, dy):
            return dy * 1.01

    def op(**kwargs):
        y = function(**kwargs)
        return y if wants_reference("op", "cuda") else Scale.apply(y)

    return op


@pytest.mark.parametrize("only_gradient", [False, True])
def test_ops_are_checked_before_they_are_timed(monkeypatch, only_gradient):
    (call, *_) = [c for c in correctness.unusual_calls() if c.op == "bias_act"]
    ops.measure_call(call, CPU, with_grad=True, num_runs=1)
    monkeypatch.setitem(op_calls.OPS, "bias_act", _wrong(op_calls.OPS["bias_act"], only_gradient))
    with pytest.raises(RuntimeError, match="differs from the reference by"):
        ops.measure_call(call, CPU, with_grad=True, num_runs=1)


# benchmarks.training


def test_training_prints_phases_and_their_mean(monkeypatch):
    monkeypatch.setattr(training, "in_fresh_process", lambda function, *args: function(*args))
    args = [*TINY, "--batch=2", "--configs=stylegan2", "--phases=Dreg"]
    result = CliRunner().invoke(training.main, args)
    assert result.exit_code == 0, result.output
    phase, mean = (line.split() for line in result.stdout.splitlines()[5:])
    assert phase[:2] == ["stylegan2", "Dreg"] and phase[-1] == "1+1"
    assert mean[:2] == ["stylegan2", "mean"]
    # Every 16th iteration regularises.
    assert float(mean[2]) == pytest.approx(float(phase[2]) / 16, rel=1e-2)
    assert float(phase[11]) < 1e-3  # error of the gradients


@pytest.mark.parametrize(
    ("cfg", "phases"),
    [
        ("stylegan3-r", dict(Gmain=1, Dmain=1, Dreg=16)),
        ("stylegan2", dict(Gmain=1, Greg=4, Dmain=1, Dreg=16)),
    ],
)
def test_training_runs_what_the_training_loop_runs(cfg, phases):
    setup = Setup(cfg, 8, batch=4, cbase=64, cmax=8)
    assert setup.phases == phases
    networks = Training(setup, CPU)
    pipe, loss = networks.loss.augment_pipe, networks.loss
    assert float(pipe.p) == 1 and all(getattr(pipe, name) == 1 for name in AUGMENTATIONS["bgc"])
    assert loss.blur_sigma(networks.cur_nimg) == 0
    for phase in phases:
        networks.run(phase)
        gradients = networks.gradients(phase)
        assert np.isfinite(gradients).all() and np.abs(gradients).max() > 0
    assert training.mean_sec(setup, dict.fromkeys(phases, 1.0)) == sum(
        1 / n for n in phases.values()
    )


def test_training_compares_losses_and_gradients():
    setup = Setup("stylegan3-t", 8, batch=2, cbase=64, cmax=8)
    native, reference = (
        training.measure_phase(setup, "Gmain", "cpu", 1, use_reference, 1)
        for use_reference in (False, True)
    )
    assert native.bare_convs_sec > 0 and "Loss/G/loss" in native.losses
    training.check_close(native, reference, 1e-5)
    off = dataclasses.replace(native, gradients=native.gradients * 1.02)
    assert training.gradient_error(off, native) == pytest.approx(0.02)
    with pytest.raises(RuntimeError, match=r"the gradients differ from the reference by 0\.02"):
        training.check_close(off, reference, training.MAX_ERROR["cpu"])
    off = dataclasses.replace(native, losses={**native.losses, "Loss/G/loss": 9.0})
    with pytest.raises(RuntimeError, match="Loss/G/loss is 9, with the reference ops"):
        training.check_close(off, reference, training.MAX_ERROR["cpu"])


@pytest.mark.slow
def test_training_measures_memory_in_a_process_of_its_own():
    setup = Setup("stylegan2", 16, batch=2, cbase=256, cmax=64)
    arguments = setup, "Dreg", "cpu", 1, False, 1
    result = training.in_fresh_process(training.measure_phase, *arguments)
    assert len(result.gradients) > 1e5
    if result.peak_bytes is not None:  # not Linux
        weights = 4 * len(result.gradients)
        assert 2 * weights < result.peak_bytes < 100e6  # and their gradients; but not PyTorch


def test_a_killed_measurement_is_an_error():
    with pytest.raises(RuntimeError, match="the measuring process was killed"):
        training.in_fresh_process(os._exit, 1)


def test_resident_bytes_remember_the_peak():
    if memory.resident_bytes("VmRSS") is None:
        pytest.skip("needs Linux")
    with mmap.mmap(-1, memory.resident_bytes("VmHWM")) as block:
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
    assert memory.resident_bytes("VmHWM") > 1.2 * memory.resident_bytes("VmRSS")


# benchmarks.watching


def test_watching_prints_its_share_of_the_time():
    sizes = ["--resolution=16", "--cbase=64", "--cmax=4", "--batch=4", "--batch-gpu=4"]
    arguments = [*sizes, "--cfg=stylegan2", "--iterations=1", "--device=cpu"]
    result = CliRunner().invoke(watching.main, arguments)
    assert result.exit_code == 0, result.output
    rows = dict(line.split()[:2] for line in result.stdout.splitlines() if line.endswith(" 1"))
    shares = [float(word[:-1]) for word in result.stdout.split() if word.endswith("%")][-2:]
    expected = 100 * float(rows["diversity"]) / (250 * float(rows["iteration"]))
    assert shares == pytest.approx([expected, expected / 4], rel=0.02, abs=0.01)


# benchmarks.metrics


def test_metrics_prints_a_row_per_stage():
    arguments = ["--quick", "--batch=6", "--device=cpu"]
    result = CliRunner().invoke(metrics.main, arguments)
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines() if "%" in line]
    assert [row[0] for row in rows] == [
        "generate",
        "features",
        "statistics",
        "together",
        "distance",
    ]
    for row in rows[:-1]:
        assert float(row[1]) * float(row[2]) == pytest.approx(1e3, rel=0.01)
    assert "distance of 256-dimensional Gaussians" in result.stdout


@pytest.mark.slow
def test_metrics_in_one_call_are_compared_with_each_alone():
    arguments = ["--quick", "--batch=6", "--num=10", "--device=cpu"]
    result = CliRunner().invoke(metrics.main, arguments)
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines() if "%" in line]
    assert [row[0] for row in rows[5:]] == [*shared_passes.NAMES, "together"]
    assert float(result.stdout.split()[-1]) > 0


def test_metrics_checks_the_distance_before_it_is_timed(monkeypatch):
    metrics.check_distance()
    right = metrics.frechet_distance
    monkeypatch.setattr(metrics, "frechet_distance", lambda *args: right(*args) * 1.01)
    with pytest.raises(RuntimeError, match=r"differs from SciPy's by 0\.01"):
        metrics.check_distance()


# benchmarks.neighbours


def test_neighbours_prints_the_memory_of_both_comparisons():
    if memory.resident_bytes("VmRSS") is None:
        pytest.skip("needs Linux")
    arguments = ["--num=1000", "--features=64", "--threads=1", "--device=cpu"]
    result = CliRunner().invoke(neighbours.main, arguments)
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()[-2:]]
    assert [row[:3] for row in rows] == [
        ["precision", "and", "recall"],
        ["density", "and", "coverage"],
    ]
    for row in rows:
        assert row[3:6] == ["1000", "64", "0.000512"]
        assert 0 <= float(row[6]) < 0.3  # GB


# benchmarks.sample_size


def test_sample_size_prints_a_row_per_number():
    arguments = ["--num-real=1000", "--largest=2000", "--features=8", "--threads=1", "--device=cpu"]
    result = CliRunner().invoke(sample_size.main, arguments)
    assert result.exit_code == 0, result.output
    _, title, header, _, *rows = result.stdout.splitlines()
    assert " ".join(header.split()) == " ".join(sample_size.HEADER)
    assert title.startswith("8 features, 1000 real images; known FID 0.0")
    assert [row.split()[0] for row in rows] == ["1000", "2000"]
    assert all(len(row.split()) == len(sample_size.HEADER) for row in rows)


# benchmarks.dataset


@pytest.mark.slow
def test_dataset_prints_rates_beside_those_of_others():
    args = ["--resolution=16", "--images=32", "--rounds=1", "--members=100", "--clock=wall"]
    result = CliRunner().invoke(dataset.main, args)
    assert result.exit_code == 0, result.output
    rows = [line for line in result.stdout.splitlines() if "worker" in line or "in process" in line]
    assert sum("%" in row for row in rows) == 10
    assert "a ZIP of 100 images opens in" in result.stdout


# benchmarks.host_time


@pytest.mark.slow
def test_host_time_compares_checkouts(tmp_path):
    pytest.importorskip("cuda.bindings.nvrtc")
    checkout = tmp_path / "before"
    checkout.symlink_to(PROJECT_DIR)
    options = [f"--checkout={checkout}", "--processes=1", "--rounds=1"]
    result = CliRunner().invoke(host_time.main, options)
    assert result.exit_code == 0, result.output
    header, _, *rows = result.stdout.partition("before: ")[2].splitlines()[2:]
    assert header.split() == ["call", "before", "us", "us", "ratio"]
    cells = [row.rsplit(maxsplit=3) for row in rows]
    names = {name for name, *_ in cells}
    assert {"launch, 4 arguments", "filtered_lrelu, forward and backward, CUDA"} <= names
    for _, before, us, ratio in cells:
        assert 0 < float(us) < 1e5 and float(ratio) == pytest.approx(
            float(us) / float(before), rel=0.1
        )


def test_host_time_says_why_a_checkout_cannot_be_measured(tmp_path):
    with pytest.raises(MachineError, match=r"cannot be measured: .*torch_utils"):
        host_time.measure(tmp_path, str(tmp_path), rounds=1)


# benchmarks.training_step


@pytest.mark.slow
def test_training_step_compares_checkouts(tmp_path):
    checkout = tmp_path / "before"
    checkout.symlink_to(PROJECT_DIR)
    tiny = Setup("stylegan2", resolution=8, batch=2, cbase=64, cmax=8, precision="fp32")
    before, after = training_step.compare(checkout, tiny, "noaug", rounds=2, number=1)
    assert len(before) == len(after) == 2
    assert all(0 < sec < 60 for sec in (*before, *after))


def test_training_step_refuses_versions_that_compute_something_else():
    training_step.check_same({"Loss/scores/fake": 2.0}, {"Loss/scores/fake": 2.001}, 1e-3)
    for other in (2.1, float("nan")):
        with pytest.raises(MachineError, match=r"Loss/scores/fake .* is .*, before 2"):
            training_step.check_same({"Loss/scores/fake": 2.0}, {"Loss/scores/fake": other}, 1e-3)
