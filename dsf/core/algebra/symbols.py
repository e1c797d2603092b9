"""Free symbols for tokens and states, with the assumptions that a token spec makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy

from dsf.core.family import Family
from dsf.core.fields import Field
from dsf.core.state import State
from dsf.core.tokens import Tokens


def array(name: str, shape: Sequence[int], **assumed: bool) -> np.ndarray:
    """An array of symbols name_i_j with these assumptions."""
    entries = [sympy.Symbol("_".join([name, *map(str, i)]), **assumed) for i in np.ndindex(*shape)]
    return np.array(entries, dtype=object).reshape(shape)


class Symbols:
    """Free symbols for the tokens and the state of a family, with the assumptions of its spec."""

    def __init__(self, family: Family, n: int, p: int) -> None:
        self.family = family
        self.sizes = {"n": n, "p": p, "d": p, "s": family.without_parameters().substeps}
        self.unit: list[tuple[Any, ...]] = []
        self.bounded: dict[Any, int] = {}  # symbol -> b, for symbols in (0, b)

    def tokens(self, time: str, ago: int = 0) -> Tokens:
        """Tokens of step t, `ago` steps before now; constants are the same in all."""
        made = {}
        for name, field in self.family.spec.items():
            if name == "pos":
                now = sympy.Symbol("pos", real=True)
                made[name] = np.array([[now - ago]], dtype=object)
            else:
                mark = time if field.per_token else ""
                made[name] = self._array(f"{name}{mark}", field, field.shape(self.sizes))
        return Tokens(**made)

    def earlier(self, rows: int) -> Tokens:
        """The tokens of that many steps before t, the last of them s."""
        found = self.tokens("s", 1)
        for ago in range(2, rows + 1):
            found = found.after(self.tokens(f"s{ago}", ago), self.family.spec)
        return found

    def _array(self, name: str, field: Field, shape: tuple[int, ...]) -> np.ndarray:
        out = array(name, shape, **field.domain.assumptions)
        if field.domain.bounded:
            self.bounded |= dict.fromkeys(out.flat, int(field.domain.high or 0))
        if field.domain.unit:
            rows = [tuple(v) for v in out.reshape(-1, shape[-1])]
            self.unit += [v for v in rows if v not in self.unit]
        return out

    def state(self, zero: bool = False) -> np.ndarray:
        """A free state of the shape and kind (real or complex) of the mechanism; [0] if none."""
        draw = self.family.draw_tokens(np.random.default_rng(0), **self.sizes)
        like = self.family.without_parameters().advance(draw, State())[1].S
        like = np.zeros(0) if like is None else like
        out = array("S", like.shape, real=True)
        if like.dtype.kind == "c":
            out = out + sympy.I * array("Si", like.shape, real=True)
        return out * 0 if zero else out

    def near(self, name: str, end: int, side: str) -> Any:
        """A symbol for a parameter that goes to 0 from either side, or to 1 from below."""
        sign = {"negative": True} if (end, side) == (0, "-") else {"positive": True}
        x = sympy.Symbol(name, **sign)
        if x.is_positive:  # only values near the end matter
            self.bounded[x] = 1
        return x
