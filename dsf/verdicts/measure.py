"""Measuring one mechanism for the atlas."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core.arrays import common_zero
from dsf.core.catalogue import families
from dsf.core.errors import NotContractive, NotLinearError
from dsf.core.facts import count
from dsf.core.family import Family
from dsf.core.kinds import Attention
from dsf.core.mechanism import Mechanism
from dsf.core.state import State
from dsf.core.system import LTV
from dsf.core.tokens import Tokens
from dsf.core.transition import at

RANK = 1e-12  # singular values below this times the largest count as zero
EXACT = 1e-12  # what rounding may add to an identity between numbers of size 1
DRAWS, STEPS = 24, 4  # independent draws of the constants, and of tokens for each of them


@dataclass(frozen=True)
class Row:
    """One mechanism; the fields are explained in `dsf.atlas.COLUMNS`."""

    mechanism: str
    structure: str
    state_formula: str
    state: int
    memory: int
    flops_formula: str
    flops: int
    order_aware: bool
    lookback: int | str
    micro: int
    source: str
    varies: str | None = None
    reads: str | None = None
    field: str = "real"
    eigenvalues: str | None = None
    eigenvalue_low: float | None = None
    eigenvalue_high: float | None = None
    contraction: bool | None = None
    commuting: bool | None = None
    parity: bool | None = None
    normalised: bool | None = None
    rank: int | None = None


def measure(family: Family, *, d: int, n: int, p: int, heads: int, L: int, seed: int) -> Row:
    """The row of a family from one instance, one random input, and tokens over the domains."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotContractive)  # it is a column of the table
        return _measure(family, d, n, p, heads, L, seed)


def _measure(family: Family, d: int, n: int, p: int, heads: int, L: int, seed: int) -> Row:
    rng = np.random.default_rng(seed)
    mech, u = family.init(d, n, p, heads, seed), rng.standard_normal((L, d))
    facts, (_, end) = mech.facts, mech.run(u)
    sizes = {**mech.sizes, **{k: v for k, v in mech.options().items() if type(v) is int}, "L": L}
    common: dict[str, Any] = {
        "mechanism": _name(family),
        "state_formula": facts.state,
        "memory": _numbers(end.S) + sum(map(_numbers, _kept_rows(mech, end))),
        "flops_formula": facts.flops,
        "flops": count(facts.flops, sizes),
        "order_aware": _is_order_aware(mech, u),
        "lookback": "all" if mech.lookback is None else mech.lookback,
        "micro": mech.micro,
        "source": facts.source,
    }
    try:
        ltv, X = mech.frozen(u)
    except NotLinearError:
        return Row(structure="nonlinear", state=_numbers(end.S), **common)
    A = _transitions(mech, ltv, rng)
    eigenvalues = np.linalg.eigvals(A).astype(complex).ravel()
    shown, low, high = _region(eigenvalues)
    varies = _varying(ltv)
    return Row(
        structure=ltv.A.structure,
        varies=varies,
        reads=ltv.read,
        field="complex" if np.iscomplexobj(common_zero(*ltv.arrays())) else "real",
        state=_numbers(end.S) or int(np.prod(ltv.batch)) * ltv.n * X.shape[-1],
        eigenvalues=shown,
        eigenvalue_low=low,
        eigenvalue_high=high,
        contraction=bool(np.linalg.norm(A, 2, axis=(-2, -1)).max() <= 1 + EXACT),
        commuting=_commute(A),
        parity="A" in varies and bool(np.any(~_real(eigenvalues) | (eigenvalues.real < 0))),
        normalised=bool(np.abs(ltv.scan(np.ones_like(X))[0] - 1).max() <= EXACT),
        rank=_hankel_rank(ltv),
        **common,
    )


def _name(family: Family) -> str:
    """The registered name, and the options in which a family differs from what it stands for."""
    standard = families()[family.name].static
    changed = {k: v for k, v in family.static.items() if k not in standard or standard[k] != v}
    return family.name + (
        f"({', '.join(f'{k}={v}' for k, v in changed.items())})" if changed else ""
    )


def _numbers(x: np.ndarray | None) -> int:
    """Real numbers in an array."""
    return 0 if x is None else x.size * (2 if np.iscomplexobj(x) else 1)


def _kept_rows(mech: Mechanism, end: State) -> list[np.ndarray]:
    """The look-back rows of a state; constant fields are parameters and do not count."""
    tail = end.tail
    return [] if tail is None else [x for k, x in tail.items() if mech.token_fields[k].per_token]


def _transitions(mech: Mechanism, ltv: LTV, rng: np.random.Generator) -> np.ndarray:
    """Sampled A_t [many H T n n], the axis T holding tokens of one sequence."""
    if isinstance(mech, Attention):
        return np.broadcast_to(ltv.A.dense(), (1, 1, 1, ltv.n, ltv.n))
    found = []
    for _ in range(DRAWS):
        tok = _wide_tokens(mech, rng)
        one = mech.system(tok)[0].coarsen(mech.micro).dense().A.dense()
        found.append(one.reshape(-1, *one.shape[-3:]))
    return np.stack(found)


def _wide_tokens(mech: Mechanism, rng: np.random.Generator) -> Tokens:
    sizes, L = mech.sizes, STEPS + (mech.lookback or 0)
    fields = {}
    for name, field in mech.token_fields.items():
        if name != "pos":
            head = (sizes["H"],) if mech.heads and len(field.axes) == 2 else ()
            fields[name] = field.domain.wide(rng, (*head, *field.shape(sizes, L)))
    return Tokens(**fields)


def _real(z: np.ndarray) -> np.ndarray:
    return np.abs(z.imag) <= EXACT * np.maximum(1, np.abs(z))


def _region(z: np.ndarray) -> tuple[str, float, float]:
    """The range of the eigenvalues if all are real, else of their absolute values, and its text."""
    real = bool(_real(z).all())
    size = z.real if real else np.abs(z)
    low, high = float(size.min()), float(size.max())
    text = _shown(low) if _shown(low) == _shown(high) else f"{_shown(low)}..{_shown(high)}"
    return text if real else f"|z| {text}", low, high


def _shown(x: float) -> str:
    """Two decimals, rounded towards 0, so that 0.999 is not shown as the 1 it does not reach."""
    if x == 0 or (round(x) != 0 and abs(x - round(x)) <= EXACT):
        return str(round(x))
    return f"{int(x * 100) / 100:.2f}"


def _commute(A: np.ndarray) -> bool:
    """Whether the transitions of each sampled sequence commute."""
    first, second = A[..., :-1, :, :], A[..., 1:, :, :]
    scale = np.abs(A).max() ** 2
    return not A.shape[-3] > 1 or bool(
        np.abs(first @ second - second @ first).max() <= EXACT * max(scale, 1)
    )


def _varying(ltv: LTV) -> str:
    """The letters of the coefficients whose values differ between the first steps."""

    def values(t: int) -> list[np.ndarray]:
        rest = [np.zeros(0) if x is None else at(x, t, -3) for x in (ltv.B, ltv.C, ltv.D)]
        return [ltv.A.at(t).dense(ltv.n), *rest]

    first, others = values(0), [values(t) for t in range(1, min(ltv.length, 1 + STEPS))]
    changed = [any(not np.array_equal(o[k], x) for o in others) for k, x in enumerate(first)]
    return "".join(name for name, differs in zip("ABCD", changed, strict=True) if differs)


def _is_order_aware(mech: Mechanism, u: np.ndarray) -> bool:
    """Whether reversing the earlier tokens changes the last output beyond rounding."""
    turned = np.concatenate([u[-2::-1], u[-1:]])
    y, z = mech(u)[-1], mech(turned)[-1]
    return bool(np.abs(y - z).max() > 1e-10 * np.abs(y).max())


def _hankel_rank(ltv: LTV) -> int:
    """Largest rank of the middle Hankel block over heads, of the real part of the kernel."""
    H = ltv.hankel(ltv.length // 2).real
    return int(np.linalg.matrix_rank(H, rtol=RANK).max(initial=0))
