"""What `replace` reports: the recurrence of each head of each call, with its error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dsf.claims.reading import require
from dsf.core.optional import pandas
from dsf.core.printing import at_least, at_most, n_states
from dsf.core.result import Checkable, Item, Result, Section, Text
from dsf.models.capture import Call
from dsf.models.printing import many
from dsf.states import Realization
from dsf.states.rounding import ROOM

WORST = 8  # rows that are printed
SCOPE = (
    "Errors are proved for the weights of these inputs alone, relative in the operator norm; the "
    "coefficients know the whole input. What the model loses is measured: another recurrence with "
    "as many states may lose less, and other texts may need more."
)


@dataclass(frozen=True)
class Row:
    """A head of a call that was replaced.

    index       how many attention calls came before it;   sequence   of the batch
    states      of the recurrence, both directions together
    error       proved: |M - M^| <= error |M|;   directions   2 where it looks at later tokens
    floor       proved: no recurrence with so many states has a smaller error;  None for rtol
    necessary   proved: no recurrence with fewer states has the error asked for;  None for states
    """

    module: str
    head: int
    index: int
    sequence: int
    tokens: int
    states: int
    error: float
    directions: int
    floor: float | None
    necessary: int | None


def states_of(found: Realization) -> int:
    """The states of a recurrence, both directions together."""
    return sum(system.n for system in (found.system, found.backward) if system is not None)


def error_of(found: Realization) -> float:
    """The proved error of a recurrence, relative to |M|."""
    w = found.certificate.witnesses
    one = w["relative"] and len(w["heads"]) == 1
    require(one, "the proof is not about one head, relative to its norm")
    head = w["heads"][0]
    norm = float(head["norm_low"])
    return float(head["error"]) / norm * (1 + ROOM) if norm else 0.0


def weights_in(found: Realization) -> np.ndarray:
    """The weights [L L] that a proof is about."""
    M: np.ndarray = found.certificate.witnesses["heads"][0]["M"]
    require(M.shape[1::2] == (1, 1), "the proof is about blocks")
    return M[:, 0, :, 0]


def told(found: Realization) -> dict[str, Any]:
    """What a row says of its recurrence, read off the proof."""
    w = found.certificate.witnesses
    counted = w["question"] == "states"
    return {
        "tokens": len(w["heads"][0]["M"]),
        "states": states_of(found),
        "error": error_of(found),
        "directions": 1 if found.backward is None else 2,
        "floor": None if counted else float(found.lower),
        "necessary": int(found.lower) if counted else None,
    }


def row(call: Call, head: int, sequence: int, found: Realization) -> Row:
    """The row of a head."""
    return Row(call.module, head, call.index, sequence, **told(found))


@dataclass(eq=False, repr=False)
class Replaced(Result):
    """The heads that were replaced, in the order of their calls, and the proofs of their errors."""

    rows: list[Row]
    proofs: list[Realization]

    @property
    def errors(self) -> np.ndarray:
        """The proved relative error of each row."""
        return np.array([r.error for r in self.rows])

    @property
    def states(self) -> int:
        """States of all rows together."""
        return sum(r.states for r in self.rows)

    def headline(self) -> tuple[str, str]:
        heads, modules = heads_of(self.rows), len({r.module for r in self.rows})
        more = f", {len(self.rows)} rows" if len(self.rows) > heads else ""
        what = f"{many(heads, 'head')} in {many(modules, 'module')} as recurrences"
        return what + more, "enclosed" if self.rows else ""

    def sections(self) -> Sequence[Section]:
        if not self.rows:
            return [Text([Item("nothing was replaced")])]
        errors, sizes = self.errors, np.array([r.states for r in self.rows])
        what = "head" if heads_of(self.rows) == len(self.rows) else "row"
        lines = [
            f"states of a {what}: {_span(sizes)}, {sizes.sum()} in all",
            f"proved errors: median {at_most(float(np.median(errors)), 3)} |M|, largest "
            f"{at_most(float(errors.max()), 3)} |M|",
        ]
        both = heads_of([r for r in self.rows if r.directions == 2])
        if both:
            look = f"{many(both, 'head')} look{'s' * (both == 1)}"
            lines.append(f"{look} at later tokens: a second recurrence from the end")
        worst = sorted(self.rows, key=lambda r: -r.error)[:WORST]
        again = len({(r.module, r.head, r.index) for r in self.rows}) > heads_of(self.rows)
        items = [Item(_line(r, again), 2, 4) for r in worst]
        return [Text([Item(x) for x in lines]), Text(items, "largest errors"), Text([Item(SCOPE)])]

    @property
    def certificates(self) -> tuple[Checkable, ...]:
        return tuple(c for p in self.proofs for c in p.certificates)

    def check(self) -> bool:
        """Recompute the certificates, and that the rows say what they prove; CertificateError."""
        super().check()
        require(len(self.rows) == len(self.proofs), "each row has a proof")
        for r, p in zip(self.rows, self.proofs, strict=True):
            require(told(p).items() <= asdict(r).items(), f"the proof does not say this: {r}")
        return True

    def to_pandas(self) -> Any:
        """One row per head of a call; needs pandas."""
        return pandas("Replaced.to_pandas").DataFrame([asdict(r) for r in self.rows])

    def to_data(self) -> dict[str, Any]:
        return {
            "rows": [asdict(r) for r in self.rows],
            "proofs": [p.to_data() for p in self.proofs],
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Replaced:
        rows = [Row(**r) for r in data["rows"]]
        return cls(rows, [Realization.from_data(p) for p in data["proofs"]])


def heads_of(rows: Sequence[Row]) -> int:
    """How many heads they are about: a head has a row for each call and sequence."""
    return len({(r.module, r.head) for r in rows})


def _span(sizes: np.ndarray) -> str:
    low, high = sizes.min(), sizes.max()
    return f"{low}" if low == high else f"{low} to {high}"


def _line(r: Row, again: bool) -> str:
    whose = f"{r.module or 'model'} head {r.head}" + (f" sequence {r.sequence}" * bool(r.sequence))
    whose += f" (attention call {r.index + 1})" * again
    where = f"{whose}, {n_states(r.states)}: {at_most(r.error, 3)} |M|"
    if r.floor is not None:
        return f"{where}, with so many none is below {at_least(r.floor, 3)}" if r.floor else where
    return f"{where}, {n_states(r.necessary or 0)} necessary"
