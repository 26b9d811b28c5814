"""One rendering process for several sessions: turns, states of their own, crashes."""

import contextlib
import multiprocessing
import os
import signal
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from generation import latent_files
from generation.latent_files import Latents
from tests.viz import networks
from viz import rendering_process, shared_renderer
from viz.renderer import Renderer, Result, View
from viz.shared_renderer import OTHERS, STARTING, SharedRenderer
from viz.view import Drag, base_of

pytestmark = pytest.mark.slow
TIMEOUT_SEC = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    networks.save(networks.stylegan3(), folder / "one.pkl")
    networks.save(networks.stylegan2(), folder / "two.pkl")
    ws = torch.randn([2, 6, 8], generator=torch.Generator().manual_seed(1))
    for idx in (0, 1):
        latent_files.save(folder / f"{idx}.npz", Latents(ws[idx : idx + 1]))
    return folder


@pytest.fixture(scope="module")
def shared():
    """A renderer whose process goes on living from test to test."""
    renderer = SharedRenderer("cpu")
    yield renderer
    renderer.close()


@pytest.fixture
def visit(shared):
    """Open sessions that are closed after the test."""
    visitors = []

    def open_session(renderer=shared, **options):
        visitors.append(Visitor(renderer, **options))
        return visitors[-1]

    yield open_session
    for visitor in visitors:
        visitor.session.close()


class Visitor:
    """A session that notes what comes.

    Args:
        renderer: Where to open the session.
        log: Gets the visitor for each of its results.
        views: Submitted one after another, each after the result of the one before.
    """

    def __init__(self, renderer, log=None, views=()):
        self.results, self.statuses = [], []
        self._log, self._views = log, iter(views)
        self._has_news = threading.Condition()
        self.session = renderer.session(self._wake)
        self._submit_next()

    def submit(self, *views):
        for view in views:
            self.session.submit(view)

    def wait(self, count=1):
        """Wait for a number of results, and return the last one."""
        with self._has_news:
            assert self._has_news.wait_for(lambda: len(self.results) >= count, TIMEOUT_SEC)
        return self.results[-1]

    def show(self, view):
        """Submit a view, and wait for its result."""
        self.submit(view)
        return self.wait(len(self.results) + 1)

    def _wake(self):
        self.statuses.append(self.session.status)
        if (result := self.session.poll()) is None:
            return
        if self._log is not None:
            self._log.append(self)
        self._submit_next()
        with self._has_news:
            self.results.append(result)
            self._has_news.notify_all()

    def _submit_next(self):
        if (view := next(self._views, None)) is not None:
            self.submit(view)


def view_of(folder, name="one", **view):
    return View(str(folder / f"{name}.pkl"), **view)


def a_drag(view, num_steps):
    drag = Drag(base_of(view), ((5.0, 6.0),), ((9.0, 7.0),), num_steps=num_steps)
    return replace(view, drag=drag)


def check(result, view):
    """The result is that of a renderer of its own."""
    assert (result.error, result.view) == (None, view)
    np.testing.assert_array_equal(result.image, Renderer("cpu").render(view).image)


@contextlib.contextmanager
def stopped(pid):
    """Let a process stand still, so that it cannot answer."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # a test has ended it
            os.kill(pid, signal.SIGCONT)


def loads(*visitors):
    """Names of the networks that the visitors were told to be loading."""
    lines = [line for visitor in visitors for line in visitor.statuses if line is not None]
    return [line.split("/")[-1] for line in lines if line.startswith("loading ")]


def test_sessions_show_networks_that_are_loaded_once(visit, folder):
    ann, bob, eve = visit(), visit(), visit()
    assert not ann.session.is_busy and ann.session.poll() is None
    check(ann.show(view_of(folder, x=3)), view_of(folder, x=3))
    check(bob.show(view_of(folder, x=4)), view_of(folder, x=4))
    check(eve.show(view_of(folder, "two")), view_of(folder, "two"))
    check(ann.show(view_of(folder, x=5)), view_of(folder, x=5))
    assert loads(ann, bob, eve) == ["one.pkl …", "two.pkl …"]
    assert ann.session.pid == bob.session.pid
    for visitor in (ann, bob, eve):
        assert not visitor.session.is_busy and visitor.session.status is None


def test_network_leaves_with_its_last_session(visit, folder):
    ann, bob = visit(), visit()
    for visitor in (ann, bob):
        visitor.show(view_of(folder))
    ann.session.close()
    bob.show(view_of(folder, x=1))
    assert loads(ann, bob) == ["one.pkl …"]
    bob.session.close()
    eve = visit()
    eve.show(view_of(folder))
    assert loads(eve) == ["one.pkl …"]


def test_file_that_has_changed_is_loaded_once_for_all(visit, folder, tmp_path):
    path = tmp_path / "one.pkl"
    path.write_bytes((folder / "one.pkl").read_bytes())
    ann, bob = visit(), visit()
    for visitor in (ann, bob):
        assert visitor.show(View(str(path))).network.has_transform
    path.write_bytes((folder / "two.pkl").read_bytes())
    for visitor in (ann, bob):
        check(visitor.show(View(str(path), x=1)), View(str(path), x=1))
    assert loads(ann, bob) == ["one.pkl …"] * 2


def test_latest_view_of_each_session_wins(visit, folder):
    ann, bob = visit(), visit()
    ann.show(view_of(folder))
    with stopped(ann.session.pid):
        ann.submit(*(view_of(folder, x=x) for x in range(50)))
        bob.submit(*(view_of(folder, x=x) for x in range(100, 150)))
    assert ann.wait(3).view.x == 49
    assert bob.wait().view.x == 149
    assert (len(ann.results), len(bob.results)) == (3, 1)
    assert not ann.session.is_busy and not bob.session.is_busy


def test_sessions_that_animate_take_turns(visit, folder):
    visit().show(view_of(folder))
    log = []
    views = [view_of(folder, x=x / 8) for x in range(12)]
    with stopped(visit().session.pid):
        visitors = [visit(log=log, views=views) for _ in range(3)]
    for visitor in visitors:
        visitor.wait(len(views))
        assert [result.view for result in visitor.results] == views
    assert log == visitors * len(views)


def test_states_of_sessions_are_their_own(visit, folder):
    ann, bob = visit(), visit()
    for num_steps in (1, 2):
        for visitor, x in ((ann, 1), (bob, 2)):
            view = a_drag(view_of(folder, x=x), num_steps)
            check(visitor.show(view), view)
    for visitor, idx in ((ann, 0), (bob, 1), (ann, 0)):
        view = view_of(folder, latents=str(folder / f"{idx}.npz"))
        check(visitor.show(view), view)


def test_waiting_for_others_is_a_status(visit, folder):
    ann, bob = visit(), visit()
    ann.show(view_of(folder))
    with stopped(ann.session.pid):
        ann.submit(view_of(folder, x=1))
        bob.submit(view_of(folder, x=2))
        assert (ann.session.status, bob.session.status) == (None, OTHERS)
        assert ann.session.is_busy and bob.session.is_busy
    check(bob.wait(), view_of(folder, x=2))


def test_session_that_closes_while_it_is_rendered_hears_no_more(visit, folder):
    ann, bob, eve = visit(), visit(), visit()
    eve.show(view_of(folder))
    with stopped(eve.session.pid):
        ann.submit(view_of(folder, x=1), view_of(folder, x=2))
        bob.submit(view_of(folder, x=3))
        eve.submit(view_of(folder, x=4))
        ann.session.close()
        bob.session.close()  # while it waits
        ann.submit(view_of(folder, x=5))
    check(eve.wait(2), view_of(folder, x=4))
    eve.show(view_of(folder, x=6))
    for visitor in (ann, bob):
        assert visitor.results == [] and visitor.session.poll() is None
        assert not visitor.session.is_busy


@pytest.mark.parametrize("is_before", [False, True])
def test_view_of_a_session_that_has_ended_does_not_hold_up_others(
    visit, folder, monkeypatch, is_before
):
    monkeypatch.setattr(shared_renderer, "ABANDONED_SEC", 0.1)
    ann, bob, eve = visit(), visit(), visit()
    eve.show(view_of(folder))
    pid = eve.session.pid
    with stopped(pid):  # as if it rendered for ever
        ann.submit(view_of(folder, x=1))
        if is_before:
            ann.session.close()
        bob.submit(view_of(folder, x=2))
        assert bob.session.status == OTHERS
        ann.session.close()
        check(bob.wait(), view_of(folder, x=2))
    assert bob.session.pid != pid
    assert STARTING in bob.statuses
    assert ann.results == [] and ann.session.poll() is None
    assert len(bob.results) == len(eve.results) == 1
    check(eve.show(view_of(folder, x=3)), view_of(folder, x=3))


def test_sessions_open_and_close_in_many_threads(visit, shared, folder):
    failures = []

    def come_and_go(idx):
        try:
            for x in range(3):
                visitor = Visitor(shared)
                assert visitor.show(view_of(folder, x=idx, y=x)).view == view_of(folder, x=idx, y=x)
                visitor.submit(view_of(folder))
                visitor.session.close()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=come_and_go, args=(idx,)) for idx in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_SEC)
    assert failures == []
    check(visit().show(view_of(folder, x=1)), view_of(folder, x=1))


def test_death_costs_only_the_session_that_was_rendered(visit, folder):
    ann, bob, eve = visit(), visit(), visit()
    eve.show(view_of(folder, "two"))
    pid = eve.session.pid
    with stopped(pid):
        ann.submit(view_of(folder, x=1), view_of(folder, x=2))
        bob.submit(view_of(folder, x=3))
        os.kill(pid, signal.SIGKILL)
    result = ann.wait()
    assert (result.image, result.view.x) == (None, 2)
    assert "ended by SIGKILL (is there enough memory?)" in result.error
    assert "any change of the controls starts a new one" in result.error
    check(bob.wait(), view_of(folder, x=3))
    assert STARTING in bob.statuses
    assert bob.session.pid != pid
    assert not ann.session.is_busy
    assert len(ann.results) == len(bob.results) == len(eve.results) == 1
    for visitor in (ann, eve):
        check(visitor.show(view_of(folder, x=4)), view_of(folder, x=4))


def test_death_while_nothing_is_rendered_is_told_to_all(visit, folder):
    ann, bob = visit(), visit()
    ann.show(view_of(folder))
    os.kill(ann.session.pid, signal.SIGKILL)
    assert "ended by SIGKILL" in ann.wait(2).error
    assert "ended by SIGKILL" in bob.wait().error
    assert ann.session.pid is None
    check(bob.show(view_of(folder, x=1)), view_of(folder, x=1))


def test_error_of_one_wake_does_not_reach_the_others(visit, shared, folder, capsys):
    def fail():
        raise LookupError("the page has gone")

    session = shared.session(fail)
    session.submit(view_of(folder))
    bob = visit()
    check(bob.show(view_of(folder, x=1)), view_of(folder, x=1))
    session.close()
    assert "the page has gone" in capsys.readouterr().err


def test_process_that_cannot_start_is_not_started_again_and_again(visit, folder, monkeypatch):
    monkeypatch.setattr(shared_renderer, "serve", print)  # takes any arguments, and returns
    renderer = SharedRenderer("cpu")
    ann, bob = visit(renderer), visit(renderer)
    ann.submit(view_of(folder))
    bob.submit(view_of(folder, x=1))
    assert ann.session.status == bob.session.status == STARTING
    for visitor in (ann, bob):
        assert "ended with exit code 0" in visitor.wait().error
        assert not visitor.session.is_busy
    assert renderer.pid is None
    monkeypatch.undo()

    def refuse(process):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(shared_renderer.SpawnProcess, "start", refuse)
    ann.submit(view_of(folder))
    assert ann.session.poll().error == (
        "the rendering process does not start: [Errno 11] Resource temporarily unavailable"
    )
    assert not ann.session.is_busy


def test_close_ends_the_process_and_all_sessions(visit, folder):
    renderer = SharedRenderer("cpu")
    ann, bob = visit(renderer), visit(renderer)
    ann.submit(view_of(folder))
    bob.submit(view_of(folder))
    pid = renderer.pid
    renderer.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    ann.submit(view_of(folder))
    late = renderer.session()
    late.submit(view_of(folder))
    assert not any(session.is_busy for session in (ann.session, bob.session, late))
    renderer.close()


def serve_in_slices(*args):
    rendering_process.DRAG_SEC = 0
    rendering_process.serve(*args)


def test_long_drag_lets_others_take_turns_and_ends_for_a_newer_view(visit, folder, monkeypatch):
    monkeypatch.setattr(shared_renderer, "serve", serve_in_slices)
    renderer = SharedRenderer("cpu")
    log, whole = [], a_drag(view_of(folder), 5)
    bob = visit(renderer)
    ann = visit(renderer, log=log, views=[whole])
    eve = visit(renderer, log=log, views=[view_of(folder, x=x) for x in range(4)])
    check(ann.wait(5), whole)
    assert [result.drag.num_steps for result in ann.results] == [1, 2, 3, 4, 5]
    eve.wait(4)
    assert not ann.session.is_busy
    assert log == [ann, eve] * 4 + [ann]
    bob.show(a_drag(view_of(folder), 10**6))
    assert bob.session.is_busy
    bob.submit(view_of(folder, x=7))
    while bob.wait().view.x != 7:
        bob.wait(len(bob.results) + 1)
    assert not bob.session.is_busy
    renderer.close()


def test_process_forgets_a_session_that_has_ended(monkeypatch):
    """Run here and with renderers that draw nothing, to see them go."""
    alive, gone = weakref.WeakSet(), threading.Semaphore(0)

    class Nothing:
        device = torch.device("cpu")

        def __init__(self, *options):
            alive.add(self)
            weakref.finalize(self, gone.release)

        def render(self, view):
            return Result(view)

    monkeypatch.setattr(rendering_process, "Renderer", Nothing)
    monkeypatch.setattr(rendering_process.signal, "signal", lambda *args: None)
    monkeypatch.setattr(rendering_process.devices, "configure_backends", lambda device: None)
    ours, theirs = multiprocessing.Pipe()
    serving = threading.Thread(
        target=rendering_process.serve, args=(theirs, "cpu", None), daemon=True
    )
    serving.start()
    assert ours.recv() is None
    for session, num_alive in ((0, 1), (1, 2), (0, 2)):
        ours.send((session, View()))
        assert ours.recv() == Result(View())
        assert len(alive) == num_alive
    ours.send((0, None))
    ours.send((1, View()))
    assert ours.recv() == Result(View())
    assert len(alive) == 1
    ours.send((1, None))
    for _ in range(2):  # also the renderer that was made last
        assert gone.acquire(timeout=TIMEOUT_SEC)
    ours.close()
    serving.join(TIMEOUT_SEC)
    assert not serving.is_alive()
