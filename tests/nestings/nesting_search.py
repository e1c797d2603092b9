"""The numeric filter: which maps of the grid give the outputs of the special family.

1  A constant token whose first value alone is not 0: the outputs at steps 2, 3, ... over that at
   step 1.  They do not depend on the scale of the values, and often on few fields; the products of
   the candidates of those fields are tried.
2  What is left with the candidates of all other fields but the values: the first output gives the
   scale that the values need, which is looked up among the products.
3  What is left on sequences of random tokens, at other sizes, toward the ends of the domains.

A field whose scale another field can undo is given vectors alone (what is undone is tried once).
Where the candidates are too many, the number of factors is lowered, and reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import product
from typing import Any

import numpy as np
from nesting_grid import (
    DRAWS,
    MOST,
    STEPS,
    Arrays,
    Grid,
    Product,
    drawn,
    fields,
    gathered,
    heads,
    outputs,
    pairs,
    rows,
    spread,
    value,
)

from dsf.core.errors import DSFError
from dsf.core.family import Family
from dsf.core.tokens import Tokens

LONG = 6  # steps of the constant token
CHUNK = 20_000
BUDGET = 200_000  # candidates in one stage
NEAR = 1e-7  # relative difference in a stage
SAME = 1e-9  # in the last one
LOOKED, PASSED = 500, 20  # maps of a pair that come to the last stage, and that pass it

Index = dict[str, np.ndarray]  # field -> indices of products, one for each candidate


@lru_cache(4)
def grid(special: Family, n: int, uniform: bool) -> Grid:
    return Grid(special, n, uniform)


@dataclass(frozen=True)
class Map:
    """A token map of the grid: a product for every field of the general family."""

    special: Family
    general: Family
    made: dict[str, Product]

    def __str__(self) -> str:
        values = scaled(self.general) if value(self.special) else []
        told = {k: p.told(value(self.special) if k in values else "") for k, p in self.made.items()}
        return ", ".join(f"{k} <- {t}" for k, t in told.items())

    @property
    def size(self) -> list[tuple[int, int]]:
        """What is simpler comes first."""
        return sorted((p.size for p in self.made.values()), reverse=True)

    def __call__(self, tok: Tokens) -> Tokens | None:
        """The image of tokens in the layout of the special family; None where axes do not fit."""
        f = spread(self.special, tok)
        v = f.get(value(self.special), f.get(value(self.special) + "0"))
        n = max(x.shape[-1] for x in f.values())
        L = max(x.shape[-2] for x in f.values())
        alone = n == 1 and pairs(self.general)
        made = {k: p.of(f) for k, p in self.made.items()}
        if v is not None:
            made |= {k: made[k] * v for k in scaled(self.general)}
        P = max(x.shape[-3] for x in f.values())
        for k, x in made.items():
            axes = fields(self.general)[k][2].axes
            if axes[0] == "1" and len(axes) == 3:
                if x.shape[-3] > 1:
                    return None
            else:
                made[k] = np.broadcast_to(x, (*x.shape[:-3], P, *x.shape[-2:]))
        return gathered(self.general, made, 2 if alone else n, L, alone)


def scaled(general: Family) -> list[str]:
    """The fields that hold values, one for each substep."""
    return [key for key, (name, _, _) in fields(general).items() if name == value(general)]


@dataclass
class Found:
    """What the search of one pair gave: maps that pass every stage, and how far the grid went."""

    special: Family
    general: Family
    maps: list[Map] = field(default_factory=list)
    tried: int = 0
    factors: dict[str, int] = field(default_factory=dict)
    left: tuple[int, int] = (0, 0)
    cut: bool = False


class Pair:
    """One search: special in general."""

    def __init__(self, special: Family, general: Family, budget: int = BUDGET) -> None:
        self.special, self.general, self.budget = special, general, budget
        self.single = not rows(special) or not rows(general)  # one row, on one side at least
        self.alone = self.single and pairs(general)
        n = 2 if pairs(special) or not self.single else 1
        self.grid = grid(special, n, False)
        self.fields = fields(general)
        self.values = scaled(general)
        self.free = [k for k in self.fields if k not in self.values]
        self.found = Found(special, general)

    # ---------------------------------------------------------------- running the general family
    def run(self, on: Grid, index: Index, long: int = 0, scale: Any = None) -> np.ndarray:
        """Outputs [C draws L] of candidates.

        long   the first token repeated so often, with the value 1 at the first step alone;
               0: the whole sequences, with the values of special times the products `scale`
        """
        L = long or STEPS
        made: Arrays = {}
        for key in self.free:
            f = self.fields[key][2]
            if key not in index:  # does not matter here: any number of its domain
                made[key] = f.domain.sample(np.random.default_rng(2), (1, 1, 1, 1, 1))
                continue
            x = on.values[index[key]][:, :, None]  # [C draws P L n]
            x = x if "n" in f.axes else x[..., :1]
            made[key] = x[..., :1, :] if long or not f.per_token else x
        if long:
            v = np.zeros((1, 1, 1, L, 1))
            v[..., 0, :] = 1
        else:
            v = on.values[scale][:, :, None, :, :1] * self._value(on)
        made |= dict.fromkeys(self.values, v)
        C = max(x.shape[0] for x in made.values())
        made = {k: np.broadcast_to(x, (C, DRAWS, *x.shape[2:])) for k, x in made.items()}
        n = 2 if self.alone else on.n
        return self._outputs(made, n, L, C)

    def _outputs(self, made: Arrays, n: int, L: int, C: int) -> np.ndarray:
        """Outputs of C candidates; nan for those that the family refuses (no finite output)."""
        try:
            y = outputs(self.general, gathered(self.general, made, n, L, self.alone))
        except DSFError:
            if C == 1:
                return np.full((1, DRAWS, L), np.nan)
            parts = (slice(None, C // 2), C // 2), (slice(C // 2, None), C - C // 2)
            return np.concatenate(
                [self._outputs({k: x[at] for k, x in made.items()}, n, L, c) for at, c in parts]
            )
        return np.asarray(y.reshape(C, DRAWS, L))

    def _value(self, on: Grid) -> Any:
        """The values [draws P L 1] of the special family; 1 if it has none."""
        f, v = spread(self.special, on.tokens), value(self.special)
        return f[v if v in f else v + "0"] if v else 1.0

    def response(self, on: Grid, long: int) -> np.ndarray:
        """Outputs [draws long] of the special family on its first token repeated."""
        s = self.special.without_parameters().substeps
        return impulse(self.special, on.tokens.part(0, 1, self.special.spec, s), long)

    # ---------------------------------------------------------------- the stages
    def search(self) -> Found:
        out = self.found
        if pairs(self.special) and not rows(self.general):  # two rows at least, in one
            return out
        one = on = self.grid
        if not self.single and not pairs(self.general) and not pairs(self.special):
            one = grid(self.special, 1, True)
        tied = undone(self.general)
        want = self.response(one, LONG) if value(self.special) else np.zeros((DRAWS, LONG))
        direct = not self.values or np.abs(want[:, 1]).min() < 1e-12
        first = [] if direct else matter(self.general, 2 if self.alone else one.n)
        kept: tuple[Index, int] | None = ({}, 1)
        if first:
            kept = self._first(one, first, tied, shape_of(want))
        if kept is None:
            return out
        rest = [k for k in self.free if k not in first]
        maps = self._second(on, *kept, rest, tied)
        out.left = out.left[0], len(maps)
        for m in maps:
            if len(out.maps) < PASSED and self.last(m):
                out.maps.append(m)
        return out

    def candidates(self, on: Grid, keys: list[str], tied: list[str], most: int) -> list[Any]:
        """Candidates of every field, with as many factors as the budget allows."""
        level = dict.fromkeys(keys, 0)
        found = {k: self._fitting(on, k, 0, tied) for k in keys}
        for factors in range(1, MOST + 1):
            more = {k: self._fitting(on, k, factors, tied) for k in keys}
            for k in sorted(keys, key=lambda k: len(more[k])):  # short lists first
                others = [float(len(x)) for other, x in found.items() if other != k]
                if level[k] == factors - 1 and len(more[k]) * float(np.prod(others)) <= most:
                    level[k], found[k] = factors, more[k]
        self.found.factors |= level
        return list(found.values())

    def _fitting(self, on: Grid, key: str, factors: int, tied: list[str]) -> np.ndarray:
        found = on.fitting(self.fields[key][2], factors, key in tied)
        if self.general.defaults().get("normalise"):  # a sum of weights must not be 0
            found = found[found != 0]
        return found

    def _first(
        self, on: Grid, keys: list[str], tied: list[str], want: np.ndarray
    ) -> tuple[Index, int] | None:
        """Assignments {field: indices} that give the response of the special family."""
        found = self.candidates(on, keys, tied, self.budget)
        good, near = [], NEAR * max(1.0, float(np.abs(want).max()))
        for index in _chunks(found):
            y = self.run(on, dict(zip(keys, index, strict=True)), LONG)
            self.found.tried += len(index[0])
            ok = np.abs(shape_of(y) - want).max((1, 2)) < near
            good.append(np.stack([i[ok] for i in index]))
        kept = np.concatenate(good, 1) if good else np.zeros((len(keys), 0), int)
        number = kept.shape[1]
        self.found.left = number, 0
        return (dict(zip(keys, kept, strict=True)), number) if number else None

    def _second(
        self, on: Grid, before: Index, number: int, keys: list[str], tied: list[str]
    ) -> list[Map]:
        """Maps whose outputs agree on sequences of random tokens."""
        found = self.candidates(on, keys, tied, max(1, self.budget // number))
        want = outputs(self.special, on.tokens).reshape(DRAWS, STEPS)
        near = NEAR * np.abs(want).max()
        first = self._value(on)[:, 0, 0, 0] if value(self.special) else np.ones(DRAWS)
        table = Table(on)
        maps: list[Map] = []
        for at in _chunks([np.arange(number), *found]):
            index = {k: x[at[0]] for k, x in before.items()}
            index |= dict(zip(keys, at[1:], strict=True))
            self.found.tried += len(at[0])
            scale = np.zeros(len(at[0]), int)
            if self.values:
                y = self.run(on, index, 1)[..., 0]
                with np.errstate(all="ignore"):
                    ratio = want[:, 0] / y / first
                hits = list(table.find(ratio))
                if not hits:
                    continue
                c, scale = (np.array(x) for x in zip(*hits, strict=True))
                index = {k: x[c] for k, x in index.items()}
            y = self.run(on, index, 0, scale)
            ok = np.flatnonzero(np.abs(y - want).max((1, 2)) < near)
            maps += [self._map(on, index, scale, i) for i in ok]
            if len(maps) > LOOKED:
                self.found.cut = True
                break
        return sorted(maps, key=lambda m: m.size)

    def _map(self, on: Grid, index: Index, scale: np.ndarray, c: int) -> Map:
        made = {k: on.products[x[c]] for k, x in index.items()}
        made |= dict.fromkeys(self.values, on.products[scale[c]])
        return Map(self.special, self.general, {k: made[k] for k in self.fields})

    def last(self, m: Map) -> bool:
        """Whether a map passes on random sequences, at other sizes and near the ends."""
        rng = np.random.default_rng(5)
        n = 1 if self.single else 4
        ps = (1, 2) if heads(self.special) and heads(self.general) else (1,)
        for p, wide in product(ps, (False, True)):
            tok = drawn(self.special, rng, DRAWS, 5, n, p, wide)
            with np.errstate(all="ignore"):
                image = m(tok)
                if image is None or not all(
                    f.domain.inside(getattr(image, name))
                    for name, f in self.general.spec.items()
                    if name != "pos"
                ):
                    return False
                try:
                    y, Y = outputs(self.special, tok), outputs(self.general, image, apart=True)
                except DSFError:  # not a finite output
                    return False
                if Y.shape != y.shape or not np.abs(Y - y).max() <= SAME * np.abs(y).max():
                    return False
        return True


def _each(family: Family, tok: Tokens) -> np.ndarray:
    """Outputs of every draw; nan for one that the family refuses."""
    try:
        return np.asarray(outputs(family, tok))
    except DSFError:
        found: list[Any] = [np.nan] * DRAWS
        for i in range(DRAWS):
            with suppress(DSFError):
                found[i] = outputs(family, tok.map(lambda x, i=i: x[i : i + 1]))[0]
        return np.stack(np.broadcast_arrays(*found))


def impulse(family: Family, tok: Tokens, long: int) -> np.ndarray:
    """Outputs [draws long] on one token repeated, whose value is 1 at the first step alone."""
    spec, s = family.spec, family.without_parameters().substeps
    tok = Tokens(
        **{k: np.concatenate([x] * long, -2) if spec[k].per_token else x for k, x in tok.items()}
    )
    if v := value(family):
        x = np.ones_like(getattr(tok, v))
        x[..., s if spec[v].axes[-2] == "sL" else 1 :, :] = 0
        tok = tok.replace(**{v: x})
    return _each(family, tok).reshape(DRAWS, long)


@cache
def matter(general: Family, n: int) -> list[str]:
    """The fields on which the shape of the response to a constant token depends."""
    rng = np.random.default_rng(1)
    free = [k for k in fields(general) if k not in scaled(general)]
    found = set()
    for wide in [False, True] * 8:
        still = drawn(general, rng, DRAWS, 1, n, 1, wide)
        other = drawn(general, rng, DRAWS, 1, n, 1, wide)
        base = shape_of(impulse(general, still, LONG))
        for key in free:
            name = fields(general)[key][0]
            moved = still.replace(**{name: getattr(other, name)})
            if not close(shape_of(impulse(general, moved, LONG)), base):
                found.add(key)
    return [key for key in free if key in found]


@cache
def undone(general: Family) -> list[str]:
    """The fields whose scale at every token another field can undo."""
    tied: list[str] = []
    for name in general.spec:
        for other in general.spec:
            if other not in (name, *tied) and name not in tied and _undoes(general, name, other):
                tied.append(name)
    return [key for key, (name, _, _) in fields(general).items() if name in tied]


def _undoes(general: Family, name: str, other: str) -> bool:
    """Whether `other` times or over x gives the same outputs as `name` over x."""
    f, g = general.spec[name], general.spec[other]
    fixed = any(x.domain.bounded or x.domain.unit for x in (f, g))
    if fixed or "pos" in (name, other) or name == value(general) or f.axes[-2] != g.axes[-2]:
        return False
    rng = np.random.default_rng(1)
    n = 2 if rows(general) else 1
    draws = [drawn(general, rng, DRAWS, 5, n, 1, wide) for wide in [False, True] * 4]
    T = getattr(draws[0], name).shape[-2]
    by = rng.uniform(0.5, 2, (DRAWS, *[1] * (len(f.axes) - 2), T, 1))
    back = by.reshape(DRAWS, *[1] * (len(g.axes) - 2), T, 1)

    def same(tok: Tokens, z: np.ndarray) -> bool:
        moved = tok.replace(**{name: getattr(tok, name) * by, other: z})
        return close(_each(general, moved), _each(general, tok))

    return any(all(same(t, getattr(t, other) * back**power) for t in draws) for power in (-1, 1))


class Table:
    """Products of scalars by their values at the draws."""

    def __init__(self, grid: Grid) -> None:
        usable = np.flatnonzero(grid.usable & ~grid.vector & (grid.values[:, 0, 0, 0] != 0))
        self.index = usable[np.lexsort((grid.plain[usable], grid.factors[usable]))]
        self.values = grid.values[self.index, :, 0, 0]
        self.sorted = np.argsort(self.values[:, 0], kind="stable")
        self.heads = self.values[self.sorted, 0]

    def find(self, ratio: np.ndarray) -> Iterator[tuple[int, int]]:
        """(candidate, product) whose values agree with a row of ratios, the simplest for each."""
        good = np.flatnonzero(np.isfinite(ratio).all(-1) & (ratio != 0).all(-1))
        if not len(good):
            return
        width = NEAR * np.abs(ratio[good, 0])
        low = np.searchsorted(self.heads, ratio[good, 0] - width)
        high = np.searchsorted(self.heads, ratio[good, 0] + width)
        for c, a, b in zip(good, low, high, strict=True):
            at = np.sort(self.sorted[a:b])
            off = np.abs(self.values[at] - ratio[c]) <= NEAR * np.abs(ratio[c])
            hit = at[off.all(-1)]
            if len(hit):
                yield int(c), int(self.index[hit[0]])


def shape_of(y: np.ndarray) -> np.ndarray:
    """The response [... L] from its second step on, over that step."""
    with np.errstate(all="ignore"):
        return np.asarray(y[..., 2:] / y[..., 1:2])


def close(x: np.ndarray, y: np.ndarray) -> bool:
    same = np.isclose(x, y, rtol=1e-9, atol=1e-12, equal_nan=True)
    return bool(same.all())


def _chunks(found: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """All combinations of candidates, CHUNK at a time."""
    shape = [len(x) for x in found]
    total = int(np.prod(shape, dtype=object))
    for start in range(0, total, CHUNK):
        at = np.unravel_index(np.arange(start, min(total, start + CHUNK)), shape)
        yield [x[i] for x, i in zip(found, at, strict=True)]
