"""The best weights of norm R tend to the max-margin direction as R grows."""

from __future__ import annotations

import numpy as np

from dsf.solvers import attention_svm
from dsf.solvers.dynamics.paths import regularisation_path
from dsf.solvers.svm.instances import named
from dsf.theory_tests import judge

statement = (
    "With W(R) = argmin of L over |W|_F <= R, W(R)/R -> W_mm/|W_mm|; on instance B the distance "
    "1 - corr is .344, .0850, .0180, .00623, .00273 at R = 3, 10, 30, 60, 100."
)
reference = "tarzanagh2023, regularisation path"
falsified_by = "weights of norm R with a smaller loss whose direction stays away from W_mm"

DISTANCE = {3: 0.344, 10: 0.0850, 30: 0.0180, 60: 0.00623, 100: 0.00273}


def claim(starts: int = 5) -> list:
    """1 - corr along the path on B, from W_mm and random starts; half a unit of the third digit."""
    i = named("B")
    W_mm = attention_svm(i.X, i.z, i.optimal).W
    guesses = [W_mm, *np.random.default_rng(0).standard_normal((starts, *W_mm.shape))]
    radii = np.array(list(DISTANCE), dtype=float)
    W, _ = regularisation_path(i.X, i.z, i.scores, radii, np.array(guesses))
    off = 1 - np.einsum("rde,de->r", W, W_mm) / radii / np.linalg.norm(W_mm)
    table = np.array(list(DISTANCE.values()))
    falling = np.maximum(off[1:] / off[:-1], 0.5)
    return [(off / table, np.ones(5), 0.01), (falling, np.full(4, 0.5), 0.0)]


def test_path_from_the_solution_and_random_starts():
    judgement = judge(claim(starts=2))
    assert judgement.holds, "\n".join(judgement.lines)
