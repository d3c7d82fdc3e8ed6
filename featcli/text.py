"""Names of files and classes as a person's terminal may see them."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Text on one line, whose control characters and lone surrogates cannot harm a terminal: `\n`, `\x1b`, `\xe9`."""
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape", "surrogatepass").decode()
