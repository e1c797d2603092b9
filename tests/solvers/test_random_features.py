"""Random features: smallest sizes, bad input, and what the public functions refuse."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dsf.solvers as solve
from dsf.core.errors import (
    DomainError,
    DTypeError,
    IllConditionedError,
    NonFiniteError,
    ShapeError,
    UnknownNameError,
)
from dsf.core.ops import softmax
from dsf.solvers.random_features.importance import log_balance, weighted_directions
from dsf.solvers.random_features.targets import TARGETS, relative, unit_tokens

X, Y = np.ones(3), np.zeros(3)
Q = np.random.default_rng(0).standard_normal((4, 3))
NAN = np.array([1.0, np.nan, 0.0])
HEADS = solve.RandomFeatureHeads.draw(2, 3)
MLP = solve.RandomFeatureMLP.draw(2, 3, 2)

BAD = {
    "no directions": (lambda: solve.random_directions(0, 3), DomainError, "at least 1"),
    "half a direction": (lambda: solve.random_directions(2.5, 3), DTypeError, "an integer"),
    "a kind": (lambda: solve.softmax_kernel_mse(X, Y, 2, "cosine"), UnknownNameError, "known: fav"),
    "another d": (lambda: solve.softmax_kernel_mse(X, np.ones(2), 2), ShapeError, r"\[... d\]"),
    "no d": (lambda: solve.softmax_kernel_mse([], [], 2), ShapeError, "d >= 1"),
    "a scalar": (lambda: solve.softmax_kernel_mse(1.0, 2.0, 2), ShapeError, "at least one axis"),
    "nan": (lambda: solve.softmax_kernel_mse(NAN, Y, 2), NonFiniteError, r"entry \(1,\)"),
    "words": (lambda: solve.softmax_kernel_mse(["a"], Y, 2), DTypeError, "real numbers"),
    "A of 1/8": (
        lambda: solve.softmax_kernel_mse(X, Y, 2, "favor++", A=0.125), DomainError, "below 1/8",
    ),
    "features at 1/8": (
        lambda: solve.softmax_kernel_features(X, Q, "favor++", A=1.0), DomainError, "below 1/8",
    ),
    "a kind of features": (
        lambda: solve.softmax_kernel_features(X, Q, "taylor"), UnknownNameError, "no kind",
    ),
    "no rows": (lambda: solve.softmax_kernel_features(X, Q[:0]), ShapeError, "at least one row"),
    "no keys": (
        lambda: solve.random_feature_attention(Q, Q[:0], Q[:0], Q), ShapeError, "T >= 1",
    ),
    "causal with fewer keys": (
        lambda: solve.random_feature_attention(Q, Q[:2], Q[:2], Q, causal=True),
        ShapeError, "as many queries as keys",
    ),
    "negative weights": (
        lambda: solve.random_feature_attention([[0.0]], [[2.0]], [[1.0]], [[np.pi / 2]], "trig"),
        DomainError, "both signs",
    ),
    "far orthogonal": (
        lambda: solve.softmax_kernel_mse(20 * X, 20 * X, 3, orthogonal=True),
        DomainError, "at most 700",
    ),
    "one draw": (lambda: solve.randomised_attention(Q, Q, Q, 1), DomainError, "at least 2"),
    "centres": (lambda: solve.importance_attention(Q, Q, Q, X), ShapeError, "2 axes"),
    "other centres": (
        lambda: solve.importance_attention(Q, Q, Q, Q[:, :2]), ShapeError, "centres",
    ),
    "eva of other lengths": (lambda: solve.eva_attention(Q[:2], Q, Q, 2), ShapeError, "as many"),
    "a block of 0": (lambda: solve.eva_attention(Q, Q, Q, 0), DomainError, "block"),
    "no heads": (lambda: solve.RandomFeatureHeads.draw(0, 3), DomainError, "heads"),
    "no keys of heads": (lambda: HEADS.features(np.ones((2, 1, 3))), ShapeError, "at least one"),
    "width of heads": (lambda: HEADS.features(np.ones((2, 3, 4))), ShapeError, "d = 3"),
    "nan in heads": (lambda: HEADS.features(np.full((1, 2, 3), np.nan)), NonFiniteError, "finite"),
    "keys of an mlp": (lambda: MLP.features(np.ones((2, 4, 3))), ShapeError, r"\(N\+1\) d = 9"),
    "a constant target": (lambda: relative(np.ones(4)), DomainError, "constant"),
    "no penalty": (lambda: solve.ridge_regression(Q, X[[0, 0, 0, 0]], 0.0), DomainError, "above 0"),
    "a penalty in words": (lambda: solve.ridge_regression(Q, np.ones(4), "a"), DTypeError, "a num"),
    "another y": (lambda: solve.ridge_regression(Q, X, 1.0), ShapeError, "4 rows, y 3"),
    "nan in y": (lambda: solve.ridge_regression(Q[:3], NAN, 1.0), NonFiniteError, "`y`"),
    "huge features": (
        lambda: solve.ridge_regression(np.full((2, 2), 1e200), np.ones(2), 1.0),
        DomainError, "overflow",
    ),
    "a penalty below rounding": (
        lambda: solve.ridge_regression(1e10 * np.ones((2, 2)), np.ones(2), 1e-9),
        IllConditionedError, "not positive definite",
    ),
    "blocks below rounding": (
        lambda: solve.ridge_regression_in_blocks(
            lambda b: 1e10 * np.ones((2, 2)), [2], np.ones(2), 1e-9
        ),
        IllConditionedError, "not positive definite",
    ),
    "a block of another size": (
        lambda: solve.ridge_regression_in_blocks(lambda b: np.ones((2, 3)), [2], np.ones(2), 1.0),
        ShapeError, r"block\(0\) must be",
    ),
    "path of another y": (lambda: solve.ridge_path(Q, X, [1.0]), ShapeError, "does not fit"),
    "one size": (lambda: solve.fitted_rate([1, 1], [[1, 2]]), DomainError, "two different"),
    "no seeds": (lambda: solve.fitted_rate([1, 2], np.ones((0, 2))), ShapeError, "seeds"),
    "an error of 0": (lambda: solve.fitted_rate([1, 2], [[1, 0]]), DomainError, "above 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told(case):
    wrong, error, message = BAD[case]
    with pytest.raises(error, match=message):
        wrong()


def test_values_beyond_float64_are_infinite_and_not_nan():
    far = np.full(4, 30.0)
    for kind in ("favor", "hyperbolic", "favor++"):
        assert np.isinf(solve.softmax_kernel_mse(far, far, 4, kind))
    assert np.isinf(solve.softmax_kernel_mse(far, -far, 4, "trig"))
    assert solve.softmax_kernel_mse(far, far, 4, "trig", orthogonal=True) == 0


def test_the_smallest_problems():
    assert solve.ridge_regression(np.ones((0, 2)), [], 1.0).theta.tolist() == [0, 0]
    assert solve.ridge_regression(np.ones((2, 0)), [1, 2], 1.0).theta.shape == (0,)
    assert solve.ridge_regression_in_blocks(lambda b: Q, [], np.ones(4), 1.0).theta.size == 0
    assert solve.random_feature_attention(Q[:0], Q, Q, Q).shape == (0, 3)
    np.testing.assert_allclose(solve.random_feature_attention(Q[:1], Q[:1], Q[:1], Q), Q[:1])
    assert unit_tokens(np.random.default_rng(0), 0, 1, 1).shape == (0, 2, 1)
    assert HEADS.features(np.ones((0, 2, 3))).shape == (0, 8)


def test_an_overlooked_residual_is_covered_where_the_penalty_is_tiny():
    """The penalty is 1e-12: rounding, about 1e-13 here, is divided by it."""
    Phi = np.random.default_rng(0).standard_normal((30, 5))
    s = solve.ridge_regression(Phi, Phi @ np.ones(5), 1e-12)
    assert np.abs(s.theta - 1).max() <= s.error_bound < 1


def test_the_balance_heuristic_is_the_ratio_of_densities():
    w, centres = np.random.default_rng(0).standard_normal((2, 3, 2))
    density = lambda c: np.exp(-np.sum((w - c) ** 2, -1) / 2)  # noqa: E731
    wanted = density(0) / sum(density(c) for c in centres)
    np.testing.assert_allclose(np.exp(log_balance(w, centres)), wanted)


def test_any_centres_converge_to_softmax_attention():
    """Twenty centres, each used 10 and 100 times: the error falls by about the root of 10."""
    q, k, v = 0.5 * np.random.default_rng(0).standard_normal((3, 20, 4))
    exact = softmax(q @ k.T) @ v

    def error(times):
        centres = np.tile(q + k, (times, 1))
        off = [solve.importance_attention(q, k, v, centres, seed) - exact for seed in range(5)]
        return np.sqrt(np.mean(np.square(off)))

    assert 2 < error(10) / error(100) < 5


def test_log_weights_shift_without_effect():
    q, k, v, w = np.random.default_rng(0).standard_normal((4, 5, 3))
    a = weighted_directions(q, k, v, w, np.zeros(5))
    np.testing.assert_allclose(weighted_directions(q, k, v, w, np.full(5, 300.0)), a, rtol=1e-12)


def test_larger_blocks_of_eva_come_closer():
    q, k, v = np.random.default_rng(0).standard_normal((3, 32, 4))
    exact = softmax(q @ k.T) @ v
    off = [np.linalg.norm(solve.eva_attention(q, k, v, b) - exact) for b in (4, 16, 32)]
    assert off[0] > off[1] > off[2] < 1e-12


def test_targets_read_like_their_formulas():
    X, beta = unit_tokens(np.random.default_rng(0), 3, 2, 4), np.eye(4)[1]
    by_hand = {
        "query": lambda x: x[0, 1] ** 2,
        "keys": lambda x: (x[1, 1] ** 2 + x[2, 1] ** 2) / 2,
        "correlation": lambda x: ((x[0] @ x[1]) ** 2 + (x[0] @ x[2]) ** 2) / 2,
        "weighted": lambda x: (x[0] @ x[1] * x[1, 1] + x[0] @ x[2] * x[2, 1]) / 2,
    }
    for name, f in by_hand.items():
        np.testing.assert_allclose(TARGETS[name](X, beta), [f(x) for x in X])


@pytest.mark.slow
def test_features_are_never_held_all_at_once():
    """20 007 features of 3000 samples take 458 MiB, the Gram matrix 69: the peak is near that."""
    script = Path(__file__).parents[2] / "benchmarks" / "random_features.py"
    sizes = ["--features", "20000", "--samples", "3000"]
    run = subprocess.run(
        [sys.executable, "-P", str(script), *sizes], check=True, capture_output=True, text=True
    )
    assert float(run.stdout.partition("peak ")[2].split()[0]) * 1024 < 150


def test_the_interval_of_a_rate_shrinks_to_an_exact_law():
    rate = solve.fitted_rate([1, 2, 4], np.outer([1.0, 3.0], [8.0, 4.0, 2.0]))
    assert rate.slope == pytest.approx(-1) and rate.high - rate.low < 1e-12
    noisy = np.exp(np.random.default_rng(0).standard_normal((20, 3)))
    rate = solve.fitted_rate([1, 2, 4], noisy)
    assert rate.low < rate.slope < rate.high
