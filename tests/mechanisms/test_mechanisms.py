"""Every mechanism against the formula of its paper, written here as sums over pairs of tokens.

The formulas know nothing of `LTV`, of states or of dsf.ops: they are double sums (or the paper's
own loop where there is no sum), evaluated in extended precision.  u is [L d], parameters keep their
names and carry the head axis first; `heads` joins the outputs of the heads.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from math import factorial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import dsf
from dsf.core import metrics
from dsf.core.catalogue import everything, families, family
from dsf.core.errors import DomainError, NotContractive
from dsf.core.state import State

LONG = np.longdouble
L = 9


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(x))


def unit(x):
    return x / np.sqrt((x * x).sum(-1, keepdims=True))


def heads(P, of_head):
    """The outputs [L p] of all heads side by side; a head sees its slice of every parameter."""
    H = P.Wq.shape[0]
    one = [SimpleNamespace(**{k: _slice(v, h, H) for k, v in vars(P).items()}) for h in range(H)]
    return np.concatenate([of_head(p) for p in one], -1)


def _slice(x, h, H):
    if not isinstance(x, np.ndarray) or x.ndim < 3:
        return x
    return x[h] if x.shape[0] == H else x[0]  # parameters shared by the heads have size 1


def pairs(weight, v):
    """y_i = sum_{j<=i} weight(i, j) v_j."""
    y = np.zeros((len(v), v.shape[-1]), dtype=LONG)
    for i in range(len(v)):
        for j in range(i + 1):
            y[i] += weight(i, j) * v[j]
    return y


def ratio_of_pairs(weight, v):
    """y_i = sum_j weight(i, j) v_j / sum_j weight(i, j)."""
    return pairs(weight, v) / pairs(weight, np.ones((len(v), 1), dtype=LONG))


# --------------------------------------------------------------------------- attention
def softmax(P, u, width=10**9):
    def head(p):
        q, k, v = u @ p.Wq, u @ p.Wk, u @ p.Wv
        scale = np.sqrt(LONG(q.shape[-1]))

        def weight(i, j):
            seen = i - j < width and (P.include_self or i != j)
            return np.exp(q[i] @ k[j] / scale) if seen else LONG(0)

        total = pairs(weight, np.ones((len(v), 1), dtype=LONG))
        return pairs(weight, v) / np.where(total == 0, 1, total)  # nothing to see: zero

    return heads(P, head)


def linear_attn(P, u):
    def head(p):
        q, k, v = u @ p.Wq, u @ p.Wk, u @ p.Wv
        phi = {
            "identity": lambda x: x,
            "elu+1": lambda x: np.where(x > 0, x + 1, np.exp(x)),
            "exp": np.exp,
        }.get(p.phi)
        if phi:

            def weight(i, j):
                return phi(q[i]) @ phi(k[j])
        elif p.phi == "taylor":  # the truncated exponential series of q'k

            def weight(i, j):
                return sum((q[i] @ k[j]) ** r / factorial(r) for r in range(p.order + 1))
        else:  # favor: the mean over random directions of e^{w(q+k) - |q|^2/2 - |k|^2/2}

            def weight(i, j):
                size = (q[i] @ q[i] + k[j] @ k[j]) / 2
                return np.exp(P.omega @ (q[i] + k[j]) - size).mean()

        return (ratio_of_pairs if p.normalise else pairs)(weight, v)

    return heads(P, head)


def normalised_attn(P, u):
    f = {"exp": np.exp, "softplus": softplus, "sigmoid": sigmoid}[P.eta]

    def head(p):
        q, k, v, eta = u @ p.Wq, u @ p.Wk, u @ p.Wv, f(u @ p.w + p.b)
        return pairs(lambda i, j: q[i] @ k[j] / eta[i], v)

    return heads(P, head)


# ------------------------------------------------------------------------------- decay
def retnet(P, u):
    def head(p):
        q, k, v, g = u @ p.Wq, u @ p.Wk, u @ p.Wv, p.gamma[0, 0]
        if not P.rotation:
            return pairs(lambda i, j: g ** (i - j) * (q[i] @ k[j]), v)
        half, theta = q.shape[-1] // 2, p.theta[0]

        def rotated(x, t):  # each pair (x_s, x_{s+half}) turned by the angle theta_s t
            a, b, c, s = x[:half], x[half:], np.cos(theta * t), np.sin(theta * t)
            return np.concatenate([a * c - b * s, a * s + b * c])

        return pairs(lambda i, j: g ** (i - j) * (rotated(q[i], i) @ rotated(k[j], j)), v)

    return heads(P, head)


def mamba2(P, u):
    def head(p):
        q, k, v = u @ p.Wq, u @ p.Wk, u @ p.Wv
        dt, a = softplus(u @ p.Wdt + p.b)[:, 0], -np.exp(p.A_log[0, 0])
        y = pairs(lambda i, j: q[i] @ k[j] * np.exp(a * dt[j + 1 : i + 1].sum()) * dt[j], v)
        return y + (p.D[0, 0] * v if p.skip else 0)

    return heads(P, head)


def gla(P, u):
    def head(p):
        q, k, v = u @ p.Wq / np.sqrt(LONG(p.Wq.shape[-1])), u @ p.Wk, u @ p.Wv
        alpha = sigmoid(u @ p.W1 @ p.W2 + p.b) ** (LONG(1) / 16)
        return pairs(lambda i, j: (q[i] * alpha[j + 1 : i + 1].prod(0)) @ k[j], v)

    return heads(P, head)


def rwkv6(P, u):
    def head(p):
        q, k, v = u @ p.Wq, u @ p.Wk, u @ p.Wv
        w = np.exp(-np.exp(p.w0 + np.tanh(u @ p.W1) @ p.W2))

        def weight(i, j):  # the current token passes by its bonus, not through the state
            return q[i] @ (k[j] * (p.bonus[0] if i == j else w[j + 1 : i].prod(0)))

        return pairs(weight, v)

    return heads(P, head)


def mlstm(P, u):
    def head(p):
        q, v = u @ p.Wq, u @ p.Wv
        k = u @ p.Wk / np.sqrt(LONG(p.Wk.shape[-1]))
        write, forget = np.exp(u @ p.Wi + p.bi)[:, 0], sigmoid(u @ p.Wf + p.bf)[:, 0]

        def weight(i, j):
            return q[i] @ k[j] * write[j] * forget[j + 1 : i + 1].prod()

        total = pairs(weight, np.ones((L, 1), dtype=LONG))
        return sigmoid(u @ p.Wo) * pairs(weight, v) / np.maximum(np.abs(total), 1)

    return heads(P, head)


def mamba3(P, u):
    def head(p):
        q, k = (unit(u @ W) * np.sqrt(LONG(W.shape[-1])) for W in (p.Wq, p.Wk))
        q, k, v = q + p.q_bias, k + p.k_bias, u @ p.Wv
        x = (u @ p.Wa)[:, 0]
        a = np.where(x >= 0, -(1 + x), -1 / (1 - np.minimum(x, 0)))
        dt, lam = softplus(u @ p.Wdt + p.dt_bias)[:, 0], sigmoid(u @ p.Wl)[:, 0]
        pi = 4 * np.arctan(LONG(1))
        turn = np.cumsum(dt[:, None] * pi * np.tanh(u @ p.Wt), 0)  # cumulative rotation [L n/2]
        half = q.shape[-1] // 2

        def rotated(x, t):
            e, f, c, s = x[:half], x[half:], np.cos(turn[t]), np.sin(turn[t])
            return np.concatenate([e * c - f * s, e * s + f * c])

        def decay(i, j):
            return np.exp((dt * a)[j + 1 : i + 1].sum())

        def weight(i, j):  # alpha_{i:j+1} gamma_j + alpha_{i:j+2} beta_{j+1}
            gain = decay(i, j) * lam[j] * dt[j]
            if i > j:
                beta = (1 - lam[j + 1]) * dt[j + 1] * np.exp(dt[j + 1] * a[j + 1])
                gain += decay(i, j + 1) * beta
            return gain * (rotated(q[i], i) @ rotated(k[j], j))

        return pairs(weight, v) + (p.D[0, 0] * v if p.skip else 0)

    return heads(P, head)


# ------------------------------------------------------------- per channel, time-invariant
def mamba(P, u):
    q, k, dt = u @ P.Wq, u @ P.Wk, softplus(u @ P.Wr @ P.Wdt + P.b)
    y = np.zeros_like(u)
    for c in range(u.shape[-1]):
        a = -np.exp(P.A_log[c, 0])

        def weight(i, j, c=c, a=a):
            gain = dt[j, c] if P.discretisation == "simplified" else np.expm1(dt[j, c] * a) / a
            return q[i] @ (np.exp(dt[j + 1 : i + 1, c].sum() * a) * gain * k[j])

        y[:, c] = pairs(weight, u[:, c : c + 1])[:, 0]
    return y + (P.D[:, 0, 0] * u if P.skip else 0)


def s4d(P, u):
    y = P.skip[:, 0, 0] * u
    for c in range(u.shape[-1]):
        dt = np.exp(P.log_dt[c, 0, 0])
        a = -np.exp(P.log_re[c, 0]) + 1j * P.a_im[c, 0]
        b, out = P.b_re[c, 0] + 1j * P.b_im[c, 0], P.c_re[c, 0] + 1j * P.c_im[c, 0]
        if P.discretisation == "zoh":
            A, B = np.exp(dt * a), (np.exp(dt * a) - 1) / a * b
        else:
            A, B = (1 + dt * a / 2) / (1 - dt * a / 2), dt * b / (1 - dt * a / 2)
        response = [(out * A**lag * B).sum().real for lag in range(L)]
        y[:, c] += pairs(lambda i, j, h=response: h[i - j], u[:, c : c + 1])[:, 0]
    return y


def lru(P, u):
    lam = np.exp(-np.exp(P.nu[0]) + 1j * np.exp(P.theta[0]))
    B = np.exp(P.log_gamma) * (P.b_re + 1j * P.b_im)
    C = P.c_re + 1j * P.c_im
    y = P.skip[0] * u
    for i in range(L):
        for j in range(i + 1):
            y[i] += (C @ (lam ** (i - j) * (B @ u[j]))).real
    return y


def qlstm(P, u):
    x = u @ P.Wf + P.bf
    f = sigmoid(-x) ** P.alpha if P.reversed else sigmoid(x)
    g, o, v = sigmoid(u @ P.Wg + P.bg), sigmoid(u @ P.Wo + P.bo), u @ P.Wv
    return pairs(lambda i, j: o[i] * f[j + 1 : i + 1].prod(0) * g[j], v)


def rglru(P, u):
    a = sigmoid(P.decay) ** (8 * sigmoid(u @ P.Wr + P.br))
    write = np.sqrt(1 - a**2) * sigmoid(u @ P.Wi + P.bi)
    return pairs(lambda i, j: a[j + 1 : i + 1].prod(0) * write[j], u)


# ---------------------------------------------------------------------- delta rules, GRU
def delta_family(P, u):
    """y_i = sum_j q_i' G_i .. G_{j+1} beta_j k_j v_j with G = alpha (I - beta k k')."""

    def head(p):
        q, k, v = u @ p.Wq, u @ p.Wk, u @ p.Wv
        k = unit(k) if p.unit_keys else k
        beta = P.reach * sigmoid(u @ p.Wb)[:, 0]
        alpha = np.ones(L, dtype=LONG)
        if hasattr(P, "A_log"):
            alpha = np.exp(-np.exp(p.A_log[0, 0]) * softplus(u @ p.Wdt + p.b)[:, 0])
        eye = np.eye(q.shape[-1], dtype=LONG)
        G = [alpha[t] * (eye - beta[t] * np.outer(k[t], k[t])) for t in range(L)]

        def weight(i, j):
            x = q[i]
            for t in range(i, j, -1):
                x = x @ G[t]
            return x @ k[j] * beta[j]

        return pairs(weight, v)

    return heads(P, head)


def deltaproduct(P, u):
    """The loop of the paper: `steps` corrections per token, then one read."""
    H, out = P.Wq.shape[0], []
    for h in range(H):
        S = np.zeros((P.Wq.shape[-1], P.Wv.shape[-1]), dtype=LONG)
        y = []
        for t in range(L):
            for s in range(P.steps):
                k, v = unit(u[t] @ P.Wk[s, h]), u[t] @ P.Wv[s, h]
                beta = P.reach * sigmoid(u[t] @ P.Wb[s, h])
                S = S - beta * np.outer(k, k @ S - v)
            y.append((u[t] @ P.Wq[h]) @ S)
        out.append(np.array(y))
    return np.concatenate(out, -1)


def gru(P, u):
    h, y = np.zeros(P.Uz.shape[0], dtype=LONG), []
    for x in u:
        z = sigmoid(x @ P.Wz + h @ P.Uz + P.bz)
        r = sigmoid(x @ P.Wr + h @ P.Ur + P.br)
        h = (1 - z) * h + z * np.tanh(x @ P.Wh + (r * h) @ P.Uh + P.bh)
        y.append(h)
    return np.array(y)


# ------------------------------------------------------------------ regression at test time
def solved(A, b):
    """A^-1 b by elimination in extended precision."""
    A, b = A.copy(), b.copy()
    for i in range(len(A)):
        at = i + np.argmax(np.abs(A[i:, i]))
        A[[i, at]], b[[i, at]] = A[[at, i]], b[[at, i]]
        for r in range(len(A)):
            if r != i:
                f = A[r, i] / A[i, i]
                A[r], b[r] = A[r] - f * A[i], b[r] - f * b[i]
    return b / np.diag(A)[:, None]


def lla(P, u):
    """The intercept of the regression, from its normal equations."""

    def head(p):
        q, k, v = u @ p.Wq, u @ p.Wk, u @ p.Wv
        y = np.zeros((len(v), v.shape[-1]), dtype=LONG)
        for i in range(len(v)):
            w = np.exp(k[: i + 1] @ q[i] / np.sqrt(LONG(q.shape[-1])))
            X = np.concatenate([np.ones((i + 1, 1), dtype=LONG), k[: i + 1] - q[i]], -1)
            ridge = np.exp(p.log_ridge.item()) * (w.sum() if p.ridge_times == "weights" else 1)
            penalty = ridge * np.diag(np.arange(X.shape[-1]) > 0)
            y[i] = solved(X.T * w @ X + penalty, X.T * w @ v[: i + 1])[0]
        return y

    return heads(P, head)


def parallax(P, u):
    def head(p):
        q, k, v, r = u @ p.Wq, u @ p.Wk, u @ p.Wv, u @ p.Wr
        y = np.zeros((len(v), v.shape[-1]), dtype=LONG)
        for i in range(len(v)):
            w = np.exp(k[: i + 1] @ q[i] / np.sqrt(LONG(q.shape[-1])))
            w = w / w.sum()
            kb, vb = w @ k[: i + 1], w @ v[: i + 1]
            y[i] = vb - r[i] @ ((k[: i + 1] - kb).T * w @ (v[: i + 1] - vb))
        return y

    return heads(P, head)


def mesa(P, u):
    """Ridge regression on all tokens so far, each time from the start."""

    def head(p):
        q, k, v = u @ p.Wq, u @ p.Wk, u @ p.Wv
        g = sigmoid(u @ p.Wg + p.bg)[:, 0] if p.gated else np.ones(len(u), dtype=LONG)
        y = np.zeros((len(v), v.shape[-1]), dtype=LONG)
        for t in range(len(v)):
            w = np.array([np.prod(g[j + 1 : t + 1]) for j in range(t + 1)])
            c = np.prod(g[: t + 1]) if p.ridge_forgets else 1
            A = k[: t + 1].T * w @ k[: t + 1] + c * np.exp(p.log_ridge.item()) * np.eye(k.shape[1])
            y[t] = q[t] @ solved(A, k[: t + 1].T * w @ v[: t + 1])
        return y

    return heads(P, head)


FORMULAS = {
    "softmax": softmax,
    "window_softmax": lambda P, u: softmax(P, u, P.width),
    "normalised_linear_attn": linear_attn,
    "deltanet": delta_family,
    "gated_deltanet": delta_family,
    **{f.__name__: f for f in (
        linear_attn, normalised_attn, retnet, mamba, mamba2, mamba3, gla, rwkv6, mlstm, s4d, lru,
        qlstm, rglru, deltaproduct, gru, lla, parallax, mesa,
    )},
}  # fmt: skip


def test_every_family_has_a_formula():
    assert set(FORMULAS) == set(families())


SIZES = ({"d": 2, "n": 2, "p": 2}, {"d": 5, "n": 4, "p": 3, "heads": 2})


@pytest.mark.smoke
@pytest.mark.parametrize("name", [str(f) for f in everything()])
@pytest.mark.parametrize("sizes", SIZES, ids=["small", "two heads"])
def test_the_mechanism_is_its_formula(name, sizes):
    mech = family(name).init(**sizes, seed=4)
    rng = np.random.default_rng(5)
    # published initialisations start many parameters at 0 or 1, which hides mistakes
    mech = mech.map(lambda x: x + 0.2 * rng.uniform(-1, 1, x.shape) * np.abs(x).clip(0.1))
    u = rng.standard_normal((L, mech.d))
    P = SimpleNamespace(
        **mech.options(), **{k: v.astype(LONG) for k, v in mech.parameters().items()}
    )
    expected = FORMULAS[name.partition("(")[0]](P, u.astype(LONG))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotContractive)
        y = mech(u)
        scale, gate = metrics.end_to_end(mech, u)
    assert y.shape == expected.shape
    assert metrics.ratio(y, expected, scale) <= gate


# ------------------------------------------------------------------ ends of domains
@pytest.mark.parametrize("f", [dsf.s4d, dsf.mamba(discretisation="zoh")], ids=repr)
def test_a_decay_of_zero_integrates(f):
    """a = 0 is the closed end: the limit of (e^{dt a} - 1)/a is dt."""
    tok = f.draw_tokens(np.random.default_rng(0), 4, n=2, p=1, d=1)
    mech, names = f.without_parameters(), [k for k in ("a", "a_re", "a_im") if k in tok.names]
    at, near = (
        tok.replace(**{k: x * np.ones_like(getattr(tok, k)) for k in names}) for x in (0.0, -1e-9)
    )
    y, z = (mech.advance(t, State())[0] for t in (at, near))
    np.testing.assert_allclose(y, z, rtol=1e-7)
    theirs = at.map(torch.as_tensor)
    theirs = theirs.replace(dt=theirs.dt.clone().requires_grad_())
    mech.advance(theirs, State())[0].sum().backward()
    assert torch.isfinite(theirs.dt.grad).all()


@pytest.mark.parametrize("log_w", [-1.0, -10.0, -20.0, -30.0])
def test_reading_after_loses_digits_as_the_decay_shrinks(log_w):
    """The relative error is a few eps/w, as the docstring says."""
    tok = dsf.rwkv6.draw_tokens(np.random.default_rng(0), 6, n=3, p=2)
    tok = tok.replace(log_w=np.full_like(tok.log_w, log_w))
    y, z = (
        dsf.rwkv6(read=r).without_parameters().advance(tok, State())[0] for r in ("before", "after")
    )
    assert np.abs(y - z).max() < 30 * np.finfo(float).eps * np.exp(-log_w) * np.abs(y).max()


def test_parameters_that_leave_a_domain_are_refused():
    mech = dsf.qlstm(reversed=True).init(d=3, p=2)
    bad = replace(mech, alpha=np.array([-0.5]))
    with pytest.raises(DomainError, match="qlstm: the token log_f leaves its domain < 0"):
        bad(np.ones((4, 3)))
    far = replace(dsf.retnet.init(d=2), gamma=np.full((1, 1, 1), 5.0))
    with pytest.raises(DomainError, match=r"gamma leaves its domain in \(0, 1\): 5"):
        far(np.ones((4, 2)))
    edge = replace(dsf.retnet.init(d=2), gamma=np.ones((1, 1, 1)))
    assert np.isfinite(edge(np.ones((4, 2)))).all()
