"""What a frozen distillation returns: floor, truncations and a fitted student, side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dsf.claims.reading import REPRODUCED, require
from dsf.core import html
from dsf.core.catalogue import family
from dsf.core.certificate import Certificate, decode, encode
from dsf.core.errors import UnknownNameError
from dsf.core.family import Family
from dsf.core.printing import at_least
from dsf.core.result import Checkable, Item, Result, Section, Text
from dsf.core.system import LTV
from dsf.core.tokens import Tokens
from dsf.core.transition import dense
from dsf.models.distil import fit, fla, frozen, gauge

SCOPE = (
    "Errors are Frobenius norms strictly below the diagonal over that of M, for this kernel alone; "
    "the skip is free. The floor holds for every linear recurrence with as many states; the others "
    "are measured in float64, and a fit is a local minimum: an upper bound of what its class can "
    "do. balanced, sequential: truncations to dense transitions; start: where the fit began."
)


@dataclass(frozen=True, eq=False)
class Row:
    """One number of states: the proved floor, and the errors of what was found.

    floor        certificate: no linear recurrence with so many states is nearer
    tokens       those of the fitted student
    balanced, sequential     truncations to dense transitions
    start, fitted   the class, where its fit starts and where it ends
    """

    floor: Certificate
    tokens: Tokens
    balanced: float
    sequential: float
    start: float
    fitted: float

    @property
    def states(self) -> int:
        """The number of states."""
        return int(self.floor.witnesses["states"])


@dataclass(frozen=True, eq=False, repr=False)
class Distilled(Result):
    """What `distil` returns of a kernel: a frozen student of a class for each number of states.

    into     the class
    rows     one for each number of states
    """

    into: Family
    rows: tuple[Row, ...]

    @property
    def kernel(self) -> np.ndarray:
        """The kernel M [L L] that was given."""
        return np.asarray(self.rows[0].floor.witnesses["M"])

    def row(self, states: int | None = None) -> Row:
        """The row of a number of states, by default the largest."""
        found = {row.states: row for row in self.rows}
        if states is None:
            return found[max(found)]
        if states not in found:
            raise UnknownNameError(
                f"distil: no student with {states} states; there are {', '.join(map(str, found))}"
            )
        return found[states]

    def system(self, states: int | None = None) -> LTV:
        """The fitted student as an LTV with the diagonal of M: frozen, for this sequence alone."""
        mech, tok = frozen.student(self.into), self.row(states).tokens
        ltv = mech.system(tok.replace(v=tok.q[:, :1]))[0]
        skip = (np.diagonal(self.kernel) - np.diagonal(frozen.kernel(mech, tok)))[:, None, None]
        return replace(ltv, D=skip if ltv.D is None else dense(ltv.D) + skip, steps=len(skip))

    def to_fla(self, v: np.ndarray, states: int | None = None) -> dict[str, Any]:
        """The arguments of the kernel of flash-linear-attention, for values v [L p]; no skip.

        Which kernel: `dsf.models.distil.fla`.  Raises UnknownNameError for tokens that have no
        place there.
        """
        tok = self.row(states).tokens.replace(v=np.asarray(v, dtype=np.float64))
        return fla.arguments(self.into.cls.name, tok.map(lambda x: x[None]))  # one head

    @property
    def certificates(self) -> tuple[Checkable, ...]:
        return tuple(row.floor for row in self.rows)

    def check(self) -> bool:
        """Recompute the floors, and the errors from kernel and tokens; True or CertificateError.

        Not the error where a fit starts, of which no tokens are kept.
        """
        super().check()
        require(self.rows, "there is no row")
        mech = frozen.student(self.into)
        for row in self.rows:
            M = row.floor.witnesses["M"]
            require(np.array_equal(M, self.kernel), "the floors are about different kernels")
            found = {
                "balanced": gauge.balanced(M, row.states).kernel(),
                "sequential": gauge.sequential(M, row.states).kernel(),
                "fitted": frozen.kernel(mech, row.tokens),
            }
            for name, other in found.items():
                told, e = getattr(row, name), fit.error(M, other)
                require(abs(told - e) <= REPRODUCED, f"the {name} error is {e:.9g}, not {told:.9g}")
        return True

    def headline(self) -> tuple[str, str]:
        L = len(self.kernel)
        return f"Frozen students in {self.into!r} of M [{L} {L}]", "floors enclosed"

    def sections(self) -> Sequence[Section]:
        head = ("states", "floor", "balanced", "sequential", "start", self.into.name)
        rows = [
            (str(r.states), f">= {at_least(r.floor.lower or 0.0, 3)}",
             *(f"{x:.4g}" for x in (r.balanced, r.sequential, r.start, r.fitted)))
            for r in self.rows
        ]  # fmt: skip
        return [Columns(head, rows), Text([Item(SCOPE)])]

    def to_data(self) -> dict[str, Any]:
        return {
            "into": repr(self.into),
            "rows": [
                {
                    "floor": r.floor.to_data(),
                    **{k: encode(getattr(r, k)) for k in NUMBERS},
                    "tokens": {k: encode(x) for k, x in r.tokens.items()},
                }
                for r in self.rows
            ],
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Distilled:
        rows = tuple(
            Row(
                Certificate.from_json(json.dumps(r["floor"])),
                Tokens(**{k: decode(x) for k, x in r["tokens"].items()}),
                *(float(decode(r[k])) for k in NUMBERS),
            )
            for r in data["rows"]
        )
        return cls(family(data["into"]), rows)


NUMBERS = ("balanced", "sequential", "start", "fitted")


@dataclass(frozen=True)
class Columns:
    """A table with a head; numbers below each other."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def lines(self) -> list[str]:
        every = [self.head, *self.rows]
        wide = [max(map(len, column)) + 2 for column in zip(*every, strict=True)]
        return ["".join(f"{x:>{w}}" for x, w in zip(r, wide, strict=True)) for r in every]

    def html(self) -> str:
        return html.table(self.rows, list(self.head))
