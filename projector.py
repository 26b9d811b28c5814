"""Project pictures into the latent space of a network: find the styles that draw them."""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

from pathlib import Path
from typing import Any, Literal

import click

from data.conversion.background import Background
from data.conversion.background_option import background_option
from data.conversion.decode import DecodeOptions
from dnnlib import cli, options
from editing import features as feature_spaces
from editing import projection_files, targets
from editing.features import Kind
from editing.projection import Settings, Space
from editing.projection_files import Job
from editing.tuning import TuningSettings
from generation.images import check_class, prepare_outdir
from metrics.detector_option import detector_option
from network_files.load import load_network
from torch_utils import devices, latents, videos

LPIPS_STOP = 0.06  # Roich et al. 2021; other features have other scales


@click.command(cls=cli.Command)
@options.network_option
@click.option(
    "--target",
    type=cli.LocalPath(exists=True, path_type=Path),
    metavar="PICTURE|FOLDER",
    required=True,
    help="Picture to project, or a folder of pictures.",
)
@click.option("--outdir", type=cli.LocalPath(path_type=Path), required=True, help="Result folder.")
@options.value_option(
    "--space",
    click.Choice(["w", "w+"]),
    "One style for all layers, or one for each (closer to the picture, harder to edit).",
    default="w",
)
@options.count_option("--steps", "Steps of the optimisation.", default=1000)
@options.count_option(
    "--restarts", "Styles to start from, of which the best is followed.", default=1
)
@click.option("--pti", is_flag=True, help="Tune the network to draw the picture exactly, too.")
@options.count_option("--pti-steps", "Steps of --pti, at most.  [default: 350]")
@options.value_option(
    "--locality",
    cli.FiniteFloat(min=0),
    "Weight of what keeps other images during --pti; 0.1 is the paper's.",
    default=0,
)
@options.value_option(
    "--features",
    click.Choice(["auto", "vgg16", "D", "pixels"]),
    "Where to compare: LPIPS of VGG16, features of the network's own discriminator, or pixels; "
    "auto takes the first that there is.",
    default="auto",
)
@options.class_option
@options.value_option(
    "--transform",
    click.Choice(["center-crop", "stretch"]),
    "How a picture becomes a square.",
    default="center-crop",
)
@background_option
@options.value_option(
    "--move",
    click.BOOL,
    "Let the content move (StyleGAN3-T) and turn (StyleGAN3-R).  [default: if the network can]",
)
@options.value_option(
    "--save-video", click.BOOL, "Write a video of the optimisation.", default=False
)
@options.seed_option("Random seed of the styles to average, the noise, and the starts.")
@detector_option
@options.allow_untrusted_option
@options.device_option
@options.version_option
def main(
    network: str,
    target: Path,
    outdir: Path,
    space: Space,
    steps: int,
    restarts: int,
    pti: bool,
    pti_steps: int | None,
    locality: float,
    features: Kind,
    class_idx: int | None,
    transform: Literal["center-crop", "stretch"],
    background: Background | None,
    move: bool | None,
    save_video: bool,
    seed: int,
    replacements: tuple[tuple[str, str], ...],
    allow_untrusted: bool,
    device: str,
) -> None:
    """Find the styles with which a network draws a picture.

    Writes projected_w.npz, which the other scripts take as --latents, target.png (the picture as
    the network sees it), proj.png (what the network makes of it), sheet.png (both) and a line of
    projections.jsonl with the errors. Of a folder, each picture gets a folder of its own, and
    projected_w.npz holds all of them.

    The pictures should be like those that the network was trained with, and cropped as they were.
    Ctrl-C ends the optimisation and keeps what was reached.

    \b
    Examples:
      # A picture, with the features of the network's own discriminator
      python projector.py --network=net.pkl --target=me.png --features=D --outdir=out
      # What it found
      python gen_images.py --network=net.pkl --latents=out/projected_w.npz --outdir=out
      # A network that draws the picture exactly; the other scripts load out/network.pkl
      python projector.py --network=net.pkl --target=me.png --pti --outdir=out
      # A folder, with a style for each layer
      python projector.py --network=net.pkl --target=faces/ --space=w+ --outdir=out
    """
    if (locality or pti_steps is not None) and not pti:
        raise click.UsageError("--locality and --pti-steps have an effect with --pti only; add it.")
    if save_video:
        videos.require_ffmpeg()
    torch_device = devices.resolve_device(device)
    devices.configure_backends(torch_device)
    with cli.blame("--target"):
        paths, num_others = targets.find(target)
    if num_others:
        click.echo(f"Left out: {num_others} files of {target} that are no pictures")

    click.echo(f"Loading {network} ...")
    data = load_network(network, option="--network", allow_untrusted=allow_untrusted)
    G = data["G_ema"].to(torch_device)
    label = None
    if class_idx is not None:
        check_class(G, class_idx)
        label = latents.label_from_class(class_idx, G.c_dim, device=torch_device)
    chosen = feature_spaces.choose(
        features, data, torch_device, dict(replacements), allow_untrusted
    )
    click.echo(chosen.sentence)
    pictures = []
    for path in paths:
        if path.parent.resolve() == outdir.resolve() and path.name in projection_files.WRITTEN:
            raise click.UsageError(f"--outdir: {path} would be overwritten; choose another folder.")
        with cli.blame("--target"):
            picture = targets.read(
                path, G, transform == "center-crop", DecodeOptions(background=background)
            )
        if picture.changes:
            click.echo(f"{path}: {', '.join(picture.changes)}")
        pictures.append(picture)
    tuning = TuningSettings(
        num_steps=pti_steps or TuningSettings.num_steps,
        stop_distance=LPIPS_STOP if chosen.kind == "vgg16" else 0,
        locality_weight=locality,
        seed=seed,
    )
    job = Job(
        data=data,
        features=chosen.compute,
        settings=Settings(space=space, num_steps=steps, restarts=restarts, seed=seed, moves=move),
        tuning=tuning if pti else None,
        label=label,
        save_video=save_video,
    )
    is_complete = projection_files.project_all(
        job, pictures, prepare_outdir(outdir), target.is_dir(), _report
    )
    if not is_complete:
        click.echo("Interrupted: what was reached is kept", err=True)
    click.echo(f"Wrote {outdir}")


def _report(errors: dict[str, Any]) -> None:
    text = f"{errors['name']}: distance {errors['distance']:.4f}, PSNR {errors['psnr']:.1f} dB"
    if "tuned_psnr" in errors:
        text += f"; tuned in {errors['tuned_steps']} steps: {errors['tuned_distance']:.4f}, "
        text += f"{errors['tuned_psnr']:.1f} dB"
    click.echo(text)


if __name__ == "__main__":
    main()
