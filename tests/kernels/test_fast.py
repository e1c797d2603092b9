"""Systems in kernels: every recurrence of the catalogue against its single steps."""

from __future__ import annotations

import numpy as np
import pytest

import dsf
from dsf.core import fast, hooks
from dsf.core.catalogue import everything
from dsf.core.errors import OverflowingScanError
from dsf.core.kinds import Recurrence
from dsf.core.metrics import effective_length, gate, ratio, scale
from dsf.core.transition import Prod

pytest.importorskip("numba")
FAMILIES = [f for f in everything() if issubclass(f.cls, Recurrence)]
# of S [H n p] with these sizes; what is not here has one state and one column
STRUCTURE = {"Diag": ("linear", "selective", "diagonal"), "Erase": ("delta",)}


@pytest.fixture
def used(monkeypatch):
    """The structures that ran, in order."""
    names, kernel = [], hooks.kernel

    def noted(structure, arrays, numbers):
        names.append(structure)
        return kernel(structure, arrays, numbers)

    monkeypatch.setattr(hooks, "kernel", noted)
    monkeypatch.setattr(fast, "SMALL", 0)
    return names


def drawn(family, L=70):
    tok = family.draw_tokens(np.random.default_rng(0), L, n=4, p=6, d=6)
    return family.without_parameters().system(tok)


def single_steps(ltv, X, S=None):
    ltv, X, S = ltv._driven_by(X, S)
    return ltv._scan(X, S, 0, ltv.length)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_every_recurrence(family, used):
    ltv, X = drawn(family)
    state = np.random.default_rng(1).standard_normal((*ltv.out_batch(X), ltv.n, X.shape[-1]))
    for S in (None, state):
        used.clear()
        (y, last), (z, end) = ltv.scan(X, S), single_steps(ltv, X, S)
        assert used and set(used) <= set(STRUCTURE[type(ltv.A).__name__])
        assert ratio(y, z, scale(ltv, X, S)) <= gate(effective_length(ltv))
        assert y.shape == z.shape and y.dtype == z.dtype and last.shape == end.shape
        assert np.allclose(last, end, rtol=1e-11, atol=1e-12 * np.abs(end).max())


def by_hand(kind, read, L=40, p=5):
    """Systems whose coefficients are written out: X [L 1 p]."""
    rng = np.random.default_rng(0)
    B, C = rng.standard_normal((L, 3, 1)), rng.standard_normal((L, 1, 3))
    A, rank = dsf.Diag(a=rng.uniform(0.5, 1, (L, 3))), int(kind.endswith("2")) + 1
    U = 0.3 * rng.standard_normal((3, rank))
    A = A if kind == "Diag" else dsf.LowRank(A, U=-U, W=U)
    return dsf.LTV(A, B, C, read=read), rng.standard_normal((L, 1, p))


@pytest.mark.parametrize("kind", ["Diag", "LowRank", "LowRank of rank 2"])
@pytest.mark.parametrize("read", ["after", "before"])
@pytest.mark.parametrize("p", [1, 5])
def test_both_ways_to_read_and_stretches_of_time(kind, read, p, used, monkeypatch):
    monkeypatch.setattr(fast, "STRETCH", 16)
    ltv, X = by_hand(kind, read, p=p)
    S = np.random.default_rng(1).standard_normal((3, p))
    for x, z in zip(ltv.scan(X, S), single_steps(ltv, X, S), strict=True):
        assert np.allclose(x, z, rtol=1e-12, atol=1e-13)
    assert used or kind != "Diag"


@pytest.mark.parametrize("channels", [False, True])
@pytest.mark.parametrize("other", ["", "read", "B"])
def test_what_the_delta_rule_takes(other, channels, used):
    """A write along the erased key itself, also of a part or in another dtype; not equal numbers,
    whose gradients are others."""
    rng = np.random.default_rng(0)
    k, beta = rng.standard_normal((2, 40, 3, 1)) / 2, rng.random((2, 40, 1, 1))
    A = dsf.Erase(dsf.Diag(a=rng.random((2, 40, 3 if channels else 1))), k, beta)
    B = A.write.dense() if other == "B" else A.write
    C, X = rng.standard_normal((2, 40, 1, 3)), rng.standard_normal((2, 40, 1, 5))
    ltv = dsf.LTV(A, B, C, read="before" if other == "read" else "after")
    S = rng.standard_normal((2, 3, 5))
    for x, z in zip(ltv.scan(X, S), single_steps(ltv, X, S), strict=True):
        assert np.allclose(x, z, rtol=1e-12, atol=1e-13)
    assert used == {"": ["delta"], "read": [], "B": ["low_rank"]}[other]
    used.clear()
    y = ltv.map(np.float32).part(3, 30).scan(X[:, 3:30].astype(np.float32))[0]
    z = single_steps(ltv.part(3, 30), X[:, 3:30])[0]
    assert y.dtype == np.float32 and np.allclose(y, z, rtol=1e-4, atol=1e-5)
    assert used == {"": ["delta"], "read": [], "B": ["low_rank"]}[other]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("read", ["after", "before"])
@pytest.mark.parametrize("own", ["", "B", "C"])
def test_what_the_selective_scan_takes(turned, read, own, used):
    """dt a in either order; other ways to read, and keys or queries of a channel, run elsewhere."""
    rng = np.random.default_rng(0)
    D, L, n = 5, 30, 3
    dt, a = rng.uniform(0.1, 1, (D, L, 1)), -rng.uniform(0.1, 1, (D, 1, n))
    k, q = (rng.standard_normal((D if own == x else 1, L, n)) for x in "BC")
    A = dsf.Diag(log_a=Prod((a, dt) if turned else (dt, a)))
    ltv = dsf.LTV(A, Prod((dt[..., None], k[..., None])), q[..., None, :], read=read)
    X = rng.standard_normal((D, L, 1, 1))
    for x, z in zip(ltv.scan(X), single_steps(ltv, X), strict=True):
        assert x.shape == z.shape and np.allclose(x, z, rtol=1e-12, atol=1e-13)
    assert set(used) == {"diagonal" if own or read == "before" else "selective"}


@pytest.mark.parametrize("bad", ["logit", "value"])
def test_attention_that_may_not_stay_finite_is_left_to_the_weights(bad, monkeypatch):
    """A logit of -infinity: the kernel would give it the weight 0 and say nothing."""
    monkeypatch.setattr(fast, "SMALL", 0)
    q, k, v = np.ones((3, 1, 4, 2))
    assert fast.attended(q, k, v, None) is not None
    if bad == "logit":
        q, k = 1e160 * q, np.stack([[0.0, 0.0], *[[-1e160, -1e160]] * 3])[None]
    else:
        v[0, 2] = np.nan
    assert fast.attended(q, k, v, None) is None


def test_mixed_precision_is_computed_in_the_wider_one(used):
    ltv, X = by_hand("Diag", "after")
    ltv = dsf.LTV(ltv.A, ltv.B, ltv.C.astype(np.float32))
    y, S = ltv.scan(X)
    z, T = single_steps(ltv, X)
    assert used and y.dtype == z.dtype == S.dtype == np.float64
    assert np.allclose(y, z, rtol=1e-12, atol=1e-13) and np.allclose(S, T, rtol=1e-12, atol=1e-13)


def test_a_state_that_overflows_where_nothing_reads_it(used):
    """The last step; the output is finite."""
    one = np.ones((3, 1, 1))
    ltv = dsf.LTV(dsf.Diag(a=np.array([[1.0], [1.0], [1e300]])), one, one, read="before")
    with pytest.raises(OverflowingScanError, match="step 3 of 3"):
        ltv.scan(1e30 * np.ones((3, 1, 5)))


def test_small_systems_run_step_by_step(monkeypatch):
    monkeypatch.setattr(hooks, "kernel", None)
    ltv, X = drawn(dsf.gla, L=8)
    assert ltv.scan(X)[0].shape == X.shape


def test_balls_run_step_by_step(monkeypatch):
    pytest.importorskip("flint")
    monkeypatch.setattr(hooks, "kernel", None)
    monkeypatch.setattr(fast, "SMALL", 0)
    ltv, X = drawn(dsf.gla, L=3)
    y = ltv.map(dsf.balls).scan(dsf.balls(X))[0]
    assert y.dtype == object and y.shape == X.shape


def test_where_a_state_overflows_the_step_is_named(used):
    one = np.ones((40, 1, 1))
    ltv = dsf.LTV(dsf.Diag(a=np.full((1, 1), 1e10)), one, one)
    X = np.ones((40, 1, 8))
    with pytest.raises(OverflowingScanError, match="step 32 of 40"):
        ltv.scan(X)
    assert used == ["linear"]


def test_nan_in_one_token_spoils_what_comes_after_it(used):
    ltv, X = drawn(dsf.gla)
    X[..., 30, 0, 0] = np.nan
    y, z = ltv.scan(X)[0], single_steps(ltv, X)[0]
    assert np.array_equal(np.isnan(y), np.isnan(z)) and not np.isnan(y[..., :30, :, :]).any()
    assert np.array_equal(y, z, equal_nan=True)


@pytest.mark.parametrize("name", ["gla", "mamba", "gated_deltanet", "s4d", "retnet", "rwkv6"])
def test_gradients_of_layers(name, used, monkeypatch):
    torch = pytest.importorskip("torch")
    layer = dsf.family(name).to_torch(d=8).double()
    x = torch.randn(2, 40, 8, dtype=torch.float64, requires_grad=True)
    inputs = [x, *layer.parameters()]

    def gradients():
        found = torch.autograd.grad(layer(x).square().sum(), inputs, allow_unused=True)
        return [g for g in found if g is not None]  # options switch some parameters off

    found = gradients()
    assert used and len(found) > 3
    monkeypatch.setattr(hooks, "kernel", lambda *call: None)
    for g, h in zip(found, gradients(), strict=True):
        assert torch.allclose(g, h, rtol=1e-9, atol=1e-11 * float(h.abs().max() + 1))


@pytest.mark.parametrize("name", ["gla", "mamba", "gated_deltanet", "s4d"])
def test_transforms_of_layers(name, used):
    torch = pytest.importorskip("torch")
    layer = dsf.family(name).to_torch(d=4).double()
    x = torch.randn(3, 7, 4, dtype=torch.float64)
    assert torch.allclose(torch.vmap(layer)(x), layer(x), rtol=1e-12, atol=1e-13)
    J = torch.func.jacrev(layer)(x[0])
    assert J.shape == (7, 4, 7, 4) and used
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(x), layer(x), rtol=1e-12, atol=1e-13)
