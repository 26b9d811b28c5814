"""The live picture in headless Chromium."""

import statistics
from collections.abc import Callable, Iterator

import numpy as np
import psutil
import pytest

pytest.importorskip("nicegui", reason="needs requirements-web.txt")

import websockets
from websockets.sync.client import connect

from tests.web_utils.picture_browser import PicturePage, chromium, resize, serve, wait_for
from tests.web_utils.samples import sample
from web_utils.overlay import SHADE

pytestmark = pytest.mark.slow

CANVAS = (500, 579)  # each of two pictures side by side
FACTOR = 5  # of a picture of 96 x 96 pixels that fits into such a canvas
LEFT, TOP = (500 - 96 * FACTOR) // 2, (579 - 96 * FACTOR) // 2
SMALL = (1, 96, 96)


@pytest.fixture(scope="module")
def opened() -> Iterator[PicturePage]:
    with chromium() as driver, serve() as address:
        yield PicturePage(driver, address)


@pytest.fixture
def page(opened: PicturePage) -> PicturePage:
    resize(opened.driver, 1000, 600)
    opened.open()
    opened.call("set/a", {"echo": False})
    return opened


def fitted(pixels: np.ndarray, image: np.ndarray) -> np.ndarray | None:
    """The part of a canvas where a fitted picture belongs, if all its pixels are equal squares."""
    height, width = image.shape[:2]
    scale = min(pixels.shape[1] // width, pixels.shape[0] // height)
    left, top = (pixels.shape[1] - scale * width) // 2, (pixels.shape[0] - scale * height) // 2
    whole = pixels[top : top + scale * height, left : left + scale * width, :3]
    part = whole[::scale, ::scale]
    are_squares = np.array_equal(whole, part.repeat(scale, axis=0).repeat(scale, axis=1))
    return part if are_squares else None


def wait_for_picture(page: PicturePage, name: str, image: tuple[int, ...]) -> None:
    """Wait until a picture is on screen to the bit."""
    expected = sample(*image)[..., :3]
    expected = np.broadcast_to(expected, [*expected.shape[:2], 3])

    def is_there() -> bool:
        part = fitted(page.pixels(name), expected)
        return part is not None and np.array_equal(part, expected)

    wait_for(is_there, f"picture {image} in {name}")


def is_near(color: np.ndarray, expected: tuple[int, int, int]) -> bool:
    return bool(np.abs(color[:3].astype(int) - expected).max() < 12)


def drag(page: PicturePage, start, moves, button="left") -> None:
    """Press the mouse, move it by some steps, and let it go."""
    x, y = start
    page.mouse("mousePressed", x, y, button)
    for dx, dy in moves:
        x, y = x + dx, y + dy
        page.mouse("mouseMoved", x, y, button)
    page.mouse("mouseReleased", x, y, button)


def taken_events(page: PicturePage, name: str, is_last: Callable[[list], bool]) -> list:
    """Events until the last one has arrived."""
    found: list = []

    def has_last() -> bool:
        found.extend(page.call(f"events/{name}"))
        return bool(found) and is_last(found)

    wait_for(has_last, f"events of {name}, so far {found}")
    return found


def points_mode(page: PicturePage) -> None:
    page.call("set/a", {"mode": "points"})
    is_set = "return getElement(document.querySelector('.a').id.slice(1)).mode === 'points'"
    wait_for(lambda: page.script(is_set), "the mode")


def is_release(found: list) -> bool:
    return isinstance(found[-1][0], dict) and not found[-1][0]["is_held"]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(96, 96), (64, 64), (33, 200), (1, 1)], ids=str)
def test_resting_pictures_are_exact_and_two_do_not_mix(page, size, channels):
    page.show("a", (1, *size, channels))
    page.show("b", (2, *reversed(size), channels))
    wait_for_picture(page, "a", (1, *size, channels))
    wait_for_picture(page, "b", (2, *reversed(size), channels))
    page.show("b", (3, *size, channels))
    wait_for_picture(page, "b", (3, *size, channels))
    wait_for_picture(page, "a", (1, *size, channels))


def test_large_picture_is_reduced_and_none_of_it_is_cut(page):
    page.show("a", (1, 1024, 512))
    wait_for(lambda: page.pixels("a")[290, 250, 3], "a picture")
    rows, columns = np.nonzero(page.pixels("a")[..., 3])
    assert (columns.min(), columns.max()) == (0, 499)
    assert (rows.min(), rows.max()) == (164, 413)


def test_left_button_reports_movements_in_ems_and_moves_nothing(page):
    page.show("a", SMALL)
    wait_for_picture(page, "a", SMALL)
    drag(page, (200, 200), [(15, -30)] * 10)
    expected = pytest.approx((10, -20), abs=1e-3)
    found = taken_events(
        page, "a", lambda found: tuple(map(sum, zip(*found, strict=True))) == expected
    )
    assert len(found) <= 10
    drag(page, (200, 200), [(15, -30)] * 2, "right")
    drag(page, (200, 200), [(15, -30)] * 2, "middle")
    assert page.call("events/a") == [] and page.call("events/b") == []
    wait_for_picture(page, "a", SMALL)


def test_wheel_zooms_at_the_mouse_and_buttons_pan(page):
    page.show("a", SMALL)
    wait_for_picture(page, "a", SMALL)
    before = page.pixels("a")
    x, y = LEFT + int(30.5 * FACTOR), TOP + int(70.5 * FACTOR)
    for _ in range(5):
        page.wheel(x, y, -120)
        np.testing.assert_array_equal(page.pixels("a")[y, x], before[y, x])
    status = page.script("return document.querySelector('.a .picture-status').textContent")
    assert "enlarged" in status and "Ctrl+0" in status
    enlarged = page.pixels("a")
    assert not np.array_equal(enlarged, before)
    for button in ("right", "middle"):
        drag(page, (250, 250), [(-20, 10), (-20, 14)], button)
    moved = page.pixels("a")
    np.testing.assert_array_equal(moved[48:500, :400], enlarged[:452, 80:480])
    page.show("a", (2, 96, 96))  # the zoom stays
    wait_for(lambda: not np.array_equal(page.pixels("a"), moved), "the next picture")
    assert fitted(page.pixels("a"), sample(2, 96, 96)) is None
    page.double_click(250, 250)
    wait_for_picture(page, "a", (2, 96, 96))
    page.wheel(x, y, -120)
    page.key("0", "Digit0", ctrl=True)
    wait_for_picture(page, "a", (2, 96, 96))


@pytest.mark.parametrize("num_steps", [0, 4])
def test_points_are_where_the_mouse_is_also_when_zoomed(page, num_steps):
    points_mode(page)
    page.show("a", SMALL)
    wait_for_picture(page, "a", SMALL)
    for _ in range(num_steps):
        page.wheel(300, 200, -120)
    scale = (5, 6, 7, 8, 10)[num_steps]
    under = page.pixels("a")[200, 300, :3]
    drag(page, (300, 200), [(20, 30), (13, 20), (2000, 3000)])
    found = [event for (event,) in taken_events(page, "a", is_release)]
    assert [event["is_pressed"] for event in found] == [True] + [False] * (len(found) - 1)
    assert all(event["is_held"] for event in found[:-1])
    image = sample(*SMALL)
    column, row = (int(value) for value in found[0]["position"])
    np.testing.assert_array_equal(image[row, column], under)
    assert found[0]["reach"] == pytest.approx(0.8 * 15 / scale)
    assert found[-1]["position"] == [96, 96]


def test_press_beside_the_image_is_no_press(page):
    points_mode(page)
    page.show("a", SMALL)
    wait_for_picture(page, "a", SMALL)
    drag(page, (250, TOP - 10), [(0, 100)])
    drag(page, (250, 250), [(0, 10)])
    found = taken_events(page, "a", is_release)
    assert found[0][0]["position"][1] > 30 and sum(event["is_pressed"] for (event,) in found) == 1


def test_many_moves_merge_and_no_press_is_lost(page):
    points_mode(page)
    page.show("a", SMALL)
    wait_for_picture(page, "a", SMALL)
    page.script(
        """
        const canvas = document.querySelector(".a canvas");
        canvas.setPointerCapture = () => {};
        const send = (type, x) => canvas.dispatchEvent(new PointerEvent(type,
          { pointerId: 1, pointerType: "mouse", button: 0, clientX: x, clientY: 250 }));
        for (let press = 0; press < 20; press++) {
          send("pointerdown", 200);
          for (let x = 200; x < 260; x++) send("pointermove", x);
          send("pointerup", 260);
        }
        """
    )
    found: list = []

    def are_all_there() -> bool:
        found.extend(event for (event,) in page.call("events/a"))
        return sum(not event["is_held"] for event in found) == 20

    wait_for(are_all_there, "twenty releases")
    assert sum(event["is_pressed"] for event in found) == 20
    assert len(found) <= 3 * 20  # of 1240


def test_overlay_is_drawn_over_its_picture(page):
    page.show("a", SMALL, points=[[20, 30]], targets=[[60, 30]], mask=[96, 96])
    x, y = LEFT + 20 * FACTOR, TOP + 30 * FACTOR
    red, blue = (242, 64, 51), (64, 140, 255)
    wait_for(lambda: is_near(page.pixels("a")[y, x], red), "a red point")
    pixels = page.pixels("a")
    assert is_near(pixels[y, LEFT + 60 * FACTOR], blue)
    assert pixels[y - 2 : y + 3, LEFT + 40 * FACTOR, :3].min(axis=1).max() > 150  # a white line

    def has_shade() -> bool:
        part = page.pixels("a")[TOP + 2 :: FACTOR, LEFT + 2 :: FACTOR, :3][60:90, :96].astype(int)
        image = sample(*SMALL)[60:90].astype(int)
        is_left = np.array_equal(part[:, :48], image[:, :48])
        darker = image[:, 48:] * (255 - SHADE) / 255
        return is_left and np.abs(part[:, 48:] - darker).max() < 2

    wait_for(has_shade, "the mask")


def test_other_picture_stands_at_the_left_and_axes_around(page):
    page.show("a", SMALL, target=[90, 40])
    gap = 6  # 0.4 ems

    def has_both() -> bool:
        pixels = page.pixels("a")
        left, right = pixels[:, : 250 - gap // 2], pixels[:, 250 + gap // 2 :]
        part, target = fitted(right, sample(*SMALL)), fitted(left, sample(99, 90, 40))
        return np.array_equal(part, sample(*SMALL)) and np.array_equal(target, sample(99, 90, 40))

    wait_for(has_both, "both pictures")
    page.show("b", (1, 32, 32), axes=True)
    wait_for(lambda: page.pixels("b")[290, 415, 3], "the colour bar")
    pixels = page.pixels("b")
    bar = pixels[:, 405:430].astype(int)
    assert (bar[..., 0] - bar[..., 2] > 150).any() and (bar[..., 2] - bar[..., 0] > 150).any()
    assert pixels[:, :60, 3].any() and pixels[450:, :, 3].any()  # labels


def test_messages_stand_in_place_of_the_picture_and_notices_over_it(page):
    page.show("a", SMALL)
    wait_for_picture(page, "a", SMALL)
    texts = """
        const texts = [...document.querySelectorAll(`.a [role=${arguments[0]}]`)];
        return texts.map((element) => element.textContent).join("")"""

    def told(role: str) -> str:
        return page.script(texts, role)

    page.show("a", None, message="Loading …")
    wait_for(lambda: told("status") == "Loading …", "a message")
    wait_for(lambda: not page.pixels("a")[..., 3].any(), "no picture")
    error = f"No picture: {'long/' * 50}net.pkl: no such file"
    page.show("a", None, message=error, is_error=True)
    wait_for(lambda: told("alert") == error and not told("status"), "an error")
    left, right, lines, selected = page.script(
        """
        const element = document.querySelector(".a [role=alert]");
        const { left, right, height } = element.getBoundingClientRect();
        getSelection().selectAllChildren(element);
        return [left, right, height / 20.25, getSelection().toString()];
        """
    )
    assert 0 < left < right < 500 and left == pytest.approx(500 - right, abs=1) and lines > 3
    assert selected == error
    page.show("a", SMALL, notice="the process has ended; this picture is the last one")
    wait_for(lambda: "has ended" in told("status") and not told("alert"), "a notice")
    wait_for_picture(page, "a", SMALL)
    top, bottom = page.script(
        "const { top, bottom } = document.querySelector('.picture-notice').getBoundingClientRect();"
        "return [top, bottom]"
    )
    assert 500 < top < bottom < 579


def test_broken_socket_is_said_and_replaced_and_the_button_released(page):
    points_mode(page)
    page.show("a", SMALL)
    page.show("b", (4, 96, 96))
    wait_for_picture(page, "a", SMALL)
    page.script(
        """
        window.wasLost = false;
        const note = () => (window.wasLost ||= document.querySelector(".a .picture-lost") !== null);
        new MutationObserver(note)
          .observe(document.querySelector(".a"), { childList: true, subtree: true });
        """
    )
    page.mouse("mousePressed", 200, 200, "left")
    taken_events(page, "a", lambda found: found[-1][0]["is_held"])
    page.call("set/a", {"break": True})
    assert taken_events(page, "a", is_release)[-1][0]["position"][0] == pytest.approx(38, abs=1)
    page.mouse("mouseReleased", 200, 200, "left")
    page.show("a", (2, 96, 96))
    wait_for_picture(page, "a", (2, 96, 96))
    assert page.script("return window.wasLost")
    wait_for(lambda: not page.script("return document.querySelector('.picture-lost')"), "recovery")
    wait_for_picture(page, "b", (4, 96, 96))


def test_socket_refuses_unknown_tokens_and_closes_on_wrong_messages(page):
    page.show("a", SMALL)
    wait_for_picture(page, "a", SMALL)
    address = page.address.replace("http", "ws")
    with pytest.raises(websockets.InvalidStatus, match="403"):
        connect(f"{address}/frames/guess")
    path = page.script("return getElement(document.querySelector('.a').id.slice(1)).socket")
    for message in ("[]", "{", '{"events": [["drag", 1e999, 0]]}', b"{}", "[" * 60_000):
        with connect(address + path) as socket:
            socket.send(message)
            with pytest.raises(websockets.ConnectionClosed):
                while True:
                    socket.recv(timeout=30)
            assert socket.close_code == 1008
    page.show("a", (2, 96, 96))
    wait_for_picture(page, "a", (2, 96, 96))  # the browser has come back
    assert page.call("events/a") == []


def test_deleted_picture_leaves_the_other(page):
    page.show("b", (4, 96, 96))
    wait_for_picture(page, "b", (4, 96, 96))
    page.call("set/a", {"delete": True})
    wait_for(lambda: not page.script("return document.querySelector('.a')"), "one picture less")
    page.show("b", (1, 10, 10))
    wait_for(lambda: page.pixels("b").shape[1] == 1000, "a wider canvas")
    wait_for_picture(page, "b", (1, 10, 10))


def test_keys_are_reported_but_not_those_for_inputs(page):
    page.show("a", SMALL)
    wait_for_picture(page, "a", SMALL)
    page.script(
        "window.kept = {}; addEventListener('keydown', (e) => (kept[e.key] = e.defaultPrevented))"
    )
    page.key("z", "KeyZ", ctrl=True)
    page.key("F1", "F1")
    page.key("ArrowLeft", "ArrowLeft")
    page.key("s", "KeyS", ctrl=True)
    page.script("document.querySelector('.typed').focus()")
    page.key("x", "KeyX")
    page.script("document.activeElement.blur()")
    page.key("Я", "KeyZ", ctrl=True, shift=True)
    page.key("Escape", "Escape")
    found = taken_events(page, "a", lambda found: found[-1]["name"] == "Esc")
    assert [(key["ctrl"], key["shift"], key["name"]) for key in found] == [
        (True, False, "Z"),
        (False, False, "F1"),
        (False, False, "ArrowLeft"),
        (True, False, "S"),
        (True, True, "Z"),
        (False, False, "Esc"),
    ]
    kept = page.script("return window.kept")
    assert kept["F1"] and kept["s"] and not kept["z"] and not kept["ArrowLeft"]


def test_fingers_pinch_pan_and_drag(page):
    resize(page.driver, 390, 844, density=2, is_phone=True)
    page.open("?both=false")
    page.call("set/a", {"mode": "points"})
    points_mode(page)
    page.show("a", (1, 60, 60))
    wait_for_picture(page, "a", (1, 60, 60))
    before = page.pixels("a")
    page.touch("touchStart", [(150, 400)])
    page.touch("touchStart", [(150, 400), (240, 400)])
    for spread in range(0, 60, 10):
        page.touch("touchMove", [(150 - spread, 400), (240 + spread, 400)])
    page.touch("touchEnd", [])
    assert not np.array_equal(page.pixels("a"), before)
    assert page.call("events/a") == []  # a pinch is no press
    for _ in range(2):
        page.touch("touchStart", [(195, 400)])
        page.touch("touchEnd", [])
    wait_for_picture(page, "a", (1, 60, 60))
    found = taken_events(page, "a", lambda found: sum(not e["is_held"] for (e,) in found) == 2)
    assert [event["is_pressed"] for (event,) in found] == [True, False, True, False]


def test_memory_stays_flat_over_hundreds_of_frames(page):
    page.script(
        """
        window.numOpen = 0;
        const create = window.createImageBitmap;
        window.createImageBitmap = async (...options) => (window.numOpen++, create(...options));
        const close = ImageBitmap.prototype.close;
        ImageBitmap.prototype.close = function () { window.numOpen--; close.call(this); };
        """
    )

    def used_mb() -> float:
        page.script("gc()")
        processes = psutil.Process(page.driver.service.process.pid).children(recursive=True)
        return sum(process.memory_info().rss for process in processes) / 1e6

    def show_many(count: int) -> None:
        for seed in range(count):
            page.show("a", (seed, 400, 400), target=[100, 100])
        page.show("a", SMALL)
        wait_for_picture(page, "a", SMALL)

    show_many(150)
    first = used_mb()
    show_many(300)
    last = used_mb()
    print(f"chromium uses {first:.0f} MB, after 300 more frames {last:.0f} MB")
    assert page.script("return window.numOpen") == 1
    assert last - first < 120  # the bitmaps of 300 frames are 192 MB


@pytest.mark.parametrize("size", [256, 1024])
def test_latency_from_input_to_picture(page, size):
    page.open(f"?both=false&size={size}")
    page.call("set/a", {"echo": True})
    page.show("a", (0, size, size))
    wait_for(lambda: page.pixels("a")[..., 3].any(), "a picture")
    page.driver.set_script_timeout(60)
    delays = page.driver.execute_async_script(
        """
        const done = arguments[0];
        const canvas = document.querySelector(".a canvas");
        canvas.setPointerCapture = () => {};
        const draw = CanvasRenderingContext2D.prototype.drawImage;
        const delays = [];
        let start = null;
        CanvasRenderingContext2D.prototype.drawImage = function (...options) {
          draw.call(this, ...options);
          if (start === null) return;
          delays.push(performance.now() - start);
          start = null;
          if (delays.length < 40) setTimeout(move, 40);
          else done(delays);
        };
        let x = 200;
        const send = (type) => canvas.dispatchEvent(new PointerEvent(type,
          { pointerId: 1, pointerType: "mouse", button: 0, clientX: x, clientY: 250 }));
        send("pointerdown");
        function move() {
          x += 2;
          start = performance.now();
          send("pointermove");
        }
        setTimeout(move, 1000);
        """
    )
    print(
        f"{size}x{size}: {statistics.median(delays):.0f} ms from input to picture, "
        f"at most {max(delays):.0f} ms; {page.call('statistic/a')}"
    )
    assert len(delays) == 40
