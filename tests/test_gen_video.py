"""The video command: reference trajectories and frames, files that play, and what goes wrong."""

import re
import signal
import subprocess
import sys
import time

import imageio_ffmpeg
import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import CliRunner

import gen_video
from tests.generation.conftest import writers  # noqa: F401
from tests.small_networks import load, write_pickles
from tests.torch_utils.test_videos import probe
from torch_utils import images, latents, videos


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one pickle per kind of network."""
    return write_pickles(tmp_path_factory.mktemp("networks"))


@pytest.fixture
def run(folder, tmp_path):
    """Run the command with a network of `folder`; the video goes to `tmp_path / name`."""

    def run(network, *args, name="out.mp4"):
        args = [f"--network={folder / network}.pkl", f"--output={tmp_path / name}", *args]
        return CliRunner().invoke(gen_video.main, ["--device=cpu", "--w-frames=3", *args])

    return run


def test_parser_is_importable_from_here():
    assert gen_video.parse_tuple("4x2") == gen_video.parse_tuple("4,2") == (4, 2)


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


def test_conditional_network_draws_the_class(run, folder, writers, tmp_path):  # noqa: F811
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


def test_keyframes_of_a_file_follow_those_of_seeds(run, folder, tmp_path, writers):  # noqa: F811
    G = load(folder, "t")
    with torch.no_grad():
        ws = G.mapping(latents.z_from_seeds([7, 8], G.z_dim).float(), torch.zeros([2, 0]))
    np.savez(tmp_path / "w.npz", w=ws.numpy(), transform=np.stack([np.eye(3)] * 2))
    result = run("t", f"--latents={tmp_path / 'w.npz'}", "--seeds=3", "--w-frames=1")
    assert result.exit_code == 0, result.output
    assert run("t", "--seeds=3,7,8", "--w-frames=1").exit_code == 0
    first, second = (np.stack(writer.frames).astype(int) for writer in writers)
    assert len(first) == 3 and len(np.unique(first, axis=0)) == 3
    np.testing.assert_allclose(first, second, atol=1)
    result = run("t", f"--latents={tmp_path / 'w.npz'}", "--w-frames=1")
    assert result.exit_code == 0
    assert "without --seeds" not in result.stderr
    result = run("t", f"--latents={tmp_path / 'w.npz'}", "--w-frames=1", "--trunc=0.5")
    assert result.stderr.count("Warning") == 1
    assert "--trunc has no effect without --seeds" in result.stderr
    np.testing.assert_allclose(np.stack(writers[2].frames).astype(int), second[1:], atol=1)


def test_keyframes_of_another_network_are_refused(run, tmp_path):
    np.savez(tmp_path / "w.npz", w=np.zeros([1, 2, 8]))
    result = run("t", f"--latents={tmp_path / 'w.npz'}")
    assert result.exit_code == 1
    assert "styles (--latents) have shape [1, 2, 8], but this network takes" in result.stderr
    assert not (tmp_path / "out.mp4").exists()
