from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from featcli.config import Config, Data, Head
from featcli.config.check import is_section, options
from featcli.config.words import Words, expected
from featcli.text import listing

OPTIONS = {f"{section}.{name}".removeprefix("."): option for section, name, option in options(Config)}


def test_the_options_of_today() -> None:
    plain = {key: option.get_default() for key, option in OPTIONS.items() if not is_section(option)}
    assert plain == {
        "data.root": None,
        "data.manifest": None,
        "data.val_fraction": 0.2,
        "data.test_fraction": 0.0,
        "data.group": None,
        "data.positive": None,
        "data.exclude": None,
        "data.range": "full",
        "data.decode": "exact",
        "data.limit": None,
        "backbone.name": None,
        "backbone.weights": "DEFAULT",
        "backbone.preprocess": "auto",
        "backbone.preprocess.resize": None,
        "backbone.preprocess.crop": None,
        "backbone.preprocess.interpolation": None,
        "backbone.preprocess.mean": None,
        "backbone.preprocess.std": None,
        "backbone.layer": "penultimate",
        "backbone.pooling": "auto",
        "backbone.engine": "auto",
        "backbone.freeze_depth": "all",
        "head.kind": "logistic",
        "head.C": "auto",
        "head.folds": 5,
        "head.repeats": None,
        "head.class_weight": "none",
        "head.hidden": 512,
        "head.dropout": 0.0,
        "head.init": "solved",
        "train.epochs": 10,
        "train.batch_size": 32,
        "train.optimizer": "adamw",
        "train.lr": 5e-4,
        "train.weight_decay": 0.05,
        "train.layer_decay": 0.8,
        "train.warmup_epochs": 1.0,
        "train.schedule": "cosine",
        "train.clip_norm": 1.0,
        "train.accumulate": 1,
        "train.label_smoothing": 0.1,
        "train.mixup": 0.0,
        "train.cutmix": 0.0,
        "train.ema": None,
        "train.augment": "light",
        "train.mirror": "auto",
        "train.views": None,
        "train.batch_norm": "auto",
        "train.monitor": "accuracy",
        "train.patience": None,
        "train.time_limit": None,
        "train.compile": False,
        "train.cache_limit": "8GB",
        "loader.batch_size": 32,
        "loader.workers": "auto",
        "output": None,
        "device": "auto",
        "precision": "fp32",
        "seed": 0,
    }


@pytest.mark.parametrize("key", OPTIONS)
def test_every_option_has_one_sentence_of_help_and_words_for_what_it_accepts(key: str) -> None:
    help_text = OPTIONS[key].description
    assert help_text is not None
    assert help_text.endswith(".")
    assert ". " not in help_text
    assert expected(OPTIONS[key])


def test_candidates_ascend() -> None:
    assert Head().candidates() == (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)
    assert Head(C=(3, 0.1, 2)).candidates() == (0.1, 2, 3)
    assert Head(C=0.5).candidates() == (0.5,)


@pytest.mark.parametrize("group", ["(.)", "group", r"^(?P<who>[^/]+)_\d", "(?:a|b)(c)", "[[a]([b&&c])", "(?i)x(y)?"])
def test_groups(group: str) -> None:
    assert Data(group=group).group == group


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:0", "cuda:15"])
def test_devices(device: str) -> None:
    assert Config(device=device).device == device


@pytest.mark.parametrize("device", ["cuda:", "cuda:01", "cuda:-1", "cuda:99999", "cuda:0\n", " cpu", ""])
def test_no_devices(device: str) -> None:
    with pytest.raises(ValueError, match="device"):
        Config(device=device)


def test_words_are_derived_from_the_annotation() -> None:
    class Later(BaseModel):
        """Options of kinds that the schema does not have yet."""

        flag: bool = False
        number: float = 1
        level: float = Field(default=0, ge=0)
        ratio: float = Field(default=0, ge=0, le=1)
        count: int = 1
        text: str = ""
        sizes: tuple[Annotated[int, Field(ge=1)], ...] = ()
        schedule: Literal["cosine", "constant"] | None = None
        lasting: Annotated[str, Words("a time such as 10m")] | None = None

    assert [expected(option) for option in Later.model_fields.values()] == [
        "true or false",
        "a number",
        "a number of at least 0",
        "a number from 0 to 1",
        "an integer",
        "a string",
        "a list of integers of at least 1",
        "cosine, constant or null",
        "a time such as 10m or null",
    ]


def test_listing() -> None:
    assert [listing(list("abc")[:n]) for n in (1, 2, 3)] == ["a", "a or b", "a, b or c"]
