"""Networks in the box: addresses like `pretrained:shapes-t` for the files in `pretrained/`."""

import difflib
from pathlib import Path

from dnnlib.errors import InputError

PREFIX = "pretrained:"
FOLDER = Path(__file__).resolve().parent.parent / "pretrained"  # in a clone, and as installed
SUFFIX = ".safetensors"


def is_pretrained(address: str) -> bool:
    """Whether an address means a network in the box, perhaps one that does not exist."""
    return address.startswith(PREFIX)


def addresses() -> list[str]:
    """The addresses of all networks in the box, in alphabetical order."""
    return sorted(PREFIX + path.name.removesuffix(SUFFIX) for path in FOLDER.glob(f"*{SUFFIX}"))


def path_of(address: str) -> Path:
    """The file behind the address of a network in the box.

    Raises:
        ValueError: If there is no such network; the message lists those that exist.
    """
    known, name = addresses(), address.removeprefix(PREFIX)
    if address in known:
        return FOLDER / f"{name}{SUFFIX}"
    if not known:
        raise InputError(f"{address}: there is no network in {FOLDER}; copy the project's there")
    names = [other.removeprefix(PREFIX) for other in known]
    close = difflib.get_close_matches(name.lower().removesuffix(SUFFIX), names, n=1)
    hint = f"; did you mean {PREFIX}{close[0]}?" if close else "."
    raise InputError(f"{address}: there is no such network{hint} {in_the_box()}")


def in_the_box() -> str:
    """A sentence with all addresses, without an end; empty if there are no networks."""
    return f"In the box: {', '.join(known)}" if (known := addresses()) else ""
