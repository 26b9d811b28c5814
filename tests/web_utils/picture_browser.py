"""Headless Chromium on the test page of `tests.web_utils.picture_page`."""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
DEADLINE_SEC = 30


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of a condition."""
    end = time.monotonic() + DEADLINE_SEC
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {DEADLINE_SEC} s: {what}"
        time.sleep(0.02)
    return value


@contextmanager
def serve() -> Iterator[str]:
    """Run the test page; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "tests.web_utils.picture_page", str(port)]
    # NiceGUI does something else if it sees that pytest runs it.
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("PYTEST_")}
    server = subprocess.Popen(command, cwd=ROOT, env={**environment, "PYTHONPATH": str(ROOT)})

    def is_up() -> bool:
        assert server.poll() is None, "the server has ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_for(is_up, "the server starts")
        yield address
    finally:
        server.terminate()
        server.wait()


@contextmanager
def chromium(size: tuple[int, int] = (1000, 600)) -> Iterator[Any]:
    """A driver of headless Chromium with a viewport of this size."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    for program in (CHROMIUM, DRIVER):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--force-device-scale-factor=1",
        "--js-flags=--expose-gc",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        resize(driver, *size)
        yield driver
    finally:
        driver.quit()


def resize(
    driver: Any, width: int, height: int, density: float = 1, is_phone: bool = False
) -> None:
    """Give the page a size, in its own pixels."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        dict(width=width, height=height, deviceScaleFactor=density, mobile=is_phone),
    )
    driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", dict(enabled=is_phone))


class PicturePage:
    """The test page in a browser."""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver = driver
        self.address = address

    def open(self, query: str = "") -> None:
        self.driver.get(f"{self.address}/{query}")
        wait_for(lambda: self.script("return document.querySelector('canvas')"), "a canvas")

    def script(self, text: str, *arguments: Any) -> Any:
        return self.driver.execute_script(text, *arguments)

    def call(self, path: str, options: dict[str, Any] | None = None) -> Any:
        """Ask the server; with options, tell the server."""
        data = None if options is None else json.dumps(options).encode()
        with urllib.request.urlopen(f"{self.address}/test/{path}", data) as answer:
            return json.loads(answer.read())

    def show(self, name: str, image: tuple[int, ...] | None, **overlay: Any) -> None:
        self.call(f"show/{name}", dict(image=image, overlay=overlay))

    def pixels(self, name: str) -> np.ndarray:
        """What is on the canvas, uint8 `[H, W, 4]`."""
        width, height, data = self.script(
            """
            const canvas = document.querySelector(`.${arguments[0]} canvas`);
            const context = canvas.getContext("2d");
            const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
            let text = "";
            for (let i = 0; i < data.length; i += 32768)
              text += String.fromCharCode(...data.subarray(i, i + 32768));
            return [canvas.width, canvas.height, btoa(text)];
            """,
            name,
        )
        return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)

    def mouse(self, kind: str, x: float, y: float, button: str = "none", **options: Any) -> None:
        """A mouse event of the developer tools, such as `mousePressed`."""
        buttons = {"none": 0, "left": 1, "right": 2, "middle": 4}[button]
        self.driver.execute_cdp_cmd(
            "Input.dispatchMouseEvent",
            dict(type=kind, x=x, y=y, button=button, buttons=buttons, clickCount=1) | options,
        )

    def wheel(self, x: float, y: float, pixels: float) -> None:
        """Scroll down by so many pixels."""
        self.mouse("mouseWheel", x, y, deltaX=0, deltaY=pixels)

    def double_click(self, x: float, y: float) -> None:
        for count in (1, 2):
            for kind in ("mousePressed", "mouseReleased"):
                self.mouse(kind, x, y, "left", clickCount=count)

    def key(self, key: str, code: str, ctrl: bool = False, shift: bool = False) -> None:
        """Press and release a key."""
        modifiers = 2 * ctrl + 8 * shift
        for kind in ("rawKeyDown", "keyUp"):
            self.driver.execute_cdp_cmd(
                "Input.dispatchKeyEvent", dict(type=kind, key=key, code=code, modifiers=modifiers)
            )

    def touch(self, kind: str, points: list[tuple[float, float]]) -> None:
        """A touch event of the developer tools, with all fingers that are down."""
        touched = [dict(x=x, y=y, id=idx) for idx, (x, y) in enumerate(points)]
        self.driver.execute_cdp_cmd(
            "Input.dispatchTouchEvent", dict(type=kind, touchPoints=touched)
        )
