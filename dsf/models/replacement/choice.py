"""Which heads are replaced, and by what: the arguments of `replace` as one rule."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from dsf.core.errors import DomainError, UnknownNameError
from dsf.states.inputs import number

Name = tuple[str, int]  # module, head


@dataclass
class Choice:
    """What each head is to be replaced by; `met` remembers the heads that were called."""

    asked: dict[str, Any]  # of all heads without a plan: {"states": n} or {"rtol": e}
    plan: dict[Name, int] | None
    heads: Callable[[str, int], bool] | Collection[Name] | None
    met: set[Name] = field(default_factory=set)

    def of(self, module: str, head: int) -> dict[str, Any] | None:
        """The question to `realize`; None: the head stays."""
        name = (module, head)
        self.met.add(name)
        if self.plan is not None and name not in self.plan:
            return None
        if callable(self.heads):
            if not self.heads(module, head):
                return None
        elif self.heads is not None and name not in self.heads:
            return None
        return self.asked if self.plan is None else {"states": self.plan[name]}

    def check_met(self) -> None:
        """UnknownNameError if heads are named that the model did not call."""
        named = set(self.plan or ())
        if self.heads is not None and not callable(self.heads):
            named |= set(self.heads)
        if missing := sorted(named - self.met):
            known = sorted(self.met)
            raise UnknownNameError(
                f"replace: {len(missing)} heads that are named were not called, the first is "
                f"{missing[0]}. The model called {len(known)}, from {known[0]} to {known[-1]}; "
                "a head is named by the module that calls attention and its number."
            )


def choice(plan: Any, states: int | None, rtol: float | None, heads: Any) -> Choice:
    """The rule; DomainError unless exactly one of plan, states and rtol is given, and in range."""
    given = {"plan": plan, "states": states, "rtol": rtol}
    if sum(x is not None for x in given.values()) != 1:
        told = ", ".join(f"{k}={v!r:.60}" for k, v in given.items() if v is not None) or "none"
        raise DomainError(f"replace: give exactly one of states=, rtol= and a plan; got {told}")
    if rtol is not None and not 0 < number("replace", "rtol", rtol) < 1:
        raise DomainError(f"replace: rtol is an error between 0 and 1; got {rtol!r}")
    if plan is None:
        if states is not None:
            _check_states(states)
        return Choice({k: v for k, v in given.items() if v is not None}, None, heads)
    states_of = getattr(plan, "states", plan)
    if not isinstance(states_of, Mapping):
        raise DomainError(
            "replace: a plan is a mapping {(module, head): states}, or what dsf.models.plan "
            f"returns; got {type(plan).__name__}"
        )
    for n in states_of.values():
        _check_states(n)
    return Choice({}, dict(states_of), heads)


def _check_states(n: Any) -> None:
    if not (number("replace", "states", n) >= 0 and float(n).is_integer()):
        raise DomainError(f"replace: states must be a whole number >= 0; got {n!r}")
