"""Groups of images that belong together: of one patient, one camera, one scene."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

from featcli.data.naming.source import DataOptionError
from featcli.text import nfc

_SHOWN = 5


def groups_of(names: Sequence[str], pattern: str) -> list[str]:
    """The group of each image: what the one group of a regular expression finds in its path.

    Args:
        names: paths as `relative_name` gives them.
        pattern: with one group; searched, not matched from the start, in the composed form of a path.

    Raises:
        DataOptionError: it finds nothing, or an empty text, in some of the paths.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "possible nested set": of a future Python, not of these paths
        expression = re.compile(nfc(pattern))
    found = [match[1] if (match := expression.search(nfc(name))) else None for name in names]
    missed = [name for name, group in zip(names, found, strict=True) if not group]
    if missed:
        more = f" and {len(missed) - _SHOWN} more" if len(missed) > _SHOWN else ""
        raise DataOptionError(
            "group",
            f"{pattern!r} finds no group in {len(missed)} of {len(names)} images: {', '.join(missed[:_SHOWN])}{more}",
            "It is searched in the path as shown here. Widen it, or leave those images out with data.exclude.",
        )
    return [group for group in found if group]


def joined_groups(groups: Sequence[str | None], digests: Sequence[bytes | None]) -> list[str | None]:
    """The unit that each image belongs to once groups that share an identical image are joined.

    A unit is named after the first of its groups by code point. An image without a group belongs to the unit of its
    twins, if any has one.

    Args:
        groups: of each image, N names or None.
        digests: of each image's content, N hashes; None where it could not be read.

    Returns:
        The N names of units; None for an image that belongs to no group.
    """
    leader: dict[str, str] = {group: group for group in groups if group is not None}

    def lead(group: str) -> str:
        while leader[group] != group:
            leader[group] = group = leader[leader[group]]
        return group

    group_of: dict[bytes, str] = {}
    for group, digest in zip(groups, digests, strict=True):
        if group is not None and digest is not None:
            first, second = sorted((lead(group), lead(group_of.setdefault(digest, group))))
            leader[second] = first
    units: list[str | None] = []
    for group, digest in zip(groups, digests, strict=True):
        own = group if group is not None or digest is None else group_of.get(digest)
        units.append(None if own is None else lead(own))
    return units
