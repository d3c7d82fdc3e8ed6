import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from featcli.config import Config, Preprocess, load_config
from featcli.errors import ConfigError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    return tmp_path


def written(text: str) -> str:
    Path("configs/cats.yaml").write_text(text)
    return "configs/cats.yaml"


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "~", "{}", "head:\n  # C: 1\n", "\ufeff"])
def test_an_empty_file_gives_the_defaults(text: str) -> None:
    assert load_config(written(text)).config == Config() == load_config(None).config


def test_flags_beat_set_beats_file_beats_defaults() -> None:
    file = written("seed: 1\nhead: {folds: 3, C: 1}\ndata: {limit: 4}\nloader: {batch_size: 2}\n")
    loaded = load_config(
        file,
        ["seed=2", "head.folds=4", "head={C: 2}", "head.C=3"],
        {"--seed": ("seed", 3), "--device": ("device", None), "--limit": ("data.limit", 9)},
    )
    config = loaded.config
    assert (config.seed, config.head.folds, config.head.C, config.data.limit) == (3, 4, 3.0, 9)
    assert (config.loader.batch_size, config.device, config.precision) == (2, "auto", "fp32")
    keys = ["seed", "head.folds", "head.C", "data.limit", "loader.batch_size", "device"]
    assert [loaded.where(key) for key in keys] == [
        "--seed",
        "--set",
        "--set",
        "--limit",
        "configs/cats.yaml:4:22",
        "default",
    ]


@pytest.mark.parametrize(
    ("argument", "key", "value"),
    [
        ("head.C=[0.1,1]", "C", (0.1, 1.0)),
        ("head.C=1e-3", "C", 0.001),
        ("head.C= 1E5 ", "C", 1e5),
        (" head.C =.5", "C", 0.5),
        ("head={C: 5.}", "C", 5.0),
        ("head.C=+1", "C", 1.0),
        ("head.class_weight='none'", "class_weight", "none"),
    ],
)
def test_set_takes_yaml(argument: str, key: str, value: Any) -> None:
    assert getattr(load_config(None, [argument]).config.head, key) == value


def test_flags_take_lists_and_mappings() -> None:
    flags = {"--C": ("head.C", [0.1, 1]), "--pre": ("backbone.preprocess", {"crop": 4})}
    config = load_config(None, [], flags).config
    assert (config.head.C, config.backbone.preprocess) == ((0.1, 1.0), Preprocess(crop=4))


def test_words_of_yaml_1_1_stay_texts() -> None:
    for word in ("on", "yes", "no", "off", "y", "01:30", "2024-01-01", "0x10", "010", "1_000", "none"):
        assert load_config(None, [f"backbone.name={word}"]).config.backbone.name == word


def test_set_takes_what_follows_the_first_equals_sign() -> None:
    assert load_config(None, ["backbone.name=a=b"]).config.backbone.name == "a=b"


def test_null_takes_back_what_the_file_says() -> None:
    file = written("output: runs\n")
    assert load_config(file, ["output=null"]).config.output is None
    assert load_config(file, ["output="]).config.output is None


def test_preprocess_is_merged_key_by_key_and_replaced_by_a_word() -> None:
    file = written("backbone: {preprocess: {resize: 8, mean: [0, 0.5, 1]}}\n")
    merged = load_config(file, ["backbone.preprocess.crop=4", "backbone.preprocess={}"])
    assert merged.config.backbone.preprocess == Preprocess(resize=8, crop=4, mean=(0, 0.5, 1))
    assert merged.where("backbone.preprocess") == "configs/cats.yaml:1:33"
    assert load_config(file, ["backbone.preprocess=auto"]).config.backbone.preprocess == "auto"
    anew = load_config(file, ["backbone.preprocess=auto", "backbone.preprocess.crop=4"])
    assert anew.config.backbone.preprocess == Preprocess(crop=4)
    word = written("backbone: {preprocess: IMAGENET1K_V2}\n")
    assert load_config(word).config.backbone.preprocess == "IMAGENET1K_V2"
    instead = load_config(word, ["backbone.preprocess.crop=4"])
    assert instead.config.backbone.preprocess == Preprocess(crop=4)
    assert instead.where("backbone.preprocess.crop") == "--set"
    assert instead.where("backbone.preprocess.mean") == "default"
    assert load_config(word).where("backbone.preprocess.mean") == "configs/cats.yaml:1:24"
    assert load_config(None, ["backbone.preprocess={}"]).config.backbone.preprocess == Preprocess()


def test_paths_are_relative_to_the_file_or_to_the_working_directory(folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    (folder / "real").mkdir()
    os.symlink("real", "link")
    file = written("data: {root: ../images}\nbackbone: {weights: w/./a.PTH}\noutput: ~/runs\n")
    config = load_config(file).config
    assert config.data.root == folder / "images"
    assert config.backbone.weights == str(folder / "configs/w/a.PTH")
    assert config.output == Path("/home/me/runs")
    config = load_config(file, ["data.root=link/cats"], {"-o": ("output", Path("out"))}).config
    assert (config.data.root, config.output) == (folder / "link/cats", folder / "out")
    assert load_config(folder / file, ["backbone.weights=b.safetensors"]).config.backbone.weights == str(
        folder / "b.safetensors"
    )


def test_a_key_within_a_file_of_weights_stays_as_its_path_is_resolved() -> None:
    loaded = load_config(None, ["backbone.weights=w/a.ckpt#ema.model"])
    assert loaded.config.backbone.weights == f"{Path.cwd() / 'w/a.ckpt'}#ema.model"


@pytest.mark.parametrize("weights", ["DEFAULT", "none", "package:mod/file.pth", "IMAGENET1K_V1", "a/b"])
def test_weights_that_are_no_file_stay(weights: str) -> None:
    assert load_config(written(f"backbone: {{weights: '{weights}'}}")).config.backbone.weights == weights


def test_names_of_files_that_are_not_utf8_are_kept() -> None:
    root = os.fsdecode(b"/images/caf\xe9")
    assert load_config(None, [], {"--data": ("data.root", Path(root))}).config.data.root == Path(root)


def test_errors_of_later_checks_name_the_place() -> None:
    file = written("backbone:\n  name: resnt18\n")
    loaded = load_config(file, ["data.root=x", "head={C: 1}"], {"--device": ("device", "cuda")})
    assert str(loaded.error("backbone.name", "unknown backbone 'resnt18'", "See `featcli models`.")) == (
        "configs/cats.yaml:2:9: backbone.name: unknown backbone 'resnt18'\nSee `featcli models`."
    )
    assert str(loaded.error("data.root", "no such folder")) == "--set data.root=x: no such folder"
    assert str(loaded.error("head.C", "too small")) == "--set head={C: 1}: head.C: too small"
    assert str(loaded.error("device", "there is none")) == "--device: there is none"
    assert str(loaded.error("seed", "odd")) == "seed: odd"
    with pytest.raises(KeyError):
        loaded.where("backbone.nam")


def test_what_is_needed_is_named_with_all_ways_to_give_it() -> None:
    with pytest.raises(ConfigError) as error:
        load_config(None, ["seed=1"]).require("data.root", "seed", "backbone.name", "output")
    assert error.value.problems == (
        "data.root or data.manifest is needed: give --config FILE, --set data.root=... or --set data.manifest=...",
        "backbone.name is needed: give --backbone NAME, --config FILE or --set backbone.name=...",
        "output is needed: give -o DIR, --config FILE or --set output=...",
    )
    with pytest.raises(ConfigError) as error:
        load_config(written("output: null\n")).require("data.root", "output")
    assert error.value.problems == (
        "data.root or data.manifest is needed: add it to configs/cats.yaml, or give --set data.root=... or"
        " --set data.manifest=...",
        "configs/cats.yaml:1:9: output is needed, not null: add it to configs/cats.yaml, or give -o DIR or"
        " --set output=...",
    )
    load_config(None, ["output=x"]).require("output")
    load_config(None, ["data.manifest=x.csv"]).require("data.root")


def test_the_loaded_config_does_not_change() -> None:
    loaded = load_config(None, ["seed=1"])
    for change in (lambda: setattr(loaded.config, "seed", 2), lambda: setattr(loaded.config.head, "C", 2)):
        with pytest.raises(ValueError, match="frozen"):
            change()
    with pytest.raises(TypeError):
        loaded.places["seed"] = None  # type: ignore[index]
    with pytest.raises(AttributeError):
        loaded.file = "x"  # type: ignore[misc]


def test_import_is_light() -> None:
    code = "import sys, featcli.config; print(*sorted({'torch', 'torchvision', 'numpy', 'rich'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_what_the_command_line_gives_is_told_from_the_file() -> None:
    file = written("seed: 1\nhead: {folds: 3, C: 1}\n")
    loaded = load_config(
        file, ["train.lr=1", "head.C=3", "backbone.preprocess={crop: 32}"], {"--limit": ("data.limit", 9)}
    )
    assert list(loaded.on_command_line().items()) == [
        ("train.lr", "train.lr"),
        ("head.C", "head.C"),
        ("backbone.preprocess.crop", "backbone.preprocess.crop"),
        ("data.limit", "--limit"),
    ]
    assert load_config(file).on_command_line() == {}
