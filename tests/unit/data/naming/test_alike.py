from __future__ import annotations

from collections.abc import Sequence

import pytest

from featcli.data.naming.alike import describe_alike
from featcli.events import Event, Warn


def said(classes: Sequence[str]) -> list[str]:
    events: list[Event] = []
    describe_alike(classes, events.append)
    assert all(isinstance(event, Warn) for event in events)
    return [event.text.partition("told apart: ")[2] for event in events if isinstance(event, Warn)]


@pytest.mark.parametrize(
    ("classes", "alike"),
    [
        (["Cats", "cats", "dogs"], "'Cats' and 'cats'"),
        (["0", "0.0", "1", "1.0"], "'0' and '0.0', '1' and '1.0'"),
        (["FALSE", "False", "TRUE", "True"], "'FALSE' and 'False', 'TRUE' and 'True'"),
        (["red fox", "red_fox", "red-fox "], "'red fox', 'red_fox' and 'red-fox '"),
        (["1", "01", "10", "1e1"], "'1' and '01', '10' and '1e1'"),
        (["caf\u00e9", "Caf\u00e9"], "'caf\u00e9' and 'Caf\u00e9'"),
    ],
)
def test_names_that_are_almost_the_same_are_said(classes: Sequence[str], alike: str) -> None:
    assert said(classes) == [alike]


def test_names_that_differ_are_not() -> None:
    assert said(["cat", "cats", "1", "-1", "10", "NaN", "Infinity", "!", "?", "\u732b", "\u72ac", "a1", "a2"]) == []
