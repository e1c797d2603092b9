"""Whether the rows of an inspection say what their proofs say, and no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dsf.claims import base
from dsf.claims.hankel import HankelLower
from dsf.claims.reading import REPRODUCED, require
from dsf.core.certificate import Certificate
from dsf.models.head import Counts, Head, beyond, distances, looks
from dsf.models.layers import Row
from dsf.states import Realization, realize

ROUNDED = 1e-6  # of what was measured in floats, and is measured again in another order
Errors = tuple[float, ...]


def agrees(
    row: Head, proofs: Sequence[Realization], rtol: Errors, time_limit: float, kept: bool
) -> None:
    """CertificateError unless a row follows from its proofs, one per error.

    Counts are those of the proofs, or follow from these where they were made again.  What was
    measured is measured again on the weights of the proofs, so that proofs of other heads are
    refused; shares of weights on earlier copies of a token are not, since tokens are not kept.
    """
    who = f"{row.module or 'the model'} head {row.head} on {row.probe}"
    K = operator(proofs, rtol, who)
    require(K.shape == (row.tokens, 1, row.tokens, 1), f"the proofs of {who} have {K.shape} blocks")
    M = K[:, 0, :, 0]
    require(tuple(row.states) == rtol, f"{who} was not counted at the errors {rtol}")
    for e, proof in zip(rtol, proofs, strict=True):
        _follows(row.states[e], proof, f"{who} at error {e:g}", kept)
    for n, counts in row.prefixes.items():
        fits = 1 < n < row.tokens and tuple(counts) == rtol
        require(fits, f"{who} has no counts of the first {n} tokens")
        again = realize(M[:n, :n], rtol=rtol, time_limit=time_limit)
        for e, proof in zip(rtol, again, strict=True):
            _follows(counts[e], proof, f"{who}, the first {n} tokens at error {e:g}", False)
    _measured(row, M, who)


def operator(proofs: Sequence[Realization], rtol: Errors, who: str) -> np.ndarray:
    """The one operator [L r L d] that all proofs are about, at these errors relative to |M|."""
    found = [p.certificate.witnesses for p in proofs]
    require(found and len(found) == len(rtol), f"{who} has {len(found)} proofs for {len(rtol)}")
    for e, w in zip(rtol, found, strict=True):
        asked = w["question"], w["relative"], len(w["heads"])
        require(asked == ("states", True, 1) and w["asked"] == e, f"no proof of {who} at {e:g}")
        same = np.array_equal(w["heads"][0]["M"], found[0]["heads"][0]["M"])
        require(same, f"the proofs of {who} are about different weights")
    return np.asarray(found[0]["heads"][0]["M"])


def _follows(said: Counts, proof: Realization, who: str, exactly: bool) -> None:
    (low, high), (least, most) = said, (int(proof.lower), int(proof.upper))
    told = f"{who} was said to need {low}..{high} states; the proof says {least}..{most}"
    require(least <= high and low <= most, f"{told}. Likely cause: the model has changed since")
    holds = (low, high) == (least, most) if exactly else low <= least and most <= high
    require(
        holds,
        told if exactly else f"{told}, which is less. Likely cause: the search had less time",
    )


def _measured(row: Head, M: np.ndarray, who: str) -> None:
    """What was measured of the weights M [L L], again."""
    found: dict[str, Any] = looks(M) | distances(M)
    said = {name: getattr(row, name) for name in looks(M)} | row.distances
    require(said.keys() == found.keys(), f"{who} has the distances {', '.join(row.distances)}")
    for name, x in found.items():
        same = x is said[name] is None or _near(said[name], x)
        require(same, f"{name} of {who} is {x}, not {said[name]}: no row of these weights")
    _leak(row.leak, np.abs(M), who)
    require(tuple(row.window) == tuple(row.states), f"{who} has a window for each error")
    norm = float(np.linalg.norm(M, 2)) if M.size else 0.0
    rest = beyond(M)
    for e, w in row.window.items():
        holds = 0 <= w < len(rest) and rest[w] <= e * norm * (1 + ROUNDED)
        require(holds, f"{who}: what is {w} or more tokens away weighs more than {e:g} |M|")


def _near(said: Any, found: Any) -> bool:
    return (
        said is not None and found is not None and abs(said - found) <= ROUNDED * (1 + abs(found))
    )


def _leak(said: tuple[int, int] | None, sizes: np.ndarray, who: str) -> None:
    later = np.triu(sizes, 1)
    top = float(later.max(initial=0.0))
    if said is None:
        require(top == 0, f"{who} was said to be causal and is not")
        return
    i, j = said
    inside = 0 <= i < j < len(sizes)
    require(
        inside and later[i, j] >= top * (1 - ROUNDED) > 0, f"{who} does not look from {i} at {j}"
    )


def layer_agrees(row: Row, found: Sequence[Realization | Certificate], rtol: Errors) -> None:
    """CertificateError unless what is printed of a layer as proved follows from its proofs.

    kernel           both counts, the norm, and what looks ahead
    blocks, sketch   the necessary states, at the errors e |M| with the norm that is told
    """
    who = f"{row.module or 'the model'} on {row.probe}"
    require(bool(row.states) == bool(found) == bool(row.how), f"{who} has counts without proofs")
    if not row.states:
        return
    require(tuple(row.states) == rtol, f"{who} was not counted at the errors {rtol}")
    if row.how == "kernel":
        _kernel_agrees(row, [p for p in found if isinstance(p, Realization)], rtol, who)
        return
    require(row.how in ("blocks", "sketch"), f"{who} was measured in no way that is known")
    ways, odd = divmod(len(found), len(rtol))
    require(not odd and ways, f"{who} has {len(found)} proofs for {len(rtol)} errors")
    for i, e in enumerate(rtol):
        claims = list(_claims(found[i * ways : (i + 1) * ways], who))
        same = all(_near(c.error, e * (row.norm or 0.0)) for c in claims)
        require(same, f"the proofs of {who} are about another error than {e:g} of {row.norm}")
        low, least = row.states[e][0], sum(c.lower for c in claims)
        require(
            low == least, f"{who} was said to need {low} states at {e:g}; its proofs say {least}"
        )


def _claims(found: Sequence[Any], who: str) -> Iterator[HankelLower]:
    for proof in found:
        claim = base.read(proof) if isinstance(proof, Certificate) else None
        if not isinstance(claim, HankelLower):
            require(False, f"{who} has a proof of another kind")
        else:
            yield claim


def _kernel_agrees(row: Row, proofs: Sequence[Realization], rtol: Errors, who: str) -> None:
    K = operator(proofs, rtol, who)
    shape = row.tokens, row.outputs, row.tokens, row.width
    require(K.shape == shape, f"the proofs of {who} have {K.shape} blocks, not {shape}")
    for e, proof in zip(rtol, proofs, strict=True):
        _follows(row.states[e], proof, f"{who} at error {e:g}", True)
    _leak(row.leak, np.linalg.norm(K, axis=(1, 3)), who)
    w: Mapping[str, Any] = proofs[0].certificate.witnesses["heads"][0]
    low, high = (float(w[k]) for k in ("norm_low", "norm_high"))
    inside = row.norm is not None and low * (1 - REPRODUCED) <= row.norm <= high * (1 + REPRODUCED)
    require(inside, f"|M| of {who} lies in {low:g}..{high:g}; it was said to be {row.norm}")
