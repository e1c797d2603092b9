"""Kinds of claims, each in one place: its fields, its sentence, and the check that recomputes it.

Nothing here imports a finder (`realize`, the prover, `separate`, `compare`): what a checker shares
with what found a certificate are the equations of the mechanisms and the words, not the arithmetic.
"""

from __future__ import annotations

import json

import numpy as np

from dsf.claims.base import KINDS, read
from dsf.core import hooks
from dsf.core.certificate import Certificate
from dsf.core.errors import STUMBLES, CertificateError, DSFError
from dsf.core.worlds import ALONE

MALFORMED = "check: the witnesses are not what is needed for a claim of the kind"


def check(certificate: Certificate) -> bool:
    """Recompute the claim of `certificate`; True, or `CertificateError` saying what failed."""
    _known(certificate.kind)
    # checks set the precision of Arb, which is global; infinity and NaN prove no bound
    with ALONE, np.errstate(all="ignore"):
        try:
            read(certificate).check()
        except DSFError as e:  # a diagnosis, by the check or by the equations that it runs
            raise CertificateError(f"{certificate.kind}: {e}") from e
        except STUMBLES as e:
            raise CertificateError(f"{MALFORMED} {certificate.kind!r} ({e!r})") from e
    return True


def from_json(text: str) -> Certificate:
    """The certificate of a JSON text whose parts fit together; nothing of it is proved by that.

    Raises CertificateError if it is no certificate, or if a witness is missing, surplus or of
    another type, or the sentence, scope, strength or bounds are not those of such a claim.
    """
    try:
        certificate = Certificate.from_data(json.loads(text))
    except STUMBLES as e:
        raise CertificateError(f"from_json: not the JSON of a certificate ({e!r})") from e
    _known(certificate.kind)
    try:
        read(certificate)
    except DSFError as e:
        raise CertificateError(f"from_json: {certificate.kind}: {e}") from e
    except STUMBLES as e:
        raise CertificateError(f"{MALFORMED} {certificate.kind!r} ({e!r})") from e
    return certificate


def kinds() -> list[str]:
    """All kinds of claims."""
    hooks.load_claims()
    return sorted(KINDS)


def _known(kind: object) -> None:
    if isinstance(kind, str) and kind not in KINDS:
        hooks.load_claims()
    if not isinstance(kind, str) or kind not in KINDS:
        raise CertificateError(f"check: no kind of claim {kind!r}; known: {', '.join(kinds())}")
