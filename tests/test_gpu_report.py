"""The report about a GPU: what it counts, what it writes when, and what it does without a GPU."""

import ast
import dataclasses
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

from benchmarks import (
    PROJECT_DIR,
    checkout,
    compared_operations,
    comparisons,
    correctness,
    environment,
    gpu_iterations,
    gpu_report,
    gpu_sections,
    gpu_tests,
    graphs,
    iteration,
    kernel_builds,
    op_calls,
    ten_launches,
    training,
)
from benchmarks.networks import Setup
from benchmarks.peaks import Peaks
from benchmarks.report import Incomplete, Item, Section, write_report
from dnnlib.errors import InputError
from tests.cuda_emulator import emulator
from tests.cuda_emulator.ops import emulate
from tests.test_benchmarks import _wrong
from torch_utils.ops.cuda import launcher
from training import build

CPU = torch.device("cpu")
TINY = Setup("stylegan3-t", 8, batch=4, cbase=64, cmax=8)


def _plan():
    return gpu_report.Plan.tiny(CPU)


# Correctness and kernels


def _calls(op):
    return [call for call in correctness.unusual_calls() if call.op == op]


def test_correctness_finds_a_wrong_gradient(monkeypatch):
    tried = _calls("upfirdn2d")
    result = correctness.measure_errors(tried, torch.float32, False, CPU)
    assert result.num_calls == len(tried) and not result.failures
    assert max(result.largest) < 1e-5
    monkeypatch.setitem(op_calls.OPS, "upfirdn2d", _wrong(op_calls.OPS["upfirdn2d"], True))
    result = correctness.measure_errors(tried, torch.float32, True, CPU)
    assert len(result.failures) == len(tried) and result.largest[0] < 1e-5
    assert result.largest[1] == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize(
    ("op", "channels_last"), [("upfirdn2d", False), ("bias_act", True)], ids=str
)
def test_kernels_are_counted_as_they_are_launched(op, channels_last, monkeypatch):
    """Where the emulator stands in for a GPU, the same kernels run as the row says."""
    launched = set()

    def launch(source, specialisation, device, *args, **kwargs):
        if device.type == "cpu":
            launched.add((source, specialisation))
            return emulator.launch(source, specialisation, device, *args, **kwargs)
        return real_launch(source, specialisation, device, *args, **kwargs)

    real_launch = launcher.launch
    emulate(monkeypatch, launch)
    result = correctness.measure_errors(_calls(op)[:3], torch.float32, channels_last, CPU)
    assert not result.failures
    assert result.num_kernels == len(launched) > 0
    assert result.num_by_reference == 0


def test_calls_without_a_kernel_are_counted_as_such():
    (call,) = (c for c in _calls("upfirdn2d") if c.layer == "one pixel")
    call.arguments["f"].requires_grad_()  # there are no kernels for its gradient
    result = correctness.measure_errors([call], torch.float32, False, CPU)
    assert (result.num_kernels, result.num_by_reference) == (0, 1)


def test_without_a_compiler_all_calls_use_the_reference(monkeypatch):
    """A GPU whose kernels cannot be compiled; the calls run on the CPU."""
    prepare = op_calls.OpCall.prepare
    monkeypatch.setattr(
        op_calls.OpCall,
        "prepare",
        lambda self, device: prepare(self, getattr(device, "on", device)),
    )
    monkeypatch.setattr(correctness.compiler, "is_available", lambda index: index != 3)
    tried = _calls("upfirdn2d")
    for index, num_by_reference in ((3, len(tried)), (2, 0)):
        device = SimpleNamespace(type="cuda", index=index, on=CPU)
        result = correctness.measure_errors(tried, torch.float32, False, device)
        assert (result.num_kernels > 0, result.num_by_reference) == (index == 2, num_by_reference)


def test_kernel_that_was_not_built_is_named(monkeypatch):
    tried = _calls("upfirdn2d")
    (source, name), *_ = sorted(correctness.kernels_of(tried, [torch.float32]))
    other = "upfirdn2d.cu", "of_another_op<float>"
    failures = {(source, name, "sm_90"): "no such instruction", (*other, "sm_90"): "not here"}
    monkeypatch.setattr(launcher, "failures", failures)
    results = [correctness.measure_errors(tried, torch.float32, last, CPU) for last in (0, 1)]
    named = [text for result in results for text in result.failures]
    assert named == [f"not built: {name} of {source}: no such instruction"] * len(named)
    assert named


def test_kernels_are_built_once_and_failures_are_named(tmp_path, monkeypatch):
    pytest.importorskip("cuda.bindings.nvrtc")
    monkeypatch.setenv("STYLEGAN3_KERNEL_CACHE_DIR", str(tmp_path / "cache"))
    good = sorted(correctness.kernels_of(_calls("upfirdn2d")[:1], [torch.float32]))[:2]
    bad = "upfirdn2d.cu", "upfirdn2d_general<nonsense>"
    first = kernel_builds.build([*good, bad], "sm_90")
    assert (first.num_found, first.num_compiled) == (0, len(good))
    assert first.nvrtc_sec > 0
    assert first.failures.keys() == {bad} and "nonsense" in first.failures[bad]
    second = kernel_builds.build([*good, bad], "sm_90")
    assert (second.num_found, second.num_compiled) == (len(good), 0)
    assert second.failures.keys() == {bad}


@pytest.mark.slow
def test_all_kernels_are_built_before_they_are_launched(monkeypatch):
    """Networks run on the device when their kernels, and those of their small relatives, exist."""
    done = []

    def build(kernels, arch):
        done.append(set(kernels))
        return kernel_builds.Builds(5, 6, {}, 1.0, 2.0)

    def calls_to_try(resolution, _):
        done.append("networks run")
        return calls_of_networks

    calls_of_networks = correctness.calls_to_try(8, CPU)
    monkeypatch.setattr(kernel_builds, "build", build)
    monkeypatch.setattr(correctness, "calls_to_try", calls_to_try)
    monkeypatch.setattr(gpu_sections.compiler, "arch_of", lambda _: "sm_90")
    plan = dataclasses.replace(_plan(), device=SimpleNamespace(type="cuda"))
    first, second = (item.measure() for item in gpu_sections.build_items(plan))
    of_training, _, of_calls = done
    assert done[1] == "networks run"
    of_networks = [call for call in calls_of_networks if call.op == "filtered_lrelu"][:3]
    assert correctness.kernels_of(of_networks, [torch.float16]) & of_training
    assert first == [["training", str(len(of_training)), "5", "6", "0", "1.0", "2.0"]]
    assert second == [["correctness", str(len(of_calls)), "5", "6", "0", "1.0", "2.0"]]


def test_kernels_that_do_not_compile_are_a_failure(monkeypatch):
    builds = kernel_builds.Builds(0, 0, {("a.cu", "f<1>"): "too new"}, 1.0, 2.0)
    monkeypatch.setattr(kernel_builds, "build", lambda kernels, arch: builds)
    monkeypatch.setattr(gpu_sections.compiler, "arch_of", lambda _: "sm_90")
    plan = SimpleNamespace(device=SimpleNamespace(type="cuda"))
    with pytest.raises(Incomplete, match="f<1>: too new") as caught:
        gpu_sections._build_row(plan, "training", {("a.cu", "f<1>")})
    assert caught.value.rows == [["training", "1", "0", "0", "1", "1.0", "2.0"]]


def test_ten_launches_are_of_ten_kernels():
    calls, number = ten_launches.choose_calls()
    assert number >= 10
    kernels = correctness.kernels_of(calls[:1], [calls[0].arguments["x"].dtype])
    assert 0 < len(kernels) <= number
    result = CliRunner().invoke(ten_launches.main, ["--device=cpu"])
    assert result.output == f"{len(calls)} calls of {number} kernels ran\n"


# Writing


def _section(name, *functions, share=1):
    items = [Item(f"{name}{idx}", function) for idx, function in enumerate(functions)]
    return Section(name, name.upper(), "About.", ("a", "b", "c"), share, lambda: items)


def test_report_survives_failures_and_hands_over_each_row():
    written = []

    def fail():
        assert written[-1] == "| 1 | 2 | 3 |\n"  # the row before is out already
        raise ValueError("no such\nkernel | at all")

    def fail_in_part():
        raise Incomplete("one of two", [["4", "5", "6"]])

    def fail_after_a_row():
        yield ["7", "8", "9"]
        assert written[-1] == "| 7 | 8 | 9 |\n"
        raise KeyError("nothing")

    sections = [
        _section("x", lambda: [["1", "2", "3"]], fail),
        _section("y", fail_in_part, fail_after_a_row),
    ]
    report = write_report("# Head\n", sections, 60, written.append)
    assert "".join(written) == report.text
    assert "| 1 | 2 | 3 |\n| x1 | failed: ValueError: no such kernel \\| at all |  |" in report.text
    assert "| 4 | 5 | 6 |\n| y0 | failed: Incomplete: one of two |  |" in report.text
    assert "| 7 | 8 | 9 |\n| y1 | failed: KeyError: 'nothing' |  |" in report.text
    assert report.failures == [
        "x: x1: ValueError: no such kernel | at all",
        "y: y0: Incomplete: one of two",
        "y: y1: KeyError: 'nothing'",
    ]
    assert "- 3 failures" in report.text


def test_report_leaves_out_what_comes_too_late(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def take(seconds):
        def measure():
            clock[0] += seconds
            return [["1", "2", "3"]]

        return measure

    # 10 s each: the second item of x ends too late, and takes from y, which leaves some to z.
    sections = [
        _section("x", take(6), take(6), take(6)),
        _section("y", take(5)),
        _section("z", take(8), take(5), take(1)),
    ]
    report = write_report("", sections, 30, lambda _: None)
    assert report.left_out == ["x: x2", "z: z2"] and clock == [30]
    assert "Left out for want of time: x2." in report.text
    assert report.text.count("| 1 | 2 | 3 |") == 5
    assert "- 2 items left out for want of time" in report.text
    times = [line for line in report.text.splitlines() if line.endswith("left for it)")]
    assert times == [
        f"({took} s, of {had} s that were left for it)"
        for took, had in ((12, 10), (5, 8), (13, 13))
    ]


def test_ctrl_c_ends_the_report_with_what_was_measured():
    def stop():
        raise KeyboardInterrupt

    written = []
    sections = [_section("x", lambda: [["1", "2", "3"]], stop), _section("y", stop)]
    with pytest.raises(KeyboardInterrupt):
        write_report("", sections, 60, written.append)
    text = "".join(written)
    assert "| 1 | 2 | 3 |\n\nStopped by Ctrl-C.\n\n## Conclusion\n" in text
    assert "## Y" not in text


@pytest.mark.slow
def test_killed_report_has_lost_no_row(tmp_path):
    """Reports are appended, so that the next one does not overwrite what a killed one wrote."""
    out = tmp_path / "report.md"
    out.write_text("An earlier one.\n")
    command = [sys.executable, "-m", "benchmarks.gpu_report", "--quick", "--device=cpu"]
    command += ["--sections=correctness", f"--out={out}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        for line in process.stdout:
            if line.startswith(b"| upfirdn2d"):
                process.kill()
                break
    lines = out.read_text().splitlines()
    assert lines[0] == "An earlier one."
    assert lines[1].startswith("Missing here:")
    assert lines[2:4] == ["", "# Report of a GPU"]
    rows = [line for line in lines if line.startswith("|")]
    assert rows[2].startswith("| filtered_lrelu") and rows[4].startswith("| upfirdn2d")


@pytest.mark.slow
def test_gpu_report_on_a_cpu(tmp_path):
    args = ["--quick", "--device=cpu", f"--out={tmp_path / 'report.md'}"]
    args += ["--sections=kernels,correctness,layers,training,profile,comparisons,graphs,synthesis"]
    args += ["--seconds=9999"]  # however busy the machine is
    result = CliRunner().invoke(gpu_report.main, args)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "report.md").read_text()
    assert text == result.stdout
    assert text.startswith("Missing here: ")
    titles = "Kernels", "Correctness", "Every layer", "Training", "The dearest kernels"
    for title in (*titles, "Comparisons", "CUDA graphs", "Synthesis", "Conclusion"):
        assert f"\n## {title}\n" in text
    assert text.count("| ok |") == 6  # ops and layouts
    assert "- 0 failures\n- 0 items left out" in text


def test_gpu_report_is_refused_a_checkout_without_the_modules(tmp_path):
    result = CliRunner().invoke(
        gpu_report.main, ["--quick", "--device=cpu", f"--checkout={tmp_path}"]
    )
    assert result.exit_code == 1
    assert "there is no training/networks_stylegan3.py in it" in result.output


# Environment


def test_first_line_names_what_is_missing(monkeypatch):
    absent = {"pyspng", "cuda-core", "pytest"}
    real = importlib.metadata.version

    def version(name):
        if name in absent:
            raise importlib.metadata.PackageNotFoundError(name)
        return "0.1" if name == "scipy" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(environment, "find_tool", lambda name: f"/bin/{name}")
    assert environment.missing_line("cpu") == (
        "Missing here: pyspng (PNG files are decoded by Pillow), cuda-core (no CUDA kernels), "
        "pytest (the tests are not run)."
    )
    monkeypatch.setattr(environment, "find_tool", lambda name: None)
    assert "nvidia-smi (no version of the driver), compute-sanitizer" in environment.missing_line(
        "cuda"
    )
    assert "scipy 0.1 (pinned: " in "\n".join(environment.version_lines("cpu"))


@pytest.mark.parametrize("system", ["Linux", "Windows", "Darwin"])
def test_first_line_names_what_this_platform_requires_only(system, monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(environment, "version_of", lambda name: None)
    line = environment.missing_line("cuda")
    assert ("nvidia-cuda-nvrtc" in line) == (system == "Windows")
    assert ("cuda-core" in line) == (system != "Darwin")
    assert line.count("cuda-bindings") == line.count("pytest") == 1


def test_report_that_cannot_start_says_why_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(environment, "version_of", lambda name: None if name == "scipy" else "1")
    with pytest.raises(SystemExit) as caught:
        environment.require_packages()
    assert caught.value.code == 2
    assert capsys.readouterr().out == "Missing here: scipy; pip install -r requirements.txt\n"


# Tests and compute-sanitizer

TESTS = """
import time, pytest
pytestmark = [pytest.mark.gpu]
def test_good(): pass
def test_bad(): assert 0, "wrong result"
def test_slow(): time.sleep({})
"""


@pytest.fixture
def with_gpu_tests(tmp_path, monkeypatch):
    """A project of its own with three tests marked `gpu`."""
    monkeypatch.setattr(gpu_tests, "PROJECT_DIR", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")

    def write(seconds):
        (tmp_path / "test_x.py").write_text(TESTS.format(seconds))

    return write


def test_failed_gpu_tests_are_named(with_gpu_tests):
    with_gpu_tests(0)
    rows = []
    with pytest.raises(gpu_tests.ChecksFailed, match=r"1 tests failed.*wrong result"):
        for row in gpu_tests.run_tests(["test_x.py"], 60):
            rows.append(row[:2])
    assert rows == [
        ["pytest -m gpu", "2 passed, 1 failed, 0 skipped"],
        ["test_x.py::test_bad", "FAILED"],
    ]


@pytest.mark.slow
def test_gpu_tests_that_do_not_end_are_ended(with_gpu_tests):
    with_gpu_tests(99)
    start = time.perf_counter()
    rows = []
    with pytest.raises(gpu_tests.ChecksFailed, match="1 tests failed"):
        for row in gpu_tests.run_tests(["test_x.py"], 25):
            rows.append(row)
    assert time.perf_counter() - start < 90
    assert rows[0][1].startswith("1 passed, 1 failed")
    assert "ended after 25 s, the others are not known" in rows[0][1]


def test_broken_gpu_tests_are_a_failure(with_gpu_tests, tmp_path):
    (tmp_path / "test_x.py").write_text("import no_such_module")
    with pytest.raises(gpu_tests.ChecksFailed, match="no_such_module"):
        list(gpu_tests.run_tests(["test_x.py"], 60))


@pytest.mark.parametrize("code", [0, 9])
def test_compute_sanitizer_is_called(code, tmp_path, monkeypatch):
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(f"#!/bin/sh\necho \"========= $*\"\necho '= ERROR SUMMARY'\nexit {code}\n")
    tool.chmod(0o755)
    monkeypatch.setattr(environment, "find_tool", lambda _: str(tool))
    plan = SimpleNamespace(device=SimpleNamespace(type="cuda"))
    run = gpu_tests.run_sanitizer(plan, "racecheck")
    if code == 0:
        assert next(run)[:2] == ["racecheck: ten launches", "= ERROR SUMMARY"]
    else:
        with pytest.raises(gpu_tests.ChecksFailed, match=r"--tool=racecheck.*ten_launches"):
            next(run)


def test_files_of_the_gpu_tests_are_found():
    names = [os.path.relpath(path, PROJECT_DIR) for path in gpu_tests.test_files()]
    assert "tests/torch_utils/ops/cuda/test_gpu.py" in names
    assert "tests/training/test_augment.py" in names
    assert "tests/test_gpu_report.py" not in names and len(names) < 10


# Iterations


def test_iterations_are_those_of_the_trainer(monkeypatch):
    with iteration.dataset(8) as data:
        config = iteration.config_of(Setup("stylegan2", 8, 4, cbase=64, cmax=8), data, CPU)
        assert config.ada_target is not None and config.cudnn_benchmark
        with iteration.started(config, CPU) as run:
            phases = []
            run_phase = type(run)._run_phase
            monkeypatch.setattr(
                iteration.Iterations,
                "_run_phase",
                lambda self, phase, *rest: [
                    phases.append(phase.name),
                    run_phase(self, phase, *rest),
                ],
            )
            weights = [p.clone() for p in run.G_ema.parameters()]
            run.run(1, 16)
            folder = run.run_dir
            assert list(folder.iterdir()) == []
            counts = {name: phases.count(name) for name in phases}
            timed = run.measure(2, num_runs=3)
    assert counts == dict(Gmain=16, Greg=4, Dmain=16, Dreg=1)
    assert len(timed.runs_sec) == 3 and min(timed.runs_sec) > 0
    changed = [not torch.equal(a, b) for a, b in zip(weights, run.G_ema.parameters(), strict=True)]
    assert any(changed)
    assert not folder.exists() and not data.exists()


def test_iterations_of_config_r_are_over_the_blur():
    with iteration.dataset(8) as data:
        config = iteration.config_of(Setup("stylegan3-r", 8, 4, cbase=64, cmax=8), data, CPU)
        with iteration.started(config, CPU) as run:
            assert run.loss.blur_sigma(run.cur_nimg) == 0
            assert run.loss.blur_sigma(0) > 0


def test_profile_lists_the_dearest_first(monkeypatch):
    monkeypatch.setattr(gpu_iterations, "NUM_KERNELS", 5)
    rows = list(gpu_iterations.profile_items(_plan())[0].measure())
    assert len(rows) == 6 and rows[-1][:2] == ["all", "stylegan3-t"]
    times = [float(row[3]) for row in rows]
    assert times[:5] == sorted(times[:5], reverse=True) and sum(times[:5]) <= times[5]
    assert not any("Optimizer.step" in row[0] or "Gboth" in row[0] for row in rows)


# Comparisons


def test_channels_last_reaches_the_discriminator():
    with iteration.dataset(8) as data:
        config = iteration.config_of(TINY, data, CPU)
    assert not build.build_discriminator(config, TINY.images).b8.channels_last
    config = comparisons._channels_last_discriminator(config)
    assert build.build_discriminator(config, TINY.images).b8.channels_last


def test_padding_rounds_channels_up():
    plan = dataclasses.replace(_plan(), cmax=12)
    conv, _ = compared_operations._convolutions(plan, "stylegan3-t")[0]
    assert conv.kernel[:2] == (12, 12)
    x, weight = compared_operations._padded(conv, 8)
    assert x.shape[1] == weight.shape[0] == weight.shape[1] == 16
    assert x.shape[2:] == conv.x.shape[2:] and weight.shape[2:] == (3, 3)
    assert compared_operations._padded(conv, 1)[0].shape == conv.x.shape


def test_products_of_matrices_are_the_convolutions_of_config_r():
    torch.manual_seed(0)
    x, weight = torch.randn(2, 5, 4, 3), torch.randn(7, 5, 1, 1)
    want, *others = (side(x, weight) for side in compared_operations.CONVOLUTIONS.values())
    for got in others:
        torch.testing.assert_close(got, want)


# Graphs


def _measure_once(function, *_):
    function()
    return SimpleNamespace(median_sec=1.0)


@pytest.fixture
def pretended_gpu(monkeypatch):
    """Phases run on the CPU, and take a second."""
    gpu = SimpleNamespace(type="cuda")
    monkeypatch.setattr(graphs.devices, "resolve_device", lambda _: gpu)
    monkeypatch.setattr(graphs.devices, "configure_backends", lambda _: None)
    monkeypatch.setattr(graphs, "Training", lambda setup, _: training.Training(setup, CPU))
    monkeypatch.setattr(graphs.timing, "measure", _measure_once)


def test_phase_that_cannot_be_captured_is_named_with_the_reason(pretended_gpu, monkeypatch):
    def refuse(step, module):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(graphs, "capture", refuse)
    rows, failures = graphs.measure_phases(TINY, "cuda", 1)
    assert failures == ["Gmain: operation not permitted when stream is capturing"]
    assert rows == [["stylegan3-t", "Gmain", "4", "1000", "not captured", "", ""]]


def test_graphs_are_compared_with_eager_phases(pretended_gpu, monkeypatch):
    monkeypatch.setattr(graphs, "capture", lambda step, module: [step(), step][1])
    rows, failures = graphs.measure_phases(TINY, "cuda", 1)
    assert not failures
    assert [row[1] for row in rows] == ["Gmain", "Dmain", "Dreg"]
    assert all(row[3:6] == ["1000", "1000", "1.00"] for row in rows)
    assert all(0.1 < float(row[6].split()[0]) < 10 for row in rows)


# Another checkout


def test_worker_imports_public_names_only():
    tree = ast.parse(checkout.WORKER.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
             for alias in node.names}  # fmt: skip
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree))
    assert names <= {*sys.stdlib_module_names, "torch", "numpy"}


@pytest.fixture
def copy_of_ours(tmp_path):
    for name in ("dnnlib", "torch_utils", "training", "data", "metrics", "network_files"):
        shutil.copytree(PROJECT_DIR / name, tmp_path / "other" / name)
    return tmp_path / "other"


@pytest.mark.slow
@pytest.mark.multiprocess
def test_another_checkout_is_measured_in_turns(copy_of_ours):
    checkout.check(copy_of_ours)
    plan = dataclasses.replace(_plan(), batches={"stylegan2": 4})
    (item,) = checkout.items(plan, copy_of_ours)
    rows = list(item.measure())
    assert [row[:3] for row in rows] == [
        ["stylegan2", "4", "this one"],
        ["stylegan2", "4", str(copy_of_ours)],
    ]
    assert rows[0][6] == "1.00" and all(float(row[3]) > 0 for row in rows)
    assert float(rows[1][6]) == pytest.approx(float(rows[1][4]) / float(rows[0][4]), rel=0.05)


@pytest.mark.multiprocess
def test_checkout_that_fails_is_reported_with_its_last_words(copy_of_ours):
    (copy_of_ours / "training" / "loss.py").write_text("raise ValueError('not ours')\n")
    side = checkout.Side(copy_of_ours, checkout.settings_of(TINY, "cpu", 1))
    try:
        with pytest.raises(checkout.CheckoutError, match="ended with 1: ValueError: not ours"):
            side.wait_until_ready()
    finally:
        side.close()


def test_settings_are_what_the_published_classes_take():
    """Names of arguments that the published constructors know, as `train.py` there gives them."""
    known = {
        "G": "class_name z_dim w_dim c_dim img_resolution img_channels mapping_kwargs channel_base "
        "channel_max fused_modconv_default magnitude_ema_beta conv_kernel use_radial_filters",
        "D": "class_name c_dim img_resolution img_channels block_kwargs mapping_kwargs "
        "epilogue_kwargs channel_base channel_max",
        "loss": "class_name r1_gamma style_mixing_prob pl_weight pl_no_weight_grad "
        "blur_init_sigma blur_fade_kimg",
    }
    for cfg in gpu_report.Plan(CPU).batches:
        settings = checkout.settings_of(Setup(cfg, 8, 4, cbase=64, cmax=8), "cpu", 16)
        json.dumps(settings)
        for name, arguments in known.items():
            assert settings[name].keys() <= set(arguments.split()), (cfg, name)
    assert settings["phases"] == dict(Gmain=1, Greg=4, Dmain=1, Dreg=16)


def test_folder_that_is_no_checkout_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"there is no training/networks_stylegan3.py in it"):
        checkout.check(tmp_path)


# Cold start


def test_gpu_report_times_a_cold_start(monkeypatch):
    cache_dir = os.environ[gpu_sections.CACHE_DIR_VARIABLE]
    monkeypatch.setenv(gpu_sections.CACHE_DIR_VARIABLE, cache_dir)
    monkeypatch.setattr(training, "in_fresh_process", lambda function, *args: function(*args))
    sections = gpu_report.all_sections(_plan(), Peaks(1, 1))
    (section,) = [s for s in sections if s.name == "start"]
    (row,) = section.items()[0].measure()
    assert row[0] == "stylegan3-t" and float(row[1]) > 0 and float(row[2]) > 0
