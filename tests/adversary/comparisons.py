"""Forged records: comparisons, realizations and stabilities over certificates that are true."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

import dsf
from dsf.core.certificate import Scope
from dsf.core.errors import CertificateError, DSFError
from dsf.verdicts.comparison import Comparison
from dsf.verdicts.finding import Finding, Verdict

PAIRS = (
    ("gla", "deltanet"), ("lru", "s4d"), ("linear_attn", "gla"), ("rwkv6", "gla"),
    ("gla", "gla"), ("mamba", "normalised_attn"), ("softmax", "gru"), ("mlstm", "gla"),
)  # fmt: skip


@cache
def honest() -> tuple[Comparison, ...]:
    """Comparisons of families, of instances and on an input."""
    found = [dsf.compare(a, b) for a, b in PAIRS]
    a, b = dsf.gla.init(2, n=1, p=2, seed=0), dsf.retnet.init(2, n=1, p=2, seed=0)
    near = dsf.compare(b, dsf.lattice.find_path("retnet", "gla")[0].params(b))
    u = np.random.default_rng(0).standard_normal((12, 2))
    return (*found, dsf.compare(a, b), near, dsf.compare(a, b, u=u, rtol=0.1))


def forged_comparisons() -> Iterator[tuple[str, Comparison]]:
    """Comparisons that print something else than their certificates prove."""
    every = honest()
    for i, c in enumerate(every):
        name = f"{c.left} | {c.right}"
        for how, made in (*_sides(c), *_records(c), *_findings(c, every[i - 1])):
            yield f"{name}: {how}", made


def _sides(c: Comparison) -> Iterator[tuple[str, Comparison]]:
    for other in ("gla(", "softmax", "mamba3", "any recurrence with 2 states", "x\n  scope: all"):
        if other not in (c.left, c.right):
            yield f"left {other!r}", replace(c, left=other)
            yield f"right {other!r}", replace(c, right=other)
    for scope in set(Scope) - {c.scope}:
        yield f"scope {scope.value}", replace(c, scope=scope)


def _records(c: Comparison) -> Iterator[tuple[str, Comparison]]:
    row = c.differences[0]
    yield "a difference", replace(c, differences=((row[0], row[1] + "?", row[2]),))
    yield "no differences", replace(c, differences=())
    yield "something tried", replace(c, tried=("everything",))
    for bad in (-1.0, np.nan, "0", None):
        yield f"seconds {bad}", replace(c, seconds=bad)
    yield "no findings", replace(c, findings=())
    yield "findings turned round", replace(c, findings=(*c.findings[::-1], *c.findings[:1]))


def _findings(c: Comparison, other: Comparison) -> Iterator[tuple[str, Comparison]]:
    for i, f in enumerate(c.findings):

        def put(made: Finding, i: int = i) -> Comparison:
            return replace(c, findings=(*c.findings[:i], made, *c.findings[i + 1 :]))

        for verdict in set(Verdict) - {f.verdict}:
            yield f"verdict {verdict.name}", put(replace(f, verdict=verdict))
        for text in (f.statement + " always", f.statement.replace("not ", ""), "all is equal", ""):
            if text != f.statement:
                yield f"statement {text!r}", put(replace(f, statement=text))
        yield "a note more", put(replace(f, notes=(*f.notes, "and for all lengths")))
        if f.notes:
            yield "a note less", put(replace(f, notes=f.notes[:-1]))
        yield "conditional turned", put(replace(f, conditional=not f.conditional))
        yield "no certificates", put(replace(f, certificates=()))
        yield (
            "a certificate twice",
            put(replace(f, certificates=(*f.certificates, f.certificates[0]))),
        )
        if f.rule in ("same", "image", "condition", "rounded", "approximable"):  # all are needed
            yield "one less", put(replace(f, certificates=f.certificates[:-1]))
        foreign = other.certificates[:1] or c.certificates[:1]
        yield "one of another pair", put(replace(f, certificates=(*f.certificates, *foreign)))
        yield "those of another pair", put(replace(f, certificates=foreign))
        yield "another finding", replace(c, findings=(*c.findings, *other.findings))


def forged_results() -> Iterator[tuple[str, Any]]:
    """Realizations and stabilities whose printed parts are not those of their certificates."""
    t = np.arange(12)
    M = np.tril(1.0 / (1.0 + np.subtract.outer(t, t).clip(0)))
    one, heads = dsf.realize(M, atol=0.01), dsf.realize(np.stack([M, M @ M]), atol=0.02)
    wrong = replace(one.theorems[0], error=one.theorems[0].error / 2)
    named = replace(one.theorems[0], name="every theorem")
    for how, made in {
        "a note": replace(one, notes=("the error is 0",)),
        "a smaller error": replace(one, theorems=(wrong,)),
        "another theorem": replace(one, theorems=(named,)),
        "heads of one operator": replace(one, heads=(one,)),
        "batch": replace(one, batch=True),
        "seconds": replace(one, seconds=-1.0),
        "heads changed": replace(heads, heads=heads.heads[::-1]),
        "a head less": replace(heads, heads=heads.heads[:1]),
        "another head": replace(heads, heads=(one, heads.heads[1])),
        "a certificate of another kind": replace(one, certificate=dsf.stability(M).certificate),
    }.items():
        yield f"realization: {how}", made
    s = dsf.stability(np.array([[0.0, 1.0], [-0.25, 1.0]]))
    for how, changed in {
        "how": replace(s, how="by looking at it"),
        "worst": replace(s, worst=(7,)),
        "a certificate of another kind": replace(s, certificate=one.certificate),
    }.items():
        yield f"stability: {how}", changed


def passes(made: Any) -> bool:
    """Whether a record checks, here and after JSON; only CertificateError may say no."""
    try:
        return bool(made.check())
    except CertificateError:
        pass
    try:
        return bool(type(made).from_json(made.to_json()).check())
    except DSFError:
        return False
    except (TypeError, AttributeError):  # what JSON cannot hold
        return False
