"""A window with Dear ImGui that sleeps until something happens.

It draws a frame after an event, after `wake()` from any thread, and after `request_frame()`.
Off-screen windows need no display.
"""

import ctypes
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import imgui_bundle  # before glfw, so that both use one library
import numpy as np
from imgui_bundle import imgui

import glfw  # isort: skip
from OpenGL import GL  # isort: skip

from dnnlib.errors import MachineError
from gui_utils import text
from gui_utils.keys import KeyPress, read_key

SETTLE_FRAMES = 3  # Dear ImGui measures in one frame and lays out in the next
LOOK_UP_SEC = 0.2  # longest wait of Ctrl-C in the terminal while the window rests
TOOLTIP_SEC = 0.7  # delay of tooltips under a mouse that rests
MIN_SIZE = (480, 320)
BACKGROUND = (0.06, 0.06, 0.07)


class WindowError(MachineError):
    """No window can be opened; the message says why, and what to do."""


class Window:
    """The only window of a process.

    Args:
        title: Title of the window.
        size: Width and height of its content, in screen coordinates.
        is_offscreen: Draw into memory; works without a display.
        ui_scale: Size of the controls, on top of the display's own scale.

    Attributes:
        on_drop: Called with the paths of files that were dropped on the window.
        fps_limit: Frames per second at most.
        frame_sec: Duration of the last frame, without waiting for events.
        interval_sec: Time between the starts of the last two frames.
    """

    def __init__(
        self,
        title: str,
        size: tuple[int, int],
        *,
        is_offscreen: bool = False,
        ui_scale: float = 1,
    ) -> None:
        self.on_drop: Callable[[list[str]], None] = lambda paths: None
        self.fps_limit = 60.0
        self.frame_sec = 0.0
        self.interval_sec = 0.0
        self._ui_scale = ui_scale
        self._style_scale = 1.0
        self._pending_frames = SETTLE_FRAMES
        self._later: dict[str, tuple[float, int]] = {}  # times of frames without an event
        self._last_start = time.perf_counter()
        self._captures: list[Callable[[np.ndarray], None]] = []
        self._pressed: list[KeyPress] = []
        self._is_woken = threading.Event()
        self._handle = _create(title, size, is_offscreen)
        self._is_offscreen = is_offscreen
        self.set_vsync(True)
        self._install_callbacks()
        imgui.create_context()
        self._start_imgui()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in screen coordinates."""
        return glfw.get_window_size(self._handle)

    @size.setter
    def size(self, size: tuple[int, int]) -> None:
        glfw.set_window_size(self._handle, *size)
        self.request_frame()

    @property
    def framebuffer_size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return glfw.get_framebuffer_size(self._handle)

    @property
    def ui_scale(self) -> float:
        """Size of the controls, on top of the display's own scale."""
        return self._ui_scale

    @ui_scale.setter
    def ui_scale(self, ui_scale: float) -> None:
        self._ui_scale = min(max(ui_scale, 0.5), 4)
        self.request_frame()

    def set_title(self, title: str) -> None:
        """Replace the title."""
        glfw.set_window_title(self._handle, text.drawable(title))

    def set_vsync(self, is_on: bool) -> None:
        """Wait for the display before each frame, or not."""
        glfw.swap_interval(1 if is_on and not self._is_offscreen else 0)

    def run(self, draw: Callable[[], None]) -> None:
        """Draw frames until the window is closed."""
        while not self.should_close():
            self.step(draw)

    def step(self, draw: Callable[[], None]) -> None:
        """Wait for the next reason to draw, and draw one frame."""
        self._wait()
        self.draw_frame(draw)

    def draw_frame(self, draw: Callable[[], None]) -> None:
        """Draw one frame now; `draw` puts the controls into it."""
        start = time.perf_counter()
        self.interval_sec = start - self._last_start
        self._last_start = start
        self._pending_frames = max(self._pending_frames - 1, 0)
        self._apply_scale()
        imgui.backends.opengl3_new_frame()
        imgui.backends.glfw_new_frame()
        imgui.new_frame()
        draw()
        imgui.render()
        GL.glViewport(0, 0, *self.framebuffer_size)
        GL.glClearColor(*BACKGROUND, 1)
        GL.glClear(GL.GL_COLOR_BUFFER_BIT)
        imgui.backends.opengl3_render_draw_data(imgui.get_draw_data())
        captures, self._captures = self._captures, []
        for receive in captures:
            receive(self._read_pixels())
        self.frame_sec = time.perf_counter() - start
        glfw.swap_buffers(self._handle)

    def request_frame(self, count: int = SETTLE_FRAMES) -> None:
        """Draw at least `count` more frames without waiting for events."""
        self._pending_frames = max(self._pending_frames, count)

    def request_frame_in(self, seconds: float, reason: str, count: int = SETTLE_FRAMES) -> None:
        """Draw frames after some time, even without an event.

        Args:
            seconds: Time from now.
            reason: Any name; a new request replaces an older one for the same reason.
            count: Number of frames.
        """
        self._later[reason] = (time.perf_counter() + seconds, count)

    def wake(self) -> None:
        """Draw a frame soon; may be called from any thread."""
        self._is_woken.set()
        glfw.post_empty_event()

    def take_keys(self) -> list[KeyPress]:
        """All keys that went down since the last call, in order."""
        pressed, self._pressed = self._pressed, []
        return pressed

    def capture(self, receive: Callable[[np.ndarray], None]) -> None:
        """Call `receive` with the pixels of the next frame, uint8 `[H, W, 3]`."""
        self._captures.append(receive)
        self.request_frame(1)

    def should_close(self) -> bool:
        """Whether the user has closed the window."""
        return bool(glfw.window_should_close(self._handle))

    def request_close(self) -> None:
        """Close the window after this frame."""
        glfw.set_window_should_close(self._handle, True)

    def close(self) -> None:
        """Free everything."""
        imgui.backends.opengl3_shutdown()
        imgui.backends.glfw_shutdown()
        imgui.destroy_context()
        glfw.destroy_window(self._handle)
        glfw.terminate()

    def _wait(self) -> None:
        if self._pending_frames > 0:
            pause = self._last_start + 1 / self.fps_limit - time.perf_counter()
            if pause > 0:
                time.sleep(pause)
            glfw.poll_events()
        else:
            due_times = [due for due, _ in self._later.values()]
            rest = max(min(due_times) - time.perf_counter(), 1e-3) if due_times else None
            if self._is_offscreen:  # no user, no events
                self._is_woken.wait(rest)
            else:
                self._rest(rest)
        for reason, (due, count) in list(self._later.items()):
            if time.perf_counter() >= due:
                del self._later[reason]
                self.request_frame(count)
        if self._is_woken.is_set():
            self._is_woken.clear()
            self.request_frame(1)

    def _rest(self, seconds: float | None) -> None:
        """Sleep until something happens. The sleeps are short: Ctrl-C is noticed between them."""
        end = np.inf if seconds is None else time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            glfw.wait_events_timeout(min(left, LOOK_UP_SEC))
            if self._pending_frames > 0 or self._is_woken.is_set() or self.should_close():
                return

    def _install_callbacks(self) -> None:
        """Let any input request frames; Dear ImGui calls these callbacks before its own."""

        def react(*args: Any) -> None:
            self.request_frame()
            self.request_frame_in(TOOLTIP_SEC, "tooltip")

        def press(window: Any, *args: int) -> None:
            react()
            if (key := read_key(*args)) is not None:
                self._pressed.append(key)

        def drop(window: Any, paths: list[str]) -> None:
            react()
            self.on_drop(list(paths))

        for install in (
            glfw.set_cursor_pos_callback,
            glfw.set_cursor_enter_callback,
            glfw.set_mouse_button_callback,
            glfw.set_scroll_callback,
            glfw.set_char_callback,
            glfw.set_window_focus_callback,
            glfw.set_window_refresh_callback,
            glfw.set_framebuffer_size_callback,
            glfw.set_window_content_scale_callback,
        ):
            install(self._handle, react)
        glfw.set_key_callback(self._handle, press)
        on_drop: Any = drop  # PyGLFW calls it with a list; its stubs have the arguments of C
        glfw.set_drop_callback(self._handle, on_drop)

    def _start_imgui(self) -> None:
        io = imgui.get_io()
        io.set_ini_filename("")  # the caller saves settings
        io.config_input_text_cursor_blink = False  # a blinking cursor would need frames
        imgui.style_colors_dark()
        style = imgui.get_style()
        style.window_border_size = 0
        style.frame_padding = imgui.ImVec2(4, 2)  # dense: all panes fit a laptop
        style.item_spacing = imgui.ImVec2(8, 2)
        style.frame_rounding = style.grab_rounding = style.popup_rounding = 3
        text.load_fonts()
        address = ctypes.cast(self._handle, ctypes.c_void_p).value
        assert address is not None
        imgui.backends.glfw_init_for_opengl(address, True)
        imgui.backends.opengl3_init("#version 150")

    def _apply_scale(self) -> None:
        """Follow the scale of the display that the window is on."""
        scale = self._ui_scale
        content_scale, _ = glfw.get_window_content_scale(self._handle)
        width, _ = self.size
        pixels, _ = self.framebuffer_size
        if width > 0 and pixels > 0:  # if coordinates are pixels, controls must grow
            scale *= max(content_scale * width / pixels, 0.5)
        if scale != self._style_scale:
            style = imgui.get_style()
            style.scale_all_sizes(scale / self._style_scale)
            style.font_scale_dpi = scale
            self._style_scale = scale
            self.request_frame()

    def _read_pixels(self) -> np.ndarray:
        width, height = self.framebuffer_size
        GL.glPixelStorei(GL.GL_PACK_ALIGNMENT, 1)
        data = GL.glReadPixels(0, 0, width, height, GL.GL_RGB, GL.GL_UNSIGNED_BYTE)
        return np.frombuffer(data, dtype=np.uint8).reshape(height, width, 3)[::-1].copy()


def _create(title: str, size: tuple[int, int], is_offscreen: bool) -> Any:
    """A GLFW window with an OpenGL 3.2 core context, current in this thread."""
    errors: list[str] = []
    glfw.set_error_callback(lambda code, text: errors.append(_as_text(text)))
    use_egl = is_offscreen and sys.platform == "linux"
    # GLFW keeps this hint for later windows, so it is always set.
    glfw.init_hint(glfw.PLATFORM, glfw.PLATFORM_NULL if use_egl else glfw.ANY_PLATFORM)
    if not glfw.init():
        raise WindowError(_explain(errors))
    glfw.default_window_hints()
    hints = [
        (glfw.CONTEXT_VERSION_MAJOR, 3),
        (glfw.CONTEXT_VERSION_MINOR, 2),
        (glfw.OPENGL_PROFILE, glfw.OPENGL_CORE_PROFILE),
        (glfw.OPENGL_FORWARD_COMPAT, True),
        (glfw.VISIBLE, not is_offscreen),
    ]
    if use_egl:
        hints.append((glfw.CONTEXT_CREATION_API, glfw.EGL_CONTEXT_API))
    for hint, value in hints:
        glfw.window_hint(hint, value)
    handle = glfw.create_window(*size, title, None, None)
    if not handle:
        glfw.terminate()
        raise WindowError(_explain(errors))
    if not use_egl:  # GLFW's null platform takes DONT_CARE for a size
        glfw.set_window_size_limits(handle, *MIN_SIZE, glfw.DONT_CARE, glfw.DONT_CARE)
    glfw.make_context_current(handle)
    glfw.set_error_callback(lambda code, text: None)  # such as a clipboard without text
    return handle


def _explain(errors: list[str]) -> str:
    reason = errors[-1] if errors else "unknown error"
    if any("DISPLAY" in error or "isplay" in error or "latform" in error for error in errors):
        return (
            f"there is no display for a window ({reason}): over SSH connect with ssh -X, or "
            "use --serve and a browser; --screenshot needs no display, either"
        )
    return (
        f"no OpenGL 3.2 window ({reason}): update the graphics driver, or install Mesa "
        "(Debian, Ubuntu: apt install libgl1 libgl1-mesa-dri libegl1)"
    )


def _as_text(text: str | bytes) -> str:
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


assert imgui_bundle  # imported for its library
