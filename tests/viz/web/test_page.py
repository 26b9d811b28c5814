"""The page of the viewer in headless Chromium: what a visitor does, and what is shown then."""

import pickle

import numpy as np
import PIL.Image
import pytest
import torch

from generation import latent_files
from tests.web_utils.browser import needs_browser, wait_for
from viz import color_maps

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
    view = visitor.take_link()
    assert (view.x, view.y) == pytest.approx((1234.5, 1))
    visitor.drag(visitor.find("Latent/##fraction/0", ".q-slider"), 20)
    assert visitor.take_link().x > 1234.5
    visitor.click("Latent/Reset##latent")
    visitor.check_link(x=0, y=0)


def test_latents_move_and_stop(visitor):
    visitor.enter("Latent/##speed", "1")
    visitor.click("Latent/##animate latent")
    before = visitor.expected(visitor.view)
    wait_for(lambda: not np.array_equal(visitor.picture(), before))
    visitor.click("Latent/##animate latent")
    assert visitor.take_link().x > 0


def test_mixing_pane(visitor):
    visitor.click("Style mixing/All##mixing")
    visitor.check(mix_layers=tuple(range(6)))
    visitor.enter("Style mixing/##mix seed", "5")
    visitor.check(mix_seed=5)
    visitor.click("Style mixing/None##mixing")
    visitor.check(mix_layers=())
    visitor.click("Style mixing/coarse##mixing")
    visitor.check(mix_layers=(0, 1))
    visitor.click("Style mixing/1##mix")
    visitor.check_link(mix_layers=(0,))
    visitor.click("Style mixing/Animate##mixing")
    wait_for(lambda: visitor.value("Style mixing/##mix seed") != "5")
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
    noise = visitor.find("Truncation & noise/On##noise", "[role=checkbox]")
    assert noise.get_attribute("aria-disabled") == "true"


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
    wait_for(lambda: visitor.value("Truncation & noise/##noise seed") != "3")
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


def test_layers_pane(visitor):
    image = visitor.check()
    first_cells = '[data-key="Layers & channels/layers"] [data-idx] > :first-child'
    names = [cell.text for cell in visitor.all(first_cells)]
    assert names[0] == "image" and len(names) > 4
    visitor.find("Layers & channels/layers", "[data-idx='2']").click()
    layer = visitor.check(layer=names[2])
    assert not np.array_equal(layer, image)
    visitor.enter("Layers & channels/##channel", "4")
    visitor.check(channel=4)
    visitor.click("Layers & channels/1##channels", ".q-radio")
    visitor.check(num_channels=1)
    visitor.enter("Layers & channels/##gain", "6")
    visitor.check(gain_db=6)
    visitor.click("Layers & channels/Normalise", ".q-checkbox")
    visitor.check(normalize=True)
    visitor.enter("Layers & channels/##window/0", "0.25")
    visitor.check(level=0.25)
    visitor.enter("Layers & channels/##window/1", "0.5")
    visitor.check(window=0.5)
    visitor.find("Layers & channels/##colours", "select").send_keys(Keys.ARROW_DOWN)
    visitor.check_link(color_map=color_maps.NAMES[1])
    visitor.find("Layers & channels/layers", "[role=listbox]").send_keys(Keys.ARROW_UP)
    visitor.check(layer=names[1])
    visitor.click("Layers & channels/3##channels", ".q-radio")
    visitor.check_link(num_channels=3)


def test_spectrum(visitor):
    before = visitor.check()
    visitor.click("Layers & channels/FFT", ".q-checkbox")
    assert not np.array_equal(visitor.check(fft=True), before)
    visitor.enter("Layers & channels/##range/0", "-60")
    visitor.check(fft_range_db=(-60, 20))
    visitor.enter("Layers & channels/##range/1", "30")
    visitor.check(fft_range_db=(-60, 30))
    visitor.enter("Layers & channels/##beta", "2")
    visitor.check(fft_beta=2)
    visitor.find("Layers & channels/##colours", "select").send_keys(Keys.ARROW_DOWN)
    visitor.check_link(color_map=color_maps.NAMES[1])
    visitor.find("Layers & channels/layers", "[data-idx='3']").click()
    layer = visitor.take_link().layer
    visitor.click("Layers & channels/All channels", ".q-checkbox")
    visitor.check_link(fft_all=False, layer=layer)


def test_equivariance_pane(visitor):
    visitor.enter("Equivariance/##translate/0", "0.25")
    visitor.check(translate=(0.25, 0))
    visitor.enter("Equivariance/##translate/1", "0.13")
    visitor.check(translate=(0.25, 0.13))
    visitor.click("Equivariance/Round##translate", ".q-checkbox")
    visitor.check(translate=(0.25, 0.125))
    visitor.enter("Equivariance/##rotate", "100")
    visitor.check(rotate=100)
    visitor.click("Equivariance/Round##rotate", ".q-checkbox")
    visitor.check(rotate=90)
    visitor.click("Equivariance/Untransform", ".q-checkbox")
    visitor.check_link(untransform=True)
    visitor.click("Equivariance/Reset##transform")
    visitor.check_link(translate=(0, 0), rotate=0)
    visitor.drag(visitor.find("Equivariance/Drag fast##translate"), 65)
    assert visitor.take_link().translate == pytest.approx((0.25, 0))
    visitor.drag(visitor.find("Equivariance/Drag slow##rotate"), 65)
    assert visitor.take_link().rotate == pytest.approx(1.125)
    visitor.click("Equivariance/Animate##translate", ".q-checkbox")
    visitor.enter("Equivariance/##speed of translation/0", "0.3")
    visitor.click("Equivariance/Animate##translate", ".q-checkbox")
    assert visitor.take_link().translate[0] != pytest.approx(0.25)
    visitor.click("Equivariance/Animate##rotate", ".q-checkbox")
    visitor.find("Equivariance/##speed of rotation")
    visitor.click("Equivariance/Animate##rotate", ".q-checkbox")
    assert visitor.take_link().rotate != pytest.approx(1.125)


def test_performance_pane(visitor):
    visitor.unfold("Performance")
    visitor.click("Performance/Force FP32", ".q-checkbox")
    visitor.check_link(force_fp32=True)
    connection = '[data-key^="Performance/"].pane-text'
    wait_for(lambda: "pictures/s" in visitor.all(connection)[0].text)


def test_downloads_and_commands(visitor, downloads, files):
    visitor.enter("Latent/##seed", "7")
    shown = visitor.check(x=7)
    visitor.unfold("Capture")
    visitor.click("Capture/Save image")
    picture = wait_for(lambda: downloads("image0000.png"))
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(picture)), shown)
    visitor.press(Keys.CONTROL, "s")
    assert wait_for(lambda: downloads("image0001.png")).read_bytes() == picture.read_bytes()
    visitor.click("Capture/Save latent")
    found = latent_files.load(wait_for(lambda: downloads("latent0002.npz")))
    G = pickle.loads((files / "t.pkl").read_bytes())["G_ema"]
    z = torch.from_numpy(np.random.RandomState(7).randn(1, G.z_dim)).float()
    torch.testing.assert_close(found.ws, G.mapping(z, None), rtol=1e-4, atol=1e-4)
    visitor.click("Capture/Copy as command")
    command = f"python gen_images.py --network={files / 't.pkl'} --seeds=7 --outdir=out"
    visitor.says(f"copied: {command}")
    assert visitor.clipboard() == command


def test_directions(visitor, files):
    before = visitor.check()
    visitor.unfold("Directions & points")
    row = "A file that directions.py has written"
    visitor.enter(f"Directions & points/##{row}", str(files / "d.npz"))
    visitor.enter("Directions & points/##age", "2")
    moved = visitor.check(directions=str(files / "d.npz"), amounts=(("age", 2.0),))
    assert not np.array_equal(moved, before)
    visitor.enter("Directions & points/##sun", "-1")
    visitor.check(amounts=(("age", 2.0), ("sun", -1.0)))
    visitor.click("Directions & points/0##sun")
    visitor.check(amounts=(("age", 2.0),))
    visitor.enter("Directions & points/##direction layers/0", "3")
    visitor.check_link(direction_layers=(3, 5))
    visitor.click("Directions & points/Reset##directions")
    visitor.check_link(amounts=(), direction_layers=None)
    visitor.click(f"Directions & points/Close##{row}")
    visitor.check_link(directions=None)


def test_latents_of_a_file(visitor, files):
    visitor.enter("Network/##network", str(files / "w.npz"))
    visitor.check(latents=str(files / "w.npz"))
    visitor.enter("Latent/##latent idx", "1")
    visitor.check_link(latent_idx=1)
    visitor.click("Latent/Close##Latents of projector.py, or of other programs")
    visitor.check_link(latents=None, latent_idx=0)


def test_points(visitor):
    before = visitor.check()
    visitor.unfold("Directions & points")
    visitor.click("Directions & points/Set points")
    visitor.waits_for_mode("points")
    visitor.pull((5.5, 8.5), (8.5, 8.5))
    assert visitor.picture() is None  # the points are drawn over it
    visitor.click("Directions & points/Start##points", "button:enabled")
    text = "return [...document.querySelectorAll('.pane-text')].map((e) => e.textContent).join()"
    wait_for(lambda: " pixels to go" in visitor.run(text) or "arrived" in visitor.run(text))
    if visitor.all('[data-key="Directions & points/Stop##points"]'):
        visitor.click("Directions & points/Stop##points")
    visitor.find("Directions & points/Start##points")
    visitor.click("Directions & points/Clear##points", "button:enabled")
    wait_for(lambda: visitor.picture() is not None)
    assert not np.array_equal(visitor.picture(), before)
    visitor.click("Directions & points/Paint mask")
    visitor.pull((4, 4), (6, 6))
    wait_for(lambda: visitor.picture() is not None and visitor.picture()[15, 15].max() < 128)
    visitor.click("Directions & points/No mask", "button:enabled")
    visitor.find("Directions & points/No mask", "button:disabled")
    visitor.click("Directions & points/Reset##points")
    np.testing.assert_array_equal(visitor.check(), before)
