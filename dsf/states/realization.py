"""A system for an operator, the two-sided bounds it proves, and the certificate of both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from dsf.claims import base
from dsf.claims import realization as claim
from dsf.claims.reading import require
from dsf.core.certificate import Certificate, decode, encode
from dsf.core.errors import CertificateError
from dsf.core.printing import at_least, at_most, exactly, n_states
from dsf.core.result import Result, Rows, Section
from dsf.core.system import LTV
from dsf.states import systems
from dsf.states.apriori import TheoremBound
from dsf.states.hankel import Cut, block
from dsf.states.operator import System, diagonal
from dsf.states.rounding import ROOM
from dsf.states.search import NOTES, Answer, gap, theorems_of


@dataclass(frozen=True, eq=False, repr=False)
class Realization(Result):
    """A system for an operator, with two-sided bounds that hold for the stored floats.

    system       LTV (read="before"); its kernel is within `error` of M.  Heads are a batch axis
    backward     None for a causal M; else the LTV of the strictly upper part, run from the end:
                 y = system.scan(X) + flip(backward.scan(flip(X))), flip along time
    lower, upper states of one head, forward and backward together: `lower` are necessary, `upper`
                 are those of the system, in the head that needs most.  When `states` was asked:
                 bounds of the best error instead
    all_heads    the same two numbers of states for all heads together
    error        proved bound of the absolute operator 2-norm |M - M^|
    certificate  its `check()` recomputes all of this from the witnesses
    theorems     bounds that a theorem gives without a system: reported beside, never as `upper`
    heads        one Realization per head ([H L L] only)
    batch        whether the system has a head axis

    >>> import dsf
    >>> found = dsf.realize(np.eye(5, k=-2), atol=0.5)
    >>> found.lower, found.upper, found.check()
    (2, 2, True)
    """

    certificate: Certificate
    theorems: tuple[TheoremBound, ...] = ()
    heads: tuple[Realization, ...] = ()
    notes: tuple[str, ...] = ()
    batch: bool = False
    seconds: float = 0.0

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """The certificate of all heads together, then those of each."""
        return (self.certificate, *(head.certificate for head in self.heads))

    @property
    def lower(self) -> float:
        """The proved lower bound: of the states, or of the best error."""
        return 0 if self.certificate.lower is None else self.certificate.lower

    @property
    def upper(self) -> float:
        """The proved upper bound: of the states, or of the best error."""
        return float("inf") if self.certificate.upper is None else self.certificate.upper

    @property
    def all_heads(self) -> tuple[int, int]:
        """States that are necessary, and those of the systems: all heads together."""
        low, high = self._claim.all_heads
        return low, high

    @cached_property
    def _claim(self) -> claim.Realization:
        found = base.read(self.certificate)
        if not isinstance(found, claim.Realization):
            raise CertificateError(f"no realization follows from a {self.certificate.kind!r}")
        return found

    @property
    def error(self) -> float:
        """The proved bound of |M - M^|_2, the largest over heads."""
        return max(float(head["error"]) for head in self.certificate.witnesses["heads"])

    @cached_property
    def system(self) -> LTV:
        """The system, made from the witnesses of the certificate."""
        return systems.ltv(self.certificate.witnesses["heads"], "forward", self.batch)

    @cached_property
    def backward(self) -> LTV | None:
        """The system of the strictly upper part, run from the end; None for a causal M."""
        heads = self.certificate.witnesses["heads"]
        return systems.ltv(heads, "backward", self.batch) if systems.has_backward(heads) else None

    def check(self) -> bool:
        """Recompute the certificates; True, or CertificateError.

        Also that `heads` are those of the certificate, that the theorems give what is told of them
        (singular values in float64), and that the notes are such as a search leaves.
        """
        super().check()
        w, count = self.certificate.witnesses, len(self._claim.heads)
        fits = type(self.batch) is bool and len(self.heads) == count * self.batch
        require(fits and (self.batch or count == 1), f"the certificate is about {count} operators")
        for head, own in zip(self.heads, w["heads"], strict=bool(self.heads)):
            kept = ("question", "asked", "relative", "radius")
            wanted = {**{k: w[k] for k in kept}, "heads": [own]}
            same = encode(dict(head.certificate.witnesses)) == encode(wanted)
            require(same and head.check(), "a head is not that of the certificate")
        M = self._claim.heads[0].M
        require(count == 1 or not self.theorems, "the theorems are about one operator")
        for told in self.theorems:
            typed = type(told.states) is int and type(told.error) is float and told.states >= 0
            require(typed, "a theorem gives a number of states, and a float")
            known = theorems_of(M, told.states)
            require(any(told.follows(x) for x in known), f"no theorem says: {told}")
        odd = [note for note in self.notes if not NOTES.fullmatch(note)]
        require(not odd, f"no search leaves the note {odd[:1]}")
        require(type(self.seconds) is float and self.seconds >= 0, "seconds must be >= 0")
        return True

    def headline(self) -> tuple[str, str]:
        w = self.certificate.witnesses
        unit = " |M|" if w["relative"] else ""
        asked = w["asked"]
        asked = f"error {exactly(asked)}{unit}" if _counts(w) else n_states(asked)
        L, r, _, m = w["heads"][0]["M"].shape
        shape = f"[{L} {L}]" if r == m == 1 else f"[{L} {r} {L} {m}]"
        heads = f", {len(self.heads)} heads" if self.heads else ""
        return f"Realization of M {shape}{heads} for {asked}", self.certificate.strength.value

    def sections(self) -> Sequence[Section]:
        w = self.certificate.witnesses
        whose: tuple[tuple[str, str], ...] = ()
        if _counts(w):
            necessary, sufficient = (n_states(n) for n in (self.lower, self.upper))
            whose = (("counted", self._claim.whose.strip(", ")),)
        else:
            whose = (("states", n_states(w["asked"]) + self._claim.whose),)
            unit = f"error{' |M|' if w['relative'] else ''}"
            necessary = f"{at_least(self.lower, 6)} {unit}"
            sufficient = f"{at_most(self.upper, 6)} {unit}"
        rows = [
            ("necessary", necessary),
            ("sufficient", sufficient),
            *(row for row in whose if self._claim.whose),
            ("proved", f"|M - M^| <= {at_most(self.error, 6)}"),
            ("system", "coefficients that may depend on the whole sequence"),
            *(("theorem", str(t)) for t in self.theorems),
            *(("note", note) for note in self.notes),
            ("time", f"{self.seconds:.2f} s"),
        ]
        return [Rows(rows)]

    def to_data(self) -> dict[str, Any]:
        return {
            "certificate": self.certificate.to_data(),
            "theorems": [encode(asdict(t)) for t in self.theorems],
            "heads": [head.to_data() for head in self.heads],
            "notes": list(self.notes),
            "batch": self.batch,
            "seconds": self.seconds,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            Certificate.from_json(json.dumps(data["certificate"])),
            tuple(TheoremBound(**decode(t)) for t in data["theorems"]),
            tuple(cls.from_data(head) for head in data["heads"]),
            tuple(map(str, data["notes"])),
            bool(data["batch"]),
            float(data["seconds"]),
        )


def _counts(w: Mapping[str, Any]) -> bool:
    """Whether states were counted for an error, rather than the error bounded for some states."""
    return bool(w["question"] == "states")


# ------------------------------------------------------- from answers to a result
def report(answers: Sequence[Answer], asked: float | int, batch: bool) -> Realization:
    """The result for the operators of one call, which are heads if it was given a head axis."""
    singles = [_realization([answer], asked, False) for answer in answers]
    if not batch:
        return singles[0]
    return replace(_realization(answers, asked, True), heads=tuple(singles))


def _realization(answers: Sequence[Answer], asked: float | int, batch: bool) -> Realization:
    notes = dict.fromkeys(note for answer in answers for note in answer.notes)
    theorems = answers[0].theorems if len(answers) == 1 else ()
    return Realization(_certificate(answers, asked), theorems, (), tuple(notes), batch)


def _certificate(answers: Sequence[Answer], asked: float | int) -> Certificate:
    first = answers[0].operator
    counting = isinstance(asked, float)
    if counting:
        lower: float = max(a.necessary for a in answers)
        upper: float = max(a.sufficient for a in answers)
    else:
        lower, upper = max(map(_floor, answers)), max(map(_ceiling, answers))
    return claim.Realization(
        lower=lower, upper=upper, question="states" if counting else "error", asked=asked,
        relative=first.relative, radius=max(a.operator.radius for a in answers),
        heads=tuple(map(_witnesses, answers)), residuals=_residuals(answers),
    ).certificate()  # fmt: skip


def _floor(answer: Answer) -> float:
    """The proved lower bound of the best error of one head."""
    op = answer.operator
    proved = max((gap(answer.cuts) - op.radius) * (1 - ROOM), 0.0)
    return proved / op.norm[1] if op.norm[1] > 0 else 0.0


def _ceiling(answer: Answer) -> float:
    """The proved upper bound of the best error of one head."""
    low = answer.operator.norm[0]
    if answer.error == 0.0:
        return 0.0
    return answer.error / low * (1 + ROOM) if low > 0 else float("inf")


def _witnesses(answer: Answer) -> claim.Head:
    op = answer.operator
    low, high = op.norm if op.relative else (None, None)
    directions = {
        d.name: _direction(cut, system)
        for d, cut, system in zip(op.directions, answer.cuts, answer.systems, strict=True)
    }
    return claim.Head(
        M=op.M, error=answer.error, D=diagonal(op.directions[0].M), norm_low=low, norm_high=high,
        norm_v=op.norm_v if op.relative else None, **directions,
    )  # fmt: skip


def _direction(cut: Cut, system: System | None) -> claim.Direction:
    k, U, V = cut.k, cut.U, cut.V
    if system is None:
        return claim.Direction(cut=k, U=U, V=V, cache=True)
    A, B, C, _ = system
    return claim.Direction(cut=k, U=U, V=V, A=A, B=B, C=C)


def _residuals(answers: Sequence[Answer]) -> dict[str, float]:
    norms = [a.operator.norm for a in answers]
    return dict(
        sigma=sum(
            last_in_floats(d.M, cut)
            for a in answers
            for d, cut in zip(a.operator.directions, a.cuts, strict=True)
        ),
        frobenius=float(np.sqrt(sum(a.frobenius**2 for a in answers))),
        error=sum(a.error for a in answers),
        norm_gap=sum(high / low - 1.0 for low, high in norms if low > 0),
    )


def last_in_floats(M: np.ndarray, cut: Cut) -> float:
    """min |diag U'HV| in plain floats: close to the last singular value that is used."""
    if not cut.sigma.size:
        return 0.0
    return float(np.abs(np.diagonal(cut.U.T @ (block(M, cut.k) @ cut.V))).min())
