"""The recurrences as their papers print them, and the one that runs here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import sympy

import dsf
from dsf.core.algebra.symbols import Symbols
from dsf.core.algebra.zero import first_nonzero
from dsf.core.family import Family
from dsf.core.state import State
from dsf.core.tokens import Tokens
from dsf.theory_tests import judge
from dsf.verdicts.lattice.prover import step

statement = (
    "One step of the printed recurrence is one step of the code, for free tokens and states: the "
    "delta rule as an error correction, gated DeltaNet in its published order (decay, erase, "
    "write), RWKV-6 read before the update with a bonus, mLSTM with its normaliser, and attention "
    "in the form of the dynamical systems framework, whose gate eta_{i-1}/eta_i is a change of "
    "state S -> S/eta_i and no forgetting."
)
reference = "schlag2021; yang2024gated; peng2024; beck2024; sieber2024"
falsified_by = "A token and a state at which the printed step and the step of the code differ."


@dataclass(frozen=True)
class Form:
    """A printed step (S, token before, token) -> (y, S), and its S from the state of the code."""

    family: Family
    printed: Callable[[Any, Tokens, Tokens], tuple[Any, Any]]
    state: Callable[[Any, Tokens], Any] = lambda S, tok: S


def _exp(x: Any) -> Any:
    return np.frompyfunc(sympy.exp, 1, 1)(x)


def delta(S, before, t):
    predicted = t.k @ S
    S = S + t.beta * t.k.T @ (t.v - predicted)
    return t.q @ S, S


def gated_delta(S, before, t):
    S = _exp(t.log_a) * S
    S = S - t.beta * t.k.T @ (t.k @ S)
    S = S + t.beta * t.k.T @ t.v
    return t.q @ S, S


def rwkv6(S, before, t):
    now = t.k.T @ t.v
    return t.q @ (S + t.bonus.T * now), _exp(t.log_w).T * S + now


def mlstm(S, before, t):
    C, n = S[:, :-1], S[:, -1:]
    C, n = _exp(t.log_f) * C + t.i * t.k.T @ t.v, _exp(t.log_f) * n + t.i * t.k.T
    below = sympy.Max(sympy.Abs((t.q @ n)[0, 0]), 1)
    return t.gate * (t.q @ C) / below, np.concatenate([C, n], 1)


def framework(S, before, t):
    """Lambda_i = eta_{i-1}/eta_i, B_i = k_i/eta_i, C_i = q_i."""
    S = before.eta / t.eta * S + t.k.T @ t.v / t.eta
    return t.q @ S, S


FORMS = {
    "delta rule": Form(dsf.deltanet, delta),
    "gated delta rule": Form(dsf.gated_deltanet, gated_delta),
    "RWKV-6": Form(dsf.rwkv6, rwkv6),
    "mLSTM": Form(dsf.mlstm, mlstm),
    "framework": Form(dsf.normalised_attn, framework, lambda S, tok: S / tok.eta),
}


def differing(form: Form, n: int, p: int) -> int:
    """How many entries of output and state are not shown to agree."""
    symbols = Symbols(form.family, n, p)
    now, before, S = symbols.tokens("t"), symbols.tokens("s"), symbols.state()
    y, new = step(form.family.without_parameters(), now, State(S))
    Y, New = form.printed(form.state(S, before), before, now)
    off = [*(Y - y).flat, *(New - form.state(new, now)).flat]
    return sum(first_nonzero([e], symbols.unit) is not None for e in off)


def claim(form: str = "gated delta rule") -> list:
    """Entries that differ: none, at (n, p) = (1, 1), (2, 2), (3, 2)."""
    sizes = ((1, 1), (2, 2), (3, 2))
    return [(differing(FORMS[form], n, p), 0, 0.0) for n, p in sizes]


@pytest.mark.parametrize("form", FORMS)
def test_the_claim_holds(form):
    assert judge(claim(form)).holds


def test_another_order_of_the_gated_delta_rule_is_the_same():
    """The decay is a number, so it commutes with the erasure; a decay of the write is not."""

    def erase_first(S, before, t):
        S = _exp(t.log_a) * (S - t.beta * t.k.T @ (t.k @ S)) + t.beta * t.k.T @ t.v
        return t.q @ S, S

    def decay_last(S, before, t):
        _, S = delta(S, before, t)
        S = _exp(t.log_a) * S
        return t.q @ S, S

    assert differing(Form(dsf.gated_deltanet, erase_first), 2, 2) == 0
    assert differing(Form(dsf.gated_deltanet, decay_last), 2, 2) > 0


def test_the_gate_of_the_framework_is_not_a_memory_decay():
    """Without the change of state the gate eta_{i-1}/eta_i would be another operator."""
    plain = Form(dsf.normalised_attn, framework)
    assert differing(plain, 2, 2) > 0


def test_the_normaliser_of_linear_attention_as_a_gate():
    """eta_i = q_i' z_i with z the sum of keys: it depends on the query, and can grow past 1."""
    rng = np.random.default_rng(0)
    tok = dsf.normalised_linear_attn.draw_tokens(rng, 6, n=3, p=2)
    y = step(dsf.normalised_linear_attn.without_parameters(), tok, State())[0]
    eta = np.sum(tok.q * np.cumsum(tok.k, 0), 1)
    S, gates = np.zeros((3, 2)), []
    for i in range(6):
        gates.append(eta[i - 1] / eta[i] if i else 1.0)
        S = gates[-1] * S + np.outer(tok.k[i], tok.v[i]) / eta[i]
        assert np.abs(tok.q[i] @ S - y[i]).max() < 1e-13
    assert max(gates) > 1
