from __future__ import annotations

import json
import math
import time
import tracemalloc
import warnings
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcli.evaluation.intervals import group_interval, wilson_interval
from featcli.evaluation.truth import Truth
from featcli.tasks.multiclass import correct_count, evaluate

sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the independent truth of these tests")

KEYS = [
    "accuracy",
    "accuracy_ci95",
    "interval",
    "majority_accuracy",
    "balanced_accuracy",
    "macro_f1",
    "top5_accuracy",
    "log_loss",
    "brier",
    "ece",
    "positive",
    "sensitivity",
    "sensitivity_ci95",
    "specificity",
    "specificity_ci95",
    "auroc",
    "auroc_ci95",
    "average_precision",
    "thresholds",
    "n",
    "n_errors",
    "n_groups",
    "classes",
    "worst_class",
    "most_confused",
    "per_class",
    "confusion",
]


def names(k: int) -> list[str]:
    return [f"class{index}" for index in range(k)]


def measure(probabilities: Any, labels: Any, error_labels: Any = ()) -> dict[str, Any]:
    array = np.asarray(probabilities, dtype=np.float64)
    return evaluate(array, Truth(np.asarray(labels, dtype=np.int64), error_labels), names(array.shape[1]))


def random_split(seed: int, n: int = 200, k: int = 8, sharpness: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, k, n)
    logits = generator.normal(size=(n, k))
    logits[np.arange(n), labels] += sharpness
    weights = np.exp(logits)
    return weights / weights.sum(axis=1, keepdims=True), labels


@st.composite
def splits(draw: st.DrawFn, min_classes: int = 2) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Coarse integer weights, so that ties, zeros and classes that are missing or never predicted are common."""
    n, k = draw(st.integers(1, 25)), draw(st.integers(min_classes, 9))
    weights = draw(hnp.arrays(np.int64, (n, k), elements=st.integers(0, 4))) + 0.0
    weights[weights.sum(axis=1) == 0] = 1.0
    labels = draw(hnp.arrays(np.int64, n, elements=st.integers(0, k - 1)))
    errors = draw(st.lists(st.integers(0, k - 1), max_size=5))
    return weights / weights.sum(axis=1, keepdims=True), labels, errors


def sklearn_truth(probabilities: np.ndarray, labels: np.ndarray, errors: list[int]) -> dict[str, Any]:
    """The same metrics by scikit-learn: an unreadable image is one predicted as a class that nobody has."""
    k = probabilities.shape[1]
    read = probabilities.argmax(axis=1)
    true = np.concatenate([labels, np.array(errors, dtype=np.int64)])
    predicted = np.concatenate([read, np.full(len(errors), k)])
    occurring = sorted(set(true) | set(read))
    precision, recall, f1, support = sklearn.precision_recall_fscore_support(
        true, predicted, labels=range(k), zero_division=0
    )
    return {
        "accuracy": sklearn.accuracy_score(true, predicted),
        "balanced_accuracy": sklearn.recall_score(true, predicted, labels=sorted(set(true)), average="macro"),
        "macro_f1": sklearn.f1_score(true, predicted, labels=occurring, average="macro", zero_division=0),
        "log_loss": sklearn.log_loss(labels, probabilities, labels=range(k)),
        "confusion": sklearn.confusion_matrix(labels, read, labels=range(k)).tolist(),
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "f1": f1.tolist(),
        "support": support.tolist(),
    }


def assert_agrees_with_sklearn(probabilities: np.ndarray, labels: np.ndarray, errors: list[int]) -> None:
    result = measure(probabilities, labels, errors)
    truth = sklearn_truth(probabilities, labels, errors)
    for key in ("accuracy", "balanced_accuracy", "macro_f1", "log_loss"):
        assert result[key] == pytest.approx(truth[key], rel=1e-12, abs=1e-12), key
    assert result["confusion"] == truth["confusion"]
    for key in ("precision", "recall", "f1", "support"):
        # scikit-learn says 0 where we say None.
        ours = [scores[key] or 0 for scores in result["per_class"].values()]
        assert ours == pytest.approx(truth[key], rel=1e-12, abs=1e-12), key


def brute_force_ece(probabilities: np.ndarray, labels: np.ndarray) -> float:
    total = 0.0
    for bin_number in range(15):
        low, high = bin_number / 15, (bin_number + 1) / 15
        inside = [
            (max(row), int(np.argmax(row)) == label)
            for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True)
            if low < max(row) <= high
        ]
        if inside:
            confidence = sum(pair[0] for pair in inside) / len(inside)
            accuracy = sum(pair[1] for pair in inside) / len(inside)
            total += len(inside) / len(labels) * abs(accuracy - confidence)
    return total


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(splits())
def test_agrees_with_sklearn_on_any_split(split: tuple[np.ndarray, np.ndarray, list[int]]) -> None:
    assert_agrees_with_sklearn(*split)


@pytest.mark.parametrize("k", [2, 3, 8, 40])
@pytest.mark.parametrize("errors", [[], [0, 1, 1]])
def test_agrees_with_sklearn_on_realistic_splits(k: int, errors: list[int]) -> None:
    assert_agrees_with_sklearn(*random_split(seed=k, k=k), errors)


def test_macro_f1_and_balanced_accuracy_are_sklearns_defaults() -> None:
    probabilities, labels = random_split(seed=0, n=30, k=8)
    result, predicted = measure(probabilities, labels), probabilities.argmax(axis=1)
    assert result["macro_f1"] == pytest.approx(sklearn.f1_score(labels, predicted, average="macro"))
    assert result["balanced_accuracy"] == pytest.approx(sklearn.balanced_accuracy_score(labels, predicted))


@pytest.mark.parametrize("k", [6, 8, 40])
def test_top5_agrees_with_sklearn(k: int) -> None:
    probabilities, labels = random_split(seed=k, k=k, sharpness=0.3)
    truth = sklearn.top_k_accuracy_score(labels, probabilities, k=5, labels=range(k))
    assert 0 < truth < 1
    assert measure(probabilities, labels)["top5_accuracy"] == pytest.approx(truth, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(splits(min_classes=6))
def test_top5_is_the_first_five_of_a_stable_sort(split: tuple[np.ndarray, np.ndarray, list[int]]) -> None:
    probabilities, labels, errors = split
    hits = 0
    for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True):
        hits += label in sorted(range(len(row)), key=lambda index: -row[index])[:5]
    assert measure(probabilities, labels, errors)["top5_accuracy"] == hits / (len(labels) + len(errors))


def test_top5_is_none_under_six_classes() -> None:
    assert measure(*random_split(seed=1, k=5))["top5_accuracy"] is None
    assert measure(*random_split(seed=1, k=6))["top5_accuracy"] is not None


def test_wilson_interval_of_147_in_153() -> None:
    # By hand with z = 1.959964, z^2 = 3.841459: centre (147 + 1.920729) / 156.841459 = 0.949498;
    # half width 1.959964 / 156.841459 * sqrt(147 * 6 / 153 + 0.960365) = 0.0124965 * 2.593274 = 0.032407.
    low, high = wilson_interval(147, 153) or (math.nan, math.nan)
    assert low == pytest.approx(0.917092, abs=1e-6)
    assert high == pytest.approx(0.981905, abs=1e-6)


@given(st.integers(0, 300), st.integers(1, 300))
def test_wilson_bounds_are_where_the_score_test_is_at_its_limit(correct: int, n: int) -> None:
    correct = min(correct, n)
    interval = wilson_interval(correct, n)
    assert interval is not None
    assert 0 <= interval[0] <= correct / n <= interval[1] <= 1
    for bound in interval:  # (share - p)^2 = z^2 p (1 - p) / n
        assert (correct / n - bound) ** 2 == pytest.approx(3.8414588206941254 * bound * (1 - bound) / n, abs=1e-12)


def test_the_interval_counts_unreadable_images() -> None:
    result = measure([[0.9, 0.1]] * 147 + [[0.1, 0.9]] * 2, [0] * 149, error_labels=[0, 1, 1, 1])
    assert result["n"] == 153
    assert result["accuracy_ci95"] == wilson_interval(147, 153)


def test_ece_with_confidences_exactly_on_bin_edges() -> None:
    # Two classes: confidence is at least 1/2, so the edges 8/15 ... 15/15 can be hit exactly.
    confidences = [edge / 15 for edge in range(8, 16)]
    neighbours = [math.nextafter(edge, direction) for edge in confidences[:-1] for direction in (0, 1)]
    column = np.array(confidences + neighbours)
    probabilities = np.stack([column, 1 - column], axis=1)
    labels = np.arange(len(column)) % 2
    expected = brute_force_ece(probabilities, labels)
    assert measure(probabilities, labels)["ece"] == pytest.approx(expected, rel=1e-12)


def test_an_edge_belongs_to_the_bin_below_it() -> None:
    # 12/15 and 0.79 share a bin, where a hit and a miss cancel in part; in two bins they would add up.
    result = measure([[12 / 15, 3 / 15], [0.79, 0.21]], [0, 1])
    assert result["ece"] == pytest.approx(abs((1 - 12 / 15) + (0 - 0.79)) / 2)


@settings(max_examples=60, deadline=None)
@given(splits())
def test_ece_agrees_with_brute_force(split: tuple[np.ndarray, np.ndarray, list[int]]) -> None:
    probabilities, labels, errors = split
    expected = brute_force_ece(probabilities, labels)
    assert measure(probabilities, labels, errors)["ece"] == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_log_loss_of_a_certain_mistake_is_finite() -> None:
    result = measure([[1.0, 0.0]], [1])
    assert result["log_loss"] == pytest.approx(-math.log(np.finfo(np.float64).eps))


def test_the_first_index_wins_a_tie() -> None:
    result = measure([[0.4, 0.4, 0.2], [0.2, 0.4, 0.4]], [1, 1])
    assert result["confusion"] == [[0, 0, 0], [1, 1, 0], [0, 0, 0]]


def test_majority_accuracy_is_the_share_of_the_largest_class() -> None:
    result = measure([[0.9, 0.1]] * 4, [0, 1, 1, 1], error_labels=[0])
    assert result["majority_accuracy"] == 3 / 5


def test_an_empty_split_is_undefined_not_zero() -> None:
    result = measure(np.empty((0, 7)), [])
    undefined = {"precision": None, "recall": None, "f1": None, "support": 0}
    assert result == {
        **dict.fromkeys(KEYS),
        "interval": "images",
        "n": 0,
        "n_errors": 0,
        "classes": names(7),
        "per_class": dict.fromkeys(names(7), undefined),
        "confusion": [[0] * 7] * 7,
    }


def test_a_split_where_nothing_could_be_read() -> None:
    result = measure(np.empty((0, 7)), [], error_labels=[2, 2, 3])
    assert (result["n"], result["n_errors"]) == (3, 3)
    assert result["accuracy"] == result["balanced_accuracy"] == result["macro_f1"] == result["top5_accuracy"] == 0
    assert result["majority_accuracy"] == 2 / 3
    assert result["log_loss"] is None
    assert result["ece"] is None
    assert result["per_class"]["class2"] == {"precision": None, "recall": 0.0, "f1": 0.0, "support": 2}


def test_only_one_class_present() -> None:
    result = measure([[0.9, 0.1], [0.8, 0.2]], [0, 0])
    assert result["accuracy"] == result["balanced_accuracy"] == result["macro_f1"] == result["majority_accuracy"] == 1
    assert result["per_class"]["class1"] == {"precision": None, "recall": None, "f1": None, "support": 0}


def test_a_class_missing_from_the_split_but_predicted() -> None:
    result = measure([[0.6, 0.3, 0.1], [0.1, 0.3, 0.6], [0.1, 0.8, 0.1]], [0, 0, 1])
    assert result["per_class"]["class2"] == {"precision": 0.0, "recall": None, "f1": 0.0, "support": 0}
    assert result["balanced_accuracy"] == pytest.approx((1 / 2 + 1) / 2)
    assert result["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_a_class_that_is_never_predicted() -> None:
    result = measure([[0.9, 0.1], [0.8, 0.2]], [0, 1])
    assert result["per_class"]["class1"] == {"precision": None, "recall": 0.0, "f1": 0.0, "support": 1}


def test_unreadable_images_are_wrong_but_have_no_prediction() -> None:
    probabilities, labels = random_split(seed=3)
    clean, broken = measure(probabilities, labels), measure(probabilities, labels, [1, 1, 4])
    assert (broken["n"], broken["n_errors"]) == (203, 3)
    assert broken["accuracy"] == pytest.approx(clean["accuracy"] * 200 / 203)
    assert broken["top5_accuracy"] == pytest.approx(clean["top5_accuracy"] * 200 / 203)
    for key in ("confusion", "log_loss", "ece"):
        assert broken[key] == clean[key]
    before, after = clean["per_class"]["class1"], broken["per_class"]["class1"]
    assert after["support"] == before["support"] + 2
    assert after["precision"] == before["precision"]
    assert after["recall"] < before["recall"]
    assert after["f1"] < before["f1"]
    assert broken["per_class"]["class0"] == clean["per_class"]["class0"]


def plain(value: Any) -> bool:
    """Only JSON's own types: `type`, because numpy's float64 is a float by inheritance."""
    if type(value) is dict:
        return all(type(key) is str and plain(item) for key, item in value.items())
    if type(value) is list:
        return all(map(plain, value))
    return value is None or type(value) in (int, float, str)


@settings(max_examples=60, deadline=None)
@given(splits())
def test_is_strict_json_in_the_order_of_the_design(split: tuple[np.ndarray, np.ndarray, list[int]]) -> None:
    result = measure(*split)
    assert list(result) == KEYS
    assert all(list(scores) == ["precision", "recall", "f1", "support"] for scores in result["per_class"].values())
    assert plain(result)
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_correct_count() -> None:
    probabilities, labels = random_split(seed=4)
    count = correct_count(probabilities, labels)
    assert type(count) is int
    assert count == sklearn.accuracy_score(labels, probabilities.argmax(axis=1), normalize=False)
    assert correct_count(np.empty((0, 2)), np.empty(0, dtype=np.int64)) == 0


def test_half_precision_softmax_is_accepted() -> None:
    probabilities, labels = random_split(seed=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measure(probabilities.astype(np.float16), labels)


@pytest.mark.parametrize(
    ("probabilities", "labels", "classes", "errors", "message"),
    [
        ([[0.5, 0.5]], [0, 1], ["a", "b"], (), r"probabilities \(1, 2\) do not fit \(2,\) labels of 2 classes"),
        ([[0.5, 0.5]], [0], ["a", "b", "c"], (), r"probabilities \(1, 2\) do not fit \(1,\) labels of 3 classes"),
        ([[0.5, 0.5]], [[0]], ["a", "b"], (), r"probabilities \(1, 2\) do not fit \(1, 1\) labels of 2 classes"),
        ([[0.5, 0.5]], [0], ["a", "a"], (), "classes must be one or more distinct names"),
        ([[]], [0], [], (), "classes must be one or more distinct names"),
        ([[0.5, 0.5]], [0.0], ["a", "b"], (), "labels are integers, not float64"),
        ([[0.5, 0.5]], [2], ["a", "b"], (), r"a label lies outside 0\.\.1"),
        ([[0.5, 0.5]], [-1], ["a", "b"], (), r"a label lies outside 0\.\.1"),
        ([[0.5, 0.5]], [0], ["a", "b"], [2], r"a label lies outside 0\.\.1"),
        ([[0.5, math.nan]], [0], ["a", "b"], (), "each row of probabilities must be finite"),
        ([[0.5, math.inf]], [0], ["a", "b"], (), "each row of probabilities must be finite"),
        ([[-0.5, 1.5]], [0], ["a", "b"], (), "not negative"),
        ([[3.0, 1.0]], [0], ["a", "b"], (), "sum to 1"),
    ],
)
def test_a_callers_mistake_is_an_error(
    probabilities: Any, labels: Any, classes: list[str], errors: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(np.array(probabilities), Truth(np.array(labels), errors), classes)


def test_groups_are_of_all_images_and_make_the_interval_one_over_groups() -> None:
    probabilities, labels = random_split(seed=6, n=60, k=3)
    groups = [f"patient {row % 12}" for row in range(62)]
    truth = Truth(labels, [0, 1], groups)
    found = evaluate(probabilities, truth, names(3))
    right = np.append(probabilities.argmax(axis=1) == labels, [False, False])
    assert (found["interval"], found["n_groups"], found["n"]) == ("groups", 12, 62)
    assert found["accuracy_ci95"] == group_interval(right, np.arange(62) % 12)
    few = evaluate(probabilities, Truth(labels, [0, 1], [name[-1] for name in groups]), names(3))
    assert (few["n_groups"], few["accuracy_ci95"] is None) == (10, False)
    fewer = evaluate(probabilities, Truth(labels, [0, 1], ["a", "b"] * 31), names(3))
    assert (fewer["interval"], fewer["n_groups"], fewer["accuracy_ci95"]) == ("groups", 2, None)
    assert fewer["accuracy"] == found["accuracy"]
    with pytest.raises(ValueError, match=r"61 groups are not those of 60 \+ 2 images"):
        evaluate(probabilities, Truth(labels, [0, 1], groups[:-1]), names(3))


def test_the_worst_class_and_the_most_frequent_mistake() -> None:
    labels = [0] * 4 + [1] * 4 + [2] * 2
    predicted = [0, 0, 0, 1, 1, 1, 1, 1, 2, 0]
    found = measure(np.eye(4)[predicted], labels, error_labels=[2, 2])
    assert found["worst_class"] == {"class": "class2", "recall": 0.25, "hits": 1, "support": 4}
    assert found["most_confused"] == {"true": "class0", "predicted": "class1", "count": 1, "support": 4}
    more = measure(np.eye(3)[[1, 1, 0, 0, 2, 0]], [0, 0, 0, 1, 1, 2])
    assert more["most_confused"] == {"true": "class0", "predicted": "class1", "count": 2, "support": 3}
    smaller = measure(np.eye(3)[[1, 0, 0, 1, 0]], [0, 0, 0, 1, 2])
    assert smaller["most_confused"] == {"true": "class2", "predicted": "class0", "count": 1, "support": 1}
    right = measure(np.eye(3), [0, 1, 2])
    assert (right["worst_class"], right["most_confused"]) == (None, None)
    unread = measure(np.eye(3), [0, 1, 2], error_labels=[1])
    assert (unread["worst_class"]["class"], unread["most_confused"]) == ("class1", None)
    tied = measure(np.eye(2)[[1, 1, 0]], [0, 0, 1])
    assert tied["worst_class"] == {"class": "class0", "recall": 0.0, "hits": 0, "support": 2}


def test_above_a_hundred_classes_there_is_no_square_and_all_else_is_as_before() -> None:
    probabilities, labels = random_split(seed=7, n=300, k=101, sharpness=4)
    found = measure(probabilities, labels, [3])
    truth = sklearn_truth(probabilities, labels, [3])
    assert found["confusion"] is None
    for key in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert found[key] == pytest.approx(truth[key], rel=1e-12)
    square = np.array(truth["confusion"])
    np.fill_diagonal(square, 0)
    assert found["most_confused"]["count"] == square.max()
    assert measure(*random_split(seed=7, n=300, k=100))["confusion"] is not None


def test_three_thousand_classes_take_little_time_and_memory() -> None:
    labels = np.arange(3000)
    probabilities = np.full((3000, 3000), 0.5 / 3000)
    probabilities[labels, (labels + (labels % 2)) % 3000] += 0.5
    tracemalloc.start()
    start = time.perf_counter()
    found = measure(probabilities, labels)
    seconds, (_, peak) = time.perf_counter() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found["accuracy"] == 0.5
    assert len(json.dumps(found)) < 1_000_000
    assert peak < 4 * probabilities.nbytes
    assert seconds < 10
