"""Nothing of a run becomes markup."""

from __future__ import annotations

import json

import pytest

from featcli.report.markup import Html, escaped, joined, number, script_data, tag

NASTY = "</script><b a=\"x\" b='y'>&\n\x1b\u202e\u2028\udce9"


def test_text_is_escaped_and_can_be_read() -> None:
    found = escaped(NASTY)
    assert found == "&lt;/script&gt;&lt;b a=&quot;x&quot; b=&#x27;y&#x27;&gt;&amp;\\n\\x1b\\u202e\\u2028\\xe9"
    assert escaped(found) is found, "once"
    assert found.__html__() == found
    found.encode("utf-8")


def test_elements() -> None:
    assert tag("a", "1 < 2", tag("b", "&"), class_="x", data_t=None, aria_label='"') == (
        '<a class="x" aria-label="&quot;">1 &lt; 2<b>&amp;</b></a>'
    )
    assert tag("rect", x=1.25, width=3) == '<rect x="1.2" width="3"/>'
    assert isinstance(joined("<", tag("i", "")), Html) and joined("<", tag("i", "")) == "&lt;<i></i>"


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (-0.01, "0"), (12.0, "12"), (12.34, "12.3"), (100.0, "100"), (-2.5, "-2.5")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


def test_data_of_a_script_cannot_end_it() -> None:
    found = script_data({NASTY: [1, None, "<!--"]})
    assert not set("<>&") & set(found) and found.isascii()
    assert json.loads(found) == {NASTY: [1, None, "<!--"]}
