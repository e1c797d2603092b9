"""Which stored parameters make an instance: constants inside their domains, tokens not beyond."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dsf
from dsf.claims.sides import instance
from dsf.core.authoring import LTV, Array, Diag, Recurrence, Tokens, col, drawn, row
from dsf.core.errors import CertificateError
from dsf.core.family import Family

pytestmark = pytest.mark.rigor


class Shifted(Recurrence):
    """A gate that the input moves from where a parameter has put it."""

    spec = {"gate": "L p in (0, 1)", "v": "L p"}
    W: Array = drawn("H d p", lambda rng, shape: rng.standard_normal(shape))
    at: Array = drawn("H 1 p", lambda rng, shape: np.full(shape, 0.5))

    def tokens(self, u):
        return Tokens(gate=self.at + u @ self.W, v=u @ self.W)

    def recurrence(self, tok):
        return LTV(Diag(a=tok.gate), B=col(tok.gate), C=row(tok.gate)), row(tok.v)


def held(f: Family, **moved: Any) -> dict[str, np.ndarray]:
    return {**f.init(d=2, n=2, p=2).parameters(), **moved}


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_a_constant_at_the_end_of_its_domain_makes_no_instance(end):
    one = held(dsf.retnet)["gamma"]
    instance(dsf.retnet, held(dsf.retnet, gamma=one * 0 + 0.5))
    inside = np.nextafter(end, 0.5)
    instance(dsf.retnet, held(dsf.retnet, gamma=one * 0 + inside))
    with pytest.raises(CertificateError, match="gamma leaves its domain"):
        instance(dsf.retnet, held(dsf.retnet, gamma=one * 0 + end))


@pytest.mark.parametrize("at", [[0.5, 0.5], [0.0, 1.0], [1.0, 1.0]])
def test_a_token_may_be_at_the_end_at_the_input_zero(at):
    f = Family("Shifted", Shifted)
    instance(f, held(f, at=np.array([[at]])))


@pytest.mark.parametrize("at", [[0.5, 1.1], [-0.1, 0.5], [2.0, 2.0]])
def test_one_number_of_a_token_beyond_the_end_is_enough(at):
    f = Family("Shifted", Shifted)
    with pytest.raises(CertificateError, match="gate leaves its domain"):
        instance(f, held(f, at=np.array([[at]])))
