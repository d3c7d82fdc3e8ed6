"""What the owner of a model writes into its card, between marks, and how that outlives the card being made again.

Each part begins with a mark that has the hash of the text that was put there first: what differs is the owner's.
The last line of a card has the hash of all else: a card whose other lines were changed is told by it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

TO_DO = "To be filled in by the owner:"
_DIGITS = 12
_PART = re.compile(
    r"^(?P<open><!--|#) featcli:owner (?P<name>[a-z-]+) (?P<hash>[0-9a-f]{12})(?: -->)?\n"
    r"(?P<text>.*?)"
    r"^(?P=open) featcli:end(?: -->)?$",
    re.DOTALL | re.MULTILINE,
)
_SEAL = re.compile(r"<!-- featcli:card ([0-9a-f]{12}) -->\n*\Z")


@dataclass(frozen=True, slots=True)
class Edits:
    """What somebody wrote into a card.

    Attributes:
        parts: the owner's text by the name of its part; only what is not as it was made.
        elsewhere: whether lines were changed that are made anew, or the card was not made here at all.
    """

    parts: Mapping[str, str]
    elsewhere: bool

    def __bool__(self) -> bool:
        return bool(self.parts) or self.elsewhere


def owner_part(name: str, default: str, *, comment: bool = False) -> str:
    """A part of a card that is the owner's.

    Args:
        name: in lower case, with hyphens.
        default: what stands there until the owner replaces it; one line or more.
        comment: whether it stands where lines of comments begin with `#`, as in YAML.
    """
    opening, closing = ("#", "") if comment else ("<!--", " -->")
    text = default.rstrip("\n") + "\n"
    return f"{opening} featcli:owner {name} {_hash(text)}{closing}\n{text}{opening} featcli:end{closing}"


def sealed(card: str) -> str:
    """A card with its last line."""
    return f"{card.rstrip()}\n\n<!-- featcli:card {_hash(_made(card))} -->\n"


def read_edits(card: str) -> Edits:
    """What is not as it was made."""
    card = card.replace("\r\n", "\n").removeprefix("\ufeff")
    parts = {found["name"]: found["text"] for found in _PART.finditer(card) if _hash(found["text"]) != found["hash"]}
    seal = _SEAL.search(card)
    return Edits(parts, seal is None or seal[1] != _hash(_made(card[: seal.start()])))


def with_parts(card: str, parts: Mapping[str, str]) -> str:
    """A card with what its owner wrote before; parts that it does not have are left out."""

    def fill(found: re.Match[str]) -> str:
        text = parts.get(found["name"])
        if text is None:
            return found[0]
        start, end = found.start("text") - found.start(), found.end("text") - found.start()
        return found[0][:start] + text + found[0][end:]

    return _PART.sub(fill, card)


def _made(card: str) -> str:
    """All but what is the owner's."""
    return _PART.sub(lambda found: f"owner {found['name']}", card).rstrip()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGITS]
