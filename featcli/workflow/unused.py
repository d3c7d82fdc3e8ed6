"""Options that were given and that the command at hand, with its kind of head, does nothing with: said in one note."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from featcli.config import Config
from featcli.data.dataset import Dataset
from featcli.events import Note
from featcli.heads.kind import Gradient
from featcli.heads.registry import find_head
from featcli.workflow.session import Session

_LISTED = 3  # options of a section of which none is used


@dataclass(frozen=True, slots=True)
class Use:
    """What is done with a config.

    Attributes:
        command: `train-head` or `finetune`.
        config: all options.
        all_frozen: whether every stage is frozen.
    """

    command: str
    config: Config
    all_frozen: bool

    @property
    def gradient(self) -> Gradient | None:
        """How the head is trained by gradient descent; None where it is solved."""
        kind = find_head(self.config.head.kind)
        return kind.gradient if self.command == "finetune" or kind.solve is None else None

    @property
    def solves(self) -> bool:
        """Whether a head is solved, to be kept or to start from."""
        gradient = self.gradient
        return gradient is None or (gradient.starts_from is not None and self.config.head.init == "solved")

    @property
    def reads_pixels(self) -> bool:
        """Whether training sees images, not stored features."""
        return self.command == "finetune"

    @property
    def keeps_tensors(self) -> bool:
        """Whether there are tensors at the boundary that may be kept, other than the stored features."""
        augment, views = self.config.train.augment, self.config.train.views
        return self.reads_pixels and (not self.all_frozen or augment == "flip" or views is not None)


def _always(use: Use) -> bool:
    return True


def _trained(use: Use) -> bool:
    return use.gradient is not None


def _pixels(use: Use) -> bool:
    return use.reads_pixels


def _stages(use: Use) -> bool:
    return use.reads_pixels and not use.all_frozen


# When each option of a head or a training is used.
USED: Mapping[str, Callable[[Use], bool]] = {
    "head.kind": _always,
    "head.C": lambda use: use.solves,
    "head.folds": lambda use: use.solves and (use.gradient is None or len(use.config.head.candidates()) > 1),
    "head.repeats": lambda use: use.gradient is None,
    "head.class_weight": _always,
    "head.hidden": lambda use: use.gradient is not None and use.gradient.kind == "mlp",
    "head.dropout": _trained,
    "head.init": _trained,
    "train.epochs": _trained,
    "train.batch_size": _trained,
    "train.optimizer": _trained,
    "train.lr": _trained,
    "train.weight_decay": _trained,
    "train.layer_decay": _stages,
    "train.warmup_epochs": _trained,
    "train.schedule": _trained,
    "train.clip_norm": _trained,
    "train.accumulate": _trained,
    "train.label_smoothing": _trained,
    "train.mixup": _trained,
    "train.cutmix": _trained,
    "train.ema": _trained,
    "train.augment": _pixels,
    "train.mirror": lambda use: use.reads_pixels and use.config.train.augment != "none",
    "train.views": _pixels,
    "train.batch_norm": _stages,
    "train.monitor": _trained,
    "train.patience": _trained,
    "train.time_limit": _trained,
    "train.compile": _pixels,
    "train.cache_limit": lambda use: use.keeps_tensors,
}


def unused_options(use: Use, given: Callable[[str], bool], data: Dataset) -> list[str]:
    """The options that were given and change nothing, in the order of the schema; some with a reason.

    Args:
        use: what is done.
        given: whether an option was given another value than its default.
        data: the images, of which some come with splits.
    """
    config, counts = use.config, data.counts()
    found = []
    if data.rule["made_by"] == "user" and given("data.val_fraction"):
        found.append("data.val_fraction (the images come with their own split)")
    # Without a test split of its own, a data set that is split already says so itself.
    if config.data.test_fraction and "test" in counts and data.rule.get("test_fraction") != config.data.test_fraction:
        found.append("data.test_fraction (the images come with a test split)")
    if "val" not in counts and use.gradient is not None:
        chooses = [key for key in ("train.monitor", "train.patience") if given(key)]
        found += [f"{key} (there are no validation images)" for key in chooses]
    if given("backbone.pooling") and config.backbone.layer == "penultimate" and config.backbone.pooling != "auto":
        found.append("backbone.pooling (the penultimate layer has its own)")
    if use.command == "train-head" and config.backbone.freeze_depth != "all":
        found.append("backbone.freeze_depth (every stage is frozen)")
    for section in ("head", "train"):
        keys = [key for key in USED if key.startswith(f"{section}.")]
        unused = [key for key in keys if given(key) and not USED[key](use)]
        none_used = not any(USED[key](use) for key in keys)
        found += [f"{section}.*"] if none_used and len(unused) > _LISTED else unused
    return found


def describe_unused(session: Session, command: str, data: Dataset, *, all_frozen: bool = True) -> None:
    """Says in one note which of the options that were given change nothing."""
    loaded = session.loaded
    use = Use(command, loaded.config, all_frozen)
    unused = unused_options(use, loaded.changes, data)
    if unused:
        kind = loaded.config.head.kind
        depth = ", every stage frozen" if command == "finetune" and all_frozen else ""
        article = "an" if kind == "mlp" else "a"
        session.emit(Note(f"not used by {command} with {article} {kind} head{depth}: {', '.join(unused)}"))
