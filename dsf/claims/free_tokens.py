"""Free tokens and states as residues: what the checks of "for all tokens" run equations on."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, log2
from typing import Any

import numpy as np

from dsf.core.family import Family
from dsf.core.fields import Domain, Field
from dsf.core.state import State
from dsf.core.tokens import Tokens
from dsf.core.worlds import RESIDUES
from dsf.core.worlds.modular import RISK, number
from dsf.core.worlds.modular import Field as PrimeField

PROBABILITY = f"wrong with a probability below 2^{ceil(log2(RISK))}"


def array(F: PrimeField, name: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Free real numbers."""
    out = np.empty(shape, dtype=object)
    for index in np.ndindex(*shape):
        out[index] = F.free((name, index))
    return out


def field(F: PrimeField, name: Any, shape: tuple[int, ...], domain: Domain) -> np.ndarray:
    """A free token field; unit rows by stereographic projection, of one number by its sign."""
    out = array(F, name, shape)
    if domain.unit:
        for index in np.ndindex(*shape[:-1]):
            t = out[index][1:]
            square = sum((e * e for e in t), number(0, F))
            first = (1 - square) / (1 + square) if len(t) else F.choice((name, index))
            out[index] = [_sign(F, first), *(2 * e / (1 + square) for e in t)]
    return out


def _sign(F: PrimeField, x: Any) -> Any:
    return number(1 if x else -1, F) if isinstance(x, bool) else x


def sizes_of(family: Family, n: int, p: int) -> dict[str, int]:
    """The sizes of the axes of token fields."""
    return {"n": n, "p": p, "d": p, "s": family.without_parameters().substeps}


def tokens(
    F: PrimeField, spec: Mapping[str, Field], sizes: Mapping[str, int], mark: str, position: Any
) -> Tokens:
    """Free tokens of one step; constants are the same for every mark."""
    made = {}
    for name, f in spec.items():
        if name == "pos":
            made[name] = np.array([[position]], dtype=object)
        else:
            key = (name, mark if f.per_token else "")
            made[name] = field(F, key, f.shape(sizes), f.domain)
    return Tokens(**made)


def state(F: PrimeField, family: Family, sizes: Mapping[str, int], mark: str = "") -> np.ndarray:
    """A free state of the shape and kind (real or complex) that the mechanism has; [0] if none."""
    draw = family.draw_tokens(np.random.default_rng(0), **sizes)
    like = family.without_parameters().advance(draw, State())[1].S
    like = np.zeros(0) if like is None else like
    S = array(F, ("S", mark), like.shape)
    return (
        RESIDUES.as_complex(S, array(F, ("Si", mark), like.shape)) if like.dtype.kind == "c" else S
    )


def flat(o: np.ndarray) -> np.ndarray:
    """[L r p] or [H L r p] with the axes after time joined, heads first."""
    o = o if o.ndim == 3 else np.moveaxis(o, 0, 1)
    return o.reshape(o.shape[0], -1)
