"""The whole pipeline in a few minutes: dataset, training, generated images beside real ones.

Every step is a command that you could type; this script prints it and runs it. Existing datasets
and networks are reused.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import shlex
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import PIL.Image

from data.dataset import ImageFolderDataset
from dnnlib import cli, options
from torch_utils.images import make_grid, save_png

COLUMNS, ROWS = 8, 8
GAP = 8  # pixels between the real and the generated images
SCALE = 2  # enlargement of the sheet


@click.command(cls=cli.Command)
@click.option(
    "--outdir",
    type=cli.LocalPath(path_type=Path),
    help="Folder for all files.  [default: demo, or demo/quick]",
)
@options.count_option("--kimg", "Length of the training.  [default: 6]")
@click.option("--quick", is_flag=True, help="A tiny network on tiny images, to see the steps work.")
@options.device_option
@options.version_option
def main(outdir: Path | None, kimg: int | None, quick: bool, device: str) -> None:
    """Draw a dataset, train a small StyleGAN3-T on it, and show what it generates.

    \b
    Examples:
      python demo.py
      # What does the network learn in three times as long?
      python demo.py --outdir=demo-long --kimg=20
    """
    outdir = outdir or Path("demo/quick" if quick else "demo")
    kimg = kimg or (1 if quick else 6)
    size = 16 if quick else 32
    capacity = ["--cbase=128", "--cmax=8"] if quick else ["--cbase=512", "--cmax=32"]
    batch, gamma = (32, 0.5) if quick else (4, 1)

    data = outdir / "shapes.zip"
    if not data.exists():
        num_images = 200 if quick else 2000
        run(
            "dataset_tool.py",
            "--source=synthetic",
            f"--dest={data}",
            f"--resolution={size}x{size}",
            f"--max-images={num_images}",
        )
    settings = [f"--batch={batch}", f"--gamma={gamma}", *capacity, f"--device={device}"]
    network = train(outdir, "stylegan3-t", data, kimg, [f"--snap={kimg}", *settings])

    last_seed = COLUMNS * ROWS - 1
    run(
        "gen_images.py",
        f"--network={network}",
        f"--seeds=0-{last_seed}",
        f"--grid={COLUMNS}x{ROWS}",
        "--batch=8",
        f"--outdir={outdir}",
        f"--device={device}",
    )
    save_contact_sheet(data, outdir / "grid.png", outdir / "contact-sheet.png")
    click.echo(
        f"\nReal images (left) and generated ones (right): {outdir / 'contact-sheet.png'}\n"
        f"The trained network:                           {network}\n"
        f"How the images developed:                      {network.parent}/fakes*.png\n"
        f"The curves: .venv/bin/tensorboard --logdir={outdir / 'runs'}"
    )


def run(script: str, *args: str) -> None:
    """Print and run one of the project's commands; if it fails, this script fails, too."""
    command = [sys.executable, str(Path(__file__).with_name(script)), *args]
    click.echo(f"\n$ python {script} {shlex.join(args)}")
    result = subprocess.run(command)
    if result.returncode != 0:
        raise click.ClickException(f"{script} failed; see its message above")


def train(outdir: Path, cfg: str, data: Path, kimg: int, options: list[str]) -> Path:
    """The final snapshot of a run, which is trained if it does not exist."""
    if (network := find_network(outdir, kimg)) is None:
        run(
            "train.py",
            f"--outdir={outdir / 'runs'}",
            f"--cfg={cfg}",
            f"--data={data}",
            "--gpus=1",
            "--mirror=1",
            "--aug=noaug",
            f"--kimg={kimg}",
            "--tick=1",
            "--metrics=none",
            "--workers=1",
            *options,
        )
        network = find_network(outdir, kimg)
        assert network is not None
    return network


def find_network(outdir: Path, kimg: int) -> Path | None:
    """The final snapshot of the newest run that was trained to the end."""
    found = sorted(outdir.glob(f"runs/*/network-snapshot-{kimg:06d}.pkl"))
    return found[-1] if found else None


def save_contact_sheet(data: Path, generated: Path, dest: Path) -> None:
    """Put the first images of a dataset beside a sheet of generated ones."""
    training_set = ImageFolderDataset(data)
    real = np.stack([training_set[idx][0] for idx in range(COLUMNS * ROWS)])
    left = make_grid(real, (COLUMNS, ROWS))
    right = np.array(PIL.Image.open(generated)).transpose(2, 0, 1)
    gap = np.full([left.shape[0], left.shape[1], GAP], 255, dtype=np.uint8)
    sheet = np.concatenate([left, gap, right], axis=2)
    save_png(sheet.repeat(SCALE, axis=1).repeat(SCALE, axis=2), dest)


if __name__ == "__main__":
    main()
