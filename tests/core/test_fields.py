"""Domains of tokens: what certainly lies beyond an end, and what only may."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.core.fields import DOMAINS
from dsf.core.worlds import balls

pytestmark = pytest.mark.rigor
EVERY = pytest.mark.parametrize("name", [k for k in DOMAINS if k != "unit"])


@EVERY
@given(x=st.one_of(st.sampled_from([-1.0, 0.0, 1.0, 2.0]), st.floats(-4, 4)))
def test_a_number_leaves_its_domain_beyond_an_end_only(name, x):
    """The ends themselves are no numbers of the domain, but rounding may reach them."""
    domain = DOMAINS[name]
    below = domain.low is not None and Fraction(x) < domain.low
    above = domain.high is not None and Fraction(x) > domain.high
    assert domain.leaves(x) == (below or above)
    assert not (domain.leaves(x) and domain.inside(x))


@EVERY
@given(x=st.floats(-4, 4), radius=st.floats(0, 3))
def test_a_ball_leaves_where_every_number_of_it_does(name, x, radius):
    domain, ball = DOMAINS[name], balls(x, radius).item()
    ends = [float(e) for e in (ball.lower(), ball.upper())]
    if domain.leaves(ball):
        assert all(domain.leaves(e) for e in ends)
    if domain.holds([ball]):
        assert not domain.leaves(ball)
