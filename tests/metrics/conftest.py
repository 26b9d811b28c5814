"""Stand-ins for feature networks and data, and a server for them."""

import functools
import http.server
import threading
from pathlib import Path

import pytest

from metrics import detectors
from tests.metrics import stand_ins


@pytest.fixture(scope="session")
def detector_files(tmp_path_factory) -> dict[str, Path]:
    """TorchScript files of small feature networks, by name."""
    return stand_ins.save_detectors(tmp_path_factory.mktemp("detectors"))


@pytest.fixture(scope="session")
def dataset_zip(tmp_path_factory) -> Path:
    """100 drawn images of 16x16, in six classes."""
    return stand_ins.save_dataset(tmp_path_factory.mktemp("data") / "shapes.zip")


@pytest.fixture
def serve():
    """Serve a folder; gives its address and the list of requests."""
    servers = []

    def serve(folder: Path) -> tuple[str, list[str]]:
        requests = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, format, *args):
                requests.append(f"{self.command} {self.path}")

        handler = functools.partial(Handler, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}", requests

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Published files are out of reach, which shows at once; nothing stays loaded."""
    monkeypatch.delenv(detectors.FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(detectors, "_loaded", {})
    address = "http://127.0.0.1:9/metrics/"  # nobody listens there
    urls = {name: address + url.rpartition("/")[2] for name, url in detectors.URLS.items()}
    for name, url in urls.items():
        monkeypatch.setitem(detectors.URLS, name, url)
    return urls
