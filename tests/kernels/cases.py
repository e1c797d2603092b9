"""Inputs of every structure: its arrays by name, in float64, and the numbers that go with them."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.kernels import backends

STRUCTURES = (
    "linear", "linear before", "linear head", "delta", "delta channels", "low_rank",
    "low_rank substeps", "diagonal", "selective",
)  # fmt: skip
EVERY = (*STRUCTURES, "softmax", "local_linear")  # the last two have no state, and tests apart


def case(
    name: str, L: int = 9, B: int = 2, H: int = 3, K: int = 4, V: int = 5, seed: int = 0
) -> tuple[str, list[np.ndarray], list[float]]:
    """(structure, arrays, numbers); transitions are at most 1 in norm."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal

    def decays(*shape: int) -> np.ndarray:
        return rng.uniform(0.5, 1.0, shape)

    if name.startswith("linear"):
        arrays = [normal((B, L, H, n)) for n in (K, K, V)]
        before = float(name.endswith("before"))
        w = decays(B, L, H, 1 if name.endswith("head") else K)
        return "linear", [*arrays, w, normal((B, H, K, V))], [0.5, before]
    if name.startswith("delta"):
        q, k, v = (normal((B, L, H, n)) for n in (K, K, V))
        k /= np.linalg.norm(k, axis=-1, keepdims=True)
        w = decays(B, L, H, K if name.endswith("channels") else 1)
        return "delta", [q, k, v, rng.uniform(0, 1, (B, L, H)), w, normal((B, H, K, V))], [0.5]
    if name.startswith("low_rank"):
        s = 2 if name.endswith("substeps") else 1
        q, k, v = normal((B, L, H, K)), normal((B, s * L, H, K)), normal((B, s * L, H, V))
        k /= np.linalg.norm(k, axis=-1, keepdims=True)
        w, beta = decays(B, s * L, H, K), rng.uniform(0, 1, (B, s * L, H, 1))
        return (
            "low_rank",
            [q, beta * k, v, w, w * k, -beta * k, normal((B, H, K, V))],
            [0.5, float(s)],
        )
    if name == "softmax":
        return (
            "softmax",
            [
                normal((B, L, 2 * H, K)), normal((B, L, H, K)), normal((B, L, H, V)),
                normal((B, 2 * H, L, L)), -decays(B, L, 2 * H), normal((B, 2 * H)),
            ],
            [0.5, 1.0, 7.0],
        )  # fmt: skip
    if name == "local_linear":
        q, k, v = normal((B, L, 2 * H, K)), normal((B, L, H, K)), normal((B, L, H, V))
        return "local_linear", [q, k, v], [0.5, 10.0, 1.0, 1.0]
    if name == "diagonal":
        return "diagonal", [decays(B, L, K), normal((B, L, K)), normal((B, K))], []
    x, delta, A = (
        normal((B, L, V)),
        rng.uniform(0.01, 1, (B, L, V)),
        -rng.uniform(0.1, 2, (B, V, K)),
    )
    return "selective", [x, delta, A, *normal((2, B, L, K)), normal((B, V, K))], []


def cast(arrays: list[np.ndarray], dtype: Any) -> list[np.ndarray]:
    return [x.astype(dtype) for x in arrays]


def sizes(structure: str, arrays: list[np.ndarray], numbers: list[float], forward: Any) -> Any:
    """What rounding may do to y and to the last state: the sum of the sizes of their terms."""
    if structure == "selective":
        x, delta, A, *rest = arrays
        return forward(abs(x), delta, A, *map(abs, rest))
    if structure not in ("delta", "low_rank"):
        return forward(*map(abs, arrays), *numbers)
    q, k, v, *rest, S = arrays
    if structure == "delta":
        k = rest[0][..., None] * k
    lengths = [np.linalg.norm(x, axis=-1) for x in (q, k, v)]
    held = np.linalg.norm(S, axis=(-2, -1))[:, None] + np.cumsum(lengths[1] * lengths[2], axis=1)
    last = held[:, -1, :, None, None] if held.shape[1] else abs(S).max()
    substeps = int(numbers[1]) if structure == "low_rank" else 1
    y = numbers[0] * lengths[0] * held[:, substeps - 1 :: substeps]
    return y[..., None] + np.zeros(v.shape[-1]), last + np.zeros(S.shape)


def logits(arrays: list[np.ndarray], numbers: list[float]) -> float:
    """1 + the largest sum of sizes of the terms of a logit: what rounding may do to a weight."""
    q, k = (abs(arrays[i]) for i in (0, 1))
    bias = abs(arrays[3]) if len(arrays) > 3 else 0
    k = np.repeat(k, q.shape[2] // k.shape[2], axis=2)
    return 1 + float((numbers[0] * np.einsum("bihk,bjhk->bhij", q, k) + bias).max())


def training(structure: str, arrays: list[np.ndarray], numbers: list[float]) -> Any:
    """(y, last) of the numba kernel, and what its backward pass takes after the inputs."""
    asked = (True,) if backends.keeps(structure, "numba", True) else ()
    found = backends.module(structure, "numba").forward(*arrays, *numbers, *asked)
    return found[:2], backends.kept(structure, found)
