"""Names in Markdown: shown as they are, by a parser of Markdown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from featcli.text import printable
from featcli.writers.markdown import commands, named, plain, table

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
NAMES = [
    "wea|sels", "`x`", "``` y", "<script>alert(1)</script>", "<!-- x", "-->", "a\nb", "# c", "**d**", "__e__", "[f](g)",
    "![h](i)", "\\", "\\|", "~~j~~", "&amp;", "<https://k.example>", "$l$", "\x1b[31m", "\u202egnp", "snake_case_name",
    "_m_", "-", "1. n", "---", "@owner", "犬|猫", "\udcff",
]  # fmt: skip


def texts(markdown: str) -> list[str]:
    """The text of each inline element; whatever is not plain text is named by its type."""
    return [
        "".join(child.content if child.type == "text" else f"<{child.type}>" for child in token.children or [])
        for token in PARSER.parse(markdown)
        if token.type == "inline"
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_as_it_is(name: str) -> None:
    shown = printable(name)
    assert texts(f"class {plain(name)} end") == [f"class {shown} end"]
    assert texts("\n".join(table(["class", "n"], [[plain(name), "1"]]))) == ["class", "n", shown, "1"]
    assert texts(f"- class {named(name)}: x") == [f"class {shown}: x"]


@given(st.text(min_size=1, max_size=20))
def test_any_name_is_one_cell(name: str) -> None:
    assert texts("\n".join(table(["class", "n"], [[f"x{plain(name)}x", "1"]]))) == [
        "class",
        "n",
        f"x{printable(name)}x",
        "1",
    ]


def test_a_long_name_is_shortened_before_it_is_escaped() -> None:
    assert texts(named("`" * 200)) == ["`" * 29 + "..." + "`" * 28]


@pytest.mark.parametrize("line", ["featcli predict 'a```b' X", "featcli predict '````' X", "a\n```\nb", "plain"])
def test_nothing_ends_a_block_of_commands(line: str) -> None:
    (fence,) = (token for token in PARSER.parse("\n".join(commands([line]))) if token.type != "paragraph")
    assert (fence.type, fence.content) == ("fence", printable(line) + "\n")


def test_a_table_without_rows_is_none() -> None:
    assert table(["a"], []) == []
