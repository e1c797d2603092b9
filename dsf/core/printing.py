"""How the objects print: one line for `repr`, a labelled block of 79 columns for `print`."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

from dsf.core import html, ops
from dsf.core.arrays import common_zero
from dsf.core.facts import count
from dsf.core.ops import Array

WIDTH = 79
FORMULAS = ("update", "output")  # rows of `block` that are formulas
HARD = "\N{NO-BREAK SPACE}"  # keeps "log_a [L n] < 0" on one line
TAB = f"{HARD}{HARD} "


def axes(x: Array) -> str:
    """The shape as it is written in docstrings: [1 5 2]."""
    return f"[{' '.join(map(str, x.shape))}]"


def coefficient(x: Any) -> str:
    """An array by its shape, a product by the shapes of its factors, nothing as "none"."""
    if x is None:
        return "none"
    if hasattr(x, "factors"):
        return f"{axes(x)} = " + " x ".join(axes(f) for f in x.factors)
    return axes(x)


def dtype(x: Array) -> str:
    """float64, complex128, torch.float32, ... or the world of an object array."""
    return str(x.dtype) if ops.is_float(x) else ops.world(x).name


def at_least(x: float, digits: int) -> str:
    """`x` to so many digits, rounded down: a lower bound remains one in print.

    >>> at_least(2 / 3, 3), at_least(-2 / 3, 3), at_least(7, 3), at_least(1e-9, 3)
    ('0.666', '-0.667', '7', '1e-9')
    """
    return _outward(x, digits, ROUND_FLOOR)


def at_most(x: float, digits: int) -> str:
    """`x` to so many digits, rounded up: an upper bound remains one in print.

    >>> at_most(2 / 3, 3), at_most(-2 / 3, 3), at_most(1e300, 3), at_most(float("inf"), 3)
    ('0.667', '-0.666', '1.01e+300', 'inf')
    """
    return _outward(x, digits, ROUND_CEILING)


def enclosed(lower: float, name: str, upper: float, digits: int) -> str:
    """Both bounds of what has this name, rounded outward.

    >>> enclosed(2 / 3, "g*", 2 / 3, 3)
    '0.666 <= g* <= 0.667'
    """
    return f"{at_least(lower, digits)} <= {name} <= {at_most(upper, digits)}"


def n_states(n: float) -> str:
    """A number of states in words.

    >>> n_states(1), n_states(3)
    ('1 state', '3 states')
    """
    return f"{int(n)} state{'' if n == 1 else 's'}"


def n_tokens(n: int) -> str:
    """A number of tokens in words.

    >>> n_tokens(1), n_tokens(3)
    ('1 token', '3 tokens')
    """
    return f"{n} token{'' if n == 1 else 's'}"


def exactly(x: float) -> str:
    """`x` so that it reads back as the same float, short where possible.

    >>> exactly(3.0), exactly(0.1), exactly(1 / 3)
    ('3', '0.1', '0.3333333333333333')
    """
    return f"{x:g}" if float(f"{x:g}") == x else repr(float(x))


def _outward(x: float, digits: int, rounding: str) -> str:
    if isinstance(x, int):
        return str(x)
    value = Decimal(float(x))  # without rounding
    if not value.is_finite():
        return str(x)
    value = Context(digits, rounding).plus(value).normalize()
    if value == 0:
        return "0"
    return f"{value:f}" if -5 < value.adjusted() < digits else f"{value:e}"


def block(title: str, rows: list[tuple[str, str]]) -> str:
    """A title and labelled rows; long rows are wrapped under themselves, at single spaces."""
    label = max(len(k) for k, _ in rows) + 2
    lines = [title]
    for name, text in rows:
        first = f"  {name:<{label}}"
        lines += textwrap.wrap(
            text.replace("   ", TAB), WIDTH, initial_indent=first,
            subsequent_indent=" " * len(first), break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    return "\n".join(line.replace(HARD, " ").rstrip() for line in lines)


def transition(A: Any) -> str:
    """The arrays of a transition: "log_a [1 5 2]"."""
    if A.structure == "shift":
        return f"{A.n} rows"
    names = [n for n, _ in A.time_axes if getattr(A, n) is not None]
    inside = [transition(A.diag)] if A.structure == "low rank" else []
    return ", ".join(inside + [f"{n} {coefficient(getattr(A, n))}" for n in names])


def shown(title: str, rows: list[tuple[str, str]]) -> str:
    """A title and labelled rows as HTML for a notebook; `block` is the same as text."""
    return html.card(title, "", html.table(rows, formulas=FORMULAS))


def ltv(s: Any) -> tuple[str, list[tuple[str, str]]]:
    """Title and rows of an LTV, for `block` and `shown`."""
    batch = f"   batch [{' '.join(map(str, s.batch))}]" if s.batch else ""
    kind = dtype(common_zero(*s.arrays()))
    title = f"LTV   L = {s.length}   n = {s.n}   m = {s.m}   r = {s.r}{batch}   {kind}"
    now = "S_t" if s.read == "after" else "S_{t-1}"
    feed = "" if s.D is None else " + D_t X_t"
    rows = [
        ("update", "S_t = A_t S_{t-1} + B_t X_t"),
        ("output", f"Y_t = C_t {now}{feed}"),
        ("A", f"{s.A.structure}: {transition(s.A)}"),
        *((name, coefficient(getattr(s, name))) for name in "BCD"),
    ]
    return title, rows


LATEX = {
    "scalar": "a{t}",
    "diagonal": r"\operatorname{{diag}}(a{t})",
    "low rank": r"\left(\operatorname{{diag}}(a{t}) + U{t} W{t}^\top\right)",
    "dense": "A{t}",
    "shift": "Z",
}


def ltv_latex(s: Any) -> str:
    """The two equations; constant coefficients lose their index."""

    def name(letter: str, sizes: list[int]) -> str:
        return letter.format(t="_t" if any(n > 1 for n in sizes) else "")

    def own(x: Any) -> list[int]:
        return [f.shape[-3] for f in getattr(x, "factors", (x,)) if f.ndim >= 3]

    A = name(LATEX[s.A.structure], s.A.lengths())
    B, C = name("B{t}", own(s.B)), name("C{t}", own(s.C))
    D = "" if s.D is None else " + " + name("D{t}", own(s.D)) + " X_t"
    state = "S_t" if s.read == "after" else "S_{t-1}"
    return (
        rf"$$\begin{{aligned}} S_t &= {A}\, S_{{t-1}} + {B} X_t \\ "
        rf"Y_t &= {C} {state}{D} \end{{aligned}}$$"
    )


def mechanism(mech: Any) -> tuple[str, list[tuple[str, str]]]:
    """Title and rows of a mechanism: equations, tokens, facts with their values."""
    arrays = mech.parameters()
    if not arrays:
        return f"{mech.name}   no parameters", _described(mech, lambda formula: "")
    total = sum(int(x.size if not ops.is_torch(x) else x.numel()) for x in arrays.values())
    sizes = {**mech.sizes, **{k: v for k, v in mech.options().items() if type(v) is int}}
    known = ", ".join(f"{k} = {mech.sizes[k]}" for k in "dnpH" if k in mech.sizes)
    kind = dtype(next(iter(arrays.values())))

    def value(formula: str) -> str:
        return "" if "L" in formula else f" = {count(formula, sizes)}"

    title = f"{mech.name}   {known}   {kind}, {total} parameters"
    return title, _described(mech, value)


def family(f: Any) -> tuple[str, list[tuple[str, str]]]:
    """Title and rows of a family: equations, tokens, facts as formulas."""
    rows = _described(f.without_parameters(), lambda formula: "")
    return f"{f!r}   {f.cls.__name__}", rows


REGION_TEXT = {
    "any": "",
    "0": "eigenvalues 0",
    "1": "eigenvalues 1",
    "disc": "eigenvalues in the open unit disc",
    "closed disc": "eigenvalues in the closed unit disc",
}


def _described(mech: Any, value: Callable[[str], str]) -> list[tuple[str, str]]:
    """Equations, tokens and facts; `value` gives the " = number" behind a formula, or nothing."""
    update, output = mech.equations
    state = "h_t" if "h_" in update else "S_t"
    facts, options = mech.facts, mech.options()
    spec = "   ".join(
        f"{name} [{_spec(field)}".replace(" ", HARD) for name, field in mech.token_fields.items()
    )
    claims = [
        facts.structure, "contraction" if facts.contraction else "may expand",
        "causal" if facts.causal else "not causal",
        "sees order" if facts.order_aware else "blind to order",
        *(["normalised"] if facts.normalised else []),
        *(REGION_TEXT.get(facts.eigenvalues, f"eigenvalues in {facts.eigenvalues}"),),
    ]  # fmt: skip
    known = {k: v for k, v in options.items() if isinstance(v, (str, int))}
    chosen = [("options", ", ".join(f"{k}={v!r}" for k, v in known.items()))] if known else []
    return [
        ("update", f"{state} = {update}"),
        ("output", f"y_t = {output}"),
        ("tokens", spec),
        *chosen,
        ("facts", ", ".join(filter(None, claims)).replace(" ", HARD).replace(f",{HARD}", ", ")),
        ("state", f"{facts.state}{value(facts.state)} numbers"),
        ("cost", f"{facts.flops}{value(facts.flops)} flops per token"),
        ("source", facts.source),
    ]


def _spec(field: Any) -> str:
    """ "L n] < 0" for the field "L n < 0"."""
    domain = "" if str(field.domain) == "real" else f" {field.domain}"
    return f"{' '.join(field.axes)}]{domain}"
