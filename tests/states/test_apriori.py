"""The bounds that need no system: all layers at once against the plain walk of each."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from dsf.states import apriori
from dsf.states.apriori import balanced_bounds, layer_bound, layer_bounds, theorem_bounds

# logs of up to 24 values in 1e-12..1e3 are summed in another order: 24 * 24 * 28 * 1.1e-16
ORDER = 2e-12
# repeats and zeros are frequent: plateaus, stretches, and layers that are empty
SIZES = st.one_of(st.sampled_from([0.0, 1.0, 2.0]), st.floats(1e-12, 1e3))
LAYERS = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 24), st.integers(0, 6)), elements=SIZES, fill=st.nothing()
)


@given(LAYERS)
def test_all_layers_at_once(beta):
    b, valleys = layer_bounds(beta)
    plain = [layer_bound(x) for x in beta.T]
    np.testing.assert_allclose(b, [value for value, _ in plain], rtol=ORDER, atol=0)
    assert [("unimodal", "valleys")[int(v)] for v in valleys] == [case for _, case in plain]


@given(LAYERS)
def test_the_layers_left_add_up(s):
    s = -np.sort(-s, axis=1)  # singular values: a decreasing row per cut
    errors, valleys = balanced_bounds(s)
    kept = np.where(s > apriori.NOISE * s.max(initial=0.0), s, 0.0)
    plain = [layer_bound(x) for x in kept.T]
    for n in range(s.shape[1] + 1):
        left = plain[n:]
        assert np.isclose(errors[n], 2 * sum(b for b, _ in left), rtol=ORDER, atol=0)
        assert valleys[n] == any(case == "valleys" for _, case in left)


def test_one_pass_over_the_layers(monkeypatch):
    """Every number of states is tried from one evaluation, not from one per number."""
    calls = []

    def counted(beta, plain=layer_bounds):
        calls.append(beta.shape)
        return plain(beta)

    monkeypatch.setattr(apriori, "layer_bounds", counted)
    s = np.exp(-np.arange(40.0)) * np.ones((80, 1))
    found = theorem_bounds(s, 79, error=1e-9)
    assert found[0].name == "balanced truncation"
    assert 20 < found[0].states < 30
    assert calls == [(80, 40)]
