"""The page of a run in a real browser: it works, asks for nothing, and can be read on a phone and without eyes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.process import Finished

pytestmark = [pytest.mark.slow, pytest.mark.real]

SECTIONS = [
    "How good it is", "What matters", "Mistakes and near misses", "What is taken for what", "Class by class",
    "Finding one of two classes", "Can its confidence be believed?", "What if it may keep silent?",
    "How it was trained", "A map of the images", "Suspicious images", "How it was made",
]  # fmt: skip


@pytest.fixture(scope="module")
def report(hymenoptera: Path, tmp_path_factory: pytest.TempPathFactory, featcli: Callable[..., Finished]) -> Path:
    """The page of a run on the ants and bees."""
    folder = tmp_path_factory.mktemp("page")
    done = featcli("train-head", hymenoptera, "--backbone", "efficientnet_lite0", "-o", folder / "run", "--report",
                   "--cache", folder / "cache")  # fmt: skip
    assert done.code == 0, done.stderr
    done = featcli("train-head", hymenoptera, "--backbone", "efficientnet_lite0", "-o", folder / "weak", "--C", "1e-6",
                   "--cache", folder / "cache")  # fmt: skip
    assert done.code == 0, done.stderr
    done = featcli("report", folder / "run", folder / "weak", "-o", folder / "both.html", "--cache", folder / "cache")
    assert done.code == 0, done.stderr
    return folder / "run" / "report.html"


class Tab:
    """A page in a browser, with what it said and asked for."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(10_000)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def __enter__(self) -> Any:
        return self.page

    def __exit__(self, *_: object) -> None:
        self.context.close()


def test_it_loads_without_an_error_and_without_a_request(browser: Any, report: Path) -> None:
    for path in (report, report.parents[1] / "both.html"):
        tab = Tab(browser, path)
        with tab as page:
            page.wait_for_load_state("networkidle")
            assert tab.said == []
            assert [url for url in tab.requests if not url.startswith("data:")] == [path.as_uri()]
            assert page.evaluate("[...document.images].filter(image => !image.naturalWidth).length") == 0
        assert path.stat().st_size < 1_000_000


def test_every_section_is_there_with_and_without_its_script(browser: Any, report: Path) -> None:
    for script in (True, False):
        with Tab(browser, report, java_script_enabled=script) as page:
            assert page.locator("main section > h2").all_inner_texts() == SECTIONS
            assert page.locator(".sentences li").count() == 3
            assert page.locator(".shot img").count() > 15
            assert page.locator(".map title").count() == 398
            assert page.locator("th button").count() == (5 if script else 0)


def test_tables_are_sorted_by_mouse_and_keyboard(browser: Any, report: Path) -> None:
    with Tab(browser, report) as page:
        table = page.locator("table.sortable").first
        names, head = table.locator("tbody th"), table.locator("thead th")
        assert names.all_inner_texts() == ["ants", "bees"], "by recall"
        assert head.nth(2).get_attribute("aria-sort") == "ascending"
        head.nth(2).locator("button").click()
        assert names.all_inner_texts() == ["bees", "ants"]
        assert head.nth(2).get_attribute("aria-sort") == "descending"
        head.nth(0).locator("button").focus()
        page.keyboard.press("Enter")
        assert names.all_inner_texts() == ["ants", "bees"]
        assert [head.nth(column).get_attribute("aria-sort") for column in range(3)] == ["ascending", None, None]
        head.nth(4).locator("button").click()
        assert table.locator("tbody td:last-child").all_inner_texts() == ["70", "83"], "as numbers"


def test_a_mistake_on_the_map_shows_its_picture(browser: Any, report: Path) -> None:
    with Tab(browser, report, viewport={"width": 1280, "height": 900}) as page:
        tip = page.locator("#tip")
        assert not tip.is_visible()
        marks = page.locator(".map path.wrong")
        assert marks.count() == 16
        marks.last.scroll_into_view_if_needed()
        for mark in marks.all():
            box = mark.bounding_box()
            page.mouse.move(box["x"] + box["width"] / 2 + 4, box["y"] + box["height"] / 2)  # beside its lines
            assert "taken for" in tip.inner_text()
        assert tip.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 50
        page.mouse.move(2, 2)
        assert not tip.is_visible()
        dot = page.locator(".map circle").first  # in the order of the run: of its training images
        dot.scroll_into_view_if_needed()
        box = dot.bounding_box()
        page.mouse.move(box["x"] + 1, box["y"] + 1)
        assert "train/ants/" in tip.inner_text() and tip.locator("img").count() == 0


def test_the_map_can_be_walked_by_arrow_keys(browser: Any, report: Path) -> None:
    with Tab(browser, report) as page:
        page.locator(".plot").focus()
        seen = []
        for _ in range(3):
            page.keyboard.press("ArrowRight")
            seen.append(page.locator("#tip").inner_text())
        assert len(set(seen)) == 3
        page.keyboard.press("ArrowLeft")
        assert page.locator("#tip").inner_text() == seen[1]
        page.keyboard.press("Escape")
        assert not page.locator("#tip").is_visible()


@pytest.mark.parametrize("name", ["run/report.html", "both.html"])
def test_it_fits_a_phone(browser: Any, report: Path, name: str) -> None:
    with Tab(browser, report.parents[1] / name, viewport={"width": 360, "height": 740}) as page:
        page.evaluate("document.querySelectorAll('details').forEach(item => { item.open = true; })")
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360


@pytest.mark.parametrize("name", ["run/report.html", "both.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_by_everyone(browser: Any, report: Path, name: str, scheme: str) -> None:
    """Headings in order, alternative texts, names for what can be operated, one of each id, contrast of 4.5 to 1."""
    with Tab(browser, report.parents[1] / name, color_scheme=scheme) as page:
        page.evaluate("document.querySelectorAll('details').forEach(item => { item.open = true; })")
        found = json.loads(page.evaluate(_CHECKS))
        levels = found.pop("levels")
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
        assert found == {"unnamed": [], "repeated": [], "faint": [], "lang": "en", "mains": 1, "broken": []}


# A part of what axe-core looks at, without downloading it.
_CHECKS = """() => {
  const all = (what) => [...document.querySelectorAll(what)];
  const named = (item) => item.getAttribute("aria-label") || item.getAttribute("alt") || item.textContent.trim();
  const ids = all("[id]").map((item) => item.id);
  const channel = (value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r / 255) + 0.7152 * channel(g / 255) + 0.0722 * channel(b / 255);
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const ground = (item) => {
    const layers = [];
    for (let at = item; at; at = at.parentElement) layers.push(parts(getComputedStyle(at).backgroundColor));
    let below = parts(getComputedStyle(document.body).backgroundColor);
    for (const [r, g, b, a = 1] of layers.reverse())
      below = [r, g, b].map((value, index) => a * value + (1 - a) * below[index]);
    return below;
  };
  const faint = all("p, li, td, th, dt, dd, figcaption, caption, h1, h2, h3, h4, code, span, button").filter((item) => {
    const own = [...item.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !item.checkVisibility() || item.className === "skip") return false;
    const [one, other] = [light(parts(getComputedStyle(item).color)), light(ground(item))];
    return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05) < 4.5;
  });
  return JSON.stringify({
    levels: all("h1, h2, h3, h4, h5, h6").map((item) => Number(item.tagName[1])),
    unnamed: all("img, button, a, [role=img], [role=region], [role=group]").filter((item) => !named(item)
      && !item.closest("#tip")).map((item) => item.outerHTML.slice(0, 80)),
    repeated: ids.filter((id, index) => ids.indexOf(id) !== index),
    faint: faint.map((item) => item.outerHTML.slice(0, 120)),
    lang: document.documentElement.lang,
    mains: all("main").length,
    broken: all("[aria-labelledby]").filter((item) => !document.getElementById(item.getAttribute("aria-labelledby")))
      .map((item) => item.outerHTML.slice(0, 80)),
  });
}"""


def test_it_prints_with_every_run_open(browser: Any, report: Path) -> None:
    with Tab(browser, report.parents[1] / "both.html") as page:
        data = page.pdf(format="A4", print_background=True)
        assert data.startswith(b"%PDF")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator("details.run[open]").count() == 2
        page.emulate_media(media="print")
        assert not page.locator(".copy").first.is_visible()
        assert page.locator(".scroll.tall").first.evaluate("item => getComputedStyle(item).overflowY") == "visible"
