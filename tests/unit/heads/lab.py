"""What the tests of heads share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featcli.heads.head import Head
from featcli.predictor import predict_features
from featcli.tasks import Multiclass


def probabilities_of(head: Head, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N, K) of a head whose outputs are classes."""
    classes = head.logits(features[:0]).shape[1]
    return predict_features(head, Multiclass(tuple(map(str, range(classes)))), features)
