"""Writes videos: MP4, GIF, WebP. A file appears complete or not at all."""

import itertools
import os
import queue
import shutil
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.errors import InputError, MachineError
from dnnlib.paths import shorten_name
from torch_utils import images

try:
    import imageio
    import imageio_ffmpeg
except ImportError:
    # Reported when a video is requested. A missing module is `None`, which mypy does not accept.
    imageio = imageio_ffmpeg = None  # type: ignore[assignment]

EXTENSIONS = (".mp4", ".gif", ".webp")
MAX_GIF_FPS = 50  # browsers play GIFs slowly if a frame takes less than two hundredths of a second
MAX_WAITING = 8  # frames between the network and the encoder

# Each frame has a palette of its own; a common palette would have to wait for the last frame.
GIF_FILTER = "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1"
# The colour space that players assume for large videos; otherwise colours depend on the player.
BT709 = ["-vf", "scale=out_color_matrix=bt709:out_range=tv"]
BT709 += ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"]


def require_ffmpeg() -> None:
    """Make sure that an encoder is installed.

    Raises:
        MachineError: If none is; the message tells what to install.
    """
    if imageio is None:
        raise MachineError("writing videos takes two packages: pip install imageio imageio-ffmpeg")
    try:
        imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise MachineError(
            "no ffmpeg was found: pip install --force-reinstall imageio-ffmpeg brings one, or set"
            " IMAGEIO_FFMPEG_EXE to yours"
        ) from error


def writer_settings(
    extension: str, fps: float | None = None, bitrate: str | None = None
) -> dict[str, Any]:
    """Keyword arguments of `imageio.get_writer` for a kind of file."""
    if extension not in (".gif", ".webp"):
        return {
            "mode": "I",
            "fps": 60 if fps is None else fps,
            "codec": "libx264",
            "bitrate": bitrate or "12M",
        }
    settings = {"mode": "I", "macro_block_size": 1, "ffmpeg_log_level": "quiet"}
    if extension == ".gif":
        return settings | {
            "fps": MAX_GIF_FPS if fps is None else fps,
            "codec": "gif",
            "pixelformat": "pal8",
            "output_params": ["-vf", GIF_FILTER, "-loop", "0", "-f", "gif"],
        }
    return settings | {
        "fps": 60 if fps is None else fps,
        "codec": "libwebp_anim",
        "pixelformat": "yuva420p",
        "output_params": ["-loop", "0", "-quality", "90", "-f", "webp"],
    }


def audio_settings(path: str | os.PathLike, duration_sec: float) -> dict[str, Any]:
    """More keyword arguments of `imageio.get_writer`: sound for an MP4 of a certain length."""
    return {
        "audio_path": os.path.abspath(path),
        "audio_codec": "aac",
        "output_params": ["-t", f"{duration_sec:.6f}"],
    }


@contextmanager
def write_video(
    path: str | os.PathLike, num_frames: int, settings: dict[str, Any]
) -> Iterator[Callable[[np.ndarray], None]]:
    """Give the `with` block a function that writes frames, uint8 `[H, W, C]`.

    The file gets its name when the block has ended without error and all `num_frames` are in the
    file. After an exception nothing remains.

    Raises:
        OSError: If the file cannot be written.
    """
    target = Path(os.path.realpath(path))
    extension = target.suffix.lower()
    # imageio chooses its plugin by the suffix: .gif and .webp would choose the one for images.
    suffix = ".mp4" if extension in (".gif", ".webp") else target.suffix
    temp = target.with_name(f".{shorten_name(target.stem, 100)}.{uuid.uuid4().hex}.tmp{suffix}")
    target.parent.mkdir(parents=True, exist_ok=True)
    writer = imageio.get_writer(str(temp), **_with_exact_rate(settings))

    def append(frame: np.ndarray) -> None:
        try:
            writer.append_data(_prepare(frame, extension))
        except OSError as error:
            raise OSError(_describe_failure(path, target.parent)) from error

    try:
        with _in_background(append) as write:
            yield write
        writer.close()
        # Programs (and tests) may replace imageio's writer by one that writes no file.
        if isinstance(writer, imageio.core.format.Format.Writer):
            if not _is_complete(temp, num_frames):
                raise OSError(_describe_failure(path, target.parent))
            _flush_to_disk(temp)
            os.replace(temp, target)
    except BaseException:
        with suppress(OSError):  # open files can be removed, except on Windows
            temp.unlink(missing_ok=True)
        with suppress(OSError):
            writer.close()
        temp.unlink(missing_ok=True)
        raise


def refuse_old_frames(folder: str | os.PathLike) -> None:
    """Refuse a folder with frames: an old sequence that is longer would continue the new one.

    Raises:
        InputError: If the folder has files that are named like frames.
    """
    old = sorted(path.name for path in Path(folder).glob("frame[0-9]*.png"))
    if old:
        raise InputError(
            f"{folder} has frames already, from {old[0]} to {old[-1]}; give another folder, or "
            "remove them"
        )


@contextmanager
def write_frames(folder: Path) -> Iterator[Callable[[np.ndarray], None]]:
    """Give the `with` block a function that writes frames as frame000000.png and so on.

    Frames are uint8 `[H, W, C]` with 1 (grayscale), 3 (RGB) or 4 (RGBA) channels. Each file appears
    complete; after an exception the files that are complete remain.
    """
    numbers = itertools.count()

    def save(frame: np.ndarray) -> None:
        images.save_png(frame.transpose(2, 0, 1), folder / f"frame{next(numbers):06d}.png")

    with _in_background(save) as write:
        yield write


def _with_exact_rate(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings whose `fps` ffmpeg gets exactly: imageio writes two decimals, 23.98 for 23.976."""
    fps = settings.get("fps")
    if fps is None or float(fps) == float(f"{fps:.02f}"):
        return settings
    rate = ["-r", str(float(fps))]  # follows that of imageio, and the last one counts
    return settings | {"input_params": [*rate, *(settings.get("input_params") or [])]}


def _prepare(frame: np.ndarray, extension: str) -> np.ndarray:
    """Convert a frame for the encoders: three or four channels; for MP4, an even size."""
    channels = frame.shape[2]
    if channels not in (1, 3, 4):
        raise InputError(
            f"a video has 1 (grayscale), 3 (RGB) or 4 (RGBA) channels; the network has {channels}"
        )
    if channels == 1:
        frame = frame.repeat(3, axis=2)
    if channels == 4 and extension != ".webp":  # on white
        alpha = frame[:, :, 3:].astype(np.uint16)
        frame = ((frame[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    if extension not in (".gif", ".webp"):
        height, width = frame.shape[:2]
        frame = np.pad(frame, [(0, height % 2), (0, width % 2), (0, 0)], mode="edge")
    return np.ascontiguousarray(frame)


def _is_complete(path: Path, num_frames: int) -> bool:
    """Whether an encoder has written all frames, which imageio does not report."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        head = file.read(12)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        last = file.read(1)
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        # WebP joins equal frames, so frames cannot be counted; but the header has the size.
        return int.from_bytes(head[4:8], "little") + 8 == size
    if head[:4] == b"GIF8" and last != b";":
        return False
    # ffmpeg prints one line for each frame, without decoding it.
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "quiet", "-i", str(path)]
    command += ["-map", "0:v:0", "-c", "copy", "-f", "framecrc", "-"]
    listed = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    frames = [line for line in listed.stdout.splitlines() if not line.startswith(b"#")]
    return listed.returncode == 0 and len(frames) == num_frames


def _describe_failure(path: str | os.PathLike, folder: Path) -> str:
    free_mib = shutil.disk_usage(folder).free / 2**20
    reason = "is the disk full?" if free_mib > 16 else "the disk is full"
    return f"{path} was not written: the encoder stopped; {reason} ({free_mib:.0f} MiB free)"


def _flush_to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def _in_background(consume: Callable[[np.ndarray], None]) -> Iterator[Callable[[np.ndarray], None]]:
    """Give the `with` block a function that passes items, in order, to a thread that consumes them.

    The block waits when too many items are queued, and when it ends. An error in the thread is
    raised in the block or at its end. If the block fails, the remaining items are not consumed.
    """
    waiting: queue.Queue[np.ndarray | None] = queue.Queue(MAX_WAITING)
    errors: list[BaseException] = []

    def work() -> None:
        while (item := waiting.get()) is not None:
            try:
                if not errors:
                    consume(item)
            except BaseException as error:
                errors.append(error)

    def put(item: np.ndarray) -> None:
        if errors:
            raise errors[0]
        waiting.put(item)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield put
    except BaseException as error:
        errors.append(error)
        raise
    finally:
        waiting.put(None)
        thread.join()
    if errors:
        raise errors[0]
