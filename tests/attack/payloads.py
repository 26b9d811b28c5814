"""What hostile files try to do: leave a trace in the home folder, or a line of their own."""

from pathlib import Path

HOME, WORK = Path("home"), Path("work")  # of a try, beside each other; scripts run in the second
MARK = "canary"  # a file in the home folder that only hostile code makes
PRECIOUS = "precious.bin"  # a file in the home folder that hostile code overwrites
SHELL = f'touch "$HOME/{MARK}"'
PYTHON = f"__import__('os').system({SHELL!r})"  # for `eval` and `exec`
MARK_PATH = f"../{HOME}/{MARK}"  # as seen from the folder in which scripts run
PRECIOUS_PATH = f"../{HOME}/{PRECIOUS}"
TRAP = "attack_trap"  # a module in the folder in which scripts run
FORGED = "FORGED"  # begins a line that only a file can have written
TEXT = f"\n{FORGED}: all is well\x1b[2J\x1b]0;title\x07\u202e"  # where a name could be
