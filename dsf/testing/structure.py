"""The contract of a mechanism, part 1: shapes, tokens, splitting, evaluations."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from dsf.core import metrics, probe
from dsf.core.errors import ContractError
from dsf.core.facts import EXACT
from dsf.core.kinds import Attention, Recurrence, Step
from dsf.core.mechanism import Mechanism
from dsf.core.state import State
from dsf.core.system import LTV
from dsf.core.tokens import Tokens
from dsf.core.transition import Prod, at, dense
from dsf.core.worlds import balls, precision

CHUNKS = (1, 7, 16, 64)
Formula = Callable[[Any, Any], tuple[Any, Any]]  # (S [n p], a row of tokens) -> (S, y [p])


def require(holds: Any, mech: Mechanism, what: str) -> None:
    """Raise ContractError, naming the mechanism, unless `holds`."""
    if not bool(holds):
        raise ContractError(f"{mech.name}: {what}")


def draw(mech: Mechanism, L: int, seed: int = 0, batch: tuple[int, ...] = ()) -> np.ndarray:
    """A Gaussian input [... L d]."""
    return np.random.default_rng(seed).standard_normal((*batch, L, mech.d))


def domain_tokens(mech: Mechanism, L: int, seed: int = 0) -> Tokens:
    """Random tokens in their declared domains."""
    return probe.free_tokens(mech, np.random.default_rng(seed), L)


# ----------------------------------------------------------------------- shapes
def output_has_declared_shape(mech: Mechanism) -> None:
    """y is [... L H p] for every length and batch, the kernel [... H L L] or [... L r L m]."""
    width = mech(draw(mech, 1)).shape[-1]
    for L in (0, 1, 2, 5):
        for batch in ((), (0,), (2,), (2, 1)):
            y = mech(draw(mech, L, batch=batch))
            good = y.shape == (*batch, L, width) and y.dtype == np.float64
            require(good, mech, f"output {y.dtype} {y.shape} for input {(*batch, L, mech.d)}")
    if not isinstance(mech, Step):
        for L in (0, 1, 4):
            shape = mech.kernel(draw(mech, L)).shape
            good = shape[-2:] == (L, L) or (shape[-4], shape[-2]) == (L, L)
            require(good, mech, f"kernel of shape {shape} for L = {L}")


def tokens_have_declared_shape_and_domain(mech: Mechanism) -> None:
    """Every token field has the axes and the domain of the spec, for Gaussian inputs."""
    L, sizes = 5, mech.sizes
    tok = mech.tokens(draw(mech, L, seed=1))
    declared = {name for name in mech.token_fields if name != "pos"}
    require(set(tok.names) == declared, mech, f"token fields {tok.names}, declared {declared}")
    for name, x in tok.items():
        field = mech.token_fields[name]
        head = (sizes["H"],) if mech.has_heads and len(field.axes) == 2 else ()
        want = (*head, *field.shape(sizes, L))
        fits = len(x.shape) <= len(want) and all(
            a in (b, 1) for a, b in zip(x.shape[::-1], want[::-1], strict=False)
        )
        require(fits, mech, f"token {name} has shape {x.shape}; the spec says {want}")
        require(field.domain.inside(x), mech, f"token {name} leaves its domain '{field.domain}'")


# ------------------------------------------------------------------------ tokens
def tokens_are_pointwise(mech: Mechanism) -> None:
    """Row i of every per-token field depends on u_i alone, and on no position."""
    L = 4
    u, order = draw(mech, L, seed=2), np.array([2, 0, 3, 1])
    changed = u.copy()
    changed[1] += 1
    before, after = mech.tokens(u), mech.tokens(changed)
    with precision(128):
        exact = mech.map(balls)
        straight, permuted = exact.tokens(balls(u)), exact.tokens(balls(u[order]))
    for name, x in before.items():
        field = mech.token_fields[name]
        s = mech.substeps if field.axes[-2] == "sL" else 1
        keep = [i * s + j for i in (0, 2, 3) for j in range(s)] if field.per_token else slice(None)
        same = np.array_equal(x[..., keep, :], getattr(after, name)[..., keep, :])
        require(same, mech, f"token {name} of another row changed with u_1: not pointwise")
        rows = [i * s + j for i in order for j in range(s)] if field.per_token else slice(None)
        a, b = getattr(straight, name)[..., rows, :], getattr(permuted, name)
        meet = all(p.overlaps(q) for p, q in zip(a.flat, b.flat, strict=True))
        require(meet, mech, f"permuting u does not permute token {name}: it knows its position")


def recurrence_reads_tokens_only(mech: Mechanism) -> None:
    """The method of the kind and `readout` work without the parameter arrays, on tokens alone."""
    tok = mech.tokens(draw(mech, 3))
    blank = type(mech)(**mech.options())
    try:
        o = blank.advance(tok, State())[0]
    except (TypeError, AttributeError) as e:
        raise ContractError(
            f"{mech.name}: the recurrence reads a parameter array ({e}); make it a token "
            'field with time axis "1"'
        ) from e
    require(np.array_equal(o, mech.advance(tok, State())[0]), mech, "parameters change the result")


def every_token_field_matters(mech: Mechanism) -> None:
    """Moving one token field inside its domain changes the output: no term was forgotten."""
    if isinstance(mech, Attention) and mech.lookback == 0:
        return  # one token has one weight, 1, whatever its query and key
    tok, rng = domain_tokens(mech, 4, seed=3), np.random.default_rng(4)
    o = mech.advance(tok, State())[0]
    for name, field in mech.token_fields.items():
        if name != "pos":
            moved = tok.replace(**{name: field.domain.moved(rng, getattr(tok, name))})
            changed = not np.array_equal(mech.advance(moved, State())[0], o)
            require(changed, mech, f"the token field {name} changes no output: a forgotten term?")


def formula_agrees(mech: Mechanism, formula: Formula) -> None:
    """The recurrence is what `formula` computes, token by token for each head, in plain numpy."""
    L = 5
    tok = domain_tokens(mech, L, seed=5)
    o, end = mech.advance(tok, State())
    outputs = o if mech.has_heads else o[None]  # [H L r p]
    for h, head in enumerate(outputs):
        S = np.zeros((end.S if not mech.has_heads else end.S[0]).shape)
        for i in range(L):
            row = {k: _row(x, h, i) for k, x in tok.items()}
            S, y = formula(S, SimpleNamespace(**row))
            sizes = f"{np.size(y)} numbers, that of the mechanism {head[i].size}"
            alike = np.size(y) == head[i].size
            require(alike, mech, f"formula(S, t) -> S, y: its y has {sizes}")
            off = float(np.max(np.abs(np.ravel(y) - head[i].ravel())))
            close = off <= EXACT * max(float(np.max(np.abs(head))), 1.0)
            require(
                close, mech, f"head {h}, token {i}: the formula gives another output, {off:.3g}"
            )


def _row(x: np.ndarray, h: int, i: int) -> np.ndarray:
    """Row i of head h of a token field; constants and shared fields have one of them."""
    x = x if x.ndim > 2 else x[None]
    x = x[h if x.shape[0] > 1 else 0]
    return np.asarray(x[i if x.shape[0] > 1 else 0])


# ------------------------------------------------------------------ the split law
def splitting_changes_nothing(mech: Mechanism) -> None:
    """run(whole) = run(part), pass the state, run(rest), at every cut, 0 and the end included."""
    for L, batch in ((0, ()), (1, ()), (2, (2,)), (7, ())):
        u = draw(mech, L, seed=L, batch=batch)
        whole, last = mech.run(u)
        scale, gate = metrics.end_to_end(mech, u) if L else (np.zeros(whole.shape), 1.0)
        for cut in range(L + 1):
            head, state = mech.run(u[..., :cut, :])
            tail, end = mech.run(u[..., cut:, :], state)
            R = metrics.ratio(np.concatenate([head, tail], -2), whole, scale)
            require(R <= gate, mech, f"cut at {cut} of {L}: R = {R:.3g} above the gate {gate:.3g}")
            require(end.t == last.t, mech, f"cut at {cut} of {L}: clock {end.t}, not {last.t}")


def scan_splits_bit_by_bit(mech: Mechanism) -> None:
    """On given coefficients a split scan has the same bits."""
    if not isinstance(mech, Recurrence):
        return
    ltv, X = mech.system(domain_tokens(mech, 7))
    whole, last = ltv.scan(X)
    L = X.shape[-3]
    for cut in range(L + 1):
        head, S = ltv.part(0, cut).scan(X[..., :cut, :, :])
        tail, end = ltv.part(cut, L).scan(X[..., cut:, :, :], S)
        same = np.array_equal(np.concatenate([head, tail], -3), whole) and np.array_equal(end, last)
        require(same, mech, f"scan split at {cut} of {L} differs in bits")


# ---------------------------------------------------------- independent evaluations
def evaluations_agree(mech: Mechanism) -> None:
    """scan = kernel X = chunks of every size = single steps = the longdouble recurrence."""
    if isinstance(mech, Step):
        return
    L = 70
    ltv, X = mech.system_on(draw(mech, L, seed=3))
    exact = ltv.map(to_longdouble).scan(to_longdouble(X))[0]
    scale = metrics.scale(ltv, X)
    gate = metrics.gate(metrics.effective_length(ltv))
    found = {"scan": ltv.scan(X)[0], "kernel": apply_kernel(ltv, X), "steps": single_steps(ltv, X)}
    for size in (*CHUNKS, L, L + 1):
        found[f"chunk({size})"] = ltv.chunk(X, size)[0]
    for name, y in found.items():
        R = metrics.ratio(y, exact, scale)
        require(R <= gate, mech, f"{name}: R = {R:.3g} above the gate {gate:.3g}")


def kernel_reproduces_the_output(mech: Mechanism) -> None:
    """y = kernel . values before output gates: `ltv(u)` is the mechanism on this input."""
    if isinstance(mech, Step):
        return
    u = draw(mech, 6, seed=4)
    ltv, X = mech.system_on(u)
    y = _mix(mech.kernel(u), X, ltv.m == 1 and ltv.r == 1)
    tok = mech.tokens(u)
    y = y * tok.gate[..., :, None, :] if "gate" in tok.names else y
    scale, gate = metrics.end_to_end(mech, u)
    R = metrics.ratio(mech.merge(y), mech(u), scale)
    require(R <= gate, mech, f"kernel . values against the output: R = {R:.3g}, gate {gate:.3g}")


def constants_equal_repeated_arrays(mech: Mechanism) -> None:
    """A time axis of size 1 means the array repeated; a `Prod` means its product at every step."""
    if not isinstance(mech, Recurrence):
        return
    ltv, X = mech.system(domain_tokens(mech, 5))
    L = X.shape[-3]

    def repeat(x: Any, axis: int) -> Any:
        full = dense(x)
        return np.repeat(full, L, axis=axis) if full.shape[axis] == 1 else full

    D = None if ltv.D is None else repeat(ltv.D, -3)
    full = LTV(ltv.A.map_time(repeat), repeat(ltv.B, -3), repeat(ltv.C, -3), D, ltv.read, L)
    require(np.array_equal(full.scan(X)[0], ltv.scan(X)[0]), mech, "constant is not repeated")
    for x in (ltv.B, ltv.C):
        if isinstance(x, Prod):
            steps = np.stack([at(x, t, -3) for t in range(L)], -3)
            require(np.array_equal(steps, x.dense()), mech, "Prod.dense differs from its .at(t)")


def to_longdouble(x: np.ndarray) -> np.ndarray:
    """The same numbers in extended precision."""
    return x.astype(np.clongdouble if x.dtype.kind == "c" else np.longdouble)


def apply_kernel(ltv: LTV, X: np.ndarray) -> np.ndarray:
    """kernel X, with the kernel from products of transitions: no step shared with scan."""
    return _mix(ltv.kernel(), X, ltv.m == 1 and ltv.r == 1)


def _mix(M: np.ndarray, X: np.ndarray, single: bool) -> np.ndarray:
    """M X for M [... L L] (single input and output) or [... L r L m]."""
    if single:
        return (M @ X[..., 0, :])[..., None, :]
    return np.einsum("...irjm,...jmp->...irp", M, X)


def single_steps(ltv: LTV, X: np.ndarray) -> np.ndarray:
    """The recurrence by `ltv.step`, one call per step."""
    S, out = np.zeros((*ltv.out_batch(X), ltv.n, X.shape[-1])), []
    for t in range(X.shape[-3]):
        y, S = ltv.step(t, S, X[..., t, :, :])
        out.append(y)
    return np.stack(out, -3)


STRUCTURE: tuple[Callable[[Mechanism], None], ...] = (
    output_has_declared_shape,
    tokens_have_declared_shape_and_domain,
    tokens_are_pointwise,
    recurrence_reads_tokens_only,
    every_token_field_matters,
    splitting_changes_nothing,
    scan_splits_bit_by_bit,
    evaluations_agree,
    kernel_reproduces_the_output,
    constants_equal_repeated_arrays,
)
