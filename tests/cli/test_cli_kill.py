"""Promise 5: killed at any moment, a run is the old one, the new one, or visibly unfinished; the next one completes."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest

from tests.cli.lab import RUN_FILES, SMALL, Lab, is_complete, names

pytestmark = pytest.mark.slow

TRAIN = ("train-head", *SMALL, "--set", "data.root=photos", "-o", "run", "--cache", "cache")

# Ends the process, as kill -9 does, instead of the k-th rename of a file to its place.
KILL_AT = """
import os, signal
replace, calls = os.replace, []

def deadly(*arguments, **options):
    calls.append(1)
    if len(calls) == {k}:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*arguments, **options)

os.replace = deadly
"""
# Of a first run: space.json, a segment, config, checkpoint, config, predictions, training images, log, images, timings,
# card, metrics.
_RENAMES = 12


@pytest.fixture(scope="module")
def undisturbed(trained: Lab) -> dict[str, bytes]:
    """The files of the same run without a kill, but for config.yaml, which names its folder."""
    return {name: (trained.folder / "run" / name).read_bytes() for name in ("checkpoint.safetensors",)}


def _require_same(lab: Lab, undisturbed: dict[str, bytes]) -> None:
    run = lab.folder / "run"
    done = lab(*TRAIN, "--overwrite")
    assert done.code == 0, done.stderr
    assert names(run) == RUN_FILES
    assert is_complete(run)
    for name, data in undisturbed.items():
        assert (run / name).read_bytes() == data, name


def test_killed_before_each_rename_of_a_first_run(lab: Lab, undisturbed: dict[str, bytes]) -> None:
    seen = set()
    for k in range(1, _RENAMES + 1):
        for name in ("run", "cache"):
            shutil.rmtree(lab.folder / name, ignore_errors=True)
        killed = lab(*TRAIN, preload=lab.preload(KILL_AT.format(k=k)))
        assert killed.code == -9, f"there is no rename number {k}"
        run = lab.folder / "run"
        visible = [name for name in names(run) if not name.startswith(".")] if run.exists() else []
        seen.add(tuple(visible))
        assert not is_complete(run)
        assert "metrics.json" not in visible
        done = lab(*TRAIN)  # without --overwrite: it is recognised as the same run
        assert done.code == 0, f"{k}: {done.stderr}"
        assert names(run) == RUN_FILES
        assert is_complete(run)
        for name, data in undisturbed.items():
            assert (run / name).read_bytes() == data, name
    assert max(map(len, seen)) == len(RUN_FILES) - 1
    for name in ("run", "cache"):
        shutil.rmtree(lab.folder / name)
    assert lab(*TRAIN, preload=lab.preload(KILL_AT.format(k=_RENAMES + 1))).code == 0


def test_killed_while_it_replaces_another_run(lab: Lab, trained: Lab, undisturbed: dict[str, bytes]) -> None:
    assert lab(*TRAIN, "--set", "head.C=9").code == 0
    shutil.copytree(lab.folder / "run", lab.folder / "old")
    old = {name: (lab.folder / "old" / name).read_bytes() for name in RUN_FILES}
    outcomes = []
    # Checkpoint, config, predictions, training images, log, images, timings, card, metrics; features are stored.
    for k in range(1, 10):
        shutil.rmtree(lab.folder / "run")
        shutil.copytree(lab.folder / "old", lab.folder / "run")
        killed = lab(*TRAIN, "--overwrite", preload=lab.preload(KILL_AT.format(k=k)))
        assert killed.code == -9, f"there is no rename number {k}"
        run = lab.folder / "run"
        is_old = all((run / name).is_file() and (run / name).read_bytes() == data for name, data in old.items())
        outcomes.append((is_old, is_complete(run)))
        if k in (3, 6, 9):
            _require_same(lab, undisturbed)
    assert outcomes == [(True, True)] + [(False, False)] * 8


def test_killed_at_random_moments(lab: Lab, undisturbed: dict[str, bytes]) -> None:
    start = time.monotonic()
    assert lab(*TRAIN).code == 0
    duration = time.monotonic() - start
    random.seed(5)
    killed = 0
    for _ in range(12):
        if random.random() < 0.5:
            shutil.rmtree(lab.folder / "run", ignore_errors=True)
            shutil.rmtree(lab.folder / "cache", ignore_errors=True)
        had = is_complete(lab.folder / "run")
        run = lab.start(*TRAIN)
        time.sleep(random.random() * duration)
        run.kill()
        killed += run.wait().code == -9
        _require_no_half_file(lab.folder, undisturbed, had)
    assert killed >= 6
    _require_same(lab, undisturbed)


def _require_no_half_file(folder: Path, undisturbed: dict[str, bytes], had: bool) -> None:
    run = folder / "run"
    for name, data in undisturbed.items():
        if (run / name).exists():
            assert (run / name).read_bytes() == data
    assert is_complete(run) >= had
    assert is_complete(run) == (run / "metrics.json").exists()


def test_two_runs_at_once_share_a_store(lab: Lab) -> None:
    runs = [lab.start(*TRAIN[:-3], name, "--cache", "cache") for name in ("one", "two")]
    assert [run.wait().code for run in runs] == [0, 0]
    first, second = ((lab.folder / name / "checkpoint.safetensors").read_bytes() for name in ("one", "two"))
    assert first == second
    done = lab(*TRAIN)
    assert "features  0 computed, 16 from the store\n" in done.stderr


def test_a_damaged_store_costs_time_and_nothing_else(lab: Lab, undisturbed: dict[str, bytes]) -> None:
    assert lab(*TRAIN).code == 0
    (segment,) = (lab.folder / "cache").rglob("*.safetensors")
    data = bytearray(segment.read_bytes())
    data[-100] ^= 1
    segment.write_bytes(data)
    done = lab(*TRAIN)
    assert done.code == 0
    assert "warning: damaged segment in the feature store (its checksum is wrong): " in done.stderr
    assert "features  16 computed, 0 from the store\n" in done.stderr
    for name, expected in undisturbed.items():
        assert (lab.folder / "run" / name).read_bytes() == expected
