"""How many states does an operator need?  Two-sided, with a system and a certificate."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from textwrap import wrap
from typing import Any

import numpy as np

from dsf.claims import hankel as claims
from dsf.claims import realization as claim
from dsf.core.certificate import Certificate
from dsf.core.errors import DomainError, ShapeError
from dsf.core.printing import at_least, at_most, exactly
from dsf.core.system import LTV
from dsf.core.transition import Dense, Diag
from dsf.states.apriori import TheoremBound
from dsf.states.compress import pad
from dsf.states.hankel import Cut, best_count, best_gap, block, spread_cuts
from dsf.states.inputs import as_blocks
from dsf.states.rounding import fro
from dsf.states.search import Head, Part, best_error, count_states, diagonal

CAVEAT = "the upper bound is for coefficients that may depend on the whole sequence"


@dataclass(frozen=True, eq=False)
class Realization:
    """A system for an operator, with two-sided bounds that hold for the stored floats.

    system       LTV (read="before"); its kernel is within `error` of M.  Heads are a batch axis
    backward     None for a causal M; else the LTV of the strictly upper part, run from the end:
                 y = system.scan(X) + flip(backward.scan(flip(X))), flip along time
    lower, upper states: `lower` are necessary, `upper` are those of the system (forward + backward,
                 the largest over heads).  When `states` was asked: bounds of the best error instead
    error        proved bound of the absolute operator 2-norm |M - M^|
    certificate  its `check()` recomputes all of this from the witnesses
    theorems     bounds that a theorem gives without a system: reported beside, never as `upper`
    heads        one Realization per head ([H L L] only)
    """

    system: LTV
    lower: float
    upper: float
    error: float
    certificate: Certificate
    theorems: tuple[TheoremBound, ...] = ()
    backward: LTV | None = None
    heads: tuple[Realization, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def __repr__(self) -> str:
        w = self.certificate.witnesses
        counting, unit = w["question"] == "states", " |M|" if w["relative"] else ""
        asked = f"error {exactly(w['asked'])}{unit}" if counting else f"{w['asked']} states"
        L, r, _, m = w["heads"][0]["M"].shape
        shape = f"[{L} {L}]" if r == m == 1 else f"[{L} {r} {L} {m}]"
        heads = f", {len(self.heads)} heads" if self.heads else ""
        suffix = "" if counting else unit
        low, high = at_least(self.lower, 6) + suffix, at_most(self.upper, 6) + suffix
        what = "states" if counting else "error"
        if counting and self.backward is not None:
            what = "states, forward and backward together"
        lines = [
            f"Realization of M {shape}{heads} for {asked}   ({self.certificate.strength.value})",
            f"  necessary   {low:>8} {what}",
            f"  sufficient  {high:>8} {what}",
            f"  proved      |M - M^| <= {at_most(self.error, 6)}",
            f"  {CAVEAT}",
        ]
        for t in self.theorems:
            condition = "" if t.condition == "none" else f" ({t.condition})"
            error = at_most(t.error, 3)
            lines.append(
                f"  theorem     {t.states:>8} states, error <= {error}: {t.name}{condition}"
            )
        for note in self.notes:
            lines += wrap(note, 79, initial_indent="  note        ", subsequent_indent=" " * 14)
        return "\n".join([*lines, f"  time        {self.seconds:.2f} s"])


def realize(
    M: Any,
    error: float | None = None,
    states: int | None = None,
    relative: bool = False,
    budget: float = 10.0,
    radius: Any = 0.0,
) -> Realization:
    """A recurrence for the operator M: few states for an error, or a small error for `states`.

        lower = max_k #{j : sigma_j(M[k:, :k]) > error}  <=  states needed  <=  upper (.system)

    and with states = n:  lower = max_k sigma_{n+1}(M[k:, :k])  <=  best error  <=  upper (proved)

    M is [L L], [H L L] (each head by itself), [L r L m] or [H L r L m], real, computed in float64.
    Entries above the diagonal give a second, backward system and bounds of both directions
    together: each direction must satisfy the lower bound by itself, so the counts add (`states`
    are those of each direction).  `error` is in the operator 2-norm, times |M|_2 of each head if
    `relative`.  `radius` (a number: 2-norm; an array of M's shape: entrywise) widens every
    statement to all operators within it of M.  After `budget` seconds the best bounds so far are
    returned; the last proof is not interrupted.  An error below about 1e-7 |M| needs an SVD at
    each step instead of Gram matrices, which is slower; about 1e-12 L |M| is the least that can
    be proved.

    Where more states than about L/8 are needed and the time is short, the system is an exact one:
    floor(L/2) states if its coefficients fit into memory, otherwise all L - 1 past inputs.

    Raises DomainError, ShapeError, DTypeError, NonFiniteError.
    Source: van der Veen and Dewilde (Hankel blocks), Sandberg and Rantzer (truncation), Rump
    (positive definiteness).

    >>> import numpy as np
    >>> t = np.arange(32)
    >>> M = np.tril(1 / (1 + np.subtract.outer(t, t).clip(0)))
    >>> found = realize(M, error=1e-2)
    >>> found.lower, found.upper, found.error <= 1e-2, found.certificate.check()
    (3, 3, True, True)
    """
    start = time.monotonic()
    if (error is None) == (states is None):
        raise DomainError(
            f"realize: give exactly one of error= and states=; got error={error}, states={states}"
        )
    if error is not None and not (np.isfinite(error) and error > 0):
        raise DomainError(f"realize: error must be positive and finite; got {error}")
    if states is not None and (states != int(states) or states < 0):
        raise DomainError(f"realize: states must be a whole number >= 0; got {states}")
    if not budget > 0:
        raise DomainError(
            f"realize: budget is a time in seconds and must be positive; got {budget}"
        )
    blocks = as_blocks(M, "realize")
    radii = _radii(radius, blocks)
    heads = []
    for h, X in enumerate(blocks):
        left = start + budget - time.monotonic()
        deadline = time.monotonic() + max(left, 0.0) / (len(blocks) - h)
        head = Head(X, radii[h], relative, deadline)
        if error is not None:
            count_states(head, float(error))
        else:
            best_error(head, int(states or 0))
        heads.append(head)
    asked = float(error) if error is not None else int(states or 0)
    singles = [_report([head], asked) for head in heads]
    whole = singles[0] if len(heads) == 1 else replace(_report(heads, asked), heads=tuple(singles))
    if np.ndim(M) in (3, 5) and len(heads) == 1:  # a head axis of size 1 stays one
        whole = replace(_report(heads, asked, keep=True), heads=tuple(singles))
    return replace(whole, seconds=time.monotonic() - start)


def states_needed(
    mech_or_M: Any,
    u: Any = None,
    error: float = 1e-2,
    relative: bool = False,
    budget: float = 10.0,
    radius: Any = 0.0,
) -> Realization:
    """How many states a recurrence needs to do what a mechanism does on u, or what M does.

    `states_needed(mech, u, error)` is `realize(mech.kernel(u), error)`; the claim is about the
    stored float64 kernel, and about the exact one if `radius` bounds their distance.  An LTV needs
    no u.
    Raises what `realize` raises, and ShapeError where u is missing.

    >>> import numpy as np
    >>> states_needed(np.tril(np.ones((8, 8))), error=1e-3).upper
    1
    """
    if hasattr(mech_or_M, "kernel"):
        if u is None and not isinstance(mech_or_M, LTV):
            raise ShapeError(
                "states_needed: a mechanism has a kernel only once its input is known; pass u=[L d]"
            )
        M = mech_or_M.kernel() if u is None else mech_or_M.kernel(u)
    else:
        M = mech_or_M
    return realize(M, error=error, relative=relative, budget=budget, radius=radius)


def hankel_lower(M: Any, error: float, radius: float = 0.0) -> Certificate:
    """How many states are necessary: `.lower` singular values of one Hankel block exceed `error`.

        any recurrence with n states:  ||M - M^||_2 >= sigma_{n+1}(M[k:, :k])   for every cut k

    M [L L] or [L r L m], causal part only; all cuts for L <= 128, else 7 of them.  The certificate
    (enclosed) holds the block and test subspaces of it; `hankel` derives the rounding bound.
    Raises DomainError, ShapeError, DTypeError, NonFiniteError.

    >>> import numpy as np
    >>> hankel_lower(np.eye(9, k=-3), error=0.5).lower
    3
    """
    if not error >= 0:
        raise DomainError(f"hankel_lower: error must be >= 0; got {error}")
    blocks = as_blocks(M, "hankel_lower", heads=False)
    found = best_count(blocks, error + radius, spread_cuts(blocks.shape[0]))
    n = found.sigma.size
    H = block(blocks, found.k)
    return claims.HankelLower(
        lower=n, H=H, cut=found.k, U=found.U, V=found.V, error=float(error), radius=float(radius),
        residuals={"sigma": _plain(blocks, found)},
    ).certificate()  # fmt: skip


def hankel_gap(M: Any, states: int, radius: float = 0.0) -> Certificate:
    """How large the error of any recurrence with `states` states is at least: `.lower`.

        ||M - M^||_2 >= max_k sigma_{states+1}(M[k:, :k])

    Arguments, cuts and errors as in `hankel_lower`.

    >>> import numpy as np
    >>> round(hankel_gap(np.eye(9, k=-3), states=2).lower, 6)
    1.0
    """
    blocks = as_blocks(M, "hankel_gap", heads=False)
    found = best_gap(blocks, states, spread_cuts(blocks.shape[0]))
    if not found.sigma.size:
        raise DomainError(
            f"hankel_gap: no Hankel block of M [{' '.join(map(str, np.shape(M)))}] has rank above "
            f"{states}: a recurrence with {states} states can reproduce it"
        )
    low = max((float(found.sigma[-1]) - radius) * (1 - 2.0**-36), 0.0)
    H = block(blocks, found.k)
    return claims.HankelGap(
        lower=low, H=H, cut=found.k, U=found.U, V=found.V, states=states, radius=float(radius),
        residuals={"sigma": _plain(blocks, found)},
    ).certificate()  # fmt: skip


# ----------------------------------------------------------------- the report
def _report(heads: list[Head], asked: float | int, keep: bool = False) -> Realization:
    """Bounds, systems and certificate of a list of heads (keep: even a single one is a batch)."""
    by_error = isinstance(asked, float)
    relative = heads[0].relative
    if by_error:
        lower: float = max(sum(p.cut.sigma.size for p in head.parts) for head in heads)
        upper: float = max(sum(p.states for p in head.parts) for head in heads)
    else:
        lower, upper = max(map(_floor, heads)), max(map(_ceiling, heads))
    error = max(head.error for head in heads)
    squares = plain = norms = 0.0
    for head in heads:
        squares += head.frobenius**2
        plain += sum(_plain(p.M, p.cut) for p in head.parts)
        norms += head.norm[1] / head.norm[0] - 1.0 if head.norm[0] > 0 else 0.0
    residuals = dict(
        sigma=plain, frobenius=float(np.sqrt(squares)), error=sum(head.error for head in heads),
        norm_gap=norms,
    )  # fmt: skip
    certificate = claim.Realization(
        lower=lower, upper=upper, question="states" if by_error else "error", asked=asked,
        relative=relative, radius=max(head.radius for head in heads),
        heads=tuple(_witnesses(head) for head in heads), residuals=residuals,
    ).certificate()  # fmt: skip
    both = any(len(head.parts) > 1 for head in heads)
    batch = keep or len(heads) > 1
    return Realization(
        _ltv([head.parts[0] for head in heads], batch),
        lower, upper, error, certificate,
        theorems=heads[0].theorems if len(heads) == 1 else (),
        backward=_ltv([_backward(head) for head in heads], batch) if both else None,
        notes=tuple(dict.fromkeys(note for head in heads for note in head.notes)),
    )  # fmt: skip


def _floor(head: Head) -> float:
    """The proved lower bound of the best error of one head."""
    proved = max((float(p.cut.sigma[-1]) for p in head.parts if p.cut.sigma.size), default=0.0)
    proved = max((proved - head.radius) * (1 - 2.0**-36), 0.0)
    return proved / head.norm[1] if head.norm[1] > 0 else 0.0


def _ceiling(head: Head) -> float:
    """The proved upper bound of the best error of one head."""
    if head.error == 0.0:
        return 0.0
    return head.error / head.norm[0] * (1 + 2.0**-36) if head.norm[0] > 0 else float("inf")


def _witnesses(head: Head) -> claim.Head:
    low, high = head.norm if head.relative else (None, None)
    return claim.Head(
        M=head.M, error=head.error, D=diagonal(head.parts[0].M), norm_low=low, norm_high=high,
        norm_v=head.norm_v, **{part.name: _direction(part) for part in head.parts},
    )  # fmt: skip


def _direction(part: Part) -> claim.Direction:
    k, U, V = part.cut.k, part.cut.U, part.cut.V
    if part.system is None:
        return claim.Direction(cut=k, U=U, V=V, cache=True)
    A, B, C, _ = part.system
    return claim.Direction(cut=k, U=U, V=V, A=A, B=B, C=C)


def _plain(M: np.ndarray, cut: Cut) -> float:
    """min |diag U'HV| in plain floats: close to the last singular value that is used."""
    if not cut.sigma.size:
        return 0.0
    return float(np.abs(np.diagonal(cut.U.T @ (block(M, cut.k) @ cut.V))).min())


def _backward(head: Head) -> Part:
    """The backward direction of a head, empty where the head is causal."""
    if len(head.parts) > 1:
        return head.parts[1]
    L, r, _, m = head.M.shape
    empty = (np.zeros((L, 0, 0)), np.zeros((L, 0, m)), np.zeros((L, r, 0)), np.zeros((L, r, m)))
    return Part("backward", head.M, system=empty)


def _ltv(parts: list[Part], batch: bool) -> LTV:
    """One LTV for all heads, padded; the cache of all inputs if any head uses it."""
    L, r, _, m = parts[0].M.shape
    systems = [part.system for part in parts if part.system is not None]
    if len(systems) < len(parts):
        return _cache(parts, batch)
    n = max(part.states for part in parts)

    def padded(arrays: list[np.ndarray], *shape: int) -> np.ndarray:
        out = pad(arrays, (len(arrays), *shape))
        return out if batch else out[0]

    A, B, C, D = (list(x) for x in zip(*systems, strict=True))
    return LTV(
        Dense(padded(A, L, n, n)), padded(B, L, n, m), padded(C, L, r, n), padded(D, L, r, m),
        read="before", steps=L,
    )  # fmt: skip


def _cache(parts: list[Part], batch: bool) -> LTV:
    """S_t = S_{t-1} + e_t x_t, C_t = row t of M: the growing key-value cache, exact."""
    L, r, _, m = parts[0].M.shape
    n = max(L - 1, 0) * m
    B = np.eye(L * m)[:n].reshape(n, L, m).swapaxes(0, 1)
    t = np.arange(L)
    earlier = (t[:, None] > t[None, : L - 1])[:, None, :, None]
    C = [np.where(earlier, part.M[:, :, : L - 1, :], 0.0).reshape(L, r, n) for part in parts]
    D = [diagonal(part.M) * (part.name == "forward") for part in parts]
    first = (lambda x: np.stack(x)) if batch else (lambda x: x[0])
    return LTV(Diag(a=np.ones((1, 1))), B, first(C), first(D), read="before", steps=L)


def _radii(radius: Any, blocks: np.ndarray) -> list[float]:
    """A bound of the 2-norm of the uncertainty, per head."""
    rho = np.asarray(radius, dtype=np.float64)
    if not (np.all(np.isfinite(rho)) and np.all(rho >= 0)):
        raise DomainError(
            "realize: radius must be finite and >= 0 (a number, or an array of M's shape)"
        )
    if rho.ndim == 0:
        return [float(rho)] * len(blocks)
    if rho.size != blocks.size:
        raise ShapeError(
            f"realize: radius must be a number or have the shape of M; got {rho.shape}"
        )
    return [max(fro(x) for x in rho.reshape(len(blocks), -1))] * len(blocks)
