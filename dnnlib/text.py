"""Text from elsewhere, as a terminal may show it."""

MAX_CHARACTERS = 600  # of a message


def printable(text: str) -> str:
    """A name as a terminal may show it: in one line, without control characters.

    What does not print (escapes, line ends, marks of writing direction, lone surrogates) becomes
    its escape in Python, such as `\\x1b`.
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def one_line(text: str, max_characters: int = MAX_CHARACTERS) -> str:
    """A message as one line of bounded length, whatever names from a file are in it."""
    if len(text) > max_characters:
        text = f"{text[:max_characters]} ..."
    return printable(text)
