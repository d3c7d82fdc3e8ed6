"""The page itself: templates, style and script put together; the only module that imports jinja2."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from featcli.errors import EnvironmentFault
from featcli.events import Emit
from featcli.report.comparison import Comparison, unique_names
from featcli.report.counting import Confused
from featcli.report.curves import Bin
from featcli.report.gallery import Limits, select
from featcli.report.markup import Html, script_data
from featcli.report.material import Material
from featcli.report.pictures import take_pictures
from featcli.report.view import View, make_view
from featcli.text import printable


@dataclass(frozen=True, slots=True)
class Page:
    """The file, what each run was said to be in three sentences, and what was missing for it."""

    html: bytes
    sentences: Sequence[Sequence[str]]
    notes: Sequence[str]


def make_page(materials: Sequence[Material], comparison: Comparison | None, workers: int, emit: Emit) -> Page:
    """The page of one run, or of several side by side.

    Args:
        materials: one for each run.
        comparison: of several runs; None of one.
        workers: threads that decode thumbnails.
        emit: hears how far it is.

    Raises:
        EnvironmentFault: jinja2 is not installed.
    """
    limits = Limits.shared_by(len(materials))
    views = []
    for index, material in enumerate(materials):
        selection = select(material, limits)
        pictures = take_pictures(selection.wanted, material.grey_range, workers, limits.budget, emit)
        views.append(make_view(f"r{index + 1}", material, selection, pictures, emit))
    html = _render(views, comparison, unique_names(materials))
    sentences = [[sentence.text for sentence in view.sentences] for view in views]
    notes = [note for view in views for note in view.picture_notes]
    return Page(html.encode("utf-8"), sentences, notes)


def _render(views: Sequence[View], comparison: Comparison | None, names: Sequence[str]) -> str:
    script = _asset("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    thumbnails = {key: source for view in views for key, source in view.map_thumbnails.items()}
    text: str = (
        _environment()
        .get_template("page.html")
        .render(
            views=views,
            names=names,
            comparison=comparison,
            style=Html(_asset("report.css")),
            script=Html(script),
            script_sha256=digest,
            thumbnails=script_data(thumbnails),
        )
    )
    return text


@cache
def _environment() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise EnvironmentFault("a report needs jinja2", "Install it: pip install jinja2") from error
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["pair_row"] = _pair_row
    environment.filters["bin_row"] = _bin_row
    return environment


def _asset(name: str) -> str:
    return (resources.files("featcli.report") / "templates" / name).read_text(encoding="utf-8")


def _shown(value: Any) -> Any:
    """Text of a run, made visible before it is escaped; markup of ours as it is."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _pair_row(pair: Confused) -> list[object]:
    return [pair.truth, pair.label, pair.count, pair.support]


def _bin_row(found: Bin) -> list[object]:
    return [f"{found.confidence:.3f}", f"{found.accuracy:.3f}", found.n]
