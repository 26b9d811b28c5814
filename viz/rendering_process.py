"""The process that renders the views of several sessions, one after another."""

import contextlib
import signal
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from torch_utils import devices
from torch_utils.ops import compilation
from viz.loaded_networks import LoadedNetworks
from viz.renderer import Renderer, Result

DRAG_SEC = 0.5  # for steps of a drag, then it is the turn of another session


def serve(
    connection: Connection,
    device: str,
    allow_untrusted: bool | None,
    dataset_dirs: Sequence[Path] | None = None,
) -> None:
    """Render incoming views until the connection ends.

    The first message that goes out is None: the process has started. Each message that comes in is
    the number of a session and a view, or None in place of a view at the end of the session. Each
    view is answered by its result; before it come statuses, each a line for the user or None.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the window gets Ctrl-C and ends this
    lock = threading.Lock()

    def send(message: Result | str | None) -> None:
        with lock:  # compilers report from threads of their own
            connection.send(message)

    def tell(text: str | None) -> None:
        with contextlib.suppress(OSError):  # the window is gone; the next `recv` notices
            send(text)

    tell(None)
    networks = LoadedNetworks()
    renderers: dict[int, Renderer] = {}
    while True:
        try:
            session, view = connection.recv()
        except (EOFError, OSError):
            return
        if view is None:
            renderers.pop(session, None)
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()  # a network may have left
            continue
        if session not in renderers:
            try:
                # No local name, which would keep the renderer and its network in memory.
                renderers[session] = Renderer(
                    device, allow_untrusted, tell, networks, DRAG_SEC, dataset_dirs
                )
            except RuntimeError as error:  # the machine lacks the device
                send(Result(view, error=str(error)))
                continue
            if len(renderers) == 1:
                devices.configure_backends(renderers[session].device)
        with compilation.listener(tell):
            result = renderers[session].render(view)
        send(result)


def death(exitcode: int | None) -> str:
    """One line for the user about the end of the process."""
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
