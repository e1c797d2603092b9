"""What a nesting says of its states: shown from the start and after every later token."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

import dsf
from dsf.claims import nesting
from dsf.claims.nesting_symbols import stays
from dsf.core import ops
from dsf.core.errors import CertificateError
from dsf.core.fields import GATE, REAL
from dsf.relations.edge import Nesting, identity
from dsf.verdicts.lattice.paths import edge

pytestmark = pytest.mark.rigor
NORMALISED = edge("qlstm -> mlstm")  # z, the sum of the input gates 1 - f, stays in (0, 1)


def refused(e: Nesting, words: str) -> None:
    with pytest.raises(CertificateError, match=words):
        stays(e)


@pytest.mark.parametrize("i", [Fraction(1, 2), 0], ids=["later", "at the start"])
def test_it_has_to_hold_at_the_start_and_later(i):
    """z = 1/2 may become f/2 + 1/2 and more; z = 0 is no number in (0, 1), and f z is one."""

    def tau(tok):
        image = NORMALISED.tau(tok)
        return image.replace(i=image.i * 0 + ops.const(i, image.i))

    stays(NORMALISED)
    refused(replace(NORMALISED, tau=tau), "not shown to stay")


@pytest.mark.parametrize(
    "positive",
    [
        lambda S, tok, z: (z, z - 1),
        lambda S, tok, z: (2 * z - 1,),  # of both signs
        lambda S, tok, z: (ops.cat([z, z - 1]),),
    ],
    ids=["negative", "either", "one of two"],
)
def test_every_number_has_to_be_positive(positive):
    refused(replace(NORMALISED, positive=positive), "not shown to be positive")


def test_what_is_told_are_entries_of_states_of_families_that_do_not_look_back():
    refused(replace(NORMALISED, stays=lambda S, z: ((1 - z, GATE),)), "takes entries")
    back = Nesting(dsf.mamba3, dsf.mamba3, identity, "", stays=lambda S, z: ((S, REAL),))
    refused(back, "look back")


def test_the_rest_of_a_state_is_free():
    """Two rows that forget at different speeds are equal after the first token only."""
    e = edge("mamba2(skip=True) -> rwkv6")

    def tau(tok):
        image = e.tau(tok)
        return image.replace(log_w=ops.cat([image.log_w[..., :-1], 2 * image.log_w[..., -1:]]))

    nesting.agree(e)
    with pytest.raises(CertificateError, match="does not agree"):
        nesting.agree(replace(e, tau=tau))


@pytest.mark.parametrize(
    "name",
    [
        "qlstm -> mlstm",
        "rglru -> mlstm",
        "mamba2(skip=True) -> rwkv6",
        "normalised_linear_attn(phi='elu+1', normalise=True) -> mlstm",
    ],
)
def test_what_is_known_of_the_states_is_enough_for_the_step(name):
    """The normaliser max(|q'n|, 1) is decided by the signs of numbers that stay in a domain."""
    nesting.agree(edge(name))
