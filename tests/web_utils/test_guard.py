"""The guard, attacked.

- A token is guessed, many at once, from many addresses; it is looked for in logs and in pages.
- Old cookies, cookies of other ports, a cookie in place of the token.
- Pages of other servers ask, open sockets, post forms, embed the page, point names at 127.0.0.1.
- Bodies that are larger than announced, endless, of many requests at once; large messages.
- A visitor floods; a visitor has many addresses.
- Users who do nothing wrong: links in chats, `ssh -L` with other ports, scripts, bookmarks.
"""

import asyncio
import re

import pytest

from tests.web_utils.browsing import PAGE, Answer, Application, ask, connect
from web_utils import bodies, guard, rates
from web_utils.guard import Guard

SECRET = "s3cret-of-43-characters"
UPLOAD = "/_nicegui/client/1234/upload/7"
ORIGIN = "http://localhost:8080"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def inside():
    return Application()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def closed(inside, clock):
    """A guard that asks for a token."""
    return Guard(inside, token=SECRET, max_upload_bytes=4 * 2**20, clock=clock)


@pytest.fixture
def local(inside, clock):
    """A guard on the loopback."""
    return Guard(inside, token=None, max_upload_bytes=4 * 2**20, clock=clock)


def cookie_of(answer: Answer) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


# Token


def test_without_a_token_nobody_enters(closed, inside):
    for url in ("/", "/_nicegui/static/x.js", UPLOAD, "/_nicegui_ws/socket.io/?EIO=4"):
        for method in ("GET", "HEAD", "POST", "OPTIONS", "PUT", "TRACE"):
            answer = ask(closed, url, method, body=[b"x"])
            assert answer.status == 403
            assert answer.headers["connection"] == "close"
        assert connect(closed, url, origin=ORIGIN).status == 1008
    assert inside.scopes == [] and inside.received == []


def test_the_refusal_says_what_to_do_and_nothing_else(closed):
    answer = ask(closed, **PAGE)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert b"open the whole link" in answer.body
    assert SECRET.encode() not in answer.body
    wrong = ask(closed, "/?token=<script>alert(1)</script>", **PAGE)
    assert wrong.status == 403
    assert b"script" not in wrong.body
    assert ask(closed).headers["content-type"].startswith("text/plain")


def test_the_link_gives_a_cookie_and_a_clean_address(closed, inside):
    answer = ask(closed, f"/?a=1&token={SECRET}", **PAGE)
    assert answer.status == 200 and inside.scopes == []
    assert re.fullmatch(
        r"token-8080=[\w-]{43}; HttpOnly; SameSite=Lax; Path=/", answer.headers["set-cookie"]
    )
    assert SECRET not in str(answer)
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert ask(closed, cookie=cookie_of(answer), **PAGE).body == b"inside"
    assert (
        connect(closed, cookie=cookie_of(answer), origin=ORIGIN).sent[0]["type"].endswith("accept")
    )


def test_a_bookmark_of_an_old_link_enters_with_the_cookie(closed):
    cookie = cookie_of(ask(closed, f"/?token={SECRET}", **PAGE))
    assert "set-cookie" in ask(closed, "/?token=old", cookie=cookie, **PAGE).headers


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_scripts_may_send_the_token_each_time(closed, inside, method):
    assert ask(closed, f"/x?token={SECRET}&b=2", method).body == b"inside"
    assert connect(closed, f"/x?token={SECRET}&b=2").status is None
    assert [scope["query_string"] for scope in inside.scopes] == [b"b=2", b"b=2"]


@pytest.mark.parametrize(
    "query", ["token={}", "a=1&token={}&b=2", "%74oken={}", "token=x&token={}", "&&token={}&token"]
)
def test_what_servers_log_has_no_token(closed, query):
    url = "/?" + query.format(SECRET)
    for answer in (ask(closed, url), ask(closed, url, **PAGE), connect(closed, url)):
        assert b"oken" not in answer.scope["query_string"]


def test_wrong_tokens_are_refused(closed, inside):
    wrong = [
        SECRET[:-1],
        SECRET + "a",
        SECRET.upper(),
        "",
        "%00",
        "%ff" * 50,
        SECRET.encode().hex(),
    ]
    for token in wrong:
        assert ask(closed, f"/?token={token}").status == 403
    assert inside.scopes == []


def test_one_request_is_one_try(closed, inside):
    tokens = "&".join(f"token={token}" for token in ("a", "b", SECRET))
    assert ask(closed, f"/?{tokens}").status == 403
    assert inside.scopes == []


def test_wrong_tokens_are_limited_for_each_address(closed, clock):
    cookie = cookie_of(ask(closed, f"/?token={SECRET}", **PAGE))
    most = guard.WRONG_TOKENS[0]
    tries = [ask(closed, f"/?token={n}", client="10.0.0.1").status for n in range(most + 1)]
    assert tries == [403] * most + [429]
    late = ask(closed, "/?token=x", client="10.0.0.1")
    assert (late.status, late.headers["retry-after"]) == (429, "10")
    assert ask(closed, cookie=cookie, client="10.0.0.1").status == 200  # whoever is inside
    assert ask(closed, f"/?token={SECRET}", client="10.0.0.1").status == 200
    assert ask(closed, "/?token=x", client="10.0.0.2").status == 403
    clock.now += 11
    assert ask(closed, "/?token=x", client="10.0.0.1").status == 403


def test_wrong_tokens_are_limited_in_all(closed):
    most = guard.ALL_WRONG_TOKENS[0]
    tries = [ask(closed, f"/?token={n}", client=f"10.0.1.{n}").status for n in range(most + 1)]
    assert tries == [403] * most + [429]
    assert ask(closed, f"/?token={SECRET}", client="10.0.2.1").status == 200


def test_all_addresses_of_a_network_of_ipv6_are_one_visitor(closed):
    tries = [
        ask(closed, f"/?token={n}", client=f"2001:db8::{n:x}").status
        for n in range(guard.WRONG_TOKENS[0] + 1)
    ]
    assert tries[-1] == 429
    assert ask(closed, "/?token=x", client="2001:db8:0:1::1").status == 403
    assert ask(closed, "/?token=x", client="::ffff:10.0.0.1").status == 403
    assert ask(closed, "/?token=x", client="fe80::1%eth0").status == 403


def test_old_tabs_use_up_no_tries(closed):
    for _ in range(100):
        assert ask(closed, cookie="token-8080=of-the-server-before").status == 403
    assert ask(closed, f"/?token={SECRET}").status == 200


@pytest.mark.parametrize(
    "cookie",
    [
        f"token-8080={SECRET}",
        "token-8080=",
        "token-8080",
        "{name}-other={value}",
        "token-8081={value}",
        "{name}={value}x",
        '{name}="{value}"',
        "{name}=\xff",
    ],
)
def test_other_cookies_are_refused(closed, cookie):
    name, _, value = cookie_of(ask(closed, f"/?token={SECRET}", **PAGE)).partition("=")
    assert ask(closed, cookie=cookie.format(name=name, value=value)).status == 403
    assert ask(closed, cookie=f"a=b;{name}=wrong; {name}={value}").status == 200


def test_ports_that_a_tunnel_gives_have_cookies_of_their_own(closed):
    for host, name in [("localhost:9000", "9000"), ("[::1]:9001", "9001"), ("gpu.example", "80")]:
        answer = ask(closed, f"/?token={SECRET}", host=host, **PAGE)
        assert cookie_of(answer).startswith(f"token-{name}=")
        assert ask(closed, host=host, cookie=cookie_of(answer)).status == 200


def test_servers_have_different_cookies(inside):
    first, second = (Guard(inside, token=SECRET) for _ in range(2))
    cookie = cookie_of(ask(first, f"/?token={SECRET}", **PAGE))
    assert ask(second, cookie=cookie).status == 403


# Other pages


LOCAL = ["localhost", "LOCALHOST:8080", "localhost:1", "127.0.0.1:8080", "127.8.8.8"]
LOCAL += ["[::1]:8080", "viewer.localhost:8080"]
OTHER = [None, "", "evil.example", "evil.example:8080", "localhost.evil.example", "notlocalhost"]
OTHER += ["127.0.0.1.evil.example", "127.evil.example", "10.0.0.1:8080", "0.0.0.0", "[::]:8080"]
OTHER += ["localhost:8080@evil.example", "evil.example#localhost", "localhost ", "localhost,evil"]
OTHER += ["localhost\n", "١٢٧.0.0.1".encode().decode("latin-1"), ".localhost", "::1"]
FOREIGN = ["http://evil.example", "http://localhost:8081", "http://127.0.0.1:8080", "null"]
FOREIGN += ["http://localhost:8080.evil.example", "file://", "ftp://localhost:8080"]
FOREIGN += ["localhost:8080"]


@pytest.mark.parametrize("host", LOCAL)
def test_names_of_the_loopback_are_accepted(local, host):
    assert ask(local, host=host).status == 200
    assert connect(local, host=host, origin=f"http://{host}").sent


@pytest.mark.parametrize("host", OTHER)
def test_other_names_need_a_token(local, closed, inside, host):
    refused = ask(local, host=host)
    assert refused.status == 403 and b"--token" in refused.body
    assert refused.body.count(b"\n") == 0
    assert inside.scopes == []
    assert ask(closed, f"/?token={SECRET}", host=host).status == 200


def test_a_second_host_is_refused(local):
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "client": None}
    scope["headers"] = [(b"host", b"localhost"), (b"host", b"evil.example")]
    with pytest.raises(guard.Refusal, match="localhost only"):
        local._check(scope, [])


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
def test_requests_of_other_pages_are_refused(local, closed, inside, origin, method):
    cookie = cookie_of(ask(closed, f"/?token={SECRET}", **PAGE))
    assert ask(local, "/x", method, origin=origin).status == 403
    assert ask(closed, "/x", method, origin=origin, cookie=cookie).status == 403
    assert connect(local, origin=origin).status == 1008
    assert connect(closed, origin=origin, cookie=cookie).status == 1008
    assert connect(closed, f"/?token={SECRET}", origin=origin).status == 1008
    assert inside.scopes == []


def test_requests_of_the_page_itself_are_passed_on(local):
    for method in ("GET", "HEAD", "POST"):
        assert ask(local, "/x", method, origin=ORIGIN, sec_fetch_site="same-origin").status == 200
    assert ask(local, "/x", "POST").status == 200  # curl
    assert ask(local, host="localhost:9000", origin="http://localhost:9000").status == 200
    assert ask(local, host="localhost", origin="https://LOCALHOST").status == 200


def test_sockets_without_an_origin_need_the_token(local, inside):
    assert connect(local).status == 1008
    assert inside.scopes == []


def test_links_of_other_sites_reach_the_page_with_the_cookie(closed):
    cookie = cookie_of(ask(closed, f"/?token={SECRET}", **PAGE))
    assert ask(closed, cookie=cookie, sec_fetch_site="cross-site", **PAGE).status == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_pages_may_link_but_not_embed(local, inside, site):
    assert ask(local, sec_fetch_site=site, **PAGE).status == 200
    for mode, place in [("no-cors", "image"), ("navigate", "iframe"), ("cors", "empty"), ("", "")]:
        answer = ask(local, sec_fetch_site=site, sec_fetch_mode=mode, sec_fetch_dest=place)
        assert answer.status == 403
    assert ask(local, "/", "POST", sec_fetch_site=site, **PAGE).status == 403
    assert len(inside.scopes) == 1


def test_every_answer_has_the_headers(local, closed):
    for answer in (ask(local), ask(local, host="evil.example"), ask(closed)):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_headers_of_the_application_win(clock):
    async def app(scope, receive, send):
        headers = [(b"Cache-Control", b"max-age=9")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    answer = ask(Guard(app, token=None, clock=clock))
    assert [v for k, v in answer.headers.items() if k.lower() == "cache-control"] == ["max-age=9"]


# Limits


def test_a_flood_of_requests_is_limited(local, clock):
    for _ in range(guard.REQUESTS[0]):
        assert ask(local, "/x").status == 200
    assert ask(local, "/x").status == 429
    assert ask(local, "/x", client="10.0.0.1").status == 200
    clock.now += 1
    assert ask(local, "/x").status == 200


def test_a_flood_of_pages_is_limited(local, closed, clock, inside):
    for _ in range(guard.PAGES[0]):
        assert ask(local, "/?a=1").status == 200
    late = ask(local)
    assert (late.status, late.headers["retry-after"]) == (429, "1")
    assert len(inside.scopes) == guard.PAGES[0]
    assert ask(local, "/x").status == ask(local, client="10.0.0.1").status == 200
    assert connect(local, origin=ORIGIN).status is None
    clock.now += 1
    assert ask(local).status == 200


def test_pages_that_are_refused_use_up_nothing(closed):
    for _ in range(guard.PAGES[0] + 1):
        assert ask(closed).status == 403
    assert ask(closed, f"/?token={SECRET}").status == 200


def test_an_announced_body_is_refused_before_it_comes(local, inside):
    for url, size in [("/x", bodies.MAX_BODY_BYTES + 1), (UPLOAD, 5 * 2**20), ("/x", 10**30)]:
        answer = ask(local, url, "POST", content_length=str(size))
        assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert inside.scopes == []


@pytest.mark.parametrize(
    ("url", "most"),
    [("/x", 2**20), (UPLOAD, 4 * 2**20 + bodies.FORM_BYTES), (UPLOAD + "/x", 2**20)],
)
def test_a_body_ends_at_the_limit(local, inside, url, most):
    part = bytes(2**16)
    fitting = [part] * (most // len(part))
    assert ask(local, url, "POST", fitting).body == b"inside"
    inside.received.clear()
    assert ask(local, url, "POST", [*fitting, part], content_length="1").status == 413
    assert sum(len(message.get("body", b"")) for message in inside.received) == most
    assert inside.received[-1] == {"type": "http.disconnect"}


def test_without_uploads_they_are_small_requests(inside):
    app = Guard(inside, token=None)
    assert ask(app, UPLOAD, "POST", content_length=str(2**20 + 1)).status == 413


def test_running_uploads_share_a_limit():
    statuses = []

    async def app(scope, receive, send):
        """While an upload runs, another one begins, up to three."""
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            raise RuntimeError("the visitor is gone")
        if len(statuses) < 3:
            statuses.append(None)
            answer = await asyncio.to_thread(ask, shared, UPLOAD, "POST", [bytes(2**20)] * 3)
            statuses.append(answer.status)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    shared = Guard(app, token=None, max_upload_bytes=3 * 2**20)
    assert ask(shared, UPLOAD, "POST", [bytes(2**20)] * 3).status == 200
    assert [status for status in statuses if status] == [503, 200]
    assert ask(shared, UPLOAD, "POST", [bytes(2**20)] * 5).status == 413
    assert shared._bodies._running_bytes == 0
    assert ask(shared, UPLOAD, "POST", [bytes(2**20)] * 3).status == 200


def test_errors_of_the_application_come_through(clock):
    async def app(scope, receive, send):
        raise LookupError("a bug")

    with pytest.raises(LookupError):
        ask(Guard(app, token=None, clock=clock))


@pytest.mark.parametrize("message", [bytes(bodies.MAX_MESSAGE_BYTES + 1), "x" * 2**21])
def test_a_large_message_closes_the_socket(local, inside, message):
    answer = connect(local, messages=["small", message, "after"], origin=ORIGIN)
    assert answer.status == 1009
    assert [m.get("text") for m in inside.received] == ["small"]


def test_a_flood_of_messages_waits(local, inside, clock, monkeypatch):
    waited = []

    async def sleep(sec):
        waited.append(sec)
        clock.now += sec

    monkeypatch.setattr(bodies.asyncio, "sleep", sleep)
    count = bodies.MESSAGES[0] + 300
    connect(local, messages=["x"] * count, origin=ORIGIN)
    assert len(inside.received) == count  # none is lost
    assert sum(waited) == pytest.approx(1)


def test_the_memory_of_limits_is_bounded(clock):
    limits = rates.Rates(2, 1, clock)
    for n in range(rates.MAX_SOURCES + 100):
        limits.take(str(n))
    assert len(limits._rates) == rates.MAX_SOURCES
    last = str(rates.MAX_SOURCES + 99)
    assert limits.take(last) == 0
    assert limits.take(last) == limits.wait_sec(last) == 1
    assert limits.wait_sec("0") == 0
    clock.now += 0.5
    assert limits.wait_sec(last) == 0.5
