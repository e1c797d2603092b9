"""Stability verdicts: exact where floats are exact, undecided where nothing is proved."""

from __future__ import annotations

import re
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.claims.stability import Stability as Claim
from dsf.core import errors
from dsf.core.certificate import Strength
from dsf.core.errors import CertificateError
from dsf.core.transition import Dense, Diag, LowRank, Prod, Shift
from dsf.spectra import radius
from dsf.spectra.stability import Stability, stability

BELOW = float(np.nextafter(1.0, 0.0))  # 1 - 2^-53
ABOVE = float(np.nextafter(1.0, 2.0))  # 1 + 2^-52


def rotation(angle):
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def jordan(value, n):
    return value * np.eye(n) + np.diag(np.ones(n - 1), 1)


def reflection(key, beta):
    return np.eye(len(key)) - beta * np.outer(key, key)


def delta(key, beta, L=1):
    k = np.array(key, dtype=float).reshape(1, -1, 1)
    return LowRank(Diag(a=np.ones((L, 1))), U=Prod((np.full((1, 1, 1), -beta), k)), W=k)


def product(x, y, log=False):
    """One diagonal entry that is a product of two factors."""
    p = Prod((np.array([[x]]), np.array([[y]])))
    return Diag(log_a=p) if log else Diag(a=p)


def low_rank(u=(0, 0), w=(0, 0), **diag):
    u, w = (np.array(x, dtype=float).reshape(1, -1, 1) for x in (u, w))
    return LowRank(Diag(**{k: np.array([x]) for k, x in diag.items()}), u, w)


def several(*matrices):
    return Dense(np.stack(matrices))


# an orthogonal matrix with dyadic entries whose eigenvalues are no roots of unity
HALVES = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [-1, 1, 1, -1]]) / 2.0
TWICE = np.block([[HALVES, np.eye(4)], [np.zeros((4, 4)), HALVES]])
SWAP = np.array([[0, 1j], [1j, 0]])
STABLE = {"stable": True, "contractive": True, "marginal": False, "unstable": False}
COMPANION = np.array([[0.0, 1.0], [-1.0, 2.0 * 0.6]])  # eigenvalues on the circle, det = 1 exactly

CASES = [
    # name, transition, verdict, value of 1 - r (None: only the sign of it is known in advance)
    ("below 1", Diag(a=np.array([BELOW, 0.5])), "stable", 2.0**-53),
    ("minus, below 1", Diag(a=np.array([-BELOW])), "stable", 2.0**-53),
    ("1", Diag(a=np.array([1.0, 0.5])), "marginal", 0.0),
    ("-1", Diag(a=np.array([-1.0])), "marginal", 0.0),
    ("above 1", Diag(a=np.array([ABOVE, 0.5])), "unstable", -(2.0**-52)),
    ("i", Diag(a=np.array([1j])), "marginal", 0.0),
    ("0.6 + 0.8 i in floats", Diag(a=np.array([0.6 + 0.8j])), "unstable", None),
    ("log -1e-20", Diag(log_a=np.array([-1e-20])), "stable", None),
    ("log 0", Diag(log_a=np.array([0.0, -np.inf])), "marginal", 0.0),
    ("log -inf", Diag(log_a=np.array([-np.inf])), "stable", 1.0),
    ("log 1e-20", Diag(log_a=np.array([1e-20])), "unstable", None),
    ("log i", Diag(log_a=np.array([0.0 + 2j])), "marginal", 0.0),
    ("log 1e300", Diag(log_a=np.array([1e300])), "unstable", None),
    ("log, product underflows", product(-1e-200, 1e-200, log=True), "stable", None),
    ("a, product underflows", product(1e-200, 1e-200), "stable", None),
    ("a, product overflows", product(1e200, 1e200), "unstable", None),
    ("a, product back to 1", product(2.0**600, 2.0**-600), "marginal", 0.0),
    ("one number", [[0.5]], "stable", 0.5),
    ("Jordan 2 below 1", jordan(BELOW, 2), "stable", 2.0**-53),
    ("Jordan 8 below 1", jordan(BELOW, 8), "stable", 2.0**-53),
    ("Jordan 8 at 0.999", jordan(0.999, 8), "stable", 1 - 0.999),
    ("Jordan 2 at 1", jordan(1.0, 2), "unstable", 0.0),  # its powers grow
    ("Jordan 3 at -1", jordan(-1.0, 3), "unstable", 0.0),
    ("Jordan at 1 beside 1/2", np.diag([0.5, 1, 1]) + np.diag([0, 1.0], 1), "unstable", 0.0),
    ("identity", np.eye(4), "marginal", 0.0),
    ("nilpotent", jordan(0.0, 4), "stable", 1.0),
    ("cyclic permutation", np.roll(np.eye(5), 1, axis=0), "marginal", 0.0),
    ("orthogonal in halves", HALVES, "marginal", 0.0),
    ("its double Jordan block", TWICE, "unstable", 0.0),
    ("companion on the circle", COMPANION, "marginal", 0.0),
    ("companion, double root 1/2", np.array([[0.0, 1.0], [-0.25, 1.0]]), "stable", 0.5),
    ("circle and outside", np.diag([1.0, 2.0]), "unstable", -1.0),
    ("circle, inside and outside by a hair", np.diag([1.0, BELOW, ABOVE]), "unstable", -(2.0**-52)),
    ("reciprocal pair", np.diag([2.0, 0.5]), "unstable", -1.0),
    ("reflections", reflection(np.ones(4), 0.5) @ reflection(np.eye(4)[0], 2.0), "marginal", 0.0),
    ("delta rule, a reflection", delta([1, 1, 1, 1], 0.5), "marginal", 0.0),
    ("delta rule, erasing", delta([1, 1, 1, 1], 0.25), "marginal", 0.0),
    ("delta rule, beta |k|^2 > 2", delta([1, 1, 1, 1], 0.5 * ABOVE), "unstable", -(2.0**-51)),
    ("delta rule, decay 1/2", low_rank([1, 1], a=[0.5]), "stable", 0.5),
    ("exponentials, a Jordan block", low_rank([1, 0], [0, 1], log_a=[-0.5, -0.5]), "stable", None),
    ("exponential above 1", low_rank(log_a=[1e-6, 1e-6]), "unstable", None),
    ("exponentials 1 and 0", low_rank(log_a=[0.0, -np.inf]), "marginal", 0.0),
    ("complex and defective", np.array([[0.5j, 1], [0, 0.5j]]), "stable", 0.5),
    ("complex orthogonal", SWAP, "marginal", 0.0),
    ("entries 1e300", np.array([[0.5, 1e300], [0.0, 0.5]]), "stable", 0.5),
    ("entries 1e-300", np.array([[1e-300, 1e-300], [0.0, 1e-300]]), "stable", None),
    ("Shift", Shift(5), "stable", 1.0),
    ("Shift of nothing", Shift(0), "stable", 1.0),
    ("no state", np.zeros((0, 0)), "stable", 1.0),
    ("no state, diagonal", Diag(a=np.zeros((1, 0))), "stable", 1.0),
    ("several heads", Diag(a=np.array([[[0.5]], [[BELOW]], [[0.1]]])), "stable", 2.0**-53),
    ("integers", np.array([[0, 1], [-1, 0]]), "marginal", 0.0),
    ("float32", np.array([[0.5]], dtype=np.float32), "stable", 0.5),
    ("norms below 1", Diag(a=np.array([[0.5], [-BELOW]])), "contractive", 2.0**-53),
    ("norms up to 1", Diag(a=np.array([[0.5], [1.0]])), "nonexpansive", 0.0),
    ("a norm above 1", Diag(a=np.array([[0.5], [ABOVE]])), "undecided", -(2.0**-52)),
    ("orthogonal matrices", several(HALVES, np.eye(4)), "nonexpansive", 0.0),
    ("half of them", several(HALVES / 2, np.eye(4) / 2), "contractive", 0.5),
    ("nilpotent of norm 2", several(2 * jordan(0, 2), 2 * jordan(0, 2)), "undecided", -1.0),
    ("delta rules of norm 1", delta([1, 1, 1, 1], 0.5, L=3), "nonexpansive", 0.0),
    ("complex unitary", several(SWAP, SWAP), "nonexpansive", 0.0),
]  # fmt: skip


@pytest.mark.parametrize("name, A, verdict, rest", CASES, ids=[c[0] for c in CASES])
def test_verdict(name, A, verdict, rest):
    s = stability(A)
    assert s.verdict == verdict
    assert s.stable is STABLE.get(verdict)
    assert s.check()
    low, high = s.margin
    assert s.lower <= s.upper and low <= high
    if rest is not None:
        assert low <= rest <= high and high - low <= 1e-12 * max(abs(rest), 1e-300)
    text = repr(s)
    assert text.splitlines()[0].endswith(f" {verdict}") and len(text.splitlines()) <= 6
    again = Stability.from_json(s.to_json())
    assert again.check() and again.certificate.claim == s.certificate.claim
    assert repr(again) == text and again.stable is s.stable


def test_a_rotation_of_rounded_cosines_is_told_from_a_rotation():
    """cos^2 + sin^2 of the floats, in rationals, decides; eigenvalues in floats cannot."""
    from fractions import Fraction

    found = set()
    for angle in np.linspace(0.1, 3.0, 30):
        c, s = Fraction(float(np.cos(angle))), Fraction(float(np.sin(angle)))
        square = c * c + s * s
        v = stability(rotation(angle))
        expected = "stable" if square < 1 else "unstable" if square > 1 else "marginal"
        assert v.verdict == expected and v.check()
        assert abs(v.margin[0]) < 2e-16
        assert "less than the rounding" in repr(v) or square == 1
        found.add(v.verdict)
    assert {"stable", "unstable"} <= found


def test_more_bits_are_tried_by_themselves_and_too_few_leave_it_open(monkeypatch):
    A = rotation(0.3)
    assert "(128 bits)" in repr(stability(A))
    monkeypatch.setattr(radius, "BITS", (53,))
    s = stability(A)
    assert s.verdict == "undecided" and s.stable is None and s.check()
    assert s.margin[0] < 0.0 < s.margin[1] and s.upper - s.lower < 1e-13
    # what no number of bits decides is decided by mirror images, with 53 bits too
    assert stability(HALVES).verdict == "marginal"


@given(st.integers(0, 10**6), st.integers(1, 6), st.booleans())
def test_against_float_eigenvalues(seed, n, complex_):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, n)) * rng.choice([0.2, 0.5, 1.0, 1e-3])
    if complex_:
        A = A + 1j * rng.standard_normal((n, n)) * 0.3
    s, r = stability(A), np.abs(np.linalg.eigvals(A)).max()
    slack = 1e-6 * (1.0 + r)
    assert s.lower - slack <= r <= s.upper + slack
    assert s.upper - s.lower <= 1e-11 * s.upper + 1e-300
    if abs(r - 1.0) > slack:
        assert s.stable is bool(r < 1.0)
    assert s.check()
    t = stability(several(A, A / 2))
    assert abs(t.upper - np.linalg.norm(A, 2)) <= 1e-10 * t.upper and t.varying and t.check()


@given(st.integers(0, 10**6), st.integers(2, 5))
def test_products_of_exact_reflections_are_marginal(seed, n):
    """Both methods, mirrored roots and Schur-Cohn, on eigenvalues exactly on the circle."""
    rng = np.random.default_rng(seed)
    A = np.eye(n)
    for _ in range(4):
        key = np.zeros(n)
        size = int(rng.choice([k for k in (1, 2, 4) if k <= n]))
        key[rng.permutation(n)[:size]] = rng.choice([-1.0, 1.0], size)
        A = A @ reflection(key, 2.0 / size)
    assert np.array_equal(A @ A.T, np.eye(n))
    assert stability(A).verdict == "marginal" and stability(A).check()
    shear = np.eye(n) + np.triu(rng.integers(-2, 3, (n, n)), 1)
    inverse = np.round(np.linalg.inv(shear))
    B = shear @ A @ inverse  # the same eigenvalues, norms far above 1
    assert stability(B).verdict == "marginal" and stability(B).check()
    assert stability(several(A, A.T)).verdict == "nonexpansive"


@given(st.integers(0, 10**6), st.integers(1, 5))
def test_triangular_matrices_show_their_eigenvalues(seed, n):
    rng = np.random.default_rng(seed)
    d = rng.choice([0.0, 0.5, -0.75, BELOW, -1.0, 1.0, ABOVE], n)
    A = np.diag(d) + np.triu(rng.integers(-1, 2, (n, n)), 1)
    s = stability(A)
    r = np.abs(d).max()
    assert s.lower <= r <= s.upper and s.margin[0] <= 1.0 - r <= s.margin[1]
    if r != 1.0:
        assert s.verdict == ("stable" if r < 1.0 else "unstable")
    else:
        assert s.verdict in ("marginal", "unstable")  # by whether the powers grow
        if BELOW not in d:
            size = np.linalg.norm(np.linalg.matrix_power(A, 1 << 30))
            assert (size > 1e7) == (s.verdict == "unstable")
    assert s.check()


def test_three_ways_to_write_one_decay_agree():
    k = np.array([[[0.6], [0.8]]])
    rank1 = LowRank(Diag(a=np.full((1, 1), 0.9)), -0.5 * k, k)
    log = LowRank(Diag(log_a=np.log(np.full((1, 1), 0.9))), -0.5 * k, k)
    dense = Dense(rank1.dense())
    radii = [stability(x) for x in (rank1, log, dense)]
    assert max(abs(x.upper - 0.9) for x in radii) < 1e-9 and all(x.check() for x in radii)


def test_many_entries_take_the_filter():
    rng = np.random.default_rng(0)
    log_a = Prod((rng.uniform(-1, -0.001, (50, 200, 1)), rng.uniform(0.5, 4, (50, 1, 16))))
    s = stability(Diag(log_a=log_a))
    assert s.verdict == "contractive" and s.check()
    values = np.exp(log_a.dense())
    assert s.lower <= values.max() * (1 + 1e-15)
    assert s.worst == np.unravel_index(values.argmax(), values.shape)
    z = rng.uniform(0.9, 1, 10_000) * np.exp(1j * rng.uniform(0, 6, 10_000))
    s = stability(Diag(a=z))
    assert s.worst[-1] == np.abs(z).argmax() and s.check()


# ------------------------------------------------------------------ bad input
REFUSED = [
    (np.zeros((0, 2, 2)), errors.EmptyProblemError, "no transition"),
    (Diag(a=np.zeros((0, 3))), errors.EmptyProblemError, "no transition"),
    (np.zeros((3, 0, 2, 2)), errors.EmptyProblemError, "no transition"),
    (np.array([[np.nan]]), errors.NonFiniteError, "NaN or infinity"),
    (Diag(a=np.array([np.inf])), errors.NonFiniteError, "`a`"),
    (Diag(log_a=np.array([np.inf])), errors.NonFiniteError, "`log_a`"),
    (Diag(log_a=np.array([np.nan])), errors.NonFiniteError, "`log_a`"),
    (product(-np.inf, 0.0, log=True), errors.NonFiniteError, "factor"),
    (np.zeros((2, 3)), errors.ShapeError, "n n"),
    (np.zeros(3), errors.ShapeError, "2 axes"),
    ([[1.0, 2.0], [3.0]], errors.ShapeError, "different lengths"),
    (low_rank(a=[1, 1, 1]), errors.ShapeError, "`a`"),
    (low_rank(w=[1, 1, 1], a=[1]), errors.ShapeError, "`W`"),
    (np.eye(2, dtype=bool), errors.DTypeError, "bool"),
    (np.eye(2).astype(str), errors.DTypeError, "<U"),
    (np.eye(2).astype(object), errors.DTypeError, "object"),
    (np.eye(2).astype(np.longdouble), errors.DTypeError, "longdouble|float128"),
    (np.array([[2**60 + 1]]), errors.DTypeError, "2\\^53"),
    (dsf.gla, errors.DTypeError, "family.init"),
    ("lru", errors.DTypeError, "str"),
    (None, errors.DTypeError, "NoneType"),
    (dsf.gru.init(d=2), errors.NotLinearError, "linearise"),
    (dsf.softmax.init(d=2), errors.NotLinearError, "cache"),
    (np.eye(200), errors.TooLargeError, "200"),
    (np.arange(160_000.0).reshape(10_000, 4, 4), errors.TooLargeError, "ltv\\.part"),
]  # fmt: skip


@pytest.mark.parametrize("bad, error, text", REFUSED)
def test_refusals(bad, error, text):
    with pytest.raises(error, match=text):
        stability(bad)


def outcomes():
    """How often there was a value, a typed error, or nothing decided, over both tables."""
    kinds = Counter()
    for _, A, _, _ in CASES:
        s = stability(A)
        assert s.check()
        kinds["undecided" if s.stable is None and s.verdict == "undecided" else "value"] += 1
    for bad, error, _ in REFUSED:
        try:
            kinds[f"not refused: {stability(bad)!r}"] += 1
        except error:
            kinds["typed error"] += 1
    return kinds


def test_the_table_of_the_readme_counts_every_case():
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    cells = re.search(r"^\| 23 stability \|(.+)\|$", text, re.M)[1].split("|")
    found, kinds = outcomes(), ("value", "typed error", "propagated", "undecided")
    assert [int(c) for c in cells] == [found[kind] for kind in kinds]


def test_inputs_are_left_alone():
    A = np.asfortranarray(rotation(0.5))[::-1]
    before = A.copy()
    A.flags.writeable = False
    assert stability(A).check() and np.array_equal(A, before)


def test_threads_do_not_disturb_each_other():
    """The precision of Arb belongs to the process."""
    import flint

    before, wrong = flint.ctx.prec, []
    cases = [rotation(0.3), jordan(BELOW, 3), HALVES]
    expected = [(s.verdict, s.margin) for s in map(stability, cases)]

    def work():
        for _ in range(10):
            for A, e in zip(cases, expected, strict=True):
                s = stability(A)
                if (s.verdict, s.margin) != e or not s.check():
                    wrong.append(s)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong and flint.ctx.prec == before


# ------------------------------------------------------------------ tampering
U = np.random.default_rng(0).standard_normal((6, 4))
TAMPERED = {
    "entries": stability(rotation(0.3)),
    "diagonal": stability(Diag(a=np.array([BELOW]))),
    "exponential": stability(product(-1e-3, 0.5, log=True)),
    "marginal": stability(HALVES),
    "grows": stability(jordan(1.0, 2)),
    "varying": stability(several(HALVES * 0.9, np.eye(4))),
    "low rank": stability(delta([1, 1], 0.9)),
    "exponentials": stability(dsf.gated_deltanet.init(d=4), U),
}


def refused(c):
    with pytest.raises(CertificateError):
        c.check()


@pytest.mark.parametrize("name", TAMPERED)
def test_tampering(name):
    s = TAMPERED[name]
    c = s.certificate
    assert c.check()
    w = dict(c.witnesses)
    parts = {k: w[k] for k in ("a", "log_a", "U", "W", "A") if k in w}
    for key, factors in parts.items():
        refused(replace(c, witnesses={**w, key: [f * 1.001 for f in factors]}))

    def claim(verdict=s.verdict, lower=c.lower, upper=c.upper, margin=s.margin):
        strength = Strength.EXACT if lower == upper else Strength.ENCLOSED
        return Claim(
            scope=c.scope, strength=strength, lower=lower, upper=upper, varying=s.varying,
            verdict=verdict, margin=margin, **parts,
        ).certificate()  # fmt: skip

    assert claim().check()
    for verdict in {"stable", "marginal", "unstable", "contractive", "nonexpansive"} - {s.verdict}:
        refused(claim(verdict=verdict))
    refused(claim(verdict="excellent"))
    refused(claim(lower=np.nextafter(c.upper, 9), upper=np.nextafter(c.upper, 9)))
    refused(claim(lower=c.lower * (1 - 1e-9), upper=c.lower * (1 - 1e-9)))
    refused(claim(lower=c.lower / 2, upper=c.upper * 2))
    refused(claim(margin=(s.margin[1] + 1e-6, s.margin[1] + 1e-6)))
    refused(claim(margin=(s.margin[0] - 1e-6, s.margin[0] - 1e-6)))
    refused(claim(margin=s.margin[::-1]) if s.margin[0] != s.margin[1] else claim(upper=0.0))


def test_a_verdict_changed_in_the_json_is_refused():
    text = stability(np.array([[0.5, 1.0], [0.0, 0.25]])).to_json()
    assert Stability.from_json(text).check()
    with pytest.raises(CertificateError, match="stability"):
        Stability.from_json(text.replace('"verdict": "stable"', '"verdict": "unstable"'))


def test_the_margin_of_several_is_that_of_the_largest():
    s = stability(np.stack([np.eye(2) / 2, np.eye(2) * 0.75]))
    assert s.varying and s.margin == (0.25, 0.25) and s.check()


def test_the_second_factor_of_a_low_rank_part_is_transposed_and_not_conjugated():
    rng = np.random.default_rng(4)
    a, U, W = (rng.standard_normal((1, *x)) + 1j * rng.standard_normal((1, *x))
               for x in ((3,), (3, 2), (3, 2)))  # fmt: skip
    s = stability(LowRank(Diag(a=a / 4), U / 4, W / 4))
    found = np.abs(np.linalg.eigvals(np.diag(a[0] / 4) + U[0] @ W[0].T / 16)).max()
    assert s.lower * (1 - 1e-9) <= found <= s.upper * (1 + 1e-9) and s.check()
