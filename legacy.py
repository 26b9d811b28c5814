"""Load network pickles: `load_network_pkl()`, and a command that rewrites them.

No code in a file is executed: networks are rebuilt as this project's classes, see `network_files`.
Only `allow_untrusted` runs the source inside a pickle.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import click

from dnnlib import cli, moved, trust  # before PyTorch, see `dnnlib.openmp`
from dnnlib.options import NETWORK_METAVAR, allow_untrusted_option, version_option

# isort: split
from network_files.load import NETWORKS, DamagedFileError, load_network, load_network_pkl
from network_files.precision import Precision, with_precision
from network_files.safetensors_file import StoredType
from network_files.save import save_networks

__all__ = [
    "UNTRUSTED_VARIABLE",
    "DamagedFileError",
    "load_network",
    "load_network_pkl",
    "save_networks",
]

STORABLE = (*NETWORKS, "augment_pipe")
UNTRUSTED_VARIABLE = trust.VARIABLE
__getattr__ = moved.names_of("legacy")  # not of "__main__"


@click.command(cls=cli.Command)
@click.option(
    "--source",
    type=cli.NetworkAddress(),
    metavar=NETWORK_METAVAR,
    required=True,
    help="Networks to read.",
)
@click.option(
    "--dest",
    metavar="PATH",
    type=cli.LocalPath(dir_okay=False, path_type=Path),
    required=True,
    help="File to write: .pkl, or .safetensors, which cannot carry code.",
)
@click.option(
    "--force-fp16",
    type=bool,
    default=False,
    show_default=True,
    help="Use float16 at the four highest resolutions, on GPUs; the same as --precision=fp16.",
)
@click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    help="Type of the features, as for train.py: fp16 (on GPUs) or bf16 at the four highest"
    " resolutions, or fp32.  [default: as the networks have it]",
)
@click.option(
    "--networks",
    "names",
    type=cli.NameList(STORABLE),
    metavar="NAME,NAME",
    help="Networks to write. G_ema makes images; --resume needs D, too.  [default: all]",
)
@click.option(
    "--store-as",
    type=click.Choice(get_args(StoredType)),
    default="float32",
    show_default=True,
    help="Type of the weights in a .safetensors file; float16 halves it. Loading gives float32.",
)
@click.option(
    "--data",
    type=cli.Address(),
    metavar="ZIP|DIR",
    help="Path of the training images to write into the file.  [default: as in --source]",
)
@allow_untrusted_option
@version_option
def main(
    source: str,
    dest: Path,
    force_fp16: bool,
    precision: Precision | None,
    names: list[str] | None,
    store_as: StoredType,
    data: str | None,
    allow_untrusted: bool,
) -> None:
    """Load networks and write them in this project's own format.

    Reads pickles of StyleGAN2 and StyleGAN2-ADA (TensorFlow), StyleGAN2-ADA and StyleGAN3
    (PyTorch), pickles of this project, and safetensors files.

    \b
    Examples:
      python legacy.py --source=https://example.com/old.pkl --dest=new.pkl
      python legacy.py --source=net.pkl --dest=net.safetensors
      python legacy.py --source=net.pkl --dest=net-fp16.pkl --force-fp16=1
      # A small file, to make images and to start other trainings from
      python legacy.py --source=net.pkl --dest=small.safetensors --networks=G_ema,D \\
          --store-as=float16 --precision=fp16
    """
    if force_fp16 and precision not in (None, "fp16"):
        raise click.UsageError(f"--force-fp16=1 contradicts --precision={precision}.")
    if names is not None and "G_ema" not in names:
        raise click.UsageError("--networks: G_ema is missing, which every file needs.")
    click.echo(f"Loading {source} ...")
    content = load_network(source, force_fp16, "--source", allow_untrusted)
    if names is not None:
        click.echo(f"Left out: {', '.join(leave_out(content, names)) or 'nothing'}")
    if precision is not None:
        for name in NETWORKS:
            if content[name] is not None:
                content[name] = with_precision(content[name], precision)
    if data is not None:
        content["training_set_kwargs"] = {**(content["training_set_kwargs"] or {}), "path": data}
    with cli.blame("--dest"):
        rounding = save_networks(dest, content, store_as)
    size = f"{dest.stat().st_size / 1e6:.2f} MB"
    if rounding is not None:
        click.echo(rounding.describe())
    click.echo(f"Wrote {dest} ({size})")


def leave_out(content: dict[str, Any], names: Sequence[str]) -> list[str]:
    """Set the networks that are not wanted to `None`, and return their names.

    Args:
        content: Result of `load_network`; changed.
        names: The wanted networks.

    Raises:
        click.BadParameter: If a wanted network is missing.
    """
    if missing := [name for name in names if content[name] is None]:
        found = ", ".join(name for name in STORABLE if content[name] is not None)
        raise click.BadParameter(
            f"there is no {missing[0]} in the file, but {found}", param_hint="'--networks'"
        )
    left_out = [name for name in STORABLE if name not in names and content[name] is not None]
    content.update(dict.fromkeys(left_out))
    return left_out


if __name__ == "__main__":
    main()
