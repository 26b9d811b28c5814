"""CUDA kernels are launched on a fake driver; failures are remembered."""

import os
import re
import subprocess
import sys
import threading
import warnings
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.torch_utils.ops.cuda.probe import CODE, NAME, SOURCE, count_compilations
from torch_utils.ops.compilation import BuildError
from torch_utils.ops.cuda import ahead, compiler, launcher

nvrtc = pytest.importorskip("cuda.bindings.nvrtc")

HERE = Path(__file__).parent
pytestmark = pytest.mark.usefixtures("fresh")


@pytest.fixture
def fake_device(source_dir, monkeypatch):
    """Launches on "cuda:0" compile for sm_90; loading gets the compiled kernel and fails."""
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(launcher, "_kernels", {})
    monkeypatch.setattr(launcher, "failures", {})
    monkeypatch.setattr(launcher, "_thread", SimpleNamespace(functions={}))
    return torch.device("cuda", 0)


def launch(name, device):
    launcher.launch(SOURCE, name, device, (1, 1, 1), (1, 1, 1), [])


def test_kernel_that_cannot_be_compiled_is_reported_and_tried_once(
    fake_device, source_dir, monkeypatch
):
    (source_dir / SOURCE).write_text(CODE.replace("scale(", "scales("))
    compilations = count_compilations(monkeypatch)
    message = r'(?s)"scales".*pip install --upgrade.*sm_90 uses more general.*several times slower'
    with (
        pytest.warns(UserWarning, match=message) as caught,
        pytest.raises(BuildError, match='"scales"'),
    ):
        launch(NAME, fake_device)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # there is one warning per source
        for name in (NAME, "probe<double>"):
            with pytest.raises(BuildError, match='"scales"'):
                launch(name, fake_device)
    assert len(compilations) == 2
    assert launcher.failures.keys() == {(SOURCE, n, "sm_90") for n in (NAME, "probe<double>")}


def test_source_that_cannot_be_read_is_a_failure_like_others(fake_device, source_dir):
    (source_dir / SOURCE).unlink()
    with pytest.warns(UserWarning, match=SOURCE), pytest.raises(BuildError, match=SOURCE):
        launch(NAME, fake_device)


def notes_of_launches(source_dir, *arguments):
    """What the fake driver notes when launch_on_fake_driver.py runs."""
    folder = source_dir.parent
    flags = ["-shared", "-fPIC", "-o", str(folder / "libcuda.so.1")]
    subprocess.run(["gcc", *flags, str(HERE / "fake_driver.c")], check=True)
    command = [sys.executable, "-m", "tests.torch_utils.ops.cuda.launch_on_fake_driver"]
    result = subprocess.run(
        [*command, str(source_dir), SOURCE, *arguments],
        env={**os.environ, "LD_LIBRARY_PATH": str(folder)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return re.sub(r"(CUDA_ERROR_\w+): [^;\n]*", r"\1", result.stderr)  # without explanations


def test_launch_takes_the_raw_stream_where_pytorch_has_it(source_dir):
    streams = set(re.findall(r"stream (\w+)", notes_of_launches(source_dir, "raw")))
    assert streams == {"0xcd00", "0xcd01"}


@pytest.mark.parametrize(
    ("blocks", "block_bytes", "percent"),
    [(8, 0, 4), (16, 0, 8), (1, 1, 1), (4, 40 * 1024, 72), (32, 8 * 1024, 100)],
)
def test_carveout_holds_all_blocks(blocks, block_bytes, percent):
    assert launcher.carveout(blocks, block_bytes, 1024, 228 * 1024) == percent


def test_launch_calls_the_driver(source_dir):
    """Contexts, streams, arguments and attributes, as a driver sees them."""
    kernel = f"kernel {compiler.compile_cubin(SOURCE, NAME, 'sm_90').symbol}"

    def launched(stream, block=256, shared_bytes=0):
        return (
            f"launch 0x88 grid 7 2 3 block {block} 1 1 shared {shared_bytes} stream {stream:#x} "
            "args 0xdeadbeef -5 -1099511627776 1.5 2.25 6 0.125"
        )

    def refusal(arch, reason):
        return (
            f"BuildError: the driver does not load {NAME} of {SOURCE} for {arch}, made by NVRTC "
            f"{compiler.core().nvrtc_version}: {reason}; a newer driver or PyTorch may."
        )

    def warning(arch, reason):
        return (
            f"{refusal(arch, reason).replace('BuildError', 'warning: CUDA kernels')} For this "
            f"and other failing kernels of {SOURCE}, {arch} uses more general kernels or PyTorch "
            "operations, which are several times slower and take more memory."
        )

    # What an earlier kernel did is not the fault of this one.
    left_over = (
        "context 0x1003",
        "load cubin",
        (
            f"-- MachineError: CUDA kernels: loading {NAME} of {SOURCE} failed: "
            "CUDA_ERROR_ILLEGAL_ADDRESS"
        ),
    )
    on_0 = launched(0xAB00)
    carveout = "attribute 9 = 4 on device 0"  # 8 blocks of 128 bytes and 1 KiB, in 228 KiB
    assert notes_of_launches(source_dir).splitlines() == [
        *("-- first", "context 0x1000", "load cubin", kernel, carveout, on_0),
        *("-- again", on_0),
        *("-- other device", "load ptx", kernel, launched(0xAB01)),
        *("-- shared memory", f"attribute 8 = {232448 - 128} on device 0"),
        "attribute 9 = 100 on device 0",
        *(launched(0xAB00, shared_bytes=60000), launched(0xAB00, shared_bytes=50000)),
        *("-- thread", "context 0x1000", on_0),
        *("-- refused", launched(0xAB00, block=2048)),
        f"-- MachineError: CUDA kernels: launching {NAME} of {SOURCE} with grid (7, 2, 3), block "
        "(2048, 1, 1) and 0 bytes of shared memory failed: CUDA_ERROR_INVALID_VALUE",
        *("-- cannot be loaded when it is launched", launched(0xAB01, block=222)),
        f"-- {refusal('sm_999', 'CUDA_ERROR_UNSUPPORTED_PTX_VERSION')}",
        f"-- {warning('sm_999', 'CUDA_ERROR_UNSUPPORTED_PTX_VERSION')}",
        f"-- {refusal('sm_999', 'CUDA_ERROR_UNSUPPORTED_PTX_VERSION')}",
        *("-- cannot be loaded on device 2", "context 0x1002", "load cubin"),
        f"-- {refusal('sm_80', 'CUDA_ERROR_NO_BINARY_FOR_GPU')}",
        f"-- {warning('sm_80', 'CUDA_ERROR_NO_BINARY_FOR_GPU')}",
        *("context 0x1002", f"-- {refusal('sm_80', 'CUDA_ERROR_NO_BINARY_FOR_GPU')}"),
        *("-- cannot be loaded on device 3", *left_over, *left_over),
    ]


@pytest.mark.parametrize("state", ["waits", "is begun", "failed"])
def test_launch_takes_what_is_compiled_ahead_and_waits_for_no_turn(state, fake_device, monkeypatch):
    """What waits is compiled by who needs it; what failed is a failure of the launch."""
    future, by_launch = Future(), []
    if state != "waits":
        future.set_running_or_notify_cancel()
    if state == "is begun":
        threading.Timer(0.1, future.set_result, ["ahead"]).start()
    elif state == "failed":
        future.set_exception(BuildError("not possible"))
    monkeypatch.setattr(ahead, "_futures", {(SOURCE, NAME, "sm_90"): future})
    monkeypatch.setattr(compiler, "compile_cubin", lambda *kernel: by_launch.append(kernel))
    if state == "failed":
        with pytest.warns(UserWarning, match="not possible"), pytest.raises(BuildError):
            launch(NAME, fake_device)
    else:
        cubin = ahead.take(SOURCE, NAME, "sm_90")
        assert cubin == ("ahead" if state == "is begun" else None)
    assert bool(by_launch) == future.cancelled() == (state == "waits")


def test_kernel_that_was_refused_in_another_thread_gets_no_carveout():
    launcher._prefer_carveout(("filtered_lrelu.cu", "refused", 0), (256, 1, 1), 0)
    assert not launcher._carveouts
