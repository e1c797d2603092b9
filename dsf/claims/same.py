"""Checkers of the trivial equalities: one family, or one instance, described twice."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core.catalogue import family
from dsf.core.certificate import Certificate
from dsf.core.errors import CertificateError


def same_family(certificate: Certificate) -> None:
    """Both names must parse to the same class with the same options."""
    left, right = (family(certificate.witnesses[k]) for k in ("left", "right"))
    if left != right:
        raise CertificateError(f"same-family: {left} and {right} differ in class or options")
    claim = f"{left!r} and {right!r} are the same class with the same options"
    if certificate.claim != claim:
        raise CertificateError(f"same-family: the witnesses prove {claim!r}, nothing else")


def same_instance(certificate: Certificate) -> None:
    """Both sets of parameters must have the same names and the same bits."""
    left, right = certificate.witnesses["left"], certificate.witnesses["right"]
    named = family(certificate.witnesses["family"])
    claim = f"the two {named} have the same parameters, bit by bit"
    if certificate.claim != claim:
        raise CertificateError(f"same-instance: the witnesses prove {claim!r}, nothing else")
    if left.keys() != right.keys():
        raise CertificateError("same-instance: the two have parameters of different names")
    for k in left:
        if not same_bits(left[k], right[k]):
            raise CertificateError(f"same-instance: the parameter {k} differs")


def same_bits(x: Any, y: Any) -> bool:
    """Arrays of one dtype and shape that hold the same bits, or equal symbols."""
    x, y = np.asarray(x), np.asarray(y)
    if (x.dtype, x.shape) != (y.dtype, y.shape):
        return False
    if x.dtype == object:
        return all(type(a) is type(b) and bool(a == b) for a, b in zip(x.flat, y.flat, strict=True))
    return x.tobytes() == y.tobytes()
