"""The regularisation path inside a cone tends to a locally optimal selection, and to no other."""

from __future__ import annotations

import numpy as np
import pytest

from dsf.solvers import attention_svm
from dsf.solvers.dynamics.descent import scaled_gradient
from dsf.solvers.svm.instances import Instance, loss, named
from dsf.theory_tests import judge

statement = (
    "Let C = {W : corr(W, W_a) >= 1 - mu}.  For a locally optimal selection a and small mu, W(R) = "
    "argmin of L over C with |W| <= R lies inside C for large R and W(R)/R -> W_a/|W_a|; for one "
    "that is not locally optimal it stays on the boundary.  On instance A with mu = 0.05: (1, 2) "
    "and (2, 2) are reached, (0, 2) is left, although its margin is the largest."
)
reference = "tarzanagh2023, local regularisation path"
falsified_by = "a locally optimal selection whose cone has its least loss on the boundary"

MU = 0.05
RADII = (10.0, 30.0, 100.0, 300.0)


def claim(selection: tuple[int, int] = (1, 2)) -> list:
    """1 - corr of the minimisers; at R = 10 and 30 no random point of the cone has less loss."""
    i = named("A")
    s = attention_svm(i.X, i.z, np.array(selection))
    axis = s.W / s.value
    found = [minimiser(i, axis, R) for R in RADII]
    off = np.array([0.5 * np.sum((u - axis) ** 2) for u in found])
    rng = np.random.default_rng(0)
    others = [into_cone(axis + 0.3 * rng.standard_normal((2, 2)), axis) for _ in range(2000)]
    out: list = []
    for R, u in zip(RADII[:2], found, strict=False):
        best = loss(R * u, i.X, i.z, i.scores)
        least = min(loss(R * w, i.X, i.z, i.scores) for w in others)
        out.append((min(least - best, 0.0), 0.0, 1e-6))
    if tuple(selection) == (0, 2):
        return [*out, (off, np.full(4, MU), 1e-9)]
    return [
        *out,
        (np.maximum(off, 0.2 * MU), np.full(4, 0.2 * MU), 0.0),  # inside
        (off[1:] / off[:-1], np.array([0.11, 0.09, 0.11]), 0.06),  # about as R^-2
        (off[-1], 0.0, 1e-4),
    ]


def minimiser(i: Instance, axis: np.ndarray, R: float) -> np.ndarray:
    """The unit u in the cone with least L(R u): descent along the sphere with shrinking steps."""
    u = axis
    for length in np.geomspace(0.05, 1e-8, 1500):
        G = scaled_gradient(R * u[None], i.X[None], i.z[None], i.scores[None])[0][0]
        G = G - u * np.sum(u * G)
        u = into_cone(u - length * G / max(np.linalg.norm(G), 1e-300), axis)
    return u


def into_cone(W: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """W as a unit matrix, turned towards the axis until its correlation is 1 - MU at least."""
    u = W / np.linalg.norm(W)
    cosine = float(np.sum(u * axis))
    if cosine >= 1 - MU:
        return u
    side = u - cosine * axis
    return (1 - MU) * axis + np.sqrt(1 - (1 - MU) ** 2) * side / np.linalg.norm(side)


@pytest.mark.parametrize("selection", [(1, 2), (2, 2), (0, 2)])
def test_path_in_the_cone(selection):
    judgement = judge(claim(selection))
    assert judgement.holds, "\n".join(judgement.lines)
