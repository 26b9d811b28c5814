"""Generate a video that moves smoothly through the images of several seeds, in a grid."""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import re
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import click

from dnnlib import cli, moved, options
from editing import directions
from generation import latent_files, tracks
from generation.sound import Reaction, Sound, react, read_wav
from generation.track_options import ReactionType, TrackType, check_reactions
from generation.tracks import Curve, Track
from generation.trajectories import assign_seeds
from generation.videos import gen_interp_video
from network_files.load import load_network
from torch_utils import devices, videos

__getattr__ = moved.names_of(__name__)


class Bitrate(click.ParamType):
    """Bits per second, with k or M for thousands or millions."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"0*[1-9]\d*(\.\d+)?[kKM]?", value, re.ASCII):
            self.fail(f"{value!r} is not a bit rate like 12M or 800k", param, ctx)
        return value


class VideoFile(cli.LocalPath):
    """A file to write with one of `EXTENSIONS`, in a writable folder."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = super().convert(value, param, ctx)
        if path.suffix.lower() not in videos.EXTENSIONS:
            self.fail(f"{str(path)!r} does not end in {' or '.join(videos.EXTENSIONS)}", param, ctx)
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            self.fail(f"{str(path)!r} cannot be written: {error.strerror}", param, ctx)
        return path


@click.command(cls=cli.Command)
@options.network_option
@options.seeds_option("Random seeds of the keyframes, e.g. 0,1,4-7; required without --latents.")
@options.latents_option("--latents", "Take keyframes from a file, after those of the seeds.")
@options.value_option(
    "--shuffle-seed",
    cli.WholeNumber(0, cli.MAX_SEED),
    "Shuffle the seeds with this random seed.",
)
@options.size_option("--grid", "Columns and rows of images in a frame.", default="1x1")
@options.count_option(
    "--num-keyframes",
    "Keyframes of each image in the grid; seeds are repeated or left out to match.  "
    "[default: the number of seeds / (W * H)]",
)
@options.count_option("--w-frames", "Frames from one keyframe to the next.", default=120)
@click.option(
    "--easing",
    type=click.Choice(["linear", "smooth", "spline"]),
    default="spline",
    show_default=True,
    help="Way between keyframes: straight, straight with a rest at each keyframe, or curved.",
)
@options.value_option(
    "--trunc", TrackType(cli.FiniteFloat()), "Truncation psi.", default="1", metavar="TRACK"
)
@click.option(
    "--class",
    "class_idx",
    type=TrackType(cli.WholeNumber(min=0)),
    metavar="TRACK",
    help="Class, for conditional networks; 0..5 blends from class 0 to class 5.",
)
@options.noise_mode_option
@options.value_option(
    "--translate",
    TrackType(cli.Vec2()),
    "Shift the content, in fractions of the image, such as 0,0..0.5,0 (StyleGAN3).",
    metavar="TRACK",
)
@options.value_option(
    "--rotate",
    TrackType(cli.FiniteFloat()),
    "Rotate the content by degrees, such as 0..360 (StyleGAN3).",
    metavar="TRACK",
)
@options.value_option(
    "--zoom",
    TrackType(cli.FiniteFloat(min=0, min_open=True)),
    "Enlarge the content about the centre, such as 1..2 (StyleGAN3).",
    metavar="TRACK",
)
@click.option(
    "--direction",
    "moves",
    type=cli.DirectionAmount(TrackType(cli.FiniteFloat())),
    multiple=True,
    metavar="FILE:NAME=TRACK",
    help="Go along a direction that directions.py has found, in its scales; several add up.",
)
@click.option(
    "--stabilize",
    is_flag=True,
    help="Keep the content in its place: each style moves it as the mean style does (StyleGAN3).",
)
@click.option(
    "--layer",
    metavar="NAME",
    help="Show channels of a layer. Grey is the mean over up to 32 frames, spread over the video; "
    "black and white are three standard deviations from the mean.",
)
@options.value_option(
    "--output",
    VideoFile(),
    "The video to write; .gif and .webp make animations.",
    metavar="FILE.mp4",
)
@click.option(
    "--frames",
    type=cli.LocalPath(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write frames as PNG files, with transparency; beside --output or without it.",
)
@click.option(
    "--audio",
    type=cli.LocalPath(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE.wav",
    help="Sound of the .mp4; it starts with the video and ends with it at the latest.",
)
@click.option(
    "--react",
    "reactions",
    type=ReactionType(),
    multiple=True,
    callback=check_reactions,
    metavar="BAND:NAME=LOW..HIGH",
    help="Change a track with the loudness of bass (20-250 Hz), mid (250-2000 Hz) or treble "
    "(2-16 kHz): LOW in silence, HIGH at the loudest. It multiplies the tracks zoom and trunc, and "
    "adds to rotate and to a --direction, by its NAME. Up to three.",
)
@options.value_option(
    "--fps",
    cli.FiniteFloat(min=1, max=1000),
    f"Frames per second.  [default: 60; {videos.MAX_GIF_FPS} for .gif]",
)
@click.option("--bitrate", type=Bitrate(), help="Bits per second of .mp4.  [default: 12M]")
@options.count_option(
    "--batch", "Images per pass, of one frame or several.  [default: 8 on cuda, otherwise 1]"
)
@options.allow_untrusted_option
@options.device_option
@options.version_option
def main(
    network: str,
    seeds: list[int] | None,
    latents: Path | None,
    shuffle_seed: int | None,
    grid: tuple[int, int],
    num_keyframes: int | None,
    w_frames: int,
    easing: str,
    trunc: Track,
    class_idx: Track | None,
    noise_mode: Literal["const", "random", "none"],
    translate: Track | None,
    rotate: Track | None,
    zoom: Track | None,
    moves: tuple[tuple[Path, str, Track], ...],
    stabilize: bool,
    layer: str | None,
    output: Path | None,
    frames: Path | None,
    audio: Path | None,
    reactions: tuple[Reaction, ...],
    fps: float | None,
    bitrate: str | None,
    batch: int | None,
    allow_untrusted: bool,
    device: str,
) -> None:
    """Generate a video with a trained network.

    Each image of the grid goes smoothly from seed to seed and back to the first, so the video can
    play in a loop. The seeds fill the grid row by row; the keyframes of an image are consecutive
    seeds.

    A TRACK is a number, FROM..TO over the whole video, or keys TIME:VALUE,TIME:VALUE with straight
    lines between them, where time goes from 0 to 1. At time 1 a loop starts over.

    \b
    Examples:
      # Four seeds, two seconds from each to the next
      python gen_video.py --network=net.pkl --seeds=0-3 --output=lerp.mp4
      # 4x2 images, three keyframes each; --trunc moves them closer to the average image
      python gen_video.py --network=net.pkl --seeds=0-23 --grid=4x2 --trunc=0.7 --output=grid.mp4
      # 4x2 images, ten keyframes each, from any number of seeds in random order
      python gen_video.py --network=net.pkl --seeds=0-31 --shuffle-seed=1 --grid=4x2 \\
          --num-keyframes=10 --output=grid.mp4
      # From a projected picture to two seeds and back
      python gen_video.py --network=net.pkl --latents=projected_w.npz --seeds=0,1 --output=me.mp4
      # The content moves to the right, then to the left, and grows in between
      python gen_video.py --network=pretrained:shapes-t --class=3 --seeds=0-3 --stabilize \\
          --translate=0:0,0,0.25:0.2,0,0.75:-0.2,0,1:0,0 --zoom=0:1,0.5:1.4,1:1 --output=move.mp4
      # From class 0 to class 3 and back, with a rest at each seed
      python gen_video.py --network=pretrained:shapes-t --class=0:0,0.5:3,1:0 --seeds=0-3 \\
          --easing=smooth --output=classes.mp4
      # One seed along a direction of directions.py and back
      python gen_video.py --network=net.pkl --seeds=7 --direction=pca.npz:pc0=0:-2,0.5:2,1:-2 \\
          --output=pc0.mp4
      # The picture follows the music
      python gen_video.py --network=pretrained:shapes-t --class=3 --seeds=0-7 --audio=song.wav \\
          --react=bass:zoom=1..1.3 --react=treble:rotate=0..10 --output=song.mp4
      # PNG files of a layer
      python gen_video.py --network=net.pkl --seeds=0,1 --layer=L3_52_128 --frames=frames
      # A small animation for a web page
      python gen_video.py --network=net.pkl --seeds=0-3 --w-frames=25 --fps=25 --output=lerp.gif
    """
    if not seeds and latents is None:
        raise click.UsageError("Missing option '--seeds' (or '--latents').")
    if not seeds:
        _tell_of_seeds(trunc, class_idx, reactions)
    _check_outputs(output, frames, fps, bitrate, audio, reactions)
    loaded = None if latents is None else latent_files.load(latents)
    num = len(seeds or []) + (0 if loaded is None else len(loaded))
    with cli.blame("--seeds"):  # before the network is loaded
        num_frames = w_frames * len(assign_seeds(range(num), grid, num_keyframes, shuffle_seed))
    settings = {} if output is None else _writer_settings(output.suffix.lower(), fps, bitrate)
    named: dict[str, Curve] = {
        "trunc": trunc,
        "rotate": rotate or tracks.constant(0),
        "zoom": zoom or tracks.constant(1),
    }
    amounts: list[Curve] = [amount for _, _, amount in moves]
    if audio is not None:
        rate = settings.get("fps", fps or 60)
        sound = read_wav(audio)
        _tell_lengths(sound, num_frames / rate, has_video=output is not None)
        if output is not None:
            settings |= _audio_settings(audio, num_frames / rate, settings)
        if reactions:
            named |= {name: amount for _, name, amount in moves}
            _check_names(named, moves)
            with cli.blame("--react"):
                named = react(named, reactions, sound, num_frames, rate)
            amounts = [named[name] for _, name, _ in moves]
    torch_device = devices.resolve_device(device)
    devices.configure_backends(torch_device)

    click.echo(f"Loading {network} ...")
    G = load_network(network, option="--network", allow_untrusted=allow_untrusted)["G_ema"]
    if loaded is not None:
        latent_files.check(loaded, G, "--latents")
    with cli.blame("--direction"):
        offsets = [directions.load_offset(path, name, 1, G) for path, name, _ in moves]
    with cli.exit_when_terminated():
        gen_interp_video(
            G.to(torch_device),
            output,
            seeds,
            shuffle_seed,
            w_frames,
            kind=easing,
            grid_dims=grid,
            num_keyframes=num_keyframes,
            psi=named["trunc"],
            device=torch_device,
            class_idx=class_idx,
            noise_mode=noise_mode,
            batch=batch or (8 if torch_device.type == "cuda" else 1),
            ws=None if loaded is None else loaded.ws,
            transforms=None if loaded is None else loaded.transforms,
            directions=list(zip(offsets, amounts, strict=True)),
            content=tracks.content_matrices(translate, named["rotate"], named["zoom"]),
            stabilize=stabilize,
            layer=layer,
            frames=frames,
            **settings,
        )
    click.echo(f"Wrote {' and '.join(str(path) for path in (output, frames) if path is not None)}")


def _tell_of_seeds(trunc: Track, class_idx: Track | None, reactions: Sequence[Reaction]) -> None:
    """Warn of what only changes seeds."""
    options = {
        "--trunc": trunc != tracks.constant(1),
        "--class": class_idx is not None,
        "--react of trunc": any(reaction.track == "trunc" for reaction in reactions),
    }
    for option in (option for option, is_given in options.items() if is_given):
        warnings.warn(f"{option} has no effect without --seeds", stacklevel=2)


def _check_outputs(
    output: Path | None,
    frames: Path | None,
    fps: float | None,
    bitrate: str | None,
    audio: Path | None,
    reactions: Sequence[Reaction],
) -> None:
    """Refuse options that do not fit together; warn of those without effect."""
    if output is None and frames is None:
        raise click.UsageError("Missing option '--output' (or '--frames').")
    if reactions and audio is None:
        raise click.UsageError("--react takes the sound of --audio: give both.")
    if audio is not None and output is not None and output.suffix.lower() != ".mp4":
        raise click.BadParameter(
            f"{output.suffix} files have no sound; write an .mp4", param_hint="--audio"
        )
    if audio is not None and output is None and not reactions:
        raise click.BadParameter(
            "PNG files have no sound; give --output, or let --react use it", param_hint="--audio"
        )
    if output is None and bitrate is not None:
        warnings.warn("--bitrate has no effect without --output", stacklevel=2)
    if output is None and fps is not None and not reactions:
        warnings.warn("--fps has no effect without --output or --react", stacklevel=2)
    if output is not None:
        videos.require_ffmpeg()
    if frames is not None:
        with cli.blame("--frames"):
            videos.refuse_old_frames(frames)


def _writer_settings(extension: str, fps: float | None, bitrate: str | None) -> dict[str, Any]:
    """Arguments of the video writer; refuse, or warn of, options that do not suit the format."""
    if extension == ".gif" and fps is not None and fps > videos.MAX_GIF_FPS:
        raise click.BadParameter(
            f"{fps:g} is too fast for a GIF, which takes up to {videos.MAX_GIF_FPS}",
            param_hint="--fps",
        )
    if bitrate is not None and extension != ".mp4":
        warnings.warn(f"--bitrate has no effect on {extension} files", stacklevel=2)
    settings = videos.writer_settings(extension, fps, bitrate)
    if extension != ".mp4":
        return settings
    # Any size is allowed, and the encoder is quiet: an error is reported as one line.
    return settings | {
        "macro_block_size": 2,
        "output_params": [*videos.BT709],
        "ffmpeg_log_level": "quiet",
    }


def _audio_settings(path: Path, video_sec: float, settings: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the video writer for sound, which replace some of `settings`."""
    more = videos.audio_settings(path, video_sec)
    return more | {"output_params": [*settings["output_params"], *more["output_params"]]}


def _tell_lengths(sound: Sound, video_sec: float, has_video: bool) -> None:
    """Warn if sound and video differ in length by more than a tenth of a second."""
    lengths = f"the sound takes {sound.duration_sec:.1f} s and the video {video_sec:.1f} s"
    if sound.duration_sec > video_sec + 0.1:
        end = "the rest of the sound is cut off" if has_video else "nothing reacts to the rest"
        warnings.warn(f"--audio: {lengths}; {end}", stacklevel=2)
    elif sound.duration_sec < video_sec - 0.1:
        end = "the video ends in silence" if has_video else "the last frames react to silence"
        warnings.warn(f"--audio: {lengths}; {end}", stacklevel=2)


def _check_names(named: Mapping[str, Curve], moves: Sequence[tuple[Path, str, Track]]) -> None:
    """Refuse directions whose names stand for another track already."""
    if len(named) < 3 + len(moves):
        raise click.BadParameter(
            "with --react, the names of directions must differ from one another and from trunc, "
            "rotate and zoom",
            param_hint="--direction",
        )


if __name__ == "__main__":
    main()
