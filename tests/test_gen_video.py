"""The video command: reference trajectories and frames, files that play, and what goes wrong."""

import inspect
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import imageio
import imageio_ffmpeg
import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import CliRunner

import gen_video
from tests import golden
from tests.test_gen_images import stylegan2, stylegan3
from torch_utils import images, latents, videos

WRITER_ARGUMENTS = {"mode": "I", "fps": 60, "codec": "libx264", "bitrate": "12M"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one pickle per kind of network."""
    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    networks = {
        "t": stylegan3(),
        "sg2": stylegan2(),
        "cond": stylegan2(c_dim=3),
        "gray": stylegan2(img_channels=1),
        "rgba": stylegan2(img_channels=4),
    }
    for name, G in networks.items():
        (folder / f"{name}.pkl").write_bytes(pickle.dumps({"G_ema": G}))
    return folder


@pytest.fixture
def run(folder, tmp_path):
    """Run the command with a network of `folder`; the video goes to `tmp_path / name`."""

    def run(network, *args, name="out.mp4"):
        args = [f"--network={folder / network}.pkl", f"--output={tmp_path / name}", *args]
        return CliRunner().invoke(gen_video.main, ["--device=cpu", "--w-frames=3", *args])

    return run


def load(folder, name: str) -> torch.nn.Module:
    return pickle.loads((folder / f"{name}.pkl").read_bytes())["G_ema"]


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


# Reference values


class StubGenerator:
    """The network of the reference: linear mapping, one layer of synthesis."""

    def __init__(self, case) -> None:
        self.meta, self.M, self.B = case.meta, golden.tensor(case, "M"), golden.tensor(case, "B")
        self.z_dim = case.meta["z_dim"]
        self.calls = []

    def mapping(self, z, c, truncation_psi):
        assert str(c) == self.meta["mapping_call"]["c"]
        assert str(z.dtype) == self.meta["mapping_call"]["z_dtype"]
        return truncation_psi * (z @ self.M).reshape(-1, self.meta["num_ws"], self.meta["w_dim"])

    def synthesis(self, ws, **kwargs):
        self.calls.append((ws.numpy(), kwargs))
        return torch.tanh(ws.flatten(1) @ self.B).reshape(-1, 3, 2, 2)


class RecordingWriter:
    def __init__(self, arguments) -> None:
        self.arguments, self.frames, self.is_closed = arguments, [], False

    def append_data(self, frame) -> None:
        assert not self.is_closed
        self.frames.append(frame)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def writers(monkeypatch):
    """In place of imageio's: keep arguments and frames."""
    writers = []

    def get_writer(path, **kwargs):
        writers.append(RecordingWriter(kwargs))
        return writers[-1]

    monkeypatch.setattr(imageio, "get_writer", get_writer)
    return writers


def gen_reference_video(case, tmp_path, **kwargs) -> StubGenerator:
    G = StubGenerator(case)
    gen_video.gen_interp_video(
        G,
        mp4=str(tmp_path / "x.mp4"),
        seeds=case.meta["seeds"],
        shuffle_seed=case.meta["shuffle_seed"],
        w_frames=case.meta["w_frames"],
        kind=case.meta["kind"],
        grid_dims=tuple(case.meta["grid_dims"]),
        num_keyframes=case.meta["num_keyframes_arg"],
        wraps=case.meta["wraps"],
        psi=case.meta["psi"],
        device=torch.device("cpu"),
        **kwargs,
    )
    return G


@pytest.mark.parametrize("name", golden.case_names("gen.npz", "video_"))
def test_video_matches_reference(name, writers, tmp_path):
    case = golden.load("gen.npz")[name]
    G = gen_reference_video(case, tmp_path)

    (warm_up_ws, warm_up_kwargs), *calls = G.calls
    assert warm_up_kwargs == {} and len(warm_up_ws) == 1
    assert all(len(ws) == 1 and kwargs == {"noise_mode": "const"} for ws, kwargs in calls)
    ws = np.concatenate([ws for ws, _ in calls]).reshape(case.arrays["ws"].shape)
    np.testing.assert_allclose(ws, case.arrays["ws"], atol=1e-8)

    (writer,) = writers
    assert writer.arguments == case.meta["writer_arguments"] == WRITER_ARGUMENTS
    assert writer.is_closed
    frames = np.stack(writer.frames).astype(int)
    np.testing.assert_allclose(frames, case.arrays["frames"].astype(int), atol=1)
    assert not list(tmp_path.iterdir())  # the writer wrote no file


@pytest.mark.parametrize("batch", [2, 5, 100])
def test_batches_across_grid_and_time_give_the_same_frames(batch, writers, tmp_path):
    case = golden.load("gen.npz")["video_grid2x3_shuffle"]
    G = gen_reference_video(case, tmp_path, batch=batch)
    num_images = case.meta["total_frames"] * 6
    sizes = [len(ws) for ws, _ in G.calls[1:]]
    assert sizes == [min(batch, num_images - i) for i in range(0, num_images, batch)]
    frames = np.stack(writers[0].frames).astype(int)
    np.testing.assert_allclose(frames, case.arrays["frames"].astype(int), atol=1)


def test_seeds_are_assigned_as_in_the_reference():
    cases = golden.load("gen.npz")
    for name in golden.case_names("gen.npz", "video_"):
        meta = cases[name].meta
        table = gen_video.assign_seeds(
            meta["seeds"], meta["grid_dims"], meta["num_keyframes_arg"], meta["shuffle_seed"]
        )
        np.testing.assert_array_equal(
            np.moveaxis(table, 0, 2).ravel(), cases[name].arrays["all_seeds"]
        )


@pytest.mark.parametrize("name", golden.case_names("gen.npz", "layout_"))
def test_layout_grid_matches_reference(name):
    case = golden.load("gen.npz")[name]
    got = gen_video.layout_grid(golden.tensor(case, "img"), **case.meta["kwargs"])
    assert type(got).__name__ == case.meta["return_type"]
    np.testing.assert_array_equal(np.asarray(got), case.arrays["out"])
    assert np.asarray(got).dtype == case.arrays["out"].dtype


def test_parser_is_importable_from_here():
    assert gen_video.parse_tuple("4x2") == gen_video.parse_tuple("4,2") == (4, 2)


def test_path_passes_through_keyframes_and_closes():
    keyframes = np.random.RandomState(0).randn(3, 1, 2, 1, 4).repeat(5, axis=3)  # equal layers
    path = gen_video.interpolate(keyframes, "cubic", wraps=2)
    np.testing.assert_allclose(path(np.arange(4))[[0, 1, 2]], keyframes, atol=1e-12)
    np.testing.assert_allclose(path(np.array([2.999999])), keyframes[:1], atol=1e-4)


# Files


def test_mp4_has_the_frames_of_the_network(run, folder, tmp_path):
    result = run("sg2", "--seeds=0-3", "--grid=2x1", "--w-frames=10")
    assert result.exit_code == 0, result.output
    assert "Wrote" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    video = probe(tmp_path / "out.mp4")
    assert (video.codec, video.size, video.fps) == ("h264", (32, 16), 60)
    assert video.pix_fmt.startswith("yuv420p(tv, bt709")
    assert len(video.frames) == 20  # 2 keyframes each

    G = load(folder, "sg2")
    z = latents.z_from_seeds([0, 2], G.z_dim)  # keyframe 0 of both images
    with torch.no_grad():
        img = G.synthesis(G.mapping(z, None), noise_mode="const")
    expected = np.concatenate(list(images.to_uint8(img).permute(0, 2, 3, 1).numpy()), axis=1)
    smooth = [
        np.asarray(PIL.Image.fromarray(x).resize((8, 4))) for x in (video.frames[0], expected)
    ]
    difference = np.abs(smooth[0].astype(float) - smooth[1])  # apart from subsampled colours
    assert difference.mean() < 4


@pytest.mark.parametrize("network", ["t", "gray", "rgba"])
def test_batches_and_channels(network, run, tmp_path):
    result = run(network, "--seeds=0-3", "--grid=2x2", "--batch=3", "--fps=25", "--bitrate=800k")
    assert result.exit_code == 0, result.output
    video = probe(tmp_path / "out.mp4")
    assert (video.codec, video.size, video.fps) == ("h264", (32, 32), 25)
    assert len(video.frames) == 3
    if network == "gray":
        assert np.ptp(video.frames.astype(int), axis=3).max() <= 4


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


@pytest.mark.parametrize(
    ("name", "args", "frame_ms"),
    [("a.gif", [], 20), ("b.gif", ["--fps=20"], 50), ("c.WEBP", [], 17)],
)
def test_animations(name, args, frame_ms, run, folder, tmp_path):
    result = run("rgba", "--seeds=0,1", "--w-frames=6", *args, name=name)
    assert result.exit_code == 0, result.output
    with PIL.Image.open(tmp_path / name) as image:
        assert image.format == ("GIF" if "gif" in name else "WEBP")
        assert (image.size, image.n_frames, image.info["loop"]) == ((16, 16), 12, 0)
        image.load()
        assert abs(image.info["duration"] - frame_ms) <= 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


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


def test_conditional_network_draws_the_class(run, folder, writers, tmp_path):
    assert run("cond", "--seeds=3", "--class=2", "--w-frames=1").exit_code == 0
    G = load(folder, "cond")
    z = latents.z_from_seeds([3], G.z_dim)
    with torch.no_grad():
        ws = G.mapping(z, torch.tensor([[0.0, 0.0, 1.0]]))
        img = G.synthesis(ws, noise_mode="const")
    expected = images.to_uint8(img)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(writers[0].frames[0].astype(int), expected.astype(int), atol=1)


def test_class_on_an_unconditional_network_only_warns(run):
    result = run("t", "--seeds=0", "--class=1")
    assert result.exit_code == 0
    assert result.stderr.count("Warning") == 1
    assert "Warning: --class has no effect" in result.stderr


def test_missing_folders_are_made_and_old_files_replaced(run, tmp_path):
    for _ in range(2):
        assert run("t", "--seeds=0", name="new/folder/out.mp4").exit_code == 0
        assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["out.mp4"]


# What goes wrong


@pytest.mark.parametrize(
    ("network", "args", "exit_code", "message"),
    [
        ("t", [], 2, "Missing option '--seeds'"),
        ("t", ["--seeds=0-2", "--grid=2x1"], 1, "--seeds: 3 seeds do not fill a grid of 2x1"),
        ("t", ["--seeds=0", "--grid=0x1"], 2, "'--grid'"),
        ("t", ["--seeds=0", "--w-frames=0"], 2, "'--w-frames'"),
        ("t", ["--seeds=0", "--num-keyframes=0"], 2, "'--num-keyframes'"),
        ("t", ["--seeds=0", "--fps=0"], 2, "'--fps'"),
        ("t", ["--seeds=0", "--bitrate=fast"], 2, "'fast' is not a bit rate like 12M"),
        ("t", ["--seeds=0", "--batch=0"], 2, "'--batch'"),
        ("t", ["--seeds=0", "--shuffle-seed=-1"], 2, "'--shuffle-seed'"),
        ("cond", ["--seeds=0"], 1, "conditional: choose a --class from 0 to 2"),
        ("cond", ["--seeds=0", "--class=3"], 1, "--class 3 does not exist"),
        ("nowhere", ["--seeds=0"], 1, "nowhere.pkl"),
    ],
)
def test_bad_requests_end_in_one_error_line(network, args, exit_code, message, run, tmp_path):
    result = run(network, *args)
    assert result.exit_code == exit_code, result.output
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("out.avi", [], "does not end in .mp4 or .gif or .webp"),
        ("out", [], "does not end in .mp4"),
        ("folder.mp4", [], "is a directory"),
        ("file/out.mp4", [], "cannot be written: Not a directory"),
        ("out.gif", ["--fps=60"], "60 is too fast for a GIF, which takes up to 50"),
    ],
)
def test_bad_outputs_are_usage_errors(name, args, message, run, tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").touch()
    result = run("nowhere", "--seeds=0", *args, name=name)
    assert result.exit_code == 2
    assert message in result.stderr


def test_missing_packages_are_named(run, monkeypatch, tmp_path):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "no-ffmpeg"))
    with monkeypatch.context() as patched:
        patched.setattr(videos, "imageio", None)
        assert "pip install imageio imageio-ffmpeg" in run("t", "--seeds=0").stderr

    def no_ffmpeg():
        raise RuntimeError("No ffmpeg exe could be found")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", no_ffmpeg)
    result = run("t", "--seeds=0")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "pip install --force-reinstall imageio-ffmpeg" in result.stderr


@pytest.mark.parametrize("error", [ValueError("--x is wrong"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("name", ["out.mp4", "out.gif"])
def test_interruption_keeps_what_was_there(error, name, folder, tmp_path):
    """Whether rendering fails or somebody stops it: no new file, and the old one is as it was."""
    G = load(folder, "t")
    forward, num_calls = G.synthesis.forward, 0

    def failing(*args, **kwargs):
        nonlocal num_calls
        num_calls += 1
        if num_calls == 20:
            raise error
        return forward(*args, **kwargs)

    G.synthesis.forward = failing
    (tmp_path / name).write_bytes(b"old")
    with pytest.raises(type(error)):
        gen_video.gen_interp_video(G, tmp_path / name, [0, 1], w_frames=30)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"old"


def test_encoder_that_dies_is_noticed(folder, tmp_path, monkeypatch):
    writer_type, frames = imageio.core.format.Format.Writer, 0
    append = writer_type.append_data

    def failing(self, im, meta=None):
        nonlocal frames
        frames += 1
        if frames == 5:
            raise OSError("Broken pipe\n\nFFMPEG COMMAND: ...")
        return append(self, im, meta or {})

    monkeypatch.setattr(writer_type, "append_data", failing)
    with pytest.raises(OSError, match=r"out\.mp4 was not written: the encoder stopped"):
        gen_video.gen_interp_video(load(folder, "t"), tmp_path / "out.mp4", [0], w_frames=200)
    assert not list(tmp_path.iterdir())


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


@pytest.fixture
def limit_encoder(tmp_path_factory, monkeypatch):
    """Replace ffmpeg by one that can write files of a limited size only."""

    def limit_encoder(size: int, trap: str) -> None:
        script = tmp_path_factory.mktemp("bin") / "ffmpeg"
        exe = imageio_ffmpeg.get_ffmpeg_exe()
        script.write_text(f"""#!/bin/sh\n{trap}\nulimit -f {size // 512}\nexec {exe} "$@"\n""")
        script.chmod(0o755)
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(script))

    return limit_encoder


@pytest.mark.parametrize("trap", ["trap '' XFSZ", ""], ids=["write-fails", "killed"])
@pytest.mark.parametrize("size", [2048, 40960], ids=["at-the-end", "in-between"])
@pytest.mark.parametrize("name", ["out.mp4", "out.gif", "out.webp"])
def test_full_disk_leaves_nothing(name, size, trap, run, limit_encoder, tmp_path):
    """The encoder fails while it gets frames, or after it got all of them."""
    limit_encoder(size, trap)
    w_frames = "--w-frames=3" if size < 10_000 else "--w-frames=30"
    result = run("sg2", "--grid=4x2", "--seeds=0-15", "--batch=8", w_frames, name=name)
    assert result.exit_code == 1, result.output
    pattern = r"Error: .* was not written: the encoder stopped; .*\n"
    assert re.fullmatch(pattern, result.stderr)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_leave_nothing(number, code, folder, tmp_path):
    output = tmp_path / "out.mp4"
    args = [f"--network={folder / 'sg2.pkl'}", f"--output={output}", "--w-frames=100000"]
    process = subprocess.Popen(
        [sys.executable, gen_video.__file__, *args, "--device=cpu", "--seeds=0-7"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".out.*.tmp.mp4")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert stderr == ("Aborted\n" if number == signal.SIGINT else "")
    assert not list(tmp_path.iterdir())


def test_memory_does_not_grow_with_the_length(folder, tmp_path):
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


def test_published_signature():
    parameters = [
        (parameter.name, parameter.default)
        for parameter in inspect.signature(gen_video.gen_interp_video).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    empty = inspect.Parameter.empty
    assert parameters == [
        *[(name, empty) for name in ("G", "mp4", "seeds")],
        *[("shuffle_seed", None), ("w_frames", 240), ("kind", "cubic"), ("grid_dims", (1, 1))],
        *[("num_keyframes", None), ("wraps", 2), ("psi", 1), ("device", None)],
    ]
