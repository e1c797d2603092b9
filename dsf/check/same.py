"""Checker of the trivial equality: two descriptions of one family."""

from __future__ import annotations

from dsf.certificate import Certificate
from dsf.errors import CertificateError
from dsf.family import family


def same_family(certificate: Certificate) -> None:
    """Both names must parse to the same class with the same options."""
    left, right = (family(certificate.witnesses[k]) for k in ("left", "right"))
    if left != right:
        raise CertificateError(f"same-family: {left} and {right} differ in class or options")
    claim = f"{left!r} and {right!r} are the same class with the same options"
    if certificate.claim != claim:
        raise CertificateError(f"same-family: the witnesses prove {claim!r}, nothing else")
