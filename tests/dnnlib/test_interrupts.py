"""Ctrl-C while a script imports its modules, which takes seconds: "Aborted", and no traceback."""

import ast
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dnnlib import interrupts
from tests import golden

ROOT = Path(__file__).parents[2]
GRAY = golden.DATA_DIR / "datasets" / "dataset_small_gray.zip"
TRAINING = [f"--data={GRAY}", "--cfg=stylegan2", "--batch=8", "--gamma=1", "--cbase=64", "--cmax=4"]
TRAINING += ["--metrics=none", "--device=cpu"]

# Python runs this first: it sends a signal when a module is about to be imported.
INTERRUPT = """
import os, signal, sys

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == os.environ["INTERRUPT_AT"]:
            os.kill(os.getpid(), getattr(signal, os.environ.get("SIGNAL", "SIGINT")))

sys.meta_path.insert(0, Finder)
"""
SCRIPTS = sorted(
    path.relative_to(ROOT).with_suffix("")
    for path in ROOT.rglob("*.py")
    if path.relative_to(ROOT).parts[0] != "tests"
    and not path.relative_to(ROOT).parts[0].startswith(".")
    and re.search(r"^@click\.(command|group)", path.read_text(encoding="utf-8"), re.MULTILINE)
)


def run(folder: Path, command: list[str], at: str, **environment: str):
    (folder / "sitecustomize.py").write_text(INTERRUPT)
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(folder), "INTERRUPT_AT": at, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_every_script_begins_with_it():
    assert len(SCRIPTS) > 18
    for script in SCRIPTS:
        tree = ast.parse((ROOT / script).with_suffix(".py").read_text(encoding="utf-8"))
        assert ast.unparse(tree.body[1]) == (
            "if __name__ == '__main__':\n"
            "    from dnnlib import interrupts\n"
            "    interrupts.end_quietly()"
        ), script


# In compiled modules, too, whose imports may turn the exception into another, or swallow it.
@pytest.mark.parametrize(
    ("script", "module"),
    [
        ("train.py", "click"),
        ("train.py", "requests"),
        ("train.py", "numpy"),
        ("train.py", "numpy._core._multiarray_umath"),
        ("train.py", "torch._C"),
        ("train.py", "torch.nn"),
        ("train.py", "training.training_loop"),
        ("gen_images.py", "network_files.load"),
        ("gen_video.py", "scipy.interpolate"),
        ("calc_metrics.py", "torch"),
        ("dataset_tool.py", "PIL.Image"),
        ("avg_spectra.py", "scipy.ndimage"),
        ("legacy.py", "network_files.unpickler"),
        ("demo.py", "torch_utils.images"),
        ("visualizer.py", "click"),
    ],
)
def test_ctrl_c_during_imports(script, module, tmp_path):
    result = run(tmp_path, [script, "--help"], module)
    assert (result.returncode, result.stderr, result.stdout) == (130, "Aborted\n", "")


@pytest.mark.parametrize("module", ["benchmarks.ops", "docs.pictures"])
def test_ctrl_c_during_imports_of_a_module_that_is_run(module, tmp_path):
    result = run(tmp_path, ["-m", module, "--help"], "torch")
    assert (result.returncode, result.stderr, result.stdout) == (130, "Aborted\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("delay_sec", [0.2, 0.5, 1.0, 2.0])
def test_ctrl_c_from_outside_at_some_moment(delay_sec, tmp_path):
    """Started for long training; the delay counts from when the first of our modules runs."""
    args = ["--gpus=1", f"--outdir={tmp_path}", *TRAINING]
    code = "import runpy, dnnlib.interrupts; print('!', flush=True); "
    code += "runpy.run_path('train.py', run_name='__main__')"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *args],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "!\n"
    time.sleep(delay_sec)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert "Traceback" not in stderr
    if "Stopping" not in stderr:  # it trains already, and ends as a run does
        assert (process.returncode, stderr) == (130, "Aborted\n")


def test_other_signals_and_imports_by_others_are_as_ever(tmp_path):
    result = run(tmp_path, ["train.py", "--help"], "torch", SIGNAL="SIGTERM")
    assert (result.returncode, result.stderr) == (-signal.SIGTERM, "")
    result = run(tmp_path, ["-c", "import gen_images"], "torch")
    assert "KeyboardInterrupt" in result.stderr and "Aborted" not in result.stderr


@pytest.mark.slow
def test_where_ctrl_c_is_ignored_it_stays_so(tmp_path):
    code = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    code += "os.execv(sys.executable, [sys.executable, 'train.py', '--version'])"
    result = run(tmp_path, ["-c", code], "torch")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("train.py ")


def test_commands_raise_keyboard_interrupts_again():
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        interrupts.end_quietly()
        interrupts.raise_again()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        own = signal.signal(signal.SIGINT, lambda *_: None)
        interrupts.raise_again()
        assert signal.getsignal(signal.SIGINT) is not own  # handlers of others stay
    finally:
        signal.signal(signal.SIGINT, before)


CHILD = """
import multiprocessing, signal
from dnnlib import interrupts

def show():
    print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []), flush=True)

if __name__ == "__main__":
    with interrupts.held_back():
        process = multiprocessing.get_context("spawn").Process(target=show)
        process.start()
    process.join()
    show()
"""


def test_processes_that_start_while_it_is_held_back_never_see_it(tmp_path):
    (tmp_path / "main.py").write_text(CHILD)  # the first process starts Python's resource tracker
    result = run(tmp_path, [str(tmp_path / "main.py")], "none", PYTHONPATH=str(ROOT))
    assert (result.stdout, result.stderr) == ("True\nFalse\n", "")


@pytest.mark.slow
@pytest.mark.multiprocess
def test_ctrl_c_while_the_processes_of_a_run_import(tmp_path):
    """A terminal sends the signal to all of them at once."""
    process = subprocess.Popen(
        [sys.executable, "train.py", "--gpus=2", f"--outdir={tmp_path}", *TRAINING],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    said = ""
    while "no metrics" not in said:  # the last line before it starts the processes
        assert process.poll() is None, process.stderr.read()
        said = process.stdout.readline()
    time.sleep(1.5)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert "Traceback" not in stderr
    assert process.returncode == 130
    assert stderr.endswith("Aborted\n")  # PyTorch may say before it that it ends a process
