"""Compiles the CUDA kernels of the standard networks: `python -m training.precompile`.

The kernels are found by running networks, losses and augmentations on the meta device, which
computes nothing, and recording their launches.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import itertools
import multiprocessing
import os
import re
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, get_args

import click

from dnnlib import cli
from dnnlib.options import version_option
from torch_utils.layers import check_resolution
from torch_utils.ops.cuda import compiler
from torch_utils.ops.cuda.recorder import record_launches
from training.config import CFGS, Cfg, TrainOptions, make_config
from training.kernels import launch_all
from training.options import Precision

BATCH = 8
IMG_CHANNELS = 3
COLUMNS = "{:>8}  {:>9}  {:>6}  {:>5}  {:>5}  {:>7}  {}"
HEADER = COLUMNS.format("arch", "registers", "shared", "stack", "spill", "CPU sec", "kernel")


class Resolutions(click.ParamType):
    """Image sizes, separated by commas."""

    name = "size,size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[int]:
        if isinstance(value, list):
            return value
        try:
            resolutions = cli.parse_range(value)
            for resolution in resolutions:
                check_resolution(resolution)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return resolutions


@click.command(cls=cli.Command)
@click.option(
    "--arch",
    "archs",
    type=cli.NameList(),
    default="",
    help="Architectures, e.g. sm_80,sm_90.  [default: those of the GPUs of this machine]",
)
@click.option(
    "--cfg",
    "cfgs",
    type=cli.NameList(CFGS),
    default=",".join(CFGS),
    show_default=True,
    help="Configurations of networks and training.",
)
@click.option(
    "--resolution",
    "resolutions",
    type=Resolutions(),
    default="256,512,1024",
    show_default=True,
    help="Sizes of the images.",
)
@click.option(
    "--precision",
    "precisions",
    type=cli.NameList(get_args(Precision)),
    default="fp16,fp32",
    show_default=True,
    help="Types of the features at high resolutions, as --precision of train.py.",
)
@click.option(
    "--jobs", type=cli.WholeNumber(min=1), help="Number of processes.  [default: one per CPU core]"
)
@version_option
def main(
    archs: list[str],
    cfgs: list[Cfg],
    resolutions: list[int],
    precisions: list[Precision],
    jobs: int | None,
) -> None:
    """Compile the CUDA kernels of the standard networks into the cache.

    Covers generator, discriminator, augmentation and all training phases. Needs no GPU: a machine
    with a GPU finds the kernels if it has the cache, the same version of NVRTC and the same
    sources. Prints for each kernel: registers per thread, bytes of static shared memory per block,
    bytes of stack and of spilled registers per thread, and the CPU time of its compilation, now or
    when it entered the cache.

    \b
    Examples:
      # For the GPUs of this machine.
      python -m training.precompile
      # For other GPUs.
      python -m training.precompile --arch=sm_80,sm_90 --cfg=stylegan3-t --precision=bf16
    """
    archs = archs or compiler.local_archs()
    if not archs:
        raise click.BadParameter("this machine has no GPU; name architectures", param_hint="--arch")
    for arch in archs:
        if re.fullmatch(r"sm_\d+", arch) is None:
            raise click.BadParameter(f"{arch!r} is not like sm_90", param_hint="--arch")
    start = time.perf_counter()
    networks = list(itertools.product(cfgs, resolutions, precisions))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs or os.cpu_count(), mp_context=context) as pool:
        click.echo(f"Looking for the kernels of {len(networks)} networks ...")
        kernels_of = dict(
            zip(networks, pool.map(kernels_of_training, *zip(*networks, strict=True)), strict=True)
        )
        kernels = sorted(set().union(*kernels_of.values()))
        click.echo(HEADER)
        futures = {
            pool.submit(compiler.compile_cubin, *kernel, arch): (kernel, arch)
            for arch in archs
            for kernel in kernels
        }
        compile_sec = {}
        for future in as_completed(futures):
            (_, specialisation), arch = futures[future]
            compile_sec[futures[future]] = future.result().compile_sec
            click.echo(_row(specialisation, arch, future.result()))
    click.echo("CPU seconds per architecture that training compiles for when it starts:")
    for (cfg, resolution, precision), needed in kernels_of.items():
        sums = [sum(compile_sec[kernel, arch] for kernel in needed) for arch in archs]
        secs = ", ".join(f"{sec:.1f}" for sec in sums)
        name = f"{cfg} {resolution}x{resolution} {precision}"
        click.echo(f"{name:<30} {len(needed):>3} kernels  {secs}")
    sec = time.perf_counter() - start
    click.echo(f"{len(kernels)} kernels for {', '.join(archs)} in {sec:.1f} s")


def kernels_of_training(cfg: Cfg, resolution: int, precision: Precision) -> set[tuple[str, str]]:
    """Sources and specialisations of all kernels that training and synthesis launch.

    Args:
        cfg: Configuration.
        resolution: Width and height of the images.
        precision: Type of the features at the highest resolutions.
    """
    options = TrainOptions(cfg=cfg, gpus=1, batch=BATCH, gamma=1, precision=precision)
    config = make_config(options, training_set_kwargs={})
    with record_launches() as kernels:
        launch_all(config, c_dim=0, img_resolution=resolution, img_channels=IMG_CHANNELS)
    return kernels


def _row(specialisation: str, arch: str, cubin: compiler.Cubin) -> str:
    return COLUMNS.format(
        arch if cubin.kind == "cubin" else f"{arch} (PTX)",
        cubin.registers,
        cubin.shared_bytes,
        cubin.stack_bytes,
        cubin.spill_bytes,
        f"{cubin.compile_sec:.2f}",
        specialisation,
    )


if __name__ == "__main__":
    main()
