"""The served viewer in headless Chromium: the real server, the real page, real input."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import psutil

from benchmarks import PROJECT_DIR

WATCH = Path(__file__).with_name("viewer_watch.js")
LINK = re.compile(r"(?:Open|  or) (http://\S+)")  # in what the server prints
TIMEOUT_SEC = 600  # for a picture of a large network on a busy machine
# Selectors of CSS.
CANVAS = ".picture-canvas"
ANIMATE = '[data-key="Latent/##animate latent"] .q-checkbox'
SLIDER = '[data-key="Truncation & noise/##psi"] .q-slider'

T = TypeVar("T")


def missing() -> str | None:
    """What must be installed before a browser can be measured; None if all is there."""
    if find_spec("nicegui") is None:
        return "needs NiceGUI: pip install -r requirements-web.txt"
    if find_spec("selenium") is None:
        return "needs Selenium: pip install -r requirements-dev.txt"
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        return "needs chromium and chromedriver (Debian: apt install chromium chromium-driver)"
    return None


@dataclass(frozen=True)
class Server:
    """A server that listens: the links that it has printed, and its process."""

    links: list[str]
    process: psutil.Process


@contextmanager
def serve(*args: str) -> Iterator[Server]:
    """Run `visualizer.py --serve` with more arguments, on any free port."""
    # NiceGUI has ways of its own where it finds pytest.
    environment = {name: text for name, text in os.environ.items() if "PYTEST" not in name}
    server = subprocess.Popen(
        [sys.executable, "visualizer.py", "--serve", "--port=0", *args],
        cwd=PROJECT_DIR,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        links: list[str] = []
        for line in server.stdout:
            found = LINK.match(line)
            if found is None:  # the line after the links
                break
            links.append(found[1])
        if not links:
            raise RuntimeError("visualizer.py --serve has ended")
        yield Server(links, psutil.Process(server.pid))
    finally:
        server.terminate()
        server.communicate()


@contextmanager
def open_page(address: str, size: tuple[int, int]) -> Iterator["ViewerPage"]:
    """Show the viewer in a browser of its own, and wait for its first picture.

    Args:
        address: Of the server.
        size: Width and height of the page.
    """
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(option)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.set_script_timeout(TIMEOUT_SEC)
        page = ViewerPage(driver)
        page.command(
            "Emulation.setDeviceMetricsOverride",
            width=size[0],
            height=size[1],
            deviceScaleFactor=1,
            mobile=False,
        )
        page.command("Page.addScriptToEvaluateOnNewDocument", source=WATCH.read_text("utf-8"))
        driver.get(address)
        page.settle()
        yield page
    finally:
        driver.quit()


class ViewerPage:
    """The page of the viewer, and a hand with a mouse."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    def command(self, name: str, **arguments: Any) -> Any:
        """Send a command of the developer tools."""
        return self._driver.execute_cdp_cmd(name, arguments)

    def script(self, text: str, *arguments: Any) -> Any:
        """Run JavaScript."""
        return self._driver.execute_script(text, *arguments)

    def process(self) -> psutil.Process:
        """The process of the browser that holds the page: the largest, as the others are idle."""
        children = psutil.Process(self._driver.service.process.pid).children(recursive=True)
        candidates = [process for process in children if "--type=renderer" in process.cmdline()]
        return max(candidates, key=lambda process: process.memory_info().rss)

    def settle(self) -> None:
        """Wait until the picture rests: its exact form comes last."""
        wait_for(
            lambda: self.script(
                "return viewerWatch.isExact && performance.now() - viewerWatch.lastMs > 300"
            )
        )

    def rest(self) -> None:
        """Wait until no picture is on its way after an animation, which leaves no other trace."""
        count = -1
        while count != (count := self.num_pictures()):
            self.settle()
            time.sleep(1 + 3 * self.render_sec())

    def num_pictures(self) -> int:
        """New pictures on the canvas so far; those that only become exact do not count."""
        count, num_moving = self.script("return [viewerWatch.count, viewerWatch.movingCount]")
        return num_moving or count  # small pictures are always exact

    def pixels(self) -> str:
        """What is on the canvas, roughly."""
        return self.script("return viewerWatch.pixels()")

    def expect(self, act: Callable[[], Any]) -> float:
        """Seconds from an input, by `act`, until the canvas shows the next picture."""
        self.script("viewerWatch.expect()")
        act()
        return self._driver.execute_async_script("viewerWatch.answered.then(arguments[0])") / 1e3

    def render_sec(self) -> float:
        """How long the picture on screen took to render; the status line has whole ms."""

        def read() -> re.Match[str] | None:
            text = self.script("return document.querySelector('.picture-status').textContent")
            return re.match(r"\d+x\d+, (\d+) ms", text)

        return int(wait_for(read)[1]) / 1e3

    def mouse(self, kind: str, x: float, y: float) -> None:
        """`mouseMoved` with the left button down, `mousePressed` or `mouseReleased`."""
        self.command(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x,
            y=y,
            button="left",
            clickCount=1,
            buttons=0 if kind == "mouseReleased" else 1,
        )

    def click(self, selector: str) -> None:
        """Click on an element."""
        self.script("document.querySelector(arguments[0]).click()", selector)

    def area(self, selector: str) -> tuple[float, float, float, float]:
        """Left and upper edge, width and height of an element, which is scrolled into view."""
        return tuple(
            self.script(
                """
                const element = document.querySelector(arguments[0]);
                element.scrollIntoView({ block: "nearest" });
                const { left, top, width, height } = element.getBoundingClientRect();
                return [left, top, width, height];
                """,
                selector,
            )
        )


def wait_for(condition: Callable[[], T | None]) -> T:
    """The first true value of a condition."""
    end = time.monotonic() + TIMEOUT_SEC
    while not (value := condition()):
        if time.monotonic() > end:
            raise RuntimeError(f"the page shows no picture within {TIMEOUT_SEC} s")
        time.sleep(0.05)
    return value
