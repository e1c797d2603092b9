"""Training key weights below a fixed prompt is training the prompt."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from dsf.solvers import attention_svm, prompt_svm
from dsf.solvers.dynamics.descent import descend
from dsf.solvers.svm.instances import draw
from dsf.theory_tests import judge

statement = (
    "With one prompt p for all samples, scores x'W p: normalised gradient descent on W with step "
    "eta is the one on q = W p with step eta |p|, W(k) - W(0) = (q(k) - q(0)) p'/|p|^2 has rank "
    "one, and the attention-SVM is W_mm = q_mm p'/|p|^2 with q_mm the solution of the prompt."
)
reference = "tarzanagh2023b, training W with p fixed is equivalent to training p"
falsified_by = "a step at which the two runs differ by more than rounding"


def claim(seed: int = 0, n: int = 3, T: int = 4, d: int = 5, steps: int = 20) -> list:
    """Both runs from the same random start, at three steps; and both solutions.

    Few steps: where a run without a separating W oscillates around a point, rounding errors grow.
    """
    i = draw(seed, n, T, d)
    rng = np.random.default_rng(seed)
    p, W0 = rng.standard_normal(d), rng.standard_normal((d, d))
    size = float(np.linalg.norm(p))
    record = (1, steps // 2, steps)
    data, one = (i.X[None], i.scores[None]), np.ones((1, n, 1))
    P = np.tile(p, (n, 1))
    W = descend(W0[None], data[0], P[None], data[1], record=record)[0]
    q = descend((W0 @ p)[None, :, None], data[0], one, data[1], eta=0.1 * size, record=record)[0]
    moved = (q[:, :, 0] - W0 @ p)[:, :, None] * p / size**2
    out = [
        (W @ p, q[:, :, 0], 1e-9 * (1 + steps * size)),
        (W - W0, moved, 1e-9 * (1 + steps)),
    ]
    s, prompt = attention_svm(i.X, P, i.optimal), prompt_svm(i.X, i.optimal)
    if s.W is None:
        return [*out, s.certificate, prompt.certificate]
    pair = np.outer(prompt.W[:, 0], p) / size**2
    return [*out, (s.W, pair, 1e-8 * s.value), s.certificate, prompt.certificate]


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 5), st.integers(2, 6))
def test_equivalence(seed, n, T, d):
    judgement = judge(claim(seed, n, T, d))
    assert judgement.holds, "\n".join(judgement.lines)
