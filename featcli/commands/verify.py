"""`featcli verify`: whether a run is what it says, without training: files, frozen tensors, features, optimum."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featcli.backbones.stages import canonical_sha256
from featcli.checkpoint import StoredModel, read_checkpoint
from featcli.data.readers.files import file_ref
from featcli.data.readers.reader import ImageRef
from featcli.errors import ConditionFailed, FeatcliError, UsageError
from featcli.features.extraction import Extractor, FeatureRow
from featcli.features.store import FeatureStore
from featcli.files import storage_errors
from featcli.lines import wrapped
from featcli.metadata import find_checkpoint
from featcli.predictor import Predictor, RowOptions
from featcli.runs.folder import CONFIG_NAME, METRICS_NAME, PREDICTIONS_NAME, Run, RunImage
from featcli.runs.moving import load_run_config
from featcli.sampling import evenly
from featcli.workflow.answer import Answer
from featcli.workflow.because import TrainingFeatures
from featcli.workflow.engines import Wanted, open_extractor, with_engine
from featcli.workflow.session import Session, open_backbone, open_runtime

SAMPLE = 16
LEAST_COSINE = 0.9999
CLOSE = 1e-4  # of a confidence, beside other engines, threads or versions
_HOLDS, _FAILS, _UNKNOWN, _NONE = "holds", "does not hold", "cannot be checked", "does not apply"
_NAME = 13


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its name, `holds`, `does not hold`, `cannot be checked` or `does not apply`, and why."""

    name: str
    outcome: str
    text: str


class _Cannot(Exception):
    """A check cannot be made, and why."""


class _Fails(Exception):
    """A check does not hold, and why."""


class _Inapplicable(Exception):
    """A check is not one of this run, and why."""


def verify(session: Session, folder: Path, *, sample: int = SAMPLE) -> Answer:
    """Checks a run without training; the answer fails where a check does not hold or cannot be made.

    Args:
        session: the invocation; its store is read, never written to.
        folder: of the run.
        sample: images that are read and computed anew.

    Raises:
        CheckpointError: there is no checkpoint, or it is damaged.
        UsageError: the checkpoint lies in no run.
    """
    path = find_checkpoint(folder)
    run = Run(path.parent)
    if not (run.folder / CONFIG_NAME).is_file():
        raise UsageError(
            f"{path} lies in no run: there is no {CONFIG_NAME} beside it",
            "Name the run folder that it was written in; featcli info tells what is in the file itself.",
        )
    model = read_checkpoint(path)
    loaded = load_run_config(run.folder, session.emit)
    session = dataclasses.replace(session, loaded=loaded)
    work = _Verification(session, run, path, model, sample)
    checks = [
        _check("files", work.files),
        _check("frozen", work.frozen),
        _check("features", work.features),
        _check("predictions", work.predictions),
        _check("optimum", work.optimum),
    ]
    bad = [check.name for check in checks if check.outcome in (_FAILS, _UNKNOWN)]
    failure = ConditionFailed(f"{run.folder}: not verified: {', '.join(bad)}") if bad else None
    facts = {"run": str(run.folder), "verified": not bad, "checks": [dataclasses.asdict(check) for check in checks]}
    return Answer.arranged(lambda width: _text(checks, width), facts, failure=failure)


def _check(name: str, make: Callable[[], str]) -> Check:
    try:
        return Check(name, _HOLDS, make())
    except _Cannot as reason:
        return Check(name, _UNKNOWN, str(reason))
    except _Fails as reason:
        return Check(name, _FAILS, str(reason))
    except _Inapplicable as reason:
        return Check(name, _NONE, str(reason))
    except FeatcliError as error:
        return Check(name, _UNKNOWN, error.message)


def _text(checks: Sequence[Check], width: int | None) -> str:
    lines = []
    for check in checks:
        line = f"{check.name:{_NAME}}{check.outcome}: {check.text}"
        lines += [line] if width is None else wrapped(line, width, _NAME)
    return "\n".join(lines)


class _Verification:
    """The checks of one run; each returns what holds, in words, or raises why it does not."""

    def __init__(self, session: Session, run: Run, path: Path, model: StoredModel, sample: int) -> None:
        self._session, self._run, self._path, self._model, self._sample = session, run, path, model, sample
        self._runtime = open_runtime(session)
        self._opened: Extractor | None = None

    def files(self) -> str:
        """The checkpoint is the one that was measured."""
        found = self._run.read_metrics().get("checkpoint_sha256")
        with storage_errors(self._path, doing="read"):
            actual = hashlib.sha256(self._path.read_bytes()).hexdigest()
        if found != actual:
            raise _Fails(f"{METRICS_NAME} is of another checkpoint than the one beside it")
        return f"{METRICS_NAME} is of this checkpoint, whose tensors are those that were saved"

    def frozen(self) -> str:
        """Frozen tensors are those of the pretrained weights."""
        depth = self._model.metadata.freeze_depth
        if depth == 0:
            raise _Inapplicable("nothing was frozen")
        pretrained = open_backbone(self._session)
        ours = self._model.load()
        stages = ours.stages if depth == "all" else ours.stages[: int(depth)]
        names = [name for stage in stages for name in stage.tensors]
        states = [backbone.network.state_dict() for backbone in (ours, pretrained)]
        missing = [name for name in names if name not in states[1]]
        if missing:
            raise _Fails(f"the weights of the config have no {missing[0]}")
        moved = [name for name in names if len({canonical_sha256({name: state[name]}) for state in states}) > 1]
        if moved:
            raise _Fails(
                f"{len(moved)} of {len(names)} frozen tensors are not those of the config's weights: {moved[0]}"
            )
        return f"{len(names)} tensors of {len(stages)} stages are bit for bit those of {pretrained.weights}"

    def features(self) -> str:
        """Stored features are what the images give."""
        images = [image for image in self._images() if image.split == "train"]
        extractor = self._extractor()
        store = FeatureStore(
            self._session.cache,
            extractor.space,
            extractor.backbone.feature_size,
            self._session.emit,
            read_only=True,
        )
        found, stored = store.find([bytes.fromhex(image.sha256) for image in images])
        if not found.any():
            raise _Cannot("no feature of the run's training images is in the store; featcli extract stores them")
        stored_rows = np.flatnonzero(found)
        chosen = [int(stored_rows[index]) for index in evenly(len(stored_rows), self._sample)]
        rows = self._computed([images[index] for index in chosen])
        lowest, equal = 1.0, 0
        for index, row in zip(chosen, rows, strict=True):
            assert row.feature is not None, "rows without are raised"
            one, other = row.feature.astype(np.float64), stored[index].astype(np.float64)
            equal += bool((row.feature == stored[index]).all())
            sizes = float(np.linalg.norm(one) * np.linalg.norm(other))
            lowest = min(lowest, float(one @ other) / sizes if sizes > 0 else 0.0)
        if lowest < LEAST_COSINE:
            raise _Fails(f"of {len(rows)} images that were computed anew one has a cosine of {lowest:.4f} to its row")
        lost = "" if found.all() else f"; {np.count_nonzero(~found)} of {len(found)} training images are not stored"
        as_stored = f"{equal} bit for bit as stored, lowest cosine {lowest:.7f}"
        return f"of {len(rows)} images computed anew {as_stored}{lost}"

    def predictions(self) -> str:
        """Images are predicted as they were."""
        written = self._run.read_predictions()
        if written is None:
            raise _Cannot(f"{PREDICTIONS_NAME} is not there, or is no longer what the run wrote")
        if not written:
            raise _Cannot(f"no rows in {PREDICTIONS_NAME}: no images were held out")
        by_path = {image.path: image for image in self._images()}
        known = [row for row in written if row["label"] and row["path"] in by_path]
        if not known:
            raise _Cannot(f"{PREDICTIONS_NAME} names no image of the run that was read")
        chosen = [known[index] for index in evenly(len(known), self._sample)]
        rows = self._computed([by_path[row["path"]] for row in chosen])
        predicted = Predictor.of(self._model, self._extractor()).rows(rows, RowOptions(top=1))
        farthest = 0.0
        for before, now in zip(chosen, predicted, strict=True):
            if before["label"] != now["label"]:
                raise _Fails(f"{before['path']} was {before['label']}, and is predicted {now['label']} now")
            farthest = max(farthest, abs(float(before["confidence"]) - now["confidence"]))
        if farthest > CLOSE:
            raise _Fails(f"a confidence differs by {farthest:.6f} from {PREDICTIONS_NAME}")
        return f"{len(rows)} images predicted anew are as in {PREDICTIONS_NAME}, their confidence within {farthest:.6f}"

    def optimum(self) -> str:
        """The head is the optimum of the stored features under its C."""
        if self._model.metadata.head.kind != "logistic":
            raise _Inapplicable(f"a head of kind {self._model.metadata.head.kind} was trained by gradient descent")
        training = TrainingFeatures.of(self._run, self._extractor(), self._session)
        if training is None:
            raise _Cannot("the run has no images.csv")
        if not training.images:
            raise _Cannot("no feature of the run's training images is in the store; featcli extract stores them")
        influence = training.influence(self._model)
        if isinstance(influence, str):
            raise (_Cannot if training.lost else _Fails)(influence)
        n = len(training.images)
        return (
            f"the gradient on the stored features of {n} training images is {influence.off:.0e} of the weights: "
            f"the optimum under C {self._model.metadata.head.C:g}"
        )

    def _images(self) -> list[RunImage]:
        images = self._run.read_images()
        if images is None:
            raise _Cannot("the run has no images.csv")
        return [image for image in images if image.sha256]

    def _extractor(self) -> Extractor:
        if self._opened is None:
            session = with_engine(self._session, self._model.metadata.engine, self._runtime)
            self._opened = open_extractor(
                session,
                self._model.backbone,
                self._runtime,
                Wanted([], self._sample),
                load=self._model.load,
                head=self._model.head,
            )
        return self._opened

    def _computed(self, images: Sequence[RunImage]) -> list[FeatureRow]:
        """Features of images that are read now, whose bytes are those of the run."""
        refs: list[ImageRef] = [file_ref(image.path) for image in images]
        rows = [row for batch in self._extractor().stream(refs, batch_size=len(refs)) for row in batch]
        for image, row in zip(images, rows, strict=True):
            if row.feature is None:
                raise _Cannot(f"{image.path}: {row.error}")
            if row.digest is None or row.digest.hex() != image.sha256:
                raise _Cannot(f"{image.path} is not the file that it was in the run")
        return rows
