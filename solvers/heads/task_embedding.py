"""Task embeddings of linear-attention regression: what a mean over prompts keeps of the task.

A prompt shows N pairs (x_n, w'x_n), x_n standard normal in R^d, and asks for a query x_q:

    state  S = (1/N) sum_n x_n (x_n'w) = Sigma_hat w       output  o = S'x_q

The embedding of soft injection (arXiv 2507.20906) is the mean output over M prompts, with expected
value w'E[x_q]: nothing of w is left for centred queries.  The mean state has expected value w.
"""

from __future__ import annotations

import numpy as np

from dsf.solvers.svm.problem import Array


def embeddings(
    tasks: Array, mean: Array, prompts: int, pairs: int = 10, seed: int = 0
) -> tuple[Array, Array]:
    """(mean outputs [K], mean states [K d]) over `prompts` prompts with queries N(mean, I), for
    tasks w [K d].

    >>> outputs, states = embeddings(np.array([[1.0, 2.0]]), np.array([3.0, 0.0]), 20_000)
    >>> outputs.round(1), states.round(1)
    (array([3.]), array([[1., 2.]]))
    """
    rng = np.random.default_rng(seed)
    K, d = tasks.shape
    outputs, states = np.zeros(K), np.zeros((K, d))
    for i, w in enumerate(tasks):
        x = rng.standard_normal((prompts, pairs, d))
        S = ((x @ w)[:, None, :] @ x)[:, 0] / pairs
        queries = rng.standard_normal((prompts, d)) + mean
        outputs[i], states[i] = np.mean(np.sum(S * queries, axis=1)), S.mean(axis=0)
    return outputs, states


def frames(d: int, count: int, seed: int = 0) -> Array:
    """`count` random orthogonal frames of tasks [count d, d], of length sqrt d: the mean of w w'
    is the identity, as for w ~ N(0, I), but without the noise of drawn tasks.

    >>> w = frames(3, 2)
    >>> (w.T @ w / len(w)).round(12) + 0.0
    array([[1., 0., 0.],
           [0., 1., 0.],
           [0., 0., 1.]])
    """
    blocks = np.random.default_rng(seed).standard_normal((count, d, d))
    return np.sqrt(d) * np.linalg.qr(blocks)[0].reshape(count * d, d)


def output_size(distance: Array | float, d: int, prompts: int, pairs: int = 10) -> Array:
    """Root mean square of the mean output over tasks with E[w w'] = I, for |E[x_q]| = distance:

        sqrt(m^2 + ((1 + (d+1)/N) (d + m^2) - m^2) / M)

    the task, and the noise of M prompts; m, d, M, N = distance, d, prompts, pairs.

    >>> output_size(np.array([0.0, 2.0]), 5, 10**12).round(4)
    array([0., 2.])
    """
    signal = np.asarray(distance) ** 2
    noise = (1 + (d + 1) / pairs) * (d + signal) - signal
    return np.sqrt(signal + noise / prompts)


def state_size(d: int, prompts: int, pairs: int = 10) -> float:
    """Root mean square norm of the mean state: sqrt(d (1 + (d+1)/(N M))), whatever the queries.

    >>> round(state_size(4, 10**12), 4)
    2.0
    """
    return float(np.sqrt(d * (1 + (d + 1) / (pairs * prompts))))
