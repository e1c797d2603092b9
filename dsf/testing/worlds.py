"""The contract of a mechanism, part 3: one text of equations, four worlds, and the text itself."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np

from dsf.core import metrics, worlds
from dsf.core.kinds import Attention, Step
from dsf.core.mechanism import Mechanism
from dsf.core.state import State
from dsf.core.tokens import Tokens
from dsf.testing.structure import draw, require, to_longdouble

BITS = 128
STEP = 1e-5  # of a central difference: its error, about STEP^2, is that of rounding over STEP
DERIVATIVE = 1e-7  # what both errors of a central difference may add up to, relatively
WIDTH = 1e-20  # relative radius of a ball after a few hundred operations at 128 bits
INSIDE = 1 - 1e-9  # keeps a sampled point inside its ball after rounding


# ----------------------------------------------------------------- floats and torch
def float64_is_accurate(mech: Mechanism) -> None:
    """float64 against the same equations in extended precision, end to end, within the gate."""
    u = draw(mech, 6, seed=10)
    exact = mech.map(to_longdouble)(to_longdouble(u))
    scale, gate = metrics.end_to_end(mech, u)
    R = metrics.ratio(mech(u), exact, scale)
    require(R <= gate, mech, f"float64 against longdouble: R = {R:.3g} above the gate {gate:.3g}")


def float32_is_accurate(mech: Mechanism) -> None:
    """float32 parameters and input give a float32 output within the gate."""
    small = mech.map(lambda x: x.astype(np.float32))
    u = draw(mech, 6, seed=10).astype(np.float32)
    y = small(u)
    require(y.dtype == np.float32, mech, f"float32 in, {y.dtype} out")
    scale, gate = metrics.end_to_end(
        small.map(lambda x: x.astype(np.float64)), u.astype(np.float64)
    )
    exact = small.map(lambda x: x.astype(np.float64))(u.astype(np.float64))
    R = metrics.ratio(y, exact, scale)
    require(R <= gate, mech, f"float32 against float64: R = {R:.3g} above the gate {gate:.3g}")


def torch_agrees(mech: Mechanism) -> None:
    """torch gives the numbers of numpy, within the gate; so does the module."""
    import torch

    u = draw(mech, 6, seed=11)
    scale, gate = metrics.end_to_end(mech, u)
    for name, f in (("torch", mech), ("the module", mech.to_torch())):
        y = f(torch.as_tensor(u))
        R = metrics.ratio(y, mech(u), scale)
        require(y.dtype == torch.float64, mech, f"{name}: float64 in, {y.dtype} out")
        require(R <= gate, mech, f"{name} against numpy: R = {R:.3g} above the gate {gate:.3g}")


def gradients_are_derivatives(mech: Mechanism) -> None:
    """autograd against a central difference in one random direction of input and parameters."""
    import torch

    rng = np.random.default_rng(12)
    u = draw(mech, 4, seed=12)
    x = torch.as_tensor(u).requires_grad_()
    held = mech.map(lambda p: torch.as_tensor(p).clone().requires_grad_())
    y = held(x)
    weight = rng.standard_normal(y.shape)
    (y * torch.as_tensor(weight)).sum().backward()
    leaves = {"u": x, **held.parameters()}
    direction = {k: rng.standard_normal(v.shape) for k, v in leaves.items()}
    terms = [(v.grad.numpy() * direction[k]) for k, v in leaves.items() if v.grad is not None]

    def moved(h: float) -> float:
        there = mech.map(_Shifted(direction, h))
        return float(np.sum(there(u + h * direction["u"]) * weight))

    slope, size = sum(t.sum() for t in terms), sum(np.abs(t).sum() for t in terms)
    # outputs that move fast by their size are near a pole, the zero of a denominator
    worth = np.abs(y.detach().numpy() * weight).sum()
    h = STEP * float(worth / size if 0 < worth < size else 1)
    difference = (moved(h) - moved(-h)) / (2 * h)
    error = abs(difference - slope) / max(size, abs(moved(0.0)))
    require(
        error <= DERIVATIVE, mech, f"autograd off central differences by {error:.2g}, relatively"
    )


class _Shifted:
    """Each parameter moved by h in a direction of its own."""

    named = True

    def __init__(self, direction: dict[str, np.ndarray], h: float) -> None:
        self.direction, self.h = direction, h

    def __call__(self, x: np.ndarray, name: str) -> np.ndarray:
        return x + self.h * self.direction[name]


# ------------------------------------------------------------------------- symbols
def symbols_agree(mech: Mechanism) -> None:
    """At L = 2 the symbolic output, evaluated, is the numeric one; it holds no Float.

    Expressions grow fast, so mechanisms with more than 45 parameters are left out.
    """
    import sympy

    if sum(x.size for x in mech.parameters().values()) > 45:
        return
    u = draw(mech, 2, seed=13)
    symbolic, letters = mech.map(worlds.symbols), worlds.symbolic_input(2, mech.d)
    y = symbolic(letters)
    clean = not any(sympy.sympify(e).has(sympy.Float) for e in y.flat)
    require(clean, mech, "the symbolic output holds a sympy Float: a float literal in an equation")
    values = dict(zip(letters.flat, u.flat, strict=True))
    for name, x in symbolic.parameters().items():
        values |= dict(zip(x.flat, mech.parameters()[name].flat, strict=True))
    scale, gate = metrics.end_to_end(mech, u)
    R = metrics.ratio(mech(u), worlds.evaluate(y, values), scale)
    require(R <= gate, mech, f"numpy against symbols: R = {R:.3g} above the gate {gate:.3g}")


# --------------------------------------------------------------------------- balls
def balls_enclose_the_floats(mech: Mechanism) -> None:
    """Exact inputs at 128 bits: relative radius below 1e-20, the float within the gate of it."""
    u = draw(mech, 5, seed=14)
    y = _enclosure(mech, u, 0.0)[-1]
    mid, rad = worlds.midpoints(y), worlds.radii(y)
    scale, gate = metrics.end_to_end(mech, u)
    least = np.finfo(np.float64).smallest_subnormal  # what the radius of an exact 0 is rounded to
    allowed = np.maximum(WIDTH * np.abs(mid), least)
    wide = (rad / allowed).max()
    require(wide <= 1, mech, f"relative radius {wide * WIDTH}")
    R = metrics.ratio(mech(u), mid, scale)
    require(R <= gate, mech, f"float64 against balls: R = {R:.3g} above the gate {gate:.3g}")


def balls_contain_every_output(mech: Mechanism) -> None:
    """Input balls that straddle zero: every sampled input has its tokens and output inside."""
    rng, L = np.random.default_rng(15), 2
    chess = (np.arange(L)[:, None] + np.arange(mech.d)) % 2  # a norm of such rows is not zero
    radii = (0.05, 0.05, 0.05, 0.5, 0.5, 0.5)
    cases: list[tuple[Any, float]] = [(rng.uniform(-r, r, (L, mech.d)) / 2, r) for r in radii]
    cases += [(chess - 0.0, 0.05), (chess - 1.0, 0.05)]
    for u, radius in cases:
        wide = _enclosure(mech, u, radius)
        for _ in range(6):
            inner = u + rng.choice([-1.0, -0.5, 0.0, 0.7, 1.0], u.shape) * radius * INSIDE
            for a, b in zip(wide, _enclosure(mech, inner, 0.0), strict=True):
                inside = all(_within(p, q) for p, q in zip(a.flat, b.flat, strict=True))
                require(inside, mech, f"a token or output of an input within {radius} escapes")


def balls_stay_finite(mech: Mechanism) -> None:
    """Input radius 0.02: finite, unless the ball of a denominator (a determinant) contains zero."""
    u = draw(mech, 4, seed=16)
    y = _enclosure(mech, u, 0.02)[-1]
    finite = all(e.is_finite() for e in y.flat)
    require(finite or _divides_by_zero(mech, u, 0.02), mech, "an enclosure is infinite")


def _enclosure(mech: Mechanism, u: np.ndarray, radius: float) -> list[np.ndarray]:
    """The token fields and, last, the output."""
    with worlds.precision(BITS):
        exact, x = mech.map(worlds.balls), worlds.balls(u, radius)
        tok = exact.tokens(x)
        y = exact.merge(exact.advance(tok, State())[0])
        return [*(v for _, v in tok.items()), y]


def _within(ball: Any, exact: Any) -> bool:
    """An undefined ball claims nothing, so it contains everything."""
    return not ball.is_finite() or bool(ball.contains(exact))


def _divides_by_zero(mech: Mechanism, u: np.ndarray, radius: float) -> bool:
    """Whether a norm of keys, a normaliser or a determinant has a ball that contains zero."""
    with worlds.precision(BITS):
        exact = mech.map(worlds.balls)
        tok: Tokens = exact.tokens(worlds.balls(u, radius))
        if any(not e.is_finite() for _, x in tok.items() for e in x.flat):
            return True
        if any(d.contains(0) for d in _determinants(exact, tok)):
            return True
        if isinstance(mech, Attention) or isinstance(mech, Step):
            return False
        ltv, X = exact.system(tok)
        eta = exact.normaliser(ltv.scan(X)[0], tok)
        return eta is not None and any(e.contains(0) for e in eta.flat)


def _determinants(mech: Mechanism, tok: Tokens) -> list[Any]:
    """The balls of the determinants of all matrices that `ops.solve` is given."""
    import flint

    given: list[np.ndarray] = []

    def solve(A: np.ndarray, b: np.ndarray) -> np.ndarray:
        given.append(A)
        return type(worlds.ARB).solve(worlds.ARB, A, b)

    with patch.object(worlds.ARB, "solve", solve):
        mech.advance(tok, State())
    return [flint.arb_mat(A[i].tolist()).det() for A in given for i in np.ndindex(A.shape[:-2])]


# ------------------------------------------------------------------------ the text
def equations_are_pure(mech: Mechanism) -> None:
    """No numpy, no float literal in an equation, so that the text is the same in every world.

    An equation is every method of the class except `init` and `validate`, and every function of the
    same file that one of them names.  Annotations may say np.ndarray.
    """
    cls = type(mech)
    path = inspect.getsourcefile(cls)
    require(path, mech, "the source of the class was not found")
    with open(str(path), encoding="utf-8") as file:
        found = impurities(ast.parse(file.read()), cls.__name__)
    require(not found, mech, "; ".join(found))


def impurities(tree: ast.Module, cls: str = "") -> list[str]:
    """What the equations of a class must not hold, with line numbers.

    Without a class: those of every class of the file, and its public functions, which the equations
    of other files may use.
    """
    functions = {f.name: f for f in tree.body if isinstance(f, ast.FunctionDef)}
    classes = [c for c in tree.body if isinstance(c, ast.ClassDef) and cls in ("", c.name)]
    public = [] if cls else [f for name, f in functions.items() if not name.startswith("_")]
    queue: list[ast.FunctionDef] = public + [
        f
        for c in classes
        for f in c.body
        if isinstance(f, ast.FunctionDef) and f.name not in ("init", "validate")
    ]
    seen: set[str] = set()
    found: list[str] = []
    while queue:
        f = queue.pop()
        for node in [x for statement in f.body for x in ast.walk(statement)]:
            if isinstance(node, ast.Name) and node.id in functions and node.id not in seen:
                seen.add(node.id)
                queue.append(functions[node.id])
            what = _impurity(node)
            if what:
                found.append(f"line {node.lineno}: {what} in `{f.name}`")  # type: ignore[attr-defined]
    return sorted(found)


WORLD_NAMES = ("np", "numpy", "math", "cmath", "torch", "sympy", "flint")


def _impurity(node: ast.AST) -> str:
    if isinstance(node, ast.Name) and node.id in WORLD_NAMES:
        return node.id
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("float", "complex"):
        return f"{node.func.id}()"  # type: ignore[attr-defined]
    if isinstance(node, ast.Constant) and isinstance(node.value, (float, complex)):
        return f"the literal {node.value!r}"
    return ""


WORLDS: tuple[Callable[[Mechanism], None], ...] = (
    equations_are_pure,  # first: what is not pure fails in some world, with a message of that world
    float64_is_accurate,
    float32_is_accurate,
    torch_agrees,
    gradients_are_derivatives,
    symbols_agree,
    balls_enclose_the_floats,
    balls_contain_every_output,
    balls_stay_finite,
)
