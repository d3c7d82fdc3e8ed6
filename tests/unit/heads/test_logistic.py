from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featcli.errors import DatasetError
from featcli.events import Event, Note, Progress, Warn
from featcli.heads import logistic, logistic_path
from featcli.heads.kind import LabelledRows
from featcli.heads.lbfgs import CrossEntropy, Limits
from featcli.heads.logistic import Candidate, Selection, fit_logistic
from featcli.heads.logistic_path import solve_path
from tests.unit.heads.lab import probabilities_of

CS = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0]


def cnn_like(rows: int, width: int, classes: int, *, separation: float = 0.5, seed: int = 0):  # type: ignore[no-untyped-def]
    """Correlated, non-negative, skewed features (rows, width) float32, and labels (rows,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    labels[:classes] = np.arange(classes)
    rank = min(width, 16)
    latent = (rng.normal(size=(classes, rank)) * separation)[labels] + rng.normal(size=(rows, rank))
    mixed = latent @ rng.normal(size=(rank, width)) / np.sqrt(rank) + 0.5 * rng.normal(size=(rows, width))
    return (np.maximum(mixed - 0.3, 0.0) * np.exp(rng.normal(size=width))).astype(np.float32), labels


def objective(x: np.ndarray, y: np.ndarray, weight: np.ndarray, bias: np.ndarray, C: float, class_weight: str) -> float:
    """Of weights (K, D), or (1, D) for two classes, and standardised x: written out without the package."""
    logits = x @ weight.T + bias
    if len(weight) == 1:
        losses = np.logaddexp(0.0, np.where(y == 1, -logits[:, 0], logits[:, 0]))
    else:
        losses = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(y)), y]
    if class_weight == "balanced":
        counts = np.bincount(y)
        losses = losses * (len(y) / (len(counts) * counts))[y]
    return float(C * losses.sum() + 0.5 * np.square(weight).sum())


class Scaler(StandardScaler):
    """Scikit-learn's, with the mean standard deviation of what varies added to each in quadrature."""

    def fit(self, x: np.ndarray, y: object = None) -> Scaler:
        super().fit(x)
        varies = np.ptp(x, axis=0) > 0
        self.scale_[varies] = np.hypot(self.scale_[varies], self.scale_[varies].mean() if varies.any() else 0.0)
        return self


def scaled(x: np.ndarray) -> tuple[np.ndarray, StandardScaler]:
    scaler = Scaler()
    return scaler.fit_transform(x.astype(np.float64)), scaler


def sklearn_objective(x: np.ndarray, y: np.ndarray, C: float, class_weight: str) -> float:
    """The better of two tight solvers: neither converges everywhere."""
    best = np.inf
    for solver in ("newton-cg", "lbfgs"):
        model = LogisticRegression(
            C=C, tol=1e-10, max_iter=5000, solver=solver, class_weight=None if class_weight == "none" else class_weight
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(x, y)
        best = min(best, objective(x, y, model.coef_, model.intercept_, C, class_weight))
    return best


def assert_minimal(x: np.ndarray, y: np.ndarray, classes: int, Cs: list[float], class_weight: str = "none") -> None:
    x64, scaler = scaled(x)
    for solution in solve_path(x, y, classes, Cs, class_weight=class_weight):  # type: ignore[arg-type]
        weight = solution.weight * scaler.scale_
        bias = solution.bias + solution.weight @ scaler.mean_
        if classes == 2:
            np.testing.assert_array_equal(solution.weight[0], -solution.weight[1])
            weight, bias = 2.0 * weight[1:], 2.0 * bias[1:]
        ours = objective(x64, y, weight, bias, solution.C, class_weight)
        assert ours == pytest.approx(solution.objective, rel=1e-7)
        assert ours == pytest.approx(sklearn_objective(x64, y, solution.C, class_weight), rel=3e-6)
        assert solution.converged
        assert np.isfinite(solution.grad_norm)


@pytest.mark.slow
@pytest.mark.parametrize("class_weight", ["none", "balanced"])
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize(("rows", "width"), [(200, 30), (60, 150)])
def test_the_objective_is_scikit_learns_at_every_C(classes: int, rows: int, width: int, class_weight: str) -> None:
    x, y = cnn_like(rows, width, classes)
    assert_minimal(x, y, classes, CS if classes < 10 else CS[::3], class_weight)


@pytest.mark.parametrize(("rows", "width"), [(150, 24), (40, 64)])
def test_collinear_and_constant_columns_and_duplicated_rows(rows: int, width: int) -> None:
    x, y = cnn_like(rows, width, 3)
    x[:, 1] = x[:, 0]
    x[:, 2] = 3.0 * x[:, 0] - x[:, 3]
    x[:, 4] = 0.1
    x[:, 5] = 0.0
    x, y = np.concatenate([x, x[:30], x[:30]]), np.concatenate([y, y[:30], y[:30]])
    assert_minimal(x, y, 3, CS[1::2])


def test_labels_that_features_do_not_explain() -> None:
    x, _ = cnn_like(400, 12, 4)
    assert_minimal(x, np.random.default_rng(1).integers(0, 4, 400), 4, CS)


@pytest.mark.parametrize("classes", [2, 4])
def test_separable_classes_converge_at_any_C(classes: int) -> None:
    y = np.arange(80) % classes
    x = (np.eye(classes)[y] * 5.0 + np.random.default_rng(0).normal(size=(80, classes)) * 0.1).astype(np.float32)
    assert_minimal(x, y, classes, [1e2, 1e4])
    for solution in solve_path(x, y, classes, [1e-8, 1e8, 1e12]):
        assert solution.converged
        assert np.isfinite(solution.weight).all()
        assert np.isfinite(solution.bias).all()


def test_wildly_scaled_features_and_large_means() -> None:
    x, y = cnn_like(150, 20, 3)
    x = x.astype(np.float64) * np.logspace(-6, 6, 20) + 1e3
    assert_minimal(x, y, 3, [1e-2, 1.0])


def test_features_that_say_nothing_at_all() -> None:
    y = np.array([0, 1, 1, 1, 0, 1])
    (solution,) = solve_path(np.full((6, 8), 0.1, dtype=np.float32), y, 2, [1.0])
    np.testing.assert_allclose(np.diff(solution.bias), np.log(2.0), rtol=1e-3)
    np.testing.assert_array_equal(solution.weight, 0.0)
    (solution,) = solve_path(np.full((6, 2), 0.1, dtype=np.float32), y, 2, [1.0])
    np.testing.assert_allclose(np.diff(solution.bias), np.log(2.0), rtol=1e-3)


@pytest.mark.parametrize("class_weight", ["none", "balanced"])
@pytest.mark.parametrize("classes", [2, 5])
def test_the_heads_probabilities_are_scikit_learns(classes: int, class_weight: str) -> None:
    x, y = cnn_like(300, 40, classes)
    rows = LabelledRows(x, y, classes, class_weight)  # type: ignore[arg-type]
    fitted = fit_logistic(rows, Cs=[0.1], folds=np.zeros(300, dtype=int))
    peer = make_pipeline(
        Scaler(),
        LogisticRegression(C=0.1, tol=1e-8, max_iter=5000, class_weight=None if class_weight == "none" else "balanced"),
    ).fit(x.astype(np.float64), y)
    assert fitted.converged
    np.testing.assert_allclose(probabilities_of(fitted.head, x), peer.predict_proba(x.astype(np.float64)), atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "width", "classes"), [(160, 20, 3), (60, 90, 2)])
def test_selection_is_that_of_a_plain_loop(rows: int, width: int, classes: int) -> None:
    x, y = cnn_like(rows, width, classes)
    folds = np.random.default_rng(2).permutation(rows) % 4 - 1  # -1: always trained on
    selection = fit_logistic(LabelledRows(x, y, classes), Cs=CS[::2], folds=folds)
    for candidate in selection.candidates:
        for fold, ours in zip(range(3), candidate.fold_log_losses, strict=True):
            train, held_out = folds != fold, folds == fold
            peer = make_pipeline(Scaler(), LogisticRegression(C=candidate.C, tol=1e-10, max_iter=10000))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                peer.fit(x[train].astype(np.float64), y[train])
            theirs = log_loss(y[held_out], peer.predict_proba(x[held_out].astype(np.float64)), labels=range(classes))
            assert ours == pytest.approx(theirs, rel=5e-3)
        assert candidate.log_loss == pytest.approx(np.mean(candidate.fold_log_losses))
    assert [candidate.C for candidate in selection.candidates] == CS[::2]
    best = min(candidate.log_loss for candidate in selection.candidates)
    near = [candidate.C for candidate in selection.candidates if candidate.log_loss <= best + 1 / (rows * 3 / 4)]
    assert selection.C == min(near)


def test_held_out_rows_do_not_move_their_folds_solution() -> None:
    x, y = cnn_like(90, 10, 3)
    folds = np.arange(90) % 3
    before = fit_logistic(LabelledRows(x, y, 3), Cs=[1e-2, 1.0], folds=folds)
    x[folds == 0] *= 5.0
    after = fit_logistic(LabelledRows(x, y, 3), Cs=[1e-2, 1.0], folds=folds)
    train = folds != 0
    for index, solution in enumerate(solve_path(x[train], y[train], 3, [1e-2, 1.0])):
        logits = x[folds == 0] @ solution.weight.T + solution.bias
        expected = np.mean(np.logaddexp.reduce(logits, axis=1) - logits[np.arange(30), y[folds == 0]])
        assert after.candidates[index].fold_log_losses[0] == pytest.approx(expected, rel=1e-2)
        assert after.candidates[index].fold_log_losses[0] != before.candidates[index].fold_log_losses[0]


@pytest.mark.parametrize("width", [3, 30])
def test_ties_go_to_the_smaller_C(width: int) -> None:
    rows = LabelledRows(np.zeros((24, width), dtype=np.float32), np.arange(24) % 2, 2)
    selection = fit_logistic(rows, Cs=[0.1, 1.0, 10.0], folds=np.arange(24) // 2 % 3)
    assert len({candidate.log_loss for candidate in selection.candidates}) == 1
    assert selection.C == 0.1


def test_a_class_that_a_folds_training_part_lacks() -> None:
    x, y = cnn_like(60, 8, 3)
    folds = np.arange(60) % 3
    folds[y == 2] = 0
    selection = fit_logistic(LabelledRows(x, y, 3), Cs=[1e-2, 1.0], folds=folds)
    assert np.isfinite([candidate.fold_log_losses for candidate in selection.candidates]).all()
    train, held_out = folds != 0, (folds == 0) & (y != 2)
    (pair,) = solve_path(x[train], y[train], 2, [1.0])
    logits = x[held_out] @ pair.weight.T + pair.bias
    expected = np.mean(np.logaddexp.reduce(logits, axis=1) - logits[np.arange(held_out.sum()), y[held_out]])
    assert selection.candidates[1].fold_log_losses[0] == pytest.approx(expected, rel=1e-2)


def test_folds_that_cannot_choose() -> None:
    x, y = cnn_like(20, 4, 2)
    with pytest.raises(DatasetError, match="no fold can tell one C from another"):
        fit_logistic(LabelledRows(x, y, 2), Cs=[0.1, 1.0], folds=np.full(20, -1))
    with pytest.raises(DatasetError, match="no fold can tell one C from another"):
        fit_logistic(LabelledRows(x, y, 2), Cs=[0.1, 1.0], folds=y)  # each fold holds out all of one class


def nearly_dead(rows: int = 210, width: int = 30, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two classes; the last feature is zero but for one image, where it is a ten thousandth of the others."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 2
    x = np.maximum(rng.normal(size=(rows, width)) + 0.8 * (y[:, None] == 1) * (np.arange(width) < 5), 0.0)
    x[:, -1] = 0.0
    x[17, -1] = 1e-4
    return x.astype(np.float32), y


def test_a_nearly_dead_feature_decides_nothing() -> None:
    x, y = nearly_dead()
    rows = LabelledRows(x, y, 2)
    fitted = fit_logistic(rows, Cs=CS, folds=np.arange(210) % 5)
    without = fit_logistic(LabelledRows(x[:, :-1], y, 2), Cs=CS, folds=np.arange(210) % 5)
    assert fitted.C == without.C
    assert [one.log_loss for one in fitted.candidates] == pytest.approx(
        [one.log_loss for one in without.candidates], rel=0.05
    )
    new = x[:40].copy()
    before = probabilities_of(fitted.head, new)
    new[:, -1] = 1.0  # an image that uses it, as much as it uses the others
    np.testing.assert_allclose(probabilities_of(fitted.head, new), before, atol=0.05)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_scale_of_all_features_together_does_not_matter(scale: float) -> None:
    x, y = cnn_like(120, 20, 3)
    one, other = (solve_path(values.astype(np.float64), y, 3, [0.1])[0] for values in (x, scale * x))
    np.testing.assert_allclose(other.weight * scale, one.weight, rtol=1e-3, atol=1e-5)


def test_the_smallest_C_within_one_nat_is_chosen() -> None:
    def chosen(*losses: float, rows: int) -> float:
        values = [Candidate(C, loss, (loss,)) for C, loss in zip(CS, losses, strict=False)]
        return Selection.of(values[::-1], rows).C

    assert chosen(0.50, 0.40, 0.31, 0.30, rows=1000) == CS[3]
    assert chosen(0.50, 0.40, 0.31, 0.30, rows=99) == CS[2]  # 0.99 nats
    assert chosen(0.50, 0.40, 0.31, 0.30, rows=101) == CS[3]  # 1.01 nats
    assert chosen(0.30, 0.30, 0.31, rows=10**9) == CS[0]


def test_the_grid_grows_at_an_end_that_is_chosen() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    x = (rng.normal(size=(400, 3)) + 1.5 * y[:, None]).astype(np.float32)
    rows, folds = LabelledRows(x, y, 2), np.arange(400) % 4
    events: list[Event] = []
    narrow = fit_logistic(rows, Cs=[1e-4, 1e-3], folds=folds, emit=events.append)
    assert narrow.C == 1e-3
    assert [event.text for event in events if isinstance(event, Note)] == [
        "head: C 0.001, the largest of 2 that were tried, was chosen: "
        "larger ones may be better, as in head.C: [0.001, 0.01]"
    ]
    events.clear()
    wide = fit_logistic(rows, Cs=[1e-4, 1e-3], folds=folds, widen=True, emit=events.append)
    assert [candidate.C for candidate in wide.candidates] == [1e-4, 1e-3, 1e-2, 1e-1]
    assert wide.candidates[:2] == narrow.candidates
    done = [event.done for event in events if isinstance(event, Progress)]
    assert done == sorted(done)
    assert done[-1] == 100


def test_features_that_say_nothing_lead_to_the_smallest_C_and_that_is_said() -> None:
    rng = np.random.default_rng(0)
    rows = LabelledRows(rng.normal(size=(60, 10)).astype(np.float32), np.arange(60) % 2, 2)
    events: list[Event] = []
    fitted = fit_logistic(rows, Cs=CS, folds=np.arange(60) // 2 % 5, widen=True, emit=events.append)
    assert fitted.C == 1e-6
    assert len(fitted.candidates) == 9
    (note,) = [event.text for event in events if isinstance(event, Note)]
    assert note.endswith("the features say little about the classes, or head.C begins too high")


def test_balanced_folds_weigh_classes_as_the_fit_does() -> None:
    x, y = cnn_like(200, 12, 2)
    keep = np.flatnonzero((y == 0) | (np.cumsum(y) <= 10))  # 10 of class 1
    x, y = x[keep], y[keep]
    folds = np.arange(len(y)) % 4
    fitted = fit_logistic(LabelledRows(x, y, 2, "balanced"), Cs=[1e-3, 1e-1], folds=folds)
    weights = np.where(y == 1, len(y) / (2 * (y == 1).sum()), len(y) / (2 * (y == 0).sum()))
    for candidate in fitted.candidates:
        losses = np.zeros(len(y))
        for fold in range(4):
            (solution,) = solve_path(x[folds != fold], y[folds != fold], 2, [candidate.C], class_weight="balanced")
            logits = x @ solution.weight.T + solution.bias
            all_losses = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(y)), y]
            losses[folds == fold] = all_losses[folds == fold]
        assert candidate.log_loss == pytest.approx(np.average(losses, weights=weights), rel=1e-3)


def test_of_many_classes_C_is_chosen_on_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "MOST_CLASSES", 4)
    x, y = cnn_like(240, 12, 8)
    folds = np.arange(240) % 3
    fitted = fit_logistic(LabelledRows(x, y, 8), Cs=CS[:4], folds=folds)
    taken = np.isin(y, [0, 2, 4, 6])
    part = fit_logistic(LabelledRows(x[taken], y[taken] // 2, 4), Cs=CS[:4], folds=folds[taken])
    assert (fitted.candidates, fitted.selection_classes) == (part.candidates, 4)
    assert fitted.head.weight.shape == (8, 12)
    (whole,) = solve_path(x, y, 8, [fitted.C])
    np.testing.assert_allclose(fitted.head.weight, whole.weight, rtol=1e-5, atol=1e-7)


def test_of_many_classes_those_that_are_held_out_choose_C(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "MOST_CLASSES", 4)
    x, y = cnn_like(240, 12, 8)
    folds = np.where(
        np.isin(y, [1, 3, 5]), np.arange(240) % 3, -1
    )  # spread evenly: 0, 2, 4, 6, of which none is held out
    events: list[Event] = []
    fitted = fit_logistic(LabelledRows(x, y, 8), Cs=CS[2:4], folds=folds, emit=events.append)
    assert len(fitted.candidates) == 2
    assert events[-1] == Progress("head", 100, 100, "%", finished=True)
    few = np.where(y == 1, 0, -1)  # one fold, which holds out all of a class: nothing is learned of it
    with pytest.raises(DatasetError, match="no fold can tell one C from another"):
        fit_logistic(LabelledRows(x, y, 8), Cs=CS[2:4], folds=few)


def test_progress_ends_where_the_classes_that_are_tried_have_fewer_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "MOST_CLASSES", 2)
    x, y = cnn_like(120, 12, 4)
    folds = np.where(np.isin(y, [0, 2]), np.arange(120) % 2, 2 + np.arange(120) % 3)  # those of 0 and 2 are 0 and 1
    events: list[Event] = []
    fitted = fit_logistic(LabelledRows(x, y, 4), Cs=CS[2:4], folds=folds, emit=events.append)
    assert [len(candidate.fold_log_losses) for candidate in fitted.candidates] == [2, 2]
    assert [event.finished for event in events if isinstance(event, Progress)].count(True) == 1
    assert events[-1] == Progress("head", 100, 100, "%", finished=True)


def test_one_C_skips_cross_validation() -> None:
    x, y = cnn_like(50, 6, 3)
    events: list[Event] = []
    fitted = fit_logistic(LabelledRows(x, y, 3), Cs=[0.3], folds=np.full(50, -1), emit=events.append)
    assert (fitted.C, fitted.candidates) == (0.3, ())
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress == events
    assert (progress[0], progress[-1]) == (
        Progress("head", 0, 100, "%"),
        Progress("head", 100, 100, "%", finished=True),
    )


@pytest.mark.parametrize(("rows", "width"), [(120, 15), (40, 70)])
def test_the_same_inputs_give_the_same_bytes(rows: int, width: int) -> None:
    x, y = cnn_like(rows, width, 3)
    folds = np.arange(rows) % 3
    first, second = (fit_logistic(LabelledRows(x.copy(), y, 3), Cs=CS, folds=folds) for _ in range(2))
    assert first.head.weight.tobytes() == second.head.weight.tobytes()
    assert first.head.bias.tobytes() == second.head.bias.tobytes()
    assert first.candidates == second.candidates


def test_the_order_of_Cs_does_not_matter() -> None:
    x, y = cnn_like(60, 8, 2)
    folds = np.arange(60) % 3
    ascending = fit_logistic(LabelledRows(x, y, 2), Cs=[0.01, 1.0], folds=folds)
    descending = fit_logistic(LabelledRows(x, y, 2), Cs=[1.0, 0.01, 1.0], folds=folds)
    assert ascending.candidates == descending.candidates
    np.testing.assert_array_equal(ascending.head.weight, descending.head.weight)


def require_progress_that_rises_and_ends_once() -> None:
    x, y = cnn_like(60, 8, 3)
    events: list[Event] = []
    fit_logistic(LabelledRows(x, y, 3), Cs=[0.1, 1.0], folds=np.arange(60) % 3, emit=events.append)
    done = [event.done for event in events if isinstance(event, Progress)]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 100)
    assert len(set(done)) > 15, "seven solves, each in several steps"
    assert [event.finished for event in events if isinstance(event, Progress)].count(True) == 1


def test_progress_rises_within_a_solve_never_falls_and_ends_once() -> None:
    require_progress_that_rises_and_ends_once()


def test_progress_counts_the_solves_of_a_fold_that_is_skipped() -> None:
    x, y = cnn_like(60, 8, 2)
    folds = np.where(y == 1, 0, np.where(np.arange(60) < 20, 1, -1))  # without fold 0 there is one class
    events: list[Event] = []
    fitted = fit_logistic(LabelledRows(x, y, 2), Cs=[0.1, 1.0], folds=folds, emit=events.append)
    assert [len(candidate.fold_log_losses) for candidate in fitted.candidates] == [1, 1]
    assert events[-1] == Progress("head", 100, 100, "%", finished=True)


def test_a_solve_that_does_not_converge_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic_path, "FIT", Limits(1e-7, most_iterations=1))
    monkeypatch.setattr(logistic_path, "APPROACH", ())
    x, y = cnn_like(60, 8, 3)
    events: list[Event] = []
    fitted = fit_logistic(LabelledRows(x, y, 3), Cs=[100.0], folds=np.zeros(60, dtype=int), emit=events.append)
    assert not fitted.converged
    assert Warn("head: C = 100, all rows: not converged after 1 iterations") in events


def test_the_number_of_threads_is_left_as_it_was() -> None:
    x, y = cnn_like(60, 8, 3)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        solve_path(x, y, 3, [1.0])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_rows_are_taken_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = cnn_like(100, 12, 3)
    folds = np.arange(100) % 3
    whole = fit_logistic(LabelledRows(x, y, 3), Cs=[0.01, 1.0], folds=folds)
    monkeypatch.setattr("featcli.heads.basis.DOUBLE_ROWS", 7)
    pieces = fit_logistic(LabelledRows(x, y, 3), Cs=[0.01, 1.0], folds=folds)
    np.testing.assert_allclose(pieces.head.weight, whole.head.weight, rtol=1e-2, atol=1e-4)
    for one, other in zip(pieces.candidates, whole.candidates, strict=True):
        assert one.fold_log_losses == pytest.approx(other.fold_log_losses, rel=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("width", [4, 40])
def test_features_that_are_not_finite_are_refused(width: int, value: float) -> None:
    x, y = cnn_like(30, width, 2)
    x[7, 1] = value
    with pytest.raises(DatasetError, match="some features are infinite or not a number"):
        solve_path(x, y, 2, [1.0])


def test_a_class_without_rows_is_refused() -> None:
    x, y = cnn_like(30, 4, 2)
    with pytest.raises(DatasetError, match="class 2 of 3 has no rows"):
        solve_path(x, y, 3, [1.0])


@pytest.mark.parametrize("Cs", [[], [0.0], [-1.0], [float("nan")], [float("inf")], [1.0, 0.1], [1.0, 1.0]])
def test_values_of_C_that_make_no_path_are_refused(Cs: list[float]) -> None:
    x, y = cnn_like(30, 4, 2)
    with pytest.raises(ValueError, match="Cs must be positive, finite and ascending"):
        solve_path(x, y, 2, Cs)


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    x, y = cnn_like(30, 4, 2)
    with pytest.raises(ValueError, match=r"not \(N, D\) and \(N,\)"):
        solve_path(x, y[:-1], 2, [1.0])
    with pytest.raises(ValueError, match=r"labels are 0 \.\.\. 5 for 2 classes"):
        solve_path(x, np.where(y == 1, 5, 0), 2, [1.0])
    with pytest.raises(ValueError, match="folds"):
        fit_logistic(LabelledRows(x, y, 2), Cs=[0.1, 1.0], folds=np.zeros(3, dtype=int))


def gradient_norm(x: np.ndarray, y: np.ndarray, weight: np.ndarray, bias: np.ndarray, C: float) -> float:
    """Of the objective of standardised x, in float64, written out without the package."""
    logits = x @ weight.T + bias
    residual = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    residual[np.arange(len(y)), y] -= 1.0
    return float(np.hypot(np.linalg.norm(C * residual.T @ x + weight), np.linalg.norm(C * residual.sum(0))))


def test_the_gradient_that_is_told_is_that_of_float64() -> None:
    x, y = cnn_like(300, 24, 4)
    x64, scaler = scaled(x)
    for solution in solve_path(x, y, 4, [1e-2, 1.0, 100.0]):
        weight, bias = solution.weight * scaler.scale_, solution.bias + solution.weight @ scaler.mean_
        assert gradient_norm(x64, y, weight, bias, solution.C) == pytest.approx(solution.grad_norm, rel=0.1)


@pytest.mark.parametrize("class_weight", ["none", "balanced"])
@pytest.mark.parametrize(
    ("rows", "width", "classes", "separation"),
    [(160, 20, 2, 0.3), (60, 90, 2, 1.0), (240, 30, 6, 0.5), (90, 120, 6, 0.5), (200, 30, 5, 20.0)],
)
def test_float32_chooses_as_float64_does(
    monkeypatch: pytest.MonkeyPatch, rows: int, width: int, classes: int, separation: float, class_weight: str
) -> None:
    x, y = cnn_like(rows, width, classes, separation=separation)
    learned, folds = LabelledRows(x, y, classes, class_weight), np.arange(rows) % 4  # type: ignore[arg-type]
    single = fit_logistic(learned, Cs=CS, folds=folds)
    monkeypatch.setattr(logistic_path, "LARGEST_SINGLE", 0.0)
    double = fit_logistic(learned, Cs=CS, folds=folds)
    assert single.C == double.C
    assert single.candidates != double.candidates
    for one, other in zip(single.candidates, double.candidates, strict=True):
        assert one.fold_log_losses == pytest.approx(other.fold_log_losses, rel=1e-3, abs=1e-5)
    np.testing.assert_allclose(probabilities_of(single.head, x), probabilities_of(double.head, x), atol=1e-3)


@pytest.mark.parametrize("classes", [2, 5])
def test_float32_keeps_its_digits_where_all_is_certain(classes: int) -> None:
    labels = np.arange(40) % classes
    logits = 30.0 * (np.arange(classes)[:, None] == labels) + np.random.default_rng(0).normal(size=(classes, 40))
    logits = logits[1:] - logits[:1] if classes == 2 else logits
    logits = logits.astype(np.float32).astype(np.float64)
    loss = CrossEntropy(labels, classes, None)
    value, gradients = loss.value(torch.from_numpy(logits))
    wide = np.concatenate([np.zeros((1, 40)), logits]) if classes == 2 else logits
    others = [np.delete(column, label) - column[label] for column, label in zip(wide.T, labels, strict=True)]
    rest = np.exp(others).sum(1)
    assert value == pytest.approx(np.log1p(rest).sum(), rel=1e-9)
    single, single_gradients = loss.to(torch.float32).value(torch.from_numpy(logits).float())
    assert single == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(single_gradients.numpy(), gradients.numpy(), rtol=1e-5)
    apart = loss.to(torch.float32).value(10.0 * torch.from_numpy(logits).float())[1].abs()
    assert apart.min() > torch.finfo(torch.float32).tiny, "denormal numbers are slow"
    own = gradients.numpy()[labels, np.arange(40)] if classes > 2 else -np.abs(gradients.numpy()[0])
    np.testing.assert_allclose(own, -rest / (1.0 + rest), rtol=1e-9)


@pytest.fixture
def side_by_side(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No problem is too small for two threads."""
    monkeypatch.setattr(logistic_path, "SMALL", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


@pytest.mark.usefixtures("side_by_side")
@pytest.mark.parametrize(("rows", "width"), [(120, 15), (40, 70)])
def test_folds_side_by_side_have_the_bits_of_folds_in_turn(
    monkeypatch: pytest.MonkeyPatch, rows: int, width: int
) -> None:
    x, y = cnn_like(rows, width, 3)
    learned, folds = LabelledRows(x, y, 3), np.arange(rows) % 5
    together = fit_logistic(learned, Cs=CS, folds=folds)
    monkeypatch.setattr(logistic_path, "SMALL", 10**12)
    in_turn = fit_logistic(learned, Cs=CS, folds=folds)
    assert together.candidates == in_turn.candidates


@pytest.mark.usefixtures("side_by_side")
def test_progress_of_folds_side_by_side_rises_and_ends_once() -> None:
    require_progress_that_rises_and_ends_once()


@pytest.mark.usefixtures("side_by_side")
def test_an_interrupt_ends_folds_side_by_side() -> None:
    x, y = cnn_like(600, 60, 10)
    heard: list[Event] = []
    before = set(threading.enumerate())

    def interrupted(event: Event) -> None:
        heard.append(event)
        if isinstance(event, Progress) and event.done > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_logistic(LabelledRows(x, y, 10), Cs=CS, folds=np.arange(600) % 5, emit=interrupted)
    assert set(threading.enumerate()) <= before
    assert len(heard) < 50
