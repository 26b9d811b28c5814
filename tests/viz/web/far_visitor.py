"""A visitor on another machine: python -m tests.viz.web.far_visitor ask|look LINK

Prints what the visitor got, as JSON. `ask` asks for the page and for its web socket as a script;
`look` opens the page in Chromium.
"""

import json
import sys
import urllib.error
import urllib.parse
import urllib.request

SOCKET = "/_nicegui_ws/socket.io/"
TIMEOUT_SEC = 30


def ask(link: str) -> dict[str, int | str]:
    """Status and text of the page, and what the socket says first; or why there is no answer."""
    try:
        with urllib.request.urlopen(link, timeout=TIMEOUT_SEC) as answer:
            status, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read().decode()
    except OSError as error:
        return {"error": str(error)}
    return {"status": status, "text": text, "socket": _first_message(link)}


def look(link: str) -> dict[str, int | str]:
    """The status line, and how many values the pixels of the picture have."""
    from benchmarks.viewer_page import open_page

    with open_page(link, (1000, 700)) as page:
        line = page.script("return document.querySelector('.picture-status').textContent")
        return {
            "line": line,
            "address": page.script("return location.href"),
            "num_values": len(set(page.pixels().split(","))),
        }


def _first_message(link: str) -> str:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    parts = urllib.parse.urlsplit(link)
    query = "&".join(filter(None, ["EIO=4&transport=websocket", parts.query]))
    address = f"ws://{parts.netloc}{SOCKET}?{query}"
    try:
        with connect(address, open_timeout=TIMEOUT_SEC) as socket:
            return str(socket.recv(timeout=TIMEOUT_SEC))
    except InvalidStatus as error:
        return f"refused with {error.response.status_code}"


if __name__ == "__main__":
    command, link = sys.argv[1:]
    print(json.dumps({"ask": ask, "look": look}[command](link)))
