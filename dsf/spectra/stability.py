"""Whether a recurrence forgets: decided by enclosures and in rationals, never by float eigenvalues.

    one A          r = max |eigenvalue of A|      r < 1 stable (A^k -> 0),  r > 1 unstable,
                                                  r = 1 marginal if the powers stay bounded
    several A_t    r = max_t |A_t|_2              r < 1 contractive: |A_t ... A_1|_2 <= r^t

Floats are taken as the rationals they are, Diag(log_a=x) as exp(x).  Diagonals are compared entry
by entry; the eigenvalues of a matrix are the roots of its exact characteristic polynomial, enclosed
with 53, 128, then 512 bits (`dsf.spectra.radius`).  The checker decides by another criterion.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from dsf.claims import base
from dsf.claims.reading import require
from dsf.claims.stability import Stability as Claim
from dsf.core import ops
from dsf.core.arrays import at_least_float32, to_numpy
from dsf.core.catalogue import unwrapped
from dsf.core.certificate import Certificate, Scope, Strength
from dsf.core.errors import (
    CertificateError,
    DTypeError,
    EmptyProblemError,
    NonFiniteError,
    NotLinearError,
    ShapeError,
    TimeVaryingError,
)
from dsf.core.kinds import Attention
from dsf.core.mechanism import Mechanism
from dsf.core.ops import Array
from dsf.core.printing import enclosed
from dsf.core.result import Result, Rows, Section
from dsf.core.system import LTV
from dsf.core.transition import Dense, Diag, LowRank, Shift, Transition, factors
from dsf.spectra import radius
from dsf.spectra.radius import AXES, Radius

LOG = 2.0**-48  # more than the relative error of -1/log r in floats
ENTRY = 2.0**-50  # 1 - r below this is what rounding one entry near 1 may change
WHOLE = 2.0**53  # integers up to this size are floats


@dataclass(frozen=True, eq=False, repr=False)
class Stability(Result):
    """A stability verdict with its bounds.

    verdict       one A: "stable", "marginal", "unstable"; several: "contractive", "nonexpansive"
                  (r = 1 exactly); "undecided" where nothing is proved
    lower, upper  bounds of r, rounded outward
    margin        bounds of 1 - r: by how much it is stable, sharp also where r rounds to 1
    varying       whether r is the largest norm of several transitions
    worst         where r is attained: index in the axes [... L] (diagonals: [... L n])
    certificate   kind "stability"; `check()` recomputes it by another criterion

    >>> stability(np.array([[0.0, 1.0], [-0.25, 1.0]]))  # a double eigenvalue 1/2
    Stability of one A                                                       stable
      spectral radius  0.5 <= r <= 0.5
      1 - r            0.5 <= 1 - r <= 0.5
      time constant    1.44269 <= -1/log r <= 1.4427 steps
      decided          by enclosed roots (53 bits), at index (0,)
    """

    certificate: Certificate
    worst: tuple[int, ...]
    how: str

    @property
    def verdict(self) -> str:
        """The verdict, as the certificate states it."""
        return str(self.certificate.witnesses["verdict"])

    @property
    def varying(self) -> bool:
        """Whether r is the largest norm of several transitions."""
        return bool(self.certificate.witnesses["varying"])

    @property
    def lower(self) -> float:
        """The lower bound of r."""
        return float(self.certificate.lower or 0.0)

    @property
    def upper(self) -> float:
        """The upper bound of r."""
        upper = self.certificate.upper
        return math.inf if upper is None else float(upper)

    @property
    def margin(self) -> tuple[float, float]:
        """Bounds of 1 - r."""
        low, high = self.certificate.witnesses["margin"]
        return low, high

    @property
    def stable(self) -> bool | None:
        """True if r < 1, False if one A has r >= 1, None where nothing is proved."""
        if self.verdict in ("stable", "contractive"):
            return True
        return False if self.verdict in ("marginal", "unstable") else None

    @property
    def time_constant(self) -> tuple[float, float]:
        """Bounds of -1/log r, the steps in which a state decays by e; infinite where r >= 1.

        >>> [round(x, 6) for x in stability(Diag(a=np.array([0.5, 0.9]))).time_constant]
        [9.491222, 9.491222]
        """
        low, high = _steps(self.lower, self.margin[1]), _steps(self.upper, self.margin[0])
        return low * (1.0 - LOG), high * (1.0 + LOG)

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """The certificate of the verdict."""
        return (self.certificate,)

    def check(self) -> bool:
        """Recompute the certificate; True, or CertificateError.

        Also that `worst` and `how` are what the enclosures of these factors give.
        """
        super().check()
        claim = base.read(self.certificate)
        if not isinstance(claim, Claim):
            raise CertificateError(f"no stability follows from a {self.certificate.kind!r}")
        parts = {k: list(x) for k, x in claim.parts().items()}
        n, lead = _sizes(parts)
        again = _result(radius.radii(parts, n, lead, self.varying), parts, self.varying)
        same = (self.worst, self.how) == (again.worst, again.how)
        require(same, f"r is decided {again.how}, at index {again.worst}")
        return True

    def __bool__(self) -> bool:
        raise TypeError("a Stability has three answers: ask .stable (True, False or None)")

    def headline(self) -> tuple[str, str]:
        what = "A_t, several transitions" if self.varying else "one A"
        return f"Stability of {what}", self.verdict

    def sections(self) -> Sequence[Section]:
        low, high = self.time_constant
        rows = [
            (
                "max_t |A_t|_2" if self.varying else "spectral radius",
                enclosed(self.lower, "r", self.upper, 17),
            ),
            ("1 - r", enclosed(self.margin[0], "1 - r", self.margin[1], 6)),
            ("time constant", f"{enclosed(low, '-1/log r', high, 6)} steps"),
            ("decided", f"{self.how}, at index {self.worst}"),
        ]
        if self.lower < self.upper and max(map(abs, self.margin)) < ENTRY:
            rows.append(("note", "1 - r is less than the rounding of one entry"))
        return [Rows(rows)]

    def to_data(self) -> dict[str, Any]:
        return {
            "certificate": self.certificate.to_data(),
            "worst": [int(i) for i in self.worst],
            "how": self.how,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        certificate = Certificate.from_json(json.dumps(data["certificate"]))
        return cls(certificate, tuple(data["worst"]), data["how"])


def stability(system: Any, u: Array | None = None) -> Stability:
    """Whether a transition is stable, by how much, and with what proof.

        one A:  r = max |eigenvalue of A|,       several A_t:  r = max_t |A_t|_2

    system  a transition, an `LTV`, an array [n n] or [... L n n], a mechanism or its torch module
    u       [... L d], the input of a mechanism whose transitions depend on it

    Axes left of time are systems side by side; r is the largest.  A single step is taken as a
    transition repeated for ever; n = 0 has r = 0.  float16 ... float64, complex, integers up to
    2^53.  The verdict is about the numbers given: a rotation of rounded cosines is no rotation.
    What several transitions are proved to do holds for their products in any order; a norm above 1
    proves nothing, because later steps may shrink what one step stretches.

    Raises ShapeError, DTypeError, NonFiniteError, EmptyProblemError (no step), TimeVaryingError (a
    mechanism that needs u), NotLinearError (a nonlinear step, a growing cache), TooLargeError.
    Source: Schur 1917, Cohn 1922; time-varying: Rugh, "Linear System Theory", ch. 22.

    >>> stability(Diag(a=np.array([0.5, -1.0]))).verdict
    'marginal'
    >>> s = stability(np.array([[1 - 2.0**-53, 1.0], [0.0, 1 - 2.0**-53]]))  # a Jordan block
    >>> s.stable, s.margin == (2.0**-53, 2.0**-53), s.check()
    (True, True, True)
    >>> import dsf
    >>> dsf.stability(dsf.gla.init(d=4), np.ones((3, 4))).verdict
    'contractive'
    """
    parts, n, lead = _parts(_transition(system, u))
    varying = lead[-1] > 1
    return _result(radius.radii(parts, n, lead, varying), parts, varying)


def _result(found: list[tuple[tuple[int, ...], Radius]], parts: Any, varying: bool) -> Stability:
    """The largest r: the r of the block diagonal of all matrices."""
    radii = [x for _, x in found]
    index, worst = max(found, key=lambda x: (x[1].upper, -x[1].margin[0]))
    lower, upper = max(x.lower for x in radii), max(x.upper for x in radii)
    margin = min(x.margin[0] for x in radii), min(x.margin[1] for x in radii)
    signs = {x.sign for x in radii}
    if 1 in signs or any(not x.bounded for x in radii):
        verdict = "undecided" if varying else "unstable"
    elif None in signs:
        verdict = "undecided"
    elif 0 in signs:
        verdict = "nonexpansive" if varying else "marginal"
    else:
        verdict = "contractive" if varying else "stable"
    claim = Claim(
        scope=Scope.OPERATOR if varying else Scope.INSTANCE,
        strength=Strength.EXACT if lower == upper else Strength.ENCLOSED,
        lower=lower,
        upper=upper,
        varying=varying,
        verdict=verdict,
        margin=margin,
        **{k: tuple(x) for k, x in parts.items()},
    )
    return Stability(claim.certificate(), index, worst.how)


def _steps(r: float, rest: float) -> float:
    """-1/log r from r or from 1 - r, whichever is accurate."""
    if rest <= 0.0:
        return math.inf
    if r <= 0.0:
        return 0.0
    return -1.0 / (math.log1p(-rest) if rest < 0.5 else math.log(r))


# ------------------------------------------------------------------- what is given
def _transition(system: Any, u: Array | None) -> Transition:
    given, system = system, unwrapped(system)
    if system is not given and ops.is_torch(u):
        u = to_numpy(at_least_float32(u))
    if isinstance(system, Mechanism):
        if isinstance(system, Attention) and system.lookback is None:
            raise NotLinearError(
                f"stability: the state of {system.name} is a cache that grows with the "
                "input, so it has no transition to repeat. A window has one: window_softmax."
            )
        if u is not None:
            return system.ltv(u).A
        A = system.ltv(np.ones((2, system.d))).A
        if any(size > 1 for size in A.lengths()):
            raise TimeVaryingError(
                f"stability: the transitions of {system.name} depend on the input. Pass "
                "one: dsf.stability(mech, u) with u [L d]."
            )
        return A
    if u is not None:
        raise DTypeError(f"stability: u is for mechanisms; got it with {type(system).__name__}")
    if isinstance(system, (LTV, Transition)):
        return system.A if isinstance(system, LTV) else system
    if ops.is_torch(system) or isinstance(system, (np.ndarray, list, tuple)):
        return Dense(system)
    raise DTypeError(
        "stability: needs a transition, an LTV, an array [... n n] or a mechanism (an instance: "
        f"family.init(d=...)); got {type(system).__name__}"
    )


def _parts(A: Transition) -> tuple[dict[str, list[Array]], int, tuple[int, ...]]:
    """The factors of every coefficient, exact; the state size; the axes [... L]."""
    if isinstance(A, Shift):  # strictly lower triangular: every eigenvalue is 0, A^n = 0
        return {"a": [np.zeros((1, min(A.n, 1)))]}, min(A.n, 1), (1,)
    diag = A.diag if isinstance(A, LowRank) else A
    given: dict[str, Any] = {}
    if isinstance(diag, Diag):
        given = {"a": diag.a} if diag.log_a is None else {"log_a": diag.log_a}
    if isinstance(A, LowRank):
        given |= {"U": A.U, "W": A.W}
    if isinstance(A, Dense):
        given = {"A": A.A}
    parts = {k: [_exact(f, k) for f in factors(x)] for k, x in given.items()}
    return parts, *_sizes(parts)


def _sizes(parts: dict[str, list[Array]]) -> tuple[int, tuple[int, ...]]:
    """The state size n and the axes [... L] of factors that fit together."""
    last = {k: np.broadcast_shapes(*(f.shape[-AXES[k] :] for f in x)) for k, x in parts.items()}
    n = last.get("U", last.get("A", last.get("a", last.get("log_a", ()))))[0]
    for k, sizes in last.items():
        fits = {"A": ((n, n),), "W": (last.get("U"),)}.get(k, ((n,), (1,), (n, sizes[-1])))
        if sizes not in fits:
            raise ShapeError(
                f"stability: the coefficients do not fit: `{k}` ends in {list(sizes)} for n = {n} "
                "states; a dense A must be [... n n], U and W [... n r]."
            )
        if len(parts[k]) > 1 and any(np.isneginf(f.real).any() for f in parts[k]):
            raise NonFiniteError(f"stability: a factor of `{k}` is infinite; give the product")
    lead = np.broadcast_shapes(*(f.shape[: f.ndim - AXES[k]] for k, x in parts.items() for f in x))
    if 0 in lead:
        raise EmptyProblemError(f"stability: no transition is given: the axes [... L] are {lead}")
    return n, lead


def _exact(x: Any, name: str) -> Array:
    """A coefficient as float64 or complex128 without loss, with a time axis."""
    if ops.is_torch(x):
        x = x.detach().cpu()
        x = (x.double() if x.is_floating_point() else x).numpy()
    try:
        x = np.asarray(x)
    except ValueError as e:
        raise ShapeError(f"stability: `{name}` has rows of different lengths") from e
    if x.dtype.kind not in "iufc" or x.dtype in (np.longdouble, np.clongdouble):
        raise DTypeError(
            f"stability: `{name}` must hold integers, floats up to float64 or complex numbers; got "
            f"dtype {x.dtype}. Symbols and balls have no verdict: put numbers in."
        )
    if x.ndim < AXES[name]:
        raise ShapeError(f"stability: `{name}` needs {AXES[name]} axes or more; got {x.shape}")
    out = x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)
    if x.dtype.kind in "iu" and np.any(np.abs(out) > WHOLE):
        raise DTypeError(f"stability: `{name}` holds integers above 2^53; pass floats")
    forget = np.isneginf(out.real) & (out.imag == 0.0) if name == "log_a" else False
    if not np.all(np.isfinite(out) | forget):
        raise NonFiniteError(
            f"stability: `{name}` holds NaN or infinity. Likely cause: an overflow in what made "
            "it. (A decay of exactly 0 is log_a = -inf.)"
        )
    return out if out.ndim > AXES[name] else out[None]
