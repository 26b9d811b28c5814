"""Text from elsewhere, as a terminal may show it."""


def printable(text: str) -> str:
    """A name as a terminal may show it: in one line, without control characters.

    What does not print (escapes, line ends, marks of writing direction, lone surrogates) becomes
    its escape in Python, such as `\\x1b`.
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
