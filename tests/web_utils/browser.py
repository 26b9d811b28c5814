"""A browser without a screen, and servers of NiceGUI pages for it.

A server is a process of its own, because NiceGUI has one application for each process.
`tests/web_utils/conftest.py` shows how to use the fixture in another folder.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
TIMEOUT_SEC = 60  # the machine may be busy
ROOT = Path(__file__).parents[2]

needs_browser = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="needs chromium and chromedriver (Debian: apt install chromium chromium-driver)",
)
T = TypeVar("T")


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A driver of Chromium, of selenium; shared by all tests of a session."""
    with open_browser(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@contextmanager
def open_browser(profile: Path) -> Iterator[Any]:
    """A driver of Chromium, of selenium, with a profile of its own."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("needs chromium and chromedriver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(option)
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


@contextmanager
def serve(*command: str) -> Iterator[str]:
    """Run `python -m COMMAND... --port=PORT`, and return the address when it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    args = [sys.executable, "-m", *command, f"--port={port}"]
    # NiceGUI has ways of its own where it finds pytest.
    environment = {name: text for name, text in os.environ.items() if "PYTEST" not in name}
    server = subprocess.Popen(
        args, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        wait_for(lambda: server.poll() is not None or _answers(port))
        if server.poll() is not None:
            assert server.stdout is not None
            pytest.fail(f"the server has ended: {server.stdout.read().decode()}")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.communicate()


def wait_for(condition: Callable[[], T], timeout_sec: float = TIMEOUT_SEC) -> T:
    """Wait until a condition is true, and return its value."""
    deadline = time.monotonic() + timeout_sec
    while not (value := condition()):
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.02)
    return value


def _answers(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
