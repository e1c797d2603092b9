"""On one frozen sequence the linear mixers are indistinguishable."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.core.catalogue import family
from dsf.core.family import Family
from dsf.core.tokens import Tokens
from dsf.theory_tests import judge

statement = (
    "If every transition A_t is invertible, the operator is that of linear attention, "
    "tril(Q~ K~'), with q~_i = (A_i ... A_0)' q_i and k~_j = (A_j ... A_0)^{-1} B_j. Conversely "
    "linear attention, RetNet, SSD, GLA, and DeltaNet with unit keys and beta in (0, 1) reach "
    "every tril(Q K') with n columns and no zero row of K, by tokens inside their domains, on one "
    "sequence. They differ in how coefficients depend on the input, not in operators."
)
reference = "dsf2026, frozen sequences"
falsified_by = "Matrices Q and K [L n] whose lower triangle one of these mixers does not reach."

FAMILIES = ("linear_attn", "retnet", "mamba2", "gla", "deltanet")


def products(family: Family, tok: Tokens) -> np.ndarray:
    """A_i ... A_0 for every i [L n n]."""
    full = family.without_parameters().system(tok)[0].dense()
    L, n = tok.k.shape
    A = np.broadcast_to(full.A.dense(), (L, n, n))
    return np.array(list(accumulate(A, lambda P, step: step @ P)))


def as_linear_attention(family: Family, tok: Tokens) -> np.ndarray:
    """tril(Q~ K~') with queries and keys carried back to the start."""
    ltv = family.without_parameters().system(tok)[0].dense()
    P = products(family, tok)
    L = len(P)
    B, C = (np.broadcast_to(x, (L, *x.shape[1:])) for x in (ltv.B, ltv.C))
    queries = np.array([P[i].T @ C[i, 0] for i in range(L)])
    keys = np.array([np.linalg.solve(P[j], B[j, :, 0]) for j in range(L)])
    return np.tril(queries @ keys.T)


def reach(name: str, Q: np.ndarray, K: np.ndarray, rng: np.random.Generator) -> Tokens:
    """Tokens inside the domains of a family whose kernel is tril(Q K')."""
    L, n = Q.shape
    v = np.zeros((L, 1))
    if name == "linear_attn":
        return Tokens(q=Q, k=K, v=v)
    if name == "deltanet":
        return _reach_by_delta_rule(Q, K)
    gates = {
        "retnet": {"gamma": np.full((1, 1), 0.9)},
        "mamba2": {"dt": rng.uniform(0.5, 1.5, (L, 1)), "a": np.full((1, 1), -0.1)},
        "gla": {"log_a": rng.uniform(-0.2, -0.01, (L, n))},
    }[name]
    log_a = {
        "retnet": lambda: np.log(0.9) * np.ones((L, n)),
        "mamba2": lambda: gates["dt"] * gates["a"] * np.ones((L, n)),
        "gla": lambda: gates["log_a"],
    }[name]()
    total = np.cumsum(log_a, 0)
    write = gates.get("dt", np.ones((L, 1)))
    return Tokens(q=Q * np.exp(-total), k=K * np.exp(total) / write, v=v, **gates)


def _reach_by_delta_rule(Q: np.ndarray, K: np.ndarray) -> Tokens:
    """beta/(1 - beta) = |z| for z = A_{j-1} ... A_0 K_j: carried back, the key is K_j."""
    L, n = Q.shape
    P, q, k, beta = np.eye(n), np.empty_like(Q), np.empty_like(K), np.empty((L, 1))
    for j in range(L):
        z = P @ K[j]
        size = np.linalg.norm(z)
        k[j], beta[j] = z / size, size / (1 + size)
        P = (np.eye(n) - beta[j] * np.outer(k[j], k[j])) @ P
        q[j] = np.linalg.solve(P.T, Q[j])
    return Tokens(q=q, k=k, v=np.zeros((L, 1)), beta=beta)


def claim(L: int = 12, n: int = 3, seed: int = 0) -> list:
    """Both directions for every family: carried back to linear attention, and reached from it."""
    rng = np.random.default_rng(seed)
    Q, K = rng.standard_normal((L, n)), rng.standard_normal((L, n))
    target = np.tril(Q @ K.T)
    outcomes = []
    for name in FAMILIES:
        special = family(name)
        tok = reach(name, Q, K, rng)
        M = special.without_parameters().system(tok)[0].kernel()
        # cond(A_i ... A_0) amplifies the rounding of the inverse
        growth = np.linalg.cond(products(special, tok)[-1])
        tolerance = 1e-14 * L * n * growth * float(np.abs(target).max())
        outcomes += [(M, target, tolerance), (as_linear_attention(special, tok), M, tolerance)]
    return outcomes


def test_the_claim_holds():
    judgement = judge(claim())
    assert judgement.holds, "\n".join(judgement.lines)


@given(st.integers(1, 16), st.integers(1, 4), st.integers(0, 2**31))
def test_random_operators(L, n, seed):
    judgement = judge(claim(L, n, seed))
    assert judgement.holds, "\n".join(judgement.lines)


@pytest.mark.parametrize("name", FAMILIES)
@given(seed=st.integers(0, 2**31))
def test_the_tokens_lie_in_their_domains(name, seed):
    rng = np.random.default_rng(seed)
    Q, K = rng.standard_normal((8, 3)), rng.standard_normal((8, 3))
    tok = reach(name, Q, K, rng)
    for field, spec in family(name).spec.items():
        assert spec.domain.inside(getattr(tok, field))


def test_a_singular_transition_reaches_more():
    """The unit delay has Hankel rank 1 at every cut and is not tril of a matrix of rank 1."""
    L = 5
    delay = np.eye(L, k=-1)
    assert all(np.linalg.matrix_rank(delay[k:, :k]) == 1 for k in range(1, L))
    # rank 1 would need M_10 M_21 = M_20 M_11, but here 1 = 0
    assert delay[1, 0] * delay[2, 1] != delay[2, 0] * delay[1, 1]
