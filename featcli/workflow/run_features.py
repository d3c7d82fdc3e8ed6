"""The features of a run's images, as far as the store has them: read by content, without torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featcli.features.extraction import space_of
from featcli.features.store import FeatureStore
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
        self.space = space_of(backbone, metadata.precision, metadata.device_type, metadata.engine)
        self._store = FeatureStore(session.cache, self.space, backbone.feature_size, session.emit, read_only=True)

    def of(self, sha256: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """(N,) which of N contents are stored, and (N, D) their features; rows of the others mean nothing."""
        return self._store.find([bytes.fromhex(digest) for digest in sha256])
