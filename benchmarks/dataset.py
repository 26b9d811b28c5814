"""Speed of converting and loading images, beside plain Pillow and the bare decoder.

    python -m benchmarks.dataset

Conversion is compared with a plain loop that uses Pillow, and loading with `pyspng.load` on bytes
in memory. The two sides take turns, block by block, because other work on the machine slows down
both. Rates are per second of processor time, or of wall time with `--clock=wall`. The processor
time includes the processes of the loader.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import io
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import click
import numpy as np
import PIL.Image
import psutil
import pyspng
import torch
from torch import Tensor

from benchmarks import PROJECT_DIR, options, timing
from data import plain_png
from data.conversion import sources
from data.conversion.convert import convert_dataset
from data.dataset import ImageFolderDataset
from data.loader import BatchLoader
from data.synthetic_images import draw_image
from dnnlib import cli
from torch_utils.host_memory import keep_freed_memory

BATCH = 32
COPIES = 8  # of the images, to convert
LOADING_HEADER = ("loading", "images/s", "bare decoding", "share")
CONVERSION_HEADER = ("conversion", "images/s", "plain Pillow", "ratio")


@click.command(cls=cli.Command)
@options.number("--resolution", "Size of the images.", default=256, minimum=8)
@options.number("--images", "Images to convert and load.", default=1024, minimum=BATCH)
@options.number("--rounds", "Rounds of loading.", default=10)
@options.number("--members", "Files in the large ZIP.", default=200_000)
@click.option(
    "--clock",
    type=click.Choice(["processor", "wall"]),
    default="processor",
    show_default=True,
    help="Clock that rates refer to.",
)
def main(resolution: int, images: int, rounds: int, members: int, clock: str) -> None:
    """Time conversion and loading."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as training does
    click.echo(timing.describe_machine(torch.device("cpu")))
    with tempfile.TemporaryDirectory() as temp:
        folder = Path(temp)
        photos = make_photos(folder / "photos", images, resolution)
        rows = conversion_rows(photos, folder, resolution, -(-rounds // 5))
        click.echo("\n" + timing.format_table(CONVERSION_HEADER, list(rows)) + "\n")
        rows = loading_rows(photos, folder, rounds, clock)
        click.echo(timing.format_table(LOADING_HEADER, list(rows)) + "\n")
        for line in describe_large_zip(folder / "large.zip", members):
            click.echo(line)


def make_photos(folder: Path, num_images: int, resolution: int) -> Path:
    """Drawings with noise, which compress about as well as photographs do, as PNGs."""
    folder.mkdir()
    rng = np.random.RandomState(0)
    for index in range(num_images):
        pixels, _ = draw_image(index, 0, resolution)
        noise = 4 * rng.randn(*pixels.shape)
        pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(folder / f"{index:06d}.png")
    return folder


def conversion_rows(
    photos: Path, folder: Path, resolution: int, rounds: int
) -> Iterator[tuple[str, ...]]:
    """Conversion of photos to half their size with one and two workers, and as they are.

    Our times are those of whole commands. They convert several copies of the photos, so that the
    start of the processes matters less.
    """
    count = len(list(photos.iterdir()))
    copies = folder / "copies"
    for i in range(COPIES):
        (copies / str(i)).mkdir(parents=True)
        for path in photos.iterdir():
            os.link(path, copies / str(i) / path.name)
    for name, size in (("as they are", resolution), ("to half the size", resolution // 2)):
        plain: list[float] = []
        ours: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(rounds):
            plain.append(_wall(partial(_convert_plainly, photos, folder, size)))
            for num_workers, seconds in ours.items():
                seconds.append(_wall(partial(_convert, copies, folder, size, num_workers)))
        plain_rate = count / statistics.median(plain)
        for num_workers, seconds in ours.items():
            rate = COPIES * count / statistics.median(seconds)
            label = f"{name}, {num_workers} worker{'s' * (num_workers > 1)}"
            yield label, f"{rate:.0f}", f"{plain_rate:.0f}", f"{rate / plain_rate:.2f}"


def loading_rows(photos: Path, folder: Path, rounds: int, clock: str) -> Iterator[tuple[str, ...]]:
    """Every kind of dataset, in this process and in one of its own."""
    packed = folder / "packed.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(photos.iterdir()):
            archive.write(path, path.name)
    plain = folder / "plain.zip"
    convert_dataset(sources.open_source(str(photos)), plain)
    pillow = folder / "pillow.zip"
    _write_zip(pillow, (PIL.Image.open(path) for path in sorted(photos.iterdir())))
    datasets: dict[str, Callable[[], ImageFolderDataset]] = {
        "folder of PNGs": lambda: ImageFolderDataset(photos),
        "ZIP of PNGs": lambda: ImageFolderDataset(packed),
        "ZIP by dataset_tool.py": lambda: ImageFolderDataset(plain),
        "ZIP by Pillow, uncompressed": lambda: ImageFolderDataset(pillow),
        "memory (--cache=ram)": lambda: ImageFolderDataset(photos, cache="ram"),
    }
    for name, open_dataset in datasets.items():
        for num_workers in (0, 1):
            dataset = open_dataset()
            rate, bare_rate, share = _compare_loading(dataset, num_workers, rounds, clock)
            where = "one worker" if num_workers else "in process"
            yield f"{name}, {where}", f"{rate:.0f}", f"{bare_rate:.0f}", f"{share:.0%}"


def _compare_loading(
    dataset: ImageFolderDataset, num_workers: int, rounds: int, clock: str
) -> tuple[float, float, float]:
    """Images per second of the loader and of the bare decoder, and their ratio.

    Both rates are those of the fastest round. The bare decoder gets the same files as bytes, in
    random order, like the loader.
    """
    files = [dataset._read_image(i) for i in range(len(dataset))]
    rng = np.random.RandomState(0)
    loader = BatchLoader(dataset, _endless(rng, len(dataset)), BATCH, num_workers)
    _check(next(loader), files, np.random.RandomState(0).permutation(len(dataset)))
    for _ in range(3 * len(dataset) // BATCH):  # first reads also check or cache images
        next(loader)
    processes = [psutil.Process(), *map(psutil.Process, loader.worker_pids)]
    rates, bare_rates = [], []
    for _ in range(rounds):
        order = rng.permutation(len(files)).tolist()[: 2 * BATCH]
        start = _seconds(clock, processes[:1])
        for i in order:
            pyspng.load(files[i])
        bare_rates.append(len(order) / (_seconds(clock, processes[:1]) - start))
        # The clock of other processes is coarse.
        num_batches = max(100 * num_workers, 2)
        start = _seconds(clock, processes)
        for _ in range(num_batches):
            next(loader)
        rates.append(num_batches * BATCH / (_seconds(clock, processes) - start))
    return max(rates), max(bare_rates), max(rates) / max(bare_rates)


def describe_large_zip(path: Path, num_members: int) -> list[str]:
    """Measure how long a ZIP of many files takes to open, here and in another process."""
    tiny = plain_png.encode(np.zeros([4, 4, 3], np.uint8))
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(num_members):
            archive.writestr(zipfile.ZipInfo(f"{i // 1000:05d}/img{i:08d}.png"), tiny)
    processes = [psutil.Process()]
    start, wall_start = _seconds("processor", processes), time.perf_counter()
    dataset = ImageFolderDataset(path)
    seconds, wall_sec = _seconds("processor", processes) - start, time.perf_counter() - wall_start
    start = _seconds("processor", processes)
    with zipfile.ZipFile(path) as archive:
        num_listed = len(archive.infolist())
    list_sec = _seconds("processor", processes) - start
    assert len(dataset) == num_listed == num_members
    size = len(pickle.dumps(dataset))
    start = _seconds("processor", processes)
    pickle.loads(pickle.dumps(dataset))[0]
    copy_sec = _seconds("processor", processes) - start
    return [
        f"a ZIP of {num_members} images opens in {seconds:.2f} s ({wall_sec:.2f} s on the clock);"
        f" Python's zipfile takes {list_sec:.2f} s",
        "forked workers share its index;"
        f" spawned ones get {size / 1e6:.1f} MB, in {copy_sec:.2f} s",
    ]


def _convert(photos: Path, folder: Path, size: int, num_workers: int) -> None:
    dest = folder / "converted.zip"
    options = [f"--resolution={size}x{size}", f"--workers={num_workers}"]
    command = [sys.executable, "dataset_tool.py", f"--source={photos}", f"--dest={dest}", *options]
    subprocess.run(command, cwd=PROJECT_DIR, check=True, capture_output=True)
    dest.unlink()


def _convert_plainly(photos: Path, folder: Path, size: int) -> None:
    def resized() -> Iterator[PIL.Image.Image]:
        for path in sorted(photos.iterdir()):
            image = PIL.Image.open(path)
            lanczos = PIL.Image.Resampling.LANCZOS
            yield image if image.size == (size, size) else image.resize((size, size), lanczos)

    _write_zip(folder / "plainly.zip", resized())
    (folder / "plainly.zip").unlink()


def _write_zip(path: Path, images: Iterable[PIL.Image.Image]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for i, image in enumerate(images):
            file = io.BytesIO()
            image.save(file, "png", compress_level=0)
            archive.writestr(f"{i:08d}.png", file.getvalue())


def _endless(rng: np.random.RandomState, count: int) -> Iterator[int]:
    while True:
        yield from rng.permutation(count).tolist()


def _check(batch: tuple[Tensor, Tensor], files: list[bytes], order: np.ndarray) -> None:
    for image, i in zip(batch[0], order, strict=False):
        pixels = pyspng.load(files[i])
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), pixels)


def _seconds(clock: str, processes: list[psutil.Process]) -> float:
    """The wall time, or the processor time of some processes, the first of which is this one."""
    if clock == "wall":
        return time.perf_counter()
    _, *others = processes  # the first is this one, which has a finer clock
    return time.process_time() + sum(sum(other.cpu_times()[:2]) for other in others)


def _wall(function: Callable[[], None]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
