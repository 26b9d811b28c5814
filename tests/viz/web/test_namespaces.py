"""The viewer, visited from a second network namespace, which is another machine to the kernel."""

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from benchmarks.viewer_page import serve
from tests.viz import networks
from tests.web_utils.browser import ROOT, needs_browser

pytestmark = pytest.mark.slow
pytest.importorskip("nicegui", reason="needs requirements-web.txt")
pytest.importorskip("websockets.sync.client")

IP = shutil.which("ip")
TIMEOUT_SEC = 120
RESOLUTION = 128  # larger than pictures that are always exact


@dataclass(frozen=True)
class Far:
    """A namespace.

    Attributes:
        name: Its name.
        near_address: Address of this machine, as the namespace sees it.
    """

    name: str
    near_address: str

    def visit(self, command: str, link: str) -> dict[str, Any]:
        """What a visitor gets there, see `far_visitor`."""
        args = [IP, "netns", "exec", self.name, sys.executable, "-m", "tests.viz.web.far_visitor"]
        visitor = subprocess.Popen(
            [*args, command, link], cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True
        )
        try:
            output, _ = visitor.communicate(timeout=TIMEOUT_SEC)
        finally:
            if visitor.poll() is None:  # its browser, too
                os.killpg(visitor.pid, signal.SIGKILL)
                visitor.wait()
        assert visitor.returncode == 0
        return json.loads(output)


def run_ip(*args: str) -> None:
    subprocess.run([IP, *args], check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def far() -> Iterator[Far]:
    """A namespace with a cable to this machine."""
    if IP is None:
        pytest.skip("needs ip (Debian: apt install iproute2)")
    number = secrets.randbelow(2**14)
    name = f"viewer-{os.getpid()}-{number}"
    near, end = f"vw{number:x}n", f"vw{number:x}f"  # at most 15 characters
    # 198.18.0.0/15 is for tests of networks; four addresses for each cable.
    prefix = f"198.18.{number >> 6}"
    near_address, far_address = (f"{prefix}.{4 * (number & 63) + idx}" for idx in (1, 2))
    with ExitStack() as stack:
        try:
            run_ip("netns", "add", name)
            stack.callback(run_ip, "netns", "delete", name)
            run_ip("link", "add", near, "type", "veth", "peer", "name", end, "netns", name)
            stack.callback(run_ip, "link", "delete", near)
            run_ip("address", "add", f"{near_address}/30", "dev", near)
            run_ip("link", "set", near, "up")
            run_ip("-n", name, "address", "add", f"{far_address}/30", "dev", end)
            run_ip("-n", name, "link", "set", end, "up")
            run_ip("-n", name, "link", "set", "lo", "up")  # Chromium's driver listens there
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
        yield Far(name, near_address)


@pytest.fixture(scope="module", params=["its address", "0.0.0.0"])
def link(request, far, tmp_path_factory) -> Iterator[str]:
    """The link that a server has printed for the address of this machine."""
    path = tmp_path_factory.mktemp("network") / "net.pkl"
    torch.manual_seed(0)
    networks.save(networks.stylegan3(RESOLUTION), path)
    host = far.near_address if request.param == "its address" else request.param
    with serve("--device=cpu", f"--host={host}", str(path)) as server:
        start = f"http://{far.near_address}:"
        (link,) = [link for link in server.links if link.startswith(start)]
        yield link


def test_the_printed_link_opens_the_page_and_its_socket(far, link):
    assert re.search(r"/\?token=[\w-]{43}$", link)
    got = far.visit("ask", link)
    assert got["status"] == 200 and "<title>Visualizer</title>" in got["text"]
    assert got["socket"].startswith("0{")


@pytest.mark.parametrize("token", ["", "?token=", "?token=wrong", f"?token={'x' * 43}"])
def test_without_the_token_there_is_nothing(far, link, token):
    got = far.visit("ask", link.partition("?")[0] + token)
    assert got["status"] == 403 and "token" in got["text"]
    assert got["socket"] == "refused with 403"


@needs_browser
def test_a_browser_shows_the_picture(far, link):
    got = far.visit("look", link)
    assert re.match(rf"{RESOLUTION}x{RESOLUTION}, \d+ ms", got["line"])
    assert got["num_values"] > 8  # an empty canvas has one
    assert "token" not in got["address"]


def test_a_server_of_the_loopback_cannot_be_reached(far):
    with serve("--device=cpu", "--host=127.0.0.1") as server:
        (link,) = server.links
        assert "token" not in link
        for host in ("127.0.0.1", far.near_address):
            got = far.visit("ask", link.replace("127.0.0.1", host))
            assert "refused" in got["error"]
