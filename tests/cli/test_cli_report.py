"""`featcli report`: one self-contained page of a run, or of several; what is wrong with a run is said, not hidden."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.cli.lab import SMALL, Lab, cut, names, read_csv, strict_json, tree
from tests.process import ForkServer

pytestmark = pytest.mark.slow

MOST_BYTES = 5_000_000
# Of a solved head with one C, which has no curve of its training.
SECTIONS = [
    "headline", "matters", "mistakes", "confusion", "classes", "detection", "reliability", "coverage", "map",
    "suspects", "made",
]  # fmt: skip
VOID = {"meta", "link", "img", "br", "line", "path", "circle", "rect", "input"}


class Page(HTMLParser):
    """A page as a browser's parser would see it: its elements, the text of each, and whether all of them are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(path: Path) -> tuple[str, Page]:
    """The text of a page, which is whole, of a fair size, and asks for nothing outside itself."""
    data = path.read_bytes()
    assert len(data) < MOST_BYTES
    text = data.decode("utf-8")
    page = Page(text)
    assert page.open == []
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:")), attributes
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"url\(|@import|//[a-z]", re.sub(r"<(script|p|pre|dd)\b.*?</\1>", "", text, flags=re.DOTALL))
    assert all(image["alt"] for image in page.all("img"))
    idents = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(idents) == len(set(idents))
    return text, page


def sections(text: str) -> list[str]:
    return re.findall(r'<section[^>]* aria-labelledby="r1-(\w+)"', text)


def sentences(text: str) -> list[str]:
    return [html.unescape(found) for found in re.findall(r'<li data-kind="\w+">(.*?)</li>', text)]


@pytest.fixture(scope="module")
def runs(server: ForkServer, tmp_path_factory: pytest.TempPathFactory, make_folder: Callable[..., Path]) -> Lab:
    """Runs `a`, `b` of another C, `mlp`, and on other images `three-run` and `all`, without validation."""
    lab = Lab(server, tmp_path_factory.mktemp("reports"))
    make_folder(lab.folder / "photos/train", {"cats": 12, "dogs": 12})
    make_folder(lab.folder / "photos/val", {"cats": 8, "dogs": 8}, start=30)
    shutil.move(lab.folder / "photos/val/cats/30.png", lab.folder / "photos/val/dogs/wrong.png")
    shutil.move(lab.folder / "photos/train/cats/00.png", lab.folder / "photos/train/dogs/false.png")
    make_folder(lab.folder / "three", {"cats": 10, "dogs": 10, "foxes": 10}, start=60)
    store = ("--cache", lab.folder / "cache")
    for output, more in (
        ("a", ()),
        ("b", ("--C", "0.0001")),
        ("mlp", ("--head", "mlp", "--epochs", "2")),
    ):
        done = lab.train(*store, *more, output=output)
        assert done.code == 0, done.stderr
    for output, more in (("three-run", ()), ("all", ("--set", "data.val_fraction=0"))):
        done = lab.train(*store, *more, data="three", output=output)
        assert done.code == 0, done.stderr
    return lab


@pytest.fixture
def copies(runs: Lab, tmp_path: Path, server: ForkServer) -> Lab:
    """The same, to be damaged."""
    shutil.copytree(runs.folder, tmp_path / "lab")
    return Lab(server, tmp_path / "lab")


def report(lab: Lab, *arguments: str | Path, code: int = 0) -> str:
    """Runs the command, and gives what it says on stderr."""
    done = lab("report", *arguments, "--cache", lab.folder / "cache")
    assert done.code == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_the_page_of_a_run(runs: Lab) -> None:
    before = tree(runs.folder / "a")
    done = runs("report", "a", "--cache", runs.folder / "cache")
    assert (done.code, done.text) == (0, "a/report.html\n")
    after = tree(runs.folder / "a")
    assert {name for name in after if after[name] != before.get(name)} <= {".", "report.html"}
    text, page = page_of(runs.folder / "a/report.html")
    assert sections(text) == SECTIONS
    metrics = strict_json((runs.folder / "a/metrics.json").read_text())["val"]
    assert f"<strong>{100 * metrics['accuracy']:.1f} %</strong>" in text
    assert f"{100 * metrics['accuracy_ci95'][0]:.1f} % to {100 * metrics['accuracy_ci95'][1]:.1f} %" in text
    assert len(sentences(text)) == 3
    assert page.all("img")[0]["alt"] == "dogs/wrong.png: dogs, taken for cats"
    (runs.folder / "a/report.html").unlink()


def test_mistakes_are_those_of_predictions_csv_the_surest_first(runs: Lab, tmp_path: Path) -> None:
    report(runs, "b", "-o", tmp_path / "b.html")
    text, _ = page_of(tmp_path / "b.html")
    rows = [row for row in read_csv(runs.folder / "b/predictions.csv") if row["label"] != row["true_label"]]
    wanted = [row["path"] for row in sorted(rows, key=lambda row: (-float(row["confidence"]), row["path"]))]
    shown = text.split("most confident mistakes")[1].split("</section>")[0].split("least confident hits")[0]
    assert re.findall(r'<span class="path" title="([^"]*)"', shown) == wanted[:24]
    assert wanted


def test_the_same_inputs_give_the_same_bytes_wherever_one_stands(runs: Lab, tmp_path: Path) -> None:
    report(runs, "a", "-o", tmp_path / "one.html")
    report(runs, runs.folder / "a" / "checkpoint.safetensors", "-o", tmp_path / "two.html", "--workers", "1")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_several_runs_side_by_side(runs: Lab, tmp_path: Path) -> None:
    said = runs("report", "a", "b", "a", "--json", "--cache", runs.folder / "cache")
    assert said.code == 0 and "named more than once" in said.stderr
    facts = strict_json(said.stdout)
    assert facts["report"] == "report.html"
    assert [len(run["sentences"]) for run in facts["runs"]] == [3, 3]
    text, page = page_of(runs.folder / "report.html")
    assert len([item for item in page.all("details") if item["class"] == "run"]) == 2
    both = strict_json(runs("diff", "a", "b", "--json").stdout)["accuracy"]
    assert f"<td>{both['only_first']}</td><td>{both['only_second']}</td>" in text
    assert f"{100 * both['ci95'][0]:+.1f} to {100 * both['ci95'][1]:+.1f}" in text
    assert f"<td>{both['p']:.3f}</td>" in text
    assert re.search(r"<code>head.C</code></th><td>1.0</td><td>0.0001</td>", text)
    (runs.folder / "report.html").unlink()


def test_runs_of_other_images_and_classes_are_shown_and_said_not_to_be_comparable(runs: Lab, tmp_path: Path) -> None:
    report(runs, "a", "three-run", "mlp", "all", "-o", tmp_path / "side.html")
    text, _ = page_of(tmp_path / "side.html")
    assert "The classes differ, so accuracies are of different questions; of three-run alone: foxes." in text
    assert "a and three-run held out no image in common" in text
    assert "(a: validation; three-run: validation; mlp: validation; all: held-out training)" in text


def test_without_validation_held_out_training_images_are_shown(runs: Lab, tmp_path: Path) -> None:
    report(runs, "all", "-o", tmp_path / "all.html")
    text, _ = page_of(tmp_path / "all.html")
    assert "held-out training accuracy" in text and "each judged by a head that did not learn from it" in text
    found = strict_json((runs.folder / "all/metrics.json").read_text())["head"]["held_out"]
    assert f"<strong>{100 * found['accuracy']:.1f} %</strong>" in text
    assert {"mistakes", "confusion", "classes"} <= set(sections(text))


def test_a_head_trained_by_gradient_has_epochs_and_no_held_out_images(runs: Lab, tmp_path: Path) -> None:
    report(runs, "mlp", "-o", tmp_path / "mlp.html")
    text, _ = page_of(tmp_path / "mlp.html")
    assert 'aria-label="Loss by epoch"' in text
    assert "Suspicious images" in text
    assert "Optimistic: the best of epochs" in text


def test_the_page_goes_where_it_is_asked_to(runs: Lab) -> None:
    done = runs("report", "a", "-o", "-", "--cache", runs.folder / "cache")
    assert done.code == 0 and done.stdout.startswith(b"<!doctype html>")
    assert done.stdout.endswith(b"</html>") or done.stdout.endswith(b"</html>\n")
    said = report(runs, "a", "-o", "photos", code=2)
    assert said.startswith("error: the output photos is a folder")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no checkpoint or run was named"),
        (("nothing",), "no such checkpoint or run: nothing"),
        (("photos",), "photos is a folder without a checkpoint, not a run"),
        (("a", "photos/val/dogs/wrong.png"), "photos/val/dogs/wrong.png is an image"),
        (("a", "b", "mlp", "all", "three-run", "c", "d"), "at most 6 runs side by side, not 7"),
    ],
)
def test_what_is_no_run(copies: Lab, arguments: tuple[str, ...], said: str) -> None:
    for name in "cd":
        shutil.copytree(copies.folder / "a", copies.folder / name)
    assert said in report(copies, *arguments, code=2)


def test_a_checkpoint_without_its_run(copies: Lab) -> None:
    shutil.copy(copies.folder / "a/checkpoint.safetensors", copies.folder / "alone.safetensors")
    assert "alone.safetensors lies in no run: there is no config.yaml" in report(copies, "alone.safetensors", code=2)


def test_unfinished_runs_are_refused_with_the_way_out(copies: Lab) -> None:
    run = copies.folder / "a"
    whole = (run / "metrics.json").read_text()
    (run / "metrics.json").write_text(whole.replace('"checkpoint_sha256": "', '"checkpoint_sha256": "0'))
    assert "a is an unfinished run: its metrics.json is of another checkpoint" in report(copies, "a", code=2)
    (run / "metrics.json").unlink()
    said = report(copies, "a", code=2)
    assert (
        "a is an unfinished run: there is no metrics.json in it\nRun it again: featcli train-head a/config.yaml" in said
    )
    (run / "checkpoint.safetensors").unlink()
    assert "a is an unfinished run: it has no checkpoint.safetensors" in report(copies, "a", code=2)
    assert not (run / "report.html").exists()


def test_damaged_metrics_are_named(copies: Lab) -> None:
    path = copies.folder / "a/metrics.json"
    whole = strict_json(path.read_text())
    for place, value in (
        (("val", "accuracy"), "high"),
        (("val", "accuracy"), float("nan")),
        (("val", "accuracy_ci95"), [0.5]),
        (("val", "per_class"), 7),
        (("val", "coverage_curve"), [3]),
        (("head", "candidates"), {}),
        (("val", "n"), -1),
        (("val",), []),
    ):
        broken = json.loads(json.dumps(whole))
        part = broken
        for name in place[:-1]:
            part = part[name]
        part[place[-1]] = value
        path.write_text(json.dumps(broken))
        assert f"a/metrics.json is damaged: {'.'.join(place)} is not" in report(copies, "a", code=3), place
    for text in ("[]", "{", "null", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")):
        path.write_text(text)
        assert "metrics.json cannot be read: the run is damaged" in report(copies, "a", code=3)


def test_damaged_lists_are_said_and_left_out(copies: Lab) -> None:
    run = copies.folder / "a"
    for name in ("predictions.csv", "training.csv", "images.csv"):
        cut(run / name)
    said = report(copies, "a", "-o", "a.html")
    for damage in ("predictions.csv is damaged or of another run", "training.csv is damaged", "images.csv is damaged"):
        assert damage in said.replace("\n", " "), damage
    text, _ = page_of(copies.folder / "a.html")
    assert "The list of predictions cannot be read, so no image is shown." in text
    assert "There is no map: the run has no list of its images." in text
    assert "confusion" in sections(text), "that is among the metrics"
    for name in ("predictions.csv", "training.csv", "images.csv", "metrics.jsonl", "timings.json"):
        (run / name).unlink()
    report(copies, "a", "-o", "a.html")
    page_of(copies.folder / "a.html")


@pytest.mark.parametrize(
    "row",
    ["x.png,val,cats,foxes,0.9", "x.png,val,cats,dogs,nan", "x.png,val,cats,dogs,1.5", "x.png,val,,dogs,0.5"],
)
def test_rows_that_cannot_be_of_the_run_make_the_list_damaged(copies: Lab, row: str) -> None:
    path = copies.folder / "a/predictions.csv"
    header, _, *rest = path.read_text().splitlines()
    path.write_text("\n".join([header, row, *rest, ""]))
    assert "predictions.csv is damaged or of another run" in report(copies, "a", "-o", "a.html").replace("\n", " ")


def test_images_that_are_gone_or_changed(copies: Lab) -> None:
    """Of a copied folder the run's images lie elsewhere: without the first folder they are found beside the run."""
    text = (copies.folder / "a/predictions.csv").read_text()
    for name in ("images.csv", "predictions.csv", "training.csv"):
        path = copies.folder / "a" / name
        path.write_text(re.sub(r"^.*?/photos/", f"{copies.folder}/photos/", path.read_text(), flags=re.MULTILINE))
    assert text != (copies.folder / "a/predictions.csv").read_text()
    (copies.folder / "photos/val/dogs/wrong.png").unlink()
    shutil.copy(copies.folder / "photos/val/dogs/31.png", copies.folder / "photos/val/cats/31.png")
    said = report(copies, "a", "-o", "a.html").replace("\n", " ")
    assert "no such file or directory" in said and "dogs/wrong.png" in said
    text, _ = page_of(copies.folder / "a.html")
    assert "dogs/wrong.png: dogs, taken for cats: no picture" in text
    assert '<span class="note">no such file or directory</span>' in text
    assert '<span class="note">changed since the run</span>' in text


def test_the_project_was_moved_with_its_images(copies: Lab) -> None:
    """The config names folders that are no longer there: images are looked for as seen from the run."""
    for name in ("config.yaml", "images.csv", "predictions.csv", "training.csv"):
        path = copies.folder / "a" / name
        text = re.sub(r"/[^\s,]*?/(photos|a)(?=[/\n])", r"/gone/away/\1", path.read_text())
        path.write_text(text)
    said = report(copies, "a", "-o", "a.html")
    assert "this run was moved from /gone/away/a" in said
    text, page = page_of(copies.folder / "a.html")
    assert "no picture" not in text and page.all("img")


def test_runs_of_before_have_fewer_numbers_and_sections(copies: Lab) -> None:
    path = copies.folder / "a/metrics.json"
    metrics = strict_json(path.read_text())
    kept = ("accuracy", "n", "n_errors", "majority_accuracy", "per_class", "classes", "confusion")
    metrics["val"] = {name: metrics["val"][name] for name in kept}
    metrics["head"] = {"kind": "logistic", "C": 1.0}
    path.write_text(json.dumps(metrics))
    (copies.folder / "a/training.csv").unlink()
    said = report(copies, "a", "-o", "a.html")
    assert said == ""
    text, _ = page_of(copies.folder / "a.html")
    assert "training" not in sections(text) and len(sentences(text)) == 3
    assert {"reliability", "coverage", "detection"} <= set(sections(text)), "they follow from predictions.csv"


def test_names_of_classes_and_files_do_nothing(lab: Lab, make_folder: Callable[..., Path]) -> None:
    """Markup, quotes, ends of scripts, control and bidirectional characters, bytes that are not UTF-8."""
    classes = [
        "<script>alert(1)<b>",
        '"><img src=x onerror=alert(1)>',
        "&amp; ]]> --> {{ 7*7 }} \u202egnp.exe\u2066",
        "line\nbreak\x1b[31m",
        b"caf\xe9".decode("utf-8", "surrogateescape"),
    ]
    make_folder(lab.folder / "plain", {f"k{index}": 6 for index in range(len(classes))})
    rows = ["path,label"]
    (lab.folder / "evil").mkdir()
    for index, name in enumerate(classes):
        folder = lab.folder / "evil" / name
        shutil.move(lab.folder / f"plain/k{index}", folder)
        shutil.move(folder / "00.png", folder / "'><b>&\x07.png")
        shutil.copytree(folder, lab.folder / f"k{index}")
        rows += [f"k{index}/{path.name},</script></title></style><b>{index}" for path in sorted(folder.glob("0*.png"))]
    lab.write("labels.csv", "\n".join(rows))
    done = lab.train("--cache", "cache", "--C", "0.0001", data="evil", output="run")
    assert done.code == 0, done.stderr
    listed = ("--set", "data.manifest=labels.csv")
    done = lab("train-head", *SMALL, *listed, "--C", "0.0001", "-o", "listed", "--cache", "cache", "--report")
    assert done.code == 0, done.stderr
    other, page = page_of(lab.folder / "listed/report.html")
    assert "</style><b>0" in html.unescape(other) and not page.all("b") and len(page.all("style")) == 1
    report(lab, "run")
    text, page = page_of(lab.folder / "run/report.html")
    assert not page.all("b") and "x" not in [image.get("src") for image in page.all("img")]
    assert len(page.all("script")) == 2
    assert not re.search("[\x00-\x08\x0b-\x1f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
    for shown in ("\\u202egnp.exe", "line\\nbreak\\x1b[31m", "caf\\xe9", "{{ 7*7 }}", "'><b>&\\x07.png"):
        assert shown in html.unescape(text), shown
    payload = text.split('id="thumbnails">')[1].split("</script>")[0]
    assert isinstance(json.loads(payload), dict)


def test_a_training_writes_its_page_and_a_repetition_without_removes_it(lab: Lab) -> None:
    done = lab.train("--cache", "cache", "--report")
    assert done.code == 0 and done.text.endswith("run/checkpoint.safetensors\n")
    assert "report    " in done.stderr and "run/report.html" in done.stderr
    page_of(lab.folder / "run/report.html")
    assert lab.train("--cache", "cache", "--report", "--dry-run").code == 0
    assert "report.html" in names(lab.folder / "run")
    assert lab.train("--cache", "cache").code == 0
    assert "report.html" not in names(lab.folder / "run")


def test_a_fine_tuning_writes_its_page(lab: Lab) -> None:
    more = ("--set", "head.init=random", "--set", "train.monitor=log_loss", "--set", "train.epochs=4")
    done = lab.finetune("--cache", "cache", "--report", *more)
    assert done.code == 0, done.stderr
    text, _ = page_of(lab.folder / "run/report.html")
    assert 'aria-label="Accuracy by epoch"' in text
    assert lab.finetune("--cache", "cache", *more).code == 0
    assert "report.html" not in names(lab.folder / "run")


def test_a_page_that_fails_does_not_cost_the_run(lab: Lab) -> None:
    code = """
import featcli.report.page as page
def broken(*given):
    raise ValueError("no page")
page._render = broken
"""
    done = lab.train("--cache", "cache", "--report", preload=lab.preload(code))
    assert done.code == 4 and done.text.endswith("run/checkpoint.safetensors\n")
    assert "error: the run is finished, but its report is not written: ValueError: no page\n" in done.stderr
    assert "Try again: featcli report " in done.stderr
    assert lab("verify", "run", "--cache", "cache").code == 0
    assert "report.html" not in names(lab.folder / "run")
