"""Make text from files safe to print on a terminal, write numbers, and lay out tables."""

from collections.abc import Sequence

MAX_CHARACTERS = 600  # in a message


def printable(text: str) -> str:
    """The text in one line, without control characters.

    Characters that do not print (escapes, line ends, marks of writing direction, lone surrogates)
    become escapes of Python, such as `\\x1b`.
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def one_line(text: str, max_characters: int = MAX_CHARACTERS) -> str:
    """A message in one line of bounded length, even if it quotes names from a file."""
    if len(text) > max_characters:
        text = f"{text[:max_characters]} ..."
    return printable(text)


def drawable(text: str) -> str:
    """Text that every program can show: bytes of file names that are not Unicode become escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def shortest_number(value: float) -> str:
    """A short text that reads back as the same number."""
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in (header, ["-" * width for width in widths], *rows):
        first, *others = zip(row, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
