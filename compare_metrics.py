"""Compare the metrics of training runs, networks and images in a table."""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

from pathlib import Path

import click

from dnnlib import cli, options
from dnnlib.errors import InputError
from metrics import comparison, records


@click.command(cls=cli.Command)
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    metavar="PATH...",
    type=cli.LocalPath(exists=True, path_type=Path),
)
@options.value_option(
    "--show",
    click.Choice(["best", "last", "all"]),
    "Which snapshots of a run.",
    default="best",
)
@options.value_option(
    "--by", click.STRING, "Value that says what is best.  [default: the first]", metavar="NAME"
)
@options.version_option
def main(paths: tuple[Path, ...], show: comparison.Show, by: str | None) -> None:
    """Print a table of metrics, with a row for each network and a column for each value.

    Takes folders of training runs, their metric-*.jsonl files, and files with the lines that
    calc_metrics.py prints. A warning says which values cannot be compared: those against other
    real images, of other numbers of images, another seed, or other feature networks.

    \b
    Examples:
      # The best snapshot of each run, and all snapshots of one
      python compare_metrics.py training-runs/00000-stylegan3-t training-runs/00001-stylegan3-r
      python compare_metrics.py training-runs/00000-stylegan3-t --show=all
      # Images of other generators
      python calc_metrics.py --images=theirs.zip --data=photos.zip > theirs.txt
      python compare_metrics.py training-runs/00000-stylegan3-t theirs.txt
    """
    if by is not None and show != "best":
        raise click.UsageError("--by says what is best: it needs --show=best")
    found = []
    files = dict.fromkeys(file for path in paths for file in records.find_files(path))
    for file in files:
        reading = records.read(file)
        if (note := reading.left_out()) is not None:
            click.echo(note, err=True)
        found += reading.records
    if not found:
        raise InputError(f"no records of metrics in {', '.join(map(str, paths))}")
    rows, notes = comparison.make_rows(found)
    rows, more = comparison.choose(rows, show, by)
    for note in [*notes, *more]:
        click.echo(note, err=True)
    click.echo(comparison.describe(rows))
    for warning in comparison.find_differences(rows):
        click.echo(f"Warning: {warning}", err=True)


if __name__ == "__main__":
    main()
