"""`realize` and `states_needed`: bounds, systems, certificates, bad input."""

from __future__ import annotations

from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import dsf
from dsf.core.certificate import Strength
from dsf.core.errors import CertificateError, DomainError, DTypeError, NonFiniteError, ShapeError
from dsf.states import Realization, hankel_gap, hankel_lower, realize, states_needed
from dsf.states.exact import switched
from dsf.states.operator import Direction
from dsf.theory_tests.dsf.softmax_states_table import softmax_matrix

seeds = st.integers(0, 2**32 - 1)


def hankel_counts(M: np.ndarray, error: float) -> int:
    """max_k #{sigma_j(M[k:, :k]) > error}, straight from the definition."""
    return max(
        (int((np.linalg.svd(M[k:, :k], compute_uv=False) > error).sum()) for k in range(1, len(M))),
        default=0,
    )


def operator(found: dsf.Realization) -> np.ndarray:
    """The operator of the systems that were found, from `LTV.kernel` (which shares no step)."""
    K = found.system.kernel()
    if found.backward is None:
        return K
    back = found.backward.kernel()
    return K + (back[::-1, :, ::-1, :] if K.ndim == 4 else back[..., ::-1, ::-1])


def norm(M: np.ndarray) -> float:
    if M.ndim == 4:
        M = M.reshape(M.shape[0] * M.shape[1], -1)
    return float(np.linalg.norm(M, 2, axis=(-2, -1)).max(initial=0.0)) if M.size else 0.0


# Lower, upper, and lower at error/7 (the bound of the dyadic lemma, 7 = ceil(log2 96)).
TABLE = {
    (1, 1): ((4, 4, 5), (5, 5, 6), (6, 6, 7)),
    (1, 4): ((5, 5, 7), (7, 8, 9), (9, 10, 11)),
    (2, 1): ((7, 7, 11), (11, 12, 16), (16, 16, 20)),
    (2, 4): ((10, 10, 16), (18, 18, 24), (25, 25, 31)),
    (4, 1): ((9, 10, 20), (22, 23, 34), (35, 36, 42)),
    (4, 4): ((19, 19, 29), (31, 32, 39), (41, 41, 44)),
    (16, 1): ((16, 19, 40), (42, 43, 47), (47, 47, 48)),
    (16, 4): ((34, 34, 42), (43, 43, 46), (46, 46, 47)),
    (64, 1): ((18, 22, 42), (44, 45, 47), (47, 47, 48)),
    (64, 4): ((31, 31, 41), (42, 42, 46), (46, 46, 47)),
}


@pytest.mark.parametrize("m, s", TABLE)
def test_softmax_table(m, s):
    M = softmax_matrix(96, m, s)
    for error, (lower, upper, dyadic) in zip((0.1, 0.01, 0.001), TABLE[m, s], strict=True):
        found = realize(M, atol=error)
        assert found.lower == lower
        assert found.upper <= upper
        assert found.upper - found.lower <= 4
        assert {t.name: t.states for t in found.theorems}["Hankel-norm, dyadic"] == dyadic
        assert norm(M - operator(found)) <= found.error <= error
        assert found.certificate.check()


@pytest.mark.smoke
def test_thin_slice():
    M = softmax_matrix(40, 2)
    found = dsf.realize(M, atol=0.01)
    assert 0 < found.lower <= found.upper == found.system.n
    assert found.certificate.check() and found.certificate.strength is Strength.ENCLOSED
    y, _ = found.system.scan(np.eye(40)[:, None, :])
    assert norm(M - y[:, 0]) <= found.error


@given(seeds, st.integers(0, 24), st.integers(1, 5), st.floats(1e-6, 2.0), st.booleans())
def test_bounds_hold(seed, L, m, error, relative):
    M = softmax_matrix(L, m, seed=seed)
    found = realize(M, **{"rtol" if relative else "atol": error})
    size = norm(M) if relative else 1.0
    most, least = (hankel_counts(M, error * size * x) for x in (1 - 1e-9, 1 + 1e-5))
    assert least <= found.lower <= most <= found.upper
    assert norm(M - operator(found)) <= found.error <= error * size * (1 + 1e-9)
    assert found.certificate.check()


@given(seeds, st.integers(1, 20), st.integers(0, 9), st.booleans())
def test_best_error(seed, L, states, relative):
    M = softmax_matrix(L, 2, seed=seed)
    found = realize(M, states=states, relative=relative)
    size = norm(M) if relative else 1.0
    values = [np.linalg.svd(M[k:, :k], compute_uv=False) for k in range(1, L)]
    floor = max((s[states] for s in values if len(s) > states), default=0.0) / size
    assert found.system.n <= states
    assert found.lower <= floor * (1 + 1e-9)
    assert found.lower >= floor * (1 - 1e-5) - 1e-9
    assert found.upper >= norm(M - operator(found)) / size * (1 - 1e-9)
    assert found.upper <= norm(M - operator(found)) / size * (1 + 1e-3) + 1e-10
    assert found.certificate.check()


@given(seeds, st.integers(1, 12), st.floats(1e-4, 1.0))
def test_two_directions(seed, L, error):
    M = np.random.default_rng(seed).standard_normal((L, L))
    found = realize(M, atol=error)
    below, above = hankel_counts(M, error), hankel_counts(M[::-1, ::-1], error)
    assert found.lower == below + above <= found.upper
    assert (found.backward is None) == (L == 1)
    if found.backward is not None:
        assert found.upper == found.system.n + found.backward.n
        X = np.random.default_rng(seed).standard_normal((L, 1, 1))
        y = found.system.scan(X)[0] + found.backward.scan(X[::-1])[0][::-1]
        assert np.linalg.norm(M @ X[:, 0] - y[:, 0]) <= found.error * np.linalg.norm(X) + 1e-12
    assert norm(M - operator(found)) <= found.error <= error
    assert found.certificate.check()


@given(seeds, st.integers(1, 7), st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_blocks(seed, L, r, m, causal):
    M = np.random.default_rng(seed).standard_normal((L, r, L, m))
    if causal:
        M *= np.tril(np.ones((L, L)))[:, None, :, None]
    found = realize(M, atol=0.3)
    assert found.system.kernel().shape == (M.shape if r * m > 1 else (L, L))
    assert norm(M.reshape(operator(found).shape) - operator(found)) <= found.error <= 0.3
    assert found.lower <= found.upper
    assert found.certificate.check()


@pytest.mark.parametrize(
    "question",
    [{"atol": 0.05}, {"states": 3, "relative": False}, {"atol": 0.05, "time_limit": 1e-9}],
)
def test_heads(question):
    M = np.stack([softmax_matrix(30, 2), softmax_matrix(30, 4, 2.0), np.zeros((30, 30))])
    found = realize(M, **question)
    assert len(found.heads) == 3
    assert found.upper == max(h.upper for h in found.heads)
    assert found.lower == max(h.lower for h in found.heads)
    assert found.heads[2].upper == 0
    assert found.system.kernel().shape == (3, 30, 30)
    assert norm(M - found.system.kernel()) <= found.error * (1 + 1e-12)
    assert found.certificate.check() and all(h.certificate.check() for h in found.heads)
    assert realize(M[:1], **question).system.kernel().shape == (1, 30, 30)


def peaks(M: np.ndarray) -> list[float]:
    """max_k sigma_j(M[k:, :k]) for j = 1, 2, ..."""
    values = [np.linalg.svd(M[k:, :k], compute_uv=False) for k in range(1, len(M))]
    return [max(s[j] for s in values if len(s) > j) for j in range(len(M) // 2)]


@given(seeds, st.integers(2, 12), st.integers(0, 9))
def test_states_are_shared_by_two_directions(seed, L, states):
    """The states + 1 largest of both directions cannot all be dropped."""
    M = np.random.default_rng(seed).standard_normal((L, L))
    found = realize(M, states=states, relative=False)
    every = sorted([*peaks(M), *peaks(M[::-1, ::-1])], reverse=True)
    floor = every[states] if states < len(every) else 0.0
    assert floor * (1 - 1e-5) - 1e-9 <= found.lower <= floor * (1 + 1e-9) + 1e-300
    assert found.system.n + found.backward.n <= states
    assert norm(M - operator(found)) * (1 - 1e-9) <= found.upper
    assert found.check()


@given(seeds, st.integers(2, 30), st.booleans())
def test_an_error_does_not_grow_with_the_states_allowed(seed, L, window):
    h = np.random.default_rng(seed).standard_normal(L) * 0.9 ** np.arange(L)
    lag = np.subtract.outer(np.arange(L), np.arange(L))
    M = np.where((0 <= lag) & (lag < 6), 1.0, 0.0) if window else np.where(lag >= 0, h[lag], 0.0)
    errors = [realize(M, states=n, relative=False).upper for n in range(L // 2 + 1)]
    assert all(b <= a * (1 + 1e-4) + 1e-12 for a, b in pairwise(errors))


@pytest.mark.parametrize("power", [-90, -76, 76, 90])
@pytest.mark.parametrize("question", [{"rtol": 1e-2}, {"rtol": 1e-9}, {"states": 3}])
def test_sizes_of_entries_do_not_matter(power, question):
    M = softmax_matrix(40, 3)
    found, like = (realize(X, **question) for X in (M * 10.0**power, M))
    assert found.check()
    assert found.lower == pytest.approx(like.lower, rel=1e-4, abs=1e-12)
    assert found.upper == pytest.approx(like.upper, rel=1e-4, abs=1e-12)


def test_exact_rank():
    # 1/(1 + i + j) shifted: a sum of three exponentials needs three states, at any error.
    lag = np.subtract.outer(np.arange(60), np.arange(60))
    M = sum(np.tril(c * a ** np.maximum(lag, 0)) for c, a in ((1, 0.9), (2, 0.5), (-1, -0.7)))
    found = realize(M, atol=1e-8)
    assert (found.lower, found.upper) == (3, 3)


@pytest.mark.parametrize("L", [0, 1, 2])
@pytest.mark.parametrize(
    "question",
    [
        {"atol": 0.1},
        {"rtol": 0.1},
        {"states": 0},
        {"states": 5},
        {"states": 0, "relative": False},
        {"states": 5, "relative": False},
    ],
)
def test_short_and_zero(L, question):
    for M in (np.zeros((L, L)), np.tril(np.ones((L, L)))):
        found = realize(M, **question)
        assert found.lower <= found.upper
        assert norm(M - operator(found)) <= found.error
        assert found.certificate.check()
    assert realize(np.zeros((L, L)), atol=0.1).upper == 0


def test_radius_widens_every_statement():
    M, rng = softmax_matrix(40, 3), np.random.default_rng(0)
    sharp, wide = realize(M, atol=0.05), realize(M, atol=0.05, radius=0.01)
    assert wide.lower <= sharp.lower and sharp.upper <= wide.upper
    assert wide.certificate.check()
    assert "within 0.01" in wide.certificate.claim
    for _ in range(20):  # every operator within the radius satisfies both bounds
        change = np.tril(rng.standard_normal((40, 40)))
        other = M + 0.01 * change / np.linalg.norm(change, 2)
        assert hankel_counts(other, 0.05) >= wide.lower
        assert norm(other - wide.system.kernel()) <= wide.error <= 0.05
    entrywise = realize(M, atol=0.05, radius=np.full((40, 40), 1e-4))
    assert entrywise.certificate.witnesses["radius"] == pytest.approx(4e-3)


def test_time_limit_returns_what_it_has():
    M = softmax_matrix(300, 16)
    found = realize(M, atol=1e-3, time_limit=1e-3)
    assert found.lower > 100
    assert found.upper == 150 and found.system.n == 150  # floor(L/2), a system that exists
    assert norm(M - found.system.kernel()) <= found.error <= 1e-3
    assert any("compression stopped" in note for note in found.notes)
    assert found.certificate.check()


def test_fallback_keeps_all_inputs_where_half_does_not_fit(monkeypatch):
    monkeypatch.setattr("dsf.states.exact.EXACT_MEMORY", 0)
    M = softmax_matrix(170, 8)
    found = realize(M, atol=1e-3, time_limit=1e-3)
    assert found.upper == found.system.n == 169 and found.error == 0.0
    assert np.array_equal(found.system.kernel(), M)
    assert found.certificate.check()
    both = M + softmax_matrix(170, 8, seed=1).T
    found = realize(both, atol=1e-3, time_limit=1e-3)
    assert found.upper == 338 and found.certificate.check()


@given(seeds, st.integers(0, 9), st.integers(1, 3), st.integers(1, 3))
def test_switched_system_is_exact(seed, L, r, m):
    M = np.random.default_rng(seed).standard_normal((L, r, L, m))
    M *= np.tril(np.ones((L, L)))[:, None, :, None]
    A, B, C, D = switched(Direction("forward", M))
    K = dsf.LTV(dsf.Dense(A), B, C, D, read="before", steps=L).kernel()
    assert np.array_equal(K.reshape(M.shape), M)
    if r == m == 1:
        assert A.shape[-1] == L // 2


def test_tiny_errors_leave_the_gram_matrix():
    M = softmax_matrix(200, 2)
    found = realize(M, atol=1e-8)
    assert found.lower == hankel_counts(M, 1e-8)
    assert found.upper - found.lower <= 4
    assert norm(M - found.system.kernel()) <= found.error <= 1e-8


def test_larger_matrix_gap():
    found = realize(softmax_matrix(512, 4), atol=0.05, time_limit=60)
    assert found.upper - found.lower <= 10
    assert found.certificate.check()


def test_second_pass_is_finer(monkeypatch):
    """Where no slice of the first pass can be proved, a pass at a smaller tolerance is tried."""
    M = softmax_matrix(200, 4)
    once = realize(M, atol=0.01, time_limit=60)
    monkeypatch.setattr("dsf.states.search.RATIOS", (0.5, 32.0))
    twice = realize(M, atol=0.01, time_limit=60)
    assert not once.notes and any("error/0.5" in note for note in twice.notes)
    assert twice.upper <= once.upper + 1 and twice.certificate.check()


@pytest.mark.slow
@pytest.mark.parametrize(
    "L, m, s, error", [(1024, 16, 1, 0.1), (2048, 4, 1, 0.01), (4096, 2, 4, 0.1)]
)
def test_large_matrix_gap(L, m, s, error):
    found = realize(softmax_matrix(L, m, s), atol=error, time_limit=120)
    assert found.upper - found.lower <= 10
    assert found.error <= error and found.certificate.check()


# ------------------------------------------------------------------ callers
def test_states_needed_takes_mechanisms_and_systems():
    u = np.random.default_rng(0).standard_normal((24, 6))
    mech = dsf.softmax.init(d=6, n=3, p=4, heads=2, seed=0)
    found = states_needed(mech, u, atol=0.05)
    direct = realize(mech.kernel(u), atol=0.05)
    assert (found.lower, found.upper) == (direct.lower, direct.upper)
    assert len(found.heads) == 2 and found.certificate.check()
    decay = dsf.LTV(
        dsf.Diag(a=np.full((1, 1), 0.5)), np.ones((1, 1, 1)), np.ones((1, 1, 1)), steps=9
    )
    assert states_needed(decay, atol=1e-6).upper == 1
    with pytest.raises(ShapeError, match="pass u"):
        states_needed(mech, atol=0.1)


def test_hankel_certificates():
    M = softmax_matrix(200, 3)
    low = hankel_lower(M, 0.01)
    assert low.check() and low.lower <= hankel_counts(M, 0.01) <= low.lower + 2
    gap = hankel_gap(M, low.lower - 1)
    assert gap.check() and gap.lower > 0.01
    with pytest.raises(DomainError, match="can reproduce"):
        hankel_gap(np.tril(np.ones((9, 9))), 1)
    assert hankel_lower(np.zeros((3, 3)), 0.0).lower == 0


# ------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    "error, M, options",
    [
        (NonFiniteError, [[np.nan]], {"atol": 0.1}),
        (NonFiniteError, [[np.inf]], {"atol": 0.1}),
        (ShapeError, np.zeros((2, 3)), {"atol": 0.1}),
        (ShapeError, np.zeros(4), {"atol": 0.1}),
        (ShapeError, np.zeros((2, 1, 3, 1)), {"atol": 0.1}),
        (ShapeError, np.zeros((0, 3, 3)), {"atol": 0.1}),
        (ShapeError, np.zeros((1, 1, 1, 1, 1, 1)), {"atol": 0.1}),
        (DTypeError, np.eye(2) * 1j, {"atol": 0.1}),
        (DTypeError, np.array([["a"]]), {"atol": 0.1}),
        (DTypeError, np.array([[None]]), {"atol": 0.1}),
        (DomainError, 1e200 * np.eye(2), {"atol": 0.1}),
        (DomainError, 1e-200 * np.eye(2), {"atol": 0.1}),
        (DomainError, np.eye(2), {"atol": 0.1, "rtol": 0.1}),
        (DomainError, np.eye(2), {"rtol": 0.0}),
        (DomainError, np.eye(2), {"rtol": 0.1, "relative": False}),
        (DomainError, np.eye(2), {"atol": 0.1, "states": 1}),
        (DomainError, np.eye(2), {"atol": 0.0}),
        (DomainError, np.eye(2), {"atol": -1.0}),
        (DomainError, np.eye(2), {"atol": np.nan}),
        (DomainError, np.eye(2), {"states": -1}),
        (DomainError, np.eye(2), {"states": 1.5}),
        (DomainError, np.eye(2), {"atol": 0.1, "time_limit": 0.0}),
        (DomainError, np.eye(2), {"atol": 0.1, "radius": -1.0}),
        (DomainError, np.eye(2), {"atol": 0.1, "radius": 0.1}),
        (ShapeError, np.eye(2), {"atol": 0.1, "radius": np.zeros(3)}),
    ],
)
def test_bad_input(error, M, options):
    with pytest.raises(error, match="realize: "):
        realize(M, **options)


def test_other_number_types():
    import torch

    M = np.tril(np.ones((5, 5)))
    for other in (
        M.astype(int),
        M.astype(bool),
        M.astype(np.float32),
        torch.as_tensor(M),
        M.tolist(),
    ):
        assert realize(other, atol=1e-6).upper == 1


@pytest.mark.parametrize("question", [{"rtol": 0.05}, {"states": 3}, {"time_limit": 1e-9}])
def test_a_realization_survives_json(question):
    M = softmax_matrix(30, 3) + softmax_matrix(30, 2, seed=1).T
    for X in (M, np.stack([M, np.tril(M)])):
        found = realize(X, **question)
        again = Realization.from_json(found.to_json())
        assert again.check() and repr(again) == repr(found)
        assert (again.lower, again.upper, again.error) == (found.lower, found.upper, found.error)
        assert np.array_equal(operator(again), operator(found))
        assert len(again.heads) == len(found.heads)
    with pytest.raises(CertificateError, match="not the JSON of a Realization"):
        Realization.from_json(found.certificate.to_json())


def test_a_causal_head_beside_one_that_is_not_has_no_backward_part(monkeypatch):
    monkeypatch.setattr("dsf.states.exact.EXACT_MEMORY", 0)
    M = softmax_matrix(170, 40)
    found = realize(np.stack([M + M.T, M]), rtol=1e-9, time_limit=1e-9)
    assert found.backward is not None and norm(operator(found)[1] - M) <= found.error
