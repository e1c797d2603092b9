"""The four transitions and the table that composes them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dsf.core import metrics
from dsf.core.errors import ShapeError
from dsf.core.transition import (
    COMPOSE,
    Dense,
    Diag,
    Erase,
    LowRank,
    Prod,
    Shift,
    at,
    compose,
    dense,
    part_of,
)

KINDS = (
    "log scalar", "log diagonal", "scalar", "diagonal", "low rank", "erase", "dense", "shift",
)  # fmt: skip


def draw(kind, n, rng, L=3, rank=1):
    """A transition of every kind; names of `KINDS`."""
    if kind.startswith("log"):
        return Diag(log_a=-rng.uniform(0, 2, (L, n if "diagonal" in kind else 1)), size=n)
    if kind in ("scalar", "diagonal"):
        return Diag(a=rng.uniform(-1, 1, (L, n if kind == "diagonal" else 1)), size=n)
    if kind == "low rank":
        diag = Diag(a=rng.uniform(-1, 1, (L, n)))
        return LowRank(diag, *rng.standard_normal((2, L, n, rank)) / n)
    if kind == "erase":
        diag = Diag(a=rng.uniform(-1, 1, (L, n if rank % 2 else 1)))
        k = rng.standard_normal((L, n, 1))
        return Erase(diag, k / np.linalg.norm(k, axis=-2, keepdims=True), rng.random((L, 1, 1)))
    return Dense(rng.standard_normal((L, n, n)) / n) if kind == "dense" else Shift(n)


@pytest.mark.smoke
@pytest.mark.parametrize("second, first", list(product(KINDS, KINDS)))
@given(seed=st.integers(0, 2**32), n=st.integers(1, 5), rank=st.integers(1, 3))
def test_composition_is_the_product_of_matrices(second, first, seed, n, rank):
    rng = np.random.default_rng(seed)
    b, a = draw(second, n, rng, rank=rank), draw(first, n, rng, rank=rank)
    c = b @ a
    exact = np.asarray(b.dense(n)) @ np.asarray(a.dense(n))
    size = absolute(b, n) @ absolute(a, n)
    assert metrics.ratio(np.broadcast_to(c.dense(n), exact.shape), exact, size) <= metrics.gate(n)
    assert c.n == n


def absolute(A, n):
    """What rounding may see of A: |diag| + |U| |W|' where it is factored."""
    if isinstance(A, LowRank):
        A = A.expanded()
        return np.abs(A.diag.dense(n)) + np.abs(A.U) @ np.swapaxes(np.abs(A.W), -1, -2)
    return np.abs(A.dense(n))


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 5))
def test_apply_right_and_dense_agree(kind, seed, n):
    rng = np.random.default_rng(seed)
    A = draw(kind, n, rng, rank=2)
    S, R = rng.standard_normal((3, n, 2)), rng.standard_normal((3, 2, n))
    full = np.broadcast_to(np.asarray(A.dense(n)), (3, n, n))
    size = np.broadcast_to(absolute(A, n), (3, n, n))
    assert metrics.ratio(A.apply(S), full @ S, size @ np.abs(S)) <= metrics.gate(n)
    assert metrics.ratio(A.right(R), R @ full, np.abs(R) @ size) <= metrics.gate(n)
    for t in range(3):
        assert np.array_equal(np.asarray(A.at(t).dense(n)), full[t])
        assert np.array_equal(A.part(slice(t, t + 1)).apply(S[t : t + 1])[0], A.apply(S)[t])


@given(seed=st.integers(0, 2**32), n=st.integers(1, 4))
def test_composition_is_associative(seed, n):
    rng = np.random.default_rng(seed)
    kinds = [KINDS[i] for i in rng.integers(0, len(KINDS), 3)]
    a, b, c = (draw(kind, n, rng) for kind in kinds)
    left, right = np.asarray(((a @ b) @ c).dense(n)), np.asarray((a @ (b @ c)).dense(n))
    size = absolute(a, n) @ absolute(b, n) @ absolute(c, n)
    assert metrics.ratio(*np.broadcast_arrays(left, right), size) <= metrics.gate(n)


@pytest.mark.parametrize(
    "second, first, kind",
    [
        ("scalar", "log diagonal", Diag),
        ("log scalar", "log scalar", Diag),
        ("diagonal", "low rank", LowRank),
        ("low rank", "scalar", LowRank),
        ("low rank", "low rank", LowRank),
        ("erase", "erase", LowRank),
        ("diagonal", "erase", LowRank),
        ("erase", "scalar", LowRank),
        ("low rank", "dense", Dense),
        ("shift", "diagonal", Dense),
        ("shift", "shift", Dense),
    ],
)
def test_the_table_keeps_structure(second, first, kind):
    rng = np.random.default_rng(0)
    assert type(draw(second, 5, rng) @ draw(first, 5, rng)) is kind


def test_low_rank_becomes_dense_when_the_ranks_fill_the_state():
    rng = np.random.default_rng(0)
    a, b = (draw("low rank", 4, rng, rank=r) for r in (1, 2))
    assert (a @ b).rank == 3
    assert type(b @ b) is Dense
    assert set(COMPOSE) == set(product((Diag, LowRank), repeat=2))


def test_log_decays_stay_logarithmic():
    """Products of decays are sums of logs: nothing underflows, and -inf is an exact zero."""
    a = Diag(log_a=np.array([[-600.0, -np.inf]]))
    c = compose(a, a)
    assert c.log_a.tolist() == [[-1200.0, -np.inf]]
    assert c.values().tolist() == [[0.0, 0.0]]


def test_structure_is_read_off_the_shapes():
    rng = np.random.default_rng(0)
    found = {kind: draw(kind, 3, rng).structure for kind in KINDS}
    assert found == {
        "log scalar": "scalar", "log diagonal": "diagonal", "scalar": "scalar",
        "diagonal": "diagonal", "low rank": "low rank", "erase": "low rank", "dense": "dense",
        "shift": "shift",
    }  # fmt: skip


def test_diag_needs_exactly_one_of_log_a_and_a():
    for wrong in ({}, {"a": np.ones((1, 1)), "log_a": np.ones((1, 1))}):
        with pytest.raises(ShapeError, match="exactly one"):
            Diag(**wrong)


# --------------------------------------------------------------------------- products
@given(seed=st.integers(0, 2**32))
def test_a_product_is_the_product_of_its_rows(seed):
    rng = np.random.default_rng(seed)
    p = Prod((rng.standard_normal((2, 4, 1)), rng.standard_normal((2, 1, 3)), rng.random(3)))
    assert p.shape == (2, 4, 3)
    for t in range(4):
        assert np.array_equal(at(p, t, -2), p.dense()[:, t])
    assert np.array_equal(dense(part_of(p, slice(1, 3), -2)), p.dense()[:, 1:3])
    assert np.array_equal(dense(p.map(np.negative)), -p.dense())  # three factors: (-1)^3


def test_map_reaches_every_array_and_changes_the_world():
    rng = np.random.default_rng(0)
    A = LowRank(Diag(log_a=Prod((-rng.random((3, 1)), rng.random(2)))), *rng.random((2, 3, 2, 1)))
    assert len(A.arrays()) == 4
    T = A.map(torch.as_tensor)
    assert all(torch.is_tensor(x) for x in T.arrays())
    assert np.allclose(T.dense(), A.dense(), rtol=1e-15)
    assert A.lengths() == [3, 3, 3]
