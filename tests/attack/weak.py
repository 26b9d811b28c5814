"""A script that loads whatever it is given: the attack must notice what a file does to it."""

import pickle
from pathlib import Path

import click


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
def main(path: Path) -> None:
    """Load a pickle."""
    pickle.loads(path.read_bytes())


if __name__ == "__main__":
    main()
