"""A visitor of the viewer: uses the page like a person, and compares it with the renderer."""

import base64
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from dnnlib.errors import InputError
from tests.web_utils.browser import wait_for
from tests.web_utils.person import Person
from viz import view_link
from viz.renderer import Renderer, Result
from viz.view import View, rendered

# The element of the picture, of Vue.
PICTURE = """getElement(
  Number(document.querySelector(".picture-canvas").closest(".viewer-main > *").id.slice(1)))"""
# Where the image is on the canvas: left, top, and the size of one of its pixels.
PLACE = f"""
const canvas = document.querySelector(".picture-canvas");
const shown = canvas && {PICTURE}.shown();
if (!shown) return null;
const {{ size: [width, height], area: {{ left: x0, top: y0, right: x1, bottom: y1 }} }} = shown;
const scale = Math.floor(Math.min((x1 - x0) / width, (y1 - y0) / height));
const left = Math.trunc((x0 + x1) / 2 - width * scale / 2);
const top = Math.trunc((y0 + y1) / 2 - height * scale / 2);
"""
# The size of the image and one sample of each of its pixels, if each pixel is one square.
READ_PICTURE = """
if (scale < 1) return null;
const { data } = canvas.getContext("2d").getImageData(left, top, width * scale, height * scale);
const pixels = new Uint32Array(data.buffer);
const samples = new Uint32Array(width * height);
for (let y = 0, at = 0; y < height * scale; y++)
  for (let x = 0; x < width * scale; x++, at++) {
    const sample = Math.floor(y / scale) * width + Math.floor(x / scale);
    if (y % scale === 0 && x % scale === 0) samples[sample] = pixels[at];
    else if (samples[sample] !== pixels[at]) return null;
  }
return [width, height, btoa(String.fromCharCode(...new Uint8Array(samples.buffer)))];
"""
READ_PLACE = """
const box = canvas.getBoundingClientRect();
return [box.left + left, box.top + top, scale];
"""
READ_MESSAGE = f"""
return document.querySelector(".picture-canvas") && {PICTURE}.frame?.header.overlay.message || "";
"""


class Visitor(Person):
    """Uses the viewer.

    Args:
        browser: A driver of selenium.
        address: Of the page.

    Attributes:
        view: The view that the page should show, see `check`.
    """

    def __init__(self, browser: Any, address: str) -> None:
        super().__init__(browser, address)
        self.view = View()
        self._reference = Renderer("cpu")
        self._result: Result | None = None  # of the reference

    def open(self, link: str = "") -> None:
        """Open the page anew, perhaps with the link of a view."""
        self.go(f"{self.address}/{f'#{link}' if link else ''}")

    def go(self, address: str) -> None:
        """Open an address."""
        self.browser.get("about:blank")  # with another fragment, a browser does not load a page
        self.browser.get(address)

    def unfold(self, *titles: str) -> None:
        """Open panes."""
        for title in titles:
            if self.find(title).get_attribute("aria-expanded") == "false":
                self.click(title)
            wait_for(lambda title=title: self.all(f'[data-key^="{title}/"]'))

    def value(self, key: str) -> str:
        """The text in the field of a control."""
        return self.find(key, "input").get_property("value")

    def waits_for_mode(self, mode: str) -> None:
        """Wait until the left button in the picture means something else."""
        wait_for(lambda: self.run(f"return {PICTURE}.mode") == mode)

    def clipboard(self) -> str:
        """What the page has copied."""
        return self.browser.execute_async_script(
            "navigator.clipboard.readText().then(arguments[0], arguments[0])"
        )

    @property
    def status(self) -> str:
        """The line beneath the picture."""
        return self.run("return document.querySelector('.picture-status')?.textContent ?? ''")

    @property
    def message(self) -> str:
        """The text in place of the picture."""
        return self.run(READ_MESSAGE)

    @property
    def fragment(self) -> str:
        """What follows `#` in the address bar."""
        return urlsplit(self.run("return location.href")).fragment

    def says(self, text: str) -> None:
        """Wait for a text in the line beneath the picture."""
        _wait(lambda: text in self.status, lambda: f"{text!r} is not in {self.status!r}")

    def tells(self, text: str) -> None:
        """Wait for a text in place of the picture."""
        _wait(lambda: text in self.message, lambda: f"{text!r} is not in {self.message!r}")

    def picture(self) -> np.ndarray | None:
        """The picture on screen, uint8 `[H, W, 3]`; None while it is not sharp, or covered."""
        found = self.run(PLACE + READ_PICTURE)
        if found is None:
            return None
        width, height, data = found
        pixels = np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)
        return pixels[:, :, :3]

    def shows_view(self, view: View) -> bool:
        """Whether the picture on screen is that of a view, to the bit."""
        picture = self.picture()
        return picture is not None and np.array_equal(picture, self.expected(view))

    def expected(self, view: View) -> np.ndarray:
        """What the renderer says about a view, uint8 `[H, W, 3]`."""
        view = rendered(view)
        if self._result is None or self._result.view != view:
            self._result = self._reference.render(view)
        image = self._result.image
        assert image is not None, self._result.error
        return np.broadcast_to(image[:, :, :3], [*image.shape[:2], 3])

    def check(self, **changes: Any) -> np.ndarray:
        """Wait until the page shows the last view with these changes, to the bit."""
        self.view = replace(self.view, **changes)
        _wait(
            lambda: self.shows_view(self.view),
            lambda: f"{self.fragment}; {self.status}; {self.message}\nnot {self.view}",
        )
        return self.expected(self.view)

    def check_link(self, **changes: Any) -> np.ndarray:
        """Wait until the address bar has the view with these changes, and check the picture."""
        self.view = replace(self.view, **changes)
        wanted = replace(self.view, drag=None)
        _wait(
            lambda: self.linked_view() == wanted,
            lambda: f"{self.linked_view()}\nis not {wanted}\n{self.status}; {self.message}",
        )
        return self.check()

    def linked_view(self) -> View | None:
        """The view of the address bar; None if the link is wrong."""
        try:
            return view_link.from_link(self.fragment)
        except InputError:
            return None

    def take_link(self) -> View:
        """Wait until picture and address bar show the same new view, and return it."""
        before = replace(self.view, drag=None)

        def is_new() -> bool:
            self.view = self.linked_view() or before
            return self.view != before and self.shows_view(self.view)

        _wait(is_new, lambda: f"no new view: {self.fragment}")
        return self.view

    # The mouse in the picture

    def mouse(self, kind: str, x: float, y: float, button: str = "none", **options: Any) -> None:
        """A mouse event of the developer tools, such as `mousePressed`, at a place of the page."""
        buttons = {"none": 0, "left": 1, "right": 2}[button]
        self.browser.execute_cdp_cmd(
            "Input.dispatchMouseEvent",
            dict(type=kind, x=x, y=y, button=button, buttons=buttons, clickCount=1) | options,
        )

    def on_page(self, x: float, y: float) -> tuple[float, float]:
        """Where a place of the fitted image, in its pixels, is on the page."""
        left, top, scale = wait_for(lambda: self.run(PLACE + READ_PLACE))
        return left + x * scale, top + y * scale

    def pull(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press on a place of the image, in its pixels, move to another one, release."""
        (x0, y0), (x1, y1) = self.on_page(*start), self.on_page(*end)
        self.mouse("mousePressed", x0, y0, "left")
        for step in (1, 2, 3):
            x, y = x0 + (x1 - x0) * step / 3, y0 + (y1 - y0) * step / 3
            self.mouse("mouseMoved", x, y, "left")
        self.mouse("mouseReleased", x1, y1, "left")

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        """A touch event of the developer tools, with all fingers that are down."""
        touched = [dict(x=x, y=y, id=idx) for idx, (x, y) in enumerate(points)]
        self.browser.execute_cdp_cmd(
            "Input.dispatchTouchEvent", dict(type=kind, touchPoints=touched)
        )


def _wait(condition: Any, complaint: Any) -> None:
    try:
        wait_for(condition)
    except AssertionError:
        raise AssertionError(complaint()) from None
