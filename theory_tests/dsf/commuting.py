"""Diagonal transitions commute, delta steps do not."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.core.family import Family
from dsf.theory_tests import judge
from dsf.theory_tests.run import run
from dsf.verdicts.separations import COMMUTING, separate

statement = (
    "Write one value, then two tokens with value 0, then read. What the first token contributes "
    "(the difference of the runs with v_0 = 1 and v_0 = 0) does not change when the two are "
    "swapped, if transitions are diagonal. For the delta rule with beta = 1, keys (3/5, 4/5), (1, "
    "0), (1, 1)/sqrt 2 and query (1, 0) it is -2/5 in one order and 0 in the other. Four tokens."
)
reference = "merrill2024; grazzi2024"
falsified_by = "A diagonal recurrence for which the order of the two tokens in between matters."

KEYS = {"a": (0.6, 0.8), "x": (1.0, 0.0), "y": (2**-0.5, 2**-0.5), "z": (1.0, 0.0)}


def contribution(order: str, family: Family, gates: dict[str, dict[str, Any]]) -> float:
    """The last output with v_0 = 1 minus the last output with v_0 = 0."""
    word = "a" + order + "z"
    k = [KEYS[c] for c in word]
    fields = {name: np.array([rows[c] for c in word]) for name, rows in gates.items()}
    q = np.tile([1.0, 0.0], (4, 1))
    one, none = (
        run(family, q=q, k=k, v=[v, 0, 0, 0], **{n: f.reshape(4, -1) for n, f in fields.items()})
        for v in (1.0, 0.0)
    )
    return float(one[-1, 0] - none[-1, 0])


def claim(beta: float = 1.0) -> list:
    """Both orders for the delta rule and for gated linear attention, and the certificate."""
    rule = dsf.deltanet(reach=2)  # beta = 1 lies inside its domain
    same = {"beta": dict.fromkeys("ax", beta) | {"y": beta, "z": 0.0}}
    delta = [contribution(order, rule, same) for order in ("xy", "yx")]
    gates = {"a": [-0.1, -0.2], "x": [-1.0, -0.3], "y": [-0.2, -2.0], "z": [-0.5, -0.5]}
    diagonal = [contribution(order, dsf.gla, {"log_a": gates}) for order in ("xy", "yx")]
    outcomes: list = [(diagonal[0], diagonal[1], 1e-15)]
    if beta == 1.0:
        outcomes.append((sorted(delta), (-0.4, 0.0), 1e-15))
    return [*outcomes, separate(dsf.gla, dsf.deltanet)[0]]


def test_the_claim_holds():
    assert judge(claim()).holds


def test_the_delta_rule_depends_on_the_order_inside_its_domain():
    rule = dsf.deltanet
    gates = {"beta": dict.fromkeys("axyz", 0.5)}
    one, other = (contribution(order, rule, gates) for order in ("xy", "yx"))
    assert abs(one - other) > 0.01


ROTATED = dsf.retnet(rotation=True)
DIAGONAL = [dsf.gla, dsf.mamba, dsf.mamba2, dsf.rwkv6, ROTATED, dsf.lru, dsf.qlstm]


@given(st.sampled_from(DIAGONAL), st.integers(0, 2**31))
def test_random_diagonal_tokens(family, seed):
    assert COMMUTING.defect(family, np.random.default_rng(seed)) < 1e-13
