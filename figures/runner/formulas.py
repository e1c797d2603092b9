"""Powers and indices in running text as MathML."""

from __future__ import annotations

import re
from html import escape

_BASE = r"(?<![\w/.])(?:\|[^|\s]{1,12}\||[A-Za-z\u0370-\u03ff]{1,2}|10|\d+(?:\.\d+)?)"
_SCRIPT = r"(?:\{[^{}]{1,24}\}|[+-]?\w+)"
FORMULA = re.compile(rf"({_BASE})(?:_({_SCRIPT}))?(?:\^({_SCRIPT}))?(?![\w_^])")


def formulas(text: str) -> str:
    """HTML of a text, in which x^2, W_mm, |p|^2 and e^{-t} are set as MathML.

    >>> formulas("|p|^2 < 1")
    '<math><msup><mi>|p|</mi><mn>2</mn></msup></math> &lt; 1'
    >>> formulas("plain_names stay")
    'plain_names stay'
    """
    parts, end = [], 0
    for found in FORMULA.finditer(text):
        base, below, above = found.groups()
        if below is None and above is None:
            continue
        parts += [escape(text[end : found.start()], quote=False), _mathml(base, below, above)]
        end = found.end()
    return "".join([*parts, escape(text[end:], quote=False)])


def _mathml(base: str, below: str | None, above: str | None) -> str:
    tag = "msubsup" if below and above else "msub" if below else "msup"
    inner = "".join(map(_symbol, filter(None, (base, below, above))))
    return f"<math><{tag}>{inner}</{tag}></math>"


def _symbol(text: str) -> str:
    text = text.strip("{}")
    tag = "mn" if re.fullmatch(r"[+-]?[\d.]+", text) else "mi"
    return f"<{tag}>{escape(text.replace('-', '\u2212'), quote=False)}</{tag}>"
