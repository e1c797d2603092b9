"""Wrong edges, each of which only one part of the prover can refuse."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import sympy

import dsf
from dsf.claims import nesting
from dsf.core import ops
from dsf.core.authoring import LTV, Diag, Recurrence, col, row
from dsf.core.errors import CertificateError
from dsf.core.family import Family
from dsf.core.state import State
from dsf.core.tokens import Tokens
from dsf.relations.edge import Nesting
from dsf.verdicts.lattice.paths import edge
from dsf.verdicts.lattice.prover import prove, step


class Late(Recurrence):
    """S_t = S_{t-1} + k_{t-1} v_t',  y_t = S_t' q_t."""

    spec = {"q": "L n", "k": "L n", "v": "L p"}
    lookback = 1

    def recurrence(self, tok):
        one = Diag(a=ops.ones((1, 1), tok.v))
        return LTV(one, B=col(self.key(tok.previous.k)), C=row(tok.q)), row(tok.v)

    def key(self, k):
        return k


SHIFT = Fraction(1, 10**12)  # far below what the test on numbers sees


class LateShifted(Late):
    """The same with k_{t-1} + SHIFT in place of k_{t-1}; the keys before the first token are 0."""

    def key(self, k):
        return k + ops.const(SHIFT, k)


class Idle(Recurrence):
    """Linear attention with a gate that is never read."""

    spec = {"q": "L n", "k": "L n", "v": "L p", "gate": "L 1 in (0, 1)"}

    def recurrence(self, tok):
        one = Diag(a=ops.ones((1, 1), tok.v))
        return LTV(one, B=col(tok.k), C=row(tok.q)), row(tok.v)


LATE, SHIFTED, IDLE = (Family(cls.__name__, cls) for cls in (Late, LateShifted, Idle))


def test_a_look_back_over_the_start_is_a_case_of_its_own():
    """k + SHIFT serves every token but the first, for which both families see the key 0."""

    def tau(tok):
        return tok.replace(k=tok.k + ops.const(SHIFT, tok.k))

    found = prove(Nesting(SHIFTED, LATE, tau, "k <- k + SHIFT", sizes=((1, 1),))).failures
    assert found == tuple(
        f"{what} (first token) at (n, p) = (1, 1)"
        for what in ("2: the step does not commute", "3: the readouts differ")
    )
    one = np.array([[sympy.Integer(1)]])
    tok = Tokens(q=one, k=one, v=one)
    y, Y = (
        step(family.without_parameters(), t, State())[0].item()
        for family, t in ((SHIFTED, tok), (LATE, tau(tok)))
    )
    assert Fraction(str(y)) == SHIFT and Y == 0  # so the edge is wrong


def test_every_field_has_to_matter():
    """q, k and v of the image matter; the gate does not, so its map says nothing."""

    def tau(tok):
        return tok.replace(gate=ops.const(Fraction(1, 2), tok.k) + ops.zeros_like(tok.k[..., :1]))

    assert prove(Nesting(dsf.linear_attn, IDLE, tau, "gate <- 1/2")).failures == (
        "disturbing a token changes the output by 0.0e+00 only: vacuous",
    )


def test_a_map_that_cancels_in_floats_is_refused():
    """k + 10^9 - 10^9 is k in symbols; in float64 half of the digits are lost."""
    right = edge("retnet -> gla")

    def tau(tok):
        return right.tau(tok.replace(k=tok.k + 10**9 - 10**9))

    (failure,) = prove(replace(right, tau=tau, params=None)).failures
    assert "outputs differ by" in failure and "on numbers" in failure


# ------------------------------------------------------------------ caches that grow
ONE = dsf.window_softmax(width=1)


def test_attention_is_not_judged_by_its_first_token():
    """The first output of softmax is its value, as is that of a window of one token."""
    for special, general in ((dsf.softmax, ONE), (ONE, dsf.softmax)):
        wrong = Nesting(special, general, lambda tok: tok, "nothing")
        with pytest.raises(CertificateError, match="does not agree identically"):
            nesting.agree(wrong)


def test_a_window_is_not_judged_by_fewer_tokens_than_it_sees():
    """Three tokens and four differ from the fourth on."""
    wrong = Nesting(dsf.window_softmax(width=3), dsf.window_softmax(width=4), lambda tok: tok, "")
    with pytest.raises(CertificateError, match="does not agree identically"):
        nesting.agree(wrong)


def test_softmax_is_no_delta_rule_that_replaces_its_value():
    """What is read after one token alone agrees: what is stored under e1 is the present value."""
    e = edge("window_softmax(width=1) -> deltanet(reach=2)")
    wrong = Nesting(dsf.softmax, e.general, e.tau, e.text, e.T)
    with pytest.raises(CertificateError, match="does not agree identically"):
        nesting.agree(wrong)


def test_lla_at_any_ridge_is_not_softmax_attention():
    near = edge("softmax -> lla")
    wrong = replace(near, tau=lambda tok, x: near.tau(tok, 1 + x))
    with pytest.raises(CertificateError, match="does not agree identically"):
        nesting.agree(wrong)


def test_what_is_proved_of_a_cache_names_the_tokens():
    claim = edge("softmax -> parallax").certificate().claim
    assert claim.endswith("with 0 and 3 earlier tokens")
    assert "earlier tokens" not in edge("retnet -> gla").certificate().claim
