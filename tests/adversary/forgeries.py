"""Forgeries: an honest certificate with something changed, and the sentence that fits the change.

numbers     every number one step up and down, to 0, to -x, by a little, by much
entries     a few entries of every array, and the whole array turned round
families    every other family of the catalogue in every place where one stands
transplants parts of one certificate in another one of its kind
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from edits import places, put, restated

from dsf.core.catalogue import everything
from dsf.core.certificate import Certificate
from dsf.core.errors import DSFError

FAMILY_FIELDS = ("has", "violates", "left", "right", "family", "first", "second", "special",
                 "general")  # fmt: skip
ENTRIES = 3  # of an array that are moved


@dataclass(frozen=True)
class Forgery:
    """A certificate made from another one, whose name is `source`, by a change `how`."""

    source: str
    how: str
    certificate: Certificate


def forgeries(name: str, c: Certificate, others: dict[str, Certificate]) -> Iterator[Forgery]:
    """Every forgery of one certificate; `others` are those whose parts are transplanted."""
    made = [*_numbers(c), *_families(c), *_transplants(c, others)]
    for how, other in made:
        if other.to_json() != c.to_json():
            yield Forgery(name, how, other)


# ------------------------------------------------------------------- numbers and entries
def _numbers(c: Certificate) -> Iterator[tuple[str, Certificate]]:
    for side in ("lower", "upper"):
        for how, x in moved(getattr(c, side)):
            yield f"{side} {how}", restated(replace(c, **{side: x}))
    for key, value in c.residuals.items():
        for how, x in moved(value):
            yield f"residual {key} {how}", restated(replace(c, residuals={**c.residuals, key: x}))
    for path, value in places(dict(c.witnesses)):
        for how, x in moved(value):
            witnesses = put(dict(c.witnesses), path, x)
            yield f"{'.'.join(map(str, path))} {how}", restated(replace(c, witnesses=witnesses))


def moved(x: Any) -> Iterator[tuple[str, Any]]:
    """Other values of the same type."""
    if isinstance(x, bool):
        yield "turned", not x
    elif isinstance(x, int):
        yield from (
            ("+1", x + 1),
            ("-1", x - 1),
            ("0", 0),
            ("negated", -x),
            ("doubled", 2 * x),
            ("huge", 10**30),
        )
    elif isinstance(x, float):
        yield from _moved_float(x)
    elif isinstance(x, str):
        yield from _moved_text(x)
    elif isinstance(x, np.ndarray):
        yield from _moved_array(x)
    elif isinstance(x, list) and x:
        yield "without the last", x[:-1]
        yield "turned round", x[::-1]
        yield "its last twice", [*x, x[-1]]


def _moved_float(x: float) -> Iterator[tuple[str, float]]:
    yield "one step up", float(np.nextafter(x, np.inf))
    yield "one step down", float(np.nextafter(x, -np.inf))
    yield "zero", 0.0
    yield "negated", -x
    yield "huge", 1e300
    yield "tiny", 1e-300
    yield "infinite", np.inf
    for by in (1e-12, 1e-9, 1e-6, 1e-3, 0.5):
        yield f"up by {by}", x * (1 + by)
        yield f"down by {by}", x * (1 - by)


def _moved_text(x: str) -> Iterator[tuple[str, str]]:
    try:
        value = Fraction(x)
    except ValueError:
        return
    for how, y in (("moved", value + Fraction(1, 1000)), ("negated", -value),
                   ("zero", Fraction(0)), ("doubled", 2 * value)):  # fmt: skip
        yield how, str(y)


def _moved_array(x: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    if x.size == 0:
        return
    places = np.random.default_rng(x.size).choice(x.size, min(ENTRIES, x.size), replace=False)
    for index in map(int, places):
        for how, value in _moved_entry(x.flat[index]):
            y = np.array(x)
            y.flat[index] = value
            yield f"entry {index} {how}", y
    if x.dtype.kind in "fi":
        yield "doubled", 2 * x
        yield "zero", 0 * x
    yield "turned round", np.array(x[::-1])


def _moved_entry(x: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(x, (bool, np.bool_)):
        yield "turned", not x
    elif isinstance(x, (int, np.integer)):
        yield from (("+1", x + 1), ("-1", x - 1))
    elif isinstance(x, str):
        yield from _moved_text(x)
    elif isinstance(x, (complex, np.complexfloating)):
        yield from (("conjugated", np.conj(x)), ("moved", x * (1 + 1e-3)))
    else:
        for how, y in _moved_float(float(x)):
            if how in ("one step up", "one step down", "zero", "negated", "up by 0.001"):
                yield how, y


# ------------------------------------------------------------------- families, transplants
def _families(c: Certificate) -> Iterator[tuple[str, Certificate]]:
    """Every other family in one place; and the two sides changed for each other."""
    known = [k for k in FAMILY_FIELDS if k in c.witnesses]
    w = dict(c.witnesses)
    if len(known) == 2:
        a, b = known
        yield "sides changed", restated(replace(c, witnesses={**w, a: w[b], b: w[a]}))
    for key in known:
        yield from against_all(c, key)


def against_all(c: Certificate, key: str = "has") -> Iterator[tuple[str, Certificate]]:
    """The same about every other family in one place."""
    w = dict(c.witnesses)
    for f in everything():
        if repr(f) != w[key]:
            changed = {**w, key: repr(f)} | _words_of(c, key, f)
            yield f"{key} {f}", restated(replace(c, witnesses=changed))


def _words_of(c: Certificate, key: str, f: Any) -> dict[str, Any]:
    """The words on which the invariant is stated for the other family."""
    from dsf.core.catalogue import family
    from dsf.relations.invariants import INVARIANTS, WordInvariant

    rule = INVARIANTS.get(c.witnesses.get("invariant", ""))
    if not isinstance(rule, WordInvariant):
        return {}
    sides = {k: family(c.witnesses[k]) for k in ("has", "violates")} | {key: f}
    return {"words": list(rule.words(sides["has"], sides["violates"]))}


def _transplants(
    c: Certificate, others: dict[str, Certificate]
) -> Iterator[tuple[str, Certificate]]:
    for name, other in others.items():
        if other.kind != c.kind or other is c:
            continue
        for side in ("lower", "upper"):
            moved = replace(c, **{side: getattr(other, side)})
            yield f"{side} of {name}", restated(moved)
        for key in set(c.witnesses) & set(other.witnesses):
            witnesses = {**c.witnesses, key: other.witnesses[key]}
            yield f"{key} of {name}", restated(replace(c, witnesses=witnesses))


def accepted(c: Certificate) -> bool:
    """Whether a certificate checks; only CertificateError may say no."""
    try:
        return c.check()
    except DSFError:
        return False
