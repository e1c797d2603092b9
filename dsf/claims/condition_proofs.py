"""Proofs of the pairs that meet under a condition, symbolically; one pair of functions per case.

*Necessary*: with free tokens, entries of the two kernels at length 2 and 3 are equated and solved.
*Sufficient*: under the solution, one step of one family is one step of the other.
Coefficients of a common form are never compared: they depend on the choice of state coordinates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy

from dsf.claims.free_tokens import flat
from dsf.core.algebra.symbols import array
from dsf.core.algebra.zero import first_nonzero, is_zero
from dsf.core.family import Family
from dsf.core.mechanism import Mechanism
from dsf.core.state import State
from dsf.core.tokens import Tokens
from dsf.relations import ssm
from dsf.relations.conditions import is_s6


def step(mech: Mechanism, tok: Tokens, state: State) -> tuple[np.ndarray, Any]:
    """(outputs, new state) of one call of `advance`."""
    o, new = mech.advance(tok, state)
    return flat(o), new.S


# ----------------------------------------- a coupled step size against a normaliser
def _ssd_tokens(family: Family, L: int, n: int, p: int) -> tuple[Tokens, dict[str, Any]]:
    """Symbols q, k, v with names that both families share, and the gates of this family."""
    sizes = {"q": n, "k": n, "v": p}
    free = {name: array(name, (L, size), real=True) for name, size in sizes.items()}
    gates: dict[str, Any]
    if "eta" in family.spec:
        gates = {"eta": array("eta", (L, 1), positive=True)}
        return Tokens(**free, **gates), gates
    gates = {"dt": array("dt", (L, 1), positive=True), "a": array("a", (1, 1), negative=True)}
    return _as_channels(family, Tokens(**free, **gates)), gates


def _as_channels(family: Family, tok: Tokens) -> Tokens:
    return ssm.mamba2_mamba(tok) if is_s6(family) else tok


def _ssd_necessary(a: Family, b: Family) -> bool:
    """Solve M_ij(a) = M_ij(b) for i, j < 2, n = p = 1; length 3 adds nothing new.

    With q and k free, every row of every channel of S6 has to agree by itself, so this is its proof
    too: each gives dt = 1/eta and the same a.
    """
    tok, gates = _ssd_tokens(a, 3, 1, 1)
    other, normaliser = _ssd_tokens(b, 3, 1, 1)
    M = a.without_parameters().system(tok)[0].kernel().reshape(3, 3)
    N = b.without_parameters().system(other)[0].kernel().reshape(3, 3)
    q, k = other.q[:, 0], other.k[:, 0]
    rest = {(i, j): sympy.cancel((M - N)[i, j] / (q[i] * k[j])) for i in range(3) for j in range(3)}
    dt, x, eta = gates["dt"][:, 0], gates["a"][0, 0], normaliser["eta"][:, 0]
    two = [rest[i, j] for i, j in ((0, 0), (1, 1), (1, 0))]
    solved = sympy.solve(two, [dt[0], dt[1], eta[0]], dict=True)
    wanted = {dt[0]: 1 / eta[0], dt[1]: 1 / eta[1], eta[0]: eta[1] * sympy.exp(x / eta[1])}
    if len(solved) != 1 or not all(
        is_zero((solved[0][s] - value).subs(eta[0], wanted[eta[0]])) for s, value in wanted.items()
    ):
        return False
    chain = {eta[1]: eta[2] * sympy.exp(x / eta[2])}
    for (i, j), e in rest.items():
        if i >= j:
            e = e.subs({dt[m]: 1 / eta[m] for m in range(3)}).subs(eta[0], wanted[eta[0]])
            if not is_zero(e.subs(chain)):
                return False
    return True


def _ssd_sufficient(a: Family, b: Family) -> bool:
    """With S = Z/eta as state map, one step of a is one step of b under the conditions."""
    for n, p in ((1, 1), (2, 2)):
        tok, gates = _ssd_tokens(b, 2, n, p)
        eta, x = gates["eta"][:, 0], sympy.Symbol("a", negative=True)
        earlier = {eta[0]: eta[1] * sympy.exp(x / eta[1])}
        Z = array("Z", (n, p), real=True)
        now = tok.map(lambda v: v[1:])
        image = Tokens(q=now.q, k=now.k, v=now.v, dt=1 / now.eta, a=np.array([[x]], dtype=object))
        y, after = step(b.without_parameters(), now, State(Z))
        image = _as_channels(a, image)
        Y, S = step(a.without_parameters(), image, State(_lift(a, Z / eta[0])))
        off = [*(Y - y).flat, *(S - _lift(a, after / eta[1])).flat]
        if first_nonzero([sympy.sympify(e).subs(earlier) for e in off]) is not None:
            return False
    return True


def _lift(family: Family, S: np.ndarray) -> np.ndarray:
    return S.T[:, :, None] if is_s6(family) else S


# ----------------------------------------- a diagonal gate against a delta rule
def _delta_symbols(b: Family, n: int, key: Any = None) -> tuple[Tokens, dict[str, Any]]:
    """Two tokens of the delta rule; the later key is free, or the given one."""
    fields = {name: array(name, (2, n), real=True) for name in ("q", "k", "v")}
    fields["v"] = fields["v"][:, :1]
    if key is not None:
        fields["k"][1] = key
    fields["beta"] = array("beta", (2, 1), positive=True)
    if "log_a" in b.spec:
        fields["log_a"] = array("log_a", (2, 1), negative=True)
    return Tokens(**fields), fields


def _decay(fields: dict[str, Any], t: int) -> Any:
    return sympy.exp(fields["log_a"][t, 0]) if "log_a" in fields else sympy.Integer(1)


def _delta_necessary(a: Family, b: Family) -> bool:
    """M_00 gives k of gla; the coefficient of q_i k_j in M_10 gives the gate and k_i k_j = 0."""
    for n in (2, 3):
        tok, fields = _delta_symbols(b, n)
        M = b.without_parameters().system(tok)[0].kernel()
        gate = array("g", (2, n), negative=True)
        image = Tokens(q=tok.q, k=tok.beta * tok.k, v=tok.v, log_a=gate)
        N = a.without_parameters().system(image)[0].kernel()
        beta, c = fields["beta"][:, 0], _decay(fields, 1)
        k = fields["k"][1]
        if not is_zero(M[0, 0] - N[0, 0]):
            return False
        for i in range(n):
            for j in range(n):
                part = sympy.diff(M[1, 0] - N[1, 0], fields["q"][1, i], fields["k"][0, j])
                same = c * (1 - beta[1] * k[i] ** 2) - sympy.exp(gate[1, i])
                want = beta[0] * (same if i == j else -c * beta[1] * k[i] * k[j])
                if not is_zero(part - want):
                    return False
    return True


def _delta_sufficient(a: Family, b: Family) -> bool:
    """For each one-hot key, one step from a free state is the same."""
    for n in (1, 2, 3):
        S = array("S", (n, 1), real=True)
        for j in range(n):
            for sign in (1, -1):
                key = [sympy.Integer(sign * (i == j)) for i in range(n)]
                tok, fields = _delta_symbols(b, n, key)
                now = tok.map(lambda x: x[1:])
                c, beta = _decay(fields, 1), now.beta[0, 0]
                gate = np.array([[sympy.log(c * (1 - beta * e**2)) for e in key]])
                image = Tokens(q=now.q, k=now.beta * now.k, v=now.v, log_a=gate)
                y, new = step(b.without_parameters(), now, State(S))
                Y, New = step(a.without_parameters(), image, State(S))
                if first_nonzero([*(Y - y).flat, *(New - new).flat]) is not None:
                    return False
    return True


PROOFS: dict[str, tuple[Callable[..., bool], Callable[..., bool]]] = {
    "coupled-step-size": (_ssd_necessary, _ssd_sufficient),
    "one-hot-keys": (_delta_necessary, _delta_sufficient),
}
