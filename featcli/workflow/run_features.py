"""The features of a run's images, as far as the store has them: read by content, without torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featcli.data.pixels.decoding import PIXEL_PIPELINE
from featcli.features.store import FeatureStore, Space
from featcli.workflow.run_reading import FinishedFolder
from featcli.workflow.session import Session


class RunFeatures:
    """Stored features of the backbone that a run predicts with.

    Args:
        session: its store is read, never written to.
        opened: the run.
    """

    def __init__(self, session: Session, opened: FinishedFolder) -> None:
        metadata, backbone = opened.model.metadata, opened.model.backbone
        space = Space(
            backbone=backbone.name,
            weights_sha256=backbone.weights_sha256,
            arguments=dict(backbone.arguments),
            preprocessing=backbone.preprocessing.to_json(),
            layer=str(backbone.layer),
            pixel_pipeline=PIXEL_PIPELINE,
            precision=metadata.precision,
            device_type=metadata.device_type,
            engine=metadata.engine,
        )
        self._store = FeatureStore(session.cache, space, backbone.feature_size, session.emit, read_only=True)

    def of(self, sha256: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """(N,) which of N contents are stored, and (N, D) their features; rows of the others mean nothing."""
        return self._store.find([bytes.fromhex(digest) for digest in sha256])
