"""The attack as a program; see `main`."""

import collections
import fnmatch
import sys

import click
import numpy as np
from tqdm import tqdm

from tests.attack import hostile
from tests.attack.attack import Attack, Try
from tests.attack.entrances import ENTRANCES
from tests.attack.trial import FALLS


@click.command()
@click.option(
    "--file",
    "files",
    metavar="NAME",
    multiple=True,
    help="Only files of this name; * stands for anything, as in 'opcode: *'.  [default: all]",
)
@click.option(
    "--entrance",
    "entrances",
    type=click.Choice(list(ENTRANCES)),
    multiple=True,
    help="Only through this entrance.  [default: all]",
)
@click.option(
    "--mutations",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Add so many files that are damaged at random: hostile ones, and sound ones.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Number of the first mutation, and of the choice of --count.",
)
@click.option("--count", type=click.IntRange(min=1), help="Only so many tries, chosen by --seed.")
@click.option(
    "--scripts", is_flag=True, help="Start each script as users do: 5 s a try, not 0.2 s."
)
@click.option("--list", "is_list", is_flag=True, help="Print the names of the files and exit.")
def main(
    files: tuple[str, ...],
    entrances: tuple[str, ...],
    mutations: int,
    seed: int,
    count: int | None,
    scripts: bool,
    is_list: bool,
) -> None:
    """Give hostile files to every script that reads files of others.

    Each file is made by code, and has a name: its mechanism, and what it does. Each goes through
    every entrance: networks, styles, training states, feature networks, caches. A script must
    refuse it in one clear line with exit code 1, or load it harmlessly, within 10 s of the
    processor and 2 GiB of memory more than it has before. The script runs with a home folder of
    its own. Whatever is changed there counts as code that ran.

    \b
    What counts as a fall:
      ran code         the home folder, or the process itself, is not as it was
      crash            the script ended by a signal
      timeout, memory  it took more than the limits
      traceback        it ended in one
      raw output       it printed control characters, or a line that the file has written
      wrong exit code  it ended otherwise than with 0, or with 1 and one line that says why

    \b
    Examples:
      # Everything, which takes about an hour on two cores
      python -m tests.attack
      # One try again; what the script says is shown
      python -m tests.attack --file 'archive: link' --entrance state
      # A thousand tries with mutations, none of which was tried before
      python -m tests.attack --mutations 100000 --seed 4000000 --count 1000 --file 'mutation: *'
      # Ten tries with real scripts
      python -m tests.attack --count 10 --scripts
    """
    if sys.platform != "linux":
        raise click.ClickException("the attack limits and measures memory as Linux does")
    names = [*hostile.all_files(), *(f"{hostile.MUTATION}{seed + i}" for i in range(mutations))]
    if files:
        names = [n for n in names if any(fnmatch.fnmatchcase(n, pattern) for pattern in files)]
    if not names:
        raise click.UsageError(f"no file is called {' or '.join(files)}; --list shows the names")
    if is_list:
        click.echo("\n".join(names))
        return
    attack = Attack(is_warm=not scripts)
    try:
        closed = {name: attack.why_closed(name) for name in entrances or ENTRANCES}
        for entrance, reason in closed.items():
            if reason is not None:
                click.echo(f"Skipped: {entrance} ({reason})")
        opened = [entrance for entrance, reason in closed.items() if reason is None]
        pairs = [(file, entrance) for file in names for entrance in opened]
        if count is not None and count < len(pairs):
            chosen = np.random.default_rng(seed).choice(len(pairs), count, replace=False)
            pairs = [pairs[i] for i in sorted(chosen)]
        tries = []
        for file, entrance in tqdm(pairs, unit="try", disable=None):
            tries.append(attack.give(file, entrance))
            if tries[-1].fall is not None or len(pairs) == 1:
                tqdm.write(describe(tries[-1], not scripts))
            if len(pairs) == 1:
                tqdm.write(f"{tries[-1].outcome.stdout}{tries[-1].outcome.stderr}".rstrip())
    finally:
        attack.close()
    click.echo(summary(tries))
    sys.exit(any(one.fall is not None for one in tries))


def describe(one: Try, is_warm: bool) -> str:
    """A try in a line, and if it fell, how to repeat it."""
    outcome = one.outcome
    facts = f"{outcome.cpu_sec:.1f} s, {outcome.peak_bytes >> 20} MiB, exit code {outcome.code}"
    line = f"{one.file} -> {one.entrance}: {one.fall or 'stood'} ({facts})"
    return line if one.fall is None else f"FELL {line}\n  {one.command(is_warm)}"


def summary(tries: list[Try]) -> str:
    """All tries in one line."""
    falls = collections.Counter(one.fall.partition(":")[0] for one in tries if one.fall is not None)
    num_files = len({one.file for one in tries})
    num_entrances = len({one.entrance for one in tries})
    return (
        f"{len(tries):,} tries of {num_files} files through {num_entrances} entrances: "
        + ", ".join(f"{falls[kind]} {PLURALS[kind]}" for kind in FALLS)
    )


PLURALS = {
    "ran code": "ran code",
    "crash": "crashed",
    "timeout": "over time",
    "memory": "over memory",
    "traceback": "tracebacks",
    "raw output": "raw output",
    "wrong exit code": "other exit codes",
}

if __name__ == "__main__":
    main()
