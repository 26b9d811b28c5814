"""The kernels of the standard networks are found, and compile, without a GPU."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from click.testing import CliRunner

from torch_utils.ops.cuda import compiler
from torch_utils.ops.kernel_cache import CACHE_DIR_VARIABLE
from training import precompile

pytest.importorskip("cuda.bindings.nvrtc")

MAX_SPILL_BYTES = 16


def run(*args):
    return CliRunner().invoke(precompile.main, args)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32"])
def test_kernels_are_those_of_the_networks(precision):
    kernels = precompile.kernels_of_training("stylegan2", 32, precision)
    names = [name for source, name in kernels if source == "upfirdn2d.cu"]
    tiled = {tuple(name.partition("<")[2].split(", ")[2:5]) for name in names}
    # Blurring, resampling of 2D filters, and the augmentations' separable ones.
    assert {("1", "1", "4"), ("2", "1", "4"), ("1", "2", "4")} <= tiled
    assert {("2", "1", "12"), ("1", "2", "12")} <= tiled
    assert any("half" in name for name in names) == (precision == "fp16")
    assert any("bfloat16" in name for name in names) == (precision == "bf16")
    assert any("float" in name.replace("bfloat16", "") for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("cfg", precompile.CFGS)
def test_standard_kernels_compile_and_stay_in_registers(cfg, precision):
    kernels = precompile.kernels_of_training(cfg, 256, precision)
    cubins = {name: compiler.compile_cubin(source, name, "sm_80") for source, name in kernels}
    assert len(cubins) > 5
    assert {
        name: c.spill_bytes for name, c in cubins.items() if c.spill_bytes > MAX_SPILL_BYTES
    } == {}


@pytest.mark.slow
def test_command_fills_the_cache_and_reports(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_DIR_VARIABLE, str(tmp_path))
    # Threads start sooner than processes, which CI runs.
    monkeypatch.setattr(
        precompile, "ProcessPoolExecutor", lambda jobs, mp_context: ThreadPoolExecutor(1)
    )
    result = run("--arch=sm_80", "--cfg=stylegan2", "--resolution=16")
    assert result.exit_code == 0, result.output
    *rows, summary = [line for line in result.output.splitlines() if "sm_80" in line]
    assert len(rows) == len(list(tmp_path.iterdir())) > 5
    assert summary.startswith(f"{len(rows)} kernels for sm_80 in ")
    monkeypatch.setattr(compiler, "_compile", None)  # what was reported is in the cache
    for source, name in precompile.kernels_of_training("stylegan2", 16, precision="fp16"):
        assert compiler.compile_cubin(source, name, "sm_80").registers > 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--arch=sm90"], "'sm90' is not like sm_90"),
        (["--arch=sm_90", "--resolution=100"], "100"),
        (["--arch=sm_90", "--cfg=stylegan4"], "'stylegan4' is unknown"),
    ],
)
def test_bad_options_are_named(args, message):
    result = run(*args)
    assert result.exit_code == 2
    assert message in result.output


def test_machine_without_gpu_needs_architectures(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    result = run()
    assert result.exit_code == 2
    assert "this machine has no GPU; name architectures" in result.output
