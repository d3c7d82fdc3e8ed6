"""What `predict` needs besides the model: the rule of its sets, and the training images that its logits come from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcli.checkpoint import StoredModel
from featcli.errors import FeatcliError
from featcli.evaluation.conformal import SetRule
from featcli.events import Emit, Note, Warn
from featcli.exported import Model
from featcli.features.extraction import Extractor
from featcli.features.store import FeatureStore
from featcli.predictor import Because
from featcli.runs.folder import Run, RunImage
from featcli.tasks.task import rounded
from featcli.workflow.session import Session

if TYPE_CHECKING:
    from featcli.heads.influence import Influence


def set_rule(model: Model, coverage: float, emit: Emit) -> SetRule | None:
    """Which classes belong to a set; None where the checkpoint cannot say, which is said."""
    scores = model.trust.scores
    if scores is None:
        emit(Warn("--coverage: the checkpoint holds no scores of held-out images, so sets are null; train it again"))
        return None
    rule = scores.rule(coverage)
    if np.isinf(rule.limits).any():
        emit(
            Warn(
                f"--coverage {coverage:g}: {len(scores.labels)} held-out images are too few to tell; "
                "sets hold every class"
            )
        )
    else:
        of = "for each class" if rule.by_class else "over all classes together"
        emit(Note(f"sets hold the true class for {coverage:.0%} of images like those trained on, {of}"))
    return rule


class TrainingFeatures:
    """The training images of a run whose features are in the store.

    Args:
        images: of the run's training split, those that were found.
        features: (N, D) float32 of these.
        lost: how many are not in the store.
    """

    def __init__(self, images: Sequence[RunImage], features: NDArray[np.float32], lost: int) -> None:
        self.images = images
        self.features = features
        self.lost = lost

    @classmethod
    def of(cls, run: Run, extractor: Extractor, session: Session) -> TrainingFeatures | None:
        """Those of a run; None where it has no list of its images."""
        listed = run.read_images()
        if listed is None:
            return None
        images = [image for image in listed if image.split == "train" and image.sha256]
        store = FeatureStore(
            session.cache, extractor.space, extractor.backbone.feature_size, session.emit, read_only=True
        )
        found, features = store.find([bytes.fromhex(image.sha256) for image in images])
        kept = [image for image, is_found in zip(images, found, strict=True) if is_found]
        return cls(kept, features[found], len(images) - len(kept))

    def influence(self, model: StoredModel) -> Influence | str:
        """The head as a sum over them, or why it is none."""
        from featcli.heads.influence import Influence
        from featcli.heads.kind import LabelledRows

        facts, classes = model.metadata.head, list(model.metadata.classes)
        if facts.kind != "logistic" or facts.C is None:
            return f"a head of kind {facts.kind} is no sum over training images; only a logistic one is"
        labels = [classes.index(image.label) if image.label in classes else -1 for image in self.images]
        targets = np.array(labels, dtype=np.int64)
        if (targets < 0).any() or len(np.unique(targets)) < len(classes):
            return _lost(self.lost)
        balanced = "balanced" if facts.class_weight == "balanced" else "none"
        tensors = model.head.tensors()
        rows = LabelledRows(self.features, targets, len(classes), balanced)  # type: ignore[arg-type]
        influence = Influence.of(rows, facts.C, tensors["weight"], tensors["bias"])
        return influence if influence.is_optimum else _lost(self.lost)


def open_because(session: Session, model: StoredModel, path: Path, extractor: Extractor, count: int) -> Because:
    """Explains a row by its training images; where that is impossible it is said once, and rows have None.

    Args:
        session: whose store is read.
        model: whose head it is.
        path: of the checkpoint, beside which the run's images are listed.
        extractor: of the features that are explained.
        count: how many images that pull for the class are named, and how many that pull against it.
    """
    try:
        training = TrainingFeatures.of(Run(path.parent), extractor, session)
    except FeatcliError as error:
        return _nothing(error.message, session.emit)
    if training is None:
        return _nothing(f"no images.csv beside {path} says which images it was trained on", session.emit)
    influence = training.influence(model)
    if isinstance(influence, str):
        return _nothing(influence, session.emit)
    images = training.images

    def because(feature: NDArray[np.float32], label: int) -> dict[str, Any]:
        pulls = influence.contributions(feature, label)
        intercept = float(influence.intercept[label])
        order = np.argsort(pulls, kind="stable")
        against = [row for row in order[:count].tolist() if pulls[row] < 0]
        towards = [row for row in order[::-1][:count].tolist() if pulls[row] > 0]
        named = towards + against
        return {
            "label": model.metadata.classes[label],
            "logit": rounded(pulls.sum() + intercept),
            "intercept": rounded(intercept),
            "for": [_pull(images[row], pulls[row]) for row in towards],
            "against": [_pull(images[row], pulls[row]) for row in against],
            "others": rounded(pulls.sum() - pulls[named].sum()),
        }

    return because


def _pull(image: RunImage, value: float) -> dict[str, Any]:
    return {"path": image.path, "label": image.label, "pull": rounded(value)}


def _lost(count: int) -> str:
    if count:
        return f"{count} of the run's training images have no feature in the store: run featcli train-head again"
    return "the head is not the optimum of the run's training images as the store has them: was the run changed?"


def _nothing(reason: str, emit: Emit) -> Because:
    emit(Warn(f"--because: {reason}"))
    return lambda feature, label: None
