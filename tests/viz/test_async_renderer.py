"""Rendering in another process: the latest view wins, crashes are survived."""

import multiprocessing
import os
import pickle
import signal
import threading
import time

import numpy as np
import pytest
import torch

from tests.viz import networks
from torch_utils.ops.cpu import toolchain
from viz import rendering_process
from viz.async_renderer import AsyncRenderer, InlineRenderer
from viz.renderer import Renderer, Result, View

pytestmark = pytest.mark.slow
TIMEOUT_SEC = 120


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    torch.manual_seed(0)
    return str(networks.save(networks.stylegan3(), tmp_path_factory.mktemp("net") / "t.pkl"))


@pytest.fixture(scope="module")
def shared():
    """A renderer whose process goes on living; the event is set when it has something new."""
    event = threading.Event()
    renderer = AsyncRenderer("cpu", wake=event.set)
    yield renderer, event
    renderer.close()


def wait(renderer, event):
    """The next result."""
    deadline = time.monotonic() + TIMEOUT_SEC
    while time.monotonic() < deadline:
        event.wait(1)
        event.clear()
        result = renderer.poll()
        if result is not None:
            return result
    raise AssertionError("nothing came")


def test_result_is_that_of_the_renderer(shared, network):
    renderer, event = shared
    view = View(network=network, x=3, truncation_psi=0.5)
    assert not renderer.is_busy
    renderer.submit(view)
    assert renderer.is_busy
    result = wait(renderer, event)
    assert (result.view, result.error, renderer.is_busy) == (view, None, False)
    np.testing.assert_array_equal(result.image, Renderer("cpu").render(view).image)
    assert renderer.poll() is None


def test_latest_view_wins(shared, network):
    renderer, event = shared
    for x in range(50):
        renderer.submit(View(network=network, x=x))
    results = [wait(renderer, event)]
    while results[-1].view.x != 49:
        results.append(wait(renderer, event))
    assert len(results) < 10
    assert not renderer.is_busy


def test_errors_come_as_results(shared, network):
    renderer, event = shared
    renderer.submit(View(network=network + ".missing"))
    assert "No such file" in wait(renderer, event).error
    renderer.submit(View(network=network))
    assert wait(renderer, event).error is None


def test_process_that_dies_is_replaced(shared, network):
    renderer, event = shared
    renderer.submit(View(network=network))
    wait(renderer, event)
    pid = renderer.pid
    os.kill(pid, signal.SIGSTOP)  # so that it cannot answer
    renderer.submit(View(network=network, x=1))
    renderer.submit(View(network=network, x=2))
    os.kill(pid, signal.SIGKILL)
    result = wait(renderer, event)
    assert result.image is None
    assert "ended by SIGKILL (is there enough memory?)" in result.error
    assert (result.view.x, renderer.is_busy, renderer.pid) == (2, False, None)
    assert renderer.status is None
    renderer.submit(View(network=network, x=3))
    assert renderer.status == "starting the rendering process …"
    assert renderer.pid != pid
    result = wait(renderer, event)
    assert (result.error, result.view.x) == (None, 3)


def test_close_ends_a_process_that_is_busy(network):
    renderer = AsyncRenderer("cpu")
    renderer.submit(View(network=network))
    pid = renderer.pid
    renderer.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    time.sleep(0.2)
    assert renderer.poll() is None


def test_status_says_what_takes_long(network):
    event, statuses = threading.Event(), []

    def wake():
        statuses.append(renderer.status)
        event.set()

    renderer = AsyncRenderer("cpu", wake=wake)
    assert renderer.status is None
    renderer.submit(View(network=network))
    assert renderer.status == "starting the rendering process …"
    assert wait(renderer, event).error is None
    renderer.close()
    assert statuses[:2] == [f"loading {network} …", None]  # perhaps of kernels, and then:
    assert statuses[-1] is None


def test_compiling_is_a_message_of_the_process_before_the_result(monkeypatch):
    """Run here and with a renderer that only compiles, since kernels of tests are compiled."""

    class Compiling:
        device = torch.device("cpu")

        def __init__(self, *options):
            pass

        def render(self, view):
            with toolchain.announce("Building kernels ...", after_sec=0):
                time.sleep(0.1)
            return Result(view)

    monkeypatch.setattr(rendering_process, "Renderer", Compiling)
    monkeypatch.setattr(rendering_process.signal, "signal", lambda *args: None)
    monkeypatch.setattr(rendering_process.devices, "configure_backends", lambda device: None)
    ours, theirs = multiprocessing.Pipe()
    serving = threading.Thread(target=rendering_process.serve, args=(theirs, "cpu", None))
    serving.start()
    assert ours.recv() is None  # it has started
    ours.send((0, View(x=5)))
    assert ours.recv() == "Building kernels ..."
    assert ours.recv() == Result(View(x=5))
    ours.close()
    serving.join(TIMEOUT_SEC)
    assert not serving.is_alive()


def test_missing_device_is_an_error(network, monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    event = threading.Event()
    renderer = AsyncRenderer("cuda", wake=event.set)
    renderer.submit(View(network=network))
    assert "--device=cuda" in wait(renderer, event).error
    renderer.close()


def test_inline_renderer_has_the_same_methods(network):
    renderer = InlineRenderer("cpu")
    assert renderer.poll() is None
    renderer.submit(View(network=network))
    assert (renderer.poll().error, renderer.status) == (None, None)
    assert (renderer.poll(), renderer.is_busy) == (None, False)
    public = {name for name in dir(AsyncRenderer) if not name.startswith("_")}
    assert {name for name in dir(InlineRenderer) if not name.startswith("_")} == public - {"pid"}


def test_views_travel_between_processes():
    view = View(network="a", mix_layers=(1, 2))
    assert pickle.loads(pickle.dumps(view)) == view
