"""Systems as sympy matrices and as LaTeX."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dsf.core import ops
from dsf.core.arrays import to_numpy
from dsf.core.errors import DTypeError, UnknownNameError
from dsf.core.system import LTV
from dsf.core.worlds import ARB
from dsf.interop.steps import Head, head_index, step_matrices

PARTS = ("all", "recurrence", "kernel")


class SymbolicSystem(NamedTuple):
    """The matrices of every step and the kernel M [L r, L m], as `sympy.Matrix`.

    A, B, C, D are tuples with one matrix per step; `read` is "after" or "before" the update.
    """

    A: tuple[Any, ...]
    B: tuple[Any, ...]
    C: tuple[Any, ...]
    D: tuple[Any, ...]
    kernel: Any
    read: str


def to_sympy(ltv: LTV, head: Head = None) -> SymbolicSystem:
    """One head of a system of symbols or floats as sympy matrices: A [n n], B [n m], C [r n], D
    [r m] for every step, and the kernel [L r, L m].

    Raises ShapeError if several heads exist and none is chosen; DTypeError for balls.

    >>> import dsf, sympy
    >>> from dsf.core.system import LTV
    >>> from dsf.core.transition import Diag
    >>> a, k, q = (np.array([[s]]) for s in sympy.symbols("a k q", positive=True))
    >>> ltv = LTV(Diag(a=a), k[None], q[None], steps=2)
    >>> dsf.interop.to_sympy(ltv).kernel
    Matrix([
    [  k*q,   0],
    [a*k*q, k*q]])
    """
    import sympy

    index = head_index(ltv, head, "to_sympy")
    if ops.world(*ltv.arrays()) is ARB:
        raise DTypeError(
            "to_sympy: a ball is an interval and has no sympy value. Build the system from "
            "symbols, rationals or floats."
        )
    steps = [step_matrices(ltv, t, index) for t in range(ltv.length)]
    A, B, C, D = (tuple(sympy.Matrix(x) for x in column) for column in zip(*steps, strict=True))
    M, rows = to_numpy(ltv.kernel()), (ltv.length * ltv.r, ltv.length * ltv.m)
    M = M.reshape(*M.shape[: len(ltv.batch)], *rows)
    M = np.broadcast_to(M, (*ltv.batch, *rows))[index]
    return SymbolicSystem(A, B, C, D, sympy.Matrix(M), ltv.read)


def named_functions(x: Any) -> Any:
    """A sympy expression or matrix with sigmoid and softplus put back where they were expanded.

        log(1 + e^w) -> softplus(w),     (1 + e^w)^(-c) -> sigmoid(-w)^c  for a number c > 0

    For reading; proofs use the expanded form.

    >>> import sympy
    >>> x = sympy.Symbol("x")
    >>> named_functions(1 / (1 + sympy.exp(-x)) + sympy.log(1 + sympy.exp(x)))
    sigmoid(x) + softplus(x)
    """
    import sympy

    sigmoid, softplus = sympy.Function("sigmoid"), sympy.Function("softplus")

    def exponent(e: Any) -> Any:
        """w if e is 1 + e^w, else None."""
        rest = e - 1
        return rest.args[0] if e.is_Add and isinstance(rest, sympy.exp) else None

    def is_softplus(e: Any) -> bool:
        return isinstance(e, sympy.log) and exponent(e.args[0]) is not None

    def is_sigmoid(e: Any) -> bool:
        return e.is_Pow and e.exp.is_negative is True and exponent(e.base) is not None

    def named(e: Any) -> Any:
        e = e.replace(is_softplus, lambda s: softplus(exponent(s.args[0])))
        return e.replace(is_sigmoid, lambda s: sigmoid(-exponent(s.base)) ** (-s.exp))

    return x.applyfunc(named) if isinstance(x, sympy.MatrixBase) else named(sympy.sympify(x))


def to_latex(
    system: LTV | SymbolicSystem, head: Head = None, part: str = "all", digits: int = 4
) -> str:
    """The recurrence with its matrices, and the kernel entries, as one `aligned` block of LaTeX.

    `part` is "all", "recurrence" or "kernel".  Steps count from 0; matrices that are the same at
    every step are written once, diagonal ones as diag(...), multiples of the identity as a I;
    sigmoid and softplus appear by name; floats are rounded to `digits`.  Zero kernel entries are
    left out.  Raises UnknownNameError for another part, otherwise what `to_sympy` raises.

    >>> import dsf, sympy
    >>> from dsf.core.system import LTV
    >>> from dsf.core.transition import Diag
    >>> x = np.array([[sympy.Symbol("x_0")], [sympy.Symbol("x_1")]])
    >>> one = np.ones((1, 1, 1), dtype=int)
    >>> ltv = LTV(Diag(log_a=dsf.ops.logsigmoid(x)), one, one)
    >>> print(to_latex(ltv, part="kernel"))
    \\begin{aligned}
    M_{0,0} &= 1 \\\\
    M_{1,0} &= \\operatorname{sigmoid}{\\left(x_{1} \\right)} \\\\
    M_{1,1} &= 1
    \\end{aligned}
    """
    if part not in PARTS:
        raise UnknownNameError(f"to_latex: no part {part!r}; there is {', '.join(PARTS)}")
    s = to_sympy(system, head) if isinstance(system, LTV) else system
    lines = [] if part == "kernel" else _recurrence(s, digits)
    if part != "recurrence":
        lines += _kernel_entries(s, digits)
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


def _recurrence(s: SymbolicSystem, digits: int) -> list[str]:
    skip = any(not _is_zero(D) for D in s.D)
    seen = "S_{t}" if s.read == "after" else "S_{t-1}"
    lines = [
        "S_{t} &= A_{t} S_{t-1} + B_{t} X_{t}",
        f"Y_{{t}} &= C_{{t}} {seen}" + (" + D_{t} X_{t}" if skip else ""),
    ]
    for name in "ABCD" if skip else "ABC":
        matrices = getattr(s, name)
        if all(x == matrices[0] for x in matrices):
            lines.append(f"{name}_{{t}} &= {_matrix(matrices[0], digits, name == 'A')}")
        else:
            lines += [
                f"{name}_{{{t}}} &= {_matrix(x, digits, name == 'A')}"
                for t, x in enumerate(matrices)
            ]
    return lines


def _kernel_entries(s: SymbolicSystem, digits: int) -> list[str]:
    r, m = s.D[0].shape
    lines = []
    for i in range(len(s.D)):
        for j in range(i + 1):
            block = s.kernel[i * r : (i + 1) * r, j * m : (j + 1) * m]
            if not _is_zero(block):
                lines.append(f"M_{{{i},{j}}} &= {_matrix(block, digits)}")
    return lines or ["M &= 0"]


def _is_zero(x: Any) -> bool:
    return all(e.is_zero for e in x)  # a Float 0.0 does not equal the Integer 0


def _matrix(x: Any, digits: int, square: bool = False) -> str:
    """A matrix in the shortest notation: a number, a I, diag(...), or written out."""
    import sympy

    x = named_functions(x.applyfunc(lambda e: _rounded(e, digits)))
    if x.shape == (1, 1):
        return str(sympy.latex(x[0, 0]))
    if square and x.is_diagonal():
        entries = [x[i, i] for i in range(x.rows)]
        if len(set(entries)) == 1:
            factor = "" if entries[0] == 1 else sympy.latex(entries[0], mul_symbol=None) + " "
            factor = rf"\left({factor.strip()}\right) " if entries[0].is_Add else factor
            return f"{factor}I"
        return rf"\operatorname{{diag}}\left({', '.join(map(sympy.latex, entries))}\right)"
    return str(sympy.latex(x))


def _rounded(e: Any, digits: int) -> Any:
    import sympy

    return e.xreplace({f: sympy.Float(f, digits) for f in e.atoms(sympy.Float)})
