"""Serves the viewer to browsers."""

import contextlib
import errno
import getpass
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click
import psutil

from dnnlib import cli
from dnnlib.errors import InputError
from viz import browse
from viz.shared_renderer import SharedRenderer
from viz.view import View
from viz.web.options import ServeOptions, is_loopback
from viz.web.places import Places
from viz.web.served import Served
from viz.web.uploads import Uploads
from web_utils import browser_log
from web_utils.guard import SERVER_SETTINGS, Guard

if TYPE_CHECKING:
    import uvicorn

RECONNECT_SEC = 15  # a browser that was away for longer begins a new session
NUM_TRIED = 100  # ports, to name a free one
ALL_ADDRESSES = ("0.0.0.0", "::")


def serve(
    options: ServeOptions,
    networks: list[str],
    view: View,
    browse_dirs: Sequence[Path],
    device: str,
) -> None:
    """Serve the viewer until Ctrl-C.

    Args:
        options: How to serve.
        networks: Networks of the command line; the first is opened.
        view: The first view of a session, without its network.
        browse_dirs: Folders whose networks visitors may open.
        device: See `Renderer`.
    """
    import uvicorn
    from fastapi import FastAPI
    from nicegui import Client, ui

    from viz.web.page import Page
    from web_utils.connections import Connection

    listening = bind(options.host, options.port)
    browse_dirs = browse_dirs or browse.usual_folders()
    named = [*networks, *view.files.values()]
    served = Served(
        options,
        networks,
        view,
        browse_dirs,
        SharedRenderer(device, allow_untrusted=False, dataset_dirs=browse_dirs),
        Uploads(options.max_upload_bytes),
        Places(browse_dirs, named, options.allow_addresses),
    )
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @ui.page("/", title="Visualizer")
    def show(client: Client) -> None:
        Page(served, client)

    ui.run_with(
        app,
        show_welcome_message=False,
        reconnect_timeout=RECONNECT_SEC,
        tailwind=False,  # it leaves marks for each change of a class, and the page grows
    )
    browser_log.make_printable()
    guarded = Guard(app, token=options.token, max_upload_bytes=options.max_upload_bytes)
    port = listening.getsockname()[1]
    click.echo(printed_address(options.host, port, options.token))
    try:
        config = uvicorn.Config(guarded, http=Connection, **SERVER_SETTINGS)
        _run(uvicorn.Server(config), listening)
    finally:
        served.renderer.close()
        served.uploads.close()


def _run(server: "uvicorn.Server", listening: socket.socket) -> None:
    """Run until a signal ends the server."""
    hung_up = []

    def hang_up(number: int, frame: FrameType | None) -> None:
        hung_up.append(number)
        server.handle_exit(number, frame)

    # uvicorn ends at SIGINT and SIGTERM, and sends itself the signal again; SIGHUP is new to it.
    with cli.exit_when_terminated():
        if hasattr(signal, "SIGHUP") and not cli.is_ignored(signal.SIGHUP):
            signal.signal(signal.SIGHUP, hang_up)
        server.run(sockets=[listening])
    if hung_up:
        raise SystemExit(128 + hung_up[0])


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens; connections wait until the server takes them.

    Args:
        host: Name or address.
        port: Port; 0 for any free one.

    Raises:
        InputError: If this cannot be had; the line names the option.
    """
    host = host.strip("[]")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"--host={host}: there is no machine of this name ({reason}); "
            "127.0.0.1 is for this machine only, 0.0.0.0 for all of its addresses"
        ) from error
    # `ssh -L` and browsers try IPv4 if IPv6 does not answer, but not every program does.
    family, _, _, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
    try:
        return _listen(family, address)
    except OSError as error:
        raise InputError(_explain(error, host, port, family, address)) from error


def printed_address(host: str, port: int, token: str | None) -> str:
    """What to print when the server is ready: links, and how to reach it from elsewhere.

    Args:
        host: Name or address that the server is bound to.
        port: Port that it is bound to.
        token: What visitors have to know.
    """
    host = host.strip("[]")
    end = "/" if token is None else f"/?token={token}"
    names = _names_of_machine(host) if host in ALL_ADDRESSES else [host]
    links = [f"http://{_bracketed(name)}:{port}{end}" for name in names]
    lines = [f"Open {links[0]}", *(f"  or {link}" for link in links[1:])]
    if is_loopback(host):
        far = f"{port}:{_bracketed(host)}:{port} {_user()}{socket.gethostname()}"
        lines += [f"From another computer, first run there: ssh -L {far}"]
    else:
        lines += [
            "Whoever has this link can use the viewer. Nothing is encrypted on its way: in a "
            "network of strangers, use --host=127.0.0.1 and ssh -L instead."
        ]
    return "\n".join(lines)


def _listen(family: int, address: tuple) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "nt":  # there, the option of the other branch shares ports between programs
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)  # type: ignore[attr-defined]
        else:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # after a restart
        if family == socket.AF_INET6:
            with contextlib.suppress(OSError):  # `::` means IPv4, too, if the system can do this
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind(address)
        bound.listen(128)
    except BaseException:
        bound.close()
        raise
    return bound


def _explain(error: OSError, host: str, port: int, family: int, address: tuple) -> str:
    if error.errno == errno.EADDRINUSE:
        free = _next_free(port, family, address)
        advice = f"--port={free} is free" if free else "--port=0 takes any free port"
        return f"--port={port} is used by another program; {advice}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"--port={port} needs the rights of the administrator; ports from 1024 on do not"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host={host} is not an address of this machine; 0.0.0.0 stands for all of them"
    return f"--host={host} --port={port}: {error.strerror or error}"


def _next_free(port: int, family: int, address: tuple) -> int | None:
    for other in range(port + 1, min(port + 1 + NUM_TRIED, 65536)):
        with contextlib.suppress(OSError):
            _listen(family, (address[0], other, *address[2:])).close()
            return other
    return None


def _names_of_machine(host: str) -> list[str]:
    """Names and addresses under which other machines may reach this one, and its own."""
    families = {socket.AF_INET} if host == "0.0.0.0" else {socket.AF_INET, socket.AF_INET6}
    addresses = [
        entry.address
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family in families and "%" not in entry.address and not is_loopback(entry.address)
    ]
    return [socket.gethostname(), *dict.fromkeys(addresses), "localhost"]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _user() -> str:
    """The user before the name of a machine; empty if the system knows none."""
    try:
        return f"{getpass.getuser()}@"
    except (OSError, KeyError, ImportError):
        return ""
