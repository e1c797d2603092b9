"""Entries that a stability check leaves out by floats: without its allowances a larger one goes."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from dsf.claims.stability import Stability
from dsf.core.certificate import Scope, Strength
from dsf.core.errors import CertificateError


def claim(lower: float, upper: float, **parts) -> Stability:
    return Stability(
        scope=Scope.INSTANCE,
        strength=Strength.EXACT if lower == upper else Strength.ENCLOSED,
        lower=lower,
        upper=upper,
        varying=False,
        verdict="stable",
        margin=(-np.inf, 1.0 - lower),
        **parts,
    )


def multiplied(x: complex, y: complex) -> tuple[np.complex128, Fraction, Fraction]:
    """The product in floats as arrays have it, and its exact real and imaginary part."""
    a, b, c, d = map(Fraction, (x.real, x.imag, y.real, y.imag))
    found = (np.array([x, 0.5]) * np.array([y, 1.0]))[0]
    return found, a * c - b * d, a * d + b * c


def test_a_modulus_in_floats_is_rounded():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        x, y = (complex(*rng.uniform(0.55, 0.62, 2)) for _ in range(2))
        found, real, imaginary = multiplied(x, y)
        modulus = np.abs(np.array([found, 0.5]))[0]
        bound = float(np.nextafter(modulus, 1.0))
        if real**2 + imaginary**2 > Fraction(bound) ** 2:
            break
    else:
        pytest.skip("no product was found whose modulus is off by more than one bit")
    first, second = np.array([x, bound]), np.array([y, 1.0])
    with pytest.raises(CertificateError, match="exceeds"):
        claim(bound, bound, a=(first, second)).check()
    claim(bound, bound, a=(first[1:], second[1:])).check()  # without the larger entry it is true


def test_an_exponent_in_floats_may_have_cancelled():
    for i, j, k in product(range(1, 40), repeat=3):
        a, c, b, d = (2.0**27 + n for n in (i, j, k, i + j - k))
        x, y = complex(a, b), complex(c, d) / 16
        found, real, _ = multiplied(x, y)
        if found.real + 0.1 < real and -0.5 < real < 0.0:
            break
    else:
        pytest.skip("no product was found that cancels")
    middle = (float(found.real) + float(real)) / 2
    first, second = np.array([x, middle]), np.array([y, 1.0])
    lower, upper = float(np.exp(middle)) * (1 - 1e-8), float(np.exp(middle)) * (1 + 1e-8)
    assert lower > 0.5  # so the margin is exact
    with pytest.raises(CertificateError, match="exceeds"):
        claim(lower, upper, log_a=(first, second)).check()
    claim(lower, upper, log_a=(first[1:], second[1:])).check()
