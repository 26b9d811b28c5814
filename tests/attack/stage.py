"""The folders of one try: a home that must stay as it is, and a place to work."""

import os
import shutil
from pathlib import Path

from tests.attack import payloads, pickled
from tests.attack.entrances import Entrance, Props
from tests.network_files import test_hostile

KERNELS = "STYLEGAN3_KERNEL_CACHE_DIR"
OLD = 1_000_000_000  # when the files in the home folder were written


class Stage:
    """Makes the folders, and sees what has become of them.

    Args:
        folder: Where to make them; what is there is removed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home, self.work = folder / payloads.HOME, folder / payloads.WORK

    def set_up(self, entrance: Entrance, props: Props, content: bytes) -> None:
        """Put a hostile file where the entrance finds it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.home / ".ssh").mkdir(parents=True)
        for name in (payloads.PRECIOUS, ".bashrc", ".ssh/authorized_keys"):
            path = self.home / name
            path.write_bytes(b"of great value, and not to be changed by anybody\n" * 10)
            os.utime(path, (OLD, OLD))
        (self.folder / "tmp").mkdir()
        self.work.mkdir()
        (self.work / "cache").mkdir(mode=0o700)  # caches that others can write to are refused
        (self.work / f"{payloads.TRAP}.py").write_text(pickled.trap())
        for place in entrance.places(props):
            path = self.work / place
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o600)
        self._before = self._look()

    def environment(self, entrance: Entrance) -> dict[str, str | None]:
        """Variables of the script's environment; None for those that it must not have."""
        nobody = "http://127.0.0.1:9"  # nothing comes from the network
        return {
            "HOME": str(self.home),
            "USERPROFILE": str(self.home),
            "TMPDIR": str(self.folder / "tmp"),
            "DNNLIB_CACHE_DIR": str(self.work / "cache"),
            KERNELS: os.environ.get(KERNELS, str(self.folder.parent / "kernels")),  # built once
            "http_proxy": nobody,
            "https_proxy": nobody,
            "no_proxy": "",
            "OMP_NUM_THREADS": "1",
            "STYLEGAN3_ALLOW_UNTRUSTED": None,
            "STYLEGAN3_DETECTOR_DIR": None,
            "STYLEGAN3_DEBUG": None,
            "DISPLAY": None,
            "WAYLAND_DISPLAY": None,
            **entrance.environment,
        }

    def damage(self) -> list[str]:
        """What no file may do, and one did; puts the project's folder right again."""
        after = self._look()
        changed = [name for name, state in after.items() if self._before.get(name) != state]
        changed += self._before.keys() - after.keys()
        test_hostile.CANARY.unlink(missing_ok=True)
        return [f"changed {name}" for name in changed]

    def _look(self) -> dict[str, tuple]:
        found = {}
        for path in sorted(self.home.rglob("*")):
            facts = path.lstat()
            content = path.read_bytes() if path.is_file() and facts.st_size < 1 << 20 else b""
            # The folder's own time shows a file that came and went.
            found[str(path.relative_to(self.folder))] = (facts.st_mtime_ns, facts.st_mode, content)
        found["home"] = (self.home.stat().st_mtime_ns,)
        if test_hostile.CANARY.exists():
            found[str(test_hostile.CANARY)] = ()
        return found
