"""The contract of a mechanism, part 2: every fact, found by sampling or by counting."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dsf.core import metrics, ops, probe
from dsf.core.errors import ContractError, UnknownNameError
from dsf.core.facts import EXACT, REGIONS, count
from dsf.core.kinds import Attention, DotProductAttention, Step
from dsf.core.mechanism import Mechanism
from dsf.core.transition import Dense, Diag, LowRank, dense
from dsf.testing.structure import domain_tokens, draw, require
from dsf.tools.cite import keys


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
    if isinstance(mech, Step):
        found = "nonlinear"
    elif isinstance(mech, Attention):
        found = mech.ltv(draw(mech, 3)).A.structure
    else:
        ltv = mech.system(domain_tokens(mech, 3))[0]
        found = claim if ltv.n == 1 and claim == "diagonal" else ltv.A.structure
    require(found == claim, mech, f"facts.structure = {claim!r}, but the system is {found!r}")


def contraction_is_as_claimed(mech: Mechanism) -> None:
    """|A_t|_2 <= 1 for tokens in their domains; where it is not claimed, a violation exists."""
    if isinstance(mech, Step):
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
    if isinstance(mech, Step):
        return
    found = np.linalg.eigvals(_transitions(mech)).astype(complex)
    found = np.where(abs(found.imag) < EXACT, found.real, found)  # rounding of a real one
    bad = found[~REGIONS[region](found)]
    require(not bad.size, mech, f"facts.eigenvalues = {region!r}, but {bad[:1]} is one")


def _transitions(mech: Mechanism) -> np.ndarray:
    """Many A_t [... n n] from tokens in their domains."""
    L = 100
    if isinstance(mech, Attention):
        return np.asarray(mech.ltv(draw(mech, 6)).A.dense())
    ltv = mech.system(domain_tokens(mech, L, seed=7))[0]
    return np.asarray(ltv.coarsen(mech.substeps).dense().A.dense())


def normalisation_is_as_claimed(mech: Mechanism) -> None:
    """Constant values give that constant; where it is not claimed, they do not."""
    claim, holds = mech.facts.normalised, probe.is_normalised(mech, seed=8)
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
    claim = _value(mech.facts.state, mech, L)
    if isinstance(mech, Attention):
        ltv, X = mech.system_on(u)
        found = ltv.n * X.shape[-1] * mech.sizes["H"]
    else:
        S = mech.run(u)[1].S
        found = S.size * (2 if S.dtype.kind == "c" else 1)
    require(found == claim, mech, f"facts.state = {mech.facts.state!r} = {claim}, kept: {found}")


def cost_is_as_claimed(mech: Mechanism) -> None:
    """The flops formula is the count of the recurrence; of a nonlinear step only that it has a
    positive value, of weights other than a softmax of products that it is not below that of one."""
    claim = _value(mech.facts.flops, mech, 6)
    if isinstance(mech, Step):
        found = max(claim, 1)
    elif isinstance(mech, Attention):
        keys = 6 if mech.lookback is None else mech.lookback + 1
        found = 2 * mech.sizes["H"] * keys * (mech.sizes["n"] + mech.sizes["p"])
        if not isinstance(mech, DotProductAttention):
            found = max(found, claim)
    else:
        found = _flops(mech)
    require(found == claim, mech, f"facts.flops = {mech.facts.flops!r} = {claim}, counted: {found}")


def source_is_known(mech: Mechanism) -> None:
    """The source of the facts is in the bibliography, or declared as `bibtex` in the class."""
    require(mech.facts.source, mech, "facts.source is empty")
    try:
        keys(mech.facts.source)
    except UnknownNameError as e:
        raise ContractError(f"{mech.name}: facts.source: {e}") from None


def _flops(mech: Mechanism) -> int:
    """Per token and for all systems: decay 1 per number of the state (3 if complex), erase 4 per
    rank (its write included where it is along the same vector), write 2 and read 2 per input and
    output."""
    ltv, X = mech.system(domain_tokens(mech, 3, seed=1))
    complex_ = any(np.iscomplexobj(x) for x in ltv.arrays())
    state = ltv.n * X.shape[-1] * (2 if complex_ else 1)
    step, writes = 0, ltv.m
    diag = ltv.A.diag if isinstance(ltv.A, LowRank) else ltv.A
    if isinstance(diag, Diag) and not np.all(diag.values() == 1):
        step += (3 if complex_ else 1) * state
    if isinstance(ltv.A, LowRank):
        U, B = dense(ltv.A.U), dense(ltv.B)
        step += 4 * ltv.A.rank * state
        both = ops.cat([U, B], -1)
        writes = 0 if np.linalg.matrix_rank(both).max() == ltv.A.rank else ltv.m
    if isinstance(ltv.A, Dense):
        step += 2 * ltv.n * state
    systems = int(np.prod(np.broadcast_shapes(X.shape[:-3], ltv.batch)))
    return systems * (mech.substeps * (step + 2 * writes * state) + 2 * ltv.r * state)


def _value(formula: str, mech: Mechanism, L: int) -> int:
    return count(formula, probe.sizes(mech, L))


FACTS: tuple[Callable[[Mechanism], None], ...] = (
    causality_is_as_claimed,
    structure_is_as_claimed,
    contraction_is_as_claimed,
    eigenvalues_are_as_claimed,
    normalisation_is_as_claimed,
    order_is_as_claimed,
    state_size_is_as_claimed,
    cost_is_as_claimed,
    source_is_known,
)
