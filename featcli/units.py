"""Durations and sizes as people write them."""

from __future__ import annotations

import re

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_BYTES: dict[str, int] = {"B": 1} | {
    unit: base**power
    for power, letter in enumerate("KMGT", start=1)
    for unit, base in ((letter, 1000), (f"{letter}B", 1000), (f"{letter}IB", 1024))
}


def seconds_of(text: str) -> float:
    """`90s`, `10m`, `12h`, `30d`, `2w` as seconds.

    Raises:
        ValueError: anything else.
    """
    found = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([smhdw])\s*", text, re.ASCII)
    if found is None:
        raise ValueError(f"{text!r} is not a duration")
    return float(found[1]) * _SECONDS[found[2]]


def duration_text(seconds: float) -> str:
    """`under a second`, `about 12 s`, `about 5 min`, `about 2.5 h`."""
    if seconds < 0.95:
        return "under a second"
    if seconds < 120:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 7200 else f"about {seconds / 3600:.1f} h"


def bytes_of(text: str) -> int:
    """`800MB`, `5GB`, `1.5 TB` (powers of 1000), `512MiB` (powers of 1024) as bytes; `5G` is `5GB`.

    Raises:
        ValueError: anything else.
    """
    found = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([a-z]+)\s*", text, re.ASCII | re.IGNORECASE)
    unit = None if found is None else _BYTES.get(found[2].upper())
    if found is None or unit is None:
        raise ValueError(f"{text!r} is not a size")
    return int(float(found[1]) * unit)


def count_text(number: int, what: str) -> str:
    """`1 step`, `2 steps`, `1,000 steps`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def size_text(number: int) -> str:
    """`1.5 GB`, `20.0 MB`, `12 B`."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return f"{number} B"
