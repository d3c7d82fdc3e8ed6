"""Whether a file predicts what its checkpoint predicts."""

import numpy as np

from featcli.export.agreement import TOLERANCE, compare


def test_the_same_predictions() -> None:
    predictions = np.array([[0.7, 0.3], [0.2, 0.8]])
    found = compare(predictions, predictions + 1e-6, TOLERANCE)
    assert (found.images, found.labels, found.ties, found.differing) == (2, 2, [], [])
    assert abs(found.largest - 1e-6) < 1e-12


def test_a_probability_that_moved_is_a_difference_also_under_the_same_label() -> None:
    expected = np.array([[0.7, 0.3], [0.2, 0.8], [0.6, 0.4]])
    found = compare(expected, expected + np.array([[2e-4, -2e-4], [0, 0], [0.1, -0.1]]), TOLERANCE)
    assert (found.labels, list(found.differing)) == (3, [2, 0])


def test_of_two_that_are_as_good_as_equal_either_may_be_the_label() -> None:
    expected = np.array([[0.50002, 0.49998], [0.5002, 0.4998]])
    found = compare(expected, expected[:, ::-1], TOLERANCE)
    assert (found.labels, found.ties, list(found.differing)) == (0, [0], [1])


def test_a_label_that_moved_far_is_no_tie() -> None:
    found = compare(np.array([[0.50002, 0.49998]]), np.array([[0.4, 0.6]]), TOLERANCE)
    assert (found.ties, list(found.differing)) == ([], [0])


def test_what_is_not_finite_agrees_with_nothing() -> None:
    expected = np.array([[0.7, 0.3], [0.7, 0.3]])
    found = compare(expected, np.array([[np.nan, 0.3], [0.7, 0.3]]), TOLERANCE)
    assert (found.labels, list(found.differing), found.largest) == (1, [0], 1.0)
    assert not compare(expected, np.full((2, 2), np.nan), 1.0).labels
