"""Options of serving, addresses to bind to, and the links that are printed."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner

import visualizer
from dnnlib.errors import InputError
from viz.view import View
from viz.web import server
from viz.web.options import ServeOptions, is_loopback, make_token


@pytest.fixture
def served(monkeypatch):
    """What the command would serve."""
    calls = []
    monkeypatch.setattr(visualizer, "_import_server", lambda: None)
    monkeypatch.setattr(server, "serve", lambda *args: calls.append(args))
    return calls


def run(*args: str, **environment: str | None):
    return CliRunner(env=environment).invoke(visualizer.main, ["--device=cpu", *args])


def test_defaults_are_for_this_machine_alone(served):
    result = run("--serve", "a.pkl", "b.pkl", "--seed=3")
    assert result.exit_code == 0, result.output
    assert served == [(ServeOptions(), ["a.pkl", "b.pkl"], View(x=3), (), "cpu")]


def test_options_reach_the_server(served, tmp_path):
    run(
        "--serve", "--host=0.0.0.0", "--port=0", "--quality=70", "--max-sessions=2",
        "--max-upload=5", "--simple", f"--browse-dir={tmp_path}", "net.pkl",
    )  # fmt: skip
    ((options, networks, _, browse_dirs, _),) = served
    assert options.token is not None and len(options.token) == 43
    assert options == ServeOptions("0.0.0.0", 0, 70, 2, 5 * 2**20, options.token, True)
    assert (networks, browse_dirs) == (["net.pkl"], (tmp_path,))


def test_simple_shows_a_network_that_is_named(served):
    result = run("--serve", "--simple")
    assert result.exit_code == 2 and "Name the network that --simple is to show." in result.output
    assert served == []


@pytest.mark.parametrize(
    ("args", "has_token"),
    [
        ((), False),
        (("--token",), True),
        (("--host=localhost",), False),
        (("--host=::1",), False),
        (("--host=[::1]",), False),
        (("--host=127.0.0.2",), False),
        (("--host=0.0.0.0",), True),
        (("--host=::",), True),
        (("--host=192.168.0.1",), True),
        (("--host=localhost.evil.example",), True),
        (("--host=",), True),
    ],
)
def test_a_token_is_asked_for_wherever_others_can_connect(served, args, has_token):
    assert run("--serve", *args).exit_code == 0
    assert (served[0][0].token is not None) == has_token


def test_tokens_differ():
    assert make_token() != make_token()
    assert not is_loopback("127.0.0.1.evil.example")


def test_only_the_loopback_fetches_addresses_for_visitors():
    assert ServeOptions().allow_addresses
    assert not ServeOptions(simple=True).allow_addresses
    assert not ServeOptions(host="0.0.0.0", token="x").allow_addresses


OF_SERVING = ["--host=127.0.0.1", "--port=8080", "--quality=85", "--max-sessions=8"]
OF_SERVING += ["--max-upload=0", "--token", "--simple"]


@pytest.mark.parametrize("option", OF_SERVING)
def test_options_of_serving_need_serve(served, option):
    result = run(option)
    assert result.exit_code == 2
    name = option.partition("=")[0]
    assert f"Error: {name} is for browsers; add --serve" in result.output


@pytest.mark.parametrize("option", ["--screenshot=x.png", "--size=640x480", "--capture-dir=x"])
def test_options_of_the_window_are_refused(served, option):
    result = run("--serve", option)
    assert result.exit_code == 2 and served == []
    assert f"Error: {option.partition('=')[0]} is for the window" in result.output


@pytest.mark.parametrize("args", [("--allow-untrusted",), ()], ids=["option", "environment"])
def test_serving_runs_no_code_of_files(served, args):
    result = run("--serve", *args, STYLEGAN3_ALLOW_UNTRUSTED=None if args else "1")
    assert result.exit_code == 2 and served == []
    where = "--allow-untrusted." if args else "STYLEGAN3_ALLOW_UNTRUSTED in the environment."
    assert f"visitors choose the files: leave out {where}" in result.output


BEYOND_LIMITS = ["--port=65536", "--port=-1", "--quality=0", "--quality=101", "--max-sessions=0"]
BEYOND_LIMITS += ["--max-upload=-1", "--max-upload=1.5"]


@pytest.mark.parametrize("option", BEYOND_LIMITS)
def test_numbers_have_limits(served, option):
    result = run("--serve", option)
    assert result.exit_code == 2 and served == []
    assert option.partition("=")[0] in result.output


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "nicegui", None)
    result = run("--serve")
    assert result.exit_code == 1
    assert "pip install -r requirements-web.txt" in result.output
    assert result.output.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_server_that_is_stopped_leaves_no_uploads(tmp_path, name):
    pytest.importorskip("nicegui", reason="needs requirements-web.txt")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    process = subprocess.Popen(
        [sys.executable, visualizer.__file__, "--serve", "--port=0", "--device=cpu"],
        cwd=tmp_path,
        env={**environment, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    port = int(re.search(r"Open http://127.0.0.1:(\d+)/", process.stdout.readline())[1])
    assert list(tmp_path.glob("viewer-uploads-*"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/favicon.ico")  # is answered when the server runs
    assert connection.getresponse().status == 200
    process.send_signal(getattr(signal, name))
    assert process.wait(60) == (130 if name == "SIGINT" else 128 + getattr(signal, name))
    process.stdout.close()
    assert list(tmp_path.glob("viewer-uploads-*")) == []


def test_a_server_under_nohup_outlives_its_terminal():
    handled = []

    class Server:
        def handle_exit(self, number, frame):
            handled.append(number)

        def run(self, sockets):
            os.kill(os.getpid(), signal.SIGHUP)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        server._run(Server(), None)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert handled == []
    with pytest.raises(SystemExit):
        server._run(Server(), None)
    assert handled == [signal.SIGHUP]


def test_a_socket_accepts_before_the_server_runs():
    with server.bind("127.0.0.1", 0) as bound:
        socket.create_connection(bound.getsockname()).close()
    with server.bind("localhost", 0) as bound:
        assert bound.getsockname()[0] == "127.0.0.1"


def test_both_versions_of_the_protocol_reach_all_addresses():
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with server.bind("::", 0) as bound:
        port = bound.getsockname()[1]
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, port)).close()


def test_a_used_port_names_a_free_one():
    with server.bind("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        with pytest.raises(InputError) as caught:
            server.bind("127.0.0.1", port)
    message = str(caught.value)
    assert message.startswith(f"--port={port} is used by another program; --port=")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("host", "port", "message"),
    [
        ("a" * 70 + ".example", 0, "there is no machine of this name"),
        ("", 0, "--host=: there is no machine of this name"),
        ("192.0.2.1", 0, "is not an address of this machine; 0.0.0.0"),
    ],
)
def test_addresses_that_cannot_be_had_are_refused(host, port, message):
    with pytest.raises(InputError) as caught:
        server.bind(host, port)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_names_are_explained(monkeypatch):
    def fail(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(InputError, match="--host=gpu: there is no machine of this name"):
        server.bind("gpu", 80)


def test_ports_of_the_administrator_are_explained(monkeypatch):
    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(server, "_listen", refuse)
    with pytest.raises(InputError, match="--port=80 needs the rights of the administrator"):
        server.bind("127.0.0.1", 80)


def test_the_loopback_prints_a_link_and_a_tunnel():
    lines = server.printed_address("127.0.0.1", 8080, None).splitlines()
    assert lines[0] == "Open http://127.0.0.1:8080/"
    assert "ssh -L 8080:127.0.0.1:8080 " in lines[1]
    assert lines[1].endswith(socket.gethostname())
    lines = server.printed_address("[::1]", 9, "t").splitlines()
    assert lines[0] == "Open http://[::1]:9/?token=t"
    assert "ssh -L 9:[::1]:9 " in lines[1]


def test_all_addresses_print_names_that_others_can_use():
    text = server.printed_address("0.0.0.0", 8080, "t")
    assert f"Open http://{socket.gethostname()}:8080/?token=t\n" in text
    assert "http://localhost:8080/?token=t" in text
    assert "0.0.0.0:" not in text and "127.0.0.1:" not in text
    assert "Nothing is encrypted" in text
    assert "ssh -L 8080" not in text
