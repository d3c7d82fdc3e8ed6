"""One class for each image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from featcli.evaluation.truth import Truth
from featcli.tasks import Multiclass, task_of
from featcli.tasks.multiclass import balanced_weights

TASK = Multiclass(("ants", "bees", "cats"))


def test_balanced_weights_by_hand() -> None:
    assert balanced_weights([0, 0, 0, 1], 2) == (4 / 6, 2.0)
    labels = np.array([0] * 7 + [1] * 2 + [2])
    weights = np.array(balanced_weights(labels, 3))
    assert weights[labels].mean() == pytest.approx(1.0)
    assert [weights[labels][labels == label].sum() for label in range(3)] == pytest.approx([10 / 3] * 3)


@pytest.mark.parametrize(
    ("monitor", "better", "worse"), [("accuracy", 0.9, 0.8), ("macro_f1", 0.9, 0.8), ("log_loss", 0.1, 0.2)]
)
def test_what_is_better(monitor: str, better: float, worse: float) -> None:
    assert TASK.improves(monitor, better, worse)
    assert not TASK.improves(monitor, worse, better)
    assert not TASK.improves(monitor, better, better)


def test_the_criterion_is_torchs_cross_entropy_of_each_example_times_the_weight_of_its_class() -> None:
    logits, labels = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 1, 0])
    weights = torch.tensor([0.5, 1.0, 1.5])
    for smoothing in (0.0, 0.1):
        plain = TASK.criterion(class_weights=None, label_smoothing=smoothing)(logits, labels)
        assert torch.equal(plain, F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="sum"))
        found = TASK.criterion(class_weights=weights, label_smoothing=smoothing)(logits, labels)
        each = [
            F.cross_entropy(row[None], label[None], label_smoothing=smoothing)
            for row, label in zip(logits, labels, strict=True)
        ]
        expected = sum(float(weights[label] * loss) for label, loss in zip(labels, each, strict=True))
        assert float(found) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("counts", [(19, 1), (200, 4), (91, 1)])
@pytest.mark.parametrize("classes", [2, 10])
def test_a_smoothed_loss_is_smallest_where_the_own_class_is_probable_whatever_the_weights(
    counts: tuple[int, int], classes: int
) -> None:
    """Balanced weights with smoothing once taught that common images are rare."""
    labels = np.repeat(np.arange(classes), [counts[0], *[counts[1]] * (classes - 1)])
    weights = torch.tensor(balanced_weights(labels, classes))
    task, smoothing = Multiclass(tuple(map(str, range(classes)))), 0.1
    for label in range(classes):
        target = torch.full((1, classes), smoothing / classes)
        target[0, label] += 1 - smoothing
        logits = target.log().requires_grad_()
        loss = task.criterion(class_weights=weights, label_smoothing=smoothing)(logits, torch.tensor([label]))
        (gradient,) = torch.autograd.grad(loss, logits)
        assert gradient.abs().max() < 1e-5 * weights.max()


@pytest.mark.parametrize("dim", [0, 1])
def test_the_link_gives_probabilities_in_double_precision(dim: int) -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0], [0.1, 0.2, 0.3]])
    found = TASK.link(logits if dim else logits.T, dim)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found if dim else found.T, torch.softmax(logits.double(), 1), rtol=1e-15, atol=0)


def test_of_equals_the_first_class_is_named() -> None:
    prediction = np.array([0.2, 0.4, 0.4])
    assert TASK.cells(prediction, 2) == {"label": "bees", "confidence": 0.4, "top": [["bees", 0.4], ["cats", 0.4]]}
    assert TASK.count_correct(np.array([prediction, prediction]), np.array([1, 2])) == 1


def test_without_a_prediction_the_cells_are_empty() -> None:
    assert TASK.cells(None, 3) == {"label": None, "confidence": None, "top": []}


def test_metrics_are_those_of_the_most_probable_class() -> None:
    predictions = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]])
    found = task_of(["ants", "bees", "cats"]).evaluate(predictions, Truth(np.array([0, 2]), [1]))
    assert (found["n"], found["n_errors"], found["accuracy"]) == (3, 1, 1 / 3)
    assert found["confusion"] == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
