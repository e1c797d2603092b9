"""The figures after Sieber et al. 2024: their numbers in the smoke profile."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.core.kinds import Attention
from dsf.figures import Table
from dsf.figures.dsf import (
    _layout,
    gauge,
    lattice,
    linear_vs_softmax,
    memory,
    reversed_sigmoid,
    states_needed,
    text_states,
)
from dsf.theory_tests.dsf.softmax_states_table import ERRORS, TABLE, softmax_matrix
from dsf.tools.style import color
from dsf.verdicts.lattice.paths import NESTINGS, hasse


# ------------------------------------------------------------------------ gauge
def test_gauge_eigenvalues_are_those_of_the_formula(table):
    t = table("dsf/gauge")
    length, width, states = (t[0][k] for k in ("length", "width", "states"))
    mech = dsf.normalised_linear_attn.init(d=width, n=states, p=1, seed=0)
    u = np.random.default_rng(0).standard_normal((length, width))
    x, y = ((u @ W[0]) for W in (mech.Wq, mech.Wk))
    phi, psi = (np.where(z > 0, z + 1, np.exp(np.minimum(z, 0))) for z in (x, y))
    eta = np.sum(phi * np.cumsum(psi, 0), -1)
    paper = t.where(gauge="normaliser in Λ (paper)", quantity="eigenvalue").column("value")
    np.testing.assert_allclose(paper, eta[:-1] / eta[1:], rtol=1e-12)
    ones = t.where(gauge="normaliser in C", quantity="eigenvalue").column("value")
    assert ones == [1.0] * (length - 1)


def test_gauge_leaves_kernel_and_hankel_singular_values(table):
    t = table("dsf/gauge")
    assert max(t.where(quantity="kernel difference").column("value")) < 1e-14
    sigma = [
        t.where(quantity="hankel singular value", gauge=g).column("value")
        for g in t.values("gauge")
    ]
    np.testing.assert_allclose(sigma[1:], [sigma[0]] * 2, rtol=1e-12)
    spectra = [t.where(quantity="eigenvalue", gauge=g).column("value") for g in t.values("gauge")]
    assert np.abs(np.subtract(spectra[1], spectra[2])).max() > 0.1


# ------------------------------------------------------------- reversed sigmoid
@given(alpha=st.floats(0.05, 5), eta=st.floats(0.1, 20))
def test_the_normaliser_solves_its_implicit_equation(alpha, eta):
    found = reversed_sigmoid.normaliser(alpha, 50, eta)
    assert found[0] == eta and np.all(np.diff(found) > 0)
    np.testing.assert_allclose(found[1:], found[:-1] * np.exp(alpha / found[1:]), rtol=1e-13)


def test_the_normaliser_grows_as_alpha_i():
    found = reversed_sigmoid.normaliser(0.7, 100_000)
    assert abs(found[-1] / 100_000 - 0.69997) < 5e-6


def test_gate_values(table):
    t = table("dsf/reversed_sigmoid").where(part="gate")
    at_zero = next(r for r in t if r["x"] == 0)
    assert at_zero["value"] == pytest.approx(2**-0.7, rel=1e-15)
    for r in t:
        assert r["value"] == pytest.approx((1 + math.exp(r["x"])) ** -0.7, rel=1e-13)


def test_s6_meets_normalised_attention_there_and_not_beside(table):
    row = table("dsf/reversed_sigmoid").where(part="kernel difference")[0]
    assert row["value"] < 1e-14 and row["other"] > 1e-4


# ----------------------------------------------------------------------- memory
def test_influence_of_retention_is_the_formula():
    """gamma^lag |q_i' k_{i-lag}|, quantiles over the second half of the sequence."""
    rows = memory.influence("retnet", 32, 6, 4, 1)
    mech = dsf.retnet.init(d=6, n=4, p=1, seed=0)
    u = np.random.default_rng(0).standard_normal((32, 6))
    q, k = u @ mech.Wq[0], u @ mech.Wk[0]
    assert mech.gamma.item() == 31 / 32
    i = np.arange(16, 32)

    def weights(lag):
        return (31 / 32) ** lag * np.abs(np.sum(q[i] * k[i - lag], -1))

    for r in rows:
        wanted = np.quantile(weights(r["lag"]), (0.1, 0.5, 0.9)) / np.median(weights(1))
        np.testing.assert_allclose([r["low"], r["median"], r["high"]], wanted, rtol=1e-10)


def test_a_window_forgets_at_once(table):
    rows = table("dsf/memory").where(mechanism="window_softmax(width=32)")
    assert all((r["high"] == 0) == (r["lag"] >= 32) for r in rows)


def test_half_life():
    lags = [0, 1, 2, 4, 8, 16]
    decay = Table({"lag": x, "median": 2.0 ** -((x - 1) / 5)} for x in lags)
    assert memory.half_life(decay) == pytest.approx(6)
    assert memory.half_life(Table({"lag": x, "median": 1.0} for x in lags)) is None
    cut = Table({"lag": x, "median": float(x < 8)} for x in lags)
    assert memory.half_life(cut) == 8


def test_eight_mechanisms_of_different_colour_or_panel(table):
    assert table("dsf/memory").values("mechanism") == list(memory.MECHANISMS)
    assert len(memory.MECHANISMS) == 8


# ---------------------------------------------------------------- states needed
def test_state_counts_are_the_expected_ones(table):
    for r in table("dsf/states_needed"):
        assert (r["lower"], r["upper"], r["dyadic"]) == (
            r["expected_lower"], r["expected_upper"], r["expected_dyadic"],
        )  # fmt: skip
        assert r["proved_error"] <= r["error"]
        if r["expected_taylor"]:
            assert r["taylor"] == r["expected_taylor"]


def test_the_expected_numbers_are_those_of_the_theorem():
    cells = {key: row.replace("/", " ").split() for key, row in TABLE.items()}
    assert {k: tuple(map(int, v)) for k, v in cells.items()} == states_needed.EXPECTED
    assert states_needed.ERRORS == ERRORS


def test_attention_is_drawn_queries_first():
    rng = np.random.default_rng(7)
    q, k = rng.standard_normal((96, 4)), rng.standard_normal((96, 4))
    logits = (4 * q @ k.T / 2)[np.tril_indices(96)]
    M, flat = states_needed.attention(4, 4, 96, 7)
    np.testing.assert_allclose(M, softmax_matrix(96, 4, 4.0, 7), atol=1e-15)
    np.testing.assert_allclose(np.sort(flat), np.sort(logits), rtol=1e-12)


@given(p=st.integers(0, 30), y=st.floats(1e-3, 30))
def test_taylor_remainders(p, y):
    from mpmath import exp, factorial, mp, mpf

    with mp.workdps(150):
        for x in (mpf(y), -mpf(y)):
            exact = abs(sum(x**r / factorial(r) for r in range(p + 1)) - exp(x))
            exact = exact / exp(x) if x > 0 else exact
            found = states_needed._remainder(p, y, negative=x < 0)
            assert found == pytest.approx(float(exact), rel=1e-9, abs=1e-300)


def test_the_taylor_degree_is_the_smallest():
    logits = np.array([-3.0, 2.0])

    def bound(p):
        delta = max(
            abs(sum(x**r / math.factorial(r) for r in range(p + 1)) - math.exp(x)) / math.exp(x)
            for x in logits
        )
        return 2 * delta / (1 - delta) if delta < 1 else math.inf

    p = states_needed.taylor_degree(logits, 1.5, 0.01)
    assert 1.5 * bound(p) <= 0.01 < 1.5 * bound(p - 1)


# ------------------------------------------------------------ linear vs softmax
@given(pairs=st.integers(1, 8), more=st.integers(0, 20), seed=st.integers(0, 99))
def test_recall_matrix(pairs, more, seed):
    length = 4 * pairs + 2 * more
    R = linear_vs_softmax.recall_matrix(length, pairs, seed)
    rows, columns = np.nonzero(R)
    assert len(rows) == pairs and len(set(rows)) == pairs and np.all(R[rows, columns] == 1)
    assert sorted(columns) == [2 * j + 1 for j in range(pairs)]
    assert np.all(rows >= 2 * pairs) and np.all(rows % 2 == 0)
    sigma = np.linalg.svd(R[2 * pairs :, : 2 * pairs], compute_uv=False)
    np.testing.assert_allclose(sigma[:pairs], 1)


def test_recall_needs_as_many_states_as_pairs(table):
    for r in table("dsf/linear_vs_softmax").where(target="recall"):
        if r["n"] < 4:
            assert 1 - 1e-9 < r["lower"] <= r["upper"] < 1 + 1e-4
        else:
            assert r["lower"] == 0 and r["upper"] < 1e-8


def test_no_linear_attention_beats_the_lower_bound(table):
    t = table("dsf/linear_vs_softmax")
    best, features = t.where(target="softmax"), t.where(target="features")
    assert best.column("n") == features.column("n")
    for a, b in zip(best, features, strict=True):
        assert a["lower"] <= a["upper"] and a["lower"] <= b["lower"]
    assert all(np.diff(best.column("upper")) < 0)


def test_random_features_approximate_softmax():
    q, k = np.random.default_rng(0).standard_normal((2, 16, 3)) / 2
    weights = np.tril(np.exp(q @ k.T))
    M = weights / weights.sum(-1, keepdims=True)
    errors = [
        np.median([np.linalg.norm(M - linear_vs_softmax.random_features(q, k, n, s), 2)
                   for s in range(5)])
        for n in (10, 4000)
    ]  # fmt: skip
    assert errors[1] < errors[0] / 8 and errors[1] < 0.05  # unbiased: it falls as 1 / sqrt(n)


# ------------------------------------------------------------------ text states
def test_the_text_is_named_by_its_hash(table):
    from pydoc_data.topics import topics

    row = table("dsf/text_states")[0]
    data = topics["objects"].encode()[:96]
    assert row["sha256"] == "sha256:" + hashlib.sha256(data).hexdigest()
    assert (row["bytes"], row["distinct"]) == (96, len(set(data)))
    assert len(text_states.text(2048)) == 2048
    u = text_states.embedded(data, 5, 0)
    assert np.array_equal(u[0], np.random.default_rng(0).standard_normal((256, 5))[data[0]])


@pytest.mark.parametrize("head", [h for h in text_states.HEADS if h != "lru"])
def test_a_single_kernel_is_the_map_of_the_mechanism(head):
    """Kernel times values, before any output gate, is what the mechanism returns."""
    mech = text_states.drawn(head, 6, 4, 0)
    u = text_states.embedded(text_states.text(20), 6, 0)
    M = text_states.single_kernel(mech, u)
    ltv, X = mech.system_on(u)
    x = np.broadcast_to(X, (*ltv.batch, *X.shape[-3:]))[0]
    x = x[:, -1:] if mech.lookback == 1 else x  # Mamba-3 drives with (v_{t-1}, v_t)
    found = np.tensordot(M.reshape(20, -1), x.reshape(-1, x.shape[-1]), 1)
    np.testing.assert_allclose(found[:, 0], _before_gates(mech, u), rtol=1e-9, atol=1e-12)


def _before_gates(mech, u):
    """Output of the first head or channel by the recurrence, without the gates of readout."""
    if isinstance(mech, Attention):
        return mech(u)[:, 0]
    ltv, X = mech.system_on(u)
    y = np.real(ltv.scan(X)[0])
    return y.reshape(-1, *y.shape[-3:])[0, :, 0, 0]


def test_the_kernel_of_lru_is_one_entry_of_its_own():
    mech = text_states.drawn("lru", 5, 3, 0)
    u = text_states.embedded(text_states.text(12), 5, 0)
    np.testing.assert_allclose(
        text_states.single_kernel(mech, u), np.real(mech.kernel(u))[:, 0, :, 0], rtol=1e-12
    )


def test_no_mechanism_uses_more_states_than_it_has(table):
    for r in table("dsf/text_states"):
        assert r["lower"] <= r["upper"]
        assert r["upper"] <= (r["own"] or r["distinct"])
    own = {r["head"]: r["own"] for r in table("dsf/text_states")}
    assert own == {"softmax*1": None, "gla": 4, "s4d": 8, "mamba3": 4}


def test_temperature_scales_the_logits():
    cold, warm = (text_states.drawn(f"softmax*{s}", 4, 2, 0) for s in ("4", "1/4"))
    np.testing.assert_allclose(cold.Wq, 16 * warm.Wq)


# ---------------------------------------------------------------------- lattice
def test_every_edge_is_proved_and_drawn_upwards(table):
    t = table("dsf/lattice")
    proofs = t.where(part="proof")
    assert proofs.column("strength") == ["exact"] * len(proofs) and all(proofs.column("checked"))
    nodes = {r["name"]: r for r in t.where(part="node")}
    for r in t.where(part="edge"):
        assert nodes[r["low"]]["y"] < nodes[r["high"]]["y"]
    assert t.where(part="faults of the layout")[0]["x"] == 0
    assert len({(r["x"], r["y"]) for r in nodes.values()}) == len(nodes)


def test_no_drawn_edge_follows_from_others(table):
    edges = {(r["low"], r["high"]): r["kind"] for r in table("dsf/lattice").where(part="edge")}
    for (low, high), kind in edges.items():
        usable = [e for e, k in edges.items() if e != (low, high) and "limit" in (kind, "no" + k)]
        usable += [e for e, k in edges.items() if e != (low, high) and k != "limit"]
        seen = {low}
        for _ in edges:
            seen |= {b for a, b in usable if a in seen}
        assert high not in seen


def test_classes_are_the_exact_equivalences():
    families = list(dict.fromkeys(f for e in NESTINGS for f in (e.special, e.general)))
    found = {dsf.family(f): c for c in lattice.classes(families, list(NESTINGS)) for f in c}
    assert dsf.qlstm(reversed=True) in found[dsf.qlstm]
    assert dsf.normalised_attn in found[dsf.linear_attn]
    assert dsf.gla not in found[dsf.rwkv6]  # a limit only
    assert {e.name for e in hasse()} <= {e.name for e in NESTINGS}


def test_labels_name_the_options_that_differ():
    assert lattice.label((dsf.gla,)) == "gla"
    assert lattice.label((dsf.qlstm, dsf.qlstm(reversed=True))) == "qlstm\nreversed or not"
    both = (dsf.retnet(rotation="qk"), dsf.retnet(rotation=True))
    assert lattice.label(both) == "retnet\nrotation: qk = yes"
    assert lattice.label((dsf.deltanet(reach=2), dsf.mamba)) == "deltanet\nreach: 2\n= mamba"


def test_marks_are_what_the_state_maps_do():
    marks = {e.name: lattice.mark(e) for e in NESTINGS}
    maps = {e.name: e.T.__name__ for e in NESTINGS}
    double, merged = {"twice", "state_and_write"}, {"all_channels"}
    assert {n for n, m in marks.items() if m == "2n"} == {n for n in maps if maps[n] in double}
    assert {n for n, m in marks.items() if m == "d·n"} == {n for n in maps if maps[n] in merged}
    heads = {n for n, m in marks.items() if m == "h ↔ c"}
    assert heads >= {n for n in maps if maps[n] == "columns_as_heads"}
    assert heads >= {"qlstm -> mamba2", "rglru -> gla", "mamba -> gla"}
    assert "rglru -> qlstm" not in heads and "retnet -> mamba2" not in heads


def test_the_legend_of_the_lattice_explains_all_that_is_drawn(table):
    import matplotlib.pyplot as plt

    drawn = lattice.draw(table("dsf/lattice"))
    plt.close(drawn)
    legend = [t.get_text() for t in drawn.legends[0].texts]
    t = table("dsf/lattice")
    signs = {m for m in t.column("mark") if m}
    assert signs == {"2n", "h ↔ c"} and all(lattice.MEANING[s] in legend for s in signs)
    for hue in {color(r["family"]) for r in t.where(part="node")}:
        assert lattice.COLOURS[hue] in legend
    assert not any("False" in x.get_text() or "True" in x.get_text() for x in drawn.axes[0].texts)
    on_edges = [x.get_text() for x in drawn.axes[0].texts if x.get_text() in lattice.MEANING]
    assert sorted(on_edges) == sorted(m for m in t.column("mark") if m)


def test_eigenvalues_are_drawn_as_shares_of_the_tokens(table):
    import matplotlib.pyplot as plt

    drawn = gauge.draw(table("dsf/gauge"))
    plt.close(drawn)
    left = drawn.axes[0]
    assert left.get_ylabel() == "share of the tokens" and left.get_xscale() == "log"
    bars = [p.get_height() for p in left.patches if hasattr(p, "get_height")]
    assert sum(bars) == pytest.approx(3)  # three sets of all tokens


def test_an_edge_without_a_proof_is_not_drawn(monkeypatch):
    from dataclasses import replace

    good = next(e for e in NESTINGS if e.name == "retnet -> gla")
    wrong = replace(good, tau=lambda tok: good.tau(tok).replace(k=2 * tok.k))
    monkeypatch.setattr(lattice, "edge", lambda name: wrong)
    row = lattice.prove("retnet -> gla")
    assert row["strength"] == "not proved" and row["checked"] is False


dags = st.integers(2, 9).flatmap(
    lambda n: st.lists(
        st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda e: e[0] < e[1]),
        min_size=1,
        max_size=12,
        unique=True,
    ).map(lambda edges: (n, edges))
)


@given(dags, st.integers(0, 9))
def test_the_layout_is_upright_and_without_overlap(dag, seed):
    count, edges = dag
    places = _layout._anneal(edges, count, 3, np.random.default_rng(seed), 200)
    assert len({tuple(p) for p in places}) == count
    assert all(places[a][1] < places[b][1] for a, b in edges)


def test_faults_are_counted():
    crossed = np.array([(0, 0), (1, 0), (0, 1), (1, 1)], float)
    assert _layout.faults(crossed, [(0, 3), (1, 2)]) == 1
    assert _layout.faults(crossed, [(0, 2), (1, 3)]) == 0
    chain = np.array([(0, 0), (0, 1), (0, 2)], float)
    assert _layout.faults(chain, [(0, 2)]) == 1  # through the middle node
    assert _layout.faults(chain, [(1, 0)]) == 1  # down
