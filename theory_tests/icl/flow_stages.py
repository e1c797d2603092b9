"""Gradient flow of softmax heads: three stages, the values of a reference run, no other signs."""

from __future__ import annotations

import numpy as np
import pytest

from dsf.solvers.icl.flow import flow, linear_stage
from dsf.solvers.icl.heads import gradient, infimum, scale
from dsf.solvers.icl.prompts import Prompts

statement = (
    "Gradient flow on L~/2 from a small start: (I) linear, signs and sizes of omega_h and mu_h "
    "become equal; (II) mu'omega rises to 1/(1+cd), sum mu falls to zero, all |omega_h| become "
    "one; (III) omega shrinks without a limit while mu grows. The loss falls all the time. One "
    "head converges to (1/sqrt(d), sqrt(d)/(1 + e c d)); so do heads that all start with omega_h + "
    "mu_h of one sign and do not leave it: then there is no second sign and no zero sum."
)
reference = "he2025, patterns of the heads; derived: the stages and the starts of one sign"
falsified_by = "a value of the reference run missed, a rising loss, or another end of heads"

P = Prompts(5, 40, 0.1)
# from omega = (.01, -.02), mu = (.02, .01): time, omega, mu, loss
PAIR = (
    (4, (0.561655, -0.228715), (0.568553, -0.233795), 0.53452318),
    (10, (0.475862, -0.518379), (0.930846, -0.704205), 0.25255825),
    (100, (0.308866, -0.308990), (1.404402, -1.403097), 0.22500796),
    (1e3, (0.205736, -0.205736), (2.130767, -2.130767), 0.22167629),
    (1e4, (0.139411, -0.139411), (3.151178, -3.151178), 0.22104655),
    (1e6, (0.064612, -0.064612), (6.802861, -6.802861), 0.22088684),
)
FOUR = (0.03, -0.02, 0.01, -0.03), (0.01, 0.02, -0.02, 0.015)


def claim():
    """omega, mu and the loss of the reference run at six times, against its table."""
    found = flow(P, [0.01, -0.02], [0.02, 0.01], [row[0] for row in PAIR])
    known = [np.array([row[k] for row in PAIR]) for k in (1, 2, 3)]
    return [
        (found.omega, known[0], 2e-6), (found.mu, known[1], 2e-6), (found.loss, known[2], 1e-8),
    ]  # fmt: skip


def test_the_reference_run() -> None:
    for computed, theory, tolerance in claim():
        np.testing.assert_allclose(computed, theory, rtol=0, atol=tolerance)


def test_four_heads_and_one_that_wakes_up() -> None:
    found = flow(P, *FOUR, [100, 1e4])
    early = (0.296404, -0.045235, -0.295157, -0.292880)
    np.testing.assert_allclose(found.omega[0], early, atol=2e-6)
    np.testing.assert_allclose(found.mu[0], (1.453716, 0.016226, -0.668740, -0.826032), atol=2e-6)
    assert found.mu[0].sum() == pytest.approx(-0.0248, abs=6e-5)
    size = np.abs(found.omega[1])
    assert size.min() == pytest.approx(0.12446, abs=6e-6)
    assert size.max() == pytest.approx(0.12477, abs=6e-6)
    assert np.sign(found.omega[1]).tolist() == [1, 1, -1, -1]  # the second was -0.045
    late = (2.706141, 0.822372, -1.685550, -1.842962)
    np.testing.assert_allclose(found.mu[1], late, atol=2e-6)
    assert abs(found.mu[1].sum()) < 2e-8


def test_one_head_converges() -> None:
    found = flow(P, [0.02], [0.01], [1e3])
    assert found.omega[0, 0] == pytest.approx(0.447214, abs=1e-6)
    assert found.mu[0, 0] == pytest.approx(1.627695, abs=1e-6)
    assert found.loss[0] == pytest.approx(0.37207280, abs=1e-8)


def test_the_first_stage_is_linear() -> None:
    """From a start of size 1e-6 the full flow follows the linear one; omega - mu decays as e^-t
    in the directions orthogonal to 1, while both grow as e^t."""
    start = 1e-6 * np.array(FOUR)
    t = np.array([1.0, 2.0, 4.0, 6.0])
    omega, mu = linear_stage(P, start[0], start[1], t)
    full = flow(P, start[0], start[1], t, atol=1e-18)
    np.testing.assert_allclose(full.omega, omega, rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(full.mu, mu, rtol=1e-6, atol=1e-10)

    def across(x: np.ndarray) -> np.ndarray:
        return np.linalg.norm(x - x.mean(-1, keepdims=True), axis=-1)

    for sign in (-1, 1):
        mode, begin = across(omega + sign * mu), across(start[0] + sign * start[1])
        np.testing.assert_allclose(mode * np.exp(-sign * t), np.full(4, begin))


@pytest.mark.parametrize("heads", [2, 3, 5])
def test_stages_from_starts_of_both_signs(heads: int) -> None:
    rng = np.random.default_rng(heads)
    start = 0.02 * rng.standard_normal((2, heads))
    start[:, :2] = np.abs(start[:, :2]) * [1, -1]  # one head of each sign at least
    found = flow(P, start[0], start[1], np.geomspace(1, 1e5, 60))
    assert np.all(np.diff(found.loss) < 1e-9)
    late = found.omega[-1] * found.mu[-1]
    assert np.all(late > 0)  # signs match
    assert abs(found.mu[-1].sum()) < 1e-4 * np.abs(found.mu[-1]).sum()
    assert late.sum() == pytest.approx(1 / (1 + scale(P) * 5), rel=1e-3)
    assert infimum(P, heads) < found.loss[-1] < infimum(P, heads) * 1.001


def ends_as_one_head(heads: int, runs: int, seed: int = 0) -> tuple[float, float]:
    """Shares of random starts that end at the loss of one head, and that have all omega_h + mu_h
    of one sign; the first are among the second, but for one in some hundreds."""
    rng, ends, one_sign = np.random.default_rng(seed), [], []
    for _ in range(runs):
        omega, mu = 0.02 * rng.standard_normal((2, heads))
        ends.append(flow(P, omega, mu, [1e3], rtol=1e-6, atol=1e-9).loss[0] > 0.3)
        one_sign.append(abs(np.sign(omega + mu).sum()) == heads)
    return float(np.mean(ends)), float(np.mean(one_sign))


def test_heads_of_one_sign_stay_one_head() -> None:
    """From a third of the random starts two heads end as one: signs never separate."""
    ends, one_sign = ends_as_one_head(2, 20)
    assert 0.2 < ends <= one_sign < 0.7
    assert ends_as_one_head(4, 20)[0] < 0.2


def test_the_loss_of_one_head_is_a_local_minimum_of_more() -> None:
    """The Hessian at heads of one omega has no negative direction; that of the shares is flat."""
    for share in ((0.5, 0.5), (0.9, 0.1), (0.5, 0.3, 0.2)):
        H, h = len(share), 1e-4
        at = np.concatenate([np.full(H, 5**-0.5), 1.6276947 * np.array(share)])

        def slope(z: np.ndarray, H: int = H) -> np.ndarray:
            return np.concatenate(gradient(P, z[:H], z[H:]))

        E = h * np.eye(2 * H)
        values = np.linalg.eigvalsh([(slope(at + e) - slope(at - e)) / (2 * h) for e in E])
        assert np.abs(values[: H - 1]).max(initial=0) < 1e-6 and values[H - 1] > 0.1
