"""Powers, indices and roots in running text as MathML."""

from __future__ import annotations

import re
from html import escape

_UP = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿᴮ", "0123456789+−nB", strict=True))
_DOWN = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋ᵢⱼ", "0123456789+−ij", strict=True))
_LETTER = r"[A-Za-z\u0370-\u03ff]"
_SCRIPT = r"(?:\{[^{}]{1,24}\}|[+−-]?(?:\d+(?:\.\d+)?|[^\W\d_]+)|[¼½])"
FORMULA = re.compile(
    rf"√(?P<root>\d+(?:\.\d+)?|{_LETTER}(?![\w^]))"
    rf"|(?P<base>\|[^|\s]{{1,12}}\||‖[^‖\s]{{1,12}}‖|(?<![\w.]){_LETTER}|(?<![\w.])\d+|[)\]](?=\^))"
    rf"(?:_(?P<below>{_SCRIPT})|(?P<down>[{''.join(_DOWN)}]+))?"
    rf"(?:\^(?P<above>{_SCRIPT})|(?P<up>[{''.join(_UP)}]+))?(?![\w_^])"
)


def formulas(text: str) -> str:
    """HTML of a text, in which x^2, W_mm, ‖A‖_F, e^{-t}, ηᵢ and √2 are set as MathML.

    A base is one letter, a number, something between bars or a closing bracket; all else, names
    like `file_name` among it, stays as it is.

    >>> formulas("|p|^2 < 1")
    '<math><msup><mi>|p|</mi><mn>2</mn></msup></math> &lt; 1'
    >>> formulas("plain_names stay")
    'plain_names stay'
    """
    parts, end = [], 0
    for found in FORMULA.finditer(text):
        if math := _mathml(found):
            parts += [escape(text[end : found.start()], quote=False), f"<math>{math}</math>"]
            end = found.end()
    return "".join([*parts, escape(text[end:], quote=False)])


def _mathml(found: re.Match[str]) -> str:
    """The formula of a match; "" for a base that stands alone."""
    if root := found["root"]:
        return f"<msqrt>{_symbol(root)}</msqrt>"
    below = found["below"] or "".join(_DOWN[c] for c in found["down"] or "")
    above = found["above"] or "".join(_UP[c] for c in found["up"] or "")
    tag = {(True, True): "msubsup", (True, False): "msub", (False, True): "msup"}.get(
        (bool(below), bool(above))
    )
    inner = "".join(map(_symbol, filter(None, (found["base"], below, above))))
    return f"<{tag}>{inner}</{tag}>" if tag else ""


def _symbol(text: str) -> str:
    text = text.strip("{}").replace("-", "−")
    bars = re.fullmatch(rf"([|‖])({_LETTER})_(\w+)\1", text)
    if bars:
        bar, base, below = bars.groups()
        return (
            f"<mrow><mo>{bar}</mo><msub>{_symbol(base)}{_symbol(below)}</msub><mo>{bar}</mo></mrow>"
        )
    kind = "mn" if re.fullmatch(r"[+−]?[\d.]+", text) else "mo" if text in ")]" else "mi"
    return f"<{kind}>{escape(text, quote=False)}</{kind}>"
