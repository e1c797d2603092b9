"""Certificates of margin problems: they check, round-trip, and refuse every kind of tampering."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from dsf.certificate import Certificate, Scope, Strength
from dsf.check import margin as check
from dsf.errors import CertificateError
from dsf.solvers import attention_svm, gen_svm, local_optimality, prompt_svm
from dsf.solvers.instances import named

pytestmark = pytest.mark.solver


@cache
def certificate(name: str) -> Certificate:
    a, b, d = named("A"), named("B"), named("D")
    if name == "local" or name == "not local":
        chosen = [2, 2] if name == "local" else [0, 2]
        return local_optimality(a.X, a.z, chosen, a.scores).certificate
    if name == "infeasible":
        return attention_svm(d.X, d.z, d.optimal).certificate
    if name in ("direction", "finite"):
        g = gen_svm(b.X, b.z, np.where(np.arange(8) < 2, b.scores, -40.0))
        return (g.direction if name == "direction" else g.finite).certificate
    if name == "relaxed":
        X = np.array([[[0, 0], [1, 1]], [[0, 0], [1, -1]], [[0, 0], [-0.2, 1.5]]])
        return prompt_svm(X, [1, 1, 1], strict=np.array([True, True, False])).certificate
    if name == "undecided":
        rng = np.random.default_rng(0)
        X = rng.standard_normal((3, 4, 2)) @ rng.standard_normal((2, 6))
        z = rng.standard_normal((3, 1)) @ rng.standard_normal((1, 5))
        return attention_svm(X, z, [0, 1, 2], solvers=["nnls"]).certificate
    if name == "rank":
        return attention_svm(b.X, b.z, b.optimal, norm="nuclear").rank
    p = 3.0 if name == "entrywise" else None
    return attention_svm(b.X, b.z, b.optimal, norm=name, p=p).certificate


ALL = (
    "frobenius", "nuclear", "entrywise", "infeasible", "undecided", "relaxed", "direction",
    "finite", "rank", "local", "not local",
)  # fmt: skip


def refused(c: Certificate) -> None:
    with pytest.raises(CertificateError):
        c.check()


def changed(c: Certificate, name: str, value: object) -> Certificate:
    return replace(c, witnesses={**c.witnesses, name: value})


@pytest.mark.parametrize("name", ALL)
def test_checks_and_round_trips(name):
    c = certificate(name)
    assert c.check()
    again = Certificate.from_json(c.to_json())
    assert again.check() and again.claim == c.claim


@pytest.mark.parametrize("name", ALL)
def test_every_witness_array_changed_by_a_thousandth(name):
    c = certificate(name)
    rng = np.random.default_rng(0)
    for key, array in c.witnesses.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            continue
        if key == "lam" and name == "infeasible":
            continue
        size = float(np.abs(array).max()) or 1.0
        for place in rng.choice(array.size, min(4, array.size), replace=False):
            other = array.copy()
            other.flat[place] += 1e-3 * size
            refused(changed(c, key, other))


@pytest.mark.parametrize("name", ALL)
def test_integers_and_flags_changed(name):
    c = certificate(name)
    for key, array in c.witnesses.items():
        if isinstance(array, np.ndarray) and array.dtype.kind in "ib":
            other = array.copy()
            other[0] = ~other[0] if other.dtype == bool else other[0] + 1
            refused(changed(c, key, other))


@pytest.mark.parametrize("name", ALL)
def test_missing_witnesses(name):
    c = certificate(name)
    optional = {"W"} if name == "undecided" else set()
    for key in c.witnesses:
        if key in optional | {"W_without"}:
            continue
        refused(replace(c, witnesses={k: v for k, v in c.witnesses.items() if k != key}))


@pytest.mark.parametrize("name", [n for n in ALL if n not in ("infeasible", "rank")])
def test_bounds_made_tighter_or_looser(name):
    c = certificate(name)
    for factor in (1.0 + 1e-6, 1.0 - 1e-6, 2.0, 0.5):
        for side in ("lower", "upper"):
            stored = getattr(c, side)
            if stored:  # 0 stays 0
                refused(replace(c, **{side: stored * factor}))


@pytest.mark.parametrize("name", ["frobenius", "nuclear", "entrywise", "direction"])
def test_a_tighter_bound_with_the_matching_sentence(name):
    """The claim rewritten to fit: only the arithmetic can refuse it."""
    c = certificate(name)
    middle = (c.lower + c.upper) / 2.0
    for low, high in ((middle, c.upper * (1 - 1e-12)), (c.lower, c.lower), (c.upper, c.upper)):
        refused(
            replace(c, lower=low, upper=high, claim=check.margin_sentence(c.witnesses, low, high))
        )
    low = c.lower * (1 - 1e-6)  # true but not what the witnesses give
    refused(replace(c, lower=low, claim=check.margin_sentence(c.witnesses, low, c.upper)))


def test_rank_made_smaller_or_its_tail_tighter():
    c = certificate("rank")
    refused(replace(c, upper=c.upper / 10.0))
    for k in (1, 3):
        w = {**c.witnesses, "k": k}
        if k == 1:
            refused(replace(c, witnesses=w, claim=check.rank_sentence(w, k, c.upper)))
        refused(replace(c, witnesses=w))


@pytest.mark.parametrize("name", ALL)
def test_claim_scope_and_strength(name):
    c = certificate(name)
    refused(replace(c, claim=c.claim + " "))
    refused(replace(c, scope=Scope.MECHANISM))
    wrong = Strength.ENCLOSED if c.strength is Strength.EXACT else Strength.EXACT
    refused(replace(c, strength=wrong))
    refused(replace(c, strength=Strength.SAMPLED))


def test_gordan_vectors_that_prove_nothing():
    c = certificate("infeasible")
    weights = list(c.witnesses["gordan"])
    for other in (
        ["0x0"] * len(weights),
        [hex(-int(x, 16)) for x in weights],
        [hex(int(weights[0], 16) + 1), *weights[1:]],
        weights[:-1],
        ["half", *weights[1:]],
    ):
        refused(changed(c, "gordan", other))
    refused(changed(c, "rows", c.witnesses["rows"][::-1]))
    refused(replace(c, upper=1e-300))


def test_a_verdict_turned_round():
    yes, no = certificate("local"), certificate("not local")
    w = {k: v for k, v in no.witnesses.items() if k not in ("W_without", "kept")}
    from dsf.check.selection import sentence

    refused(replace(no, witnesses=w, claim=sentence(w, True)))
    nothing = {"W_without": np.zeros((2, 2)), "kept": np.zeros(0, dtype=int), "norm_without": 0.0}
    w = {**yes.witnesses, **nothing}
    refused(replace(yes, witnesses=w, claim=sentence(w, False)))


def test_another_norm_is_another_claim():
    c = certificate("frobenius")
    for norm in ("nuclear", "entrywise", "spectral"):
        refused(changed(c, "norm", norm))


def test_negative_multipliers_prove_nothing():
    c = certificate("frobenius")
    lam = c.witnesses["lam"].copy()
    lam[np.argmin(lam)] = -1e-3
    refused(changed(c, "lam", lam))


def test_the_checker_imports_no_solver():
    import subprocess
    import sys

    code = (
        "import sys; import dsf.check.margin, dsf.check.selection, dsf.check._balls\n"
        "bad = [m for m in sys.modules if m.startswith('dsf.solvers') or m in ('scipy', 'cvxpy')]\n"
        "assert not bad, bad\n"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
