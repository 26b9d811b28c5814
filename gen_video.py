"""Generate a video that moves smoothly through the images of several seeds, in a grid."""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import re
import tempfile
import warnings
from pathlib import Path
from typing import Any, Literal

import click

from dnnlib import cli, moved, options
from generation import latent_files
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
@options.trunc_option
@options.class_option
@options.noise_mode_option
@options.value_option(
    "--output",
    VideoFile(),
    "The video to write; .gif and .webp make animations.",
    metavar="FILE.mp4",
    required=True,
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
    trunc: float,
    class_idx: int | None,
    noise_mode: Literal["const", "random", "none"],
    output: Path,
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
      # A small animation for a web page
      python gen_video.py --network=net.pkl --seeds=0-3 --w-frames=25 --fps=25 --output=lerp.gif
    """
    writer_settings = _writer_settings(output.suffix.lower(), fps, bitrate)
    if not seeds and latents is None:
        raise click.UsageError("Missing option '--seeds' (or '--latents').")
    loaded = None if latents is None else latent_files.load(latents)
    num = len(seeds or []) + (0 if loaded is None else len(loaded))
    with cli.blame("--seeds"):
        assign_seeds(range(num), grid, num_keyframes, shuffle_seed)  # before the network is loaded
    if loaded is not None and loaded.transforms is not None:
        warnings.warn(f"{latents}: videos leave the transforms out", stacklevel=1)
    videos.require_ffmpeg()
    torch_device = devices.resolve_device(device)
    devices.configure_backends(torch_device)

    click.echo(f"Loading {network} ...")
    G = load_network(network, option="--network", allow_untrusted=allow_untrusted)["G_ema"]
    if loaded is not None:
        latent_files.check(loaded, G, "--latents")
    with cli.exit_when_terminated():
        gen_interp_video(
            G.to(torch_device),
            output,
            seeds,
            shuffle_seed,
            w_frames,
            grid_dims=grid,
            num_keyframes=num_keyframes,
            psi=trunc,
            device=torch_device,
            class_idx=class_idx,
            noise_mode=noise_mode,
            batch=batch or (8 if torch_device.type == "cuda" else 1),
            ws=None if loaded is None else loaded.ws,
            **writer_settings,
        )
    click.echo(f"Wrote {output}")


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


if __name__ == "__main__":
    main()
