"""A logistic head's logits as sums over the images that it was trained on.

At the optimum the weights are a sum over training rows: of each one's residual, how far its probabilities are from its
label, times its standardised feature. So a logit is an intercept and one number for each training row: what it pulls.

Source: the representer theorem; for this use Yeh et al., "Representer Point Selection for Explaining Deep Neural
Networks", NeurIPS 2018 (https://arxiv.org/abs/1811.09720), theorem 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcli.heads.basis import blocks, standardisation
from featcli.heads.kind import LabelledRows
from featcli.heads.logistic_path import sample_weights

MOST_OFF = 1e-3  # of the weights: what the sum may miss before it is corrected; beyond, this is not the optimum
_RANK = 1e-12


@dataclass(frozen=True, slots=True)
class Influence:
    """The head as a sum over its training rows.

    Args:
        features: (N, D) float64, standardised.
        pulls: (N, K) of each row: what it adds to the logit of a class for each unit of similarity.
        mean: (D,) that features are shifted by.
        scale: (D,) that they are divided by.
        intercept: (K,) of the logits for standardised features.
        off: how far the weights are from the optimum's sum, as a share of their size, before it was corrected.
    """

    features: Tensor
    pulls: Tensor
    mean: Tensor
    scale: Tensor
    intercept: Tensor
    off: float

    @classmethod
    def of(cls, rows: LabelledRows, C: float, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> Influence:
        """From what a head was fitted to, and its weights (K, D) and bias (K,) for raw features.

        The stored weights are rounded and the solver stops near the optimum: the residuals are corrected by the
        smallest change that makes the sum the stored weights. `off` says by how much they were beside it.
        """
        everything = np.arange(len(rows.labels))
        scaling = standardisation(rows.features, everything)
        features = torch.cat([scaling.apply(block) for block in blocks(rows.features, everything)])
        weights = torch.from_numpy(weight).double() * scaling.scale
        intercept = torch.from_numpy(bias).double() + torch.from_numpy(weight).double() @ scaling.mean
        labels = torch.from_numpy(rows.labels.astype(np.int64))
        truth = torch.nn.functional.one_hot(labels, rows.n_classes).double()
        residual = truth - (features @ weights.T + intercept).softmax(1)
        own = sample_weights(rows.labels.astype(np.int64), rows.n_classes, rows.class_weight)
        pulls = C * residual * (1.0 if own is None else torch.from_numpy(own)[:, None])
        if rows.n_classes == 2:
            # One weight vector w under the penalty, of which the rows of the head are -w/2 and w/2.
            pulls = 0.5 * pulls
        missing = weights - pulls.T @ features  # (K, D)
        correction = _least_change(features, missing)
        size = float(torch.linalg.vector_norm(weights))
        beside = torch.linalg.vector_norm(missing - correction.T @ features).item()
        moved = torch.linalg.vector_norm(correction).item() / max(torch.linalg.vector_norm(pulls).item(), 1e-300)
        return cls(
            features,
            pulls + correction,
            scaling.mean,
            scaling.scale,
            intercept,
            max(beside / max(size, 1e-300), moved),
        )

    @property
    def is_optimum(self) -> bool:
        """Whether the head is what these rows, this C and these class weights have their optimum at."""
        return self.off <= MOST_OFF

    def contributions(self, feature: NDArray[np.float32], label: int) -> NDArray[np.float64]:
        """(N,) what each training row adds to the logit of class `label` for a feature (D,)."""
        point = torch.from_numpy(feature.astype(np.float64)).sub_(self.mean).div_(self.scale)
        found: NDArray[np.float64] = ((self.features @ point) * self.pulls[:, label]).numpy()
        return found


def _least_change(features: Tensor, missing: Tensor) -> Tensor:
    """(N, K) of the smallest size, whose product with the features (N, D) comes nearest to `missing` (K, D)."""
    n, width = features.shape
    if n <= width:
        squares, vectors = torch.linalg.eigh(features @ features.T)
        inverse = _inverted(squares)
        found: Tensor = vectors @ ((vectors.T @ (features @ missing.T)) * inverse[:, None])
        return found
    squares, vectors = torch.linalg.eigh(features.T @ features)
    inverse = _inverted(squares)
    found = features @ (vectors @ ((vectors.T @ missing.T) * inverse[:, None]))
    return found


def _inverted(squares: Tensor) -> Tensor:
    """One over each, and 0 for those that are rounding."""
    least = _RANK * squares[-1].clamp_min(1e-300)
    return torch.where(squares > least, squares.clamp_min(1e-300).reciprocal(), 0.0)
