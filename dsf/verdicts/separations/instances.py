"""Two instances: an input, exact in binary, on which their outputs certainly differ."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from dsf.claims.reading import STORED
from dsf.claims.separation_instances import Instances
from dsf.core.arrays import at_least_float32, to_numpy
from dsf.core.catalogue import family_of
from dsf.core.certificate import Certificate
from dsf.core.errors import DTypeError, NonFiniteError, ShapeError
from dsf.core.family import Family
from dsf.core.mechanism import Mechanism
from dsf.core.worlds import balls, is_torch, precision
from dsf.verdicts.separations.core import SLACK, TINY, below

LENGTHS = (1, 2, 3, 5, 8)
DRAWS = 3
BLIND = 3  # lengths at which outputs are enclosed although the floats agree
BITS = 200


def separate_instances(
    a: Mechanism, b: Mechanism, u: Any = None, seed: int = 0
) -> Certificate | None:
    """A certificate that two instances differ on an input, or None if no such input was found.

    The input is `u` [L d] where given; otherwise short sequences of random eighths are tried, the
    shortest first: those on which the outputs differ in floats, then a few on which they agree.
    The gap of the outputs is enclosed in Arb balls at exactly these parameters and inputs.  None
    proves nothing: the two may be equal, or differ elsewhere.

    Raises ShapeError if the instances take or give different widths, UnknownNameError for an
    instance of a class without a name (its certificate could not be replayed), and the errors of
    `as_stored`.

    >>> import dsf
    >>> c = separate_instances(dsf.gla.init(2, n=1, seed=0), dsf.gla.init(2, n=1, seed=1))
    >>> c.check(), c.witnesses["inputs"].shape
    (True, (1, 2))
    """
    names = family_of(a), family_of(b)
    a, b = as_stored(a), as_stored(b)
    if a.d != b.d:
        raise ShapeError(
            f"separate_instances: the instances read inputs of width d = {a.d} and {b.d}. Draw "
            "both with the same d."
        )
    rng = np.random.default_rng(seed)
    drawn = [np.round(8 * rng.standard_normal((L, a.d))) / 8 for L in LENGTHS for _ in range(DRAWS)]
    if u is not None:
        drawn = [np.asarray(u, dtype=np.float64)]
    clear = (x for x in drawn if _differ(a, b, x))
    found = (_enclosed(names, a, b, x) for x in chain(clear, drawn[: BLIND * DRAWS : DRAWS]))
    return next((c for c in found if c is not None), None)


def as_stored(mech: Mechanism) -> Mechanism:
    """The instance with its parameters as numpy arrays that hold the very same numbers.

    Raises DTypeError unless they are float64, float32, float16, or tensors of these or bfloat16,
    NonFiniteError where one is NaN or infinite.

    >>> import dsf
    >>> as_stored(dsf.gla.init(2).map(np.float32)).Wq.dtype
    dtype('float32')
    """
    found = {}
    for name, x in mech.parameters().items():
        array = to_numpy(at_least_float32(x) if is_torch(x) else x)  # numpy has no bfloat16
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        if array.dtype not in STORED:
            raise DTypeError(
                f"{mech.name}: the parameter {name} holds {array.dtype}; instances are compared by "
                "stored float64, float32 or float16 numbers. Likely cause: symbols, balls or an "
                "extended type. Convert the instance, e.g. with mech.map(np.float64)."
            )
        if not np.isfinite(array).all():
            raise NonFiniteError(
                f"{mech.name}: the parameter {name} holds NaN or infinity, so there are no outputs "
                "to compare. Likely cause: a training step that diverged."
            )
        found[name] = array
    return replace(mech, **found)


def _differ(a: Mechanism, b: Mechanism, x: np.ndarray) -> bool:
    """Whether the outputs differ in floats by more than another order of operations explains."""
    y, z = a(x), b(x)
    if y.shape != z.shape:
        raise ShapeError(
            f"separate_instances: the outputs have shapes {list(y.shape)} and {list(z.shape)}. "
            "Draw both with the same p and number of heads."
        )
    size = max(np.abs(y).max(initial=0.0), TINY)
    return bool(np.abs(y - z).max(initial=0.0) > SLACK * size)


def _enclosed(
    names: tuple[Family, Family], a: Mechanism, b: Mechanism, x: np.ndarray
) -> Certificate | None:
    """The certificate that the outputs differ on this input, or None if their balls meet."""
    with precision(BITS):
        gaps = a.map(balls)(balls(x)) - b.map(balls)(balls(x))
        sizes = np.array([below(e) for e in gaps.flat]).reshape(gaps.shape)
    if not sizes.max(initial=0.0) > 0.0:
        return None
    claim = Instances(
        lower=float(sizes.max()), first=names[0], second=names[1], inputs=x,
        first_parameters=a.parameters(), second_parameters=b.parameters(),
        token=int(np.argmax(sizes.max(axis=-1))),
    )  # fmt: skip
    return claim.certificate()
