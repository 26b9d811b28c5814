"""Whether the environment allows files from elsewhere to run code."""

import os

from dnnlib.errors import InputError
from dnnlib.util import printable

VARIABLE = "STYLEGAN3_ALLOW_UNTRUSTED"
ON = ("1", "true", "yes", "on")
OFF = ("", "0", "false", "no", "off")


def is_allowed_by_environment() -> bool:
    """Whether `STYLEGAN3_ALLOW_UNTRUSTED` is on, in upper or lower case.

    Raises:
        ValueError: If its value means neither on nor off.
    """
    value = os.environ.get(VARIABLE, "")
    word = value.strip().lower()
    if word not in (*ON, *OFF):
        raise InputError(
            f"{VARIABLE}={printable(value[:40])} means neither on nor off: "
            f"{', '.join(ON)} switch it on, {', '.join(OFF[1:])} switch it off"
        )
    return word in ON
