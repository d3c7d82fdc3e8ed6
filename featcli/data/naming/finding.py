"""From a path as somebody wrote it to the file that was meant."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from featcli.data.naming.folders import is_image_name
from featcli.data.pixels.decoding import EXTENSIONS
from featcli.text import nfc

_QUOTES = "\"'"


class Finder:
    """Finds files under the other Unicode form of their names; remembers folders while they do not change."""

    def __init__(self) -> None:
        self._names: dict[str, tuple[int, dict[str, str]]] = {}

    def find(self, path: str) -> str:
        """The path as it is given; where nothing is there, the one whose accents alone are written in another way."""
        if path.isascii() or os.path.lexists(path):
            return path
        folder, name = os.path.split(path.rstrip("/"))
        folder = self.find(folder)
        found = self._listed(folder or ".").get(nfc(name))
        return path if found is None else os.path.join(folder, found)

    def _listed(self, folder: str) -> dict[str, str]:
        """The names in a folder, by their composed form."""
        try:
            changed = os.stat(folder).st_mtime_ns
            known = self._names.get(folder)
            if known is None or known[0] != changed:
                known = self._names[folder] = (changed, {nfc(name): name for name in sorted(os.listdir(folder))})
        except (OSError, ValueError):  # no such folder, none that may be listed; a NUL in its name
            return {}
        return known[1]


def near_file(path: str, folder: str = "") -> str | None:
    """The file that was probably meant by a path where nothing is.

    In quotes or between blanks, with backslashes, as a `file://` URL, with `~`, without its ending or with another.

    Args:
        path: as it was written.
        folder: that it is relative to.
    """
    meant = (os.path.join(folder, spelling) for spelling in _spellings(path))
    return next(filter(os.path.isfile, meant), None)


def is_odd(path: str) -> bool:
    """Whether a path may be one of those that `near_file` knows; none that names an image plainly is."""
    return (
        not is_image_name(path)
        or "\\" in path
        or path[0] in "~\"' \t"
        or path.startswith("file:")
        or path[-1].isspace()
    )


def _spellings(path: str) -> Iterator[str]:
    bare = path.strip().strip(_QUOTES).strip()
    if bare.startswith("file://"):
        bare = unquote(urlsplit(bare).path)
    bare = os.path.expanduser(bare)
    for plain in dict.fromkeys((bare, bare.replace("\\", "/"))):
        yield plain
        stem = os.path.splitext(plain)[0] if is_image_name(plain) else plain
        for ending in sorted(EXTENSIONS):
            yield stem + ending
            yield stem + ending.upper()


def beside_manifest(written: str, folder: Path) -> str | None:
    """The file that a manifest's path names from another folder (above the manifest's or below it), or in another case.

    Args:
        written: the path, as it is in the manifest: also one of another machine.
        folder: that of the manifest.
    """
    parts = [part for part in re.split(r"[/\\]+", written) if part not in ("", ".")]
    if is_foreign(written):  # its end may be the same here
        tails = ["/".join(parts[start:]) for start in range(1, len(parts))]
        return next(filter(None, (_there(tail, [folder]) for tail in tails)), None)
    try:
        below = sorted(entry.path for entry in os.scandir(folder) if entry.is_dir())[:50]
    except OSError:
        below = []
    return _there("/".join(parts), [folder, *folder.parents, *below])


def is_foreign(written: str) -> bool:
    """Whether a path is absolute, here or on Windows, or a URL."""
    return re.match(r"[/\\]|[A-Za-z]:[/\\]|[a-z0-9]+://", written) is not None


def _there(path: str, folders: Iterable[Path | str]) -> str | None:
    """The file of that path, in any case and with any ending, in the first of the folders that has it."""
    for folder in folders:
        base = os.fspath(folder)
        found = near_file(path, base)
        if found is None:
            *above, name = path.split("/")
            for part in above:
                base = os.path.join(base, _in_any_case(part, base))
            found = near_file(_in_any_case(name, base), base)
        if found is not None:
            return found
    return None


def names_in(folder: str) -> list[str]:
    """What a folder holds, sorted; nothing where it cannot be listed."""
    try:
        return sorted(os.listdir(folder or os.curdir))
    except (OSError, ValueError):  # ValueError: a NUL in its name
        return []


def _in_any_case(name: str, folder: str) -> str:
    """The name that a folder has in another case; the given one where it has none, or where it has itself."""
    names = names_in(folder)
    return next((other for other in names if name not in names and other.casefold() == name.casefold()), name)
