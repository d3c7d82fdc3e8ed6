"""What is offered in the place of a word, and how bash's own splitting is undone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from featcli.cli.completing import completion_table
from featcli.completion.candidates import candidates
from featcli.completion.protocol import complete
from featcli.completion.table import TABLE, Flag, as_json, read_table
from featcli.config.known_backbones import STAGES


def fish(*words: str) -> list[str]:
    """The answer to a line whose last word is being typed."""
    return complete("fish", ["featcli", *words], len(words)).splitlines()


def values(*words: str) -> list[str]:
    return [line.split("\t")[0] for line in fish(*words)]


def bash(*words: str) -> list[str]:
    """As bash splits a line: at `=` and `:` too."""
    return complete("bash", ["featcli", *words], len(words)).splitlines()


def test_the_table_is_that_of_the_command_line_and_the_config() -> None:
    assert TABLE.read_text("utf-8") == as_json(completion_table())
    assert read_table() == completion_table()


def test_commands_have_their_help() -> None:
    assert "models\tList backbones: size, features, published accuracy, weights on this machine." in "\n".join(fish(""))
    assert values("tr") == ["train-head"]
    assert values("cache", "") == ["show", "verify", "merge", "prune", "clear"]
    assert values("help", "cache", "pr") == ["prune"]
    assert values("--vers") == ["--version"]


def test_nothing_is_offered_for_a_command_that_does_not_exist() -> None:
    assert fish("nonsense", "") == []
    assert fish("nonsense", "--") == []


def test_a_flag_that_was_given_is_not_offered_again_unless_it_may_be() -> None:
    assert values("train-head", "--li") == ["--limit"]
    assert values("train-head", "--limit", "3", "--li") == []
    assert values("train-head", "--set", "seed=1", "--se") == ["--set", "--seed"]
    assert values("train-head", "-q", "--qu") == []


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("predict", "run", "--format", ""), ["jsonl", "csv", "table", "parquet"]),
        (("extract", "--format", "n"), ["npz", "npy"]),
        (("check", "--for", "f"), ["finetune"]),
        (("train-head", "--device", "cu"), ["cuda", "cuda:0"]),
        (("train-head", "--precision", ""), ["fp32", "bf16", "fp16"]),
        (("train-head", "--precision=b"), ["--precision=bf16"]),
        (("train-head", "--limit", ""), []),
        (("models", "resnet1"), ["resnet101", "resnet152", "resnet18"]),
        (("completion", ""), ["bash", "zsh", "fish"]),
        (("train-head", "--set", "head.ki"), ["head.kind="]),
        (("train-head", "--set", "head.kind=l"), ["head.kind=logistic", "head.kind=linear"]),
        (("train-head", "--set=head.kind=m"), ["--set=head.kind=mlp"]),
        (("train-head", "--set", "train.compile="), ["train.compile=true", "train.compile=false"]),
        (("train-head", "--set", "train.mirror="), ["train.mirror=auto", "train.mirror=true", "train.mirror=false"]),
        (("train-head", "--set", "backbone.name=swin_v2_"), [f"backbone.name=swin_v2_{size}" for size in "bst"]),
        (("train-head", "--set", "nonsense="), []),
        (("train-head", "--json", "--dry"), ["--dry-run"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_words(words: tuple[str, ...], offered: list[str]) -> None:
    assert values(*words) == offered


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("predict", ""), "\tfile\t"),
        (("predict", "run", "photos/a"), "\tfile\t"),
        (("predict", "run", "--", "--"), "\tfile\t"),
        (("init", ""), "\tfolder\t"),
        (("train-head", "-c", ""), "\tyaml\t"),
        (("train-head", "--config="), "\tyaml\t--config="),
        (("train-head", "-o", "runs/"), "\tfolder\t"),
        (("train-head", "--set", "data.root=ph"), "\tfolder\tdata.root="),
        (("train-head", "--set=data.exclude=x"), "\tfile\t--set=data.exclude="),
        (("train-head", "--set", "backbone.weights=x"), "\tfile\tbackbone.weights="),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_paths_are_left_to_the_shell(words: tuple[str, ...], said: str) -> None:
    assert fish(*words) == [said]


def test_a_file_of_weights_or_one_of_the_words() -> None:
    assert fish("train-head", "--set", "backbone.weights=") == [
        "backbone.weights=DEFAULT",
        "backbone.weights=none",
        "\tfile\tbackbone.weights=",
    ]


def stages(*words: str) -> list[str]:
    found = values("finetune", *words, "--set", "backbone.freeze_depth=")
    return [word.partition("=")[2] for word in found]


def test_stages_are_those_of_the_backbone_that_the_line_names(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("data:\n  name: no\nbackbone:\n  # name: alexnet\n\n  name: 'swin_t'  # small\nhead: {}\n")
    words = ["all", "none"]
    assert stages() == words
    assert stages("--set", "backbone.name=resnet18") == [*words, *STAGES["resnet18"]]
    assert stages("-c", str(config)) == [*words, *STAGES["swin_t"]]
    assert stages("--config", str(config), "--set", "backbone.name=vgg11") == [*words, *STAGES["vgg11"]]
    assert stages("--set", "backbone.name=vgg11", "--set", "backbone.name=resnet18")[2:] == list(STAGES["resnet18"])
    assert stages("--set", "backbone.name=my_own") == words
    assert values("finetune", "-c", str(config), "--set", "backbone.layer=st") == [
        *(f"backbone.layer=stage{number}" for number in (1, 2, 3, 4)),
    ]


def test_a_flag_that_stands_for_a_key_is_completed_as_the_key_and_beats_the_setting() -> None:
    backbone = Flag(("--backbone",), "key backbone.name", False, "")
    depth = Flag(("--freeze-depth",), "key backbone.freeze_depth", False, "")
    table = read_table()
    finetune = table.root.commands["finetune"]
    finetune = replace(finetune, flags=(*finetune.flags, backbone, depth))
    table = replace(table, root=replace(table.root, commands={"finetune": finetune}))

    def offered(*words: str) -> list[str]:
        return [word for word, _ in candidates(table, ["finetune", *words[:-1]], words[-1]).words]

    assert offered("--backbone", "resnet1") == ["resnet101", "resnet152", "resnet18"]
    assert offered("--backbone=resnet18", "--freeze-depth", "l") == ["layer1", "layer2", "layer3", "layer4"]
    assert offered("--set", "backbone.name=vgg11", "--backbone", "resnet18", "--freeze-depth=s") == [
        "--freeze-depth=stem"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "backbone: {name: resnet18}\n",
        '{"backbone": {"name": "resnet18"}}'.replace("{", "", 1)[:-1],
        "backbone: {freeze_depth: 1, name: resnet18}",
        "backbone:\n    freeze_depth: 3\n    name: resnet18\n",
        "output: x\r\nbackbone:\r\n  name: resnet18\r\n",
    ],
)
def test_a_config_is_read_as_people_write_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    assert stages("-c", str(tmp_path / "mine.yaml"))[2:] == list(STAGES["resnet18"])


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00", b"head:\n  name: resnet18\n", b"backbone:\n"])
def test_a_config_that_says_nothing_costs_the_stages_alone(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_bytes(content)
    assert stages("-c", str(path)) == ["all", "none"]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("train-head", "--set", "head.kind", "="), ["logistic", "linear", "mlp"]),
        (("train-head", "--set", "head.kind", "=", "lo"), ["logistic"]),
        (("train-head", "--set", "head.ki"), ["head.kind="]),
        (("train-head", "--set", "=", "head.kind", "=", "lo"), ["logistic"]),
        (("train-head", "--device", "cuda", ":"), ["0"]),
        (("predict", "run", "--format", "=", "t"), ["table"]),
        (("finetune", "--set", "backbone.name", "=", "resnet18", "--set", "backbone.layer", "=", "layer4"), ["layer4"]),
        # unsplit, as it is within quotes, or where COMP_WORDBREAKS has no such sign
        (("train-head", "--set", '"head.kind=lo'), ["head.kind=logistic"]),
        (("train-head", "--set", "head.kind=lo"), ["head.kind=logistic"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bash_gets_what_goes_in_the_place_of_its_own_word(words: tuple[str, ...], offered: list[str]) -> None:
    assert bash(*words) == offered


def test_a_new_word_behind_an_empty_value_is_a_new_word() -> None:
    assert bash("train-head", "--set", "head.kind", "=", "") == bash("train-head", "")
