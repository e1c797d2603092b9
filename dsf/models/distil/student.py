"""Students that read inputs: token-wise maps of a mechanism of the catalogue, fitted to kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dsf.core.errors import DomainError, UnknownNameError
from dsf.core.family import Family
from dsf.core.mechanism import Mechanism
from dsf.core.tokens import Tokens
from dsf.models.distil import fit, frozen

KERNEL, OUTPUT, KL = LOSSES = ("kernel", "output", "kl")
RIDGE = 1e-4  # of the parameters, while tokens are regressed on inputs
SMALLEST = 1e-30  # weight of a row below which its logarithm is not taken


def kernels(mech: Mechanism, u: Any) -> Any:
    """The kernels [B L L] of an instance with one head on inputs u [B L d], world of u.

    >>> import dsf
    >>> kernels(dsf.gla.init(d=3, n=2), np.ones((4, 5, 3))).shape
    (4, 5, 5)
    """
    tok = mech.tokens(u)
    known = {k: x for k, x in tok.items() if k != "v"}
    return frozen.kernel(mech, Tokens(**known))[..., 0, :, :]


def regressed(mech: Mechanism, tok: Tokens, u: np.ndarray, iterations: int) -> Mechanism:
    """The instance whose tokens on u [L d] are nearest to `tok`, where a frozen fit ended.

        min  sum_fields |token(u) - tok|_F^2 / |tok|_F^2 + ridge |parameters|^2

    over all parameters, by L-BFGS from the drawn ones.
    """
    import torch

    wanted = {k: torch.from_numpy(np.ascontiguousarray(x)) for k, x in tok.items()}
    inputs = torch.from_numpy(u)

    def loss(student: Mechanism, parameters: Mapping[str, Any]) -> Any:
        found = student.tokens(inputs)
        parts = [((getattr(found, k)[0] - x) ** 2).sum() / (x**2).sum() for k, x in wanted.items()]
        return sum(parts) + RIDGE * sum((x**2).sum() for x in parameters.values())

    return _minimised(mech, loss, iterations)


def fitted(
    mech: Mechanism, M: np.ndarray, u: np.ndarray, loss: str, values: np.ndarray | None,
    iterations: int,
) -> Mechanism:  # fmt: skip
    """The instance after L-BFGS on all its parameters, for kernels M [B L L] on u [B L d].

    kernel   sum |tril(M^ - M, -1)|_F^2 / |tril(M, -1)|_F^2
    output   the same of tril(M, -1) values
    kl       mean over rows of sum_j M_ij log(M_ij / M^_ij)
    """
    import torch

    target, inputs = torch.from_numpy(M), torch.from_numpy(u)
    below = torch.tril(torch.ones(M.shape[-2:], dtype=torch.float64), -1)
    v = None if values is None else torch.from_numpy(values)

    def value(student: Mechanism, _: Mapping[str, Any]) -> Any:
        found = kernels(student, inputs)
        if loss == KL:
            logs = (target.clamp_min(SMALLEST) / found.clamp_min(SMALLEST)).log()
            return (target * logs).sum(-1).mean()
        gap, whole = (found - target) * below, target * below
        if v is not None:
            gap, whole = gap @ v, whole @ v
        return (gap**2).sum() / (whole**2).sum()

    return _minimised(mech, value, iterations)


def require_loss(loss: str, family: Family, values: Any) -> None:
    """UnknownNameError or DomainError for a loss that is not known, or not that of such a class."""
    if loss not in LOSSES:
        raise UnknownNameError(f"distil: loss must be one of {', '.join(LOSSES)}; got {loss!r}")
    if (loss == OUTPUT) != (values is not None):
        raise DomainError(
            "distil: values= belong to loss='output', and it needs them; got "
            f"loss={loss!r} {'without' if values is None else 'with'} values"
        )
    positive = all(family.spec[k].domain.low == 0 for k in ("q", "k") if k in family.spec)
    if loss == KL and not (family.facts.normalised and positive):
        raise DomainError(
            f"distil: the rows of {family!r} are no probabilities, so they have no KL divergence. "
            "Use loss='kernel', or a normalised class with positive features, such as "
            "into='linear_attn(phi=exp, normalise=True)'."
        )


def drawn(family: Family, d: int, n: int, seed: int, copied: Mapping[str, Any]) -> Mechanism:
    """A drawn instance with one head, `copied` parameters in place of its own."""
    mech = family.init(d, n=n, p=1, seed=seed)
    own = mech.parameters()
    for name, x in copied.items():
        if name not in own or np.shape(x) != own[name].shape:
            wanted = f"must be {list(own[name].shape)}" if name in own else "is none of its own"
            raise DomainError(
                f"distil: the parameter {name!r} to be copied has shape {list(np.shape(x))}, but "
                f"in {family!r} with {n} states it {wanted}"
            )
    copies = {k: np.array(x, dtype=np.float64, order="C") for k, x in copied.items()}
    return replace(mech, **copies)


def _minimised(
    mech: Mechanism, loss: Callable[[Mechanism, Mapping[str, Any]], Any], iterations: int
) -> Mechanism:
    """The instance after L-BFGS on its parameters: of all that were tried, that of least loss.

    A step may lead to where gates overflow; what is not a number is never the least.
    """
    import torch

    x = {k: torch.tensor(v, requires_grad=True) for k, v in mech.parameters().items()}
    optimiser = fit.lbfgs(list(x.values()), iterations)
    least, best = np.inf, mech.parameters()

    def value() -> Any:
        nonlocal least, best
        optimiser.zero_grad()
        found = loss(replace(mech, **x), x)
        found.backward()
        if found.item() < least:
            least, best = found.item(), {k: v.detach().numpy().copy() for k, v in x.items()}
        return found

    with fit.one_thread():
        optimiser.step(value)
    return replace(mech, **best)
