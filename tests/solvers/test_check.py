"""Certificates of margin problems: they check, round-trip, and refuse every kind of tampering."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from dsf.claims import MALFORMED
from dsf.claims.base import HEADER, KINDS
from dsf.core.certificate import Certificate
from dsf.core.errors import CertificateError
from dsf.solvers import attention_svm, gen_svm, local_optimality, prompt_svm
from dsf.solvers.svm.check import selection as selection
from dsf.solvers.svm.instances import named

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
    """A checker refuses it, on purpose: not by stumbling over it."""
    with pytest.raises(CertificateError) as error:
        c.check()
    assert not str(error.value).startswith(MALFORMED)


def changed(c: Certificate, name: str, value: object) -> Certificate:
    return replace(c, witnesses={**c.witnesses, name: value})


def restated(c: Certificate, **changes: object) -> Certificate:
    """With the sentence that fits the changed parts: only the arithmetic can refuse it."""
    c = replace(c, **changes)
    cls = KINDS[c.kind]
    header = {k: getattr(c, k) for k in HEADER if k in cls.__dataclass_fields__}
    try:
        return replace(c, claim=cls(**c.witnesses, **header).sentence)
    except CertificateError:  # no sentence fits
        return c


def tampered(c: Certificate, name: str, value: object) -> None:
    """Refused with the old sentence and with the new one."""
    refused(changed(c, name, value))
    refused(restated(changed(c, name, value)))


def support(c: Certificate) -> np.ndarray:
    """Rows on which the upper bound rests: a change of them changes it."""
    w = c.witnesses
    if "support" in w:
        return w["support"]
    return np.flatnonzero(np.abs(w["lam"]) > 0.1 * np.abs(w["lam"]).max())


@pytest.mark.parametrize("name", ALL)
def test_every_witness_array_changed_by_a_thousandth(name):
    c = certificate(name)
    rng, rows = np.random.default_rng(0), support(c)
    used = {
        "keys": np.concatenate([c.witnesses["plus"][rows], c.witnesses["minus"][rows]]),
        "queries": c.witnesses["query"][rows],
        "bound": rows,
        "lam": rows,
    }
    for key, array in c.witnesses.items():
        # infeasible: no W, whatever the bounds; undecided: an upper bound that is all rounding
        unused = name in ("infeasible", "undecided") and key == "bound"
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or unused:
            continue
        if key == "scores":
            continue  # only their order matters: see below
        for _ in range(4):
            row = rng.choice(used.get(key, np.arange(len(array))))
            other = array.copy()
            other[row] += 1e-3 * (float(np.abs(array).max()) or 1.0)
            tampered(c, key, other)


@pytest.mark.parametrize("name", ALL)
def test_integers_and_flags_changed(name):
    c = certificate(name)
    w, row = c.witnesses, support(c)[0]
    for key, size in (("plus", w["keys"]), ("minus", w["keys"]), ("query", w["queries"])):
        if len(size) > 1:
            other = w[key].copy()
            other[row] = (other[row] + 1) % len(size)
            tampered(c, key, other)
    for wrong in (-2, 10**6):
        other = w["query"].copy()
        other[row] = wrong
        tampered(c, "query", other)
    asked = np.flatnonzero(w["bound"] > 0.0)
    if len(asked):
        other = w["equality"].copy()
        other[asked[0]] = True
        tampered(c, "equality", other)


@pytest.mark.parametrize("name", ["local", "not local"])
def test_every_token_becomes_a_rival_or_none(name):
    c = certificate(name)
    w = c.witnesses
    high = np.where(np.isin(np.arange(len(w["keys"])), w["plus"]), 1.0, 0.0)
    tampered(c, "scores", 0.0 * w["scores"] if name == "local" else high)


@pytest.mark.parametrize("name", [n for n in ALL if n not in ("infeasible", "rank")])
def test_bounds_made_tighter_or_looser(name):
    c = certificate(name)
    rough = name == "undecided"  # the upper bound is all rounding
    for factor in (1e3, 1e-3) if rough else (1.0 + 1e-6, 1.0 - 1e-6, 2.0, 0.5):
        for side in ("lower", "upper"):
            stored = getattr(c, side)
            if stored:  # 0 stays 0
                refused(restated(c, **{side: stored * factor}))
    for bad in (None, np.nan, "1", True, np.longdouble(c.upper)):
        refused(replace(c, upper=bad))
        refused(replace(c, lower=bad))


@pytest.mark.parametrize("name", ["frobenius", "nuclear", "entrywise", "direction", "local"])
def test_bounds_tighter_by_a_hair(name):
    c = certificate(name)
    middle = (c.lower + c.upper) / 2.0
    for low, high in ((middle, c.upper * (1 - 1e-12)), (c.lower, c.lower), (c.upper, c.upper)):
        refused(restated(c, lower=low, upper=high))
    refused(restated(c, lower=c.upper, upper=c.lower))


def test_rank_made_smaller_or_its_tail_tighter():
    c = certificate("rank")
    refused(restated(c, upper=c.upper / 10.0))
    refused(restated(c, upper=c.upper * 10.0))
    refused(restated(changed(c, "k", 1)))
    for k in (0, 11, 2.0, True, "2"):
        refused(changed(c, "k", k))


def test_rank_of_a_gap_that_is_all_rounding():
    """L = U = 1/3 up to the rounding of 1/3: the tail is not 0, however small."""
    w = problem([[1.0, 0.0], [0.0, 0.0]], [[3.0, 0.0]], [0], [1], [0], 1.0, False)
    w |= {"norm": "nuclear", "W": np.array([[1 / 3, 0.0], [0.0, 0.0]]), "lam": np.ones(1), "k": 1}
    c = claimed("nuclear-rank", 0.0, 1e-15, w)
    assert c.check()
    refused(restated(c, upper=0.0))


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
    weights = np.array(weights, dtype=object)
    tampered(c, "gordan", weights)
    tampered(c, "support", c.witnesses["support"][::-1].copy())
    tampered(c, "support", c.witnesses["support"].astype(float))
    refused(replace(c, upper=1e-300))


def test_a_verdict_turned_round():
    yes, no = certificate("local"), certificate("not local")
    w = {k: v for k, v in no.witnesses.items() if k not in ("W_without", "kept")}
    refused(restated(no, witnesses=w))
    nothing = {"W_without": np.zeros((2, 2)), "kept": np.zeros(0, dtype=int), "norm_without": 0.0}
    refused(restated(yes, witnesses={**yes.witnesses, **nothing}))


def test_another_norm_is_another_claim():
    c = certificate("frobenius")
    refused(restated(changed(c, "norm", "nuclear")))
    for norm in ("entrywise", "spectral", None, ["nuclear"]):
        refused(changed(c, "norm", norm))
    c = certificate("entrywise")
    for p in (3.0 + 1e-9, 2.0):
        tampered(c, "p", p)
    for p in (1.0, np.inf, np.nan, "3", np.longdouble(3), None):
        refused(changed(c, "p", p))


def test_negative_multipliers_prove_nothing():
    c = certificate("frobenius")
    lam = c.witnesses["lam"].copy()
    lam[np.argmin(lam)] = -1e-3
    tampered(c, "lam", lam)


# ------------------------------------------------------------- false claims, by construction
def problem(keys, queries, plus, minus, query, bound, equality):
    N = len(plus)
    return {
        "keys": np.asarray(keys),
        "queries": np.asarray(queries, dtype=float),
        "plus": np.array(plus),
        "minus": np.array(minus),
        "query": np.array(query),
        "bound": np.broadcast_to(np.asarray(bound), (N,)).copy(),
        "equality": np.broadcast_to(np.asarray(equality), (N,)).copy(),
    }


def claimed(kind: str, lower: float, upper: float, w: dict) -> Certificate:
    cls = KINDS[kind]
    told = {"lower": lower, "upper": upper, "residuals": {}}
    return cls(
        **w, **{k: x for k, x in told.items() if k in cls.__dataclass_fields__}
    ).certificate()


ONE = [[1.0]]  # the query
ROOT2 = 2.0**0.5


def false_margin(w, W, lam, lower, upper):
    more = {"norm": "frobenius", "W": np.array(W), "lam": np.array(lam)}
    return claimed("margin", lower, upper, w | more)


def false_optimum(keys, W, lam, scores, upper, lower=None, **rows):
    """A selection of token 0 out of four, or of three, whose rival is active."""
    T = len(keys)
    rows = {"minus": list(range(1, T)), "bound": 1.0, "equality": False} | rows
    w = problem(keys, ONE, [0] * (T - 1), query=[0] * (T - 1), **rows)
    more = {"norm": "frobenius", "W": np.array(W), "lam": np.array(lam), "scores": np.array(scores)}
    return claimed("local-optimality", lower or least_margin(w, more["W"]), upper, w | more)


def least_margin(w, W):
    least = ((w["keys"][w["plus"]] - w["keys"][w["minus"]]) @ W).min()
    return float(least / np.abs(W).max() / np.linalg.norm(W / np.abs(W).max())) * (1 - 1e-12)


TINY = 1e-170
UP = 1.0 + 1e-12
FALSE = {
    # g* = 1e-3: the other row has a length that underflows when squared
    "a tiny row beside an equality": lambda: false_margin(
        problem([[1.0, 0.0], [TINY, 1e-3 * TINY]], ONE, [0, 1], [-1, -1], [0, 0],
                [0.0, TINY], [True, False]),
        [[1.0], [0.0]], [0.0, 1.0], 0.5 / UP, (1 + 1e-6) ** 0.5 * UP,
    ),
    "tiny tokens with an active rival": lambda: false_optimum(
        TINY * np.array([[0.0, 0.0], [-1.0, 0.0], [-1.0, -1.0]]),
        np.array([[1.0], [0.3]]) / TINY, [1.0, 0.0], [1.0, 0.0, 2.0], TINY * UP,
    ),
    # two margins share their float64 value
    "a tie of rounded margins": lambda: false_optimum(
        [[0.0, 0.0], [-1.0, -1e-8], [-1.0, 0.0], [-1.0, -1.0]],
        [[1.0], [1e-9]], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 2.0], UP,
    ),
    "a selection with an equality": lambda: false_optimum(
        [[0.0, 0.0], [-1.0, 0.0], [-1.0, -0.1], [-2.0, -0.1]],
        [[1e-3], [10.0]], [1.0, 0.0, -1.0], [1.0, 0.0, 0.0, 2.0], 0.1 * UP,
        minus=[2, 3, 1], bound=[1.0, 1.0, 0.0], equality=[False, False, True],
        lower=0.0999895017936,
    ),
    "a selection with an equality, in order": lambda: false_optimum(
        [[0.0, 0.0], [-1.0, 0.0], [-1.0, -0.1], [-2.0, -0.1]],
        [[1e-3], [10.0]], [-1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 2.0], 0.1 * UP,
        bound=[0.0, 1.0, 1.0], equality=[True, False, False], lower=0.0999895017936,
    ),
    # w_0 = 0 and w_0 + w_1 >= 1: g* = 1; W violates the equality
    "a violated equality": lambda: false_margin(
        problem([[1.0, 0.0], [1.0, 1.0]], ONE, [0, 1], [-1, -1], [0, 0],
                [0.0, 1.0], [True, False]),
        [[1.0], [1.0]], [0.0, 1.0], ROOT2 / UP, ROOT2 * UP,
    ),
    # the target is (3, 4), of norm 5
    "a least norm of another target": lambda: claimed(
        "least-norm", 3.0 / UP, np.hypot(2.9, 3.9) * UP,
        problem(np.eye(2), ONE, [0, 1], [-1, -1], [0, 0], 0.0, True)
        | {"target": np.array([3.0, 4.0]), "W": np.array([[2.9], [3.9]]),
           "lam": np.array([1.0, 0.0])},
    ),
    "integers that floats cannot tell apart": lambda: infeasible([[2**53], [2**53 + 1]]),
    "extended precision": lambda: infeasible(np.array([[1], [1 + np.longdouble(2) ** -60]])),
    "complex keys": lambda: infeasible(np.array([[0], [1j]])),
    "a bound that float64 loses": lambda: false_margin(
        problem([[1.0], [-1.0]], ONE, [0, 1], [-1, -1], [0, 0],
                np.array([1, np.longdouble("1e-400")]), False),
        ONE, [1.0, 0.0], 1 / UP, UP,
    ),
    # both rows read the query 5: g* = 5
    "a mask instead of indices": lambda: false_margin(
        problem([[1.0]], [[1.0], [5.0]], [0, 0], [-1, -1], [True, True], 1.0, False),
        ONE, [1.0, 0.0], 1 / UP, UP,
    ),
    # 2w >= 1 and w >= 1: g* = 1; the flags 0, 3, 3, 0 as indices read bounds of 0
    "indices instead of flags": lambda: claimed(
        "margin", 0.0, 0.02 / 0.51 * UP,
        problem([[1.0], [2.0], [0.0]], ONE, [2, 1, 0, 2], [-1] * 4, [0] * 4,
                [0.0, 1.0, 1.0, 0.0], np.array([0, 3, 3, 0]))
        | {"norm": "frobenius", "lam": np.array([0.0, -0.49, 1.0, 0.0])},
    ),
    # "9" > "10", but 9 < 10
    "scores that are strings": lambda: claimed(
        "local-optimality", 1 / UP, UP,
        problem([[1.0, 0.0], [0.0, 0.0]], ONE, [0], [1], [0], 1.0, False)
        | {"norm": "frobenius", "W": np.array([[1.0], [0.0]]), "lam": np.ones(1),
           "scores": np.array(["9", "10"])},
    ),
}  # fmt: skip


def infeasible(keys):
    """x_1 - x_0 is not zero, so a W exists."""
    w = problem(keys, ONE, [1], [0], [0], 1.0, False)
    return claimed("margin-zero", 0.0, 0.0, w | {"support": np.array([0]), "gordan": ["0x1"]})


@pytest.mark.parametrize("name", FALSE)
def test_a_false_claim_is_refused(name):
    c = FALSE[name]()
    refused(c)
    with pytest.raises(CertificateError):
        Certificate.from_json(c.to_json()).check()


def test_margins_that_cross_are_refused():
    """Each bound follows by itself only if a checker is wrong: the order is asked as well."""
    c = certificate("frobenius")
    with pytest.raises(CertificateError, match="above the upper"):
        restated(c, lower=c.upper, upper=c.lower).check()


# ------------------------------------------------------------------------ what is printed
def test_printed_intervals_hold_the_proved_ones():
    """Rounded to nearest, nearly every interval would be false as printed."""
    import re
    from decimal import Decimal

    from dsf.solvers.svm.instances import draw

    for seed in range(20):
        i = draw(seed, 3, 4, 5)
        s = attention_svm(i.X, i.z, i.optimal)
        low, high = re.search(r"\[(\S+), (\S+)\]$", s.certificate.claim).groups()
        assert Decimal(low) <= Decimal(s.lower) and Decimal(s.upper) <= Decimal(high)
        low, high = re.search(r"margin +(\S+) <= g\* <= (\S+)", repr(s)).groups()
        assert Decimal(low) <= Decimal(s.lower) and Decimal(s.upper) <= Decimal(high)
        low, high = re.search(r"norm +(\S+) <= \|W\| <= (\S+)", repr(s)).groups()
        assert Decimal(low) * Decimal(s.upper) <= 1 <= Decimal(high) * Decimal(s.lower)


def test_the_claim_tells_targets_apart():
    a = certificate("finite")
    target = a.witnesses["target"].copy()
    target[0], target[1] = target[1], target[0]
    b = restated(changed(a, "target", target))
    assert a.claim != b.claim
