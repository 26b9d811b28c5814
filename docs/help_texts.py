"""Writes the output of the scripts' --help into docs/*-help.txt: `make help-texts`.

The width is fixed, so that the texts do not depend on the terminal.
"""

from importlib import import_module
from pathlib import Path

import click

DOCS = Path(__file__).parent
SCRIPTS = {"train": "train-help.txt", "dataset_tool": "dataset-tool-help.txt"}
WIDTH = 80


def help_text(script: str) -> str:
    """The output of `python SCRIPT.py --help` in a terminal of 80 columns."""
    command = import_module(script).main
    context = click.Context(
        command, info_name=f"{script}.py", terminal_width=WIDTH, max_content_width=WIDTH
    )
    return f"{command.get_help(context)}\n"


def main() -> None:
    """Write all texts."""
    for script, name in SCRIPTS.items():
        (DOCS / name).write_text(help_text(script), encoding="utf-8")


if __name__ == "__main__":
    main()
