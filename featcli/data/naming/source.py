"""Which images make a data set, as one value; and errors that know which option of it is wrong."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from featcli.errors import DatasetError

# 1: groups larger than what is left of a share are passed over. 2: whole groups, nearest to the share (`split_groups`).
SPLIT_VERSIONS = (1, 2)


class DataOptionError(DatasetError):
    """An option besides the folder is wrong.

    Args:
        option: which, as in the config's section `data`: `manifest`, `group`, `exclude`.
        message: what is wrong.
        hint: the next step.
    """

    def __init__(self, option: str, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.option = option


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource:
    """The images of a data set and how they are split: from a folder, or from a table of paths.

    Attributes:
        root: the folder, or None where there is a manifest.
        manifest: a CSV or Parquet file, or None where there is a folder.
        group: a regular expression with one group, searched on each path; `group` for the manifest's column, which
            is used by itself where there is one; None for no groups.
        exclude: a text file of paths to leave out.
        val_fraction: share of the images for validation, where the user made no such split.
        test_fraction: share of the images for test, where the user made no splits.
        limit: keep the first so many images per class and split.
        split_version: of the rule by which splits are made, one of `SPLIT_VERSIONS`.
    """

    root: Path | None = None
    manifest: Path | None = None
    group: str | None = None
    exclude: Path | None = None
    val_fraction: float
    test_fraction: float = 0.0
    limit: int | None = None
    split_version: int = SPLIT_VERSIONS[-1]

    @property
    def pattern(self) -> str | None:
        """The regular expression that finds groups, where that is what `group` is."""
        return None if self.group == "group" else self.group

    @property
    def base(self) -> Path:
        """The folder that paths are relative to: the root, or the manifest's folder."""
        if self.manifest is not None:
            return self.manifest.parent
        assert self.root is not None, "a data set has a root or a manifest"
        return self.root


def relative_name(path: str, base: Path) -> str:
    """`path` as seen from `base`, with `/` between its parts; a path that lies elsewhere stays as it is.

    Names are compared, not places: links are not resolved, and `..` stays.
    """
    name = path.removeprefix(os.path.join(base, ""))
    return name if os.sep == "/" else name.replace(os.sep, "/")


def shown_path(path: Path) -> str:
    """A path as messages show it: relative to the working directory where it lies below that."""
    try:
        return os.fspath(path.relative_to(Path.cwd()))
    except (ValueError, OSError):  # it lies elsewhere, or the working directory is gone
        return os.fspath(path)
