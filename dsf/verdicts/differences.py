"""What distinguishes two mechanisms at a glance: the table under a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dsf.core.family import Family
from dsf.core.mechanism import Mechanism
from dsf.core.state import State
from dsf.core.system import LTV

Row = tuple[str, str, str]

_REGION_NAMES = {
    "any": "no common region",
    "0": "all 0",
    "1": "all 1",
    "disc": "open unit disc",
    "closed disc": "closed unit disc",
}
PROBE = {"d": 2, "n": 2, "p": 2}


def table(a: Family | Mechanism, b: Family | Mechanism) -> list[Row]:
    """Rows (label, value for a, value for b); conventions first, then structure, then numbers."""
    left, right = describe(a), describe(b)
    labels = list(dict.fromkeys([*left, *right]))
    return [(label, left.get(label, "-"), right.get(label, "-")) for label in labels]


def describe(side: Family | Mechanism) -> dict[str, str]:
    """The properties of one side, computed from its equations and its checked facts."""
    mech = side.bare() if isinstance(side, Family) else side
    facts = mech.facts
    state, output = mech.equations
    found = {"state <-": state, "y_t": output}
    ltv = probe(side)
    found["reads"] = "-" if ltv is None else f"the state {ltv.read} the update"
    found["convention"] = "; ".join(mech.conventions) or "none"
    found["numbers"] = "complex" if ltv is not None and _complex(ltv) else "real"
    found["per token"] = _per_token(mech)
    if ltv is None:
        found["A_t"] = "none: the step is not affine in the state"
    else:
        found["A_t"] = f"{facts.structure}, {'varies' if varies(ltv, 'A') else 'constant'}"
        found["depends on u"] = ", ".join(c for c in "ABCD" if varies(ltv, c)) or "nothing"
    found["eigenvalues"] = _REGION_NAMES.get(facts.eigenvalues, facts.eigenvalues)
    found["earlier tokens"] = "their order counts" if facts.order_aware else "order-blind"
    found["constant v"] = "gives that constant" if facts.normalised else "may be scaled"
    found["state size"] = facts.state.replace("*", " ")
    found["flops/token"] = facts.flops.replace("*", " ")
    return found


def probe(side: Family | Mechanism, L: int = 4) -> LTV | None:
    """The linear system at random tokens (family) or inputs (instance); None if there is none."""
    rng = np.random.default_rng(0)
    if isinstance(side, Mechanism):
        return None if side._has("step") else side.ltv(rng.standard_normal((L, side.d)))
    mech = side.bare()
    if mech._has("step"):
        return None
    tok = side.draw_tokens(rng, L, **PROBE)
    if mech._has("rows"):
        return side.init(**PROBE).ltv(rng.standard_normal((L, PROBE["d"])))
    tok = mech._with_position(tok, State().t)
    return mech.system(mech._with_tail(tok, None))[0]


def varies(ltv: LTV, name: str) -> bool:
    """Whether a coefficient has a time axis longer than 1."""
    x = getattr(ltv, name)
    if name == "A":
        return max(ltv.A.lengths(), default=1) > 1
    factors: Sequence[Any] = () if x is None else getattr(x, "factors", (x,))
    return any(f.ndim >= 3 and f.shape[-3] > 1 for f in factors)


def _complex(ltv: LTV) -> bool:
    return any(np.iscomplexobj(f) for f in ltv.arrays())


def _per_token(mech: Mechanism) -> str:
    if mech.lookback is None:
        return "reads every earlier token"
    parts = []
    if mech.micro > 1:
        parts.append(f"{mech.micro} micro-steps")
    if mech.lookback:
        parts.append(f"looks back {mech.lookback}")
    return ", ".join(parts) or "one step"
