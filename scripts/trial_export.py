"""Whether exported files predict the same, how large they are and how fast.

`python scripts/trial_export.py PHOTOS SHARED` trains a head on a folder of labelled photographs with each backbone, of
the real weights that are found below SHARED (or in the packages that carry them), else random ones; exports it; and
prints a table: labels and probabilities beside the checkpoint's, in a process without torch; the forward pass by ONNX
Runtime beside that of each engine that is installed, in alternating rounds on the same pixels; the time of one
photograph, by the file and by the checkpoint. `--markdown FILE` writes the table between two marks. The last line is a
file whose mean was changed, which must be refused.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from featcli.backbones.stages import whole
from featcli.checkpoint import load_checkpoint, read_checkpoint
from featcli.data.pixels.loading import load_pixels
from featcli.data.readers.files import file_ref
from featcli.exported import read_exported
from featcli.features.engines.engine import Engine, forward
from featcli.features.engines.exported import ExportedFile
from featcli.features.engines.models import ModelCache
from featcli.features.engines.openvino import OpenVino, convert, openvino_version
from featcli.features.engines.plain import PlainTorch
from featcli.runtime import decide_runtime

REAL = {
    "efficientnet_lite0": "DEFAULT",
    "mobilenet_v2": "weights/mobilenet_v2.safetensors",
    "squeezenet1_1": "weights/squeezenet1_1.safetensors",
}
RANDOM = ("resnet18", "mobilenet_v3_small", "convnext_tiny", "vit_b_16", "swin_t")
MARKS = ("<!-- table -->", "<!-- end of table -->")
IMAGES, ROUNDS = 64, 5


def featcli(work: Path, *arguments: str, broken: str = "") -> tuple[int, str, str, float]:
    """Runs a command; `broken` is code that breaks something first."""
    code = f"{broken}\nimport sys; sys.argv = ['featcli', *sys.argv[1:]]\nfrom featcli.__main__ import main; main()"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=work, capture_output=True, text=True, env=environment, check=False
    )
    return done.returncode, done.stdout, done.stderr, time.perf_counter() - start


def trained(work: Path, photos: Path, shared: Path, name: str) -> None:
    weights = REAL.get(name, "none")
    weights = str(shared / weights) if "/" in weights else weights
    settings = [f"backbone.name={name}", f"backbone.weights={weights}", f"data.root={photos}", "head.C=1.0"]
    settings += [] if name in REAL else ["backbone.preprocess={resize: 256, crop: 224}"]
    flags = [part for setting in settings for part in ("--set", setting)]
    code, _, said, _ = featcli(work, "train-head", *flags, "-o", name, "--cache", "cache", "--overwrite")
    if code:
        sys.exit(f"{name} cannot be trained: {said}")


def speeds(work: Path, name: str, photos: Path) -> dict[str, float]:
    """Images a second of each engine, and of the exported file, as medians of rounds; all cores, whole batches."""
    runtime = decide_runtime("cpu")
    checkpoint, model = load_checkpoint(work / name / "checkpoint.safetensors"), read_exported(work / f"{name}.onnx")
    backbone, stored = whole(checkpoint.backbone), read_checkpoint(work / name / "checkpoint.safetensors")
    paths = sorted(path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))[:IMAGES]
    preprocessing = backbone.preprocessing
    loaded = [load_pixels(file_ref(str(path)), preprocessing.pixels).value for path in paths]
    pixels = [np.ascontiguousarray(square) for square in loaded if square is not None]
    engines: dict[str, Engine] = {"file": ExportedFile(model.path, model.outputs, runtime, few=False)}
    engines["torch"] = PlainTorch(backbone, runtime)
    if openvino_version() is not None:
        engine = OpenVino(stored.backbone, runtime, ModelCache(work / "models"), lambda: backbone)
        engine.take(convert(backbone, "fp32"))
        engines["openvino"] = engine
    took: dict[str, list[float]] = {engine: [] for engine in engines}
    for turn in range(ROUNDS + 1):
        order = list(engines.items())
        for engine_name, engine in order[turn % len(order) :] + order[: turn % len(order)]:
            start = time.perf_counter()
            forward(engine, pixels)
            if turn:
                took[engine_name].append((time.perf_counter() - start) / len(pixels))
    return {engine: 1 / median(times) for engine, times in took.items()}


def one_photograph(work: Path, model: str, photograph: Path) -> float:
    return median(featcli(work, "predict", model, str(photograph))[3] for _ in range(5))


def table(work: Path, photos: Path, shared: Path, names: Sequence[str], row: Callable[[str], None]) -> None:
    photograph = next(path for path in sorted(photos.rglob("*.jpg")))
    row(
        "| backbone | MB | labels | largest difference | export, s | images/s | of the fastest engine "
        "| one photograph, s | by the checkpoint, s |"
    )
    row("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for name in names:
        trained(work, photos, shared, name)
        code, out, said, seconds = featcli(work, "export", name, "-o", f"{name}.onnx", "--cache", "cache", "--json")
        if code:
            row(f"| {name} | refused: {said.strip().splitlines()[-1]} |")
            continue
        facts: dict[str, Any] = json.loads(out)
        checked = facts["checked"]
        assert checked["without_torch"]
        found = speeds(work, name, photos)
        fastest = max((engine for engine in found if engine != "file"), key=lambda engine: found[engine])
        one, other = (one_photograph(work, model, photograph) for model in (f"{name}.onnx", name))
        weights = "" if name in REAL else " (random)"
        row(
            f"| {name}{weights} | {facts['bytes'] / 1e6:.1f} | {checked['labels']} of {checked['images']} "
            f"| {checked['largest_difference']:.1e} | {seconds:.0f} | {found['file']:.1f} "
            f"| {found['file'] / found[fastest]:.2f} ({fastest}) | {one:.2f} | {other:.2f} |"
        )


def refusal(work: Path, name: str) -> None:
    """A mean that was changed, which everything else survives."""
    broken = (
        "from featcli import whole_model\n"
        "made = whole_model.PixelModel.__init__\n"
        "def other(self, *arguments, **options):\n"
        "    made(self, *arguments, **options)\n"
        "    self.shift += 0.5\n"
        "whole_model.PixelModel.__init__ = other\n"
    )
    code, out, said, _ = featcli(work, "export", name, "-o", "wrong.onnx", "--cache", "cache", broken=broken)
    print(f"\nA mean that was changed ({name}): exit code {code}, written: {(work / 'wrong.onnx').exists()}", out)
    print("\n".join(line for line in said.splitlines() if line.startswith(("warning", "error"))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--backbones", nargs="*", default=[*REAL, *RANDOM])
    parser.add_argument("--markdown", type=Path, help="a page whose table is written anew")
    given = parser.parse_args()
    lines: list[str] = []

    def row(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        work, photos, shared = Path(folder), given.photos.resolve(), given.shared.resolve()
        table(work, photos, shared, given.backbones, row)
        refusal(work, given.backbones[0])
    if given.markdown is not None:
        before, rest = given.markdown.read_text(encoding="utf-8").split(MARKS[0])
        after = rest.split(MARKS[1])[1]
        text = "\n".join([MARKS[0], "", *lines, "", MARKS[1]])
        given.markdown.write_text(f"{before}{text}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
