"""The page of the viewer in headless Chromium: what a visitor does, and what is shown then."""

import numpy as np
import pytest

from tests.web_utils.browser import needs_browser, wait_for

pytest.importorskip("nicegui", reason="needs requirements-web.txt")
pytest.importorskip("selenium", reason="needs selenium")

from selenium.webdriver.common.keys import Keys

pytestmark = [needs_browser, pytest.mark.slow]


def test_the_picture_is_exact_and_no_other_host_is_asked(visitor, files):
    visitor.check_link(network=str(files / "t.pkl"))
    wait_for(lambda: visitor.browser.title == "t.pkl - Visualizer")
    visitor.says("16x16, ")
    urls = visitor.run("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert urls and all(url.startswith(visitor.address) for url in urls)


def test_the_picture_is_dragged_and_zoomed(visitor):
    before = visitor.check()
    visitor.pull((4, 4), (8, 6))
    view = visitor.take_link()
    assert view.x > 0 and view.y > 0 and view.x == pytest.approx(2 * view.y)
    assert not np.array_equal(visitor.check(), before)
    x, y = visitor.on_page(8, 8)
    visitor.mouse("mouseWheel", x, y, deltaX=0, deltaY=-300)
    visitor.says("enlarged")
    for count in (1, 2):
        for kind in ("mousePressed", "mouseReleased"):
            visitor.mouse(kind, x, y, "left", clickCount=count)
    wait_for(lambda: "enlarged" not in visitor.status)
    visitor.check_link()


def test_latent_pane(visitor):
    visitor.enter("Latent/##seed", "1234")
    visitor.check(x=1234)
    visitor.click("Latent/##seed", "[aria-label$='more']")
    visitor.check(x=1235)
    visitor.click("Latent/##seed", "[aria-label$='less']")
    visitor.check_link(x=1234)
    visitor.enter("Latent/##fraction/0", "0.25")
    visitor.check(x=1234.25)
    visitor.enter("Latent/##fraction/1", "0.5")
    visitor.check(y=0.5)
    visitor.click("Latent/Snap")
    visitor.check(x=1234, y=0)
    visitor.drag(visitor.find("Latent/Drag"), 65, 130)  # 13 pixels are an em
    visitor.check_link(x=1234.5, y=1)
    visitor.drag(visitor.find("Latent/##fraction/0", ".q-slider"), 20)
    assert visitor.take_link().x > 1234.5
    visitor.click("Latent/Reset##latent")
    visitor.check_link(x=0, y=0)


def test_latents_move_and_stop(visitor):
    visitor.enter("Latent/##speed", "1")
    visitor.click("Latent/##animate latent")
    first = visitor.picture()
    wait_for(lambda: not np.array_equal(visitor.picture(), first))
    visitor.click("Latent/##animate latent")
    assert visitor.take_link().x > 0


def test_mixing_pane(visitor):
    visitor.click("Style mixing/All##mixing")
    visitor.check(mix_layers=tuple(range(7)))
    visitor.enter("Style mixing/##mix seed", "5")
    visitor.check(mix_seed=5)
    visitor.click("Style mixing/None##mixing")
    visitor.check(mix_layers=())
    visitor.click("Style mixing/coarse##mixing")
    visitor.check(mix_layers=(0, 1, 2))
    visitor.click("Style mixing/1##mix")
    visitor.check_link(mix_layers=(0, 2))
    visitor.click("Style mixing/Animate##mixing")
    wait_for(lambda: visitor.find("Style mixing/##mix seed", "input").get_property("value") != "5")
    visitor.click("Style mixing/Animate##mixing")
    assert visitor.take_link().mix_seed > 5


def test_truncation_pane(visitor):
    visitor.enter("Truncation & noise/##psi", "0.5")
    visitor.check(truncation_psi=0.5)
    visitor.enter("Truncation & noise/##cutoff", "3")
    visitor.check(truncation_cutoff=3)
    visitor.drag(visitor.find("Truncation & noise/##psi", ".q-slider"), 30)
    psi = visitor.take_link().truncation_psi
    assert psi != 0.5
    visitor.click("Truncation & noise/Reset##truncation")
    visitor.check_link(truncation_psi=1, truncation_cutoff=None)
    assert not visitor.find("Truncation & noise/On##noise", "input").is_enabled()


def test_noise_and_classes(visitor, files):
    visitor.enter("Network/##network", str(files / "run" / "named.pkl"))
    stored = visitor.check_link(network=str(files / "run" / "named.pkl"))
    visitor.click("Truncation & noise/On##noise")
    assert not np.array_equal(visitor.check(noise_mode="none"), stored)
    visitor.click("Truncation & noise/Random")
    assert not np.array_equal(visitor.check(noise_mode="random"), stored)
    visitor.enter("Truncation & noise/##noise seed", "3")
    visitor.check_link(noise_seed=3)
    visitor.click("Truncation & noise/Animate##noise")
    wait_for(lambda: visitor.find("Truncation & noise/##noise seed", "input").get_property("value") != "3")
    visitor.click("Truncation & noise/Random")
    visitor.take_link()
    visitor.enter("Latent/##class", "1")
    visitor.check(class_idx=1)
    visitor.click("Latent/##class", "[aria-label$='more']")
    visitor.check(class_idx=2)
    visitor.click("Latent/##class", "[aria-label$='more']")  # there are three
    visitor.click("Latent/##class name", "button")
    wait_for(lambda: visitor.run("return document.activeElement.placeholder") == "search")
    visitor.press("DO")
    visitor.press(Keys.ENTER)
    visitor.check_link(class_idx=1)
