"""The grid of token maps that `search_nestings.py` tries, and the layout of their products.

Every field of the general family is

    c * (a product of at most `factors` powers of atoms),   c in {1, -1, 2, 1/2}, or 0

Atoms are quantities of the special family's token: its fields except the values, and

    gates     of every field log f < 0, and of e^{dt a}:   f, 1 - f, log(1 - f), sqrt(1 - f^2)
              of every field g in (0, 1):                  1 - g, log g, log(1 - g)
              of every number x > 0 per token:             e^{-x}, 1 - e^{-x}
              of beta in (0, 2):                           1 - beta
    vectors   the first unit vector e1, and of a real k:   k/|k|, |k|

with powers in {-1, 1, 2}, or {1, 2} where an atom may vanish; the power 0 is an atom left out.
Products are taken entry by entry in the layout [P L N]: values are channels P, each a head of its
own in the general family; rows of the state are N, as many in both families; a constant has L = 1.
A product stands in a field if its axes fit there and its numbers lie in the field's domain.  Values
are mapped to c * (a product of scalar atoms) * values, the same for all substeps of a token.  A
family whose state is one number is searched at n = 1; in a state of pairs a zero follows it.
LRU and GRU, which have no heads, are taken with one channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, product
from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.family import Family
from dsf.core.fields import GATE, NEGATIVE, POSITIVE, REAL, Domain, Field
from dsf.core.state import State
from dsf.core.tokens import Tokens

Arrays = dict[str, Any]
CONSTANTS = (Fraction(1), Fraction(-1), Fraction(2), Fraction(1, 2))
MOST = 3  # factors of a product, at most
DRAWS, STEPS, WIDE = 3, 3, 24


# ------------------------------------------------------------------ the layout [P L N]
def value(family: Family) -> str:
    """The field in which the outputs are linear; "" if there is none."""
    return next((name for name in ("v", "u") if name in family.spec), "")


def rows(family: Family) -> bool:
    """Whether the number of rows of the state is free."""
    return any(a in ("n", "n/2") for f in family.spec.values() for a in f.axes)


def pairs(family: Family) -> bool:
    return any("n/2" in f.axes for f in family.spec.values())


def heads(family: Family) -> bool:
    """Whether the channels P can be heads or channels: not in LRU and GRU, which are taken at 1."""
    return family.without_parameters().has_heads or any(
        len(f.axes) == 3 for f in family.spec.values()
    )


def fields(family: Family) -> dict[str, tuple[str, int, Field]]:
    """Name of the field, substep and declaration, one for each substep: "k" or "k0", "k1"."""
    s = family.without_parameters().substeps
    found: dict[str, tuple[str, int, Field]] = {}
    for name, f in family.spec.items():
        if f.axes[-2] == "sL":
            found |= {f"{name}{j}": (name, j, f) for j in range(s)}
        elif name != "pos":
            found[name] = (name, 0, f)
    return found


def spread(family: Family, tok: Tokens) -> Arrays:
    """The fields [... P L N] of tokens in the layout of their own family."""
    s, out = family.without_parameters().substeps, {}
    for key, (name, j, f) in fields(family).items():
        x = getattr(tok, name)
        if f.axes[-2] == "sL":
            x = x[..., j::s, :]
        if len(f.axes) == 2:
            a, b = f.axes
            if a == "n":
                x = np.swapaxes(x, -1, -2)[..., None, :, :]
            elif b in ("p", "d") and a not in ("p", "d"):
                x = np.swapaxes(x, -1, -2)[..., None]
            else:
                x = x[..., None, :, :]
        out[key] = x
    return out


def gathered(family: Family, made: Arrays, n: int, L: int, alone: bool = False) -> Tokens:
    """Tokens of a family from fields [... P L N], with as many channels as heads.

    `alone`: the one row of the special family is followed by a row of zeros, to make a pair.
    """
    out: Arrays = {}
    parts: dict[str, list[Any]] = {}
    for key, (name, _, f) in fields(family).items():
        x = made[key]
        letter = next((a for a in f.axes if a in ("n", "n/2")), "")
        N = {"n": n, "n/2": n // 2}.get(letter, 1)
        if f.axes[-1] == "n" and alone:
            x = np.concatenate([x, x * 0], -1)
        T = L if f.per_token else 1
        x = np.broadcast_to(x, (*x.shape[:-2], T, N))
        if len(f.axes) == 2 and not heads(family):
            x = x[..., 0, :, :]
            x = np.swapaxes(x, -1, -2) if f.axes[0] == "n" else x
        parts.setdefault(name, []).append(x)
    for name, xs in parts.items():
        out[name] = xs[0] if len(xs) == 1 else _interleaved(xs)
    return Tokens(**out)


def _interleaved(xs: list[Any]) -> Any:
    x = np.stack(np.broadcast_arrays(*xs), -2)
    return x.reshape(*x.shape[:-3], x.shape[-3] * len(xs), x.shape[-1])


def outputs(family: Family, tok: Tokens, apart: bool = False) -> Any:
    """The outputs [... P L] of tokens of a family; `apart`: their channels are heads."""
    with np.errstate(all="ignore"):
        o = family.without_parameters().advance(tok, State())[0]  # [... L r p]
    o = o[..., 0, :]
    apart = (apart and heads(family)) or len(next(iter(family.spec.values())).axes) == 3
    return o[..., 0] if apart else np.swapaxes(o, -1, -2)


# ------------------------------------------------------------------ atoms and products
@dataclass(frozen=True)
class Atom:
    """A quantity of a token: its name, the array from the fields, and what is known of it."""

    name: str
    of: Callable[[Mapping[str, Any]], Any]
    constant: bool
    vector: bool
    vanishes: bool

    @property
    def powers(self) -> tuple[int, ...]:
        return (1, 2) if self.vanishes else (-1, 1, 2)


def _field(key: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda f: f[key]


def _gate(name: str, log: Any, gate: Any, root: bool, **known: Any) -> Iterator[Atom]:
    """log f, f, 1 - f, log(1 - f) and sqrt(1 - f^2) of one gate."""
    yield Atom(f"log {name}", log, vanishes=False, **known)
    yield Atom(name, gate, vanishes=False, **known)
    yield Atom(f"(1 - {name})", lambda f: 1 - gate(f), vanishes=False, **known)
    yield Atom(f"log(1 - {name})", lambda f: ops.log(1 - gate(f)), vanishes=False, **known)
    if root:
        yield Atom(
            f"sqrt(1 - {name}^2)", lambda f: ops.sqrt(1 - gate(f) * gate(f)), vanishes=False,
            **known,
        )  # fmt: skip


def atoms(family: Family, n: int) -> tuple[Atom, ...]:
    """The atoms of a family with n rows; a single row is a number."""
    out: list[Atom] = []
    known: dict[str, Any]
    for key, (name, _, f) in fields(family).items():
        if name == value(family):
            continue
        x = _field(key)
        vector = n > 1 and ("n" in f.axes or "n/2" in f.axes)
        known = {"constant": not f.per_token, "vector": vector}
        if f.domain == GATE:
            out += _gate(key, lambda f, x=x: ops.log(x(f)), x, False, **known)
        elif f.domain == NEGATIVE and key.startswith("log_"):
            out += _gate(key[4:], x, lambda f, x=x: ops.exp(x(f)), True, **known)
        else:
            zero = f.domain == REAL or f.domain.unit
            out.append(Atom(key, x, vanishes=zero, **known))
            if f.domain == Domain(0, 2):
                out.append(Atom(f"(1 - {key})", lambda f, x=x: 1 - x(f), vanishes=True, **known))
            if f.domain == POSITIVE and (not vector or not f.per_token):
                fall = lambda f, x=x: ops.exp(-x(f))  # noqa: E731
                out += list(_gate(f"e^-{key}", None, fall, False, **known))[1:3]
        if f.domain == REAL and key in ("k", "k0") and vector:
            size = lambda f, x=x: ops.l2norm(x(f))  # noqa: E731
            out.append(Atom("|k|", size, constant=False, vector=False, vanishes=False))
            unit = lambda f, x=x: x(f) / ops.l2norm(x(f))  # noqa: E731
            out.append(Atom("k/|k|", unit, constant=False, vector=True, vanishes=True))
    if {"dt", "a"} <= set(family.spec):
        dt, a = family.spec["dt"], family.spec["a"]
        known = {"constant": not dt.per_token, "vector": n > 1 and "n" in a.axes}
        fall = lambda f: ops.exp(f["dt"] * f["a"])  # noqa: E731
        out += list(_gate("e^{dt a}", None, fall, True, **known))[1:]
    if rows(family) and n > 1:
        out.append(Atom("e1", _first, constant=True, vector=True, vanishes=True))
    return tuple(out)


def _first(f: Mapping[str, Any]) -> Any:
    n = max(x.shape[-1] for x in f.values())
    like = next(iter(f.values()))[..., :1, :1, :1]
    one = ops.ones_like(like)
    return np.concatenate([one, *[0 * one] * (n - 1)], -1)


@dataclass(frozen=True)
class Product:
    """c times a product of powers of atoms."""

    c: Fraction
    powers: tuple[tuple[Atom, int], ...]

    def __str__(self) -> str:
        return self.told()

    def told(self, times: str = "") -> str:
        """In words, times the values."""
        names = [a.name if e == 1 else f"{a.name}^{e}" for a, e in self.powers]
        names += [times] if times else []
        if not names or not self.c:
            return str(self.c)
        sign = {Fraction(1): "", Fraction(-1): "-"}.get(self.c, f"{self.c} ")
        return sign + " ".join(names)

    @property
    def size(self) -> tuple[int, int]:
        """What is simpler comes first."""
        return len(self.powers), int(self.c != 1) + sum(e != 1 for _, e in self.powers)

    def of(self, f: Mapping[str, Any]) -> Any:
        """The array [... P L N] (axes of size 1 where it does not depend)."""
        like = next(iter(f.values()))[..., :1, :1, :1]
        x = ops.ones_like(like) * self.c.numerator
        for a, e in self.powers:
            y = a.of(f)
            x = x / y if e < 0 else x * y if e == 1 else x * y * y
        return x / self.c.denominator if self.c.denominator != 1 else x

    @property
    def constant(self) -> bool:
        return all(a.constant for a, _ in self.powers)

    @property
    def vector(self) -> bool:
        return any(a.vector for a, _ in self.powers)

    @property
    def of_rows(self) -> bool:
        """Whether it is a product of vectors alone: what stays where scales go elsewhere."""
        return abs(self.c) == 1 and all(a.vector for a, _ in self.powers)


ZERO = Product(Fraction(0), ())


class Grid:
    """All products of a special family with their values at random tokens, with n rows.

    values [M draws STEPS n]: at sequences; wide [M WIDE 1 n]: at tokens toward the ends of domains
    """

    def __init__(self, family: Family, n: int, uniform: bool = False, seed: int = 0) -> None:
        """`uniform`: one row, whose products are those of several rows."""
        self.family, self.n = family, n
        rng = np.random.default_rng(seed)
        self.tokens = drawn(family, rng, DRAWS, STEPS, n, 1)
        far = drawn(family, rng, WIDE, 1, n, 1, wide=True)
        self.products, chosen = products(family, 2 if uniform else n)
        self.values = self._evaluated(chosen, self.tokens, DRAWS, STEPS)
        self.wide = self._evaluated(chosen, far, WIDE, 1)
        self.factors = np.array([len(p.powers) for p in self.products])
        self.constant = np.array([p.constant for p in self.products])
        self.vector = np.array([p.vector for p in self.products])
        self.of_rows = np.array([p.of_rows for p in self.products])
        self.plain = np.array([p.size[1] for p in self.products])
        self.usable = np.isfinite(self.values).all((1, 2, 3))

    def _evaluated(self, chosen: Chosen, tok: Tokens, draws: int, L: int) -> np.ndarray:
        f = spread(self.family, tok)
        f = {k: np.broadcast_to(x, (*x.shape[:-2], L, x.shape[-1])) for k, x in f.items()}
        out = np.zeros((len(self.products), draws, L, self.n))
        with np.errstate(all="ignore"):
            at = [np.broadcast_to(a.of(f), (draws, 1, L, self.n))[:, 0] for a in chosen.atoms]
            powers = {(i, e): at[i] ** e for i, a in enumerate(chosen.atoms) for e in a.powers}
            row = 1  # 0 is the product 0
            for which in chosen.which:
                x = np.ones((draws, L, self.n))
                for key in which:
                    x = x * powers[key]
                for c in CONSTANTS:
                    out[row] = float(c) * x
                    row += 1
        return out

    def fitting(self, f: Field, factors: int, of_rows: bool = False) -> np.ndarray:
        """The products with at most so many factors that may stand in a field, simplest first.

        Atoms alone count as no factor, like constants.
        """
        good = self.usable & ((self.factors <= factors) | ((self.factors == 1) & (self.plain == 0)))
        if not f.per_token:
            good &= self.constant
        if "n" not in f.axes:
            good &= ~self.vector
        if of_rows:
            good &= self.of_rows
        if f.domain.unit:
            sizes = np.linalg.norm(self.wide, axis=-1)
            good &= np.abs(sizes - 1).max((1, 2)) < 1e-9
        elif f.domain != REAL:
            low = -np.inf if f.domain.low is None else f.domain.low
            high = np.inf if f.domain.high is None else f.domain.high
            for x in (self.values, self.wide):
                good &= ((x > low) & (x < high)).all((1, 2, 3))
        found = np.flatnonzero(good)
        return found[np.lexsort((self.plain[found], self.factors[found]))]


@dataclass(frozen=True)
class Chosen:
    atoms: tuple[Atom, ...]
    which: list[tuple[tuple[int, int], ...]]


def products(family: Family, n: int) -> tuple[list[Product], Chosen]:
    """0 and all products of the grid, and which powers of which atoms they are (but for c)."""
    known = atoms(family, n)
    which = [
        tuple(zip(chosen, powers, strict=True))
        for k in range(MOST + 1)
        for chosen in combinations(range(len(known)), k)
        for powers in product(*(known[i].powers for i in chosen))
    ]
    made = [Product(c, tuple((known[i], e) for i, e in w)) for w in which for c in CONSTANTS]
    return [ZERO, *made], Chosen(known, which)


def drawn(
    family: Family, rng: np.random.Generator, draws: int, L: int, n: int, p: int, wide: bool = False
) -> Tokens:
    """Random tokens with an axis of draws in front."""
    sizes = {"n": n, "p": p, "d": p, "s": family.without_parameters().substeps}
    draw = Domain.wide if wide else Domain.sample
    return Tokens(
        **{
            k: draw(f.domain, rng, (draws, *f.shape(sizes, L)))
            for k, f in family.spec.items()
            if k != "pos"
        }
    )
