"""Which training a run folder holds, and whether another process may go on with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

from featcli.checkpoint import library_versions
from featcli.config import Config, load_config, moves
from featcli.errors import CheckpointError, UsageError
from featcli.events import Emit, Note, Warn
from featcli.files import storage_errors, write_json
from featcli.runs.folder import CONFIG_NAME, METRICS_NAME, Run, RunImage
from featcli.runs.images import changes_since

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """What a training depends on, besides the config.

    Attributes:
        config: of the training.
        weights_sha256: of the backbone that it starts from.
        images: that it learns from and validates on.
    """

    config: Config
    weights_sha256: str
    images: Sequence[RunImage]

    def write(self, run: Run, *, finished: str | None = None) -> None:
        """Writes `last.json`; `finished` is the sha256 of the checkpoint, once there is one."""
        write_json(run.last_facts, self._facts() | {"finished": finished})

    def _facts(self) -> dict[str, Any]:
        rows = "\n".join(json.dumps(astuple(image)[1:]) for image in self.images)
        return {
            "format": _FORMAT,
            "weights_sha256": self.weights_sha256,
            "images_sha256": hashlib.sha256(rows.encode()).hexdigest(),
            "versions": library_versions(),
        }

    def differences(self, found: dict[str, Any], run: Run) -> list[str]:
        """What is not as it was when the training in a folder began."""
        facts, said = self._facts(), []
        if found.get("weights_sha256") != facts["weights_sha256"]:
            before, now = str(found.get("weights_sha256"))[:12], self.weights_sha256[:12]
            said.append(f"the backbone's weights were {before}, now {now}")
        if found.get("images_sha256") != facts["images_sha256"]:
            try:
                changes = changes_since(run, self.images, self.config)
            except CheckpointError:
                changes = None
            said.append(f"the images: {changes or 'not as they were'}")
        return said


def is_unfinished(run: Run) -> bool:
    """Whether the folder holds a training that did not come to its end, and what going on with it needs."""
    found = _read(run)
    return found is not None and found.get("finished") is None and run.last.is_file()


def recorded_weights(run: Run) -> str | None:
    """The sha256 of the weights that the training in a folder began with; None where it holds none."""
    return (_read(run) or {}).get("weights_sha256")


def start_over(run: Run, identity: Identity, emit: Emit) -> None:
    """Marks the folder as that of this training, from the beginning."""
    if is_unfinished(run):
        emit(Note(f"an unfinished training in {run.folder} is replaced; --resume would have resumed it"))
    with storage_errors(run.folder):
        run.last.unlink(missing_ok=True)
        if not run.holds(identity.config):  # of another config, and --overwrite was given
            (run.folder / METRICS_NAME).unlink(missing_ok=True)
    run.remove_report()
    run.write_config(identity.config)
    run.write_images(identity.images)
    identity.write(run)


def check_resumable(run: Run, identity: Identity, emit: Emit) -> str | None:
    """Checks that the training in a folder is this one.

    Returns:
        The checkpoint's path where it is finished already; else None.

    Raises:
        UsageError: weights or images are not those that it began with; all differences are named.
    """
    found = _read(run)
    if found is None:
        emit(Note(f"nothing to resume in {run.folder}: training starts at the beginning"))
        start_over(run, identity, emit)
        return None
    different = identity.differences(found, run)
    if different:
        raise UsageError(
            f"the training in {run.folder} cannot be resumed: {'; '.join(different)}",
            "Restore what it began with, or start over with --overwrite.",
        )
    versions = library_versions()
    before = found.get("versions") or {}
    moved = [
        f"{name} {before.get(name)} is now {versions[name]}" for name in versions if before.get(name) != versions[name]
    ]
    if moved:
        emit(Warn(f"since the training began, {', '.join(moved)}: the result may differ in its last digits"))
    if found.get("finished") is not None and run.is_complete():
        emit(Note(f"the training in {run.folder} is finished"))
        return str(run.checkpoint)
    if moves(load_config(run.folder / CONFIG_NAME).config, identity.config):
        run.write_config(identity.config)
        run.write_images(identity.images)
    return None


def _read(run: Run) -> dict[str, Any] | None:
    """`last.json`, or None where there is none that can be read."""
    if not run.last_facts.is_file():
        return None
    try:
        with storage_errors(run.last_facts, doing="read"):
            found = json.loads(run.last_facts.read_bytes())
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("format") == _FORMAT else None
