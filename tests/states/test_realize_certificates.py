"""Certificates of realizations refuse tampering; what a realization prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dsf.core.certificate import Certificate
from dsf.core.errors import CertificateError
from dsf.states import hankel_gap, hankel_lower, realize
from dsf.theory_tests.dsf.softmax_states_table import softmax_matrix


def certificates() -> dict[str, Certificate]:
    M = softmax_matrix(32, 2)
    both = M + softmax_matrix(32, 2, seed=1).T
    return {
        "states": realize(M, atol=0.01).certificate,
        "relative": realize(M, rtol=0.01).certificate,
        "error": realize(M, states=5, relative=False).certificate,
        "two directions": realize(both, atol=0.05).certificate,
        "heads": realize(np.stack([M, M @ M]), atol=0.02).certificate,
        "lower": hankel_lower(M, 0.01),
        "gap": hankel_gap(M, 4),
    }


CERTIFICATES = certificates()


def moved(x: Any, rng: np.random.Generator) -> Iterator[Any]:
    """Every way to move one number in the witnesses."""
    if isinstance(x, np.ndarray):
        used = np.argwhere(x != 0)
        if len(used):  # else nothing but padding
            changed = x.copy()
            changed[tuple(used[rng.integers(len(used))])] += 1e-3
            yield changed
    elif isinstance(x, (bool, str)):
        return  # tests/adversary/test_laws.py
    elif isinstance(x, (int, float)):
        yield x + (1 if isinstance(x, int) else 1e-3)
    elif isinstance(x, (dict, list)):
        for key, value in x.items() if isinstance(x, dict) else enumerate(x):
            for other in moved(value, rng):
                changed = x.copy()
                changed[key] = other
                yield changed


@pytest.mark.parametrize("name", CERTIFICATES)
def test_changed_witness_is_noticed(name):
    c, rng = CERTIFICATES[name], np.random.default_rng(0)
    assert c.check()
    for witnesses in moved(dict(c.witnesses), rng):
        with pytest.raises(CertificateError):
            dataclasses.replace(c, witnesses=witnesses).check()


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_better_count_in_the_sentence_too_is_noticed(name):
    c = CERTIFICATES[name]
    step = 1 if isinstance(c.lower, int) else 1e-3
    claim = c.claim.replace(str(c.lower), str(c.lower + step))
    with pytest.raises(CertificateError):
        dataclasses.replace(c, lower=c.lower + step, claim=claim).check()


def test_a_worse_system_is_refused():
    M = softmax_matrix(32, 2)
    c = realize(M, atol=0.01).certificate
    (head,) = c.witnesses["heads"]
    worse = {**head, "forward": {**head["forward"], "C": head["forward"]["C"] * 0.999}}
    with pytest.raises(CertificateError, match="does not follow"):
        dataclasses.replace(c, witnesses={**c.witnesses, "heads": [worse]}).check()


@pytest.mark.parametrize("name", ["error", "states", "heads", "two directions"])
def test_printout(name):
    M = softmax_matrix(32, 2)
    options = {"rtol" if name == "heads" else "atol": 1e-2}
    options = {"states": 5, "relative": False} if name == "states" else options
    found = realize({"heads": np.stack([M, M]), "two directions": M + M.T}.get(name, M), **options)
    text = repr(found)
    assert all(len(line) <= 79 for line in text.splitlines())
    assert "coefficients that may depend on the whole sequence" in text
    assert f"{found.lower:.6g}" in text and f"{found.upper:.6g}" in text
