"""Signs of the entries of a diagonal transition, over all tokens in their domains."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy

from dsf.core.algebra.parts import real_part
from dsf.core.algebra.signs import Domains
from dsf.core.algebra.symbols import Symbols
from dsf.core.family import Family
from dsf.core.state import State


def positive(f: Family, n: int, p: int) -> bool:
    """Whether all entries are shown to be real and positive."""
    found, signs = entries(f, n, p)
    return all(signs.real(a) and signs.sign(a) > 0 for a in found)


def below_one(f: Family, n: int, p: int) -> bool:
    """Whether all entries are shown to be below 1, complex ones in modulus."""
    found, signs = entries(f, n, p)
    sizes = [a if signs.real(a) else real_part(a * sympy.conjugate(a)) for a in found]
    return all(signs.sign(1 - x) > 0 for x in sizes)


def entries(f: Family, n: int, p: int) -> tuple[list[Any], Domains]:
    """The entries of the diagonal of A as expressions in free symbols, and the signs of these.

    They are what a step makes of a state of ones, less what it makes of zeros.
    """
    symbols = Symbols(f, n, p)
    mech, S = f.without_parameters(), symbols.state(zero=True)
    tail = symbols.tokens("s", 1) if mech.lookback else None
    one, zero = (mech.advance(symbols.tokens("t"), State(S + k, tail, 1))[1].S for k in (1, 0))
    found = {sympy.expand(e) for e in np.ravel(one - zero)}
    return sorted(found, key=str), Domains(symbols.bounded)
