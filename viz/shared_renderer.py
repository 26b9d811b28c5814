"""One rendering process for several sessions; they take turns, and each has its own state.

>>> shared = SharedRenderer()
>>> session = shared.session(wake=lambda: print("a picture"))
>>> session.submit(View(network="net.pkl"))
"""

import contextlib
import itertools
import multiprocessing
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from dnnlib import interrupts
from dnnlib.errors import message_of
from viz.rendering_process import death, serve
from viz.view import Result, View

STOP_SEC = 1  # time for a process to end
ABANDONED_SEC = (
    20  # others wait so long for a view of a session that has ended; networks load for seconds
)
STARTING = "starting the rendering process …"
OTHERS = "waiting for the pictures of other sessions …"


class SharedRenderer:
    """Owns the process, which is started when needed and replaced after its death.

    Sessions may be opened, used and closed from any thread.

    Args:
        device: As for `Renderer`.
        allow_untrusted: As for `Renderer`.
        dataset_dirs: As for `Renderer`.
    """

    def __init__(
        self,
        device: str = "auto",
        allow_untrusted: bool | None = None,
        dataset_dirs: Sequence[Path] | None = None,
    ) -> None:
        self._options = (device, allow_untrusted, dataset_dirs)
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None  # once the process has started
        self._status: str | None = None  # of the process
        self._sessions: dict[int, SessionRenderer] = {}
        self._turns: deque[SessionRenderer] = deque()  # those with a waiting view
        self._rendering: tuple[SessionRenderer, View] | None = None
        self._limited: tuple[SessionRenderer, View] | None = None  # the view that a timer watches
        self._is_replaced = False  # the process has been killed for a view of nobody
        self._ended: list[int] = []  # sessions that the process still knows
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        """Number of the rendering process, if it runs."""
        process = self._process
        return None if process is None else process.pid

    def session(self, wake: Callable[[], None] = lambda: None) -> "SessionRenderer":
        """Open a session.

        Args:
            wake: Called from another thread after a new result or status of the session.
        """
        return SessionRenderer(self, wake)

    def close(self) -> None:
        """End the process. Views that are submitted later are not rendered."""
        with self._lock:
            self._is_closed = True
            self._turns.clear()
            for session in self._sessions.values():
                session._waiting = None
            process = self._process
        if process is None:
            return
        process.terminate()
        process.join(STOP_SEC)
        if process.is_alive():
            process.kill()
            process.join()

    def _open(self, session: "SessionRenderer") -> int:
        with self._lock:
            number = next(self._numbers)
            self._sessions[number] = session
        return number

    def _end(self, session: "SessionRenderer") -> None:
        with self._lock:
            if self._sessions.pop(session._number, None) is None:
                return
            session._waiting = session._result = None
            if session in self._turns:
                self._turns.remove(session)
            if self._process is not None:
                self._ended.append(session._number)
            self._take_turn()
            self._limit()

    def _submit(self, session: "SessionRenderer", view: View) -> None:
        with self._lock:
            if self._is_closed or session._number not in self._sessions:
                return
            session._waiting = view
            # The session whose view is rendered queues up again when it is finished.
            if not self._is_rendering(session) and session not in self._turns:
                self._turns.append(session)
            if self._process is None:
                self._start()
            self._take_turn()
            self._limit()

    def _is_rendering(self, session: "SessionRenderer") -> bool:
        return self._rendering is not None and self._rendering[0] is session

    def _status_of(self, session: "SessionRenderer") -> str | None:
        with self._lock:
            if self._is_rendering(session):
                return self._status
            if session._waiting is None:
                return None
            return self._status if self._rendering is None else OTHERS

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # PyTorch's threads do not survive a fork
        try:
            ours, theirs = context.Pipe()
            process = context.Process(
                target=serve, args=(theirs, *self._options), name="renderer", daemon=True
            )
            with interrupts.held_back():
                process.start()
        except OSError as error:  # no memory, or too many processes or open files
            while self._turns:
                reason = f"the rendering process does not start: {message_of(error)}"
                self._turns.popleft()._give_up(View(), reason)
            return
        self._status = STARTING
        theirs.close()  # so that `recv` ends when the process ends
        self._process = process
        threading.Thread(target=self._receive, args=(process, ours), daemon=True).start()

    def _take_turn(self) -> None:
        """Let the process render the next view, if it waits for one.

        Only a process that waits gets messages, so that sending never takes long.
        """
        if self._connection is None or self._rendering is not None:
            return
        with contextlib.suppress(OSError):  # the process has died; `_receive` will notice
            while self._ended:
                self._connection.send((self._ended.pop(), None))
            if self._turns:
                session = self._turns.popleft()
                view, session._waiting = session._waiting, None
                assert view is not None
                self._rendering = (session, view)
                self._connection.send((session._number, view))

    def _limit(self) -> None:
        """Do not let others wait long for a view whose session has ended."""
        rendering = self._rendering
        if rendering is None or not self._turns or self._limited is rendering:
            return
        if rendering[0]._number not in self._sessions:
            self._limited = rendering
            timer = threading.Timer(ABANDONED_SEC, self._abandon, [rendering])
            timer.daemon = True
            timer.start()

    def _abandon(self, rendering: "tuple[SessionRenderer, View]") -> None:
        """Kill the process if others still wait for this view; `_mourn` starts another one."""
        with self._lock:
            self._limited = None
            if self._rendering is rendering and self._turns and self._process is not None:
                self._connection = None  # the next view is for the next process
                self._is_replaced = True
                self._process.kill()

    def _receive(self, process: SpawnProcess, connection: Connection) -> None:
        """Collect results and statuses until the process ends; runs in a thread of its own."""
        with contextlib.suppress(EOFError, OSError):
            connection.recv()  # the process has started
            with self._lock:
                self._connection = connection
                self._take_turn()
            while True:
                message = connection.recv()
                with self._lock:
                    changed = self._take(message)
                _wake(changed)
        process.join()
        connection.close()
        with self._lock:
            changed = self._mourn(process)
        _wake(changed)

    def _take(self, message: Result | str | None) -> "list[SessionRenderer]":
        """Note a message of the process; returns the sessions to wake."""
        if self._rendering is None:  # a compiler reports late
            return []
        session, view = self._rendering
        is_open = session._number in self._sessions
        if not isinstance(message, Result):
            self._status = message
            return [session] if is_open else []
        self._rendering = self._status = None
        if is_open:
            session._result = message
            if _is_unfinished(message, view):
                session._waiting = session._waiting or view
            if session._waiting is not None:
                self._turns.append(session)
        self._take_turn()
        return [session] if is_open else []

    def _mourn(self, process: SpawnProcess) -> "list[SessionRenderer]":
        """Note the death of the process; returns the sessions to wake.

        The view that was rendered may have caused it, so it is not tried again, nor is the next
        view of its session. If no view was rendered, the process may not start at all, and no view
        is tried again. The death is no failure if `_abandon` has caused it.
        """
        self._process = self._connection = self._status = None
        is_replaced, self._is_replaced = self._is_replaced, False
        rendering, self._rendering = self._rendering, None
        self._ended.clear()
        if self._is_closed:
            return []
        if is_replaced:
            failed = []
        elif rendering is not None:
            failed = [rendering]
        else:
            failed = [(session, View()) for session in self._sessions.values()]
            self._turns.clear()
        for session, view in failed:
            session._give_up(view, death(process.exitcode))
        if self._turns:
            self._start()
        return [*self._sessions.values()]  # also the waiting ones: the status has changed


class SessionRenderer:
    """A session of a `SharedRenderer`, with files and a drag of its own; the latest view wins.

    Args:
        shared: Owns the process.
        wake: Called from another thread after a new result or status.
    """

    def __init__(self, shared: SharedRenderer, wake: Callable[[], None] = lambda: None) -> None:
        self._shared = shared
        self._wake = wake
        self._waiting: View | None = None  # the next view; a later one replaces it
        self._result: Result | None = None
        self._number = shared._open(self)

    @property
    def is_busy(self) -> bool:
        """Whether a result will come."""
        with self._shared._lock:
            return self._waiting is not None or self._shared._is_rendering(self)

    @property
    def status(self) -> str | None:
        """A line for the user about work that takes long; None while the process renders."""
        return self._shared._status_of(self)

    @property
    def pid(self) -> int | None:
        """Number of the rendering process, if it runs."""
        return self._shared.pid

    def submit(self, view: View) -> None:
        """Request a view. It replaces the waiting view, if there is one.

        If the process cannot start, the result with the reason is there at once.
        """
        self._shared._submit(self, view)

    def poll(self) -> Result | None:
        """The latest result, once."""
        with self._shared._lock:
            result, self._result = self._result, None
        return result

    def close(self) -> None:
        """End the session. Views that are submitted later are not rendered."""
        self._shared._end(self)

    def _give_up(self, view: View, reason: str) -> None:
        """Answer the waiting view, or else `view`, by an error."""
        self._result = Result(self._waiting or view, error=reason)
        self._waiting = None


def _is_unfinished(result: Result, view: View) -> bool:
    """Whether a picture has fewer steps of a drag than asked for."""
    asked, done = view.drag, result.view.drag
    return asked is not None and done is not None and done.num_steps < asked.num_steps


def _wake(sessions: Iterable[SessionRenderer]) -> None:
    for session in sessions:
        try:
            session._wake()
        except Exception:  # of one session, which must not stop those of others
            traceback.print_exc()
