"""Rendering in a process of its own, so that the window never waits; the latest view wins.

`AsyncRenderer` and `InlineRenderer` have the same methods, so the window can use either.
"""

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from dnnlib import interrupts
from torch_utils import devices
from torch_utils.ops import compilation
from viz.renderer import Renderer, Result, View

STOP_SEC = 1  # time for a process to end


class InlineRenderer:
    """Renders while the caller waits."""

    is_busy = False
    status = None

    def __init__(self, device: str = "auto", allow_untrusted: bool | None = None) -> None:
        self._renderer = Renderer(device, allow_untrusted)
        self._result: Result | None = None

    def submit(self, view: View) -> None:
        """Render a view."""
        self._result = self._renderer.render(view)

    def poll(self) -> Result | None:
        """The latest result, once."""
        result, self._result = self._result, None
        return result

    def close(self) -> None:
        """Nothing to do."""


class AsyncRenderer:
    """Renders in another process, which is started when needed and restarted after its death.

    Args:
        device: As for `Renderer`.
        allow_untrusted: As for `Renderer`.
        wake: Called from another thread after a new result or status.
    """

    def __init__(
        self,
        device: str = "auto",
        allow_untrusted: bool | None = None,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._options = (device, allow_untrusted)
        self._wake = wake
        self._lock = threading.Lock()
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._rendering: View | None = None  # the view that the process renders
        self._waiting: View | None = None  # the next view; a later one replaces it
        self._result: Result | None = None
        self._status: str | None = None
        self._is_closed = False

    @property
    def is_busy(self) -> bool:
        """Whether a result will come."""
        return self._rendering is not None

    @property
    def status(self) -> str | None:
        """A line for the user about work that takes long; None while the process renders."""
        return self._status

    @property
    def pid(self) -> int | None:
        """Number of the rendering process, if it runs."""
        return None if self._process is None else self._process.pid

    def submit(self, view: View) -> None:
        """Request a view. It replaces the waiting view, if there is one."""
        with self._lock:
            if self._rendering is not None:
                self._waiting = view
                return
            if self._process is None:
                self._start()
            self._send(view)

    def poll(self) -> Result | None:
        """The latest result, once."""
        with self._lock:
            result, self._result = self._result, None
        return result

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._is_closed = True
            process = self._process
        if process is None:
            return
        process.terminate()
        process.join(STOP_SEC)
        if process.is_alive():
            process.kill()
            process.join()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # PyTorch's threads do not survive a fork
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(theirs, *self._options), name="renderer", daemon=True
        )
        with interrupts.held_back():
            process.start()
        self._status = "starting the rendering process …"
        theirs.close()  # so that `recv` ends when the process ends
        self._process, self._connection = process, ours
        threading.Thread(target=self._receive, args=(process, ours), daemon=True).start()

    def _send(self, view: View) -> None:
        self._rendering = view
        assert self._connection is not None
        with contextlib.suppress(OSError):  # the process has died; `_receive` will notice
            self._connection.send(view)

    def _receive(self, process: SpawnProcess, connection: Connection) -> None:
        """Collect results and statuses until the process ends; runs in a thread of its own."""
        while True:
            try:
                message = connection.recv()
            except (EOFError, OSError):
                break
            with self._lock:
                is_result = isinstance(message, Result)
                self._status = None if is_result else message
                if is_result:
                    self._result = message
                    self._rendering = None
                if is_result and self._waiting is not None:
                    view, self._waiting = self._waiting, None
                    self._send(view)
            self._wake()
        process.join()
        connection.close()
        with self._lock:
            self._process = self._connection = self._status = None
            if self._is_closed:
                return
            view = self._waiting or self._rendering or View()
            # A waiting view is not rendered: it may end the next process, too.
            self._rendering = self._waiting = None
            self._result = Result(view, error=_reason(process.exitcode))
        self._wake()


def _serve(connection: Connection, device: str, allow_untrusted: bool | None) -> None:
    """Render incoming views until the connection ends; runs in the rendering process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the window gets Ctrl-C and ends this
    lock = threading.Lock()

    def send(message: Result | str | None) -> None:
        with lock:  # compilers report from threads of their own
            connection.send(message)

    def tell(text: str | None) -> None:
        with contextlib.suppress(OSError):  # the window is gone; the next `recv` notices
            send(text)

    renderer = None
    while True:
        try:
            view = connection.recv()
        except (EOFError, OSError):
            return
        if renderer is None:
            try:
                renderer = Renderer(device, allow_untrusted, tell)
            except RuntimeError as error:  # the machine lacks the device
                send(Result(view, error=str(error)))
                continue
            devices.configure_backends(renderer.device)
        with compilation.listener(tell):
            result = renderer.render(view)
        send(result)


def _reason(exitcode: int | None) -> str:
    how = f"with exit code {exitcode}"
    if exitcode is not None and exitcode < 0:
        try:
            how = f"by {signal.Signals(-exitcode).name}"
        except ValueError:
            how = f"by signal {-exitcode}"
    hint = ""
    if exitcode == -getattr(signal, "SIGKILL", 9):
        hint = " (is there enough memory?)"
    return (
        f"the rendering process was ended {how}{hint}; any change of the controls starts a new one"
    )
