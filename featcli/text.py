"""Words for a person: names as a terminal may see them, lists, and what was probably meant."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher, get_close_matches
from typing import Any

SHADES = "░▒▓█"  # of quarters
BLOCKS = SHADES + "▉▊▋▌▍▎▏"  # what plots are made of
_CUT = "..."
_PLAIN = str.maketrans(BLOCKS, ".:+#####---")  # each takes one column, as what it replaces


def printable(text: str) -> str:
    r"""Text on one line, whose control characters and lone surrogates cannot harm a terminal: `\n`, `\x1b`, `\xe9`."""
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def writable(text: str, encoding: str | None) -> str:
    """A plot for a stream of some encoding, None being UTF-8: of `#`, `-`, `.`, `:` and `+` where it has no blocks."""
    try:
        BLOCKS.encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return text.translate(_PLAIN)
    return text


def _escape(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape", "surrogatepass").decode()


def nfc(text: str) -> str:
    """Text with its accents composed: macOS writes names decomposed, and they look and mean the same."""
    return unicodedata.normalize("NFC", text)


def listing(parts: Sequence[str], last: str = "or") -> str:
    """`a`, `a or b`, `a, b or c`."""
    return f" {last} ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def near(word: str, names: Sequence[str]) -> list[str]:
    """The names that may have been meant: the same in another case, else the nearest spellings, best first."""
    same = [name for name in names if name.lower() == word.lower()]
    close = get_close_matches(word[:100], names, n=3, cutoff=0.6)
    likeness = [SequenceMatcher(None, word[:100], name).ratio() for name in close]
    return same or [name for name, ratio in zip(close, likeness, strict=True) if ratio > likeness[0] - 0.1]


def did_you_mean(word: str, choices: Iterable[str], *, most: int = 3) -> str:
    """`; did you mean 'resnet18' or 'resnet34'?`, or an empty string where nothing is near."""
    return meant(near(word, list(choices))[:most])


def meant(names: Sequence[str]) -> str:
    """`; did you mean 'resnet18' or 'resnet34'?`, or an empty string for no names."""
    return f"; did you mean {listing([repr(name) for name in names])}?" if names else ""


def csv_text(*parts: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV with line feeds, one part after the other: a header, say, then the rest."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for rows in parts:
        writer.writerows(rows)
    return text.getvalue()


def columns(text: str) -> int:
    """How many columns of a terminal a text takes: two for a wide character, none for a combining one."""
    return sum(_columns_of(char) for char in text)


def clipped(text: str, width: int) -> str:
    """A text as `printable` gives it, cut to so many columns: `...` for its middle, since ends tell names apart."""
    text = printable(text)
    if columns(text) <= width:
        return text
    room = max(width - len(_CUT), 0)
    start = _first_columns(text, room - room // 2)
    end = _last_columns(text, room - columns(start))
    return start + _CUT[:width] + end


def _first_columns(text: str, room: int) -> str:
    for index, char in enumerate(text):
        room -= _columns_of(char)
        if room < 0:
            return text[:index]
    return text


def _last_columns(text: str, room: int) -> str:
    kept = len(text)
    for index in range(len(text) - 1, -1, -1):
        width = _columns_of(text[index])
        if width > room:
            break
        room -= width
        if width:  # a combining character belongs to the one before it
            kept = index
    return text[kept:]


def _columns_of(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me") or "\u1160" <= char <= "\u11ff":  # the latter: vowels of Hangul
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def first_few(parts: Sequence[str], most: int = 3) -> str:
    """`a, b, c and 4 more`."""
    more = f" and {len(parts) - most} more" if len(parts) > most else ""
    return ", ".join(parts[:most]) + more
