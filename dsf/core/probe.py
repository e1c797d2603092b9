"""What equations do, measured at random tokens: the one place that the atlas, the table of
differences, the separations and the contract can ask.

Every function takes an instance; "free tokens" are drawn over their whole domains, so what is
measured there does not depend on the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from dsf.core import metrics
from dsf.core.errors import IllConditionedError
from dsf.core.facts import EXACT as EXACT  # `verdicts` reads it as probe.EXACT
from dsf.core.facts import REGIONS
from dsf.core.fields import Domain
from dsf.core.kinds import Recurrence, Step
from dsf.core.mechanism import Mechanism
from dsf.core.state import State
from dsf.core.system import LTV
from dsf.core.tokens import Tokens
from dsf.core.transition import Diag, LowRank, at, dense

ORDER = 1e-10  # far above the rounding of 6 tokens, far below what their order changes
DRAWS, STEPS = 24, 16  # independent draws of the constants, and of tokens for each of them

Draw = Callable[[Domain, np.random.Generator, tuple[int, ...]], np.ndarray]


# -------------------------------------------------------------------- free tokens
def free_tokens(
    mech: Mechanism, rng: np.random.Generator, L: int, draw: Draw = Domain.sample
) -> Tokens:
    """Tokens of L steps drawn in their domains; `Domain.wide` goes towards the open ends."""
    sizes, fields = mech.sizes, {}
    for name, field in mech.token_fields.items():
        if name != "pos":
            head = (sizes["H"],) if mech.has_heads and len(field.axes) == 2 else ()
            fields[name] = draw(field.domain, rng, (*head, *field.shape(sizes, L)))
    return mech.positioned(Tokens(**fields), 0)


@dataclass(frozen=True, eq=False)
class Drawn:
    """A recurrence at free tokens: the system, its values X, and the tokens of its own steps."""

    ltv: LTV
    X: np.ndarray
    tok: Tokens


def drawn_systems(mech: Mechanism, seed: int = 0) -> tuple[Drawn, ...]:
    """The recurrence at DRAWS free sequences of STEPS tokens; none unless it is written as one."""
    if not isinstance(mech, Recurrence):
        return ()
    rng, found = np.random.default_rng(seed), []
    for i in range(DRAWS):  # half of them away from the ends, where rotations are large
        tok = free_tokens(mech, rng, STEPS, Domain.wide if i % 2 else Domain.sample)
        ltv, X = mech.system(tok)
        found.append(Drawn(ltv, X, tok))
    return tuple(found)


def system_on_noise(mech: Mechanism, L: int, seed: int = 0) -> LTV | None:
    """The linear system that a Gaussian input [L d] produces; None for a nonlinear step."""
    u = np.random.default_rng(seed).standard_normal((L, mech.d))
    return None if isinstance(mech, Step) else mech.ltv(u)


# -------------------------------------------------------------------- transitions
def per_token(mech: Mechanism, ltv: LTV) -> np.ndarray:
    """A_t [many T n n], substeps multiplied out."""
    A = ltv.coarsen(mech.substeps).dense().A.dense()
    return A.reshape(-1, *A.shape[-3:])


def is_contraction(A: np.ndarray) -> bool:
    """|A_t|_2 <= 1 up to rounding, for all A [... n n]."""
    return bool(np.linalg.norm(A, 2, axis=(-2, -1)).max() <= 1 + EXACT)


def commute(A: np.ndarray) -> bool:
    """Whether neighbours in A [... T n n] commute, up to rounding."""
    first, second = A[..., :-1, :, :], A[..., 1:, :, :]
    scale = max(np.abs(A).max() ** 2, 1)
    return bool(np.abs(first @ second - second @ first).max(initial=0.0) <= EXACT * scale)


def is_real(z: np.ndarray) -> np.ndarray:
    """Which complex numbers are real up to rounding."""
    return np.abs(z.imag) <= EXACT * np.maximum(1, np.abs(z))


def region(z: np.ndarray) -> str:
    """The smallest region of `REGIONS` that holds all the eigenvalues z."""
    z = np.where(is_real(z), z.real, z)
    inside = [name for name, holds in REGIONS.items() if name != "any" and holds(z).all()]
    return inside[0] if inside else "any"


def varying(ltv: LTV, steps: int = 4) -> str:
    """The letters of the coefficients whose values differ between the first steps."""

    def values(t: int) -> list[np.ndarray]:
        rest = [np.zeros(0) if x is None else at(x, t, -3) for x in (ltv.B, ltv.C, ltv.D)]
        return [ltv.A.at(t).dense(ltv.n), *rest]

    first, others = values(0), [values(t) for t in range(1, min(ltv.length, 1 + steps))]
    changed = [any(not np.array_equal(o[k], x) for o in others) for k, x in enumerate(first)]
    return "".join(name for name, differs in zip("ABCD", changed, strict=True) if differs)


# ------------------------------------------------------------------ the equations
def reads_linearly(mech: Mechanism, drawn: Drawn, seed: int = 0) -> bool:
    """Whether the readout is linear in the output of the recurrence at fixed tokens."""
    rng = np.random.default_rng(seed)
    shape = drawn.ltv.scan(drawn.X)[0][..., mech.substeps - 1 :: mech.substeps, :, :].shape
    o1, o2 = rng.standard_normal((2, *shape))
    try:
        joined = mech.readout(o1 + o2, drawn.tok)
        parts = mech.readout(o1, drawn.tok) + mech.readout(o2, drawn.tok)
    except IllConditionedError:  # a linear readout is defined everywhere
        return False
    return bool(joined.shape == parts.shape and np.allclose(joined, parts, rtol=EXACT))


def diagonal_entries(A: object) -> np.ndarray | None:
    """The entries of a diagonal transition, None of another kind."""
    return np.asarray(A.values()) if isinstance(A, Diag) else None


def delta_front(ltv: LTV) -> np.ndarray | None:
    """s of a delta rule A = s (I - b w w') with B proportional to w; None where A is not that."""
    A = ltv.A
    if not isinstance(A, LowRank) or A.rank != 1 or A.diag.structure != "scalar":
        return None
    U, W, B = dense(A.U), dense(A.W), dense(ltv.B)
    parallel = np.allclose(U @ W.mT, W @ U.mT) and np.allclose(B @ W.mT, W @ B.mT)
    return np.asarray(A.diag.values()) if parallel else None


def is_normalised(mech: Mechanism, seed: int = 0) -> bool:
    """Whether constant values v give that constant as output, up to the rounding of a mean."""
    if "v" not in mech.token_fields:
        return False
    u = np.random.default_rng(seed).standard_normal((6, mech.d))
    tok = mech.tokens(u)
    value = np.broadcast_to(np.linspace(-2, 3, tok.v.shape[-1]), tok.v.shape)
    tok = tok.replace(v=value)
    o = mech.advance(tok, State())[0][..., 0, :]
    scale, gate = metrics.mean_scale(mech, tok)
    constant = np.broadcast_to(value[..., : o.shape[-2], :], o.shape)
    return metrics.ratio(o, constant, scale[..., 0, :]) <= gate


def is_order_aware(mech: Mechanism, seed: int = 0) -> bool:
    """Whether the last output depends on the order of the earlier tokens, beyond rounding."""
    u = np.random.default_rng(seed).standard_normal((6, mech.d))
    y, z = mech(u)[-1], mech(u[[3, 0, 4, 1, 2, 5]])[-1]
    return bool(np.abs(y - z).max() > ORDER * np.abs(y).max())


# -------------------------------------------------------------------------- sizes
def numbers(x: np.ndarray | None) -> int:
    """Real numbers in an array."""
    return 0 if x is None else x.size * (2 if np.iscomplexobj(x) else 1)


def kept_numbers(mech: Mechanism, end: State) -> int:
    """Real numbers that `run` hands on: the state, and look-back rows (constants do not count)."""
    rows = () if end.tail is None else end.tail.items()
    return numbers(end.S) + sum(numbers(x) for k, x in rows if mech.token_fields[k].per_token)


def sizes(mech: Mechanism, L: int) -> Mapping[str, int]:
    """The letters of the formulas of `Facts` with their values."""
    return {**mech.sizes, **{k: v for k, v in mech.options().items() if type(v) is int}, "L": L}
