"""What a beginner gets wrong at the front door: each is a typed error that says what to do."""

from __future__ import annotations

import numpy as np
import pytest

import dsf
from dsf.core.errors import DomainError, DTypeError, ShapeError, UnknownNameError

U, M = np.ones((6, 4)), np.tril(np.ones((6, 6)))

MISTAKES = {
    "no family": (lambda: dsf.family(3), UnknownNameError, "expected a family"),
    "the input for a width": (lambda: dsf.gla.init(U), ShapeError, "instead of its width"),
    "half a width": (
        lambda: dsf.gla.init(d=2.5),
        ShapeError,
        "integers of at least 1; got d = 2.5",
    ),
    "a seed": (lambda: dsf.gla.init(d=4, seed=-1), DomainError, "seed must be an integer"),
    "a number to compare": (lambda: dsf.compare("gla", 3), UnknownNameError, "got 3"),
    "a width of 0": (lambda: dsf.compare("gla", "lru", d=0), ShapeError, "the model width"),
    "no time": (
        lambda: dsf.compare("gla", "lru", U, time_limit=-1),
        DomainError,
        "compare: time_limit is in seconds, and positive; got -1",
    ),
    "an error in words": (lambda: dsf.realize(M, rtol="1%"), DTypeError, "rtol must be a number"),
    "states in words": (lambda: dsf.realize(M, states="a"), DTypeError, "states must be a number"),
    "time in words": (lambda: dsf.realize(M, time_limit="a"), DTypeError, "time_limit must be"),
    "a radius in words": (lambda: dsf.realize(M, radius="a"), DTypeError, "radius must hold"),
    "ragged rows": (lambda: dsf.realize([[1], [1, 2]]), ShapeError, "rows of different lengths"),
    "a mechanism for a matrix": (lambda: dsf.realize(dsf.gla.init(4)), DTypeError, "its kernel"),
    "states of a family": (lambda: dsf.states_needed(dsf.gla, U), DTypeError, "Draw one"),
    "states of a name": (lambda: dsf.states_needed("gla", U), DTypeError, "Draw one"),
    "a name to linearise": (lambda: dsf.linearise("gla", U), DTypeError, "dsf.gru.init"),
    "a mechanism to inspect": (lambda: dsf.inspect(dsf.gla.init(4), U), DTypeError, "to_torch"),
    "no nesting": (lambda: dsf.lattice.add(3), DTypeError, "needs a dsf.Nesting"),
    "names in a nesting": (
        lambda: dsf.Nesting("retnet", "gla", lambda tok: tok, ""),
        DTypeError,
        "are families",
    ),
    "no path": (lambda: dsf.lattice.find_path("gal", "gla"), UnknownNameError, "Did you mean gla"),
    "no mechanism to check": (lambda: dsf.testing.check_mechanism(3), UnknownNameError, "got 3"),
    "no system": (lambda: dsf.interop.to_scipy(dsf.gla.init(4)), DTypeError, r"mech\.ltv\(u\)"),
    "an array for a transition": (
        lambda: dsf.LTV(np.eye(3), np.ones((3, 1)), np.ones((1, 3))),
        DTypeError,
        r"goes in as Dense\(A\)",
    ),
    "a read that is none": (
        lambda: dsf.LTV(dsf.Shift(2, like=U), np.ones((2, 1)), np.ones((1, 2)), read="later"),
        DomainError,
        "read must be 'after' or 'before'; got 'later'",
    ),
    "a bound in words": (lambda: dsf.states.hankel_lower(M, "a"), DTypeError, "atol must be"),
    "a token of another": (
        lambda: dsf.gla.without_parameters().system(
            dsf.mamba2.draw_tokens(np.random.default_rng(0), n=2, p=2)
        ),
        UnknownNameError,
        "gla: no token 'dt'; its tokens: q, k, v, log_a",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told(mistake):
    wrong, error, message = MISTAKES[mistake]
    with pytest.raises(error, match=message):
        wrong()


def test_the_path_between_two_names_is_that_between_their_families():
    assert dsf.lattice.find_path("retnet", "gla") == dsf.lattice.find_path(dsf.retnet, dsf.gla)


def test_the_folders_of_the_solvers_are_attributes():
    assert dsf.solvers.dynamics.__name__ == "dsf.solvers.dynamics"
    assert {"dynamics", "heads", "svm"} < set(dir(dsf.solvers)) == set(dsf.solvers.__all__)


def test_an_unknown_name_of_the_package_is_told_with_the_near_ones():
    with pytest.raises(AttributeError, match=r"Did you mean dsf\.gla\?"):
        dsf.GLA  # noqa: B018
    assert not hasattr(dsf, "check")
