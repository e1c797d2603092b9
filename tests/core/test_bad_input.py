"""Bad input, mechanism by mechanism: a value within the gate, a typed error, or NaN in its place.

Every row is a function of a mechanism and a backend that returns its outcome: a value, propagation,
or the class of the error.  `expected` says which it has to be.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from dsf.core import metrics
from dsf.core.catalogue import everything, family
from dsf.core.errors import (
    DomainError,
    DTypeError,
    IllConditionedError,
    NotContractive,
    OverflowingScanError,
    ShapeError,
)
from dsf.core.fields import NEGATIVE
from dsf.core.kinds import Recurrence, Step
from dsf.core.state import State
from dsf.core.system import LTV
from dsf.testing import SIZES
from dsf.testing.structure import domain_tokens, to_longdouble

NAMES = [str(f) for f in everything()]
VALUE, ERROR, PROPAGATED = "value", "typed error", "propagated"
REGRESSIONS = ("lla", "parallax", "mesa")
BACKENDS = ("numpy", "torch")


@dataclass(frozen=True)
class Case:
    """A mechanism on a backend; `run` takes and gives numpy arrays."""

    mech: object
    backend: str

    def enter(self, u):
        return u if self.backend == "numpy" else torch.as_tensor(np.ascontiguousarray(u))

    def __call__(self, u):
        return np.asarray(self.mech(self.enter(u)))

    def kernel(self, u):
        return np.asarray(self.mech.kernel(self.enter(u)))


def draw(case, L=5, seed=0):
    return np.random.default_rng(seed).standard_normal((L, case.mech.d))


def exact(mech, u):
    """The same equations in extended precision: 64 bits and exponents up to 10^4932."""
    with np.errstate(all="ignore"):
        return mech.map(to_longdouble)(to_longdouble(u))


def assert_accurate(case, u, y):
    scale, gate = metrics.end_to_end(case.mech, u)
    assert metrics.ratio(y, exact(case.mech, u), scale, np.float64) <= gate


def value_or_error(case, u, errors=(OverflowingScanError, DomainError, IllConditionedError)):
    """A value close to the exact one, row by row, or one of the errors."""
    try:
        y = case(u)
    except errors as e:
        assert case.mech.name in str(e)
        return type(e)
    reference = exact(case.mech, u)
    size = 100 * np.abs(reference).max(-1, keepdims=True)
    if case.mech.name in REGRESSIONS:  # what their matrices, or directions, do to a rounding
        size = np.maximum(size, metrics.ball_scale(case.mech, u))
    assert metrics.ratio(y, reference, size, np.float64) <= metrics.gate(len(u))
    return VALUE


# ------------------------------------------------------------------------------- rows
def row_1_empty(case):
    mech, u = case.mech, case.enter(draw(case))
    y, state = mech.run(u)
    nothing, same = mech.run(u[:0], state)
    assert nothing.shape == (0, y.shape[-1])
    assert nothing.dtype == y.dtype
    assert same.t == state.t
    for a, b in zip(same.arrays(), state.arrays(), strict=True):
        assert np.array_equal(a, b)
    # an empty start changes nothing either
    assert np.array_equal(mech.run(u, mech.run(u[:0])[1])[0], y)
    return VALUE


def row_2_tiny(case):
    u = draw(case, L=1)
    assert_accurate(case, u, case(u))
    assert case(np.zeros((0, 3, case.mech.d))).shape[:2] == (0, 3)
    assert case(np.zeros((2, 0, case.mech.d))).shape[:2] == (2, 0)
    return VALUE


def row_3_nan(case):
    j, L = 2, 7
    u = draw(case, L)
    clean = case(u)
    u[j, 0] += 1
    reached = case(u) != clean
    assert not reached[:j].any()
    u[j, 0] = np.nan
    y = case(u)
    assert np.array_equal(np.isnan(y), reached)
    # the same numbers, but perhaps summed in another order where a row holds NaN
    scale, gate = metrics.end_to_end(case.mech, draw(case, L))
    assert metrics.ratio(y[~reached], clean[~reached], scale[~reached]) <= gate
    if not isinstance(case.mech, Step):
        ltv, X = case.mech.system_on(case.enter(u))
        M = case.kernel(u) if ltv.m == ltv.r == 1 else case.kernel(u).swapaxes(-3, -2)
        assert np.isfinite(M[..., :j, :] if ltv.m == ltv.r == 1 else M[..., :j, :, :, :]).all()
        for size in (2, L):
            chunks = np.asarray(ltv.chunk(X, size)[0])
            assert np.isfinite(chunks[..., :j, :, :]).all()
    return PROPAGATED


def row_4_infinity(case):
    j, L = 2, 5
    u = draw(case, L)
    clean = case(u)
    outcomes = set()
    for infinity in (np.inf, -np.inf):
        u[j, 0] = infinity
        try:
            y = case(u)
        except DomainError:
            outcomes.add(DomainError)
            continue
        # the same numbers, but perhaps summed in another order where a row holds infinity
        scale, gate = metrics.end_to_end(case.mech, draw(case, L))
        assert metrics.ratio(y[:j], clean[:j], scale[:j]) <= gate
        # only a saturating step can turn infinity into a number
        assert isinstance(case.mech, Step) or not np.isfinite(y[j]).all()
        outcomes.add(VALUE if np.isfinite(y).all() else PROPAGATED)
    return min(outcomes, key=(PROPAGATED, DomainError, VALUE).index)


def row_5_subnormal(case):
    u = draw(case) * 1e-310
    try:
        y = case(u)
    except DomainError as e:  # every q'k is below 1e-600, so the sum of the weights is 0
        assert "normaliser is exactly 0" in str(e)
        return type(e)
    # a rounding to 5e-324 anywhere is carried on by the gains of the mechanism
    gain, floor = _gain(case.mech, draw(case)), float(np.finfo(np.float64).smallest_subnormal)
    assert np.abs(y - exact(case.mech, u)).max() <= metrics.gate(len(u)) * gain * floor
    return VALUE


def _gain(mech, u):
    """By how much one unit of rounding in every state and at every step can move an output."""
    if not isinstance(mech, Recurrence):
        return 1
    ltv, _ = mech.system_on(u)
    noise = LTV(ltv.A, np.ones((1, ltv.n, 1)), ltv.C, None, ltv.read, ltv.length)
    return 1 + metrics.scale(noise, np.ones((ltv.length, 1, 1))).max()


def row_6_huge(case):
    return value_or_error(case, draw(case) * 1e300)


def row_7_large_logits(case):
    return value_or_error(case, draw(case) * 100)


def row_8_half(case):
    outcomes = set()
    for scale in (1, 100):
        half = case.mech.map(lambda x: x.astype(np.float16))
        u = (draw(case) * scale).astype(np.float16)
        wide = half.map(lambda x: x.astype(np.float64))
        try:
            y = half(u) if case.backend == "numpy" else half(torch.as_tensor(u)).numpy()
        except (OverflowingScanError, DomainError, IllConditionedError) as e:
            outcomes.add(type(e))
            continue
        assert y.dtype == np.float32
        with np.errstate(all="ignore"):
            reference = exact(wide, u.astype(np.float64))
            limits, gate = metrics.end_to_end(wide, u.astype(np.float64))
        tiny = np.finfo(np.float32).tiny / metrics.unit(np.float32)  # below it, flushing is allowed
        assert metrics.ratio(y, reference, limits + tiny) <= gate
        outcomes.add(VALUE)
    return next((o for o in outcomes if o != VALUE), VALUE)


def row_9_layout(case):
    u = draw(case, 6)
    y = case(u)
    wide = np.zeros((12, 2 * case.mech.d))
    wide[::2, ::2] = u
    flipped = np.ascontiguousarray(u[::-1, ::-1])[::-1, ::-1]
    frozen = u.copy()
    frozen.flags.writeable = False
    layouts = [np.asfortranarray(u), wide[::2, ::2], flipped, frozen, u.astype(">f8")]
    if case.backend == "torch":
        tensors = [torch.as_tensor(u.T.copy()).T, torch.as_tensor(wide)[::2, ::2]]
        layouts = layouts[:0]
        assert all(np.array_equal(np.asarray(case.mech(t)), y) for t in tensors)
    for x in layouts:
        before = x.tobytes()
        assert np.array_equal(case(x), y)
        assert x.tobytes() == before
    one = case.enter(u[:1].copy())  # one token, seen six times without a copy
    seen = one.expand(6, -1) if case.backend == "torch" else np.broadcast_to(one, u.shape)
    assert np.array_equal(case.mech(seen), case(np.repeat(u[:1], 6, 0)))
    assert np.array_equal(one, u[:1])
    return VALUE


def row_10_dtypes(case):
    u = np.round(draw(case) * (2 if case.mech.name in REGRESSIONS else 4))
    y = case(u)
    good = {"int64": u.astype(np.int64), "int8": u.astype(np.int8), "float32": u.astype(np.float32)}
    if case.backend == "numpy":
        good |= {"list": u.tolist(), "object": u.astype(object), "uint8": abs(u).astype(np.uint8)}
    for name, x in good.items():
        found = case.mech(x if case.backend == "numpy" else torch.as_tensor(x))
        assert str(found.dtype).endswith("float64"), name
        assert np.array_equal(found, y if name != "uint8" else case(abs(u)))
    single = case.mech.map(lambda x: x.astype(np.float32))
    assert Case(single, case.backend)(u.astype(np.float32)).dtype == np.float32
    bad = [u > 0] if case.backend == "torch" else [
        u > 0, u.astype(str), np.full(u.shape, None), np.full(u.shape, True, dtype=object),
    ]  # fmt: skip
    for x in bad:
        with pytest.raises(DTypeError, match="must hold real numbers; got dtype"):
            case.mech(x if case.backend == "numpy" else torch.as_tensor(x))
    return VALUE


def row_11_complex(case):
    with pytest.raises(DTypeError, match="complex") as e:
        case(draw(case).astype(complex))
    return e.type


def row_12_shapes(case):
    d = case.mech.d
    for shape in ((5, d + 1), (d,), (d, 7), *([()] if case.backend == "numpy" else [])):
        with pytest.raises(ShapeError) as e:
            case(np.zeros(shape))
        text = str(e.value)
        for item in ("`u`", "[... L d]", f"d = {d}", str(shape)):
            assert item in text
    if case.backend == "numpy":
        with pytest.raises(ShapeError, match="different lengths"):
            case.mech([[1.0] * d, [1.0]])
    if isinstance(case.mech, Recurrence) and case.mech.run(draw(case))[1].S.shape[-2] > 1:
        _, state = case.mech.run(case.enter(draw(case)))
        cut = State(state.S[..., :1, :], state.tail, state.t)
        with pytest.raises(ShapeError, match="state of another mechanism"):
            case.mech.run(case.enter(draw(case)), cut)
    return e.type


def row_14_strong_decay(case):
    """Every decay is 1/2 for 1200 steps: products underflow, outputs must not care."""
    tok, reference, scale, gate = half_decays(case.mech)
    ltv, X = case.mech.system(tok)
    if case.backend == "torch":
        ltv, X = ltv.map(torch.as_tensor), torch.as_tensor(X)
    Y = ltv.scan(X)[0]
    assert np.isfinite(np.asarray(Y)).all()
    assert metrics.ratio(Y, reference, scale, np.float64) <= gate
    return VALUE


@cache
def half_decays(mech):
    """Tokens with all decays at 1/2, the exact output, its scale and gate: for both backends."""
    tok, fields = domain_tokens(mech, 1200), mech.token_fields
    half = {k: np.full(x.shape, -np.log(2)) for k, x in tok.items() if fields[k].domain == NEGATIVE}
    if hasattr(tok, "gamma"):
        half["gamma"] = np.full(tok.gamma.shape, 0.5)
    tok = tok.replace(**half)
    ltv, X = mech.system(tok)
    reference = ltv.map(to_longdouble).scan(to_longdouble(X))[0]
    gate = metrics.gate(metrics.effective_length(ltv))
    return tok, reference, metrics.scale(ltv, X), gate


def row_15_closed_gates(case):
    """A log-gate of -inf forgets everything before it; gates of exactly 0 and 1 compute."""
    mech, j, L = case.mech, 3, 6
    clean, fields = domain_tokens(mech, L), mech.token_fields
    to = np.asarray if case.backend == "numpy" else torch.as_tensor

    def outputs(tok):
        with np.errstate(all="ignore"):
            tok = tok.map(to)
            ltv, X = mech.system(tok)
            return np.asarray(mech.readout(ltv.scan(X)[0], tok))

    for name, field in fields.items():
        if field.domain.bounded:
            for edge in (0.0, 1.0):
                value = np.full(getattr(clean, name).shape, edge)
                if name != "eta":  # a normaliser of 0 is row 16
                    assert np.isfinite(outputs(clean.replace(**{name: value}))).all(), name
    logs = [k for k, f in fields.items() if f.domain == NEGATIVE and f.per_token]
    if not logs or mech.options().get("read") == "after":  # q/w: documented to break down
        return VALUE
    closed = {k: getattr(clean, k).copy() for k in logs}
    for x in closed.values():
        x[..., j, :] = -np.inf
    tok = clean.replace(**closed)
    late = 1 if mech.options().get("read") == "before" else 0
    late += mech.lookback or 0  # a fresh start has no earlier row to read
    try:
        again = outputs(tok.part(j, L, fields, mech.substeps))
    except IllConditionedError as e:  # a ridge that is forgotten at once
        return type(e)
    assert np.array_equal(outputs(tok)[..., j + late :, :, :], again[..., late:, :, :])
    return VALUE


def row_16_zeros(case):
    """Zero tokens: zero keys, zero queries; a zero normaliser is an error, never infinity."""
    u = np.zeros((5, case.mech.d))
    try:
        y = case(u)
    except DomainError as e:
        assert "normaliser is exactly 0" in str(e)
        return type(e)
    assert np.isfinite(y).all()
    assert_accurate(case, u, y)
    return VALUE


ROWS = {f.__name__: f for f in (
    row_1_empty, row_2_tiny, row_3_nan, row_4_infinity, row_5_subnormal, row_6_huge,
    row_7_large_logits, row_8_half, row_9_layout, row_10_dtypes, row_11_complex, row_12_shapes,
    row_14_strong_decay, row_15_closed_gates, row_16_zeros,
)}  # fmt: skip


def applies(row, name):
    """Rows 14 and 15 are about decays and gates; the other rows are about every mechanism."""
    mech = family(name).init(d=2, n=2, p=2)
    domains = {field.domain for field in mech.token_fields.values()}
    if row == "row_14_strong_decay":
        return isinstance(mech, Recurrence) and (
            NEGATIVE in domains or "gamma" in mech.token_fields
        )
    if row == "row_15_closed_gates":
        return isinstance(mech, Recurrence) and any(d == NEGATIVE or d.bounded for d in domains)
    return True


CASES = [(row, name, b) for row in ROWS for name in NAMES for b in BACKENDS if applies(row, name)]


def outcome(row, name, backend, sizes):
    """What happened: a value, an error by its class, or propagation; anything else raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotContractive)
        return ROWS[row](Case(initial(name, **sizes), backend))


@cache
def initial(name, **sizes):
    return family(name).init(**sizes, seed=3)


# What has to come of a row, a value unless it is said; then the exceptions: one family, "(...)" for
# its variants too, a width d where the other one keeps the rule.
EXPECTED = {
    "row_3_nan": PROPAGATED,
    "row_4_infinity": PROPAGATED,
    "row_6_huge": OverflowingScanError,
    "row_11_complex": DTypeError,
    "row_12_shapes": ShapeError,
}
SIGNED = "linear_attn(normalise=True)"  # the only one whose sum of weights can be 0
SUM_OF_ZEROS = {SIGNED: DomainError}
# an absolute ridge is lost beside large weights, and one that gates forget with the gates
RIDGE_LOST = dict.fromkeys(
    ["lla(ridge_times='one')", "mesa(ridge_forgets=True)"], IllConditionedError
)
EXCEPTIONS = {
    "row_4_infinity": {
        "gru": VALUE,  # its gates and its tanh saturate
        ("normalised_attn(...)", 3): DomainError,  # eta = 0 at inf in one head, at -inf in one
    },
    "row_5_subnormal": SUM_OF_ZEROS,
    "row_6_huge": {
        **dict.fromkeys(["gru", "lru", "qlstm(...)", "rglru", "s4d(...)"], VALUE),  # linear in u
        "linear_attn(phi='favor')": VALUE,  # exp(-|x|^2/2) is 0
        "normalised_attn(eta='sigmoid')": DomainError,  # eta is 0
        "normalised_attn(eta='softplus')": DomainError,
    },
    "row_7_large_logits": RIDGE_LOST,
    "row_8_half": {
        **RIDGE_LOST,
        "linear_attn(phi='exp')": OverflowingScanError,
        ("mlstm", 3): OverflowingScanError,
        ("normalised_attn(...)", 3): OverflowingScanError,
    },
    "row_15_closed_gates": {"mesa(ridge_forgets=True)": IllConditionedError},
    "row_16_zeros": SUM_OF_ZEROS,
}  # fmt: skip


def expected(row, name, sizes):
    """The outcome that a row must have."""
    names = (name, name.partition("(")[0] + "(...)")
    keys = [key for n in names for key in (n, (n, sizes["d"]))]
    exceptions = EXCEPTIONS.get(row, {})
    return next((exceptions[k] for k in keys if k in exceptions), EXPECTED.get(row, VALUE))


def test_every_exception_is_about_some_case():
    known = {*NAMES, *(n.partition("(")[0] + "(...)" for n in NAMES)}
    for row, exceptions in EXCEPTIONS.items():
        assert row in ROWS
        assert {k[0] if isinstance(k, tuple) else k for k in exceptions} <= known


@pytest.mark.parametrize("sizes", SIZES, ids=lambda s: f"d={s['d']}")
@pytest.mark.parametrize("row, name, backend", CASES)
def test_bad_input(row, name, backend, sizes):
    assert outcome(row, name, backend, sizes) == expected(row, name, sizes)


def kind(found):
    """The column of the README: value, propagated, or typed error for every class of error."""
    return found if found in (VALUE, PROPAGATED) else ERROR


def test_the_table_of_the_readme_says_what_comes_of_every_case():
    """The outcomes themselves are compared with the same expectation, case by case."""
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    for row in ROWS:
        title = row.removeprefix("row_").replace("_", " ")
        cells = re.search(rf"^\| {title} \|(.+)\|$", text, re.M)[1].split("|")
        found = Counter(kind(expected(*c[:2], s)) for c in CASES for s in SIZES if c[0] == row)
        assert [int(c) for c in cells] == [found[k] for k in (VALUE, ERROR, PROPAGATED, "")], row
