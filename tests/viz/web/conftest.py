"""The viewer in a browser, and a visitor."""

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.viz import networks
from tests.web_utils.browser import browser

__all__ = ["browser"]
NAMES = ("cat", "dog", "100% eel")


@pytest.fixture(scope="session")
def files(folder) -> Path:
    """The folder of networks, and files of latents and directions for the network `t`."""
    from editing import directions
    from editing.directions import Directions
    from generation import latent_files
    from generation.latent_files import Latents

    G = pickle.loads((folder / "t.pkl").read_bytes())["G_ema"]
    ws = torch.randn([2, G.num_ws, G.w_dim], generator=torch.Generator().manual_seed(1))
    latent_files.save(folder / "w.npz", Latents(ws, names=("ann", "bob")))
    vectors = np.zeros([2, 1, G.w_dim], np.float32)
    vectors[[0, 1], 0, [0, 1]] = 1
    found = Directions(vectors, np.array([3.0, 3.0]), ("age", "sun"), "drawn")
    directions.save(folder / "d.npz", found)
    # A run, with names of classes.
    (folder / "run" / "data").mkdir(parents=True)
    metadata = {"labels": [], "class_names": NAMES}
    (folder / "run" / "data" / "dataset.json").write_text(json.dumps(metadata))
    torch.manual_seed(1)
    G = networks.stylegan2(c_dim=len(NAMES))
    content = {"G_ema": G, "training_set_kwargs": {"path": str(folder / "run" / "data")}}
    (folder / "run" / "named.pkl").write_bytes(pickle.dumps(content))
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory, files) -> Iterator[Any]:
    """A server for most tests; it shows the network `t`."""
    from tests.viz.web.viewer_server import ViewerServer

    log = tmp_path_factory.mktemp("server") / "log.txt"
    server = ViewerServer(log, f"--browse-dir={files}", "--max-sessions=50", files / "t.pkl")
    yield server
    server.stop()


@pytest.fixture
def start_server(tmp_path) -> Iterator[Callable]:
    """Start a server for one test; `start_server(ARGS...)`."""
    from tests.viz.web.viewer_server import ViewerServer

    servers = []

    def start(*args: str | Path) -> ViewerServer:
        servers.append(ViewerServer(tmp_path / f"server{len(servers)}.txt", *args))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def visit(browser) -> Iterator[Callable]:
    """Open the page of a server, and return its visitor; `visit(server, LINK)`."""
    from tests.viz.web.visitor import Visitor

    def visit(server, link: str = "", size: tuple[int, int] = (900, 600), is_phone: bool = False):
        visitor = Visitor(browser, server.address)
        visitor.resize(*size, is_phone)
        visitor.open(link)
        return visitor

    browser.get_log("browser")
    yield visit
    browser.get("about:blank")


@pytest.fixture
def visitor(visit, server, files, browser):
    """A visitor of a fresh page that shows the network `t`; its errors fail the test."""
    visitor = visit(server)
    visitor.check(network=str(files / "t.pkl"))
    yield visitor
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.fixture
def downloads(browser, tmp_path) -> Callable[[str], Path | None]:
    """The path of a file that the browser has downloaded whole, by its name; None before."""
    options = dict(behavior="allow", downloadPath=str(tmp_path))
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", options)
    permissions = dict(permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    browser.execute_cdp_cmd("Browser.grantPermissions", permissions)

    def find(name: str) -> Path | None:
        return tmp_path / name if (tmp_path / name).is_file() else None

    return find
