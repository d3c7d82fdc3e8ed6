"""Where the real photographs and weights are, for tests and scripts: a folder that FEATCLI_SHARED names."""

from __future__ import annotations

import os
from pathlib import Path

SHARED = Path(os.environ.get("FEATCLI_SHARED", Path(__file__).resolve().parents[2] / "shared")).absolute()
PHOTOGRAPHS = SHARED / "data" / "hymenoptera"


def missing(folder: Path = PHOTOGRAPHS) -> str | None:
    """What to say where there are no photographs; None where there are."""
    if folder.is_dir():
        return None
    return f"no photographs at {folder}; FEATCLI_SHARED names the folder that holds data/hymenoptera"


def require_photographs(folder: Path = PHOTOGRAPHS) -> Path:
    """The photographs of a script, which ends with one line where there are none."""
    if said := missing(folder):
        raise SystemExit(said)
    return folder.resolve()
