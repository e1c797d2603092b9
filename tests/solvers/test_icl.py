"""Linear regression in context: what is refused, ends of the ranges, training, the slow twins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.core.errors import DomainError, DTypeError, NonFiniteError, ShapeError, UnknownNameError
from dsf.solvers import icl_optimal, icl_risk
from dsf.solvers.icl.estimators import examples_and_query, softmax_heads
from dsf.solvers.icl.flow import flow
from dsf.solvers.icl.heads import loss
from dsf.solvers.icl.prompts import Prompts
from dsf.solvers.icl.risk import OPTIONS
from dsf.solvers.icl.tasks import Tasks, scaled_heads
from dsf.solvers.icl.training import batches, circuits, layer, pattern, predict, start, train

NAN, INF = float("nan"), float("inf")
NOISE = st.just(0.0) | st.floats(1e-9, 3)
GD = ("gd", 5, 40, 0.1)
PAIR = ("multi_head", 5, 40, 0.1)


@pytest.mark.parametrize(("call", "options", "error", "says"), [
    (("sgd", 5, 40, 0.1), {}, UnknownNameError, "known: gd"),
    (("gd", 0, 40, 0.1), {}, ShapeError, "d must be an integer"),
    (("gd", 5, 2.5, 0.1), {}, ShapeError, "length must be"),
    (("gd", 5, True, 0.1), {}, ShapeError, "length must be"),
    (GD, {"test_length": 0}, ShapeError, "length must be"),
    (("gd", 5, 40, -0.1), {}, DomainError, "must not be negative"),
    (("gd", 5, 40, NAN), {}, NonFiniteError, "noise_var must be finite"),
    (("gd", 5, 40, 1e-80), {}, DomainError, "would leave the floats"),
    (GD, {"covariance": 1e-200 * np.eye(5)}, DomainError, "other units"),
    (GD, {"prior": 1e200 * np.eye(5)}, DomainError, "other units"),
    (GD, {"step": 1e99}, DomainError, "step is of size"),
    (("ridge", 5, 40, 0.1), {"penalty": 1e99}, DomainError, "penalty is of size"),
    (GD, {"step": INF}, NonFiniteError, "step must be finite"),
    (GD, {"G": np.eye(5)}, DomainError, "belongs to preconditioned_gd"),
    (GD, {"penalty": 1.0}, DomainError, "belongs to ridge"),
    (("preconditioned_gd", 5, 40, 0.1), {"G": np.eye(4)}, ShapeError, "G must be"),
    (GD, {"covariance": np.eye(4)}, ShapeError, "covariance must be"),
    (GD, {"covariance": -np.eye(5)}, DomainError, "positive semidefinite"),
    (GD, {"covariance": np.tri(5)}, DomainError, "symmetric"),
    (GD, {"prior": np.full((5, 5), NAN)}, NonFiniteError, "prior holds"),
    (("gd", 5, 40, "little"), {}, DTypeError, "noise_var must be one number"),
    (GD, {"step": [0.1, 0.2]}, DTypeError, "step must be one number"),
    (("preconditioned_gd", 5, 40, 0.1), {"G": "I"}, DTypeError, "real numbers"),
    (PAIR, {"omega": 0.3}, ShapeError, "must be"),
    (("bayes", 5, 40, 0.1), {"samples": 2.5}, DomainError, "an integer"),
    (("ridge", 5, 40, 0.1), {}, DomainError, "needs its penalty"),
    (("ridge", 5, 40, 0.1), {"penalty": -1.0}, DomainError, "must not be negative"),
    (("bayes", 5, 40, 0.1), {"samples": 1}, DomainError, "at least 2"),
    (PAIR, {}, DomainError, "gives the infimum"),
    (PAIR, {"omega": [30.0, -30.0]}, DomainError, "outside the range"),
    (PAIR, {"omega": [NAN]}, NonFiniteError, "omega holds"),
    (PAIR, {"omega": [0.1], "mu": [1.0, 2.0]}, ShapeError, "one number per head"),
    (PAIR, {"omega": []}, ShapeError, "H >= 1"),
    (PAIR, {"omega": [0.1], "covariance": np.eye(5)}, DomainError, r"N\(0, I\)"),
])  # fmt: skip
def test_what_is_refused(call, options, error, says):
    with pytest.raises(error, match=says):
        icl_risk(*call, **options)


@pytest.mark.parametrize(("options", "error", "says"), [
    ({"heads": 0}, ShapeError, "at least 1"),
    ({"max_omega": 0.0}, DomainError, "must be positive"),
    ({"max_omega": INF}, NonFiniteError, "must be finite"),
    ({"max_omega": "wide"}, DTypeError, "one number"),
    ({"max_omega": 1.0, "omega": [1.0]}, DomainError, "not both"),
])  # fmt: skip
def test_what_the_optimum_refuses(options, error, says):
    with pytest.raises(error, match=says):
        icl_optimal("multi_head", 5, 40, 0.1, **options)


def test_other_refusals():
    with pytest.raises(UnknownNameError, match="no method"):
        icl_optimal("bayes", 5, 40, 0.1)
    with pytest.raises(DomainError, match="belong to multi_head"):
        icl_optimal("gd", 5, 40, 0.1, max_omega=0.1)
    for times in ([1.0, 1.0], [-1.0], []):
        with pytest.raises(DomainError, match="increases"):
            flow(Prompts(5, 40, 0.1), [0.1], [0.1], times)
    with pytest.raises(NonFiniteError, match="times holds"):
        flow(Prompts(5, 40, 0.1), [0.1], [0.1], [NAN])


@pytest.mark.smoke
@pytest.mark.parametrize("method", [m for m in OPTIONS if m != "multi_head"])
def test_ends_of_the_ranges(method):
    options = {"penalty": 0.3} if method == "ridge" else {}
    for d, L in ((1, 1), (1, 9), (4, 1), (3, 3)):
        for noise in (0.0, 0.2):
            found = icl_risk(method, d, L, noise, samples=400, **options)
            assert found.value >= noise and not np.isnan(found.value)
            nothing = np.zeros((d, d))
            for zero in ({"prior": nothing}, {"covariance": nothing}):
                same = icl_risk(method, d, L, noise, samples=400, **options, **zero).value
                # no signal: what is left is noise, that of the examples included
                assert same >= noise and (noise > 0 or same == pytest.approx(0, abs=1e-12))
    assert icl_risk(method, 1, 1, 0.0, **options).value <= 1.0


@pytest.mark.parametrize("method", [m for m in OPTIONS if m != "multi_head"])
def test_other_units_are_other_units(method):
    """y times s: the risk times s^2, far out in the range that is taken."""
    d, L, noise = 2, 5, 0.3
    for size in (1e-25, 1e25):
        options = {"penalty": 0.4} if method == "ridge" else {}
        here = icl_risk(method, d, L, noise, samples=100, **options).value
        prior = size**2 * np.eye(d) / d
        other = icl_risk(method, d, L, noise * size**2, prior=prior, samples=100, **options)
        assert other.value == pytest.approx(here * size**2, rel=1e-9)
        covariance = size * np.eye(d)  # x times the root of the size, beta over it
        options = {"penalty": 0.4 * size} if method == "ridge" else {}
        other = icl_risk(method, d, L, noise, covariance=covariance,
                         prior=np.eye(d) / d / size, samples=100, **options)  # fmt: skip
        assert other.value == pytest.approx(here, rel=1e-9)


def test_without_noise_least_squares_is_exact():
    assert icl_risk("ols", 5, 5, 0.0).value == 0
    assert abs(icl_risk("bayes", 5, 9, 0.0, samples=9).value) < 1e-12
    assert icl_risk("ols", 5, 4, 0.0).value == pytest.approx(0.2)
    assert icl_risk("bayes", 5, 4, 0.0, samples=50).value == pytest.approx(0.2)
    assert icl_risk("ols", 5, 5, 0.1).value == INF


@given(st.integers(1, 6), st.integers(1, 30), st.floats(0.01, 3))
def test_bayes_is_below_all(d, L, noise):
    bayes = icl_risk("bayes", d, L, noise, samples=200)
    least = bayes.value - 5 * (bayes.error or 0)
    for method in ("gd", "debiased_gd", "preconditioned_gd", "ols"):
        assert icl_risk(method, d, L, noise).value >= least * (1 - 1e-9)


@given(st.integers(1, 5), st.integers(2, 30), NOISE, st.floats(0.1, 3))
def test_the_scale_of_covariates_does_not_matter_to_the_best(d, L, noise, size):
    """Covariates times s and coefficients over s are the same prompts but for the step."""
    other = {"covariance": size**2 * np.eye(d), "prior": np.eye(d) / (d * size**2)}
    for method in ("gd", "preconditioned_gd", "preconditioned_debiased_gd", "debiased_gd"):
        here = icl_risk(method, d, L, noise).value
        assert icl_risk(method, d, L, noise, **other).value == pytest.approx(here, rel=1e-9)


def test_test_length_keeps_what_was_trained():
    step = icl_optimal("gd", 5, 40, 0.1).step
    found = icl_risk("gd", 5, 40, 0.1, test_length=80).value
    assert found == icl_risk("gd", 5, 80, 0.1, step=step).value
    heads = icl_optimal("multi_head", 5, 40, 0.1, max_omega=0.2)
    found = icl_risk("multi_head", 5, 40, 0.1, omega=heads.omega, test_length=80).value
    assert found == pytest.approx(loss(Prompts(5, 80, 0.1), heads.omega, heads.mu), rel=1e-12)


# --------------------------------------------------------------------- training
def test_the_fast_row_is_the_layer():
    u, _ = next(batches(Prompts(3, 7, 0.1), 0, 5))
    for heads in (1, 3):
        w = {k: x.astype(float) for k, x in start(4, heads, 1, heads).items()}
        np.testing.assert_allclose(predict(*circuits(w), u), layer(w)(u), rtol=1e-10, atol=1e-12)


def test_circuits_of_the_pattern_are_the_reduced_model():
    drawn, mu = Prompts(3, 7, 0.1).draw(0, 5), [2.0, -2.0]
    KQ, OV = scaled_heads(np.array([[0.3] * 3, [-0.3] * 3]), np.array([mu]), 1.0)
    found = predict(KQ, OV, examples_and_query(drawn))[:, 0]
    np.testing.assert_allclose(found, softmax_heads(drawn, [0.3, -0.3], mu), rtol=1e-11)
    assert pattern(KQ[1], OV[1])[:3] == (-0.3, -2.0, 1.0)


def test_training_is_one_run_for_a_seed_and_lowers_the_loss():
    def run(seed):
        prompts = Prompts(2, 10, 0.1)
        return train(batches(prompts, seed, 64), 2, 400, lambda step: step % 100 == 0, seed)

    (first, w), (again, same), (other, _) = run(0), run(0), run(1)
    assert [r.step for r in first] == [0, 100, 200, 300, 400]
    assert all(np.array_equal(w[k], same[k]) for k in w)
    assert not np.array_equal(first[-1].circuits.KQ, other[-1].circuits.KQ)
    assert first[-1].loss < first[1].loss and again[-1].loss == first[-1].loss
    # the 0 of the query: the last row of Q has no gradient; that column of KQ moves with K
    begin = start(3, 2, 1, 0)
    assert np.array_equal(w["Q"][:, -1], begin["Q"][:, -1])
    assert not np.allclose(first[-1].circuits.KQ[..., -1], first[0].circuits.KQ[..., -1])


def test_tasks_share_coordinates():
    tasks = Tasks(d=3, supports=((0, 1), (1, 2)), length=4, noise_var=0.0)
    u, target = tasks.draw(0, 6)
    X, y = u[:, :-1, :3], u[:, :-1, 3:]
    for t, support in enumerate(tasks.supports):
        beta = np.linalg.lstsq(X[0][:, support], y[0][:, t], rcond=None)[0]
        np.testing.assert_allclose(X[0][:, support] @ beta, y[0][:, t], atol=1e-10)
        assert target[0, t] == pytest.approx(u[0, -1, list(support)] @ beta)
    assert np.all(u[:, -1, 3:] == 0)
