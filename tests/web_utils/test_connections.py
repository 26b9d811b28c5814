"""Connections that ask for nothing, and too many of them, at a real server."""

import socket
import threading

import pytest

uvicorn = pytest.importorskip("uvicorn", reason="needs requirements-web.txt")

from tests.web_utils.browser import TIMEOUT_SEC, wait_for  # noqa: E402
from tests.web_utils.browsing import Application  # noqa: E402
from web_utils import connections  # noqa: E402

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)


@pytest.fixture
def server():
    config = uvicorn.Config(
        Application(), http=connections.Connection, lifespan="off", log_level="error"
    )
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    wait_for(lambda: server.started)
    server.address = listening.getsockname()
    yield server
    server.should_exit = True
    thread.join(TIMEOUT_SEC)
    assert not thread.is_alive()


def connect(server, data: bytes = b"") -> socket.socket:
    connection = socket.create_connection(server.address, TIMEOUT_SEC)
    connection.sendall(data)
    return connection


def is_closed(connection: socket.socket) -> bool:
    """Wait until the server closes a connection without an answer."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def read_answer(connection: socket.socket, end: bytes = b"inside\r\n0\r\n\r\n") -> bytes:
    """Read an answer of `Application`."""
    answer = b""
    while not answer.endswith(end):
        part = connection.recv(999)
        assert part, answer
        answer += part
    return answer


def test_connections_without_a_request_are_closed(server, monkeypatch):
    monkeypatch.setattr(connections, "FIRST_REQUEST_SEC", 0.2)
    with connect(server) as silent, connect(server, b"GET / HTTP/1.1\r\nHost:") as slow:
        assert is_closed(silent) and is_closed(slow)
    wait_for(lambda: not server.server_state.connections)


def test_connections_with_a_request_stay(server, monkeypatch):
    monkeypatch.setattr(connections, "FIRST_REQUEST_SEC", 1)
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with connect(server, UPGRADE) as web_socket, connect(server, request) as asking:
        assert read_answer(web_socket, b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        assert read_answer(asking).startswith(b"HTTP/1.1 200 ")
        with connect(server) as later:
            assert is_closed(later)  # so the limit of the others is over, too
        asking.sendall(request)
        assert read_answer(asking).startswith(b"HTTP/1.1 200 ")
        web_socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            web_socket.recv(1)


def test_an_address_has_some_connections(server, monkeypatch):
    monkeypatch.setattr(connections, "MAX_OF_ADDRESS", 2)
    with connect(server, UPGRADE) as first, connect(server) as second:
        wait_for(lambda: len(server.server_state.connections) == 2)
        with connect(server) as third:
            assert is_closed(third)
        second.close()
        wait_for(lambda: len(server.server_state.connections) == 1)
        with connect(server, UPGRADE) as fourth:
            assert first.recv(99) and fourth.recv(99).startswith(b"HTTP/1.1 101 ")
