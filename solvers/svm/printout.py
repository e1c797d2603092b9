"""The printout of a solution: one screen, bounds first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dsf.core.printing import at_most, enclosed
from dsf.solvers.svm.problem import POSITIVE

if TYPE_CHECKING:
    from dsf.solvers.svm.equalities import LeastNorm
    from dsf.solvers.svm.selections import LocalOptimality
    from dsf.solvers.svm.several_tokens import GenSVM
    from dsf.solvers.svm.solution import MarginSolution

WIDTH = 79
RANK = 1e-6  # singular values of W up to this times |W|_F do not count for the rank shown


def solution(s: MarginSolution) -> str:
    """The lines of `repr(solution)`."""
    verdict = {True: "feasible", False: "infeasible", None: "undecided"}[s.feasible]
    norm = f"norm='{s.norm}'" + (f", p={s.p:g}" if s.p is not None else "")
    d, e = s.problem.shape
    head = f"{s.title}({norm}, W [{d} {e}], {s.problem.size} constraints)"
    lines = [f"{head}{verdict:>{max(2, WIDTH - len(head))}}"]
    if s.feasible is True:
        lines += _feasible(s)
    elif s.feasible is False and s.gordan is not None:
        rows, weights = s.gordan
        lines.append(_row("margin", "0: no W satisfies the constraints, whatever the norm"))
        lines.append(
            _row("witnesses", f"Gordan vector on {len(rows)} of {s.problem.size} rows, integers")
        )
        lines.append(_row("conditions", "sum of the weighted rows is exactly 0, weights >= 0"))
        shown = float(max(weights)) if max(weights).bit_length() < 1000 else float("inf")
        lines.append(_row("arithmetic", f"exact integers, the largest about {shown:.1e}"))
    else:
        lines.append(_row("margin", f"0 <= g* <= {at_most(s.upper, 4)}"))
        lines.append(_row("", "neither a W nor an exact proof of infeasibility was found"))
    lines += [_row("solver" if i == 0 else "", str(a)) for i, a in enumerate(s.attempts)]
    lines += [_row("note", note) for note in s.notes]
    if s.reference:
        lines.append(_row("theorem", s.reference))
    return "\n".join(lines)


def _feasible(s: MarginSolution) -> list[str]:
    r = s.residuals
    W, lam = s.W, s.multipliers
    lines = [
        _row("margin", enclosed(s.lower, "g*", s.upper, 10), f"relative gap {s.gap:.1e}"),
        _row("norm", _between(s)),
    ]
    d, e = s.problem.shape
    support = 0 if lam is None else int(np.sum(np.abs(lam) > POSITIVE * np.abs(lam).max()))
    V = None if W is None else W / np.abs(W).max()  # squares of its entries stay in range
    rank = 0 if V is None else int(np.linalg.matrix_rank(V, tol=RANK * np.linalg.norm(V)))
    lines.append(
        _row(
            "witnesses",
            f"W [{d} {e}] (rank {rank})   lam [{s.problem.size}] (support {support})",
        )
    )
    shown = "   ".join(f"{name} {x:.1e}" for name, x in r.items())
    if shown:
        lines.append(_row("conditions", shown))
    if s.rank is not None:
        k, tail = s.rank.witnesses["k"], at_most(s.rank.upper or 0.0, 2)
        lines.append(_row("rank", f"at most {k}: sigma_{k + 1} + ... <= {tail} in every solution"))
    if s.unique is False:
        lines.append(_row("note", "W is not unique: `.other` is another solution (float test)"))
    if s.unique is None and s.norm == "nuclear":
        lines.append(_row("note", "whether W is unique is not decided"))
    if s.multipliers_unique is False:
        lines.append(_row("note", "dual degenerate: the multipliers are not unique (float test)"))
    lines.append(_row("arithmetic", "float64, bounds rounded outward; check() uses Arb, 128 bits"))
    return lines


def _between(s: MarginSolution) -> str:
    """Bounds of the least norm, 1/g*."""
    low, high = np.nextafter(1.0 / s.upper, 0.0), np.nextafter(1.0 / s.lower, np.inf)
    return enclosed(low, "|W|", high, 10)


def _row(label: str, text: str, right: str = "") -> str:
    line = f"  {label:<13} {text}".rstrip()
    return f"{line}{right:>{max(3, WIDTH - len(line))}}" if right else line


def least_norm(s: LeastNorm) -> str:
    """The lines of `repr(least_norm)`."""
    d, e = s.W.shape
    lines = [f"LeastNorm(W [{d} {e}], {s.problem.size} equalities)"]
    if s.problem.size == 0:
        return f"{lines[0]}\n{_row('norm', '0: without equalities W = 0')}"
    lines.append(_row("norm", enclosed(s.lower, "|W|", s.upper, 10)))
    return "\n".join(lines)


def gen_svm(s: GenSVM) -> str:
    """The lines of `repr(gen_svm)`: both parts, and that they are orthogonal."""
    V, F = s.direction.W, s.finite.W
    lines = ["Gen-SVM: W ~ W_fin + C W_mm, C -> inf", repr(s.direction), repr(s.finite)]
    if V is not None and F.any():
        cosine = abs(float(np.sum(V * F))) / float(np.linalg.norm(V) * np.linalg.norm(F))
        lines.append(_row("orthogonal", f"|cos(W_fin, W_mm)| = {cosine:.1e}"))
    return "\n".join(lines)


def local_optimality(s: LocalOptimality) -> str:
    """The lines of `repr(local_optimality)`."""
    verdict = {True: "locally optimal", False: "not locally optimal", None: "undecided"}
    head = f"Selection{s.selection}"
    lines = [f"{head}{verdict[s.locally_optimal]:>{max(2, WIDTH - len(head))}}"]
    if s.solution.feasible:
        lines.append(_row("norm", _between(s.solution)))
    elif s.solution.feasible is False:
        lines.append(_row("norm", "the selection cannot be separated"))
    else:
        lines.append(_row("norm", "whether the selection can be separated is not decided"))
    if s.rivals:
        listed = ", ".join(f"token {t} of sample {i}" for i, t in s.rivals)
        word = "may be active" if s.locally_optimal is None else "one of these is active"
        lines.append(_row("rivals", f"{listed}: {word}"))
    return "\n".join(lines)
