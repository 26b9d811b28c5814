"""The stream of frames, with a browser that is played by a few lines."""

import asyncio
import io
import json

import numpy as np
import PIL.Image
import pytest

from tests.web_utils.samples import sample
from web_utils import pace
from web_utils.frames import MAX_IN_FLIGHT, MAX_PIECES, REST_SEC, FrameStream
from web_utils.overlay import Axes, Overlay


class Browser:
    """A connection that keeps what it is sent, and answers as it is told.

    Args:
        stream: Gets the answers.
        bytes_per_sec: What the connection takes; None for no limit.
        answers: Whether frames are answered at all.
    """

    def __init__(self, stream, bytes_per_sec=None, answers=True):
        self.stream, self.bytes_per_sec, self.answers = stream, bytes_per_sec, answers
        self.frames = []  # headers, with the pieces of their files
        self.drawn = asyncio.Event()

    async def send_text(self, data):
        header = json.loads(data)
        self.frames.append((header, []))
        self.stream.acknowledge(header["number"], "begun")
        if not header["files"]:
            self._answer(header["number"])

    async def send_bytes(self, data):
        header, pieces = self.frames[-1]
        if self.bytes_per_sec is not None:
            await asyncio.sleep(len(data) / self.bytes_per_sec)
        pieces.append(data)
        if self.answers:
            self.stream.acknowledge(header["number"], "got")
        if len(pieces) == sum(file["numPieces"] for file in header["files"]):
            self._answer(header["number"])

    def _answer(self, number):
        if self.answers:
            self.stream.acknowledge(number, "drawn")
        self.drawn.set()


def play(scene, quality=85, **options):
    """Run `scene(stream, browser)` while frames are sent."""

    async def run():
        stream = FrameStream(quality)
        browser = Browser(stream, **options)
        sending = asyncio.create_task(stream.send_to(browser))
        try:
            await asyncio.wait_for(scene(stream, browser), 60)
        finally:
            sending.cancel()
        return browser

    return asyncio.run(run())


async def until(condition):
    while not condition():
        await asyncio.sleep(0.002)


def files_of(frame):
    """The files of a frame by name."""
    header, pieces = frame
    pieces = iter(pieces)
    return {
        file["name"]: b"".join(next(pieces) for _ in range(file["numPieces"]))
        for file in header["files"]
    }


def opened(data):
    picture = PIL.Image.open(io.BytesIO(data))
    pixels = np.asarray(picture)
    return picture.format, pixels[..., None] if pixels.ndim == 2 else pixels


def test_an_unchanged_picture_is_not_sent_again():
    image = sample(0, 64, 64)
    shown = [Overlay(notice="a"), Overlay(notice="a"), Overlay(notice="b"), Overlay(notice="b")]

    async def scene(stream, browser):
        for count, overlay in enumerate(shown):
            stream.put(image, overlay)
            await until(lambda count=count: len(browser.frames) > count // 2)
        await asyncio.sleep(2 * REST_SEC)

    notices = [header["overlay"]["notice"] for header, *_ in play(scene).frames]
    assert notices == ["a", "b"]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(256, 256), (96, 33), (65, 1), (64, 64), (1, 1)])
def test_resting_picture_is_exact(size, channels):
    image = sample(0, *size, channels)

    async def scene(stream, browser):
        stream.put(image)
        await until(lambda: browser.frames and browser.frames[-1][0]["isExact"])
        await asyncio.sleep(2 * REST_SEC)

    frames = play(scene).frames
    is_small = max(size) <= 64
    assert len(frames) == (1 if is_small else 2)
    form, pixels = opened(files_of(frames[-1])["image"])
    assert form == "PNG" and frames[-1][0]["size"] == list(size)
    np.testing.assert_array_equal(pixels, image)
    if not is_small:
        form, pixels = opened(files_of(frames[0])["image"])
        assert form == ("WEBP" if channels == 4 else "JPEG")
        assert pixels.shape[:2] == image.shape[:2]


def test_only_the_newest_picture_is_sent_when_the_browser_is_busy():
    async def scene(stream, browser):
        for seed in range(20):
            stream.put(sample(seed, 128, 128))
            await asyncio.sleep(0.01)
        await until(lambda: len(browser.frames) == MAX_IN_FLIGHT)
        stream.put(sample(20, 128, 128))
        browser.answers = True
        stream.acknowledge(browser.frames[0][0]["number"], "drawn")
        await until(lambda: browser.frames[-1][0]["isExact"])
        _, pixels = opened(files_of(browser.frames[-1])["image"])
        np.testing.assert_array_equal(pixels, sample(20, 128, 128))

    browser = play(scene, answers=False)
    assert len(browser.frames) == MAX_IN_FLIGHT + 2  # the newest one, and exactly


def test_moving_pictures_shrink_for_a_slow_connection_and_grow_again():
    async def scene(stream, browser):
        image = sample(0, 256, 256)
        for _ in range(12):
            count = len(browser.frames)
            stream.put(image.copy())
            await until(lambda before=count: len(browser.frames) > before)
            await until(lambda: not stream._browser.in_flight)
        slow = stream.statistic
        assert slow.reduction > 1 and slow.quality < 85
        browser.bytes_per_sec = None
        for _ in range(400):
            count = len(browser.frames)
            stream.put(image.copy())
            await until(lambda before=count: len(browser.frames) > before)
            await until(lambda: not stream._browser.in_flight)
            if stream.statistic.quality == 85:
                break
        assert stream.statistic.quality == 85 and stream.statistic.reduction == 1

    browser = play(scene, bytes_per_sec=20_000)
    headers = [header for header, _ in browser.frames]
    assert all(header["size"] == [256, 256] for header in headers)
    lengths = [sum(map(len, pieces)) for header, pieces in browser.frames if not header["isExact"]]
    assert min(lengths) < lengths[0] / 3


def test_exact_picture_gives_way_to_a_moving_one():
    async def scene(stream, browser):
        stream.put(sample(0, 512, 512))
        await until(lambda: len(browser.frames) == 2 and len(browser.frames[1][1]) == MAX_PIECES)
        stream.put(sample(1, 512, 512))
        await until(lambda: len(browser.frames) == 3)
        browser.answers = True
        for number, _ in enumerate(browser.frames, 1):
            stream.acknowledge(number, "drawn")
        await until(lambda: len(browser.frames) == 4 and not stream._browser.in_flight)

    frames = play(scene, answers=False).frames
    assert [header["isExact"] for header, _ in frames] == [False, True, False, True]
    (file,) = frames[1][0]["files"]
    assert len(frames[1][1]) == MAX_PIECES < file["numPieces"]
    np.testing.assert_array_equal(opened(files_of(frames[3])["image"])[1], sample(1, 512, 512))


def test_pace_waits_longer_after_each_failed_attempt():
    chosen = pace.Pace(80)
    attempts = []
    for count in range(400):
        is_too_much = chosen.reduction == 1
        if is_too_much:
            attempts.append(count)
        chosen.add(2 * pace.VERY_SLOW_SEC if is_too_much else pace.FAST_SEC / 2)
    gaps = np.diff(attempts[3:])
    assert len(gaps) >= 3 and (np.diff(gaps) > 0).all()


def test_pace_ignores_a_single_slow_picture_but_not_two():
    chosen = pace.Pace(80)
    for _ in range(9):
        chosen.add(2 * pace.SLOW_SEC)
        chosen.add(pace.FAST_SEC)
        assert (chosen.quality, chosen.reduction) == (80, 1)
    chosen.add(2 * pace.SLOW_SEC)
    chosen.add(2 * pace.SLOW_SEC)
    assert chosen.quality < 80


def test_new_overlay_on_the_same_picture_sends_no_picture():
    image, mask, target = sample(0, 96, 96), np.eye(96, dtype=bool), sample(1, 70, 50)

    async def scene(stream, browser):
        stream.put(image, Overlay(mask=mask, target=target))
        await until(lambda: browser.frames and browser.frames[-1][0]["isExact"])
        for x in range(5):
            points = Overlay(((x, 1.5),), ((2.0, 3.0),), mask=mask, target=target)
            stream.put(image, points)
            await until(
                lambda now=points: (
                    list(map(tuple, browser.frames[-1][0]["overlay"]["points"])) == list(now.points)
                )
            )
        await asyncio.sleep(2 * REST_SEC)

    frames = play(scene).frames
    assert len(frames) == 7
    assert set(files_of(frames[0])) == {"image", "mask", "target"}
    assert set(files_of(frames[1])) == {"image"}
    assert all(not files and header["isExact"] for header, files in frames[2:])
    assert all(header["has"] == ["image", "target", "mask"] for header, _ in frames)
    np.testing.assert_array_equal(opened(files_of(frames[0])["target"])[1], target)
    shade = opened(files_of(frames[0])["mask"])[1]
    np.testing.assert_array_equal(shade[..., 1] == 0, mask)


def test_moving_overlay_does_not_keep_a_resting_picture_inexact():
    image = sample(0, 96, 96)

    async def scene(stream, browser):
        count = 0
        while not (browser.frames and browser.frames[-1][0]["isExact"]):
            count += 1
            stream.put(image, Overlay(((count, 1.5),), ((2.0, 3.0),)))
            await asyncio.sleep(REST_SEC / 8)

    play(scene)


def test_message_takes_the_place_of_the_picture_and_a_new_browser_gets_everything():
    async def scene(stream, browser):
        stream.put(sample(0, 96, 96))
        await until(lambda: browser.frames)
        stream.put(None, Overlay(message="No picture: the file is gone", is_error=True))
        await until(lambda: browser.frames[-1][0]["overlay"]["isError"])
        assert browser.frames[-1][0]["has"] == [] and stream.size == (0, 0)
        stream.put(sample(1, 96, 96), Overlay(axes=Axes(32, -80, 20, np.zeros([256, 3], np.uint8))))
        await until(lambda: browser.frames[-1][0]["isExact"] and stream.size == (96, 96))
        other = Browser(stream)
        sending = asyncio.create_task(stream.send_to(other))
        await until(lambda: other.frames and other.frames[-1][0]["isExact"])
        sending.cancel()
        header, files = other.frames[-1][0], files_of(other.frames[-1])
        assert header["overlay"]["axes"]["colors"] == "00" * 768
        np.testing.assert_array_equal(opened(files["image"])[1], sample(1, 96, 96))

    play(scene)


def test_statistic_forgets_and_what_is_no_picture_is_refused():
    stream = FrameStream()
    assert stream.statistic.frames_per_sec == 0
    for wrong in (np.zeros([4, 4], np.uint8), np.zeros([4, 4, 3]), np.zeros([0, 4, 3], np.uint8)):
        with pytest.raises(ValueError, match="a picture"):
            stream.put(wrong)
    with pytest.raises(ValueError, match="each point has a target"):
        Overlay(points=((0, 0),))
    with pytest.raises(ValueError, match="points are finite"):
        Overlay(points=((0, float("nan")),), targets=((0, 0),))
    with pytest.raises(ValueError, match="levels that rise"):
        Axes(32, 0, 0, np.zeros([256, 3], np.uint8))
    with pytest.raises(ValueError, match="colours"):
        Axes(32, 0, 1, np.zeros([256, 4], np.uint8))
    with pytest.raises(ValueError, match="quality"):
        FrameStream(0)
