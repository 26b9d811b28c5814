"""A process that loads files it is given, and says what became of each and of itself.

Run as a program it is the child; `Victim` is the parent's side. The child has little memory to
spare and dies, with a traceback, when a file takes too much of the processor's time. It notices
what a file must never cause: programs started, files written, code compiled or executed, and
changes of its state.
"""

import contextlib
import faulthandler
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parent.parent.parent
MAX_WAIT_SECONDS = 300  # for a child that waits for something; the machine may be busy
MEMORY_BYTES = 512 << 20  # that the child may take on top of what it has after its start
SUSPICIOUS = ("os.", "subprocess.", "socket.", "shutil.", "pty.", "pickle.find_class", "exec")
HARMLESS = ("os.listdir", "os.scandir", "os.walk")


@dataclass(frozen=True)
class Report:
    """What became of one file."""

    outcome: str  # "loaded", "refused" (a ValueError), "error" (another exception), or "died"
    message: str = ""
    seconds: float = 0.0  # of the processor
    num_bytes: int = 0  # of memory, at the peak, more than before
    damage: tuple[str, ...] = ()  # what happened to the process

    def complaint(self, max_seconds: float, max_bytes: int = MEMORY_BYTES // 2) -> str | None:
        """What is wrong with this: anything but a file that loads, or is refused in one line."""
        if self.outcome not in ("loaded", "refused"):
            return f"{self.outcome}: {self.message}"
        if self.damage:
            return f"the process is not as it was: {self.damage}"
        if self.outcome == "refused" and not (
            self.message.startswith("file: ")
            and self.message.isprintable()
            and 20 < len(self.message) < 800
        ):
            return f"not one clear line: {self.message!r}"
        if "MemoryError" in self.message or "allocate" in self.message:
            return f"refused only when it was too much: {self.message}"
        if self.seconds > max_seconds or self.num_bytes > max_bytes:
            return f"took {self.seconds:.1f} s and {self.num_bytes >> 20} MiB: {self.message}"
        return None


class Victim:
    """Starts the child, and again when it has died."""

    def __init__(self, timeout_sec: float = 10) -> None:
        self.timeout_sec = timeout_sec
        self._process: subprocess.Popen | None = None

    def load(self, data: bytes) -> Report:
        """Let the child load a file with this content."""
        if self._process is None:
            self._start()
        child = self._process
        child.stdin.write(len(data).to_bytes(8, "little") + data)
        child.stdin.flush()
        is_ready, _, _ = select.select([child.stdout], [], [], MAX_WAIT_SECONDS)
        line = child.stdout.readline() if is_ready else b""
        if line:
            fields = json.loads(line)
            return Report(**{**fields, "damage": tuple(fields["damage"])})
        self.close()
        self._errors.seek(0)
        return Report("died", self._errors.read().decode(errors="replace")[-2000:])

    def close(self) -> None:
        """End the child."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.network_files.victim", str(self.timeout_sec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=PROJECT_DIR,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self._process.stdout.readline() == b"ready\n"


def _state() -> dict[str, object]:
    """What no file may change, as values that can be compared."""
    import copyreg
    import pickle
    import warnings
    from collections import OrderedDict

    import numpy as np
    import torch

    import dnnlib
    import legacy
    from network_files import rebuild, safetensors_file, tensorflow, unpickler
    from torch_utils import persistence

    namespaces = [legacy, rebuild, safetensors_file, tensorflow, unpickler, persistence]
    for module in tuple(namespaces):
        namespaces += [
            obj
            for obj in vars(module).values()
            if getattr(obj, "__module__", None) == module.__name__ and hasattr(obj, "__dict__")
        ]
    namespaces += [dnnlib.EasyDict, OrderedDict, pickle._Unpickler, torch.Tensor, torch.Size]
    return {
        "names": [{key: id(value) for key, value in vars(space).items()} for space in namespaces],
        "allowed": {key: id(value) for key, value in unpickler.NetworkUnpickler.allowed.items()},
        "modules": set(sys.modules),
        "environment": dict(os.environ),
        "path": list(sys.path),
        "folder": os.getcwd(),
        "extensions": dict(copyreg._extension_cache),
        "warnings": list(warnings.filters),
        "hooks": list(persistence._import_hooks),
        "texts": set(persistence._texts),
        "dtype": torch.get_default_dtype(),
        "device": str(torch.get_default_device()),
        "gradients": torch.is_grad_enabled(),
        "random": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "numpy": np.geterr(),
        "recursion": sys.getrecursionlimit(),
    }


def _child(timeout_sec: float) -> None:
    import io
    import warnings
    import zipfile

    import legacy
    from tests.network_files import seeds

    warnings.simplefilter("ignore")
    events = []

    def note(event: str, args: tuple) -> None:
        is_write = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
        if is_write or (event.startswith(SUSPICIOUS) and event not in HARMLESS):
            events.append(f"{event}: {args!r}"[:200])

    for data in seeds.all_seeds().values():  # whatever is imported late is there now
        legacy.load_network_pkl(io.BytesIO(data))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as f:
        f.writestr("data.pkl", b"")
    for data in (b"\x80\x04cos\nsystem\n.", archive.getvalue()):
        with contextlib.suppress(ValueError):
            legacy.load_network_pkl(io.BytesIO(data))
    for encoding in ("cp437", "raw_unicode_escape", "latin1"):  # of old archives and pickles
        "name".encode(encoding)
    sys.addaudithook(note)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable()
    faulthandler.register(signal.SIGPROF, chain=True)  # then dies, even in the middle of C code
    sys.stdout.buffer.write(b"ready\n")
    sys.stdout.flush()
    before = _state()
    while size := sys.stdin.buffer.read(8):
        data = sys.stdin.buffer.read(int.from_bytes(size, "little"))
        events.clear()
        signal.setitimer(signal.ITIMER_PROF, timeout_sec)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.process_time()
        try:
            legacy.load_network_pkl(io.BytesIO(data), name="file")
            outcome, message = "loaded", ""
        except ValueError as error:
            outcome, message = "refused", str(error)
        except BaseException as error:
            outcome, message = "error", f"{type(error).__name__}: {error}"
        seconds = time.process_time() - start
        signal.setitimer(signal.ITIMER_PROF, 0)
        num_bytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) << 10
        after = _state()
        damage = events + [key for key in before if after[key] != before[key]]
        before = after
        report = Report(outcome, message[:10_000], seconds, num_bytes, tuple(damage))
        sys.stdout.write(json.dumps(vars(report)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _child(float(sys.argv[1]))
