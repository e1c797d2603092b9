"""What notebooks show: small pieces of HTML without colours, so that they suit every theme."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from dsf.core import notation

CELL = "text-align:left;vertical-align:top;white-space:pre-wrap"
BADGE = "border:1px solid currentColor;border-radius:3px;padding:0 0.4em;margin-left:0.6em"


def card(title: str, outcome: str, *parts: str) -> str:
    """A title, its outcome in a frame unless it is empty, and parts that are HTML already."""
    badge = f"<span style='{BADGE}'>{escape(outcome)}</span>" if outcome else ""
    return f"<div><p><b>{escape(title)}</b>{badge}</p>{''.join(parts)}</div>"


def paragraph(text: str, indent: int = 0) -> str:
    """A paragraph, indented by so many characters."""
    return f"<p style='margin:0.2em 0 0.2em {indent}ch'>{escape(text)}</p>"


def heading(text: str) -> str:
    """A heading below the title."""
    return f"<p style='margin:0.6em 0 0.2em 0'><i>{escape(text)}</i></p>"


def table(
    rows: Iterable[Sequence[str]], head: Sequence[str] = (), formulas: Iterable[str] = ()
) -> str:
    """A table; the first cell of a row is its label, and the others of `formulas` are formulas."""
    formulas = set(formulas)
    lines = [_line("th", map(escape, head))] if head else []
    for label, *cells in rows:
        shown = map(notation.html if label in formulas else escape, cells)
        lines.append(_line("td", shown, f"<th style='{CELL}'>{escape(label)}</th>"))
    return f"<table>{''.join(lines)}</table>" if lines else ""


def _line(tag: str, cells: Iterable[str], first: str = "") -> str:
    body = "".join(f"<{tag} style='{CELL}'>{x}</{tag}>" for x in cells)
    return f"<tr>{first}{body}</tr>"
