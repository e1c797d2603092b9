"""Certificates of every kind, as the finders of the package make them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

import dsf
from dsf.core.certificate import Certificate, Scope
from dsf.core.transition import Diag, LowRank, Prod
from dsf.models.distil.floor import floors
from dsf.solvers import (
    attention_svm,
    gen_svm,
    local_optimality,
    prompt_svm,
    softmax_regression,
)
from dsf.solvers.svm.instances import named
from dsf.spectra.stability import stability
from dsf.states.distance import distance
from dsf.states.lower import hankel_gap, hankel_lower
from dsf.states.needed import realize
from dsf.verdicts.lattice.equal_when import equal_when
from dsf.verdicts.lattice.paths import edge
from dsf.verdicts.separations import one_state_gap, recall_gap, separate, separate_instances


def separations() -> dict[str, Certificate]:
    pairs = [
        ("linear_attn", "retnet"), ("gla", "deltanet"), ("gla", "retnet(rotation=True)"),
        ("gla", "softmax"), ("gla", "linear_attn"), ("gla", "window_softmax"), ("s4d", "lru"),
        ("gla", "gru"), ("softmax", dsf.recurrence(2)),
        ("gru", dsf.recurrence(2, current_token_only=True)), ("gla", dsf.recurrence(2)),
        ("mamba3", dsf.recurrence(1)),
    ]  # fmt: skip
    found = [c for a, b in pairs for c in separate(a, b)]
    a, b = dsf.gla.init(2, n=1, p=2, seed=0), dsf.retnet.init(2, n=1, p=2, seed=0)
    found += [recall_gap(4), one_state_gap(2), separate_instances(a, b)]
    return {f"{c.kind} {c.claim.partition(':')[0]} {i}": c for i, c in enumerate(found)}


def counts() -> dict[str, Certificate]:
    t = np.arange(16)
    M = np.tril(1.0 / (1.0 + np.subtract.outer(t, t).clip(0)))
    return {
        "states": realize(M, atol=0.01).certificate,
        "relative": realize(M, rtol=0.01).certificate,
        "error": realize(M, states=2).certificate,
        "relative error": realize(M, states=2, relative=True).certificate,
        "two directions": realize(M + M.T @ M, atol=0.05).certificate,
        "heads": realize(np.stack([M, M @ M]), atol=0.02).certificate,
        "a cache": realize(np.tril(np.random.default_rng(0).random((9, 9))), atol=1e-9).certificate,
        "uncertain": realize(M, atol=0.05, radius=0.01).certificate,
        "uncertain error": realize(M, states=1, relative=False, radius=0.01).certificate,
        "necessary": hankel_lower(M, 0.01),
        "necessary, uncertain": hankel_lower(M, 0.05, radius=0.01),
        "gap, uncertain": hankel_gap(M, 1, radius=0.01),
        "gap": hankel_gap(M, 2),
        "floor": floors(M, (1,))[0],
        "floor of many blocks": floors(np.tril(np.cos(np.subtract.outer(t, 2 * t) ** 2)), (1,))[0],
        "no floor": floors(np.tril(np.ones((5, 5))), (1,))[0],
        "distance": distance(np.stack([M, M @ M]), np.stack([M + np.eye(16), M])),
        "no distance": distance(M[None], M[None]),
    }


def stabilities() -> dict[str, Certificate]:
    half = np.array([[1.0, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]) / 2
    k = np.full((1, 2, 1), 0.5)
    systems = {
        "a rotation": np.array([[0.8, -0.6], [0.6, 0.8]]),
        "diagonal": Diag(a=np.array([0.5, -0.25])),
        "exponentials": Diag(log_a=Prod((np.full((1, 1), -1e-3), np.full((1, 1), 0.5)))),
        "marginal": half,
        "a Jordan block": np.array([[1.0, 1.0], [0.0, 1.0]]),
        "several": np.stack([half * 0.9, np.eye(4) / 2]),
        "low rank": LowRank(Diag(a=np.full((1, 1), 0.9)), -k, k),
    }
    return {name: stability(A).certificate for name, A in systems.items()}


def flipped_image(mech: Any) -> Any:
    params = edge("qlstm = qlstm(reversed=True)").params
    assert params is not None
    return params(mech)


def halved(mech: Any) -> Any:
    """The same map: states twice as large, in the other order."""
    turned = {k: getattr(mech, k)[..., ::-1].copy() for k in ("Wq", "Wk", "W2", "b")}
    return replace(mech, **{**turned, "Wq": turned["Wq"] / 2, "Wk": turned["Wk"] * 2})


def lattice() -> dict[str, Certificate]:
    a, b = (dsf.gla.init(3, n=2, p=2, seed=0) for _ in range(2))
    copied, rounded = dsf.qlstm.init(2, p=2, seed=0), dsf.retnet.init(2, n=1, p=2, seed=0)
    flipped = edge("qlstm = qlstm(reversed=True)")
    attention = dsf.softmax.init(2, n=2, p=2, seed=0)
    return {
        "nested": edge("mamba2 -> gla").certificate(),
        "limit": edge("linear_attn -> mamba").certificate(),
        "equal": edge("rwkv6 = rwkv6(read='after')").certificate(),
        "with parameters": flipped.certificate(Scope.MECHANISM),
        "coupled": equal_when(dsf.mamba, dsf.normalised_attn).certificate,
        "one-hot": equal_when(dsf.gla, dsf.gated_deltanet).certificate,
        "few states": dsf.compare("qlstm", dsf.recurrence(2)).certificates[0],
        "family": dsf.compare("gla", "gla").certificates[0],
        "instance": dsf.compare(a, b).certificates[0],
        "coordinates": dsf.compare(a, halved(a)).certificates[0],
        "scores": dsf.compare(
            attention, replace(attention, Wq=attention.Wq / 2, Wk=attention.Wk * 2)
        ).certificates[0],
        "image": dsf.compare(copied, flipped_image(copied)).certificates[0],
        "near image": dsf.compare(rounded, edge("retnet -> gla").params(rounded)).certificates[0],
    }


def margins() -> dict[str, Certificate]:
    a, b, d = named("A"), named("B"), named("D")
    g = gen_svm(b.X, b.z, np.where(np.arange(8) < 2, b.scores, -40.0))
    X = np.array([[[0, 0], [1, 1]], [[0, 0], [1, -1]], [[0, 0], [-0.2, 1.5]]])
    rng = np.random.default_rng(0)
    flat = (
        rng.standard_normal((3, 4, 2)) @ rng.standard_normal((2, 6)),
        rng.standard_normal((3, 1)) @ rng.standard_normal((1, 5)),
    )
    relaxed = prompt_svm(X, [1, 1, 1], strict=np.array([True, True, False]))
    return {
        "frobenius": attention_svm(b.X, b.z, b.optimal).certificate,
        "nuclear": attention_svm(b.X, b.z, b.optimal, norm="nuclear").certificate,
        "entrywise": attention_svm(b.X, b.z, b.optimal, norm="entrywise", p=3.0).certificate,
        "infeasible": attention_svm(d.X, d.z, d.optimal).certificate,
        "relaxed": relaxed.certificate,
        "undecided": attention_svm(*flat, [0, 1, 2], solvers=["nnls"]).certificate,
        "rank": attention_svm(b.X, b.z, b.optimal, norm="nuclear").rank,
        "direction": g.direction.certificate,
        "finite": g.finite.certificate,
        "local": local_optimality(a.X, a.z, [2, 2], a.scores).certificate,
        "not local": local_optimality(a.X, a.z, [0, 2], a.scores).certificate,
    }


def regressions() -> dict[str, Certificate]:
    """Few steps, so that the gradients are no rounding."""
    rng = np.random.default_rng(0)
    A, start, b = rng.standard_normal((6, 3)), rng.standard_normal(3), rng.random(6)
    b, w = b / b.sum(), 1 + rng.random(6)
    problems: dict[str, Any] = {
        "a minimiser": (b, w, 0.05),
        "a minimiser, b outside of the simplex": (b - 0.5, 2 * w, 0.05),
        "stationary": (b, None, 0.05),
        "stationary, convex there": (b, 0.6, 0.05),
        "stationary, indefinite there": (b, None, 1.0),
    }
    found = {}
    for name, (target, weights, tolerance) in problems.items():
        s = softmax_regression(A, target, weights, start=start, tolerance=tolerance)
        assert s.certificate is not None
        found[name] = s.certificate
    return found


@cache
def examples() -> dict[str, Certificate]:
    return separations() | counts() | stabilities() | lattice() | margins() | regressions()
