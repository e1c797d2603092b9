"""One step of attention against one gradient step of softmax regression."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dsf.core.ops import softmax
from dsf.mechanisms.attention.softmax import Softmax
from dsf.solvers.regression.formulas import point
from dsf.theory_tests.protocol import judge

statement = (
    "With f = softmax(Ax), c = f - b and a softmax head h(e) = A' softmax(Ax + e c), keys and "
    "values a_i, the gradient of |f - b|^2 / 2 is h'(0).  The pair of heads "
    "(h(e) - h(-e)) / (2e) differs from it by at most (7/48) e^2 max|a_i| (max c - min c)^3; so "
    "the predictions after a step s along the pair and after one along the gradient differ by at "
    "most s |A| / 2 times that.  The pair is a layer of softmax attention of the catalogue, with "
    "the tokens (a_i, c_i) and the query (x, +-e) of a last one that does not see itself."
)
reference = "derived; the reading of x as a query over keys A is that of li2023"
falsified_by = "a pair of heads further from the gradient than the bound"


def pair(A: np.ndarray, b: np.ndarray, x: np.ndarray, e: float) -> np.ndarray:
    """(h(e) - h(-e)) / (2e) [d]."""
    z = A @ x
    c = softmax(z) - b
    return A.T @ (softmax(z + e * c) - softmax(z - e * c)) / (2 * e)


def attended(A: np.ndarray, b: np.ndarray, x: np.ndarray, e: float) -> np.ndarray:
    """The same by two heads of `dsf.softmax(include_self=False)`: tokens (a_i, c_i, 0), then (0, 0,
    1) with the query (x, +-e); values a_i, weighted with +-1 / (2e) [d]."""
    n, d = A.shape
    c = softmax(A @ x) - b
    keys = np.pad(np.eye(d + 1), ((0, 1), (0, 0)))
    asked = np.zeros((2, d + 2, d + 1))
    asked[:, -1] = [[*x, e], [*x, -e]]
    mech = Softmax(
        Wq=asked * (d + 1) ** 0.5, Wk=np.stack([keys] * 2), Wv=np.stack([keys[:, :d]] * 2),
        include_self=False,
    )  # fmt: skip
    u = np.zeros((n + 1, d + 2))
    u[:n, :d], u[:n, d], u[n, -1] = A, c, 1
    plus, minus = np.split(mech(u)[-1], 2)
    return (plus - minus) / (2 * e)


def bound(A: np.ndarray, b: np.ndarray, x: np.ndarray, e: float) -> float:
    """e^2/6 times a bound of h''': E[u v^3] - 3 E[u v] E[v^2] for centred u of a range up to
    2 max|a_i| and v of the range of c, which is at most (1/2 + 3/8) max|a_i| range^3."""
    c = softmax(A @ x) - b
    return float(7 / 48 * e**2 * np.max(np.linalg.norm(A, axis=1)) * np.ptp(c) ** 3)


def gradient(A: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The gradient [d] of |f - b|^2 / 2."""
    return point(A, b, np.zeros(len(b)), x).gradient


def sample(n: int, d: int, seed: int):
    """Bounded inputs: |A| = |x| = 1 and b a vertex, so that c is large."""
    rng = np.random.default_rng(seed)
    A, x = rng.standard_normal((n, d)), rng.standard_normal(d)
    return A / np.linalg.norm(A, 2), np.eye(n)[0], x / np.linalg.norm(x)


def claim(n: int = 6, d: int = 3):
    """h'(0) = gradient in free symbols at n = 2; the order e^2; the catalogue's layer: its excess
    over the bound, and that it is the pair."""
    import sympy as sp

    z0, z1, s, e, a0, a1 = sp.symbols("z0 z1 s e a0 a1", real=True)
    f = 1 / (1 + sp.exp(z1 - z0))
    c = f - s  # c of the second token is -c
    head = a1 + (a0 - a1) / (1 + sp.exp(z1 - z0 - 2 * e * c))
    loss = (f - s) ** 2  # the two halves are equal
    slope = a0 * sp.diff(loss, z0) + a1 * sp.diff(loss, z1)
    identity = sp.simplify(sp.diff(head, e).subs(e, 0) - slope)
    A, b, x = sample(n, d, 0)
    gaps = [float(np.linalg.norm(pair(A, b, x, e) - gradient(A, b, x))) for e in (0.2, 0.1)]
    excess = layer = 0.0
    for seed in range(100):
        A, b, x = sample(n, d, seed)
        heads = attended(A, b, x, 1.0)
        layer = max(layer, float(np.linalg.norm(heads - pair(A, b, x, 1.0))))
        gap = float(np.linalg.norm(heads - gradient(A, b, x)))
        excess = max(excess, gap - bound(A, b, x, 1.0))
    return [
        (float(identity != 0), 0.0, 0.0), (gaps[0] / gaps[1], 4.0, 0.05), (excess, 0.0, 0.0),
        (layer, 0.0, 1e-14),
    ]  # fmt: skip


def test_claim():
    assert judge(claim()).holds


@given(
    st.integers(1, 8), st.integers(1, 4), st.integers(0, 10**6), st.floats(0.01, 30),
    st.floats(0, 20),
)  # fmt: skip
def test_the_two_bounds(n, d, seed, e, step):
    A, b, x = sample(n, d, seed)
    heads, slope, room = attended(A, b, x, e), gradient(A, b, x), bound(A, b, x, e)
    assert np.linalg.norm(heads - slope) <= room + 1e-13 / e
    apart = softmax(A @ (x - step * heads)) - softmax(A @ (x - step * slope))
    assert np.linalg.norm(apart) <= step * room / 2 + 1e-13 * (1 + step / e)
