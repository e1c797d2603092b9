"""The contract of a mechanism, part 1: shapes, splitting, evaluations, facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from dsf.core import metrics
from dsf.core.errors import ContractError
from dsf.core.facts import REGIONS, count
from dsf.core.mechanism import Mechanism
from dsf.core.state import State
from dsf.core.system import LTV
from dsf.core.tokens import Tokens, inside, sample
from dsf.core.transition import Prod, dense

CHUNKS = (1, 7, 16, 64)


def require(holds: Any, mech: Mechanism, what: str) -> None:
    """Raise ContractError, naming the mechanism, unless `holds`."""
    if not bool(holds):
        raise ContractError(f"{type(mech).__name__}: {what}")


def draw(mech: Mechanism, L: int, seed: int = 0, batch: tuple[int, ...] = ()) -> np.ndarray:
    """A Gaussian input [... L d]."""
    return np.random.default_rng(seed).standard_normal((*batch, L, mech.d))


def domain_tokens(mech: Mechanism, L: int, seed: int = 0) -> Tokens:
    """Random tokens in their declared domains, with the look-back rows that `system` expects."""
    rng, sizes = np.random.default_rng(seed), mech.sizes
    L = L + (mech.lookback or 0)
    found = {}
    for name, field in mech.token_fields.items():
        if name != "pos":
            head = (sizes["H"],) if mech.heads and len(field.axes) == 2 else ()
            found[name] = sample(field, (*head, *field.shape(sizes, L)), rng)
    return mech._with_position(Tokens(**found), 0)


def is_recurrence(mech: Mechanism) -> bool:
    """Whether the mechanism is written by `system` (not by `rows` or `step`)."""
    return not (mech._has("rows") or mech._has("step"))


# ----------------------------------------------------------------------- shapes
def output_has_declared_shape(mech: Mechanism) -> None:
    """y is [... L H p] for every length and batch, the kernel [... H L L] or [... L r L m]."""
    width = mech(draw(mech, 1)).shape[-1]
    for L in (0, 1, 2, 5):
        for batch in ((), (0,), (2,), (2, 1)):
            y = mech(draw(mech, L, batch=batch))
            good = y.shape == (*batch, L, width) and y.dtype == np.float64
            require(good, mech, f"output {y.dtype} {y.shape} for input {(*batch, L, mech.d)}")
    if not mech._has("step"):
        for L in (0, 1, 4):
            shape = mech.kernel(draw(mech, L)).shape
            good = shape[-2:] == (L, L) or (shape[-4], shape[-2]) == (L, L)
            require(good, mech, f"kernel of shape {shape} for L = {L}")


def tokens_have_declared_shape_and_domain(mech: Mechanism) -> None:
    """Every token field has the axes and the domain of the spec, for Gaussian inputs."""
    L, sizes = 5, mech.sizes
    tok = mech.tokens(draw(mech, L, seed=1))
    declared = {name for name in mech.spec if name != "pos"}
    require(set(tok.names) == declared, mech, f"token fields {tok.names}, declared {declared}")
    for name, x in tok.items():
        field = mech.token_fields[name]
        head = (sizes["H"],) if mech.heads and len(field.axes) == 2 else ()
        want = (*head, *field.shape(sizes, L))
        fits = len(x.shape) <= len(want) and all(
            a in (b, 1) for a, b in zip(x.shape[::-1], want[::-1], strict=False)
        )
        require(fits, mech, f"token {name} has shape {x.shape}; the spec says {want}")
        require(inside(field, x), mech, f"token {name} leaves its domain {field.domain!r}")


# ------------------------------------------------------------------------ tokens
def tokens_are_pointwise(mech: Mechanism) -> None:
    """Row i of every per-token field depends on u_i alone, and on no position."""
    from dsf.core.worlds import balls, precision

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
        s = mech.micro if field.axes[-2] == "sL" else 1
        keep = [i * s + j for i in (0, 2, 3) for j in range(s)] if field.per_token else slice(None)
        same = np.array_equal(x[..., keep, :], getattr(after, name)[..., keep, :])
        require(same, mech, f"token {name} of another row changed with u_1: not pointwise")
        rows = [i * s + j for i in order for j in range(s)] if field.per_token else slice(None)
        a, b = getattr(straight, name)[..., rows, :], getattr(permuted, name)
        meet = all(p.overlaps(q) for p, q in zip(a.flat, b.flat, strict=True))
        require(meet, mech, f"permuting u does not permute token {name}: it knows its position")


def system_reads_tokens_only(mech: Mechanism) -> None:
    """`system`, `rows`, `step` and `readout` work without the parameter arrays, on tokens alone."""
    tok = mech.tokens(draw(mech, 3))
    blank = replace(mech, **dict.fromkeys(mech.parameters()))
    try:
        o = blank.advance(tok, State())[0]
    except (TypeError, AttributeError) as e:
        raise ContractError(
            f"{type(mech).__name__}: the recurrence reads a parameter array ({e}); make it a token "
            'field with time axis "1"'
        ) from e
    require(np.array_equal(o, mech.advance(tok, State())[0]), mech, "parameters change the result")


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
    if not is_recurrence(mech):
        return
    ltv, X = mech.system(domain_tokens(mech, 7))
    whole, last = ltv.scan(X)
    L = X.shape[-3]
    for cut in range(L + 1):
        head, S = ltv.window(0, cut).scan(X[..., :cut, :, :])
        tail, end = ltv.window(cut, L).scan(X[..., cut:, :, :], S)
        same = np.array_equal(np.concatenate([head, tail], -3), whole) and np.array_equal(end, last)
        require(same, mech, f"scan split at {cut} of {L} differs in bits")


# ---------------------------------------------------------- independent evaluations
def evaluations_agree(mech: Mechanism) -> None:
    """scan = kernel X = chunks of every size = single steps = the longdouble recurrence."""
    if mech._has("step"):
        return
    L = 70
    ltv, X = mech.frozen(draw(mech, L, seed=3))
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
    """y = kernel . values before output gates: the frozen system is the mechanism on this input."""
    if mech._has("step"):
        return
    u = draw(mech, 6, seed=4)
    ltv, X = mech.frozen(u)
    y = _mix(mech.kernel(u), X, ltv.m == 1 and ltv.r == 1)
    tok = mech.tokens(u)
    y = y * tok.gate[..., :, None, :] if "gate" in tok.names else y
    scale, gate = metrics.end_to_end(mech, u)
    R = metrics.ratio(mech._merge(y), mech(u), scale)
    require(R <= gate, mech, f"kernel . values against the output: R = {R:.3g}, gate {gate:.3g}")


def constants_equal_repeated_arrays(mech: Mechanism) -> None:
    """A time axis of size 1 means the array repeated; a `Prod` means its product at every step."""
    if not is_recurrence(mech):
        return
    ltv, X = mech.system(domain_tokens(mech, 5))
    L = X.shape[-3]

    def repeat(x: Any, axis: int) -> Any:
        full = dense(x)
        return np.repeat(full, L, axis=axis) if full.shape[axis] == 1 else full

    D = None if ltv.D is None else repeat(ltv.D, -3)
    full = LTV(ltv.A._rows(repeat), repeat(ltv.B, -3), repeat(ltv.C, -3), D, ltv.read, L)
    require(np.array_equal(full.scan(X)[0], ltv.scan(X)[0]), mech, "constant is not repeated")
    for x in (ltv.B, ltv.C):
        if isinstance(x, Prod):
            from dsf.core.transition import at

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
    S, out = np.zeros((*ltv._out_batch(X), ltv.n, X.shape[-1])), []
    for t in range(X.shape[-3]):
        y, S = ltv.step(t, S, X[..., t, :, :])
        out.append(y)
    return np.stack(out, -3)


# -------------------------------------------------------------------------- facts
def causality_is_as_claimed(mech: Mechanism) -> None:
    """Changing the future leaves earlier outputs as they are, to the last bit."""
    u, L = draw(mech, 5, seed=5), 5
    leaks = False
    for j in range(1, L):
        changed = u.copy()
        changed[j:] += draw(mech, L - j, seed=6)
        leaks |= not np.array_equal(mech(changed)[:j], mech(u)[:j])
    require(leaks != mech.facts.causal, mech, f"facts.causal = {mech.facts.causal} is wrong")


def structure_is_as_claimed(mech: Mechanism) -> None:
    """The transition's structure, read off the shapes, is that of the facts."""
    claim = mech.facts.structure
    if mech._has("step"):
        found = "nonlinear"
    elif mech._has("rows"):
        found = mech.ltv(draw(mech, 3)).A.structure
    else:
        ltv = mech.system(domain_tokens(mech, 3))[0]
        found = claim if ltv.n == 1 and claim == "diagonal" else ltv.A.structure
    require(found == claim, mech, f"facts.structure = {claim!r}, but the system is {found!r}")


def contraction_is_as_claimed(mech: Mechanism) -> None:
    """|A_t|_2 <= 1 for tokens in their domains; where it is not claimed, a violation exists."""
    if mech._has("step"):
        return
    A = _transitions(mech)
    norm = float(np.linalg.norm(A, 2, axis=(-2, -1)).max())
    holds = norm <= 1 + 8 * metrics.unit(np.float64) * A.shape[-1]
    require(
        holds == mech.facts.contraction,
        mech,
        f"facts.contraction = {mech.facts.contraction}, but the largest |A_t| found is {norm:.6g}",
    )


def eigenvalues_are_as_claimed(mech: Mechanism) -> None:
    """The eigenvalues of A_t lie in the region of the facts, for tokens in their domains."""
    region = mech.facts.eigenvalues
    if mech._has("step"):
        return
    found = np.linalg.eigvals(_transitions(mech)).astype(complex)
    found = np.where(abs(found.imag) < 1e-12, found.real, found)  # rounding of a real one
    bad = found[~REGIONS[region](found)]
    require(not bad.size, mech, f"facts.eigenvalues = {region!r}, but {bad[:1]} is one")


def _transitions(mech: Mechanism) -> np.ndarray:
    """Many A_t [... n n] from tokens in their domains."""
    L = 100
    if mech._has("rows"):
        return np.asarray(mech.ltv(draw(mech, 6)).A.dense())
    ltv = mech.system(domain_tokens(mech, L, seed=7))[0]
    return np.asarray(ltv.coarsen(mech.micro).dense().A.dense())


def normalisation_is_as_claimed(mech: Mechanism) -> None:
    """Constant values give that constant; where it is not claimed, they do not."""
    if "v" not in mech.spec:
        require(not mech.facts.normalised, mech, "facts.normalised needs values v among the tokens")
        return
    tok = mech.tokens(draw(mech, 6, seed=8))
    value = np.broadcast_to(np.linspace(-2, 3, tok.v.shape[-1]), tok.v.shape)
    o = mech.advance(tok.replace(v=value), State())[0][..., 0, :]
    # the rounding of a weighted mean of 6 values, whatever the weights
    holds = np.abs(o - value[..., : o.shape[-2], :]).max() <= 16 * metrics.unit(o.dtype) * 3
    claim = mech.facts.normalised
    require(holds == claim, mech, f"facts.normalised = {claim} is wrong")


def order_is_as_claimed(mech: Mechanism) -> None:
    """The last output sees the order of the earlier tokens, or does not, as claimed."""
    u = draw(mech, 6, seed=9)
    permuted = u[[3, 0, 4, 1, 2, 5]]
    scale, gate = metrics.end_to_end(mech, u)
    R = metrics.ratio(mech(permuted)[-1], mech(u)[-1], scale[-1])
    claim = mech.facts.order_aware
    require((R > gate) == claim, mech, f"facts.order_aware = {claim}, but permuting gives {R:.3g}")


def state_size_is_as_claimed(mech: Mechanism) -> None:
    """The formula counts the real numbers in the state (attention: in the kept values)."""
    L = 6
    u = draw(mech, L)
    sizes = {**mech.sizes, "L": L, **{k: v for k, v in mech.options().items() if type(v) is int}}
    claim = count(mech.facts.state, sizes)
    if mech._has("rows"):
        ltv, X = mech.frozen(u)
        found = ltv.n * X.shape[-1] * sizes["H"]
    else:
        S = mech.run(u)[1].S
        found = S.size * (2 if S.dtype.kind == "c" else 1)
    require(found == claim, mech, f"facts.state = {mech.facts.state!r} = {claim}, kept: {found}")


def cost_formula_has_a_value(mech: Mechanism) -> None:
    """The flops formula uses known letters and gives a positive number."""
    sizes = {**mech.sizes, "L": 6, **{k: v for k, v in mech.options().items() if type(v) is int}}
    require(count(mech.facts.flops, sizes) > 0, mech, f"facts.flops = {mech.facts.flops!r}")
    require(mech.facts.source, mech, "facts.source is empty")


STRUCTURE: tuple[Callable[[Mechanism], None], ...] = (
    output_has_declared_shape,
    tokens_have_declared_shape_and_domain,
    tokens_are_pointwise,
    system_reads_tokens_only,
    splitting_changes_nothing,
    scan_splits_bit_by_bit,
    evaluations_agree,
    kernel_reproduces_the_output,
    constants_equal_repeated_arrays,
    causality_is_as_claimed,
    structure_is_as_claimed,
    contraction_is_as_claimed,
    eigenvalues_are_as_claimed,
    normalisation_is_as_claimed,
    order_is_as_claimed,
    state_size_is_as_claimed,
    cost_formula_has_a_value,
)
