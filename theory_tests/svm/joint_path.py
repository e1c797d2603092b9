"""Head and prompt together: both regularisation paths, and when the prompt may relax a sample."""

from __future__ import annotations

import numpy as np
import pytest

from dsf.solvers import classifier_svm, joint_prompt_svm, prompt_svm
from dsf.solvers.dynamics.paths import regularisation_path
from dsf.solvers.svm.instances import attention
from dsf.theory_tests import judge

statement = (
    "Minimise the logistic loss over |v| <= r and |p| <= R, both growing.  If other attention "
    "costs label margin, Gamma - Gamma(s) >= nu max_i (1 - s_i) with nu > 0 and Gamma(s) the "
    "margin of the attended tokens, then v/r -> v_mm/|v_mm| and p/R -> p_mm/|p_mm|.  A sample that "
    "is no support vector of v_mm breaks this (nu = 0): p tends to the solution with >= 0 in place "
    "of >= 1 for it, provided r grows at least like R; at fixed r the limit is the strict one.  "
    "Tight case: p_mm = (4/3, 1/3); relaxed case: (1, 0), strict (5/4, 1/4); v_mm = (0, 1)."
)
reference = "tarzanagh2023b, joint regularisation path; the order of the limits is derived"
falsified_by = "a head and a prompt of the same norms with less loss and another direction"

LABELS = np.array([1.0, -1.0, 1.0])
HEIGHT = {"tight": 1.0, "relaxed": 1.5}
LIMIT = {"tight": (4 / 3, 1 / 3), "relaxed": (1.0, 0.0)}
SIZES = (20.0, 80.0, 320.0)  # r = R


def tokens(case: str) -> np.ndarray:
    """The chosen tokens [3 2]; the other one of each sample is 0."""
    return np.array([[1.0, 1.0], [1.0, -1.0], [0.5, HEIGHT[case]]])


def claim(case: str = "tight") -> list:
    """Limits of the solver, angles of both paths to them in degrees, and nu over random s."""
    x = tokens(case)
    X = np.stack([np.zeros_like(x), x], axis=1)
    joint = joint_prompt_svm(X, LABELS, [1, 1, 1])
    v, p = joint.v.W[:, 0], joint.p.W[:, 0]
    found = [minimiser(X, r, r) for r in SIZES]
    angles = np.array([[_degrees(a, v), _degrees(b, p)] for a, b in found])
    rng = np.random.default_rng(0)
    nu = min(cost(x, s) for s in 1.0 - rng.random((300, 3)) * 0.2)
    lazy = cost(x, np.array([1.0, 1.0, 0.9]))  # the third sample alone
    strict = prompt_svm(X, [1, 1, 1]).W[:, 0]
    _, far = minimiser(X, 10.0, 1000.0)
    return [
        (v, np.array([0.0, 1.0]), 1e-9),
        (p, np.array(LIMIT[case]), 1e-9),
        (float(joint.support[2]), float(case == "tight"), 0.0),
        (angles[-1], np.zeros(2), 0.1),
        (np.maximum(angles[1:, 1] / angles[:-1, 1], 0.3), np.full(2, 0.3), 0.0),  # about as 1/R
        (_degrees(far, strict), 0.0, 0.15),
        (float(min(nu, lazy) > 0.1), float(case == "tight"), 0.0),
        (float(lazy < 1e-9), float(case == "relaxed"), 0.0),
        joint.v.certificate,
        joint.p.certificate,
    ]


def cost(x: np.ndarray, s: np.ndarray) -> float:
    """(Gamma - Gamma(s)) / max(1 - s_i): label margin lost where attention is s [3], not 1."""
    full, attended = (classifier_svm(a, LABELS).margin for a in (x, s[:, None] * x))
    return (full - attended) / float(np.max(1.0 - s))


def minimiser(X: np.ndarray, r: float, R: float) -> tuple[np.ndarray, np.ndarray]:
    """A pair (v, p) of norms r and R, each with the least loss given the other one."""
    from scipy.optimize import minimize_scalar

    ones = np.ones((3, 1))
    turns = np.linspace(-np.pi, np.pi, 9)[:-1]
    starts = np.stack([np.cos(turns), np.sin(turns)], axis=1)[:, :, None]
    p = np.array([[R], [0.0]])
    for _ in range(20):
        x = np.einsum("it,itd->id", attention(p, X, ones), X)

        def log_loss(t: float, x: np.ndarray = x) -> float:
            m = r * LABELS * (x @ [np.cos(t), np.sin(t)])
            return float(np.logaddexp.reduce(np.log(np.logaddexp(0.0, -m))))

        rough = min(np.linspace(-np.pi, np.pi, 73), key=log_loss)
        near = (rough - 0.1, rough + 0.1)
        t = minimize_scalar(log_loss, bounds=near, options={"xatol": 1e-12}).x
        v = r * np.array([np.cos(t), np.sin(t)])
        before = p
        p = regularisation_path(X, ones, LABELS[:, None] * (X @ v), np.array([R]), starts)[0][0]
        if np.linalg.norm(p - before) < 1e-8 * R:
            break
    return v, p[:, 0]


def _degrees(a: np.ndarray, b: np.ndarray) -> float:
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    return float(np.degrees(np.arccos(min(cosine, 1.0))))


@pytest.mark.parametrize("case", HEIGHT)
def test_paths(case):
    judgement = judge(claim(case))
    assert judgement.holds, "\n".join(judgement.lines)
