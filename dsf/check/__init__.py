"""Independent checkers: each recomputes a claim from the witnesses of a certificate alone.

Nothing here imports a finder (`realize`, `nesting`, `separations`, `compare`).  A checker takes the
certificate and raises `CertificateError` if the claim, the bounds or the strength do not follow.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import numpy as np

from dsf.certificate import Certificate
from dsf.errors import CertificateError
from dsf.worlds import ALONE

# kind of certificate -> (module in dsf.check, function)
CHECKERS: dict[str, tuple[str, str]] = {
    "same-family": ("same", "same_family"),
    "same-instance": ("same", "same_instance"),
    "hankel-lower": ("realization", "hankel_lower"),
    "hankel-gap": ("realization", "hankel_gap"),
    "realization": ("realization", "realization"),
    "margin": ("margin", "margin"),
    "margin-zero": ("margin", "zero"),
    "nuclear-rank": ("margin", "nuclear_rank"),
    "least-norm": ("margin", "least_norm"),
    "stability": ("stability", "stability"),
    "local-optimality": ("selection", "local_optimality"),
    "nesting": ("identities", "nesting"),
    "equal-when": ("conditions", "equal_when"),
    "separation/words": ("separation", "words"),
    "separation/rank": ("separation", "rank"),
    "separation/sign-changes": ("separation_tails", "sign_changes"),
    "separation/window": ("separation_tails", "window"),
    "separation/stays": ("separation_tails", "stays"),
    "separation/grows": ("separation_tails", "grows"),
    "separation/response": ("separation_response", "response"),
    "separation/affine-step": ("separation_response", "affine_step"),
    "separation/inputs": ("separation_instances", "inputs"),
    "separation/instances": ("separation_instances", "instances"),
    "separation/recall": ("separation_recall", "recall"),
    "separation/one-state": ("separation_recall", "one_state"),
}

MALFORMED = "check: the witnesses are not what is needed for a claim of the kind"


def check(certificate: Certificate) -> bool:
    """Recompute the claim of `certificate`; True, or `CertificateError` saying what failed."""
    if not isinstance(certificate.kind, str) or certificate.kind not in CHECKERS:
        raise CertificateError(
            f"check: no checker for kind {certificate.kind!r}; known: {', '.join(sorted(CHECKERS))}"
        )
    module, name = CHECKERS[certificate.kind]
    checker: Callable[[Certificate], None] = getattr(import_module(f"dsf.check.{module}"), name)
    # checkers set the precision of Arb, which is global; infinity and NaN prove no bound
    with ALONE, np.errstate(all="ignore"):
        try:
            checker(certificate)
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as e:
            raise CertificateError(f"{MALFORMED} {certificate.kind!r} ({e!r})") from e
    return True
