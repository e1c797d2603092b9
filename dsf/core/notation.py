"""The notation of printed formulas, "diag(a_t) S_{t-1} + k_t v_t'", as LaTeX and as HTML.

Subscripts and powers are written _t, _{t-1}, ^2, a transposed factor with ', products side by side
or with *.  Greek names are letters, names of functions stand upright, other words are words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "eta": "η", "theta": "θ", "lambda": "λ",
    "phi": "φ", "sigma": "σ", "omega": "ω",
}  # fmt: skip
FUNCTIONS = "diag softmax sigmoid softplus sqrt tanh exp log max min prod Re Im sign".split()
KNOWN = "tanh exp log max min prod".split()  # of these LaTeX knows the names
OPERATORS = ("+", "-", "*", "/", "=", "<", ">", "<=", ">=")
ROOT = re.compile(r"\bsqrt\(([^()]*)\)")
BARRED = re.compile(r"([A-Z])bar")
SIGNS = {"<=": (r"\le ", "≤"), ">=": (r"\ge ", "≥"), "-": ("-", "−"), "*": (" ", " ")}
SPECIAL = {
    "\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
}  # fmt: skip
PART = re.compile(r"[A-Za-z]+|\d+(?:\.\d+)?|[_^](?:\{[^{}]*\}|\w)|<=|>=|\s+|.", re.DOTALL)
WORD, OTHER, RAISED, LOWERED, SPACE = "word", "other", "raised", "lowered", "space"


def text(prose: str) -> str:
    """Prose for the text mode of LaTeX, with its special characters.

    >>> text("linear_attn, 5 %, A <= B")
    'linear\\\\_attn, 5 \\\\%, A \\\\textless{}= B'
    """
    return "".join(SPECIAL.get(c, "\\" + c if c in "_&%{}#$" else c) for c in prose)


def latex(formula: str) -> str:
    """A formula for the math mode of LaTeX, which needs no package but amsmath.

    >>> print(latex("e^{dt_t a} S_{t-1} + gamma k_t v_t'"))
    e^{\\mathrm{dt}_{t} a} S_{t-1} + \\gamma k_{t} v_{t}^{\\top}
    >>> print(latex("sqrt(1 - a_t^2) / max(|eta_t|, 1)"))
    \\sqrt{1 - a_{t}^{2}} / \\max (|\\eta_{t}|, 1)
    """
    if root := ROOT.search(formula):
        left, right = latex(formula[: root.start()]), latex(formula[root.end() :])
        return f"{left} \\sqrt{{{latex(root[1])}}} {right}".strip()
    parts = [("", ""), *_parts(formula), ("", "")]
    out = []
    for before, (kind, part), after in zip(parts, parts[1:], parts[2:], strict=False):
        if kind == SPACE:  # math mode drops spaces, also those around words
            beside = (before[1], after[1])
            parted = any(map(_is_word, beside)) and not any(x in OPERATORS for x in beside)
            out.append(r"\ " if parted else " ")
        elif kind == WORD:
            out.append(_latex_word(part))
        elif kind in (RAISED, LOWERED):
            out.append(f"{'^' if kind == RAISED else '_'}{{{_latex_script(part)}}}")
        else:
            out.append(SIGNS[part][0] if part in SIGNS else _latex_character(part))
    return re.sub(r" +", " ", re.sub(r" +(?=[_^])", "", "".join(out))).strip()


def html(formula: str) -> str:
    """A formula in plain HTML: italic letters, subscripts, Greek; no style sheet, no script.

    >>> html("a_t S_{t-1} + b v_t'")
    '<i>a</i><sub><i>t</i></sub> <i>S</i><sub><i>t</i>−1</sub> + <i>b</i> <i>v</i><sub><i>t</i></sub><sup>⊤</sup>'
    """  # noqa: E501
    out = []
    for kind, part in _parts(formula):
        if kind == WORD:
            out.append(_html_word(part))
        elif kind in (RAISED, LOWERED):
            tag = "sup" if kind == RAISED else "sub"
            out.append(f"<{tag}>{'⊤' if part == chr(39) else html(part)}</{tag}>")
        else:
            out.append(SIGNS[part][1] if part in SIGNS else escape(part))
    return "".join(out)


def _parts(formula: str) -> Iterator[tuple[str, str]]:
    """Kind and text of each part of a formula."""
    for part in PART.findall(formula):
        if part.isspace():
            yield SPACE, " "
        elif part == "'":
            yield RAISED, part
        elif part[0] in "_^" and len(part) > 1:
            yield (LOWERED if part[0] == "_" else RAISED), part[1:].strip("{}")
        elif part[0].isalpha() and part.isascii():
            yield WORD, part
        elif part != "`":
            yield OTHER, part


def _is_word(part: str) -> bool:
    return (
        len(part) > 1
        and part.isalpha()
        and part not in (*GREEK, *FUNCTIONS)
        and not BARRED.fullmatch(part)
    )


def _latex_word(part: str) -> str:
    if part in GREEK:
        return f"\\{part} "
    if barred := BARRED.fullmatch(part):
        return f"\\bar{{{barred[1]}}}"
    if len(part) == 1:
        return part
    if part in KNOWN:
        return f"\\{part} "
    return f"\\{'operatorname' if part in FUNCTIONS else 'mathrm'}{{{part}}}"


def _latex_script(part: str) -> str:
    return r"\top" if part == "'" else latex(part)


def _latex_character(part: str) -> str:
    return {"\\": r"\backslash ", "^": r"\hat{}", "~": r"\sim "}.get(
        part, "\\" + part if part in "_&%{}#$" else part
    )


def _html_word(part: str) -> str:
    if part in GREEK:
        return f"<i>{GREEK[part]}</i>"
    if barred := BARRED.fullmatch(part):
        return f"<i>{barred[1]}\N{COMBINING MACRON}</i>"
    return f"<i>{part}</i>" if len(part) == 1 else part
