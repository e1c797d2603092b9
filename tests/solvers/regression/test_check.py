"""Certificates of softmax regression: honest ones check, and every forged field is refused."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsf.claims import MALFORMED
from dsf.claims.base import HEADER, KINDS, read
from dsf.core.certificate import Certificate
from dsf.core.errors import CertificateError, DomainError, IllConditionedError, NotConvergedError
from dsf.core.ops import softmax
from dsf.solvers import softmax_regression
from dsf.solvers.regression.check import balls
from dsf.solvers.regression.check.optimum import SoftmaxMinimiser
from dsf.solvers.regression.formulas import hessian, point, reach

pytestmark = pytest.mark.solver
WEIGHTS = {"softmax-minimiser": 1.5, "softmax-stationary": 0.4}


def problem(n: int, d: int, seed: int):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), rng.dirichlet(np.ones(n)), rng.standard_normal(d)


@cache
def certificate(kind: str) -> Certificate:
    A, b, x = problem(7, 3, 0)
    found = softmax_regression(A, b, WEIGHTS[kind], start=x, tolerance=0.05).certificate
    assert found is not None and found.kind == kind and found.check()
    return found


def restated(c: Certificate) -> Certificate:
    """With the sentence of the changed parts: only the arithmetic can refuse it."""
    cls = KINDS[c.kind]
    header = {k: getattr(c, k) for k in HEADER if k in cls.__dataclass_fields__}
    return replace(c, claim=cls(**c.witnesses, **header).sentence)


def refused(c: Certificate, why: str = ".") -> None:
    """With the old sentence; and with its own, also on the way through JSON, for the reason."""
    with pytest.raises(CertificateError):
        c.check()
    told = restated(c)
    for made in (told, Certificate.from_json(told.to_json())):
        with pytest.raises(CertificateError, match=why) as error:
            made.check()
        assert not str(error.value).startswith(MALFORMED)


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("name", ["A", "b", "w", "x"])
def test_forged_data(kind, name):
    """A thousandth more in any entry; weights as large may only grow where they prove enough."""
    c = certificate(kind)
    for index in np.ndindex(c.witnesses[name].shape):
        other = c.witnesses[name].copy()
        other[index] += 1e-3
        refused(replace(c, witnesses={**c.witnesses, name: other}))


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("factor", [1 - 1e-6, 1 + 1e-6, 0.5, 2.0])
def test_forged_bounds(kind, factor):
    """Better ones do not follow, and worse ones are refused for being looser than they need."""
    c = certificate(kind)
    for name in ("gradient", "modulus"):
        if name in c.witnesses:
            value = factor * c.witnesses[name]
            refused(replace(c, witnesses={**c.witnesses, name: value}), "gradient|modulus|distance")
    for side in ("lower", "upper"):
        if getattr(c, side) is not None:
            refused(replace(c, **{side: factor * getattr(c, side)}), "bound")


def test_a_stationary_point_is_no_minimiser():
    """Weights below the constant prove no distance, whatever modulus is told."""
    c = certificate("softmax-stationary")
    data = {name: c.witnesses[name] for name in ("A", "b", "w", "x", "gradient")}
    for modulus in (1e-300, 0.1, 1e300):
        upper = data["gradient"] / modulus * (1 + 1e-15)
        made = SoftmaxMinimiser(**data, modulus=modulus, upper=min(upper, 1e300)).certificate()
        refused(made, "the constant that convexity needs")


def test_dependent_columns_prove_no_modulus():
    c = certificate("softmax-minimiser")
    A = c.witnesses["A"].copy()
    A[:, 0] = A[:, 1]
    made = replace(c, witnesses={**c.witnesses, "A": A})
    with pytest.raises(CertificateError, match="gradient"):
        restated(made).check()
    g = float(np.linalg.norm(point(A, made.witnesses["b"], made.witnesses["w"] ** 2,
                                   made.witnesses["x"]).gradient)) * (1 + 1e-13)  # fmt: skip
    made = replace(made, witnesses={**made.witnesses, "gradient": g})
    with pytest.raises(CertificateError, match="the rank of A"):
        restated(made).check()


def test_other_lengths_are_refused():
    c = certificate("softmax-minimiser")
    for name in ("b", "w", "x"):
        short = replace(c, witnesses={**c.witnesses, name: c.witnesses[name][:-1]})
        refused(short, "length")
    empty = replace(c, witnesses={**c.witnesses, "A": np.zeros((0, 3))})
    refused(empty, "no row")


@settings(max_examples=60)
@given(
    st.integers(1, 90), st.integers(1, 4), st.integers(0, 10**6), st.floats(0, 4),
    st.floats(-6, 2), st.floats(-3, 3), st.sampled_from([1e-10, 1e-3]),
)  # fmt: skip
def test_honest_certificates_check(extra, d, seed, w, scale, shift, tolerance):
    """Any real b, any scale of A, with large and with hidden gradients."""
    A, b, x = problem(d + extra, d, seed)
    A = 10**scale * A
    try:
        s = softmax_regression(A, b + shift, w, start=0.1 * x, tolerance=tolerance)
    except (NotConvergedError, IllConditionedError):
        return
    assert s.check() and s.certificate is not None
    again = Certificate.from_json(s.certificate.to_json())
    assert again.check() and again.to_json() == s.certificate.to_json()
    assert (s.bounds.modulus > 0) == (again.kind == "softmax-minimiser")


@given(st.integers(1, 8), st.integers(1, 4), st.integers(0, 10**6), st.floats(0.1, 30))
def test_balls_hold_the_formulas_of_the_solver(n, d, seed, spread):
    import flint

    A, b, x = problem(n, d, seed)
    w = np.random.default_rng(seed).random(n)
    with flint.ctx.workprec(balls.BITS):
        here = balls.at(A, b, w, spread * x)
        H = np.array([[float(y) for y in row] for row in here.hessian.tolist()])
        low, high = (float(y) for y in balls.smallest_eigenvalue(here.hessian))
    p = point(A, b, w * w, spread * x)
    size = 1e-12 * (1 + np.linalg.norm(A)) ** 2 * (1 + spread * np.linalg.norm(x))
    assert float(here.gradient) == pytest.approx(np.linalg.norm(p.gradient), abs=size)
    np.testing.assert_allclose(H, hessian(A, b, w * w, softmax(A @ (spread * x))), atol=size)
    assert low <= high <= low + size
    assert low - size <= np.linalg.eigvalsh(H)[0] <= high + size
    assert float(balls.constant(b)) == pytest.approx(reach(b), rel=1e-15)


def test_an_eigenvalue_that_is_known():
    import flint

    low, high = balls.smallest_eigenvalue(flint.arb_mat([[2, 1], [1, 2]]))
    assert low <= 1 <= high and high - low < 1e-12


def test_large_problems_have_no_certificate(monkeypatch):
    A, b, _ = problem(7, 3, 0)
    s = softmax_regression(A, b, 1.5)
    monkeypatch.setattr(balls, "WORK", 7 * 3 * 64 - 1)
    assert s.certificate is None and s.bounds.kind == "minimiser"
    with pytest.raises(DomainError, match="too large for a check"):
        s.check()
    with pytest.raises(CertificateError, match="too large for a check"):
        certificate("softmax-minimiser").check()


def test_the_certificate_holds_a_copy():
    A, b, _ = problem(7, 3, 0)
    s = softmax_regression(A, b, 1.5)
    A[:] = b[:] = 0
    assert s.check() and isinstance(read(s.certificate), SoftmaxMinimiser)
