"""`MODEL_CARD.md` of a run: written with it, the same for equal runs, and what its owner writes is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.cli.lab import RUN_FILES, TUNED_FILES, Lab, names, strict_json

pytestmark = pytest.mark.slow

USE = "To be filled in by the owner: what the model is for, and who uses it."
LICENCE = "# license: other"
CARD = "MODEL_CARD.md"


def text_of(lab: Lab, run: str = "run") -> str:
    return (lab.folder / run / CARD).read_text()


def change(lab: Lab, before: str, after: str, run: str = "run") -> str:
    path = lab.folder / run / CARD
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    return path.read_text()


def test_a_run_has_a_card_of_its_numbers(lab: Lab) -> None:
    assert lab.train(data="split").code == 0
    card, metrics = text_of(lab), strict_json((lab.folder / "run/metrics.json").read_text())
    assert f"| images | {metrics['val']['n']} | {metrics['test']['n']} |" in card
    assert f"sha256 `{metrics['checkpoint_sha256']}`" in card
    assert "| cats | 6 | 3 | 2 |" in card
    assert "featcli predict run NEW_PHOTOS\n" in card
    assert str(lab.folder) not in card
    assert yaml.safe_load(card.split("---\n")[1])["library_name"] == "featcli"


def test_equal_runs_have_equal_cards(lab: Lab, tmp_path: Path) -> None:
    assert lab.train().code == 0
    first = text_of(lab)
    assert lab.train("--workers", "1").code == 0
    assert text_of(lab) == first
    assert lab.train(output="elsewhere/run").code == 0
    assert text_of(lab, "elsewhere/run") == first


def test_what_the_owner_wrote_is_kept_when_the_run_is_repeated(lab: Lab) -> None:
    assert lab.train().code == 0
    change(lab, USE, "For the cats of *my* street.\n\nNobody else's.")
    mine = change(lab, LICENCE, "license: mit")
    done = lab.train()
    assert done.code == 0
    assert "note: MODEL_CARD.md: what its owner wrote is kept: metadata and intended use\n" in done.stderr
    assert text_of(lab) == mine
    assert names(lab.folder / "run") == RUN_FILES

    done = lab.train("--overwrite", "--set", "head.C=7")
    assert done.code == 0
    again = text_of(lab)
    assert "logistic, C 7" in again
    assert "For the cats of *my* street.\n\nNobody else's.\n" in again
    assert yaml.safe_load(again.split("---\n")[1])["license"] == "mit"


@pytest.mark.parametrize("text", ["# My own card\n\nWritten before.\n", ""])
def test_a_card_of_somebody_else_is_put_aside(lab: Lab, text: str) -> None:
    lab.write(f"run/{CARD}", text)
    done = lab.train("--overwrite")
    assert done.code == 0
    (aside,) = set(names(lab.folder / "run")) - set(RUN_FILES)
    assert f"warning: MODEL_CARD.md was changed outside its owner's parts: it is kept as {aside}, and made anew\n" in (
        done.stderr
    )
    assert (lab.folder / "run" / aside).read_text() == text
    assert "# run: an image classifier of 2 classes\n" in text_of(lab)
    done = lab.train()
    assert (done.code, "MODEL_CARD" in done.stderr) == (0, False)
    assert sorted([*RUN_FILES, aside]) == names(lab.folder / "run")


def test_a_line_changed_elsewhere_is_put_aside_and_the_owner_s_parts_are_kept(lab: Lab) -> None:
    assert lab.train().code == 0
    change(lab, USE, "Mine.")
    mine = change(lab, "## Limits", "## No limits")
    done = lab.train()
    (aside,) = set(names(lab.folder / "run")) - set(RUN_FILES)
    assert f"it is kept as {aside}, and made anew" in done.stderr
    assert (lab.folder / "run" / aside).read_text() == mine
    assert "## Limits\n" in text_of(lab)
    assert "\nMine.\n" in text_of(lab)


def test_a_card_that_is_no_utf8_keeps_its_bytes(lab: Lab) -> None:
    assert lab.train().code == 0
    path = lab.folder / "run" / CARD
    path.write_bytes(path.read_bytes().replace(USE.encode(), b"caf\xe9"))
    mine = path.read_bytes()
    assert lab.train().code == 0
    assert path.read_bytes() == mine


def test_an_unfinished_run_has_no_card_of_the_checkpoint_before(lab: Lab) -> None:
    """A training that ends between the checkpoint and its card."""
    assert lab.train().code == 0
    broken = lab.preload(
        "import featcli.runs.folder as folder\n"
        "def fail(*arguments):\n    raise KeyboardInterrupt\n"
        "folder.Run.write_predictions = fail\n"
    )
    assert lab.train("--overwrite", "--set", "head.C=3", preload=broken).code == 130
    assert CARD not in names(lab.folder / "run")
    assert lab.train("--overwrite").code == 0

    mine = change(lab, USE, "Mine.")
    assert lab.train("--overwrite", "--set", "head.C=3", preload=broken).code == 130
    assert text_of(lab) == mine
    assert lab.train("--overwrite").code == 0
    assert text_of(lab) == mine


def test_a_fine_tuning_has_a_card_that_says_what_is_optimistic(lab: Lab) -> None:
    assert lab.finetune().code == 0
    assert names(lab.folder / "run") == TUNED_FILES
    card = text_of(lab)
    assert "the best of epochs 0 to 2 on these images: optimistic" in card
    assert "| frozen | 4 of 9 stages |" in card
    change(lab, USE, "Mine.")
    assert lab.finetune().code == 0
    assert text_of(lab) == card.replace(USE, "Mine.")


def test_a_card_that_cannot_be_written_is_told(lab: Lab) -> None:
    (lab.folder / "run" / CARD).mkdir(parents=True)
    done = lab.train("--overwrite")
    assert done.code == 4
    assert f"error: cannot write {lab.folder}/run/{CARD}: Is a directory\n" in done.stderr
    assert "metrics.json" not in names(lab.folder / "run")


def test_names_of_classes_do_nothing_in_a_card(lab: Lab) -> None:
    for old, new in (("cats", "<b>|cats"), ("dogs", "`dogs\n---")):
        (lab.folder / "photos" / old).rename(lab.folder / "photos" / new)
    assert lab.train().code == 0
    card = text_of(lab)
    assert "| \\<b\\>\\|cats | 6 | 2 |" in card
    assert "| \\`dogs\\\\n\\-\\-\\- | 6 | 2 |" in card
    assert lab.train().code == 0
    assert text_of(lab) == card
