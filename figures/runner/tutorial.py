"""The tutorial (TUTORIAL.md) and the story of one head as parts of the gallery's page."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

FILE = Path(__file__).parents[2] / "TUTORIAL.md"
STORY = Path(__file__).parents[1] / "models" / "STORY.md"
ANCHORS = re.compile(r"[^a-z0-9]+")


def tutorial(file: Path = FILE) -> str:
    """The tutorial as HTML without styles: h2 and h3 with ids, p, pre; empty without the file.

    Of Markdown it knows what the file uses: headings, paragraphs, fenced code, `code`.

    >>> tutorial().partition("</h2>")[0]
    '<h2 id="the-first-ten-minutes">The first ten minutes'
    """
    if not file.exists():  # an installation without the repository around it
        return ""
    parts = re.split(r"^```\w*\n(.*?)^```$", file.read_text(encoding="utf-8"), flags=re.M | re.S)
    return "\n".join(_code(x) if i % 2 else _prose(x) for i, x in enumerate(parts))


def _code(text: str) -> str:
    return f"<pre><code>{escape(text.strip())}</code></pre>"


def _prose(text: str) -> str:
    return "\n".join(_block(b) for b in re.split(r"\n{2,}", text.strip()) if b)


def _block(text: str) -> str:
    marks, _, title = text.partition(" ")
    if marks and set(marks) == {"#"}:
        level = len(marks) + 1  # the page has an h1 of its own
        anchor = ANCHORS.sub("-", title.lower()).strip("-")
        return f'<h{level} id="{anchor}">{_inline(title)}</h{level}>'
    return f"<p>{_inline(text)}</p>"


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(" ".join(text.split()), quote=False))
