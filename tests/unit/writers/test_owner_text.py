"""What an owner writes into a card: told from what was made, and carried over."""

from __future__ import annotations

import pytest
import yaml

from featcli.writers.owner_text import owner_part, read_edits, sealed, with_parts


def card(accuracy: float = 0.9, use: str = "To be filled in: use.") -> str:
    return sealed(
        "\n".join(
            [
                "---",
                "library_name: featcli",
                owner_part("metadata", "# license: other", comment=True),
                "---",
                "",
                f"Accuracy {accuracy}",
                "",
                owner_part("intended-use", use),
                "",
                owner_part("licence", "To be filled in: licence."),
            ]
        )
    )


def test_a_card_as_it_was_made_has_no_edits() -> None:
    assert not read_edits(card())
    assert not read_edits(card(use="Several\n\nlines"))


def test_what_an_owner_wrote_is_found_and_carried_over() -> None:
    mine = card().replace("To be filled in: use.", "For *my* cats.\n\n<b>Only</b> mine.")
    mine = mine.replace("# license: other", "license: mit\nlanguage: en")
    edits = read_edits(mine)
    assert dict(edits.parts) == {
        "metadata": "license: mit\nlanguage: en\n", "intended-use": "For *my* cats.\n\n<b>Only</b> mine.\n",
    }  # fmt: skip
    assert not edits.elsewhere
    again = with_parts(card(0.95), edits.parts)
    assert again == mine.replace("0.9", "0.95").replace(mine.split("featcli:card ")[1], again.split("featcli:card ")[1])
    assert read_edits(again) == edits
    assert with_parts(card(0.95), read_edits(again).parts) == again
    assert yaml.safe_load(again.split("---")[1]) == {"library_name": "featcli", "license": "mit", "language": "en"}


def test_a_part_that_was_emptied_stays_empty() -> None:
    emptied = card().replace("To be filled in: use.\n", "")
    assert read_edits(emptied).parts == {"intended-use": ""}
    assert read_edits(with_parts(card(0.95), {"intended-use": ""})).parts == {"intended-use": ""}


def test_another_wording_of_what_is_left_to_the_owner_is_no_edit() -> None:
    before = read_edits(card(use="In other words."))
    assert not before
    assert "To be filled in: use." in with_parts(card(), before.parts)


def test_line_ends_of_another_system_are_no_edit() -> None:
    assert not read_edits("\ufeff" + card().replace("\n", "\r\n"))
    assert not read_edits(card() + "\n\n")


@pytest.mark.parametrize(
    "changed",
    [
        card().replace("Accuracy 0.9", "Accuracy 1.0"),
        card() + "\nA last word.\n",
        "A first word.\n" + card(),
        card().replace("<!-- featcli:end -->", "", 1),
        card().replace("featcli:owner intended-use", "featcli:owner unintended-use"),
        card()[:-40],
        "# Somebody else's card\n",
        "",
    ],
)
def test_a_change_elsewhere_is_seen(changed: str) -> None:
    assert read_edits(changed).elsewhere
    assert read_edits(changed)


def test_an_owner_cannot_break_out_of_a_part_unseen() -> None:
    mine = card().replace("To be filled in: use.", "Mine\n<!-- featcli:end -->\nmore")
    assert read_edits(mine).elsewhere


def test_text_that_is_a_pattern_is_carried_as_it_is() -> None:
    text = r"\1 \g<0> $& {name}" + "\n"
    assert text in with_parts(card(), {"intended-use": text})
