"""Finds the C++ compiler of the machine, chooses its flags, and builds a shared library."""

import contextlib
import dataclasses
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from torch_utils.ops import compilation
from torch_utils.ops.compilation import BuildError

FLAGS = ("-O3", "-std=gnu++17", "-fPIC", "-fno-math-errno", "-Wno-psabi")
BUILD_TIMEOUT_SEC = 300
PROBE_TIMEOUT_SEC = 60  # to compile a few lines and link them
QUERY_TIMEOUT_SEC = 10  # to print the predefined macros
SILENT_SEC = 2  # waiting for a compiler before a message says so

# Uses what the kernels need beyond plain C++: vectors of the machine's width, and threads.
PROBE = """
extern "C" void probe(float* x) {
#pragma omp parallel for
    for (int i = 0; i < 1024; i++) x[i] = x[i] * x[i] + 1;
}
"""


class CompilerHangsError(BuildError):
    """The compiler does not finish; other flags are not worth a try."""


@dataclasses.dataclass(frozen=True)
class Toolchain:
    """A compiler of this machine, with flags that it accepts.

    Args:
        command: The command that runs it.
        flags: Flags for the processor of this machine.
        macros: Macros that it predefines with these flags: its version, usable instructions.
    """

    command: tuple[str, ...]
    flags: tuple[str, ...]
    macros: str

    def check(self) -> None:
        """Compile and link a few lines: the assembler may be too old, or OpenMP missing.

        Raises:
            BuildError: If that fails.
        """
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.cpp")
            source.write_text(PROBE)
            with announce(f"Trying the C++ compiler {self.command[0]} ...", SILENT_SEC):
                self._build([source], Path(folder), PROBE_TIMEOUT_SEC)

    def build(self, sources: Sequence[Path], folder: Path) -> Path:
        """Compile `sources` side by side and link them to a shared library in `folder`.

        Raises:
            BuildError: If that fails or takes too long.
        """
        return self._build(sources, folder, BUILD_TIMEOUT_SEC)

    def _build(self, sources: Sequence[Path], folder: Path, timeout_sec: float) -> Path:
        objects = [str(folder / f"{source.stem}.o") for source in sources]
        compiler = [*self.command, *self.flags]
        compile_commands = [
            [*compiler, "-c", str(source), "-o", target]
            for source, target in zip(sources, objects, strict=True)
        ]
        output = folder / "kernels.so"
        link_command = [*compiler, "-shared", *objects, *_torch_openmp(), "-o", str(output)]
        _run(compile_commands, folder, timeout_sec)
        _run([link_command], folder, timeout_sec)
        return output


def toolchains() -> Iterator[Toolchain]:
    """The compiler with each set of flags that it accepts, the best first.

    Raises:
        BuildError: If no compiler is found, or it accepts none of the flags.
        CompilerHangsError: If it does not answer the first question.
    """
    if platform.system() == "Windows":
        raise BuildError("they are not built on Windows; WSL can build them.")
    command = _find_compiler()
    is_arm = platform.machine() in ("aarch64", "arm64")
    has_avx2 = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    conservative = ("-mavx2", "-mfma") if has_avx2 else ()
    error = None
    for architecture in (("-mcpu=native",) if is_arm else ("-march=native",), conservative):
        for openmp in (("-fopenmp",), ()):  # without OpenMP, one thread computes
            flags = (*FLAGS, *architecture, *openmp)
            query = [*command, *flags, "-dM", "-E", "-x", "c++", os.devnull]
            try:
                with announce(f"Waiting for the C++ compiler {command[0]} ...", SILENT_SEC):
                    macros = _run([query], Path(tempfile.gettempdir()), QUERY_TIMEOUT_SEC)
            except CompilerHangsError:
                raise
            except BuildError as failure:
                error = failure
                continue
            yield Toolchain(command, flags, macros)
    if error is not None:
        raise error


@contextlib.contextmanager
def announce(text: str, after_sec: float) -> Iterator[None]:
    """Print a message on the standard error, and tell listeners, if the block takes longer."""
    start, is_shown = time.monotonic(), threading.Event()

    def show() -> None:
        print(text, end="", file=sys.stderr, flush=True)
        is_shown.set()
        compilation.tell(text)

    timer = threading.Timer(after_sec, show)
    timer.start()
    outcome = "failed"
    try:
        yield
        outcome = "done"
    finally:
        timer.cancel()
        timer.join()
        if is_shown.is_set():
            print(f" {outcome} in {time.monotonic() - start:.0f} s", file=sys.stderr)


def _find_compiler() -> tuple[str, ...]:
    named = os.environ.get("CXX", "")
    if named:
        command = (named,) if shutil.which(named) else tuple(named.split())
        if not command or shutil.which(command[0]) is None:
            raise BuildError(f"the compiler CXX={named!r} was not found; correct or unset CXX.")
        return command
    for name in ("g++", "c++", "clang++"):
        if path := shutil.which(name):
            return (path,)
    raise BuildError(
        "no C++ compiler was found; install one (apt install g++, dnf install gcc-c++, "
        "xcode-select --install) or name it in CXX."
    )


def _torch_openmp() -> list[str]:
    """PyTorch's own OpenMP library: a second one would start its own threads."""
    libraries = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    return ["-Wl,--as-needed", *map(str, libraries)] if libraries else []


def _run(commands: Sequence[Sequence[str]], folder: Path, timeout_sec: float) -> str:
    """Run processes side by side, with temporary files in `folder`; return their output.

    Raises:
        BuildError: If one cannot be started, or fails.
        CompilerHangsError: If one takes longer than `timeout_sec`.
    """
    environment = {**os.environ, "LC_ALL": "C", "TMPDIR": str(folder)}
    deadline = time.monotonic() + timeout_sec
    running: list[subprocess.Popen] = []
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        try:
            for command in commands:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,  # a group, to kill the driver with its compiler
                )
                running.append(process)
            codes = [process.wait(deadline - time.monotonic()) for process in running]
        except OSError as error:
            raise BuildError(f"{commands[0][0]} cannot be run: {error.strerror}.") from error
        except subprocess.TimeoutExpired as error:
            raise CompilerHangsError(
                f"{commands[0][0]} did not finish within {timeout_sec:g} s; "
                "try again, or name another compiler in CXX."
            ) from error
        finally:
            for process in running:
                if process.poll() is None:
                    with contextlib.suppress(OSError):  # it has ended just now
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        log.seek(0)
        text = log.read()
    if any(codes):
        raise BuildError(_explain(commands[0][0], text))
    return text


def _explain(compiler: str, log: str) -> str:
    """One line that tells why a compiler failed."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for line in lines:
        if "No space left" in line:
            return f"the disk is full ({line[-200:]}); free some space."
    reason = next((line for line in lines if "error" in line.lower()), (lines or ["no message"])[0])
    return (
        f"{compiler} failed: {reason[:300]}; update it (GCC 9 and Clang 12 or newer should do), "
        "or name another one in CXX."
    )
