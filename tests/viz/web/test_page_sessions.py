"""Sessions of the page of the viewer: links, keys, tokens, several browsers, lost servers."""

import re
from dataclasses import replace

import pytest

from tests.web_utils.browser import needs_browser, open_browser, wait_for
from viz import view_link
from viz.view import View

pytest.importorskip("nicegui", reason="needs requirements-web.txt")
pytest.importorskip("selenium", reason="needs selenium")

from selenium.webdriver.common.keys import Keys

from tests.viz.web.visitor import PICTURE, Visitor

pytestmark = [needs_browser, pytest.mark.slow]
KEYS_OF_SIMPLE = {
    *("##seed", "Drag", "Reset##latent", "##fraction", "##fraction/0", "##fraction/1"),
    *("##animate latent", "##speed", "Snap", "##psi", "Reset##truncation", "##cutoff"),
    *("##direction layers", "##direction layers/0", "##direction layers/1", "Reset##directions"),
    *("amounts", "##age", "0##age", "##sun", "0##sun"),
}

COUNT_MESSAGES = f"""
window.messages = [];
window.beats = 0;
window.socket.onAny((name) => messages.push(name));
{PICTURE}.link.socket.addEventListener("message", ({{ data }}) => {{
  if (data === "{{}}") beats++;
  else messages.push(data);
}});
"""


@pytest.fixture
def other(tmp_path, server, files):
    """A visitor with a browser of their own."""
    with open_browser(tmp_path / "profile") as browser:
        other = Visitor(browser, server.address)
        other.open()
        other.check(network=str(files / "t.pkl"))
        yield other


def test_loading_the_page_again_restores_the_view(visitor):
    visitor.enter("Latent/##seed", "12")
    visitor.enter("Truncation & noise/##psi", "0.5")
    visitor.check_link(x=12, truncation_psi=0.5)
    visitor.browser.refresh()
    visitor.check_link()
    visitor.shows("Latent/##seed", "12")


def test_a_link_with_everything(visitor, files):
    view = View(
        network=str(files / "run" / "named.pkl"),
        x=-1.5,
        y=2.25,
        class_idx=2,
        mix_seed=9,
        mix_layers=(0, 2, 3),
        truncation_psi=0.7,
        truncation_cutoff=2,
        noise_mode="random",
        noise_seed=4,
        layer="b8.conv1",
        channel=2,
        num_channels=1,
        normalize=True,
        gain_db=3,
        level=0.1,
        window=1.5,
        color_map="viridis",
        fft_range_db=(-50, 10),
        fft_beta=3,
        fft_all=False,
        force_fp32=True,
    )
    assert view_link.from_link(view_link.to_link(view)) == view
    visitor.open(view_link.to_link(view))
    visitor.view = view
    visitor.check_link()


def test_links_that_are_pasted_followed_back_and_wrong(visitor):
    visitor.check_link()
    before = visitor.view
    visitor.run("location.hash = arguments[0]", view_link.to_link(replace(before, x=5)))
    visitor.check_link(x=5)
    visitor.run("location.hash = 'seed=-3'")
    visitor.says("the link is wrong: #seed=-3: must be a whole number")
    visitor.check()
    assert visitor.fragment == "seed=-3"  # it can be mended there
    visitor.enter("Latent/##seed", "6")
    visitor.check_link(x=6)
    visitor.run("location.hash = arguments[0]", view_link.to_link(replace(before, x=7)))
    visitor.check_link(x=7)
    visitor.browser.back()
    visitor.check_link(x=6)


def test_keys(visitor):
    visitor.press(Keys.ARROW_RIGHT)
    visitor.check_link(x=1)
    visitor.press(Keys.ARROW_DOWN)
    visitor.check_link(y=1)
    visitor.press(Keys.CONTROL, "z")
    visitor.check(y=0)
    visitor.press(Keys.CONTROL, "z")
    visitor.check(x=0)
    visitor.press(Keys.CONTROL, "y")
    visitor.check_link(x=1)
    visitor.click("Latent/##seed", "input")
    visitor.press(Keys.ARROW_RIGHT)
    visitor.press(Keys.CONTROL, "z")
    visitor.check_link()
    visitor.run("document.activeElement.blur()")
    visitor.press(Keys.F1)
    wait_for(lambda: [e for e in visitor.all(".q-dialog") if "redo" in e.text])


def test_a_drag_is_one_step(visitor):
    slider = visitor.find("Truncation & noise/##psi", ".q-slider")
    box = slider.rect
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    visitor.check_link()
    visitor.mouse("mousePressed", x, y, "left")
    visitor.mouse("mouseMoved", x + 20, y, "left")
    half = visitor.take_link()  # the mouse rests
    visitor.mouse("mouseMoved", x + 40, y, "left")
    visitor.mouse("mouseReleased", x + 40, y, "left")
    assert visitor.take_link().truncation_psi > half.truncation_psi
    visitor.run("document.activeElement.blur()")
    visitor.press(Keys.CONTROL, "z")
    visitor.check_link(truncation_psi=1)


def test_two_browsers_do_not_disturb_each_other(visitor, other):
    visitor.enter("Latent/##seed", "3")
    other.enter("Latent/##seed", "4")
    other.click("Layers & channels/FFT", ".q-checkbox")
    visitor.check_link(x=3)
    other.check_link(x=4, fft=True)
    other.press(Keys.CONTROL, "z")
    other.press(Keys.CONTROL, "z")
    other.check_link(x=0, fft=False)
    visitor.check()


def test_a_full_server_says_so_and_goes_on_when_there_is_room(visit, start_server, files, tmp_path):
    server = start_server("--max-sessions=1", files / "t.pkl")
    visitor = visit(server)
    visitor.check(network=str(files / "t.pkl"))
    with open_browser(tmp_path / "profile") as browser:
        other = Visitor(browser, server.address)
        other.open("seed=3")
        other.tells("1 browsers show this viewer, which is the limit of --max-sessions")
        visitor.browser.get("about:blank")
        other.check(network=str(files / "t.pkl"), x=3)


def test_a_token_is_asked_for(visit, start_server, files):
    server = start_server("--token", files / "t.pkl")
    visitor = visit(server)
    assert "asks for a token" in visitor.run("return document.body.textContent")
    visitor.go(f"{server.address}/?token=wrong")
    assert "not the token" in visitor.run("return document.body.textContent")
    visitor.go(f"{server.link}#seed=4")
    visitor.check_link(network=str(files / "t.pkl"), x=4)
    assert "token" not in visitor.run("return location.href")


def test_a_killed_renderer_is_replaced(visit, start_server, files):
    server = start_server(files / "t.pkl")
    visitor = visit(server)
    visitor.check(network=str(files / "t.pkl"))
    (renderer,) = server.renderers
    renderer.kill()
    renderer.wait(60)
    visitor.press(Keys.ARROW_RIGHT)
    wait_for(lambda: visitor.shows_view(replace(visitor.view, x=1)) or "SIGKILL" in visitor.message)
    visitor.press(Keys.ARROW_RIGHT)
    visitor.check_link(x=2)


def test_a_restarted_server_is_found_again(visit, start_server, files):
    server = start_server(files / "t.pkl")
    visitor = visit(server)
    visitor.check(network=str(files / "t.pkl"))
    visitor.enter("Latent/##seed", "8")
    visitor.check_link(x=8)
    server.kill()
    wait_for(lambda: visitor.all(".picture-lost"))
    server.start()
    visitor.run("window.isOld = true")
    wait_for(lambda: not visitor.run("return window.isOld"))
    visitor.check_link()


def test_simple_has_few_controls_and_links_get_at_no_more(visit, start_server, files):
    server = start_server("--simple", f"--directions={files / 'd.npz'}", files / "t.pkl")
    visitor = visit(server, f"seed=3&layer=L1_36_8&network={files / 'gray.pkl'}&fft=1&trunc=0.5")
    wanted = dict(network=str(files / "t.pkl"), directions=str(files / "d.npz"))
    visitor.check(**wanted, x=3, truncation_psi=0.5)
    visitor.enter("/##age", "2")
    visitor.check(amounts=(("age", 2.0),))
    keys = {e.get_attribute("data-key") for e in visitor.all("[data-key]")}
    assert {key.removeprefix("/") for key in keys if "##line" not in key} - {""} == KEYS_OF_SIMPLE
    assert not visitor.all("input[type=file]")
    assert "t.pkl" not in visitor.fragment


def test_a_phone(visit, server, files):
    visitor = visit(server, size=(390, 844), is_phone=True)
    visitor.check(network=str(files / "t.pkl"))
    assert visitor.run("return document.documentElement.scrollWidth") <= 390
    panes = visitor.all(".viewer-panes")[0]
    assert panes.rect["y"] > visitor.all(".picture-canvas")[0].rect["y"] + 300
    assert panes.rect["x"] + panes.rect["width"] <= 390
    x, y = visitor.on_page(8, 8)
    visitor.touch("touchStart", (x, y))
    for step in (10, 20, 40):
        visitor.touch("touchMove", (x + step, y))
    visitor.touch("touchEnd")
    assert visitor.take_link().x > 0
    visitor.touch("touchStart", (x - 20, y), (x + 20, y))
    visitor.touch("touchMove", (x - 80, y), (x + 80, y))
    visitor.touch("touchEnd")
    visitor.says("enlarged")


def test_an_idle_page_sends_and_draws_nothing(visitor):
    visitor.check_link()
    visitor.run(COUNT_MESSAGES)
    wait_for(lambda: visitor.run("return beats") >= 1)  # every four seconds
    assert visitor.run("return messages") == []
    visitor.enter("Latent/##seed", "1")
    visitor.check(x=1)
    assert visitor.run("return messages")


def test_texts_are_never_cut(visitor):
    visitor.enter("Network/##network", "/" + "long/" * 60 + "net.pkl")
    visitor.says("is outside of --browse-dir")
    (status,) = visitor.all(".picture-status")
    sizes = [status.get_property(f"{kind}Height") for kind in ("scroll", "client")]
    assert sizes[0] == sizes[1] > 40 and re.search(
        r"visitors may open files in \S+$", visitor.status
    )
