"""`check --deep`, `data.exclude` of what it wrote, and what `train-head` says of leaks by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from featcli.analysis.suspects import KINDS
from tests.cli.lab import SMALL, Lab, read_csv, strict_json
from tests.process import ForkServer
from tests.scenes import scene

MIRROR = Image.Transpose.FLIP_LEFT_RIGHT


@pytest.fixture(scope="module")
def scenes(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Pictures in train and val; copies, a blank one and a tiny one are planted among them."""
    folder = tmp_path_factory.mktemp("scenes")
    seed = 0
    for split, count in (("train", 24), ("val", 14)):
        for name in ("cats", "dogs"):
            place = folder / "data" / split / name
            place.mkdir(parents=True)
            for index in range(count):
                scene(seed).save(place / f"{index:02d}.png")
                seed += 1
    data = folder / "data"
    scene(3).transpose(MIRROR).save(data / "val" / "cats" / "mirrored.jpg", quality=85)
    scene(4).crop((16, 12, 304, 228)).save(data / "train" / "dogs" / "cropped.png")
    (data / "train" / "cats" / "again.png").write_bytes((data / "train" / "cats" / "05.png").read_bytes())
    Image.new("RGB", (320, 240), (250, 250, 250)).save(data / "train" / "cats" / "blank.png")
    scene(999, (40, 32)).save(data / "train" / "dogs" / "tiny.png")
    return Lab(server, folder)


def check(lab: Lab, *arguments: str | Path):  # type: ignore[no-untyped-def]
    return lab("check", *SMALL, "--set", "data.root=data", "--deep", *arguments)


def test_what_is_planted_is_found_and_can_be_left_out(scenes: Lab) -> None:
    done = check(scenes)
    assert done.code == 0, done.stderr
    rows = read_csv(scenes.folder / "issues.csv")
    root = scenes.folder / "data"
    pairs = {
        (row["kind"], str(Path(row["path"]).relative_to(root)), str(Path(row["partner"]).relative_to(root)))
        for row in rows
        if row["kind"] in ("leak", "conflict", "duplicate")
    }
    assert pairs == {
        ("leak", "val/cats/mirrored.jpg", "train/cats/03.png"),
        ("conflict", "train/dogs/cropped.png", "train/cats/04.png"),
        ("duplicate", "train/cats/again.png", "train/cats/05.png"),
    } or pairs == {
        ("leak", "val/cats/mirrored.jpg", "train/cats/03.png"),
        ("conflict", "train/cats/04.png", "train/dogs/cropped.png"),
        ("duplicate", "train/cats/again.png", "train/cats/05.png"),
    }
    odd = {(row["kind"], Path(row["path"]).name) for row in rows if row["kind"] in ("blank", "dark", "tiny", "shape")}
    assert odd == {("blank", "blank.png"), ("tiny", "tiny.png")}
    assert {row["exclude"] for row in rows} == {""}
    assert "suspicions\n  leaks       1 on two sides of a split\n" in done.text
    assert "val/cats/mirrored.jpg = train/cats/03.png: mirrored, correlation" in done.text
    assert "written     issues.csv: write yes in its column exclude, then --set data.exclude=issues.csv" in done.text

    table = (scenes.folder / "issues.csv").read_text()
    marked = "".join(
        line.rstrip("\n") + ("yes\n" if ",blank," in line or ",leak," in line else "\n")
        for line in table.splitlines(keepends=True)
    )
    (scenes.folder / "issues.csv").write_text(marked)
    plan = scenes("check", *SMALL, "--set", "data.root=data", "--set", "data.exclude=issues.csv", "--json")
    assert plan.code == 0, plan.stderr
    assert strict_json(plan.text)["splits"]["counts"] == {"train": [25, 26], "val": [14, 14]}
    assert "left out by issues.csv: 2 of 81 images" in plan.stderr
    again = check(scenes, "--set", "data.exclude=issues.csv")
    assert again.code == 0
    kept = [row for row in read_csv(scenes.folder / "issues.csv") if row["exclude"] == "yes"]
    assert sorted(row["kind"] for row in kept) == ["blank", "leak"], "marks stay, so that what is left out stays out"
    (scenes.folder / "issues.csv").unlink()


def test_the_same_twice_gives_the_same_bytes(scenes: Lab) -> None:
    written = []
    for name in ("one.csv", "two.csv"):
        assert check(scenes, "-o", name).code == 0
        written.append((scenes.folder / name).read_bytes())
    assert written[0] == written[1]


def test_as_json(scenes: Lab) -> None:
    done = check(scenes, "--json", "-o", "out.csv")
    deep = strict_json(done.text)["deep"]
    assert deep["counts"]["leak"] == 1
    assert [burst["images"] for burst in deep["bursts"]] == [2, 2, 2]
    assert deep["issues"] == "out.csv"


def test_to_standard_output_goes_the_table_alone(scenes: Lab) -> None:
    done = check(scenes, "-o", "-")
    assert done.code == 0
    assert done.text.startswith("path,kind,partner,score,why,exclude\n")
    rows = read_csv(scenes.write("copy.csv", done.text))
    assert len(done.text.splitlines()) == 1 + len(rows)
    assert {row["kind"] for row in rows} <= set(KINDS), "and no line of the plan"
    done = check(scenes, "-o", "-", "--json")
    assert (done.code, done.stdout) == (2, b"")
    done = check(scenes, "-o", "data")
    assert (done.code, done.stderr.startswith("error: data is a folder\n")) == (2, True)


def test_a_file_of_ones_own_is_not_replaced(scenes: Lab) -> None:
    scenes.write("notes.csv", "a,b\n1,2\n")
    done = check(scenes, "-o", "notes.csv")
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr.startswith("error: notes.csv is no table of suspicious images\n")
    assert (scenes.folder / "notes.csv").read_text() == "a,b\n1,2\n"
    bad = scenes.write("bad.csv", "path,exclude\na.jpg,maybe\n")
    done = check(scenes, "-o", bad.name)
    assert (done.code, "bad.csv: line 2: exclude is 'maybe', and neither yes nor no" in done.stderr) == (2, True)
    done = scenes("check", *SMALL, "--set", "data.root=data", "-o", "x.csv")
    assert (done.code, "--deep" in done.stderr) == (2, True)
    done = scenes("check", *SMALL, "--set", "data.root=data", "--set", "data.exclude=bad.csv")
    assert (done.code, "data.exclude" in done.stderr, "neither yes nor no" in done.stderr) == (2, True, True)


def test_train_head_warns_of_leaks_and_measures_without_them(scenes: Lab) -> None:
    done = scenes.train(data="data", output="leaky")
    assert done.code == 0, done.stderr
    data = scenes.folder / "data"
    warned = (
        f"warning: 1 of 29 images of val are in train too, so that the accuracy is partly memory: "
        f"{data}/val/cats/mirrored.jpg is {data}/train/cats/03.png, mirrored, correlation "
    )
    assert warned in done.stderr
    memory = strict_json((scenes.folder / "leaky" / "metrics.json").read_text())["memory"]["val"]
    assert (memory["n"], memory["leaks"], memory["compared"], memory["leak_free"]["n"]) == (29, 1, 29, 28)
    wrong = [row for row in read_csv(scenes.folder / "leaky" / "predictions.csv") if row["label"] != row["true_label"]]
    honest = [row for row in wrong if "mirrored" not in row["path"]]
    assert memory["leak_free"]["accuracy"] == pytest.approx(1 - len(honest) / 28)
    curve = memory["distance_curve"]
    assert [point["n"] for point in curve] == [6, 6, 6, 6, 5]
    assert sum(point["n"] * (1 - point["accuracy"]) for point in curve) == pytest.approx(len(wrong))
    bounds = [bound for point in curve for bound in point["distance"]]
    assert bounds == sorted(bounds)
    assert f"leak-free accuracy {memory['leak_free']['accuracy']:.3f}" in done.stderr


def test_without_leaks_nothing_is_said_of_them(lab: Lab) -> None:
    done = lab.train(data="split")
    assert done.code == 0
    assert "leak" not in done.stderr
    memory = strict_json((lab.folder / "run" / "metrics.json").read_text())["memory"]
    assert {split: facts["leaks"] for split, facts in memory.items()} == {"val": 0, "test": 0}
    assert memory["val"]["distance_curve"] is None
