"""Classes whose names are probably two spellings of one."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from featcli.events import Emit, Warn
from featcli.text import first_few, listing


def describe_alike(classes: Sequence[str], emit: Emit) -> None:
    """Warns of classes that differ by case, blanks, width or the form of a number alone: `Cat` and `cat`, 1 and 1.0."""
    spellings: defaultdict[str, list[str]] = defaultdict(list)
    for name in classes:
        spellings[_plain(name)].append(name)
    alike = [listing([repr(name) for name in names], "and") for names in spellings.values() if len(names) > 1]
    if alike:
        emit(Warn(f"classes whose names are almost the same, and that are told apart: {first_few(alike)}"))


def _plain(name: str) -> str:
    """A name without what spellings differ in."""
    words = re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", name)).casefold().strip()
    try:
        number = Decimal(name.strip())
    except InvalidOperation:
        return words or name
    return f"{number.normalize():f}" if number.is_finite() else words
