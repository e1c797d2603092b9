"""The contract, over every family and every option; and that wrong claims fail."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dsf
import dsf.mechanisms
from dsf.core import ops
from dsf.core.catalogue import everything, families
from dsf.core.errors import ContractError
from dsf.core.facts import Facts
from dsf.core.ops import col, row
from dsf.core.system import LTV
from dsf.core.tokens import Tokens
from dsf.core.transition import Diag
from dsf.core.worlds import ARB
from dsf.mechanisms.attention.softmax import Softmax
from dsf.mechanisms.linear.gla import GLA
from dsf.mechanisms.linear.linear_attn import LinearAttention
from dsf.testing import CHECKS, check_mechanism, run_check
from dsf.testing.worlds import impurities

# one small set per mechanism, for `make check`
SMOKE = {"output_has_declared_shape", "float64_is_accurate", "causality_is_as_claimed"}


def _case(name, check):
    smoke = name in families() and check in SMOKE
    return pytest.param(name, check, marks=[pytest.mark.smoke] if smoke else [])


NAMES = [str(f) for f in everything()]


@pytest.mark.parametrize("name, check", [_case(n, c) for n in NAMES for c in CHECKS])
def test_contract(name, check):
    assert run_check(check, name)


def test_check_mechanism_reports_every_check():
    assert check_mechanism(dsf.gla.init(d=2)) == tuple(CHECKS)


# ---------------------------------------------------------------- wrong claims must fail
def liar(**wrong):
    """A GLA whose facts are changed."""

    class Liar(GLA):
        facts = replace(GLA.facts, **wrong)

    return Liar


@pytest.mark.parametrize(
    "check, wrong",
    [
        ("structure_is_as_claimed", {"structure": "scalar"}),
        ("contraction_is_as_claimed", {"contraction": False}),
        ("eigenvalues_are_as_claimed", {"eigenvalues": "1"}),
        ("normalisation_is_as_claimed", {"normalised": True}),
        ("order_is_as_claimed", {"order_aware": False}),
        ("causality_is_as_claimed", {"causal": False}),
        ("state_size_is_as_claimed", {"state": "H*n"}),
        ("cost_is_as_claimed", {"flops": "4*H*n*p"}),
    ],
)
def test_a_false_fact_fails(check, wrong):
    honest, false = (cls.init(np.random.default_rng(0), 2, 2, 2, 1) for cls in (GLA, liar(**wrong)))
    assert run_check(check, honest)
    with pytest.raises(ContractError, match="Liar"):
        run_check(check, false)


class Growing(LinearAttention):
    """Claims a contraction, but its transition is 1.01."""

    facts = Facts("scalar", True, "H*n*p", "4*H*n*p", "none", order_aware=True)

    def recurrence(self, tok):
        a = ops.ones((1, 1), tok.k) * 101 / 100
        return LTV(Diag(a=a), B=col(tok.k), C=row(tok.q)), row(tok.v)


class Bidirectional(Softmax):
    """Claims to be causal, but every query sees every key."""

    def support(self, L, T):
        return np.ones((L, T), dtype=bool)


class LooksBack(LinearAttention):
    """Its tokens are not pointwise: keys are summed over time."""

    def tokens(self, u):
        tok = super().tokens(u)
        return tok.replace(k=ops.cumsum(tok.k, -2))


class Positional(LinearAttention):
    """Its tokens know their position without looking at other rows."""

    def tokens(self, u):
        tok = super().tokens(u)
        return tok.replace(k=tok.k + np.arange(u.shape[-2])[:, None])


class ReadsParameters(LinearAttention):
    """Its recurrence uses a parameter array."""

    def recurrence(self, tok):
        ltv, X = super().recurrence(tok)
        return ltv, X * self.Wv.sum()


class Contaminated(LinearAttention):
    """A float literal in an equation."""

    def tokens(self, u):
        tok = super().tokens(u)
        return tok.replace(k=0.5 * tok.k)


class Forgetful(LinearAttention):
    """Streaming loses a row: the state handed on is not the state."""

    def advance(self, tok, state):
        o, new = super().advance(tok, state)
        return o, replace(new, S=new.S / 2)


class Cancelling(LinearAttention):
    """Right on paper, but loses digits: (10^6 + k) - 10^6."""

    def tokens(self, u):
        tok = super().tokens(u)
        return tok.replace(k=(tok.k + 10**6) - 10**6)


class OutOfDomain(LinearAttention):
    """Declares positive keys, which they are not."""

    @property
    def spec(self):
        return {"q": "L n", "k": "L n > 0", "v": "L p"}


class Detached(LinearAttention):
    """Its gradient does not flow through the keys in torch."""

    def tokens(self, u):
        tok = super().tokens(u)
        return tok.replace(k=tok.k.detach() if ops.is_torch(u) else tok.k)


class UnsoundBalls(LinearAttention):
    """A positive part that looks at midpoints: numpy's rule, unsound for balls."""

    def tokens(self, u):
        tok = super().tokens(u)
        if ops.world(u) is not ARB:
            return tok.replace(k=ops.relu(tok.k))
        keep = np.frompyfunc(lambda e: e if e.mid() > 0 else e * 0, 1, 1)
        return Tokens(q=tok.q, k=keep(tok.k), v=tok.v)


@pytest.mark.parametrize(
    "check, cls",
    [
        ("contraction_is_as_claimed", Growing),
        ("causality_is_as_claimed", Bidirectional),
        ("tokens_are_pointwise", LooksBack),
        ("tokens_are_pointwise", Positional),
        ("recurrence_reads_tokens_only", ReadsParameters),
        ("symbols_agree", Contaminated),
        ("equations_are_pure", Contaminated),
        ("splitting_changes_nothing", Forgetful),
        ("float64_is_accurate", Cancelling),
        ("tokens_have_declared_shape_and_domain", OutOfDomain),
        ("gradients_are_derivatives", Detached),
        ("balls_contain_every_output", UnsoundBalls),
    ],
)
def test_a_broken_mechanism_fails(check, cls):
    broken = cls(**dsf.linear_attn.init(d=2, n=2, p=2, seed=1).parameters())
    with pytest.raises(ContractError, match=cls.__name__):
        run_check(check, broken)


# --------------------------------------------------------------------- the pure text
FILES = sorted(Path(dsf.mechanisms.__file__).parent.glob("*/[!_]*.py"))


@pytest.mark.smoke
@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_mechanism_files_are_pure(file):
    """Also what is no method: feature maps, and helpers that other files use."""
    assert len(FILES) >= len(families()) - 1  # a file each, but for one further name
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert impurities(tree) == []
    imported = {
        a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names
    }
    assert imported <= {"numpy", "warnings"}


@pytest.mark.parametrize(
    "line, what",
    [
        ("return np.exp(u)", "np"),
        ("return u * 0.5", "0.5"),
        ("return u * 1j", "1j"),
        ("return float(u)", "float()"),
        ("return helper(u)", "torch"),
        ("return u / 2", ""),
    ],
)
def test_impurities_are_found(line, what):
    text = f"""
class M:
    def tokens(self, u: np.ndarray) -> np.ndarray:
        {line}
    @classmethod
    def init(cls):
        return np.ones(1) * 0.5
def helper(u):
    return torch.exp(u)
def unused(u):
    return 0.5
"""
    found = impurities(ast.parse(text), "M")
    assert [what in f for f in found] == [True] if what else found == []
