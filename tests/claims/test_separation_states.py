"""Too many states, or few enough: each condition of the two claims is needed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import dsf
from dsf.claims import read
from dsf.claims.separation_states import MOST, FewStates, state_rows
from dsf.core import ops
from dsf.core.authoring import LTV, Diag, Recurrence, col, row
from dsf.core.errors import CertificateError
from dsf.core.family import Family
from dsf.relations.invariants import double

pytestmark = pytest.mark.rigor


class Two(Recurrence):
    """S_t = S_{t-1} + k_t v_t',  y_t = S_t' q_t, with two rows whatever n is."""

    spec = {"q": "L 2", "k": "L 2", "v": "L p"}

    def recurrence(self, tok):
        one = Diag(a=ops.ones((1, 2), tok.v))
        return LTV(one, B=col(self.key(tok)), C=row(tok.q)), row(tok.v)

    def key(self, tok):
        return tok.k


class Turning(Two):
    """The same with a rotation: complex rows, each of which is two states."""

    spec = {**Two.spec, "theta": "L 2"}

    def recurrence(self, tok):
        turn = Diag(a=ops.cis(tok.theta))
        return LTV(turn, B=col(self.key(tok)), C=row(tok.q)), row(tok.v)


class Late(Two):
    """k_{t-1} v_t' in the place of k_t v_t'."""

    lookback = 1

    def key(self, tok):
        return tok.previous.k


class Timed(Two):
    """A decay that its position makes, and no token."""

    spec = {**Two.spec, "pos": "L 1"}

    def recurrence(self, tok):
        decay = Diag(a=tok.pos / (tok.pos + 1))
        return LTV(decay, B=col(self.key(tok)), C=row(tok.q)), row(tok.v)


class AsWide(Two):
    """As many rows as values."""

    spec = {"q": "L p", "k": "L p", "v": "L p"}

    def recurrence(self, tok):
        one = Diag(a=ops.ones((1, 1), tok.v))
        return LTV(one, B=col(tok.k), C=row(tok.q)), row(tok.v)


TWO, TURNING, LATE, TIMED, WIDE = (
    Family(cls.__name__, cls) for cls in (Two, Turning, Late, Timed, AsWide)
)


def few(f: Family, upper: int, n: int) -> None:
    FewStates(upper=upper, family=f, recurrence=dsf.recurrence(n)).check()


def refused(words: str, f: Family, upper: int, n: int) -> None:
    with pytest.raises(CertificateError, match=words):
        few(f, upper, n)


def test_the_states_are_those_that_the_family_has():
    few(TWO, 2, 2)
    few(TWO, 2, 5)
    refused("more than 1", TWO, 2, 1)
    refused("states", TWO, 1, 1)
    refused("states", TWO, 5, 5)
    few(dsf.qlstm, 1, 1)
    refused("states", dsf.qlstm, 2, 2)


def test_complex_states_count_twice():
    assert {*state_rows(TWO)} == {2} and {*state_rows(TURNING)} == {4}
    counts = {"gla": 1, "softmax": 1, "gru": 1, "lru": 2, "s4d": 2}
    assert {f: double(dsf.family(f)) for f in counts} == counts
    for name in ("retnet(rotation=True)", "mamba3"):  # n/2 complex rows are n states
        assert double(dsf.family(name)) == 1
    few(TURNING, 4, 4)
    refused("states", TURNING, 2, 2)


def test_a_free_number_of_states_is_never_few():
    """With n = 2 gla has two states, but the claim would be about all of it."""
    for name in ("gla", "retnet", "mamba3", "s4d"):
        f = dsf.family(name)
        refused("is free", f, next(state_rows(f)), 9)


def test_the_step_is_affine_with_coefficients_of_its_token():
    refused("looks back", LATE, 2, 2)
    refused("states", WIDE, 1, 9)
    few(TIMED, 2, 2)
    with pytest.raises(CertificateError):
        FewStates(
            upper=2, family=TIMED, recurrence=dsf.recurrence(2, current_token_only=True)
        ).check()
    refused("is no recurrence", dsf.gru, next(state_rows(dsf.gru)), 9)


# ------------------------------------------------------------------- too many states
def by_states(name: str, n: int) -> Any:
    return read(dsf.compare(name, dsf.recurrence(n)).certificates[0])


@pytest.mark.parametrize("name", ["gla", "s4d", "deltanet"])
def test_a_rank_tells_of_fewer_states_only(name):
    claim = by_states(name, 2)
    assert claim.lower == 3
    replace(claim, has=dsf.recurrence(1)).check()
    for n in (3, 4):
        with pytest.raises(CertificateError, match="tells nothing"):
            replace(claim, has=dsf.recurrence(n)).check()
    with pytest.raises(CertificateError, match="is a family"):
        replace(claim, has=dsf.linear_attn).check()
    with pytest.raises(CertificateError, match="tells nothing"):
        replace(claim, lower=MOST + 1).check()


@pytest.mark.parametrize("name", ["qlstm", "rglru"])
def test_one_state_gives_no_block_of_rank_two(name):
    """Whatever the letters are: the later outputs see the earlier values through one number."""
    f, rng = dsf.family(name), np.random.default_rng(0)
    spec = {k: x for k, x in f.spec.items() if k != "pos"}
    letters = {
        c: {k: x.domain.rational(rng, x.shape({"n": 1, "p": 1, "d": 1})) for k, x in spec.items()}
        for c in "abcd"
    }
    claim = replace(by_states("gla", 1), violates=f, letters=letters, constants={})
    with pytest.raises(CertificateError, match="may be singular"):
        claim.check()
