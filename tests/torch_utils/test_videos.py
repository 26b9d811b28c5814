"""Video files out of frames, as an independent reader finds them."""

import re
import subprocess
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import imageio_ffmpeg
import numpy as np
import PIL.Image
import pytest
import scipy.io.wavfile

from dnnlib.errors import InputError
from torch_utils import videos


def probe(path: Path) -> SimpleNamespace:
    """What an independent reader finds: codec, pixel format, size, fps, all decoded frames."""
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    width, height = meta["size"]
    frames = [np.frombuffer(data, np.uint8).reshape(height, width, 3) for data in reader]
    return SimpleNamespace(
        codec=meta["codec"],
        pix_fmt=meta["pix_fmt"],
        size=(width, height),
        fps=meta["fps"],
        frames=np.stack(frames),
    )


def duration_sec(path: Path) -> float:
    """When the last frame of a file ends, in seconds, by its time stamps."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "quiet", "-i", str(path)]
    command += ["-map", "0:v:0", "-c", "copy", "-f", "framecrc", "-"]
    text = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    unit = Fraction(re.search(r"^#tb 0: (.*)$", text, re.MULTILINE)[1])
    packets = [line.split(",") for line in text.splitlines() if not line.startswith("#")]
    return float(unit * max(int(pts) + int(length) for _, _, pts, length, *_ in packets))


@pytest.mark.parametrize("fps", [1.004, 23.976, 25, 24000 / 1001])
def test_sound_and_video_have_the_exact_frame_rate(fps, tmp_path):
    """imageio passes two decimals to ffmpeg, so that 1.004 became 1.00."""
    scipy.io.wavfile.write(tmp_path / "x.wav", 8000, np.zeros(8000, np.int16))
    settings = videos.writer_settings(".mp4", fps)
    settings |= videos.audio_settings(tmp_path / "x.wav", 300 / fps)
    with videos.write_video(tmp_path / "x.mp4", 300, settings) as write:
        for _ in range(300):
            write(np.zeros([16, 16, 3], np.uint8))
    assert duration_sec(tmp_path / "x.mp4") == pytest.approx(300 / fps, abs=1e-4)


def test_own_input_options_come_after_the_exact_rate():
    settings = {"fps": 23.976, "input_params": ["-re"]}
    assert videos._with_exact_rate(settings)["input_params"] == ["-r", "23.976", "-re"]
    assert videos._with_exact_rate({"fps": 60}) == {"fps": 60}


@pytest.mark.parametrize("name", ["frames.png", "frame_old.png"])
def test_pictures_that_are_no_frames_stay_beside_them(name, tmp_path):
    (tmp_path / name).touch()
    videos.refuse_old_frames(tmp_path)
    (tmp_path / "frame000007.png").touch()
    with pytest.raises(InputError, match=r"from frame000007\.png to frame000007\.png"):
        videos.refuse_old_frames(tmp_path)


def test_frames_of_odd_sizes_are_padded(tmp_path):
    frame = np.random.RandomState(0).randint(0, 256, [7, 9, 3], dtype=np.uint8)
    settings = videos.writer_settings(".mp4") | {"macro_block_size": 2}
    with videos.write_video(tmp_path / "x.mp4", 2, settings) as write:
        write(frame)
        write(frame)
    assert probe(tmp_path / "x.mp4").size == (10, 8)
    padded = videos._prepare(frame, ".mp4")
    np.testing.assert_array_equal(padded[:7, :9], frame)
    np.testing.assert_array_equal(padded[7, :9], frame[6])


def test_transparency_is_white_where_there_is_none():
    frame = np.zeros([2, 2, 4], dtype=np.uint8)
    frame[0, 0] = [10, 20, 30, 255]
    got = videos._prepare(frame, ".mp4")
    assert got[0, 0].tolist() == [10, 20, 30] and got[1, 1].tolist() == [255, 255, 255]
    assert videos._prepare(frame, ".webp").shape == (2, 2, 4)


def test_gif_is_close_to_its_frames(tmp_path):
    ramp = np.linspace(0, 255, 32).astype(np.uint8)
    frames = [
        np.stack(np.broadcast_arrays(ramp, ramp[:, None], np.uint8(level)), axis=-1)
        for level in (0, 80, 160)
    ]
    with videos.write_video(tmp_path / "x.gif", 3, videos.writer_settings(".gif")) as write:
        for frame in frames:
            write(frame)
    with PIL.Image.open(tmp_path / "x.gif") as image:
        for i, frame in enumerate(frames):
            image.seek(i)
            difference = np.asarray(image.convert("RGB")).astype(int) - frame
            assert np.abs(difference).mean() < 12


def test_encoder_that_swallows_frames_is_noticed(tmp_path):
    for name in ("x.mp4", "x.gif"):
        settings = videos.writer_settings(name[1:])
        with (
            pytest.raises(OSError, match="was not written"),
            videos.write_video(tmp_path / name, 3, settings) as write,
        ):
            for _ in range(2):
                write(np.zeros([16, 16, 3], dtype=np.uint8))
    assert not list(tmp_path.iterdir())


def test_memory_does_not_grow_with_the_length():
    """Frames wait for a slow encoder in a short queue."""
    waiting, most = 0, 0

    def frames():
        nonlocal waiting, most
        for _ in range(100):
            waiting += 1
            most = max(most, waiting)
            yield np.zeros([2, 2, 3], dtype=np.uint8)

    def slow(frame):
        nonlocal waiting
        time.sleep(0.001)
        waiting -= 1

    with videos._in_background(slow) as put:
        for frame in frames():
            put(frame)
    assert waiting == 0
    assert most <= videos.MAX_WAITING + 3
