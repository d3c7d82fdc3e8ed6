"""Every command of README.md runs, and every file of configs/ loads."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featcli.config import load_config

PROJECT = Path(__file__).resolve().parents[1]
README = (PROJECT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
REPORT = re.search(r"```\n(data\n.*?)```", README, re.DOTALL)[1]
COMMANDS = [line for block in BLOCKS for line in block.replace("\\\n", "").splitlines()]


def test_every_promise_has_a_test_that_names_it() -> None:
    promised = set(re.findall(r"^(\d+)\. \*\*", README.split("## Promises")[1].split("## ")[0], re.MULTILINE))
    tests = (path.read_text() for path in (PROJECT / "tests").rglob("*.py") if "gpu" not in path.parts)
    lists = re.findall(r"[Pp]romises? (\d+(?:(?:, | and )\d+)*)", "\n".join(tests))
    assert promised == {str(number) for number in range(1, 11)}
    assert promised <= {number for found in lists for number in re.findall(r"\d+", found)}


def test_the_readme_has_commands() -> None:
    assert len(COMMANDS) >= 9


@pytest.mark.slow
def test_the_commands_of_the_readme_run(tmp_path: Path, make_folder) -> None:
    (tmp_path / "configs").symlink_to(PROJECT / "configs")
    for patient in range(4):
        make_folder(tmp_path / "fresh", {"ants": 2, "bees": 2}, start=2 * patient)
        for name in ("ants", "bees"):
            folder = tmp_path / "photos" / name / f"patient-{patient}"
            folder.parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "fresh" / name).rename(folder)
    make_deep_scans(tmp_path / "photos")
    make_folder(tmp_path / "new-photos", {"unsorted": 3})
    make_folder(tmp_path / "other-photos", {"ants": 2, "bees": 2}, start=40)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "featcli").write_text(f'#!/bin/sh\nexec {sys.executable} -m featcli "$@"\n')
    (tmp_path / "bin" / "featcli").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(PROJECT)}
    for command in COMMANDS:
        if command.startswith("make "):
            target = command.split()[1]
            assert re.search(rf"^{target}:", (PROJECT / "Makefile").read_text(), re.MULTILINE)
            continue
        if command.startswith("pip install"):
            continue
        if "--backbone resnet18" in command:  # its weights need a network
            command += " --set backbone.weights=none"
        ran = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, f"{command}\n{ran.stderr}"
        if command.startswith("featcli check") and "patient" in command:
            assert REPORT in ran.stdout
    assert len((tmp_path / "predictions.jsonl").read_text().splitlines()) == 3
    assert (tmp_path / "features.npz").is_file()


def make_deep_scans(photos: Path) -> None:
    """Turns the images of one patient into 16-bit grey, one of them a TIFF."""
    for path in sorted(photos.glob("*/patient-3/*.png")):
        with Image.open(path) as image:
            deep = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
        deep.save(path)
    deep.save(path.with_name("scan.tif"))
    path.unlink()


@pytest.mark.parametrize("path", sorted(PROJECT.rglob("configs/**/*.yaml")), ids=lambda path: path.name)
def test_configs_load(path: Path) -> None:
    assert load_config(path).config.backbone.name is not None
