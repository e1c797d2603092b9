"""One map in two coordinates: every parameter counts, and each condition of the check is needed."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import dsf
from dsf.claims import coordinates
from dsf.claims.coordinates import Coordinates
from dsf.claims.free_tokens import PROBABILITY
from dsf.core.catalogue import family_of
from dsf.core.errors import CertificateError

pytestmark = pytest.mark.rigor
FAMILIES = [
    "gla",
    "retnet(rotation=True)",
    "rwkv6",
    "mamba2(skip=True)",
    "mamba3(skip=True)",
    "deltanet",
    "lru",
    "s4d",
]
OTHER = "does not agree identically|square roots"  # or no point was found to decide it at
SWAPPED = np.array([[0, 1], [1, 0]])


def claim(left: Any, right: Any, G: np.ndarray) -> Coordinates:
    """With one matrix for all heads or channels."""
    S = coordinates.start(left)
    whole = np.broadcast_to(np.frompyfunc(Fraction, 1, 1)(G), (*S.shape[:-2], *G.shape))
    return Coordinates(
        family=family_of(left), left=left.parameters(), right=right.parameters(), G=whole,
        probability=PROBABILITY,
    )  # fmt: skip


def small(name: str, **sizes: int) -> Any:
    return dsf.family(name).init(**{"d": 2, "n": 2, "p": 2, **sizes})


@pytest.mark.parametrize("name", FAMILIES)
def test_a_mechanism_is_itself_and_not_one_with_a_moved_parameter(name):
    mech = small(name)
    n = coordinates.start(mech).shape[-2]
    claim(mech, mech, np.eye(n, dtype=int)).certificate().check()
    for k, x in mech.parameters().items():
        moved = x.copy()
        moved.flat[-1] = np.nextafter(moved.flat[-1], 9.0)
        with pytest.raises(CertificateError, match=OTHER):
            claim(mech, replace(mech, **{k: moved}), np.eye(n, dtype=int)).certificate().check()


def test_the_matrix_is_the_one_that_relates_the_states():
    mech = small("gla")
    axes = dict.fromkeys(("Wq", "Wk", "W2", "b"), -1)
    other = replace(mech, **{k: np.flip(getattr(mech, k), ax) for k, ax in axes.items()})
    claim(mech, other, SWAPPED).certificate().check()
    for G in (np.eye(2, dtype=int), 2 * SWAPPED, SWAPPED * 0):
        with pytest.raises(CertificateError, match=OTHER):
            claim(mech, other, G).certificate().check()
    with pytest.raises(CertificateError, match="is no matrix"):
        claim(mech, other, np.eye(3, dtype=int)).certificate().check()


def test_three_equal_rows_are_not_one_row():
    """The outputs would agree, but no matrix stands between states of one size."""
    one = small("linear_attn", n=1)
    three = replace(one, Wq=np.repeat(one.Wq / 4, 4, -1), Wk=np.repeat(one.Wk, 4, -1))
    u = np.random.default_rng(0).standard_normal((5, 2))
    np.testing.assert_allclose(one(u), three(u), rtol=1e-12)
    with pytest.raises(CertificateError, match="different shapes"):
        claim(one, three, np.eye(1, dtype=int)).certificate().check()


def test_only_recurrences_have_states_to_relate():
    mech = small("softmax")
    held = mech.parameters()
    other = Coordinates(
        family=family_of(mech), left=held, right=held, G=np.full((1, 1, 1), Fraction(1)),
        probability=PROBABILITY,
    )  # fmt: skip
    with pytest.raises(CertificateError, match="is no recurrence"):
        other.certificate().check()


def test_a_check_reads_so_many_parameters_and_no_more(monkeypatch):
    mech = small("linear_attn")
    count = sum(x.size for x in mech.parameters().values())
    monkeypatch.setattr(coordinates, "LARGEST", count)
    claim(mech, mech, np.eye(2, dtype=int)).certificate().check()
    monkeypatch.setattr(coordinates, "LARGEST", count - 1)
    with pytest.raises(CertificateError, match="reads at most"):
        claim(mech, mech, np.eye(2, dtype=int)).certificate().check()
