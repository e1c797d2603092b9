"""`plan`: a number of states spent over the heads of a model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from numbers import Integral
from typing import Any, overload

from dsf.claims.reading import REPRODUCED, require
from dsf.core.errors import DomainError, ShapeError
from dsf.core.optional import pandas
from dsf.core.printing import at_least, at_most, n_states
from dsf.core.result import Checkable, Item, Result, Section, Text
from dsf.models.capture import Call, run
from dsf.models.printing import many
from dsf.models.replacement.choice import Choice, Name
from dsf.models.replacement.curves import ERRORS, Curve, Points, curve, floors, hull, steps
from dsf.models.replacement.recurrences import weights_of
from dsf.models.replacement.replaced import error_of, states_of, weights_in
from dsf.states import Realization

LARGEST = 8  # rows that are printed
SCOPE = (
    "Errors are proved for the weights of these inputs alone, head by head in the model as it is, "
    "relative in the operator norm; the least sum follows from proved counts. Nothing is proved of "
    "the loss: a head with a large error may not matter, and errors of several layers meet."
)


@dataclass(frozen=True)
class Share:
    """What a head is given: `states`, with which its error is at most `error` |M|, proved."""

    module: str
    head: int
    tokens: int
    states: int
    error: float


@dataclass(frozen=True, repr=False)
class Plan(Result):
    """What `plan` returns: the states of each head, their sum of squared errors, and its floor.

    total      states to be spent;   spent   those given
    squares    sum over heads of squared proved errors
    floor      proved: no way to spend `total` states leaves a smaller sum
    rtol, time_limit   with which heads were counted
    """

    shares: tuple[Share, ...]
    total: int
    squares: float
    floor: float
    proofs: tuple[Realization, ...]
    rtol: tuple[float, ...]
    time_limit: float

    @property
    def states(self) -> dict[Name, int]:
        """The states of each head, as `replace` takes them."""
        return {(s.module, s.head): s.states for s in self.shares}

    @property
    def spent(self) -> int:
        return sum(s.states for s in self.shares)

    def headline(self) -> tuple[str, str]:
        return f"{n_states(self.spent)} over {many(len(self.shares), 'head')}", "enclosed"

    def sections(self) -> Sequence[Section]:
        lines = [
            f"at most {n_states(self.total)} were to be spent",
            f"sum of squared errors: {at_most(self.squares, 3)} with these recurrences",
            f"no plan of so many states has less than {at_least(self.floor, 3)} with any linear "
            "recurrences"
            if self.floor
            else "no floor of it is proved",
        ]
        most = sorted(self.shares, key=lambda s: -s.states)[:LARGEST]
        items = [
            Item(f"{s.module or 'model'} head {s.head}: {n_states(s.states)}, error at most "
                 f"{at_most(s.error, 3)} |M|", 2, 4)
            for s in most
        ]  # fmt: skip
        return [Text([Item(x) for x in lines]), Text(items, "most states"), Text([Item(SCOPE)])]

    @property
    def certificates(self) -> tuple[Checkable, ...]:
        return tuple(c for p in self.proofs for c in p.certificates)

    def check(self) -> bool:
        """Recompute the certificates, and what follows from them; True, or CertificateError.

        The floor rests on counts at all errors, of which no proofs are kept: heads are counted
        again on the weights that their proofs are about, which takes as long as the plan did.
        """
        super().check()
        require(len(self.shares) == len(self.proofs), "each head has a proof")
        for s, p in zip(self.shares, self.proofs, strict=True):
            said = (s.states, s.error) == (states_of(p), error_of(p))
            said = said and s.tokens == len(weights_in(p))
            require(said, f"the proof does not say this: {s}")
        squares = sum(s.error**2 for s in self.shares)
        require(
            self.squares == squares and self.floor <= squares, "the sum is not that of the rows"
        )
        require(self.spent <= self.total, f"{self.spent} states are more than {self.total}")
        require(len(self.states) == len(self.shares), "a head was given states twice")
        if self.floor > 0:
            names = [(s.module, s.head) for s in self.shares]
            curves = {
                name: curve(weights_in(p), self.rtol, self.time_limit)
                for name, p in zip(names, self.proofs, strict=True)
            }
            found = least(curves, self.total)
            holds = self.floor <= found * (1 + REPRODUCED)
            require(holds, f"the floor of the sum is {found:.6g}, not {self.floor:.6g}")
        return True

    def to_pandas(self) -> Any:
        """One row per head; needs pandas."""
        return pandas("Plan.to_pandas").DataFrame([asdict(s) for s in self.shares])

    def to_data(self) -> dict[str, Any]:
        return {
            "shares": [asdict(s) for s in self.shares], "total": self.total,
            "squares": self.squares, "floor": self.floor,
            "proofs": [p.to_data() for p in self.proofs],
            "rtol": list(self.rtol), "time_limit": self.time_limit,
        }  # fmt: skip

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Plan:
        proofs = tuple(Realization.from_data(p) for p in data["proofs"])
        shares = tuple(Share(**s) for s in data["shares"])
        sums = int(data["total"]), float(data["squares"]), float(data["floor"])
        return cls(
            shares, *sums, proofs, tuple(map(float, data["rtol"])), float(data["time_limit"])
        )


@overload
def plan(model: Any, *inputs: Any, total: int, **options: Any) -> Plan: ...


@overload
def plan(model: Any, *inputs: Any, total: Sequence[int], **options: Any) -> tuple[Plan, ...]: ...


def plan(
    model: Any, *inputs: Any, total: int | Sequence[int], rtol: Sequence[float] = ERRORS,
    heads: Callable[[str, int], bool] | Collection[Name] | None = None, sequence: int = 0,
    time_limit: float = 10.0, **named: Any,
) -> Plan | tuple[Plan, ...]:  # fmt: skip
    """How `total` states are spent over the heads of a model, for `replace(model, plan)`.

        minimise  sum_h e_h(n_h)^2   subject to   sum_h n_h <= total

    e_h is the proved error, relative to |M|, of the recurrence of head h that `dsf.realize` finds
    at the errors `rtol` (and with no states).  States go where they gain most: along the lower
    convex hull of each head's points, steepest step first; a step that no longer fits is left out.
    The same sum over hulls of the proved floors, its last step in part, is a floor of every plan.

    The model is called once as model(*inputs, **named); a module that is called twice cannot be
    planned.  Several totals give a tuple of plans.  Memory: the recurrences of all heads at all
    errors.  Raises DomainError, ShapeError, and what `replace` raises of a head.
    Source: Lagrangian relaxation, exact on convex hulls (Everett 1963).

    >>> import torch
    >>> layer = torch.nn.MultiheadAttention(4, 2, batch_first=True).eval()
    >>> x = torch.randn(1, 8, 4)
    >>> found = plan(layer, x, x, x, total=6)
    >>> found.spent <= 6, found.floor <= found.squares
    (True, True)
    """
    totals = total if isinstance(total, Sequence) else (total,)
    if not totals or not all(isinstance(n, Integral) and n >= 0 for n in totals):
        raise DomainError(f"plan: total is a whole number of states >= 0; got {total}")
    rule, curves = Choice({"states": 0}, None, heads), dict[Name, Curve]()
    tokens: dict[Name, int] = {}

    def visit(call: Call) -> None:
        for head in range(call.heads):
            name = call.module, head
            if rule.of(*name) is None:
                continue
            if name in curves:
                raise DomainError(
                    f"plan: {call.module or 'the model'} was called twice, and a head has one "
                    "number of states. Leave it out with heads=, or give its states by hand."
                )
            if not 0 <= sequence < call.batch:
                raise ShapeError(f"plan: sequence {sequence} is not there; there are {call.batch}")
            curves[name] = curve(weights_of(call, head, sequence), rtol, time_limit)
            tokens[name] = call.rows

    run(model, inputs, named, visit)
    rule.check_met()
    if not curves:
        raise DomainError("plan: the model called no attention that heads= does not leave out")
    errors = tuple(map(float, rtol))
    plans = tuple(_planned(curves, tokens, int(n), errors, time_limit) for n in totals)
    return plans if isinstance(total, Sequence) else plans[0]


def _planned(
    curves: Mapping[Name, Curve], tokens: Mapping[Name, int], total: int,
    rtol: tuple[float, ...], time_limit: float,
) -> Plan:  # fmt: skip
    states = spent(curves, total)
    shares = tuple(
        Share(*name, tokens[name], n, dict(curves[name].reached)[n]) for name, n in states.items()
    )
    proofs = tuple(curves[name].proof(n) for name, n in states.items())
    squares, floor = sum(s.error**2 for s in shares), least(curves, total)
    return Plan(shares, total, squares, floor, proofs, rtol, time_limit)


def spent(curves: Mapping[Name, Curve], total: int) -> dict[Name, int]:
    """The states of each head: steps of the hulls, the largest gain for a state first."""
    corners = {h: hull([(n, e**2) for n, e in c.reached]) for h, c in curves.items()}
    states = {h: points[0][0] for h, points in corners.items()}
    left = total - sum(states.values())
    offers = [(-gain, i, h, size) for i, h in enumerate(corners)
              for gain, size in steps(corners[h])]  # fmt: skip
    closed: set[Name] = set()  # a step that did not fit: those after it start where it ends
    for _, _, h, size in sorted(offers):
        if size > left or h in closed:
            closed.add(h)
        else:
            states[h] += size
            left -= size
    return states


def least(curves: Mapping[Name, Curve], total: int) -> float:
    """A floor of the sum of squared errors of any plan: the floors' hulls, spent in part."""
    corners: list[Points] = [hull(floors(c.needed)) for c in curves.values()]
    value, left = sum(points[0][1] for points in corners), float(total)
    for gain, size in sorted((s for points in corners for s in steps(points)), reverse=True):
        used = min(size, left)
        value, left = value - gain * used, left - used
    return max(value, 0.0)
