"""Two instances: an input, exact in binary, on which their outputs certainly differ."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.claims.separation_instances import Instances
from dsf.core.catalogue import family_of
from dsf.core.certificate import Certificate
from dsf.core.errors import ShapeError
from dsf.core.mechanism import Mechanism
from dsf.core.worlds import balls, precision
from dsf.verdicts.separations.core import SLACK, TINY, below

LENGTHS = (1, 2, 3, 5, 8)
DRAWS = 3
BITS = 200


def separate_instances(
    a: Mechanism, b: Mechanism, u: Any = None, seed: int = 0
) -> Certificate | None:
    """A certificate that two instances differ on an input, or None if no such input was found.

    The input is `u` [L d] where given; otherwise short sequences of random eighths are tried, the
    shortest first.  The gap of the outputs is enclosed in Arb balls at exactly these parameters and
    inputs.  None proves nothing: the two may be equal, or differ elsewhere.

    Raises ShapeError if the instances take or give different widths, UnknownNameError for an
    instance of a class without a name (its certificate could not be replayed).

    >>> import dsf
    >>> c = separate_instances(dsf.gla.init(2, n=1, seed=0), dsf.gla.init(2, n=1, seed=1))
    >>> c.check(), c.witnesses["inputs"].shape
    (True, (1, 2))
    """
    names = family_of(a), family_of(b)
    if a.d != b.d:
        raise ShapeError(
            f"separate_instances: the instances read inputs of width d = {a.d} and {b.d}. Draw "
            "both with the same d."
        )
    rng = np.random.default_rng(seed)
    drawn = (np.round(8 * rng.standard_normal((L, a.d))) / 8 for L in LENGTHS for _ in range(DRAWS))
    for x in drawn if u is None else [np.asarray(u, dtype=np.float64)]:
        y, z = a(x), b(x)
        if y.shape != z.shape:
            raise ShapeError(
                f"separate_instances: the outputs have shapes {list(y.shape)} and {list(z.shape)}. "
                "Draw both with the same p and number of heads."
            )
        size = max(np.abs(y).max(initial=0.0), TINY)
        if not np.abs(y - z).max(initial=0.0) > SLACK * size:
            continue
        with precision(BITS):
            gaps = a.map(balls)(balls(x)) - b.map(balls)(balls(x))
            sizes = np.array([below(e) for e in gaps.flat]).reshape(gaps.shape)
        if sizes.max() > 0.0:
            token = int(np.argmax(sizes.max(axis=-1)))
            claim = Instances(
                lower=float(sizes.max()), first=names[0], second=names[1], token=token, inputs=x,
                first_parameters=a.parameters(), second_parameters=b.parameters(),
            )  # fmt: skip
            return claim.certificate()
    return None
