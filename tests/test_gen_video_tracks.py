"""Tracks, PNG files, layers and sound on the command line of gen_video.py."""

import subprocess

import imageio_ffmpeg
import numpy as np
import PIL.Image
import pytest
import scipy.io.wavfile
import torch
from click.testing import CliRunner
from scipy.interpolate import CubicSpline

import gen_video
from editing import directions
from tests.small_networks import load, write_pickles
from tests.torch_utils.test_videos import probe
from torch_utils import images, latents

RATE = 16000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one pickle per kind of network."""
    return write_pickles(tmp_path_factory.mktemp("networks"))


@pytest.fixture
def run(folder, tmp_path, monkeypatch):
    """Run the command with a network of `folder`, in `tmp_path`."""
    monkeypatch.chdir(tmp_path)

    def run(network, *args):
        args = [f"--network={folder / network}.pkl", "--device=cpu", *args]
        return CliRunner().invoke(gen_video.main, args)

    return run


@pytest.fixture
def song(tmp_path):
    """Half a second of a low tone, then half a second of silence, as song.wav."""
    t = np.arange(RATE // 2) / RATE
    x = np.concatenate([np.sin(2 * np.pi * 100 * t), 0 * t]) * 20000
    scipy.io.wavfile.write(tmp_path / "song.wav", RATE, x.astype(np.int16))


def frames(path) -> np.ndarray:
    return np.stack([np.asarray(PIL.Image.open(file)) for file in sorted(path.iterdir())])


def test_frames_alone_are_those_of_the_video(run, tmp_path):
    args = ["--seeds=0,1", "--grid=2x1", "--num-keyframes=1", "--w-frames=3"]
    result = run("rgba", *args, "--frames=both", "--output=x.webp")
    assert result.exit_code == 0, result.output
    assert "Wrote x.webp and both" in result.output
    assert run("rgba", *args, "--frames=new/alone").exit_code == 0
    both = frames(tmp_path / "both")
    np.testing.assert_array_equal(both, frames(tmp_path / "new" / "alone"))
    assert both.shape == (3, 16, 32, 4)
    assert (tmp_path / "x.webp").exists()


@pytest.mark.parametrize(
    "args",
    [
        ["--class=2"],
        ["--class=2..2", "--easing=spline", "--trunc=1..1", "--rotate=0", "--zoom=1",
         "--translate=0,0"],
    ],
)  # fmt: skip
def test_defaults_and_tracks_that_stay_are_a_periodic_spline(args, run, folder, tmp_path):
    result = run("cond", "--seeds=0-2", "--w-frames=2", *args, "--frames=f")
    assert result.exit_code == 0, result.output
    G = load(folder, "cond")
    z = latents.z_from_seeds([0, 1, 2], G.z_dim).float()
    with torch.no_grad():
        ws = G.mapping(z, latents.label_from_class(2, G.c_dim, 3)).double()
        spline = CubicSpline(range(4), ws[[0, 1, 2, 0]], bc_type="periodic")
        img = G.synthesis(torch.from_numpy(spline(np.arange(6) / 2)), noise_mode="const")
    expected = images.to_uint8(img).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(frames(tmp_path / "f").astype(int), expected.astype(int), atol=1)


def test_everything_at_once(run, folder, song, tmp_path):
    G = load(folder, "t")
    vectors = np.ones([1, 1, G.w_dim], np.float32) / np.sqrt(G.w_dim)
    directions.save("d.npz", directions.Directions(vectors, np.ones(1), ("age",), "made up"))
    result = run(
        "t", "--seeds=0,1", "--w-frames=15", "--fps=30", "--easing=smooth", "--trunc=0.5..1",
        "--translate=0,0..0.1,0.1", "--rotate=0:0,0.5:90,1:0", "--zoom=1..1.5", "--stabilize",
        "--direction=d.npz:age=-1..1", "--audio=song.wav", "--react=bass:zoom=1..1.5",
        "--react=bass:age=0..2", "--react=bass:trunc=0.5..1", "--output=x.mp4", "--frames=f",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "Warning" not in result.stderr
    assert len(probe(tmp_path / "x.mp4").frames) == len(frames(tmp_path / "f")) == 30


def test_a_track_reacts_to_loudness(run, song, tmp_path):
    """The picture turns by 180 degrees where the sound is loud, and not at all in silence."""
    still = ["--seeds=0", "--w-frames=30", "--fps=30"]
    react = ["--audio=song.wav", "--react=bass:rotate=0..180"]
    assert run("t", *still, *react, "--frames=react").exit_code == 0
    assert run("t", *still, "--frames=still").exit_code == 0
    assert run("t", *still, "--rotate=180", "--frames=turned").exit_code == 0
    react, still, turned = (frames(tmp_path / name) for name in ("react", "still", "turned"))
    np.testing.assert_allclose(react[5].astype(int), turned[5].astype(int), atol=8)
    np.testing.assert_array_equal(react[25], still[25])


@pytest.mark.parametrize(
    ("w_frames", "warning"),
    [
        (30, None),
        (15, "the sound takes 1.0 s and the video 0.5 s; the rest of the sound is cut off"),
        (60, "the sound takes 1.0 s and the video 2.0 s; the video ends in silence"),
    ],
)
def test_video_keeps_its_length_whatever_the_sound_has(w_frames, warning, run, song, tmp_path):
    args = ["--seeds=0", "--fps=30", "--audio=song.wav", "--output=x.mp4"]
    result = run("sg2", f"--w-frames={w_frames}", *args)
    assert result.exit_code == 0, result.output
    assert (warning or "") in result.stderr and ("Warning" in result.stderr) == bool(warning)
    assert len(probe(tmp_path / "x.mp4").frames) == w_frames
    samples = decoded_sound(tmp_path / "x.mp4")
    assert abs(len(samples) / RATE - min(w_frames / 30, 1)) < 0.1  # AAC pads to whole blocks
    loud = np.sqrt(np.mean(samples[RATE // 10 : RATE * 4 // 10] ** 2))
    assert abs(loud - 20000 / 2**0.5) < 3000


@pytest.mark.parametrize(
    ("w_frames", "warning"),
    [
        (30, None),
        (15, "the sound takes 1.0 s and the video 0.5 s; nothing reacts to the rest"),
        (60, "the sound takes 1.0 s and the video 2.0 s; the last frames react to silence"),
    ],
)
def test_lengths_are_compared_for_frames_alone(w_frames, warning, run, song):
    args = ["--seeds=0", "--fps=30", "--audio=song.wav", "--react=bass:zoom=1..2", "--frames=f"]
    result = run("t", f"--w-frames={w_frames}", *args)
    assert result.exit_code == 0, result.output
    assert (warning or "") in result.stderr and ("Warning" in result.stderr) == bool(warning)


def decoded_sound(path) -> np.ndarray:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "quiet", "-i", str(path)]
    command += ["-f", "s16le", "-ar", str(RATE), "-ac", "1", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.int16).astype(float)


def test_layer_goes_into_videos(run, tmp_path):
    result = run("sg2", "--seeds=0,1", "--w-frames=2", "--layer=b8.conv0", "--output=x.mp4")
    assert result.exit_code == 0, result.output
    assert probe(tmp_path / "x.mp4").size == (16, 16)


@pytest.mark.parametrize(
    ("network", "args", "message"),
    [
        ("t", [], "Missing option '--output' (or '--frames')"),
        ("t", ["--frames=f", "--react=bass:zoom=1..2"], "--react takes the sound of --audio"),
        ("t", ["--frames=f", "--audio=song.wav"], "PNG files have no sound; give --output"),
        ("t", ["--output=x.gif", "--audio=song.wav"], ".gif files have no sound; write an .mp4"),
        ("t", ["--frames=f", "--react=zoom=1..2"], "is not BAND:NAME=LOW..HIGH, such as bass"),
        ("t", ["--frames=f", "--react=high:zoom=1..2"], "'high' is no band; choose from bass"),
        ("t", ["--frames=f", *["--react=mid:zoom=1..2"] * 4], "4 reactions are too many"),
        ("t", ["--frames=f", "--zoom=0..1"], "'0' is not a number above 0"),
        ("t", ["--frames=f", "--zoom=0:1,0.5"], "'--zoom'"),
        ("t", ["--frames=f", "--rotate=0:0,2:1"], "time 2 is not from 0 (the start) to 1"),
        ("t", ["--frames=f", "--rotate=1..2..3"], "'2..3' is not a number"),
        ("t", ["--frames=f", "--translate=0..1"], "'0' is not a pair of numbers like 0.3,1"),
        ("cond", ["--frames=f", "--class=0..0.5"], "'0.5' is not a whole number from 0 on"),
        ("t", ["--frames=f", "--direction=d.npz=1..2"], "is not FILE:NAME=AMOUNT"),
        ("t", ["--frames=f", "--easing=fast"], "'fast' is not one of"),
    ],
)  # fmt: skip
def test_bad_options_are_usage_errors(network, args, message, run, song, tmp_path):
    result = run(network, "--seeds=0", "--w-frames=1", *args)
    assert result.exit_code == 2, result.output
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert message in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["song.wav"]


@pytest.mark.parametrize(
    ("network", "args", "message"),
    [
        ("sg2", ["--zoom=1..2"], "--translate, --rotate and --zoom are for StyleGAN3"),
        ("sg2", ["--stabilize"], "--stabilize is for StyleGAN3"),
        ("sg2", ["--layer=b99"], "--layer: this network has no layer 'b99'; there are: b4.conv1,"),
        ("cond", ["--class=0..3"], "--class 3 does not exist: choose one from 0 to 2"),
        (
            "t",
            ["--audio=song.wav", "--fps=1", "--react=bass:size=1..2"],
            "--react: there is no track 'size'",
        ),
        ("t", ["--audio=song.wav", "--fps=1", "--react=treble:zoom=1..2"], "has no treble"),
    ],
)
def test_requests_that_do_not_suit_the_network_end_in_one_line(
    network, args, message, run, song, tmp_path
):
    result = run(network, "--seeds=0", "--w-frames=1", "--frames=f", *args)
    assert message in result.stderr
    assert result.exit_code == (0 if "treble" in message else 1)
    assert result.stderr.count("\n") == 1


def test_old_frames_are_refused_before_the_network_is_loaded(run, tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "frame000007.png").touch()
    result = run("nowhere", "--seeds=0", "--frames=f")
    assert result.exit_code == 1
    assert (
        "--frames: f has frames already, from frame000007.png to frame000007.png" in result.stderr
    )


def test_options_without_effect_are_named(run):
    result = run("t", "--seeds=0", "--w-frames=1", "--frames=f", "--fps=30", "--bitrate=1M")
    assert result.exit_code == 0
    assert "--bitrate has no effect without --output" in result.stderr
    assert "--fps has no effect without --output or --react" in result.stderr


@pytest.mark.parametrize(
    ("args", "idle"),
    [
        ([], []),
        (["--trunc=0.5"], ["--trunc"]),
        (["--class=1"], ["--class"]),
        (["--react=bass:trunc=0.5..1", "--react=bass:zoom=1..2"], ["--react of trunc"]),
        (["--trunc=0..1", "--class=1", "--react=mid:trunc=0..1"],
         ["--trunc", "--class", "--react of trunc"]),
    ],
)  # fmt: skip
def test_what_only_changes_seeds_is_named(args, idle, run, folder, song):
    G = load(folder, "t")
    np.savez("w.npz", w=np.zeros([1, G.num_ws, G.w_dim]))
    audio = ["--audio=song.wav"] if any("react" in arg for arg in args) else []
    result = run("t", "--latents=w.npz", "--w-frames=1", *args, *audio, "--frames=f")
    assert result.exit_code == 0, result.output
    told = [line for line in result.stderr.splitlines() if "without --seeds" in line]
    assert told == [f"Warning: {option} has no effect without --seeds" for option in idle]


def test_directions_that_share_a_name_cannot_react(run, folder, song):
    vectors = np.ones([1, 1, load(folder, "t").w_dim], np.float32)
    directions.save("d.npz", directions.Directions(vectors, np.ones(1), ("zoom",), ""))
    result = run(
        "t", "--seeds=0", "--frames=f", "--direction=d.npz:zoom=1", "--audio=song.wav",
        "--react=bass:zoom=1..2",
    )  # fmt: skip
    assert result.exit_code == 2
    assert "names of directions must differ" in result.stderr
