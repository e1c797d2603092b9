"""Combinations that no mechanism of the catalogue has: substeps that look back, D over a sum."""

from __future__ import annotations

import numpy as np
import pytest

from dsf.core import ops
from dsf.core.authoring import (
    LTV,
    Array,
    Diag,
    Recurrence,
    Tokens,
    col,
    row,
    split_heads,
    uniform,
    weight,
)
from dsf.core.state import State
from dsf.testing.structure import (
    domain_tokens,
    formula_agrees,
    kernel_reproduces_the_output,
    splitting_changes_nothing,
)


class Twice(Recurrence):
    """Two substeps per token: S <- a S + (k_j + k_j of the token before) v_j'."""

    Wq: Array = weight("H d n")
    Wk: Array = weight("H d n")
    Wv: Array = weight("H d p")
    a: Array = uniform("H 1 1", 0, 1)
    spec = {"q": "L n", "k": "sL n", "v": "sL p", "a": "1 1 in (0, 1)"}
    lookback = 1
    substeps = 2

    def tokens(self, u):
        u = split_heads(u)
        k, v = (_two_rows(x, -2 * x) for x in (u @ self.Wk, u @ self.Wv))
        return Tokens(q=u @ self.Wq, k=k, v=v, a=self.a)

    def recurrence(self, tok):
        q = _two_rows(tok.q, tok.q)
        return LTV(Diag(a=tok.a), B=col(tok.k + tok.previous.k), C=row(q)), row(tok.v)


def _two_rows(x, y):
    x = ops.stack([x, y], -2)
    return x.reshape(*x.shape[:-3], 2 * x.shape[-3], x.shape[-1])


class Averaged(Recurrence):
    """Positive linear attention with a bonus for the current token, over the sum of the weights."""

    Wq: Array = weight("H d n")
    Wk: Array = weight("H d n")
    Wv: Array = weight("H d p")
    spec = {"q": "L n > 0", "k": "L n > 0", "v": "L p"}

    def tokens(self, u):
        u = split_heads(u)
        return Tokens(q=ops.exp(u @ self.Wq), k=ops.exp(u @ self.Wk), v=u @ self.Wv)

    def recurrence(self, tok):
        v = ops.cat([tok.v, ops.ones_like(tok.v[..., :1])])
        bonus = col(ops.asum(tok.q * tok.k))
        one = Diag(a=ops.ones((1, 1), tok.k))
        return LTV(one, B=col(tok.k), C=row(tok.q), D=bonus), row(v)

    def normaliser(self, o, tok):
        return o[..., -1:]


def draw(cls, heads=2):
    return cls.init(np.random.default_rng(1), d=3, n=2, p=2, heads=heads)


def test_substeps_with_a_look_back_are_their_equations():
    mech, L = draw(Twice, heads=1), 5
    tok = domain_tokens(mech, L)
    o, end = mech.advance(tok, State())
    q, k, v = (np.squeeze(getattr(tok, name), 0) for name in "qkv")
    S, before = np.zeros((2, 2)), np.zeros((2, 2))
    for t in range(L):
        for j in range(2):
            S = tok.a.item() * S + np.outer(k[2 * t + j] + before[j], v[2 * t + j])
        before = k[2 * t : 2 * t + 2]
        assert np.allclose(o[0, t, 0], S.T @ q[t], rtol=1e-13)
    assert np.allclose(end.S[0], S, rtol=1e-13)
    assert np.array_equal(end.tail.k[0], before)  # both substeps of the last token are kept


def test_a_normaliser_divides_what_does_not_pass_through_the_state():
    def formula(S, t):
        v = np.append(t.v, 1.0)
        S = S + np.outer(t.k, v)
        o = S.T @ t.q + (t.q @ t.k) * v
        return S, o[:-1] / o[-1]

    formula_agrees(draw(Averaged), formula)


@pytest.mark.parametrize("cls", [Twice, Averaged])
@pytest.mark.parametrize("check", [splitting_changes_nothing, kernel_reproduces_the_output])
def test_the_laws_hold(cls, check):
    check(draw(cls))
