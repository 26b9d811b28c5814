"""The real `visualizer.py --serve`, in a process of its own."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import psutil

from tests.web_utils.browser import ROOT, wait_for


class ViewerServer:
    """Starts the server when it is made; `start` starts it again.

    Args:
        log: File for what the server prints.
        args: More of the command line.
    """

    def __init__(self, log: Path, *args: str | Path) -> None:
        self.log = log
        self.port = _free_port()
        self._args = [str(arg) for arg in args]
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        command = ["visualizer.py", "--serve", f"--port={self.port}", "--device=cpu", *self._args]
        # NiceGUI has ways of its own where it finds pytest.
        environment = {name: text for name, text in os.environ.items() if "PYTEST" not in name}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, env=environment, stdout=log, stderr=log
            )
        wait_for(self._answers)

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def printed(self) -> str:
        """What the server has printed."""
        return self.log.read_text()

    @property
    def link(self) -> str:
        """The first link that the server has printed."""
        return wait_for(lambda: re.search(r"^Open (\S+)$", self.printed, re.MULTILINE))[1]

    @property
    def renderers(self) -> list[psutil.Process]:
        """The rendering processes."""
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]

    def stop(self) -> None:
        """End the server, as Ctrl-C does."""
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(60)

    def kill(self) -> None:
        """End the server as the system does without memory; its children notice."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait(60)
        psutil.wait_procs(children, 60)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.printed
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", self.port)) == 0


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
