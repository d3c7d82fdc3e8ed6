from __future__ import annotations

import pytest

from featcli.units import count_text, duration_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "under a second"), (0.94, "under a second"), (0.96, "about 1 s"), (119.0, "about 119 s"),
     (121.0, "about 2 min"), (7199.0, "about 120 min"), (7201.0, "about 2.0 h")],
)  # fmt: skip
def test_durations_in_words(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_counts_agree_with_their_words() -> None:
    assert [count_text(number, "step") for number in (0, 1, 2, 1000)] == ["0 steps", "1 step", "2 steps", "1,000 steps"]
