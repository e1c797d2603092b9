"""Independent checkers: each recomputes a claim from the witnesses of a certificate alone.

Nothing here imports a finder (`realize`, `nesting`, `separations`, `compare`).  A checker takes the
certificate and raises `CertificateError` if the claim, the bounds or the strength do not follow.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import numpy as np

from dsf.core.certificate import Certificate
from dsf.core.errors import CertificateError
from dsf.core.worlds import ALONE

# kind of certificate -> (module, function)
CHECKERS: dict[str, tuple[str, str]] = {
    "same-family": ("dsf.claims.same", "same_family"),
    "same-instance": ("dsf.claims.same", "same_instance"),
    "hankel-lower": ("dsf.claims.realization", "hankel_lower"),
    "hankel-gap": ("dsf.claims.realization", "hankel_gap"),
    "realization": ("dsf.claims.realization", "realization"),
    "margin": ("dsf.solvers.svm.check.margin", "margin"),
    "margin-zero": ("dsf.solvers.svm.check.margin", "zero"),
    "nuclear-rank": ("dsf.solvers.svm.check.margin", "nuclear_rank"),
    "least-norm": ("dsf.solvers.svm.check.margin", "least_norm"),
    "stability": ("dsf.claims.stability", "stability"),
    "local-optimality": ("dsf.solvers.svm.check.selection", "local_optimality"),
    "nesting": ("dsf.claims.identities", "nesting"),
    "equal-when": ("dsf.claims.conditions", "equal_when"),
    "separation/words": ("dsf.claims.separation", "words"),
    "separation/rank": ("dsf.claims.separation", "rank"),
    "separation/sign-changes": ("dsf.claims.separation_tails", "sign_changes"),
    "separation/window": ("dsf.claims.separation_tails", "window"),
    "separation/stays": ("dsf.claims.separation_tails", "stays"),
    "separation/grows": ("dsf.claims.separation_tails", "grows"),
    "separation/response": ("dsf.claims.separation_response", "response"),
    "separation/affine-step": ("dsf.claims.separation_response", "affine_step"),
    "separation/inputs": ("dsf.claims.separation_instances", "inputs"),
    "separation/instances": ("dsf.claims.separation_instances", "instances"),
    "separation/recall": ("dsf.claims.separation_recall", "recall"),
    "separation/one-state": ("dsf.claims.separation_recall", "one_state"),
}

MALFORMED = "check: the witnesses are not what is needed for a claim of the kind"


def check(certificate: Certificate) -> bool:
    """Recompute the claim of `certificate`; True, or `CertificateError` saying what failed."""
    if not isinstance(certificate.kind, str) or certificate.kind not in CHECKERS:
        raise CertificateError(
            f"check: no checker for kind {certificate.kind!r}; known: {', '.join(sorted(CHECKERS))}"
        )
    module, name = CHECKERS[certificate.kind]
    checker: Callable[[Certificate], None] = getattr(import_module(module), name)
    # checkers set the precision of Arb, which is global; infinity and NaN prove no bound
    with ALONE, np.errstate(all="ignore"):
        try:
            checker(certificate)
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as e:
            raise CertificateError(f"{MALFORMED} {certificate.kind!r} ({e!r})") from e
    return True
