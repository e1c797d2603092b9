"""Finding the matrix that takes the states of one instance to those of another."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from dsf.claims.coordinates import LARGEST, Coordinates
from dsf.claims.free_tokens import PROBABILITY
from dsf.claims.scores import SameScores
from dsf.core.catalogue import family_of
from dsf.core.errors import CertificateError, DSFError
from dsf.core.kinds import DotProductAttention, Recurrence
from dsf.core.mechanism import Mechanism

ALIKE = 1e-9  # relative: what two orders of summation may differ by, and more
PARTS = 2**12  # the largest denominator of an entry that is no power of two


def coordinates(a: Mechanism, b: Mechanism) -> Coordinates | None:
    """The claim that b is a in other coordinates of its state, if a matrix is found and it holds.

    The matrix is read off the states on one random input: rows that are multiples of one another,
    else least squares; its entries are powers of two or fractions of small denominators.

    >>> import dsf
    >>> from dataclasses import replace
    >>> a = dsf.gla.init(d=3, n=2, p=2)
    >>> coordinates(a, replace(a, Wq=a.Wq / 2, Wk=a.Wk * 2)).G.tolist()
    [[[Fraction(2, 1), Fraction(0, 1)], [Fraction(0, 1), Fraction(2, 1)]]]
    """
    if family_of(a) != family_of(b) or not isinstance(a, Recurrence):
        return None
    left, right = a.parameters(), b.parameters()
    if any(left[k].shape != right[k].shape for k in left):
        return None
    if sum(x.size for x in left.values()) > LARGEST:
        return None
    try:
        states = [_states(m) for m in (a, b)]
    except DSFError:  # such as an instance whose tokens leave their domain
        return None
    if states[0] is None or states[1] is None or not _close(states[0][0], states[1][0]):
        return None
    G = _matrices(states[0][1], states[1][1])
    if G is None:
        return None
    claim = Coordinates(family=family_of(a), left=left, right=right, G=G, probability=PROBABILITY)
    try:
        claim.check()
    except (CertificateError, DSFError):
        return None
    return claim


def same_scores(a: Mechanism, b: Mechanism) -> SameScores | None:
    """The claim that two softmax attentions have the same logits and values, if it holds.

    >>> import dsf
    >>> from dataclasses import replace
    >>> a = dsf.softmax.init(d=3, n=2, p=2)
    >>> same_scores(a, replace(a, Wq=a.Wq * 2, Wk=a.Wk / 2)) is None
    False
    """
    if family_of(a) != family_of(b) or not isinstance(a, DotProductAttention) or a.d != b.d:
        return None
    claim = SameScores(
        family=family_of(a), left=a.parameters(), right=b.parameters(), probability=PROBABILITY
    )
    try:
        claim.check()
    except (CertificateError, DSFError):
        return None
    return claim


def _states(mech: Mechanism) -> tuple[np.ndarray, np.ndarray] | None:
    """Outputs on a random input, and the states after each token as columns [... n columns]."""
    mech = mech.map(lambda x: np.asarray(x, np.float64))
    state, outputs, states = None, [], []
    rng = np.random.default_rng(0)
    for _ in range(4 + 2 * int(mech.sizes.get("n", 1))):
        y, state = mech.run(rng.standard_normal((1, mech.d)), state)
        if state.S is None:
            return None
        outputs.append(y)
        states.append(state.S)
    return np.concatenate(outputs), np.concatenate(states, axis=-1)


def _close(x: np.ndarray, y: np.ndarray) -> bool:
    return x.shape == y.shape and bool(np.abs(x - y).max() <= ALIKE * max(np.abs(x).max(), 1e-300))


def _matrices(X: np.ndarray, Y: np.ndarray) -> np.ndarray | None:
    """G [... n n] of fractions with Y = G X, head by head; None if there is none of that kind."""
    if X.shape != Y.shape:
        return None
    G = np.empty((*X.shape[:-1], X.shape[-2]), dtype=object)
    for index in np.ndindex(X.shape[:-2]):
        found = _monomial(X[index], Y[index])
        found = _fractions(_least_squares(X[index], Y[index])) if found is None else found
        if found is None:
            return None
        G[index] = found
    return G


def _monomial(X: np.ndarray, Y: np.ndarray) -> Any:
    """The matrix whose rows each take one row of X by a factor; None if rows do not match so."""
    G, free = np.zeros((len(X), len(X))), list(range(len(X)))
    for j, y in enumerate(Y):
        for i in free:
            c = (np.vdot(X[i], y) / max(np.vdot(X[i], X[i]).real, 1e-300)).real
            if np.abs(y - c * X[i]).max() <= ALIKE * np.abs(y).max():
                G[j, i] = c
                free.remove(i)
                break
        else:
            return None
    return _fractions(G)


def _least_squares(X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    if X.dtype.kind == "c":  # a real matrix acts on both parts
        X, Y = (np.concatenate([x.real, x.imag], axis=-1) for x in (X, Y))
    size = np.abs(X).max(axis=-1, keepdims=True)
    size[size == 0] = 1.0
    found: np.ndarray = np.linalg.lstsq((X / size).T, Y.T, rcond=None)[0].T
    return found / size.T


def _fractions(G: np.ndarray) -> Any:
    out, top = np.empty(G.shape, dtype=object), np.abs(G).max(initial=0.0)
    for index, x in np.ndenumerate(G):
        q = _fraction(float(x)) if abs(x) > ALIKE * top else Fraction(0)
        if q is None:
            return None
        out[index] = q
    return out


def _fraction(x: float) -> Fraction | None:
    """A fraction of a small denominator, or a power of two, that is x to nine digits."""
    power = Fraction(2) ** round(np.log2(abs(x))) * (1 if x > 0 else -1)
    for q in (Fraction(x).limit_denominator(PARTS), power):
        if abs(q - Fraction(x)) <= ALIKE * abs(x):
            return q
    return None
