"""All nine selections of the smallest reference instance, and which two can attract training."""

from __future__ import annotations

import numpy as np

from dsf.solvers import enumerate_selections
from dsf.solvers.svm.instances import named
from dsf.theory_tests import judge

statement = (
    "Of the nine selections of instance A exactly two are locally optimal, (1, 2) and the optimal "
    "one (2, 2); (0, 2) has a larger margin than either and is not."
)
reference = "tarzanagh2023, locally optimal tokens; norms computed independently beforehand"
falsified_by = "a third selection whose active rivals all score lower than its tokens"

NORMS = {
    (0, 0): 10.557024, (0, 1): 46.627077, (0, 2): 2.305521,
    (1, 0): 8.061221, (1, 1): 28.823431, (1, 2): 2.582951,
    (2, 0): 6.255341, (2, 1): 42.099813, (2, 2): 4.603149,
}  # fmt: skip


def claim(name: str = "A") -> list:
    """Norms, local optimality and certificates of every selection; optimal one among them."""
    i = named(name)
    found = enumerate_selections(i.X, i.z, i.scores)
    certificates = [e.certificate for e in found.entries]
    best = tuple(int(a) for a in i.optimal)
    out = [
        (len(found.entries), i.X.shape[1] ** len(i.X), 0.0),
        (float(best in found.locally_optimal), 1.0, 0.0),
        (len(found.undecided), 0, 0.0),
        *certificates,
    ]
    if name == "A":
        norms = np.array([e.solution.value for e in found.entries])
        out += [
            (norms, np.array([NORMS[e.selection] for e in found.entries]), 0.51e-6),
            (np.array(found.locally_optimal), np.array([(1, 2), (2, 2)]), 0.0),
        ]
    return out


def test_two_of_nine():
    assert judge(claim()).holds


def test_the_cosine_between_the_two():
    i = named("A")
    found = {e.selection: e.solution.W for e in enumerate_selections(i.X, i.z, i.scores).entries}
    a, b = found[1, 2], found[2, 2]
    assert abs(np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b) - 0.470) < 5.1e-4


def test_the_optimal_selection_is_always_locally_optimal():
    assert judge(claim("E")).holds
