"""A page of NiceGUI behind the guard: over sockets, and in a browser."""

import contextlib
import http.client
import http.server
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.web_utils.browser import ROOT, TIMEOUT_SEC, wait_for

pytest.importorskip("nicegui", reason="needs requirements-web.txt")

SECRET = "t0ken-that-nobody-guesses"
MAX_UPLOAD = 8 * 2**20


class Server:
    """The program `guarded_page`."""

    def __init__(self, folder: Path, token: str = "") -> None:
        self.folder = folder
        self.log = folder / "log.txt"
        self.log.touch()
        # NiceGUI does something else if it sees that pytest runs it.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.web_utils.guarded_page", token, str(MAX_UPLOAD)],
            cwd=ROOT,
            env={**environment, "TMPDIR": str(folder), "NICEGUI_STORAGE_PATH": str(folder / "n")},
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
        )
        self.port = int(self.wait_for(r"^(\d+)\n")[1])
        self.wait_for("startup complete")

    def wait_for(self, pattern: str) -> re.Match:
        """Wait for a line of the program."""

        def look() -> re.Match | None:
            assert self.process.poll() is None, self.log.read_text()
            return re.search(pattern, self.log.read_text(), re.MULTILINE)

        return wait_for(look)

    def ask(self, url: str, method: str = "GET", body=None, **headers) -> tuple[int, dict, str]:
        connection = http.client.HTTPConnection("localhost", self.port, timeout=TIMEOUT_SEC)
        connection.request(method, url, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, {k.lower(): v for k, v in answer.headers.items()}, text

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("closed"), SECRET)
    yield server
    server.close()


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("local"))
    yield server
    server.close()


def enter(server: Server) -> str:
    """The cookie that the link gives."""
    status, headers, _ = server.ask(f"/?token={SECRET}", accept="text/html")
    assert status == 200
    return headers["set-cookie"].partition(";")[0]


def form_of(size: int) -> tuple[bytes, str]:
    """A form with a file, and its type."""
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="net.pkl"\r\n\r\n'
    return head + bytes(size) + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"


def upload_url(page: str) -> str:
    return re.search(r"/_nicegui/client/[\w-]+/upload/\d+", page)[0]


def test_nothing_is_served_without_the_token(closed):
    page = closed.ask("/", cookie=enter(closed))[2]
    files = re.findall(r'"(/_nicegui/[^"]+\.js)"', page)
    assert len(files) > 5
    for url in ["/", "/favicon.ico", "/_nicegui_ws/socket.io/?EIO=4&transport=polling", *files]:
        status, headers, text = closed.ask(url)
        assert status == 403 and "token" in text
        assert headers["connection"] == "close"
    for url in ["/", *files[:3]]:
        assert closed.ask(url, cookie=enter(closed))[0] == 200


def test_sockets_need_the_token_and_the_origin(closed, local):
    client = pytest.importorskip("websockets.sync.client")
    exceptions = pytest.importorskip("websockets.exceptions")
    path = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"

    def connect(server, query="", origin=None, **headers):
        address = f"ws://localhost:{server.port}{path}{query}"
        with client.connect(address, origin=origin, additional_headers=headers) as socket:
            return socket.recv(timeout=TIMEOUT_SEC)

    own = f"http://localhost:{closed.port}"
    assert connect(closed, f"&token={SECRET}").startswith("0{")
    assert connect(closed, origin=own, Cookie=enter(closed)).startswith("0{")
    assert connect(local, origin=f"http://localhost:{local.port}").startswith("0{")
    refused = [
        (closed, "", None, {}),
        (closed, "", own, {}),
        (closed, "&token=wrong", own, {}),
        (closed, "", "http://evil.example", {"Cookie": enter(closed)}),
        (local, "", None, {}),
        (local, "", "http://evil.example", {}),
    ]
    for server, query, origin, headers in refused:
        with pytest.raises(exceptions.InvalidStatus, match="403"):
            connect(server, query, origin, **headers)


def test_the_token_is_in_no_log(closed):
    closed.ask(f"/logged?token={SECRET}")
    closed.wait_for("GET /logged")
    assert SECRET not in closed.log.read_text()


def test_uploads_end_at_the_guard(closed):
    cookie = enter(closed)
    url = upload_url(closed.ask("/", cookie=cookie)[2])
    body, kind = form_of(3 * 2**20)
    headers = {"content-type": kind, "cookie": cookie}
    assert closed.ask(url, "POST", body, **headers)[0] == 200
    closed.wait_for(f"^uploaded {3 * 2**20}$")
    part, sent = bytes(2**20), []

    def without_end():
        yield body[:100]
        for _ in range(1000):
            sent.append(part)
            yield part

    for path, content, given, status in [
        (url, body, {"content-type": kind}, 403),
        ("/", body, headers, 413),
        (url, b"x", {**headers, "content-length": str(2**30)}, 413),
        (url, without_end(), headers, 413),  # is cut while it comes, and leaves no file
    ]:
        count = closed.log.read_text().count(f'POST {path} HTTP/1.1" {status}')
        with contextlib.suppress(OSError):  # the server closes while we are sending
            closed.ask(path, "POST", content, **given)
        closed.wait_for(rf'(?s)(POST {path} HTTP/1.1" {status}.*){{{count + 1}}}')
    assert len(sent) < 100
    assert [path.name for path in closed.folder.iterdir() if path.is_file()] == ["log.txt"]
    assert "Traceback" not in closed.log.read_text()
    assert closed.log.read_text().count("uploaded") == 1


def test_other_names_are_refused_without_a_token(local):
    status, _, text = local.ask("/", host="evil.example")
    assert status == 403 and "--token" in text
    assert local.ask("/")[0] == 200


# In a browser


@pytest.fixture
def other_site(tmp_path):
    """A site of somebody else: its folder, and its address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args) -> None:
            super().__init__(*args, directory=tmp_path)

        def log_message(self, *args) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def wait_until(browser, script: str):
    return wait_for(lambda: browser.execute_script(f"return {script}"))


def use(browser) -> None:
    """Click on the button: its answer comes over the socket."""
    wait_until(browser, "document.querySelector('#more') && window.socket?.connected")
    before = int(browser.execute_script("return document.querySelector('#count').innerText"))
    browser.execute_script("document.querySelector('#more').click()")
    wait_until(browser, f"document.querySelector('#count').innerText == {before + 1}")


def test_a_link_of_another_site_enters(browser, closed, other_site):
    folder, address = other_site
    link = f"http://localhost:{closed.port}/?a=b&token={SECRET}#seed=3"
    (folder / "chat.html").write_text(f'<a id="link" href="{link}">the viewer</a>')
    browser.get(f"http://localhost:{closed.port}/")
    assert "open the whole link" in browser.page_source
    browser.get(f"{address}/chat.html")
    browser.execute_script("document.querySelector('#link').click()")
    use(browser)
    assert browser.current_url == f"http://localhost:{closed.port}/?a=b#seed=3"
    browser.get(f"http://localhost:{closed.port}/?token=of-an-old-server")
    use(browser)
    assert browser.current_url == f"http://localhost:{closed.port}/"


def test_the_page_works_and_contacts_no_other_host(browser, local):
    browser.get_log("browser")
    address = f"http://localhost:{local.port}/"
    browser.get(address)
    use(browser)
    urls = browser.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
    )
    assert len(urls) > 10 and all(url.startswith(address) for url in urls)
    assert browser.get_log("browser") == []
    other = f"http://127.0.0.1:{local.port}/"
    script = f"fetch('{other}').then(() => done('sent'), () => done('no'))"
    assert browser.execute_async_script(f"const done = arguments[0]; {script}") == "no"
    assert "Content Security Policy" in browser.get_log("browser")[0]["message"]


HOSTILE = """
<script>
const target = "TARGET", results = {};
const attempt = (name, promise) =>
  promise.then(() => results[name] = "in", () => results[name] = "out");
const socket = (path) => new Promise((resolve, reject) => {
  const s = new WebSocket(target.replace("http", "ws") + path);
  s.onopen = resolve; s.onerror = reject;
});
const tag = (kind, field, path) => new Promise((resolve, reject) => {
  const element = document.createElement(kind);
  element[field] = target + path; element.onload = resolve; element.onerror = reject;
  document.documentElement.append(element);
});
Promise.all([
  attempt("fetch", fetch(target + "/", {credentials: "include"})),
  attempt("poll", fetch(target + "/_nicegui_ws/socket.io/?EIO=4&transport=polling")),
  attempt("post", fetch(target + "/", {method: "POST", body: "x"})),
  attempt("socket", socket("/_nicegui_ws/socket.io/?EIO=4&transport=websocket")),
  attempt("picture", tag("img", "src", "/favicon.ico")),
  attempt("page", tag("img", "src", "/")),
  attempt("script", tag("script", "src", "/_nicegui/VERSION/static/nicegui.js")),
]).then(() => window.results = results);
</script>
"""


def test_a_hostile_page_gets_nothing(browser, local, other_site):
    import nicegui

    folder, address = other_site
    target = f"http://localhost:{local.port}"
    page = HOSTILE.replace("TARGET", target).replace("VERSION", nicegui.__version__)
    (folder / "evil.html").write_text(page)
    num_pages = local.log.read_text().count('"GET / HTTP/1.1" 200')
    # A page of another port is on the same site, and browsers send it cookies.
    for site in (address, address.replace("127.0.0.1", "localhost")):
        browser.get(f"{site}/evil.html")
        results = wait_until(browser, "window.results")
        names = ("fetch", "poll", "post", "socket", "picture", "page", "script")
        assert results == dict.fromkeys(names, "out")
    assert local.log.read_text().count('"GET / HTTP/1.1" 200') == num_pages
