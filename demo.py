"""Pictures in a minute, two trainings in seven: what a trained network draws, and is worth.

A network in the box draws first. Two runs then learn other drawings in the same time, one from
scratch and one from that network. Every step is a command that you could type; this script prints
the command and runs it. Existing files are reused.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import shlex
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import PIL.Image

from data.dataset import ImageFolderDataset
from dnnlib import cli, options
from network_files.load import load_network
from torch_utils import layout
from torch_utils.images import make_grid, save_png
from training import transfer

NETWORK = "pretrained:shapes-t"
NUM_CLASSES = 6  # of its drawings, and of the new ones
ROWS = 6  # of each sheet, whose columns are the classes
SCALE = 2  # enlargement of the last sheet
FLOWER = 3  # class in the video

# Chosen by eye from the sheets of seven trials. From scratch, twice the default learning rates:
# after 1000 drawings they tell classes apart where the defaults draw blobs, after 4000 they draw
# crescents; four times as much collapses. From a trained network, the defaults: twice as much blurs
# classes. With the default of --ema-kimg, 1.25, the average after 2000 drawings still holds a third
# of the old network.
KIMG = 3  # length of each training, in thousands of images
SETTINGS = ["--batch=4", "--gamma=0.5", "--ema-kimg=0.25"]
FROM_SCRATCH = ["--glr=0.005", "--dlr=0.004"]
QUICK_SETTINGS = ["--cfg=stylegan3-t", "--batch=8", "--gamma=0.1", "--cbase=128", "--cmax=8"]


@click.command(cls=cli.Command)
@click.option(
    "--outdir",
    type=cli.LocalPath(path_type=Path),
    help="Folder for all files.  [default: demo, or demo/quick]",
)
@options.count_option("--kimg", f"Length of each training.  [default: {KIMG}; 1 with --quick]")
@click.option("--quick", is_flag=True, help="Tiny networks on tiny images, to see the steps work.")
@options.device_option
@options.version_option
def main(outdir: Path | None, kimg: int | None, quick: bool, device: str) -> None:
    """Show what a trained network draws, and train on new drawings: from scratch, and from it.

    \b
    Examples:
      python demo.py
      # What do both networks learn in three times as long?
      python demo.py --outdir=demo-long --kimg=12
    """
    start = time.monotonic()
    outdir = outdir or Path("demo/quick" if quick else "demo")
    kimg = kimg or (1 if quick else KIMG)
    size, num_images = (16, 300) if quick else (32, 3000)
    on_device = f"--device={device}"

    first = draw(NETWORK, outdir / "first", (2 * NUM_CLASSES, ROWS), on_device)
    click.echo(f"\nImages of a trained network, after {time.monotonic() - start:.0f} s: {first}")

    data = outdir / "symbols.zip"
    if not data.exists():
        run(
            "dataset_tool.py",
            "--source=synthetic:symbols",
            f"--dest={data}",
            f"--resolution={size}x{size}",
            f"--max-images={num_images}",
        )
    settings = [*(QUICK_SETTINGS if quick else SETTINGS + layers_of(NETWORK)), on_device]
    scratch = train(outdir, "scratch", data, kimg, [*settings, *FROM_SCRATCH])
    # The box has no network as tiny as those of --quick.
    teacher = str(scratch) if quick else NETWORK
    transferred = train(outdir, "transfer", data, kimg, [*settings, f"--resume={teacher}"])

    sheets = {
        f"{kimg},000 images, from scratch": draw(
            scratch, outdir / "scratch", (NUM_CLASSES, ROWS), on_device
        ),
        f"{kimg},000 images, from {teacher}": draw(
            transferred, outdir / "transfer", (NUM_CLASSES, ROWS), on_device
        ),
    }
    sheet, video = outdir / "sheet.png", outdir / "flowers.mp4"
    save_png(draw_last_sheet(data, sheets).transpose(2, 0, 1), sheet)
    if not is_current(video, transferred):
        run(
            "gen_video.py",
            f"--network={transferred}",
            f"--class={FLOWER}",
            "--seeds=0-31",
            "--grid=8x4" if quick else "--grid=4x2",
            "--w-frames=20",
            "--fps=20",
            f"--output={video}",
            on_device,
        )
    click.echo(
        f"\nDone after {time.monotonic() - start:.0f} s.\n"
        f"Images of the network in the box:          {first}\n"
        f"Real drawings, from scratch, by transfer:  {sheet}\n"
        f"A walk through the flowers:                {video}\n"
        f"The network trained by transfer:           {transferred}\n"
        f"How its images developed:                  {transferred.parent}/fakes*.png\n"
        f"The curves: .venv/bin/tensorboard --logdir={outdir / 'runs'}\n"
        "The viewer: .venv/bin/pip install -r requirements-gui.txt && .venv/bin/python "
        f"visualizer.py {transferred}"
    )


def run(script: str, *args: str) -> None:
    """Print and run one of the project's commands; if it fails, this script fails, too."""
    command = [sys.executable, str(Path(__file__).with_name(script)), *args]
    click.echo(f"\n$ python {script} {shlex.join(args)}")
    result = subprocess.run(command)
    if result.returncode != 0:
        raise click.ClickException(f"{script} failed; see its message above")


def draw(network: str | Path, outdir: Path, grid: tuple[int, int], on_device: str) -> Path:
    """A sheet of a conditional network: columns of classes, which take turns."""
    sheet = outdir / "grid.png"
    if not is_current(sheet, network):
        width, height = grid
        run(
            "gen_images.py",
            f"--network={network}",
            f"--class=0-{NUM_CLASSES - 1}",
            f"--seeds=0-{width * height - 1}",
            f"--grid={width}x{height}",
            "--batch=8",
            f"--outdir={outdir}",
            on_device,
        )
    return sheet


def train(outdir: Path, name: str, data: Path, kimg: int, options: list[str]) -> Path:
    """The final snapshot of a run, which is trained if it does not exist."""
    if (network := find_network(outdir, name, kimg)) is None:
        run(
            "train.py",
            f"--outdir={outdir / 'runs'}",
            f"--desc={name}",
            f"--data={data}",
            "--cond=1",
            "--gpus=1",
            "--aug=noaug",
            f"--kimg={kimg}",
            "--tick=1",
            f"--snap={kimg}",
            "--metrics=none",
            "--workers=1",
            *options,
        )
        network = find_network(outdir, name, kimg)
        assert network is not None
    return network


def find_network(outdir: Path, name: str, kimg: int) -> Path | None:
    """The final snapshot of the newest run of this name that was trained to the end."""
    found = sorted(outdir.glob(f"runs/*-{name}/network-snapshot-{kimg:06d}.pkl"))
    return found[-1] if found else None


def layers_of(network: str) -> list[str]:
    """The options of train.py that give a run the layers of a network."""
    data = load_network(network, option="--network")
    options = transfer.options_of(data["G_ema"]) | transfer.options_of(data["D"])
    return [f"{option}={value}" for option, value in options.items()]


def draw_last_sheet(data: Path, networks: dict[str, Path]) -> np.ndarray:
    """Real drawings and the sheets of networks in columns, with captions, `[H, W, 3]`."""
    training_set = ImageFolderDataset(data)
    real = np.stack([training_set[idx][0] for idx in range(NUM_CLASSES * ROWS)])
    columns = {"Real drawings": make_grid(real, (NUM_CLASSES, ROWS)).transpose(1, 2, 0)}
    columns |= {caption: np.array(PIL.Image.open(path)) for caption, path in networks.items()}
    parts = []
    for caption, cells in columns.items():
        enlarged = layout.enlarge(cells, SCALE)
        parts.append(layout.beneath(layout.text(caption, enlarged.shape[1]), enlarged))
    return layout.beside(*parts)


def is_current(path: Path, network: str | Path) -> bool:
    """Whether a picture exists, and was made after the network was trained."""
    if not path.exists():
        return False
    return isinstance(network, str) or path.stat().st_mtime >= network.stat().st_mtime


if __name__ == "__main__":
    main()
