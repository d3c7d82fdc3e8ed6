"""The page that `bench_speed.py` writes: Markdown from its measurements."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from featcli.cores import decide_cores, has_bf16

Row = Mapping[str, Any]
PACKAGES = ("torch", "torchvision", "numpy", "pillow", "simplejpeg", "openvino", "scikit-learn")
PEER_PACKAGES = ("timm", "img2vec-pytorch", "onnxruntime", "fastembed", "vyntri")
WORDS = {
    "tutorial": "tutorial loop",
    "featcli-torch": "**featcli**, plain torch",
    "featcli-openvino": "**featcli**, OpenVINO",
    "featcli-openvino-bf16": "**featcli**, OpenVINO, `--precision bf16`",
    "featcli-torch-scaled": "**featcli**, plain torch, `decode: scaled`",
    "featcli-openvino-scaled": "**featcli**, OpenVINO, `decode: scaled`",
    "command": "**`featcli extract`**, the whole command, new cache",
    "loop-onnxruntime": "loop around ONNX Runtime",
    "loop-openvino": "loop around OpenVINO, fp32",
    "loop-openvino-default": "loop around OpenVINO as it comes",
    "timm": "timm, loader and model",
    "img2vec-pytorch": "img2vec-pytorch",
    "fastembed": "fastembed",
    "script": "script: DataLoader, torch, scikit-learn",
    "featcli": "**featcli**",
    "baseline": "featcli at the commit {baseline}",
    "vyntri": "vyntri",
}
INTRODUCTION = """\
# Benchmarks

Written by `make bench` (`scripts/bench_speed.py`), not by hand. Every contestant runs in a process of its own; in
each of {rounds} all of them run, beginning with another one. Figures are medians over the rounds; a ratio is the
median of the ratios within a round, above 1 where it is faster than the first line. Other work on the machine moves
figures more than ratios."""
EXTRACTION = """\
## How fast do photographs become features?

{count} JPEGs of about 500 x 375, from file to features, 32 at a time, nothing stored. The clock starts after 32
images; *start* is what went before: imports, the model, its conversion where it is not kept from the round before.
Weights are random ones of torchvision's builders, the same for all but timm, which has builders of its own;
BatchNorm's statistics are those of 32 of the photographs and ConvNeXt's layer scale is 0.1, lest activations
vanish. *Cosine* is the lowest to the tutorial's features, *centred* the same with their mean subtracted, which
small differences move more; *labels* is the share of photographs that a logistic regression, fitted to the
tutorial's features, names alike. The *ceiling* is 1 / (decoding / cores + forward pass of the fastest engine):
reading, decoding and resizing by featcli in one thread, and the forward pass on decoded pixels with all cores.

- tutorial loop: torch's DataLoader with 2 workers, PIL, torchvision's preset, eager fp32, channels first
- featcli: `Extractor.stream` in the process; the whole command includes its start and the conversion of the model,
  and its ratio is to the tutorial's start and loop together
- loops: PIL and the preset in a pool of threads, then one synchronous call; OpenVINO as it comes takes bf16 where
  the processor has it
- timm: its own loader with 2 workers, its own preprocessing
- img2vec-pytorch (resnet18 only) squashes to 224 x 224; the crop of fastembed (resnet50 only) lies a pixel aside in
  some sizes: both with the same weights"""
LARGE = """\
## And photographs of 12 megapixels?

{count} JPEGs of 4000 x 3000, made of the photographs, through resnet18. `decode: scaled` makes an image
smaller while it is decoded, to no less than twice the size that is needed."""
CLASSIFIER = """\
## How long from a folder to a classifier?

Photographs of ants and bees, 245 to train and 153 to validate, EfficientNet-Lite0 with its real weights: whole
commands, start included, nothing stored or converted before. featcli chooses C from 7 values by cross-validation;
the script takes C = 1; vyntri has these weights in place of its own, which need a download, and fits what it fits by
default."""
ONE = """\
## How long does one photograph take?

Whole commands, start included; the model was converted when the classifier was made."""
LOGISTIC = """\
## How long does the choice of C take?

`scripts/bench_logistic.py`:"""


def machine(python: str, project: Path) -> dict[str, str]:
    """What the figures depend on: processor, versions, what else went on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    known = {None: "not known whether it has bf16", True: "with bf16 instructions", False: "without bf16 instructions"}
    git = ["git", "-C", str(project), "log", "-1", "--format=%h of %cs"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    ask = "import json, sys; from importlib.metadata import version, PackageNotFoundError\nfound = {}\n"
    ask += "for name in sys.argv[1:]:\n try: found[name] = version(name)\n except PackageNotFoundError: pass\n"
    asked = subprocess.run(
        [python, "-c", ask + "print(json.dumps(found))", *PACKAGES, *PEER_PACKAGES], capture_output=True, text=True
    )
    versions = json.loads(asked.stdout)
    peers = {name: versions.pop(name) for name in PEER_PACKAGES if name in versions}
    return {
        "processor": f"{model or platform.processor() or platform.machine()}, {known[has_bf16()]}",
        "cores": str(decide_cores().count),
        "system": f"{platform.system()}, Python {platform.python_version()}",
        "featcli": commit or "not known",
        "libraries": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "peers": ", ".join(f"{name} {number}" for name, number in peers.items()) or "none",
        "load at the start": f"{os.getloadavg()[0]:.1f}" if sys.platform != "win32" else "not known",
    }


def page(rows: Sequence[Row], facts: Mapping[str, str], options: argparse.Namespace) -> str:
    """Markdown, of the tables that were measured."""
    rounds = f"{options.rounds} rounds" if options.rounds > 1 else "1 round"
    parts = [INTRODUCTION.format(rounds=rounds), table(["", ""], facts.items())]
    found = of(rows, table="extraction")
    if found:
        counts = sorted({row["images"] for row in found if "images" in row}, reverse=True)
        parts.append(EXTRACTION.format(count=" or ".join(map(str, counts)) or "No"))
        for backbone in dict.fromkeys(row["backbone"] for row in found):
            parts += [f"### {backbone}", *extraction(of(found, backbone=backbone))]
    found = of(rows, table="large")
    if found:
        parts += [LARGE.format(count=options.large_images), *extraction(found)]
    for name, text in (("classifier", CLASSIFIER), ("one", ONE)):
        found = of(rows, table=name)
        if found:
            parts += [text, commands(found, commit_of(options.baseline))]
    for row in of(rows, table="logistic"):
        parts += [LOGISTIC, f"```\n{row['printed'].rstrip()}\n```" if "printed" in row else not_run(row)]
    return "\n\n".join(parts) + "\n"


def of(rows: Iterable[Row], **key: Any) -> list[Row]:
    return [row for row in rows if key.items() <= row.items()]


def table(head: Sequence[str], lines: Iterable[Iterable[str]]) -> str:
    rule = "|".join(["---", *["---:" if name else "---" for name in head[1:]]])
    return "\n".join([f"| {' | '.join(head)} |", f"|{rule}|", *(f"| {' | '.join(line)} |" for line in lines)])


def not_run(row: Row) -> str:
    return f"not run: {row['failed']}"


def by_round(rows: Sequence[Row], value: Callable[[Row], float]) -> dict[int, float]:
    return {row["round"]: value(row) for row in rows if "failed" not in row}


def median_ratio(one: Mapping[int, float], other: Mapping[int, float]) -> str:
    shared = [one[number] / other[number] for number in one if number in other]
    return f"{statistics.median(shared):.2f}" if shared else "-"


def extraction(rows: Sequence[Row]) -> list[str]:
    """The ceiling in words, and a line for each contestant."""
    words, ceilings = ceiling(of(rows, contestant="ceiling"))
    by_name = {name: of(rows, contestant=name) for name in WORDS if of(rows, contestant=name)}

    def rate(row: Row) -> float:
        return row["images"] / row["seconds"]

    def whole(row: Row) -> float:
        return row["images"] / (row["start"] + row["seconds"])

    base = by_name.get("tutorial", [])
    lines = []
    for name, found in by_name.items():
        rates = by_round(found, rate)
        if not rates:
            lines.append([WORDS[name], not_run(found[0]), *["-"] * 6])
            continue
        median = statistics.median(rates.values())
        top = ceilings.get(kind(name))
        same = next(iter(of(rows, compared=name)), {})
        accuracy = ["other weights", "-", "-"]
        if name != "timm":
            labels = f"{same['labels']:.1%}" if "labels" in same else "-"
            accuracy = [digits(same.get("cosine")), digits(same.get("centred")), labels]
        lines.append(
            [
                WORDS[name],
                f"{median:.1f}",
                median_ratio(rates, by_round(base, whole if name == "command" else rate)),
                f"{median / top:.0%}" if top and name != "command" else "-",
                "in it" if name == "command" else f"{statistics.median(by_round(found, start_of).values()):.1f}",
                *accuracy,
            ]
        )
    head = ["", "images/s", "ratio", "of the ceiling", "start, s", "cosine", "centred", "labels"]
    return [*([words] if words else []), table(head, lines)]


def start_of(row: Row) -> float:
    return row["start"]


def digits(value: float | None) -> str:
    """Enough of them to tell a cosine from 1."""
    return "-" if value is None else f"{value:.7f}" if value > 0.9999 else f"{value:.4f}"


def kind(name: str) -> str:
    """Which ceiling a contestant is under."""
    if name.endswith("scaled"):
        return "scaled"
    is_bf16 = name.endswith("bf16") or (name.endswith("default") and has_bf16() is True)
    return "bf16" if is_bf16 else "fp32"


def ceiling(rows: Sequence[Row]) -> tuple[str, dict[str, float]]:
    """In words; and images/s by kind."""
    rows = [row for row in rows if "exact" in row]
    if not rows:
        return "", {}
    decode = {name: min(row[name] for row in rows) for name in ("exact", "scaled")}
    forward = {name: min(row["forward"][name] for row in rows) for name in rows[0]["forward"]}
    found, words = {}, []
    for label, precision, decoding in (
        ("fp32", "fp32", "exact"),
        ("bf16", "bf16", "exact"),
        ("scaled", "fp32", "scaled"),
    ):
        engines = {name: seconds for name, seconds in forward.items() if name.endswith(precision)}
        if not engines:
            continue
        best = min(engines, key=engines.__getitem__)
        found[label] = 1 / (decode[decoding] / decide_cores().count + engines[best])
        words.append(
            f"{label} {found[label]:.0f} images/s (decoding {decode[decoding] * 1e3:.2f} ms in one thread, "
            f"{best.split()[0]} {engines[best] * 1e3:.2f} ms)"
        )
    return f"Ceiling: {'; '.join(words)}.", found


def commands(rows: Sequence[Row], baseline: str) -> str:
    """Seconds of whole commands, and their ratio to the script's."""
    base = by_round(of(rows, contestant="script"), lambda row: row["seconds"])
    lines = []
    for name in dict.fromkeys(row["contestant"] for row in rows):
        found = of(rows, contestant=name)
        seconds = by_round(found, lambda row: row["seconds"])
        said = [row for row in found if "failed" not in row]
        words = WORDS[name].format(baseline=baseline)
        if not said:
            lines.append([words, not_run(found[0]), "-", "-"])
            continue
        answer = f"{said[-1]['accuracy']:.3f}" if "accuracy" in said[-1] else said[-1]["label"]
        ratio = median_ratio(base, seconds)
        lines.append([words, f"{statistics.median(seconds.values()):.2f}", ratio, answer])
    last = "validation accuracy" if any("accuracy" in row for row in rows) else "label"
    return table(["", "seconds", "times as fast", last], lines)


def commit_of(folder: Path | None) -> str:
    if folder is None:
        return ""
    git = ["git", "-C", str(folder), "log", "-1", "--format=%h"]
    return subprocess.run(git, capture_output=True, text=True).stdout.strip() or "before"
