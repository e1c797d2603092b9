"""The lattice: that proofs can fail, what certificates refuse, and the search for chains."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.claims import nesting
from dsf.core import ops
from dsf.core.certificate import Scope
from dsf.core.errors import CertificateError, DomainError, UnknownNameError
from dsf.core.fields import Domain
from dsf.core.state import State
from dsf.core.tokens import Tokens
from dsf.core.worlds.modular import NotDecided, Number
from dsf.relations import identity, lti
from dsf.verdicts.lattice.paths import NESTINGS, Limit, Nesting, edge, find_path, hasse
from dsf.verdicts.lattice.prover import mapped, prove, step

EXACT = [e for e in NESTINGS if e.kind != "limit"]
LIMITS = [e for e in NESTINGS if e.kind == "limit"]
WITH_PARAMETERS = [e for e in NESTINGS if e.params is not None]
names = {"ids": lambda e: e.name}


# ------------------------------------------------------------------ the table
def test_names_are_unique():
    assert len({e.name for e in NESTINGS}) == len(NESTINGS)
    assert edge("retnet -> gla").special == dsf.retnet
    with pytest.raises(UnknownNameError, match="retnet -> gla"):
        edge("gla -> retnet")


@pytest.mark.parametrize(
    ("special", "general", "kind"),
    [
        (dsf.linear_attn, dsf.mamba, "limit"),
        (dsf.linear_attn, dsf.gla, "limit"),
        (dsf.linear_attn, dsf.retnet, "limit"),
        (dsf.normalised_attn, dsf.mamba2, "limit"),
        (dsf.retnet, dsf.gla, "nested"),
        (dsf.mamba2, dsf.gla, "nested"),
        (dsf.mamba, dsf.gla, "nested"),
        (dsf.deltanet, dsf.deltaproduct, "nested"),
        (dsf.deltanet, dsf.gated_deltanet, "limit"),
        (dsf.mamba2, dsf.mamba3, "limit"),
        (dsf.rglru, dsf.qlstm, "nested"),
        (dsf.qlstm, dsf.mamba2, "nested"),
        (dsf.rglru, dsf.mamba2, "nested"),
        (dsf.rglru, dsf.mamba3(skip=True), "nested"),
        (dsf.gated_deltanet, dsf.gated_deltanet(unit_keys=False), "nested"),
        (dsf.window_softmax(width=1), dsf.deltaproduct, "nested"),
        (dsf.window_softmax(width=1), dsf.gated_deltanet(reach=2), "nested"),
        (dsf.window_softmax(width=1), dsf.rwkv6, "nested"),
        (dsf.window_softmax(width=1), dsf.lru, "nested"),
        (dsf.window_softmax(width=1), dsf.mamba3(skip=True), "nested"),
        (dsf.linear_attn(phi="favor"), dsf.linear_attn(phi="elu+1"), "nested"),
        (dsf.qlstm, dsf.deltanet, "nested"),
        (dsf.rglru, dsf.deltanet, "nested"),
        (dsf.qlstm, dsf.gated_deltanet, "nested"),
        (dsf.rglru, dsf.gated_deltanet, "nested"),
        (dsf.qlstm, dsf.mlstm, "nested"),
        (dsf.rglru, dsf.mlstm, "nested"),
        (dsf.mamba2(skip=True), dsf.rwkv6, "nested"),
        (dsf.deltanet, dsf.deltaproduct(reach=1), "nested"),
        (dsf.normalised_linear_attn, dsf.mlstm, "limit"),
        (dsf.retnet, dsf.retnet(rotation=True), "nested"),
        (dsf.linear_attn, dsf.retnet(rotation=True), "limit"),
        (dsf.gla, dsf.rwkv6, "nested"),
        (dsf.rwkv6, dsf.gla, "limit"),
        (dsf.rwkv6, dsf.rwkv6(read="after"), "equal"),
        (dsf.rwkv6(read="after"), dsf.rwkv6, "equal"),
        (dsf.retnet(rotation="qk"), dsf.retnet(rotation=True), "equal"),
        (dsf.qlstm, dsf.qlstm(reversed=True), "equal"),
        (dsf.s4d, dsf.lru, "nested"),
        (dsf.s4d(discretisation="bilinear"), dsf.lru, "nested"),
        (dsf.lru, dsf.s4d, "nested"),
    ],
    ids=str,
)
def test_kinds(special, general, kind):
    path = find_path(special, general)
    assert path.kind == kind
    assert path.is_limit == (kind == "limit")
    assert len(path.describe().splitlines()) == len(path) == len(path.certificates())


@pytest.mark.parametrize(
    ("special", "general"),
    [
        (dsf.retnet(rotation=True), dsf.gla),
        (dsf.gla, dsf.deltanet),
        (dsf.gla, dsf.mamba),
        (dsf.softmax, dsf.gla),
        (dsf.gru, dsf.qlstm),
        (dsf.gated_deltanet, dsf.deltanet),
        (dsf.mamba3, dsf.mamba2),
        (dsf.linear_attn(phi="elu+1", normalise=True), dsf.gla),
    ],
    ids=str,
)
def test_no_chain(special, general):
    assert find_path(special, general) is None


def test_only_where_sizes_allow():
    assert find_path(dsf.lru, dsf.s4d).only == {"d": 1}
    assert find_path(dsf.s4d, dsf.lru).only == {}


def test_exact_chains_come_first():
    """Also where a chain through a limit is shorter."""
    path = find_path(dsf.linear_attn(phi="exp"), dsf.normalised_attn)
    assert [e.kind for e in path] == ["nested", "nested"]


def test_the_diagram_keeps_what_follows_from_nothing_else():
    drawn = set(hasse())
    assert edge("retnet -> gla") not in drawn  # retnet -> mamba2 -> mamba -> gla
    assert edge("linear_attn -> gla") not in drawn
    assert edge("linear_attn -> retnet") in drawn
    steps = [(repr(f.special), repr(f.general)) for f in drawn]
    steps += [(repr(f.general), repr(f.special)) for f in drawn if f.kind == "equal"]
    for e in NESTINGS:
        reached = {repr(e.special)}
        while more := {there for here, there in steps if here in reached} - reached:
            reached |= more
        assert repr(e.general) in reached


# ------------------------------------------------------------------ proofs can fail
def changed(name: str, tau, **fields) -> list[str]:
    """What is not shown of an edge of the table after a change."""
    return list(prove(replace(edge(name), tau=tau, **fields)).failures)


def test_a_forgotten_factor_is_found():
    def tau(tok):
        return Tokens(q=tok.q, k=tok.k, v=tok.v, log_a=tok.dt * tok.a + ops.zeros_like(tok.k))

    assert any("2: the step" in f for f in changed("mamba2 -> gla", tau))


def test_a_wrong_state_map_is_found():
    e = edge("retnet(rotation='qk') = retnet(rotation=True)")
    failures = changed(e.name, e.tau, T=lambda S, tok: ops.conj(e.T(S, tok)))
    assert any("2: the step" in f for f in failures)
    failures = changed("retnet -> gla", edge("retnet -> gla").tau, T=lambda S, tok: 2 * S)
    assert any("3: the readouts" in f for f in failures)


def test_a_state_map_that_misses_the_initial_state_is_found():
    e = edge("retnet -> gla")
    failures = changed(e.name, e.tau, T=lambda S, tok: S + 1)
    assert any("first token" in f for f in failures)


def test_a_token_outside_its_domain_is_found():
    def negative_gate(tok):
        image = edge("retnet -> gla").tau(tok)
        return image.replace(log_a=-image.log_a)

    assert any(
        "4: log_a is not shown to stay in its domain < 0" in f
        for f in changed("retnet -> gla", negative_gate)
    )

    def short_keys(tok):
        return edge("deltanet -> deltaproduct(reach=1)").tau(tok.replace(k=tok.k / 2))

    assert any(
        "4: k is not shown" in f for f in changed("deltanet -> deltaproduct(reach=1)", short_keys)
    )
    # for beta in (1, 2) the square root is not real: reach = 2 needs the rational steps
    wider = replace(edge("deltanet -> deltaproduct(reach=1)"), special=dsf.deltanet(reach=2))
    with np.errstate(invalid="ignore"):
        assert any("4: beta is not shown" in f for f in prove(wider).failures)


def test_a_missing_token_is_found():
    failures = changed("retnet -> gla", lambda tok: Tokens(q=tok.q, k=tok.k, v=tok.v))
    assert failures[0] == "4: no token log_a at (n, p) = (1, 1)"


def test_a_wrong_limit_is_found():
    e = edge("linear_attn -> retnet")
    failures = changed(e.name, e.tau, limit=Limit("gamma", 0, "+"))
    assert any("2: the step" in f for f in failures)
    with pytest.raises(DomainError, match="gamma -> 2-"):
        Limit("gamma", 2, "-")


def test_a_limit_inside_the_domain_is_not_a_limit():
    """Condition 4 has to fail at the end point, otherwise the edge is exact."""
    e = edge("linear_attn -> normalised_attn")

    def tau(tok, x):
        return tok.replace(eta=x + ops.zeros_like(tok.k[..., :1]))

    failures = changed(e.name, tau, limit=Limit("eta", 1, "-"), params=None)
    assert failures == ["the limit lies inside the domain: the edge should be exact"]


def test_a_statement_that_no_disturbance_violates_is_vacuous(monkeypatch):
    monkeypatch.setattr(Domain, "moved", lambda self, rng, x: x)
    failures = prove(edge("retnet -> gla")).failures
    assert failures == ("disturbing a token changes the output by 0.0e+00 only: vacuous",)


def test_what_makes_no_difference_is_named():
    """And nothing else is."""
    e = edge("window_softmax(width=1) -> mamba2(skip=True)")
    assert e.proof().holds
    assert any("vacuous" in f for f in prove(replace(e, idle=("q", "dt"))).failures)
    assert any("vacuous" in f for f in prove(replace(e, idle=(*e.idle, "k"))).failures)


def test_every_token_of_the_image_matters():
    """A neighbour of tau violates the statement, whichever field is moved."""
    for e in NESTINGS:
        if e.proof().holds:
            assert e.proof().gap > 1e-3


def test_a_domain_needs_what_is_given():
    """lambda != 0 is assumed, and said: without it the logarithm of |lambda| is not defined."""
    e = edge("s4d(discretisation='bilinear') -> lru")
    assert "h = dt a/2 != -1" in e.certificate().claim
    bare = replace(e, given=None, sizes=((1, 1),))
    assert any(f.startswith("4: angle is not shown") for f in prove(bare).failures)
    with pytest.raises(CertificateError, match="token rate of lru is not shown"):
        nesting.agree(bare)


def test_a_wrong_inverse_is_found():
    e = edge("rwkv6 = rwkv6(read='after')")
    failures = changed(e.name, e.tau, inverse=lambda tok: tok.replace(k=2 * tok.k))
    assert "the inverse does not invert the token map at (n, p) = (1, 1)" in failures
    # beta in (0, 1) lies in (0, 2), but not the other way round
    failures = changed("deltanet -> deltanet(reach=2)", e.tau, inverse=lambda tok: tok)
    assert "the inverse leaves the domain of beta at (n, p) = (1, 1)" in failures


def test_a_wrong_parameter_map_is_found():
    e = edge("qlstm = qlstm(reversed=True)")
    wrong = lambda mech: replace(e.params(mech), Wf=mech.Wf)  # noqa: E731  the sign forgotten
    assert "the parameter map misses the token log_f" in changed(e.name, e.tau, params=wrong)


def test_floats_in_a_token_map_are_found():
    failures = changed("linear_attn -> normalised_attn", lambda tok: tok.replace(
        eta=ops.ones_like(tok.k[..., :1]) + 0.5 - 0.5
    ))  # fmt: skip
    assert any("floating-point" in f for f in failures)


def test_the_limit_is_of_the_coefficients():
    from dsf.verdicts.lattice.prover import limits

    a = sympy.Symbol("a", negative=True)
    k, v, S = sympy.symbols("k v S", real=True)
    zoh = sympy.exp(a) * S + (sympy.exp(a) - 1) / a * k * v - S - k * v
    assert limits(zoh, a, Limit("a", 0, "-"), [S, v]) == [0, 0, 0]
    half = (sympy.exp(a) - 1 - a) / a**2 * v
    assert sympy.Add(*limits(half, a, Limit("a", 0, "-"), [S, v])) == sympy.Rational(1, 2)
    assert limits(v / a, a, Limit("a", 0, "-"), [v])[-1] == -sympy.oo


# ------------------------------------------------------------------ numbers
def outputs(e: Nesting, tok: Tokens, image: Tokens) -> tuple[np.ndarray, np.ndarray]:
    return step(e.special.without_parameters(), tok, State())[0], step(
        e.general.without_parameters(), image, State()
    )[0]


@given(st.sampled_from(EXACT), st.integers(0, 2**31), st.integers(1, 9))
def test_outputs_agree_on_whole_sequences(e, seed, L):
    n, p = e.sample
    tok = e.special.draw_tokens(np.random.default_rng(seed), L, n=n, p=p, d=p)
    if "pos" in e.special.spec:
        tok = tok.replace(pos=np.arange(L, dtype=float)[:, None])
    y, Y = outputs(e, tok, mapped(e, tok))
    assert np.abs(Y - y).max() <= 1e-12 * max(1, np.abs(y).max())


@given(st.sampled_from(LIMITS), st.integers(0, 2**31))
def test_limits_converge_in_proportion(e, seed):
    n, p = e.sample
    tok = e.special.draw_tokens(np.random.default_rng(seed), 5, n=n, p=p, d=p)
    gaps = []
    for h in (2.0**-12, 2.0**-16):
        y, Y = outputs(e, tok, mapped(e, tok, h))
        gaps.append(np.abs(Y - y).max() / max(1, np.abs(y).max()))
    assert gaps[1] < gaps[0] / 8 or gaps[1] < 1e-10


@pytest.mark.parametrize("e", WITH_PARAMETERS, **names)
def test_parameter_maps_on_inputs(e):
    d = 1 if e.only == {"d": 1} else 4
    mech = e.special.init(d=d, n=4, p=3, seed=1)
    u = np.random.default_rng(2).standard_normal((6, d))
    h = 2.0**-20
    x = () if e.limit is None else (e.limit.value + (h if e.limit.side == "+" else -h),)
    y = mech(u)
    gap = np.abs(e.params(mech, *x)(u) - y).max()
    assert gap < (1e-12 if e.limit is None else 1e-3) * max(1, np.abs(y).max())


def test_s4d_bilinear_where_lambda_vanishes():
    """dt a = -2 has no logarithm; the state is memoryless, so its term dt b c / 2 moves into D."""
    rng = np.random.default_rng(0)
    family = dsf.s4d(discretisation="bilinear")
    tok = family.draw_tokens(rng, 5, n=3, p=2)
    a_re, a_im = tok.a_re.copy(), tok.a_im.copy()
    a_re[..., 0], a_im[..., 0] = -2 / tok.dt[..., 0], 0
    tok = tok.replace(a_re=a_re, a_im=a_im)
    y = step(family.without_parameters(), tok, State())[0]

    now = tok.dt / 2 * (tok.b_re * tok.c_re - tok.b_im * tok.c_im)[..., :1]
    rest = {k: getattr(tok, k)[..., 1:] for k in ("a_re", "a_im", "b_re", "b_im", "c_re", "c_im")}
    image = lti.bilinear_lru(tok.replace(**rest, skip=tok.skip + now))
    Y = step(dsf.lru.without_parameters(), image, State())[0]
    assert np.abs(Y - y).max() < 1e-12


# ------------------------------------------------------------------ certificates
CERTIFIED = ["mamba2 -> gla", "linear_attn -> mamba", "rwkv6 = rwkv6(read='after')"]


@pytest.mark.rigor
@pytest.mark.parametrize("name", CERTIFIED)
@pytest.mark.parametrize(
    "change",
    [
        {"special": "gla", "general": "mamba2"},
        {"special": "gated_deltanet"},
        {"probability": "wrong with a probability below 2^-90"},
        {"limit": "a -> 1-"},
        {"edge": "deltanet -> gated_deltanet"},
    ],
    ids=lambda c: ", ".join(c),
)
def test_tampered_witnesses_are_refused(name, change):
    c = edge(name).certificate()
    with pytest.raises(CertificateError):
        replace(c, witnesses={**c.witnesses, **change}).check()


def test_an_unproved_edge_has_no_certificate():
    bad = replace(edge("retnet -> gla"), T=lambda S, tok: 2 * S)
    with pytest.raises(CertificateError, match="is not proved"):
        bad.certificate()
    with pytest.raises(CertificateError, match="not a statement at scope mechanism"):
        edge("mamba2 -> gla").certificate(Scope.MECHANISM)


@pytest.mark.rigor
def test_the_checker_refutes_wrong_maps_by_itself():
    """The checker has no access to the proof: it finds the errors that the prover finds."""
    gla = edge("mamba2 -> gla")
    nesting.agree(gla)
    for wrong in (
        replace(gla, tau=lambda tok: gla.tau(tok).replace(k=tok.k)),
        replace(gla, T=lambda S, tok: -S),
        replace(gla, tau=lambda tok: gla.tau(tok.replace(a=-tok.a))),
        replace(edge("linear_attn -> retnet"), limit=Limit("gamma", 0, "+")),
        replace(edge("deltanet -> deltaproduct(reach=1)"), general=dsf.deltaproduct(steps=1)),
        replace(edge("rwkv6 = rwkv6(read='after')"), inverse=lambda tok: tok.replace(k=2 * tok.k)),
        replace(edge("deltanet -> deltanet(reach=2)"), inverse=identity),
    ):
        with pytest.raises(CertificateError):
            nesting.agree(wrong)


@pytest.mark.rigor
@pytest.mark.parametrize("name", CERTIFIED)
def test_the_checker_sees_the_smallest_error(name):
    """A map that is off by 1e-70, or at one token out of all only."""
    e = edge(name)
    off = Fraction(1, 10**70)
    tau = lambda tok, *x: e.tau(tok, *x).replace(v=e.tau(tok, *x).v * (1 + off))  # noqa: E731
    with pytest.raises(CertificateError, match="does not agree"):
        nesting.agree(replace(e, tau=tau))


@pytest.mark.rigor
def test_the_checker_draws_its_points_itself():
    """Every check looks at another point, so no map can be made to fit the points."""
    e, seen = edge("mamba2 -> gla"), set()

    def tau(tok):
        if type(tok.k.flat[0]) is Number:
            seen.add(str(tok.k.flat[0]))
        return e.tau(tok)

    once = replace(e, tau=tau, sizes=((1, 1),), sample=(1, 1))
    for count in (2, 4, 6):  # of each check: the token before, and the one now
        nesting.agree(once)
        assert len(seen) == count


@pytest.mark.rigor
def test_the_checker_refutes_a_limit_that_stops_short():
    e = edge("linear_attn -> gla")
    stuck = replace(e, tau=lambda tok, x: e.tau(tok, x - ops.const(1, tok.k) / 1000))
    with pytest.raises(CertificateError, match="does not agree"):
        nesting.agree(stuck)


def test_scope_mechanism():
    c = edge("qlstm = qlstm(reversed=True)").certificate(Scope.MECHANISM)
    assert "alpha <- 1, (W_f, b_f) <- -(W_f, b_f)" in c.claim
    assert c.check()
    assert find_path(dsf.retnet, dsf.rwkv6).has_parameters
    assert not find_path(dsf.mamba2, dsf.gla).has_parameters


def test_lines_fit_a_terminal():
    for e in NESTINGS:
        assert len(e.describe()) < 150
        assert "  " not in e.describe()
    assert {e.kind for e in itertools.chain(EXACT, LIMITS)} == {"equal", "nested", "limit"}


# ------------------------------------------------------------------ states that hold more
NORMALISED = edge("qlstm -> mlstm")
DIVIDED = edge("normalised_linear_attn(phi='elu+1', normalise=True) -> mlstm")


@pytest.mark.parametrize("e", [NORMALISED, DIVIDED], ids=repr)
def test_what_is_known_of_states_is_needed(e):
    """Without it |q'n| may lie on either side of 1."""
    bare = replace(e, stays=None, positive=edge("retnet -> gla").positive)
    assert any("3: the readouts differ" in f for f in prove(bare).failures)
    with pytest.raises((CertificateError, NotDecided)):
        nesting.agree(bare)


def refused(e: Nesting, words: str) -> None:
    """Neither the prover nor the check of the claim accepts a change of an edge."""
    assert any(words in f for f in prove(e).failures)
    with pytest.raises(CertificateError, match=words):
        nesting.agree(e)


def test_a_state_that_leaves_its_domain_is_found():
    """With input gates of 1 the normaliser grows beyond 1."""

    def tau(tok):
        image = NORMALISED.tau(tok)
        return image.replace(i=ops.ones_like(image.i), v=tok.g * tok.v)

    refused(replace(NORMALISED, tau=tau), "not shown to stay")


def test_a_number_that_is_not_positive_is_found():
    refused(replace(NORMALISED, positive=lambda S, tok, z: (z, z - 1)), "not shown to be positive")
    refused(replace(NORMALISED, stays=None), "need `stays`")


def test_what_no_state_map_can_know_has_to_be_an_argument():
    """(S, S, 0, 0) is no image: the last rows hold the sum of the values."""
    e = edge("mamba2(skip=True) -> rwkv6")

    def T(S, tok):
        return e.T(S, tok, ops.zeros_like(S[..., :1, :]))

    assert any("2: the step" in f for f in prove(replace(e, T=T, rest=None)).failures)
    with pytest.raises(CertificateError, match="does not agree"):
        nesting.agree(replace(e, T=T, rest=None))


def test_units_of_one_number_are_disturbed_by_their_sign():
    k = np.array([[1.0], [-1.0]])
    moved = Domain(unit=True).moved(np.random.default_rng(0), k)
    assert (moved == -k).all()
    assert prove(edge("qlstm -> deltanet")).gap > 0.01
