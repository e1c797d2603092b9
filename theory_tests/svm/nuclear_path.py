"""The best keys and queries of a given size tend to the solution of least nuclear norm."""

from __future__ import annotations

import numpy as np
import pytest

from dsf.solvers import attention_svm
from dsf.solvers.dynamics.outcomes import corr
from dsf.solvers.dynamics.paths import factor_path
from dsf.solvers.svm.instances import named
from dsf.theory_tests import judge

statement = (
    "With (K, Q)(R) = argmin of L(K Q') over |K|^2 + |Q|^2 <= 2R, the product has nuclear norm R "
    "and K Q'/R tends to W*/|W*|_*, the solution of least nuclear norm; a head of width min(n, d) "
    "is as good as one of width d.  On B, 1 - corr is .0286, .00654, .00107, .000148 at R = 30, "
    "100, 300, 1000, while the correlation with the Frobenius solution stays at 0.785."
)
reference = "tarzanagh2023, regularisation path of (K, Q)"
falsified_by = "keys and queries of the same size with a smaller loss and another direction"

RADII = np.array([30.0, 100.0, 300.0, 1000.0])
DISTANCE_B = np.array([0.0286, 0.00654, 0.00107, 0.000148])


def claim(name: str = "B", width: int | None = None) -> list:
    """Nuclear norms, normalised margins and correlations along the path; two kinds of starts."""
    i = named(name)
    n, _, d = i.X.shape
    m = min(n, d) if width is None else width
    nuclear = attention_svm(i.X, i.z, i.optimal, norm="nuclear")
    frobenius = attention_svm(i.X, i.z, i.optimal)
    U, S, Vt = np.linalg.svd(nuclear.W)
    rng = np.random.default_rng(0)
    near = (U * np.sqrt(S))[:, :m], (Vt.T * np.sqrt(S))[:, :m]
    random = [tuple(rng.standard_normal((2, d, m))) for _ in range(3)]
    K, Q, _ = factor_path(i.X, i.z, i.scores, RADII, [near, *random])
    W = K @ np.swapaxes(Q, 1, 2)
    size = np.linalg.svd(W, compute_uv=False).sum(-1)
    margin = np.array([nuclear.problem.margins(w).min() for w in W]) / RADII * nuclear.value
    off = 1 - corr(W, nuclear.W)
    out = [
        (size / RADII, np.ones(4), 1e-4),  # balanced: the bound on K and Q is one on |K Q'|_*
        (np.maximum(np.diff(margin), 0.0), np.diff(margin), 0.0),  # rising
        (margin[-1], 1.0, 0.02),
        (np.maximum(off[1:] / off[:-1], 0.4), np.full(3, 0.4), 0.0),
        (off[-1], 0.0, 2e-4),
        nuclear.certificate,
    ]
    if name == "B":
        other = corr(W[-1:], frobenius.W)[0]
        out += [(off / DISTANCE_B, np.ones(4), 0.01), (float(other), 0.785, 1e-3)]
    return out


@pytest.mark.solver
@pytest.mark.parametrize(("name", "width"), [("A", 2), ("B", 6), ("B", 10), ("C", 4), ("E", 4)])
def test_path(name, width):
    judgement = judge(claim(name, width))
    assert judgement.holds, "\n".join(judgement.lines)
