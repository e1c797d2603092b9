"""Initial values of parameters are those of the papers that the docstrings cite."""

from __future__ import annotations

import numpy as np

import dsf


def test_retnet_decays_are_spaced_in_powers_of_two():
    """gamma_h = 1 - 2^(-5-h) (Sun et al. 2023)."""
    assert dsf.retnet.init(d=4, heads=3).gamma.ravel().tolist() == [31 / 32, 63 / 64, 127 / 128]


def test_mlstm_forget_biases_rise_from_three_to_six():
    """linspace(3, 6) over the heads (Beck et al. 2024)."""
    assert dsf.mlstm.init(d=4, heads=4).bf.ravel().tolist() == [3.0, 4.0, 5.0, 6.0]


def test_s4d_step_sizes_are_log_uniform_from_a_thousandth_to_a_tenth():
    """dt in [1e-3, 1e-1] (Gu et al. 2022): each third of the exponents is met."""
    exponent = dsf.s4d.init(d=600, n=1).log_dt.ravel() / np.log(10)
    assert -3 <= exponent.min() < -2.9 and -1.1 < exponent.max() <= -1
    counts, _ = np.histogram(exponent, bins=[-3, -7 / 3, -5 / 3, -1])
    assert np.all(counts > 150)


def test_lru_normalises_by_the_size_of_its_eigenvalues():
    """gamma = sqrt(1 - |lambda|^2), |lambda| = exp(-exp(nu)) (Orvieto et al. 2023)."""
    mech = dsf.lru.init(d=3, n=5)
    size = np.exp(-np.exp(mech.nu))
    assert np.all((0 < size) & (size < 1))
    np.testing.assert_allclose(np.exp(2 * mech.log_gamma).ravel(), (1 - size**2).T.ravel())
