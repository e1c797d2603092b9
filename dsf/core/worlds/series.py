"""Laurent series in h over a prime field with i: the values of the numbers of `modular`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ORDER = 6  # terms that are kept of a quotient
UNKNOWN = -(10**9)  # the end of a series of which nothing is known
Pair = tuple[int, int]  # re + i im, modulo p


@dataclass(frozen=True, slots=True)
class Series:
    """sum_k terms[k] h^k, with what is zero left out; not known from h^end on (None: exact)."""

    terms: Mapping[int, Pair]
    end: int | None = None

    @property
    def low(self) -> int | None:
        """The least power that may be there; None for an exact zero."""
        found = [*self.terms, *([] if self.end is None else [self.end])]
        return min(found) if found else None

    @property
    def constant(self) -> bool:
        """Whether it is exact and without h."""
        return self.end is None and self.terms.keys() <= {0}


def constant(re: int, im: int = 0) -> Series:
    """A number without h."""
    return Series({0: (re, im)} if re or im else {})


def _cut(terms: Mapping[int, Pair], end: int | None) -> Series:
    kept = {k: c for k, c in terms.items() if c != (0, 0) and (end is None or k < end)}
    return Series(kept, end)


def _earlier(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else min(a, b)


def add(x: Series, y: Series, p: int) -> Series:
    """x + y."""
    terms = dict(x.terms)
    for k, (c, d) in y.terms.items():
        a, b = terms.get(k, (0, 0))
        terms[k] = ((a + c) % p, (b + d) % p)
    return _cut(terms, _earlier(x.end, y.end))


def multiply(x: Series, y: Series, p: int) -> Series:
    """x y."""
    terms: dict[int, Pair] = {}
    for j, (a, b) in x.terms.items():
        for k, (c, d) in y.terms.items():
            e, f = terms.get(j + k, (0, 0))
            terms[j + k] = ((e + a * c - b * d) % p, (f + a * d + b * c) % p)
    if x.end is None and y.end is None:
        return _cut(terms, None)
    ends = [u.end + v.low for u, v in ((x, y), (y, x)) if u.end is not None and v.low is not None]
    return _cut(terms, max(min(ends), UNKNOWN) if ends else None)


def inverse(x: Series, p: int) -> Series | None:
    """1 / x; None where no first term is known."""
    if not x.terms:
        return None
    low = min(x.terms)
    a, b = x.terms[low]
    square = pow(a * a + b * b, -1, p) if (a * a + b * b) % p else 0
    first = Series({-low: (a * square % p, -b * square % p)})
    if x.end is None and len(x.terms) == 1:
        return first
    size = ORDER if x.end is None else min(ORDER, x.end - low)
    # 1 / (c h^low (1 + e)) = first (1 - e + e^2 - ...)
    e = add(multiply(x, first, p), constant(p - 1), p)
    total = power = constant(1)
    for k in range(1, size):
        power = _cut(multiply(power, e, p).terms, size)
        total = add(total, power if k % 2 == 0 else multiply(power, constant(p - 1), p), p)
    return multiply(Series(_cut(total.terms, size).terms, size), first, p)


def exponential(x: Series, p: int) -> Series:
    """e^x for a series that begins with h or a higher power."""
    size = ORDER if x.end is None else min(ORDER, x.end)
    total = power = constant(1)
    for k in range(1, size):
        power = _cut(multiply(multiply(power, x, p), constant(pow(k, -1, p)), p).terms, size)
        total = add(total, power, p)
    return Series(_cut(total.terms, size).terms, size)
