"""How a number is written: a printf format that may have text around the number, or no number."""

import re
from dataclasses import dataclass
from functools import lru_cache

_NUMBER = re.compile(r"%[-+ 0#]*\d*(?:\.(?P<decimals>\d+))?(?P<kind>[dieEfFgG])")
_TYPED = re.compile(r"[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class NumberForm:
    """A format, taken apart.

    Attributes:
        prefix: Text before the number; the whole text if there is no number.
        number: The format of the number alone; empty if there is no number.
        suffix: Text after the number.
        decimals: Shown digits after the point; None if the number decides.
    """

    prefix: str
    number: str
    suffix: str
    decimals: int | None

    def show(self, value: float) -> str:
        """The text of a value."""
        return f"{self.prefix}{self.number % value if self.number else ''}{self.suffix}"

    def read(self, text: str) -> float | None:
        """The number in a typed text, with or without the text around it; None if there is none.

        A comma is taken for a point.
        """
        text = text.strip().removeprefix(self.prefix.strip()).strip()
        found = _TYPED.match(text.replace("\N{MINUS SIGN}", "-"))
        return None if found is None else float(found.group().replace(",", "."))


@lru_cache(maxsize=1000)
def parse_form(form: str) -> NumberForm:
    """Take a printf format apart; `%%` stands for a percent sign.

    Raises:
        ValueError: If there are two numbers, or something else than a number.
    """
    # A mark that no format has holds the place of percent signs.
    masked = form.replace("%%", "\0")
    found = list(_NUMBER.finditer(masked))
    around = _NUMBER.sub("", masked)
    if len(found) > 1 or "%" in around:
        raise ValueError(f"{form!r} is no format of one number")
    if not found:
        return NumberForm(masked.replace("\0", "%"), "", "", None)
    (number,) = found
    kind, decimals = number["kind"], number["decimals"]
    if kind in "di":
        shown: int | None = 0
    elif kind in "fF":
        shown = 6 if decimals is None else int(decimals)
    else:
        shown = None
    prefix, suffix = masked[: number.start()], masked[number.end() :]
    return NumberForm(prefix.replace("\0", "%"), number.group(), suffix.replace("\0", "%"), shown)
