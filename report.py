"""Make a page that shows what training runs do: curves, sheets, options, warnings."""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

from pathlib import Path

import click

from dnnlib import cli, options
from dnnlib.util import open_atomic, printable
from reports import page, run_folder


@click.command(cls=cli.Command)
@click.argument(
    "runs",
    metavar="RUN...",
    nargs=-1,
    required=True,
    type=cli.LocalPath(exists=True, file_okay=False, path_type=Path),
)
@click.option(
    "--out",
    type=cli.LocalPath(dir_okay=False, path_type=Path),
    metavar="FILE.html",
    default="report.html",
    show_default=True,
    help="File to write.",
)
@options.value_option(
    "--max-mb",
    cli.WholeNumber(1, 1000),
    "Size of the page; sheets become smaller and fewer until they fit.",
    default=25,
)
@options.version_option
def main(runs: tuple[Path, ...], out: Path, max_mb: int) -> None:
    """Show training runs side by side, in a single page for a browser.

    RUN is the folder of a run, complete or not. The page has the curves of all runs (losses,
    scores, augmentation, metrics, speed, memory), the sheets of generated images with a slider
    through time, the options in which the runs differ, and the warnings of the logs. It opens
    without a server and without internet access, and can be sent to others as it is.

    \b
    Examples:
      # One run; open report.html in a browser
      python report.py training-runs/00000-stylegan3-t-photos-256x256-gpus8-batch32-gamma2
      # All runs of a folder, side by side
      python report.py training-runs/*/ --out=runs.html
      # Small enough for a mail
      python report.py training-runs/*/ --out=runs.html --max-mb=5

    \b
    Run it again to see the progress of a run that still trains: the page does not change by itself.
    """
    folders = [run_folder.read(path) for path in dict.fromkeys(run.resolve() for run in runs)]
    if len(folders) < len(runs):
        click.echo("Note: runs that are named twice are shown once.")
    out.parent.mkdir(parents=True, exist_ok=True)
    # Opened now, to refuse a file that cannot be written before the sheets are read.
    with cli.exit_when_terminated(), open_atomic(out, "w") as file:
        made = page.make(folders, max_mb * 1_000_000)
        file.write(made.html)
    for folder in folders:
        for problem in folder.problems:
            click.echo(f"Note: {folder.name}: {printable(problem)}")
    for text in made.left_out:
        click.echo(f"Note: {printable(text)}")
    what = "1 run" if len(folders) == 1 else f"{len(folders)} runs"
    click.echo(f"Wrote {out}: {what}, {made.num_sheets} sheets, {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
