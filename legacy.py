"""Load network pickles: `load_network_pkl()`, and a command that rewrites them.

No code in a file is executed: networks are rebuilt as this project's classes, see `network_files`.
Only `allow_untrusted` runs the source inside a pickle.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

from pathlib import Path

import click

from dnnlib import cli, moved, trust  # before PyTorch, see `dnnlib.openmp`
from dnnlib.options import allow_untrusted_option, version_option

# isort: split
from network_files.load import DamagedFileError, load_network, load_network_pkl
from network_files.save import save_networks

__all__ = [
    "UNTRUSTED_VARIABLE",
    "DamagedFileError",
    "load_network",
    "load_network_pkl",
    "save_networks",
]

UNTRUSTED_VARIABLE = trust.VARIABLE
__getattr__ = moved.names_of("legacy")  # not of "__main__"


@click.command(cls=cli.Command)
@click.option(
    "--source", type=cli.Address(), metavar="PATH|URL", required=True, help="Networks to read."
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
    help="Use float16 at the four highest resolutions, on GPUs.",
)
@allow_untrusted_option
@version_option
def main(source: str, dest: Path, force_fp16: bool, allow_untrusted: bool) -> None:
    """Load networks and write them in this project's own format.

    Reads pickles of StyleGAN2 and StyleGAN2-ADA (TensorFlow), StyleGAN2-ADA and StyleGAN3
    (PyTorch), pickles of this project, and safetensors files.

    \b
    Examples:
      python legacy.py --source=https://example.com/old.pkl --dest=new.pkl
      python legacy.py --source=net.pkl --dest=net.safetensors
      python legacy.py --source=net.pkl --dest=net-fp16.pkl --force-fp16=1
    """
    click.echo(f"Loading {source} ...")
    data = load_network(source, force_fp16, "--source", allow_untrusted)
    with cli.blame("--dest"):
        save_networks(dest, data)
    click.echo(f"Wrote {dest}")


if __name__ == "__main__":
    main()
