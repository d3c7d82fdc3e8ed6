"""Prints every kind of error message as one text, to be read aloud: the command, what it says, its exit code.

The messages are real: each command runs, in a folder of small images with one small run (random weights), in a process
forked from one that has torch loaded. `--only WORD` prints the groups whose name contains a word.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.cli.lab import SMALL
from tests.pictures import make_folder
from tests.process import ForkServer

# What words in capitals stand for: a small network with random weights, and what names all but the weights.
WORDS = {"SMALL": SMALL, "RESNET": "--set backbone.name=resnet18 --set data.root=photos -o unmade".split()}
GROUPS: dict[str, tuple[str, ...]] = {
    "wrong starts": (
        "",
        "train",
        "trainhead photos",
        "train-head",
        "train-head photos",
        "train-head photos.yaml",
        "train-head --config photos",
        "train-head --config nowhere.yaml",
        "train-head --data photos",
        "train-head photos --epochs many",
        "train-head --limit 0",
        "train-head --limit",
        "check photos",
        "check --for predict",
        "finetune --resume --overwrite",
        "finetune --resume -o nowhere",
        "finetune run",
        "-V",
        "info",
        "init",
        "init nowhere",
        "init photos/cats/00.png",
        "init empty",
        "models resnet19",
        "cache prune --older-than soon",
        "cache prune --max-size big",
    ),
    "config": (
        "train-head --set data.rot=photos",
        "train-head photos --set train.learning_rate=0.1",
        "train-head --set backbone.name=resnet19 --set data.root=photos -o unmade",
        "train-head SMALL --set backbone.freeze_depth=stage99 --set data.root=photos -o unmade",
        "train-head photos --set head.C=[0.1, 1]",
        "train-head photos --set head.C=nought --set train.epochs=-1 --set device=gpu",
        "train-head photos --set head.kind=svm",
        "train-head --set data",
        "train-head --set data=photos",
        "train-head --config wrong.yaml",
        "train-head --config twice.yaml",
        "train-head --config windows.yaml",
        "train-head --config list.yaml",
        "train-head --config tabs.yaml",
        "train-head SMALL --set backbone.layer=stage9 --set data.root=photos -o unmade",
        "train-head SMALL --set backbone.preprocess={resize: 32, crop: 40} --set data.root=photos -o unmade",
        "train-head SMALL --set data.positive=dog --set data.root=photos -o unmade",
        "finetune SMALL --set backbone.layer=stage3 --set data.root=photos -o unmade",
    ),
    "layout of the data": (
        "train-head SMALL -o unmade",
        "train-head SMALL --set data.root=nowhere -o unmade",
        "train-head SMALL --set data.root=photo -o unmade",
        "train-head SMALL --set data.root=photos/cats -o unmade",
        "train-head SMALL --set data.root=photos/cats/00.png -o unmade",
        "train-head SMALL --set data.root=empty -o unmade",
        "train-head SMALL --set data.root=alone -o unmade",
        "train-head SMALL --set data.root=hollow -o unmade",
        "train-head SMALL --set data.root=twofold -o made",
        "train-head SMALL --set data.root=broken -o made-of-broken",
        "train-head SMALL --set data.manifest=nowhere.csv -o unmade",
        "train-head SMALL --set data.manifest=wrong.csv -o unmade",
        "train-head SMALL --set data.root=photos --set data.group=nothing -o unmade",
        "train-head SMALL --set data.root=photos --set data.exclude=nowhere.txt -o unmade",
    ),
    "weights": (
        "train-head RESNET --set backbone.weights=nowhere.pth",
        "train-head RESNET --set backbone.weights=IMAGENET",
        "train-head RESNET --set backbone.weights=page.pth",
        "train-head RESNET --set backbone.weights=other.safetensors",
        "train-head RESNET --set backbone.weights=package:nowhere/x.pth",
        "train-head RESNET --set backbone.weights=package:nowhere",
    ),
    "checkpoint": (
        "predict",
        "predict nowhere photos",
        "predict photos run",
        "predict photos",
        "predict photos/cats/00.png",
        "predict empty photos",
        "predict half.safetensors photos",
        "predict other.safetensors photos",
        "evaluate photos",
        "evaluate run photos empty",
        "evaluate run nowhere",
        "evaluate run strange",
        "evaluate run photos --min-accuracy 2",
        "evaluate run photos --parity --unseen",
        "info nowhere",
        "info photos/cats/00.png",
    ),
    "device": (
        "predict run photos --device gpu",
        "predict run photos --device cuda:7",
        "predict run photos --precision fp16",
        "predict run photos --precision fp8",
        "predict run photos --workers 0",
    ),
    "outputs": (
        "extract photos",
        "extract SMALL photos -o features.xyz",
        "extract SMALL photos -o empty",
        "extract SMALL photos -o photos/cats/00.png/features.npz",
        "extract SMALL photos -o features.npz --format zip",
        "train-head SMALL --set data.root=photos -o photos/run",
        "train-head SMALL --set data.root=photos -o photos/cats/00.png",
        "train-head SMALL --set data.root=photos -o strange",
        "train-head SMALL --set data.root=photos --set head.C=2 -o run",
        "finetune SMALL --set data.root=photos --set backbone.freeze_depth=4 -o run",
        "predict run photos --format xml",
        "predict run photos --format parquet",
        "predict run photos -o empty",
        "predict run photos -o photos/cats/00.png/rows.jsonl",
        "init photos -o run",
        "init photos -o wrong.yaml",
    ),
    "inputs of predict": (
        "predict run",
        "predict run nowhere.jpg",
        "predict run empty",
        "predict run 'photos/*.jpg'",
        "predict run broken/cats/zero.jpg wrong.csv",
        "predict run -",
        "predict run photos --top 0",
    ),
}


def make_place(folder: Path) -> None:
    """What the commands stumble over."""
    make_folder(folder / "photos", {"cats": 8, "dogs": 8})
    make_folder(folder / "strange", {"cats": 2, "wasps": 2})
    make_folder(folder / "alone", {"cats": 3})
    for name in ("empty", "hollow/cats", "hollow/dogs", "twofold/val", "twofold/valid"):
        (folder / name).mkdir(parents=True)
    make_folder(folder / "twofold" / "train", {"cats": 2, "dogs": 2})
    make_folder(folder / "broken", {"dogs": 3})
    (folder / "broken" / "cats").mkdir()
    for name in ("zero", "one"):
        (folder / "broken" / "cats" / f"{name}.jpg").write_bytes(b"")
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(folder / "strange" / "notes.png")
    files = {
        "wrong.yaml": "data:\n  rot: photos\nhead:\n  C: nought\ntrain:\n  epochs: 2.5\n  lr: '1'\n",
        "twice.yaml": "seed: 1\nseed: 2\n",
        "windows.yaml": 'data:\n  root: "C:\\Users\\me"\n',
        "list.yaml": "- data\n",
        "tabs.yaml": "data:\n\troot: photos\n",
        "photos.yaml": "data:\n  root: photos\n",
        "wrong.csv": "file;class\na.png;cats\n",
        "page.pth": "<!DOCTYPE html><html>not found</html>",
    }
    for name, text in files.items():
        (folder / name).write_text(text)


def finish_place(server: ForkServer, folder: Path) -> None:
    """The run, half a checkpoint, and a safetensors file of something else."""
    import safetensors.numpy

    done = server.run(
        "train-head", *SMALL, "--set", "data.root=photos", "-o", "run", cwd=folder, env=_environment(folder)
    )
    assert done.code == 0, done.stderr
    whole = (folder / "run" / "checkpoint.safetensors").read_bytes()
    (folder / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    safetensors.numpy.save_file({"x": np.zeros(3, dtype=np.float32)}, folder / "other.safetensors")


def said(server: ForkServer, folder: Path, line: str) -> tuple[int, str]:
    """What a command says on standard error, and its exit code."""
    words = [word for part in _parts(line) for word in WORDS.get(part, [part])]
    done = server.run(*words, cwd=folder, env=_environment(folder))
    return done.code, done.stderr.replace(str(folder), "DIR")


def _parts(line: str) -> list[str]:
    """As a shell splits a line, but that a value of `--set` may have spaces."""
    if "--set" not in line:
        return shlex.split(line)
    parts = line.replace("{resize: 32, crop: 40}", "{resize:~32,~crop:~40}").split()
    return [part.replace("~", " ") for part in parts]


def _environment(folder: Path) -> dict[str, str | None]:
    return {"FEATCLI_CACHE": str(folder / "cache"), "TORCH_HOME": str(folder / "torch"), "NO_COLOR": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of a group's name")
    only = parser.parse_args().only
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        make_place(folder)
        with ForkServer() as server:
            finish_place(server, folder)
            for group, lines in GROUPS.items():
                if only not in group:
                    continue
                print(f"\n{group}\n{'-' * len(group)}", flush=True)
                for line in lines:
                    code, text = said(server, folder, line)
                    print(f"\n$ featcli {line}\n{text}exit {code}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parents[1])
    main()
