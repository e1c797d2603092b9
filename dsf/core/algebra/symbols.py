"""Free symbols for tokens and states, with the assumptions that a token spec makes."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core.family import Family
from dsf.core.fields import Field
from dsf.core.state import State
from dsf.core.tokens import Tokens


class Symbols:
    """Free symbols for the tokens and the state of a family, with the assumptions of its spec."""

    def __init__(self, family: Family, n: int, p: int) -> None:
        self.family, self.sizes = (
            family,
            {"n": n, "p": p, "d": p, "s": family.without_parameters().substeps},
        )
        self.unit: list[tuple[Any, ...]] = []
        self.bounded: dict[Any, int] = {}  # symbol -> b, for symbols in (0, b)

    def tokens(self, time: str) -> Tokens:
        """Tokens of step t, or of the step s before it; constants are the same in both."""
        import sympy

        made = {}
        for name, field in self.family.spec.items():
            if name == "pos":
                now = sympy.Symbol("pos", real=True)
                made[name] = np.array([[now if time == "t" else now - 1]], dtype=object)
            else:
                mark = time if field.per_token else ""
                made[name] = self._array(f"{name}{mark}", field, field.shape(self.sizes))
        return Tokens(**made)

    def _array(self, name: str, field: Field, shape: tuple[int, ...]) -> np.ndarray:
        import sympy

        kind = field.domain.assumptions
        out = np.empty(shape, dtype=object)
        for i in np.ndindex(*shape):
            out[i] = sympy.Symbol(name + "_" + "".join(map(str, i)), **kind)
            if field.domain.bounded:
                self.bounded[out[i]] = int(field.domain.high or 0)
        if field.domain.unit:
            rows = [tuple(v) for v in out.reshape(-1, shape[-1])]
            self.unit += [v for v in rows if v not in self.unit]
        return out

    def state(self, zero: bool = False) -> np.ndarray:
        """A free state of the shape and kind (real or complex) that the special mechanism has."""
        import sympy

        draw = self.family.draw_tokens(np.random.default_rng(0), **self.sizes)
        like = self.family.without_parameters().advance(draw, State())[1].S
        out = np.empty(like.shape, dtype=object)
        for i in np.ndindex(*like.shape):
            name = "S_" + "".join(map(str, i))
            out[i] = sympy.Symbol(name, real=True)
            if like.dtype.kind == "c":
                out[i] = out[i] + sympy.I * sympy.Symbol(name + "i", real=True)
        return out * 0 if zero else out

    def near(self, name: str, end: int, side: str) -> Any:
        """A symbol for a parameter that goes to 0 from either side, or to 1 from below."""
        import sympy

        sign = {"negative": True} if (end, side) == (0, "-") else {"positive": True}
        x = sympy.Symbol(name, **sign)
        if x.is_positive:  # only values near the end matter
            self.bounded[x] = 1
        return x
