"""A certificate: a claim with the witnesses from which anyone can recompute it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from dsf.core import hooks
from dsf.core.printing import at_least, at_most
from dsf.core.result import Result, Rows, Section


class Strength(Enum):
    """How a claim was established, strongest first."""

    EXACT = "exact"  # symbolic or rational, at the sizes named
    ENCLOSED = "enclosed"  # rigorous bounds: balls, or a derived rounding bound
    VERIFIED = "verified"  # float residuals
    SAMPLED = "sampled"  # random draws; refutes for certain, confirms only with probability


class Scope(Enum):
    """For what a statement holds."""

    RECURRENCE = "recurrence"  # all token sequences in their domains, gates free
    MECHANISM = "mechanism"  # all parameters and inputs
    INSTANCE = "instance"  # these numbers, all inputs
    OPERATOR = "operator"  # these numbers, this input


@dataclass(frozen=True, eq=False, repr=False)
class Certificate(Result):
    """A claim with two-sided bounds and the witnesses that prove it.

    `check()` recomputes the claim from `witnesses` alone, in the class of `dsf.claims` that bears
    the name of its kind; the arithmetic there is not that of what found them.  It returns True or
    raises `CertificateError`, also if a printed part is not what the claim says.

    kind        name of the kind of claim
    claim       one sentence, made from the witnesses
    lower, upper  bounds of the quantity in the claim (None where it has none)
    witnesses   arrays, numbers, strings, names of families and of stored token maps
    residuals   floats that measure how well the conditions hold
    reference   bibliography key and place, e.g. "dewilde1998, ch. 5"

    >>> import dsf
    >>> c = dsf.states.hankel_lower(np.eye(9, k=-3), atol=0.5)
    >>> c.strength.value, c.lower, Certificate.from_json(c.to_json()).check()
    ('enclosed', 3, True)
    """

    kind: str
    claim: str
    scope: Scope
    strength: Strength
    lower: float | int | None = None
    upper: float | int | None = None
    witnesses: Mapping[str, Any] = field(default_factory=dict)
    residuals: Mapping[str, float] = field(default_factory=dict)
    reference: str = ""

    def check(self) -> bool:
        """Recompute the claim from the witnesses; True, or CertificateError with what failed."""
        return hooks.check(self)

    def __bool__(self) -> bool:
        raise TypeError(
            "the truth value of a Certificate is ambiguous: call check() to recompute the claim"
        )

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """The certificate itself."""
        return (self,)

    def headline(self) -> tuple[str, str]:
        return f"Certificate({self.kind}, scope {self.scope.value})", self.strength.value

    def sections(self) -> Sequence[Section]:
        low = "" if self.lower is None else f"{at_least(self.lower, 6)} <= "
        high = "" if self.upper is None else f" <= {at_most(self.upper, 6)}"
        witnesses = ", ".join(f"{k} {_brief(v)}" for k, v in self.witnesses.items())
        rows = [("claim", self.claim)]
        rows += [("bounds", f"{low}value{high}")] if low or high else []
        rows += [("witnesses", witnesses or "none")]
        rows += [(k, f"{v:.3g}") for k, v in self.residuals.items()]
        rows += [("reference", self.reference)] if self.reference else []
        return [Rows(rows)]

    def to_data(self) -> dict[str, Any]:
        """The certificate as data; floats as hexadecimal strings, so that every bit survives."""
        return {
            "kind": self.kind,
            "claim": self.claim,
            "scope": self.scope.value,
            "strength": self.strength.value,
            "lower": encode(self.lower),
            "upper": encode(self.upper),
            "witnesses": {k: encode(v) for k, v in self.witnesses.items()},
            "residuals": {k: encode(v) for k, v in self.residuals.items()},
            "reference": self.reference,
        }

    @classmethod
    def from_json(cls, text: str) -> Certificate:
        """The inverse of `to_json`; raises `CertificateError` if the parts make no claim."""
        certificate: Certificate = hooks.from_json(text)
        return certificate

    @classmethod
    def from_data(cls, d: Mapping[str, Any]) -> Certificate:
        """The certificate of parsed JSON, of which nothing is believed."""
        return cls(
            d["kind"],
            d["claim"],
            Scope(d["scope"]),
            Strength(d["strength"]),
            decode(d["lower"]),
            decode(d["upper"]),
            {k: decode(v) for k, v in d["witnesses"].items()},
            {k: decode(v) for k, v in d["residuals"].items()},
            d["reference"],
        )


def encode(x: Any) -> Any:
    """A value as JSON-ready data, without loss."""
    if x is None or type(x) is str:
        return x
    if isinstance(x, np.ndarray):
        if x.dtype == object:
            return {"objects": [str(e) for e in x.ravel()], "shape": list(x.shape)}
        return {
            "array": x.dtype.str,
            "shape": list(x.shape),
            "hex": np.ascontiguousarray(x).tobytes().hex(),
        }
    if isinstance(x, (bool, np.bool_)):
        return bool(x)
    if isinstance(x, (int, np.integer)):
        return int(x)
    if isinstance(x, (float, np.floating)):
        return {"float": float(x).hex()}
    if isinstance(x, (list, tuple)):
        return [encode(e) for e in x]
    if isinstance(x, Mapping):
        return {"map": {str(k): encode(v) for k, v in x.items()}}
    return str(x)


def decode(x: Any) -> Any:
    """The inverse of `encode` (tuples come back as lists)."""
    if isinstance(x, list):
        return [decode(e) for e in x]
    if not isinstance(x, dict):
        return x
    if "float" in x:
        return float.fromhex(x["float"])
    if "map" in x:
        return {k: decode(v) for k, v in x["map"].items()}
    if "objects" in x:
        return np.array(x["objects"], dtype=object).reshape(x["shape"])
    raw = np.frombuffer(bytes.fromhex(x["hex"]), dtype=np.dtype(x["array"]))
    return raw.reshape(x["shape"]).copy()


def _brief(v: Any) -> str:
    if isinstance(v, np.ndarray):
        return f"[{' '.join(map(str, v.shape))}]"
    if isinstance(v, (list, tuple)):
        return f"({len(v)} items)"
    text = f"{v:.6g}" if isinstance(v, float) else str(v)
    return text if len(text) <= 40 else text[:37] + "..."
