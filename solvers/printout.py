"""The printout of a solution: one screen, bounds first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dsf.solvers.solution import MarginSolution

WIDTH = 79


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
        lines.append(_row("margin", f"0 <= g* <= {s.upper:.3e}"))
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
        _row("margin", f"{s.lower:.10g} <= g* <= {s.upper:.10g}", f"relative gap {s.gap:.1e}"),
        _row("norm", f"{1.0 / s.upper:.10g} <= |W| <= {s.value:.10g}"),
    ]
    d, e = s.problem.shape
    support = 0 if lam is None else int(np.sum(np.abs(lam) > 1e-9 * np.abs(lam).max()))
    rank = 0 if W is None else int(np.linalg.matrix_rank(W, tol=1e-6 * np.linalg.norm(W)))
    lines.append(
        _row(
            "witnesses",
            f"W [{d} {e}] (rank {rank})   lam [{s.problem.size}] (support {support})",
        )
    )
    shown = "   ".join(f"{name} {x:.1e}" for name, x in r.items())
    lines.append(_row("conditions", f"primal ok   dual ok   {shown}"))
    if s.rank is not None:
        k, tail = s.rank.witnesses["k"], s.rank.upper
        lines.append(
            _row("rank", f"at most {k}: sigma_{k + 1} + ... <= {tail:.1e} in every solution")
        )
    if s.unique is False:
        lines.append(_row("note", "W is not unique: the solutions form a set"))
    if s.multipliers_unique is False:
        lines.append(_row("note", "dual degenerate: the multipliers are not unique"))
    lines.append(_row("arithmetic", "float64, bounds rounded outward; check() uses Arb, 128 bits"))
    return lines


def _row(label: str, text: str, right: str = "") -> str:
    line = f"  {label:<13} {text}".rstrip()
    return f"{line}{right:>{max(3, WIDTH - len(line))}}" if right else line
