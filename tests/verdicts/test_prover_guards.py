"""Edges that are wrong in one respect only: each obligation of the prover refuses one of them."""

from __future__ import annotations

from typing import Any

import numpy as np

import dsf
from dsf.core.authoring import LTV, Diag, Recurrence, Tokens, col, ops, row
from dsf.core.family import Family
from dsf.relations import MADE


class Plain(Recurrence):
    """The sum of all values."""

    spec = {"v": "L p"}

    def values(self, tok: Tokens) -> Any:
        return tok.v

    def recurrence(self, tok):
        one = ops.ones_like(tok.v[..., :1])
        X = row(self.values(tok))
        return LTV(Diag(a=ops.ones((1, 1), tok.v)), B=col(one), C=row(one)), X


class Gated(Plain):
    """Values are multiplied by a gate of the token before."""

    spec = {"v": "L p", "g": "L 1"}
    lookback = 1

    def values(self, tok: Tokens) -> Any:
        return tok.v * tok.previous.g


class Idle(Plain):
    """A token field that nothing reads."""

    spec = {"v": "L p", "g": "L 1"}


PLAIN = Family("plain", Plain)


def failures(general: type, tau: Any) -> str:
    edge = dsf.Nesting(PLAIN, Family("general", general), tau, "v <- v", sizes=((1, 1), (2, 2)))
    del MADE[edge.module, edge.name]
    return "; ".join(edge.proof().failures)


def with_gate(tok: Tokens) -> Tokens:
    return Tokens(v=tok.v, g=ops.ones_like(tok.v[..., :1]))


def wrong_where_it_is_wide(tok: Tokens) -> Tokens:
    return Tokens(v=tok.v * (1 if np.shape(tok.v)[-1] < 3 else 1 + 1e-6))


def test_the_first_token_is_a_case_of_its_own():
    """Before it there is no gate of 1, but nothing."""
    found = failures(Gated, with_gate)
    assert "(first token)" in found and "commute (first token)" in found


def test_a_token_that_nothing_reads_makes_the_edge_vacuous():
    assert "vacuous" in failures(Idle, with_gate)


def test_numbers_at_another_size_have_the_last_word():
    assert "on numbers" in failures(Plain, wrong_where_it_is_wide)
