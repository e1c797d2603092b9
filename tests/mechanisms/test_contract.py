"""The contract, over every family and every option; and that wrong claims fail."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dsf
import dsf.mechanisms
from dsf.core import metrics, ops
from dsf.core.catalogue import everything, families
from dsf.core.errors import ContractError, DomainError
from dsf.core.facts import Facts
from dsf.core.ops import col, row
from dsf.core.state import State
from dsf.core.system import LTV
from dsf.core.tokens import Tokens
from dsf.core.transition import Diag
from dsf.core.worlds import ARB
from dsf.mechanisms.attention.softmax import Softmax
from dsf.mechanisms.linear.gla import GLA
from dsf.mechanisms.linear.linear_attn import LinearAttention
from dsf.testing import CHECKS, SIZES, check_mechanism, run_check
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


# ------------------------------------------------------- denominators that cancel
SIGNED = dsf.linear_attn(normalise=True)


def mean_of(mech, values, seed):
    """Outputs at the tokens of a random input with these values [p] at each, scale and gate."""
    tok = mech.tokens(np.random.default_rng(seed).standard_normal((6, mech.d)))
    tok = tok.replace(v=np.broadcast_to(values, tok.v.shape))
    scale, gate = metrics.mean_scale(mech, tok)
    return mech.advance(tok, State())[0], scale, gate


def test_a_mean_with_signed_weights_is_under_the_contract():
    assert str(SIGNED) in NAMES and SIGNED.facts.normalised


@pytest.mark.parametrize("name", ["softmax", "window_softmax", "normalised_linear_attn"])
def test_weights_of_one_sign_get_no_more_than_their_rounding(name):
    """2 |v| times the gate: less than the 16 units of the largest value that were allowed once."""
    for seed in range(10):
        values = np.array([-2.0, 3.0])
        _, scale, gate = mean_of(dsf.family(name).init(d=2, n=2, p=2, seed=seed), values, seed)
        assert np.allclose(scale, 2 * abs(values), rtol=1e-12)
        assert gate <= 4 + 6**0.5


def test_the_scale_of_signed_weights_is_their_conditioning():
    """2 |v| sum |q_c k_c| / |sum q_c k_c|, by a loop; some draws lose nearly three digits."""
    worst = 0.0
    for seed in range(40):
        mech = SIGNED.init(d=3, n=4, p=2, seed=seed)
        _, scale, _ = mean_of(mech, np.array([1.0, 1.0]), seed)
        tok = mech.tokens(np.random.default_rng(seed).standard_normal((6, 3)))
        for t in range(6):
            terms = tok.q[0, t] * tok.k[0, : t + 1]
            condition = abs(terms).sum() / abs(terms.sum())
            assert np.allclose(scale[0, t], 2 * condition, rtol=1e-9)
            worst = max(worst, condition)
    assert worst > 500


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_signed_means_stay_within_the_law(sizes):
    for seed in range(40):
        mech = SIGNED.init(**sizes, seed=seed)
        for check in ("normalisation_is_as_claimed", "gradients_are_derivatives"):
            assert run_check(check, mech)


class Slanted(LinearAttention):
    """Normalised, but its denominator is off by 1e-12 of itself."""

    def normaliser(self, o, tok):
        return o[..., -1:] * (10**12 + 1) / 10**12


def test_a_denominator_that_is_slightly_off_is_noticed():
    for phi in ("elu+1", "identity"):
        family = dsf.linear_attn(phi=phi, normalise=True)
        held = family.init(d=2, n=2, p=2, seed=1)
        assert run_check("normalisation_is_as_claimed", held)
        with pytest.raises(ContractError, match="normalised = True is wrong"):
            run_check("normalisation_is_as_claimed", Slanted(**held.parameters(), **held.options()))


def test_a_signed_mean_of_nothing_is_refused():
    with pytest.raises(DomainError, match="the normaliser is exactly 0"):
        SIGNED.init(d=2)(np.zeros((3, 2)))


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
