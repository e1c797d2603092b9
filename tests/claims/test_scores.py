"""Softmax attention in other units of queries and keys: every parameter counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import dsf
from dsf.claims import scores
from dsf.claims.free_tokens import PROBABILITY
from dsf.claims.scores import SameScores
from dsf.core.catalogue import family_of
from dsf.core.errors import CertificateError

pytestmark = pytest.mark.rigor


def claim(a, b):
    return SameScores(
        family=family_of(a), left=a.parameters(), right=b.parameters(), probability=PROBABILITY
    )


def pairs():
    """Two that are one map, by name."""
    a = dsf.softmax.init(d=4, n=3, p=2, heads=2, seed=0)
    w = dsf.window_softmax(width=3).init(d=3, n=2, p=2, seed=1)
    G, H = np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [-2.0, 1.0]])  # G H' = 1
    coarse = w.map(lambda x: np.round(64 * x) / 64)
    wide = {k: np.concatenate([getattr(a, k), 0 * a.Wq[..., :1]], -1) for k in ("Wq", "Wk")}
    return {
        "scaled": (a, replace(a, Wq=a.Wq * 2, Wk=a.Wk / 2)),
        "signs": (a, replace(a, Wq=-a.Wq, Wk=-a.Wk)),
        "permuted": (a, replace(a, Wq=a.Wq[..., ::-1], Wk=a.Wk[..., ::-1])),
        "a matrix": (coarse, replace(coarse, Wq=coarse.Wq @ G, Wk=coarse.Wk @ H)),
        "wider, in a window": (w, replace(w, Wq=w.Wq * 4, Wk=w.Wk / 4)),
        "a channel of zeros, rescaled by n": (
            dsf.softmax.init(d=2, n=1, p=1, seed=0),
            replace(
                dsf.softmax.init(d=2, n=4, p=1, seed=0),
                **_spread(dsf.softmax.init(d=2, n=1, p=1, seed=0)),
            ),
        ),
        "itself": (replace(a, **wide), replace(a, **wide)),
    }


def _spread(mech):
    """One channel as four of which three are zero: the logits are divided by 2 instead of 1."""
    zeros = np.zeros((1, 2, 3))
    return {"Wq": np.concatenate([2 * mech.Wq, zeros], -1),
            "Wk": np.concatenate([mech.Wk, zeros], -1), "Wv": mech.Wv}  # fmt: skip


PAIRS = pairs()


@pytest.mark.parametrize("name", PAIRS)
def test_they_are_equal(name):
    a, b = PAIRS[name]
    found = dsf.compare(a, b)
    assert found.verdict.name == "EQUAL" and found.check()
    wanted = "same-instance" if name == "itself" else "instance-scores"
    assert found.certificates[0].kind == wanted
    u = np.random.default_rng(0).standard_normal((9, a.d))
    assert np.allclose(a(u), b(u), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("parameter", ["Wq", "Wk", "Wv"])
def test_a_parameter_moved_by_its_last_bit_is_another_map(name, parameter):
    a, b = PAIRS[name]
    x = getattr(b, parameter).copy()
    at = np.flatnonzero(x)[-1]
    x.flat[at] = np.nextafter(x.flat[at], 9.0)
    with pytest.raises(CertificateError, match="do not agree identically"):
        claim(a, replace(b, **{parameter: x})).check()


def test_what_is_no_softmax_attention_of_the_package(monkeypatch):
    gla, softmax = dsf.gla.init(d=2, n=2, p=2), dsf.softmax.init(d=2, n=2, p=2)
    with pytest.raises(CertificateError, match="is not softmax attention of this package"):
        claim(gla, gla).check()
    with monkeypatch.context() as m:
        m.setattr(scores, "outside", lambda family: True)
        with pytest.raises(CertificateError, match="is not softmax attention of this package"):
            claim(softmax, softmax).check()
    monkeypatch.setattr(scores, "OF_THE_KIND", set())  # as if the class made its own outputs
    with pytest.raises(CertificateError, match="in its own way"):
        claim(softmax, softmax).check()


def test_other_widths():
    a, b = dsf.softmax.init(d=2, n=2, p=2), dsf.softmax.init(d=2, n=2, p=3)
    with pytest.raises(CertificateError, match="differ in heads or width"):
        claim(a, b).check()
    with pytest.raises(CertificateError, match="inputs of different widths"):
        claim(a, dsf.softmax.init(d=3, n=2, p=2)).check()
