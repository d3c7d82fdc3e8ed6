"""Text that is markup, and text that is not: what comes from a run is escaped before it becomes a part of a page."""

from __future__ import annotations

import html
import json
from typing import Any

from featcli.text import printable


class Html(str):
    """Markup that was made here, which no template escapes again."""

    __slots__ = ()

    def __html__(self) -> str:
        return str(self)


def escaped(value: object) -> Html:
    """Any text as part of a page: markup, control and bidirectional characters can be read, and do nothing."""
    return value if isinstance(value, Html) else Html(html.escape(printable(str(value))))


def tag(name: str, *children: object, **attributes: object) -> Html:
    """An element: children and attributes are escaped.

    Args:
        name: of the element.
        children: texts and elements; none for an empty element of SVG.
        attributes: by name, whose underscores become hyphens (`class_` is `class`); None leaves one out.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{number(value) if isinstance(value, float) else escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{given}>{joined(*children)}</{name}>" if children else f"<{name}{given}/>")


def joined(*children: object) -> Html:
    """Texts and elements, one after the other."""
    return Html("".join(escaped(child) for child in children))


def number(value: float, digits: int = 1) -> str:
    """A coordinate, as short as it can be written: `12.5`, `3`."""
    text = f"{value:.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def script_data(value: Any) -> Html:
    """A JSON value inside a script element, which nothing in it can end."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return Html(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
