"""What solutions print: one screen, bounds first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dsf.core.printing import WIDTH, at_most, block, enclosed
from dsf.solvers.svm.problem import POSITIVE

if TYPE_CHECKING:
    from dsf.solvers.svm.equalities import LeastNorm
    from dsf.solvers.svm.selections import LocalOptimality
    from dsf.solvers.svm.several_tokens import GenSVM
    from dsf.solvers.svm.solution import MarginSolution

Row = tuple[str, str]
RANK = 1e-6  # singular values of W up to this times |W|_F do not count for the rank shown


def headline(s: MarginSolution) -> Row:
    """What was asked, and whether it can be."""
    verdict = {True: "feasible", False: "infeasible", None: "undecided"}[s.feasible]
    norm = f"norm='{s.norm}'" + (f", p={s.p:g}" if s.p is not None else "")
    d, e = s.problem.shape
    return f"{s.title}({norm}, W [{d} {e}], {s.problem.size} constraints)", verdict


def rows(s: MarginSolution) -> list[Row]:
    """The printed rows of a solution, bounds first."""
    if s.feasible is True:
        found = _feasible(s)
    elif s.feasible is False and s.gordan is not None:
        found = _infeasible(s.problem.size, *s.gordan)
    else:
        found = [
            ("margin", f"0 <= g* <= {at_most(s.upper, 4)}"),
            ("", "neither a W nor an exact proof of infeasibility was found"),
        ]
    found += [("solver" if i == 0 else "", str(a)) for i, a in enumerate(s.attempts)]
    found += [("note", note) for note in s.notes]
    return found + ([("theorem", s.reference)] if s.reference else [])


def _infeasible(size: int, support: np.ndarray, weights: list[int]) -> list[Row]:
    shown = float(max(weights)) if max(weights).bit_length() < 1000 else float("inf")
    return [
        ("margin", "0: no W satisfies the constraints, whatever the norm"),
        ("witnesses", f"Gordan vector on {len(support)} of {size} rows, integers"),
        ("conditions", "sum of the weighted rows is exactly 0, weights >= 0"),
        ("arithmetic", f"exact integers, the largest about {shown:.1e}"),
    ]


def _feasible(s: MarginSolution) -> list[Row]:
    W, lam = s.W, s.multipliers
    d, e = s.problem.shape
    support = 0 if lam is None else int(np.sum(np.abs(lam) > POSITIVE * np.abs(lam).max()))
    V = None if W is None else W / np.abs(W).max()  # squares of its entries stay in range
    rank = 0 if V is None else int(np.linalg.matrix_rank(V, tol=RANK * np.linalg.norm(V)))
    found = [
        ("margin", f"{enclosed(s.lower, 'g*', s.upper, 10)}   relative gap {s.gap:.1e}"),
        ("norm", _between(s)),
        ("witnesses", f"W [{d} {e}] (rank {rank})   lam [{s.problem.size}] (support {support})"),
    ]
    shown = "   ".join(f"{name} {x:.1e}" for name, x in s.residuals.items())
    if shown:
        found.append(("conditions", shown))
    if s.rank is not None:
        k, tail = s.rank.witnesses["k"], at_most(s.rank.upper or 0.0, 2)
        found.append(("rank", f"at most {k}: sigma_{k + 1} + ... <= {tail} in every solution"))
    if s.unique is False:
        found.append(("note", "W is not unique: `.other` is another solution (float test)"))
    if s.unique is None and s.norm == "nuclear":
        found.append(("note", "whether W is unique is not decided"))
    if s.multipliers_unique is False:
        found.append(("note", "dual degenerate: the multipliers are not unique (float test)"))
    return [
        *found,
        ("arithmetic", "float64, bounds rounded outward; check() uses Arb, 128 bits"),
    ]


def _between(s: MarginSolution) -> str:
    """Bounds of the least norm, 1/g*."""
    low, high = np.nextafter(1.0 / s.upper, 0.0), np.nextafter(1.0 / s.lower, np.inf)
    return enclosed(low, "|W|", high, 10)


def least_norm(s: LeastNorm) -> str:
    """The lines of `repr(least_norm)`."""
    d, e = s.W.shape
    title = f"LeastNorm(W [{d} {e}], {s.problem.size} equalities)"
    if s.problem.size == 0:
        return block(title, [("norm", "0: without equalities W = 0")])
    return block(title, [("norm", enclosed(s.lower, "|W|", s.upper, 10))])


def gen_svm(s: GenSVM) -> str:
    """The lines of `repr(gen_svm)`: both parts, and that they are orthogonal."""
    V, F = s.direction.W, s.finite.W
    lines = ["Gen-SVM: W ~ W_fin + C W_mm, C -> inf", repr(s.direction), repr(s.finite)]
    if V is not None and F.any():
        cosine = abs(float(np.sum(V * F))) / float(np.linalg.norm(V) * np.linalg.norm(F))
        lines.append(f"  orthogonal  |cos(W_fin, W_mm)| = {cosine:.1e}")
    return "\n".join(lines)


def local_optimality(s: LocalOptimality) -> str:
    """The lines of `repr(local_optimality)`."""
    verdict = {True: "locally optimal", False: "not locally optimal", None: "undecided"}
    head, outcome = f"Selection{s.selection}", verdict[s.locally_optimal]
    title = f"{head}{outcome:>{max(len(outcome) + 2, WIDTH - len(head))}}"
    norm = {
        True: "",
        False: "the selection cannot be separated",
        None: "whether the selection can be separated is not decided",
    }[s.solution.feasible]
    found = [("norm", norm or _between(s.solution))]
    if s.rivals:
        listed = ", ".join(f"token {t} of sample {i}" for i, t in s.rivals)
        word = "may be active" if s.locally_optimal is None else "one of these is active"
        found.append(("rivals", f"{listed}: {word}"))
    return block(title, found)
