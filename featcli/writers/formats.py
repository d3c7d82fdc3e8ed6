"""Which format a file gets: by name, else by the ending of the path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from featcli.errors import UsageError
from featcli.files import check_output_file
from featcli.outputs import Place
from featcli.text import did_you_mean, listing

_COMPRESSED = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}


def choose_format(output: Path, name: str | None, endings: Mapping[str, str], *, otherwise: str | None = None) -> str:
    """The format of a file.

    Args:
        output: the path that the user gave; its ending may be in any case.
        name: of the format, or None to go by the ending.
        endings: formats by the endings that mean them: `{".csv": "csv"}`.
        otherwise: the format where there is no ending, and of pipes and devices with another one; None: there is none.

    Raises:
        UsageError: neither name nor ending says which, or the output is a folder.
        StorageError: nothing can be written there.
    """
    place = check_output_file(output)
    formats = list(dict.fromkeys(endings.values()))
    ending = output.suffix.lower()
    chosen = name.lower() if name is not None else endings.get(ending)
    if chosen is None and otherwise is not None and (not ending or place.is_stream):
        return otherwise
    if chosen not in formats:
        near = did_you_mean(name or ending.removeprefix("."), formats)
        raise UsageError(f"cannot tell the format of '{output}'{near}", _ways_out(output, place, endings))
    return chosen


def _ways_out(output: Path, place: Place, endings: Mapping[str, str]) -> str:
    formats = listing(list(dict.fromkeys(endings.values())))
    if place.is_stream:
        return f"Give --format: {formats}."
    program = _COMPRESSED.get(output.suffix.lower())
    if program is not None:
        inner = endings.get(Path(output.stem).suffix.lower(), "csv")
        return f"Compress it on the way: --format {inner} -o - | {program} > {output.name}"
    return f"End it in {listing(list(endings))}, or give --format: {formats}."


def refuse_on_terminal(format: str, place: Place, texts: Sequence[str]) -> None:
    """Refuses bytes that are no text where somebody looks at them.

    Raises:
        UsageError: the place is a terminal, and the format none of `texts`.
    """
    if place.is_terminal and format not in texts:
        raise UsageError(f"{format} is not for a terminal", f"Name a file or a pipe, or give --format {texts[0]}.")
