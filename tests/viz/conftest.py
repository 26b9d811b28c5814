"""A display without a screen, and a person in front of it."""

import os
import shutil
import subprocess
import time

import numpy as np
import pytest
import torch

from tests.viz import networks
from viz.renderer import Renderer

ITEMS = """
    button checkbox slider_float slider_int slider_int2 slider_float2 drag_float drag_float2
    input_double input_text input_text_with_hint begin_combo combo selectable radio_button
    invisible_button menu_item
    collapsing_header tree_node_ex
"""
MIN_PASTED = 12  # characters; typing takes frames for each
SCREEN = "1600x1440"


@pytest.fixture(scope="session")
def display():
    """The name of a virtual X display of this process alone."""
    for program in ("Xvfb", "xdotool"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program} (Debian, Ubuntu: apt install xvfb xdotool)")
    pytest.importorskip("imgui_bundle", reason="needs requirements-gui.txt")
    read_end, write_end = os.pipe()
    server = subprocess.Popen(
        f"Xvfb -displayfd {write_end} -nolisten tcp -noreset -screen 0 {SCREEN}x24".split(),
        pass_fds=[write_end],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(write_end)
    with os.fdopen(read_end) as f:
        number = f.readline().strip()  # comes when the server is ready
    if not number:
        server.kill()
        pytest.skip("Xvfb does not start")
    yield f":{number}"
    server.terminate()
    server.wait()


class Person:
    """Uses the window of an application with mouse and keyboard, and looks at it."""

    def __init__(self, application, display: str, items: dict) -> None:
        self.application = application
        self.window = application.window
        self.items = items
        self._reference = Renderer("cpu")
        self._environment = {**os.environ, "DISPLAY": display}

    def pump(self, count: int = 6) -> None:
        """Let the window draw so many frames."""
        for _ in range(count):
            self.window.request_frame(1)
            self.window.step(self.application.draw)

    def settle(self, timeout_sec: float = 120) -> None:
        """Wait until the window shows what was asked for."""
        deadline = time.monotonic() + timeout_sec
        settled = 0
        while settled < 5:
            assert time.monotonic() < deadline, "nothing came"
            self.pump(1)
            settled = settled + 1 if self.application.is_settled else 0

    def do(self, *command) -> None:
        """One action of xdotool, and time for the window to notice."""
        args = [str(arg) for arg in command]
        subprocess.run(["xdotool", *args], check=True, env=self._environment)
        time.sleep(0.02)
        self.pump(4)

    def position(self, name: str, x: float = 0.5, y: float = 0.5) -> tuple[int, int]:
        """A point of a control; 0 is its left or upper edge, 1 the other one."""
        self.pump(2)
        left, top, right, bottom = self.items[name]
        return round(left + x * (right - left)), round(top + y * (bottom - top))

    def click(self, name: str, x: float = 0.5, y: float = 0.5) -> None:
        """Click on a control, and wait for what comes of it."""
        self.click_without_settling(name, x, y)
        if not self.window_is_animated():
            self.settle()

    def click_without_settling(self, name: str, x: float = 0.5, y: float = 0.5) -> None:
        """Click on a control."""
        self.do("mousemove", *self.position(name, x, y))
        self.do("click", 1)

    def window_is_animated(self) -> bool:
        """Whether the window changes all the time."""
        app = self.application
        widgets = (app.latent, app.mixing, app.editing, app.truncation, app.equivariance)
        return any(widget.is_animated for widget in widgets)

    def drag(self, name: str, dx: int, dy: int = 0, x: float = 0.5, y: float = 0.5) -> None:
        """Press on a control, move the mouse by so many pixels, release."""
        self.do("mousemove", *self.position(name, x, y))
        self.do("mousedown", 1)
        for _ in range(4):
            self.do("mousemove_relative", "--", dx // 4, dy // 4)
        self.do("mouseup", 1)
        self.settle()

    def type(self, text: str) -> None:
        """Press keys; Dear ImGui takes in one press or release per frame."""
        self.do("type", "--delay", 1, "--", text)
        self.pump(3 * len(text))

    def enter(self, name: str, text: str, x: float = 0.5) -> None:
        """Type into a field, or paste if it is long, in place of what is there."""
        from imgui_bundle import imgui

        self.click(name, x)
        self.do("key", "ctrl+a")
        if len(text) < MIN_PASTED:
            self.type(text)
        else:
            imgui.set_clipboard_text(text)
            self.do("key", "ctrl+v")
            self.pump()
        self.do("key", "Return")
        self.settle()

    def enter_number(self, name: str, text: str) -> None:
        """Ctrl-click a slider and type a number, and wait for what comes of it."""
        self.enter_number_without_settling(name, text)
        self.settle()

    def enter_number_without_settling(self, name: str, text: str) -> None:
        """Ctrl-click a slider and type a number."""
        self.do("mousemove", *self.position(name))
        self.do("keydown", "ctrl")
        self.do("click", 1)
        self.do("keyup", "ctrl")
        self.do("key", "ctrl+a")
        self.type(text)
        self.do("key", "Return")

    def pixels(self) -> np.ndarray:
        """What is in the window, uint8 `[H, W, 3]`."""
        captured = []
        self.window.capture(captured.append)
        self.pump(2)
        return captured[0]

    def picture(self) -> np.ndarray:
        """The picture in the window, each pixel once; its edges must be sharp."""
        self.do("mousemove", 2, 2)  # no tooltip covers it
        self.settle()
        height, width = self.application.result.image.shape[:2]
        x, y, right, _ = (int(edge) for edge in self.application.picture.whole)
        factor = (right - x) // width
        assert factor >= 1
        shown = self.pixels()[y : y + height * factor, x : x + width * factor]
        cells = shown.reshape(height, factor, width, factor, 3)
        assert (cells == cells[:, :1, :, :1]).all()
        return cells[:, 0, :, 0]

    def check(self, **expected) -> np.ndarray:
        """The view has these values, and the window shows what the renderer says about the view."""
        self.settle()
        view = self.application.view
        for name, value in expected.items():
            assert getattr(view, name) == value, name
        result = self._reference.render(view)
        assert result.error is None
        shown = self.picture()
        np.testing.assert_array_equal(shown, np.broadcast_to(result.image[:, :, :3], shown.shape))
        return shown


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder of small networks."""
    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    networks.save(networks.stylegan3(), folder / "t.pkl")
    networks.save(networks.stylegan2(c_dim=3), folder / "cond.pkl")
    networks.save(networks.stylegan2(img_channels=1), folder / "gray.pkl")
    (folder / "broken.pkl").write_bytes((folder / "t.pkl").read_bytes()[:1000])
    return folder


@pytest.fixture
def in_front_of(open_window, folder):
    """Open a window that shows one of the networks, and return the person who uses it."""

    def open_network(name: str):
        person = open_window()
        person.application.load(str(folder / name))
        person.settle()
        return person

    return open_network


@pytest.fixture
def person(in_front_of):
    """In front of a window that shows the network `t`."""
    return in_front_of("t.pkl")


@pytest.fixture
def open_window(display, monkeypatch, tmp_path):
    """Open a window, and return the person who uses it; `open_window(is_async=..., size=...)`."""
    from imgui_bundle import imgui

    from gui_utils.window import Window
    from viz.application import Application
    from viz.settings import Settings

    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    items: dict[str, tuple[float, float, float, float]] = {}

    def watch(function):
        def call(name, *args, **kwargs):
            result = function(name, *args, **kwargs)
            low, high = imgui.get_item_rect_min(), imgui.get_item_rect_max()
            items[name] = (low.x, low.y, high.x, high.y)
            return result

        return call

    for name in ITEMS.split():
        monkeypatch.setattr(imgui, name, watch(getattr(imgui, name)))
    opened = []

    def open_window(size=(800, 1100), settings=None, is_async=False, ui_scale=1, **options):
        window = Window("Visualizer", size, ui_scale=ui_scale)
        options = {"capture_dir": tmp_path / "saved", "browse_dirs": [tmp_path / "runs"], **options}
        application = Application(
            window, settings or Settings(folded=[]), device="cpu", is_async=is_async, **options
        )
        person = Person(application, display, items)
        opened.append(person)
        # Not to wait in tests.
        application.performance.state.fps_limit = 1000
        application.performance.state.use_vsync = False
        person.pump(10)
        window_id = subprocess.run(
            ["xdotool", "search", "--sync", "--name", "Visualizer"],
            env=person._environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()[-1]
        person.do("windowfocus", window_id)  # there is no window manager
        return person

    yield open_window
    for person in opened:
        person.application.close()
        person.window.close()
