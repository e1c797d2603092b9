"""The attention of the models with one query per sequence is the last row of `dsf.softmax`."""

from __future__ import annotations

import numpy as np
import pytest

import dsf
from dsf.solvers.dynamics import nonlinear_head
from dsf.solvers.dynamics.scan_snap import example
from dsf.solvers.dynamics.sequence_classes import ascent, syn
from dsf.solvers.svm.instances import attention, draw, log_softmax, unit
from dsf.theory_tests.run import run


def last_row(query, keys):
    """Weights [T] of the query [d] on keys [T d]; the mechanism divides logits by sqrt d."""
    T, d = keys.shape
    return run(dsf.softmax, q=np.tile(query * d**0.5, (T, 1)), k=keys, v=np.eye(T))[-1]


def test_the_head_of_the_attention_svm():
    i, W = draw(0, 6, 8, 10), np.random.default_rng(0).standard_normal((10, 10))
    wanted = [last_row(W @ z, x) for x, z in zip(i.X, i.z, strict=True)]
    np.testing.assert_allclose(attention(W, i.X, i.z), wanted, rtol=1e-13)


def test_the_nonlinear_head():
    data, W = (
        nonlinear_head.draw(0, 2, n=3, T=4, d=5),
        np.random.default_rng(0).standard_normal((2, 5, 5)),
    )
    found = np.exp(nonlinear_head.log_attention(W, data.X, data.z))
    for s in range(2):
        wanted = [last_row(W[s] @ z, x) for x, z in zip(data.X[s], data.z[s], strict=True)]
        np.testing.assert_allclose(found[s], wanted, rtol=1e-13)


def test_scan_and_snap_weighs_by_frequency():
    """A token that occurs c times has the logit z + log c of c equal tokens."""
    classes = example()
    z = np.random.default_rng(0).standard_normal(classes.P.shape)
    for P, row, c in zip(classes.P, z, classes.attention(z), strict=True):
        used = P > 0
        keys = (row + np.log(P, where=used, out=np.zeros_like(P)))[used]
        np.testing.assert_allclose(c[used], last_row(np.ones(1), keys[:, None]), rtol=1e-13)
        assert not c[~used].any()


def test_scan_and_snap_on_samples():
    """f = c / |c| over the tokens of a sequence, one by one; the gradient in Y is f (e - a)'."""
    task = syn()
    rng = np.random.default_rng(0)
    counts = rng.multinomial(12, task.classes.P[0])
    Y, Z = rng.standard_normal((30, 34)), rng.standard_normal((2, 30))
    _, dY, _ = ascent(task, counts[None], np.array([0]), Y, Z)
    tokens = np.repeat(np.arange(30), counts)
    c = np.bincount(tokens, last_row(np.ones(1), Z[0, tokens][:, None]), 30)
    f = unit(c)
    error = np.eye(34)[0] - last_row(np.ones(1), (f @ Y)[:, None])
    np.testing.assert_allclose(dY, np.outer(f, error), atol=1e-13)


@pytest.mark.parametrize("size", [1.0, 1e3])
def test_logarithms_of_attention(size):
    a = size * np.random.default_rng(0).standard_normal((5, 7))
    np.testing.assert_allclose(
        log_softmax(a), a - np.logaddexp.reduce(a, axis=-1, keepdims=True), atol=1e-12
    )
