"""Two instances: equal as stored numbers, equal up to rounding with a bound, or different."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

import dsf
from dsf.claims.image import EqualImage
from dsf.core.certificate import Certificate
from dsf.core.errors import CertificateError, DomainError, DTypeError, NonFiniteError
from dsf.core.worlds import balls, precision
from dsf.relations import MADE, NESTINGS
from dsf.verdicts.comparison import Comparison
from dsf.verdicts.lattice.paths import edge

pytestmark = pytest.mark.rigor

MAPS = {e.name: e for e in NESTINGS if e.params is not None and e.limit is None}
# maps that compute: their floats round; the others copy, negate, halve or write zeros
COMPUTED = {
    "retnet -> gla", "retnet -> mamba2", "retnet -> rwkv6", "lru -> s4d",
    "lru -> s4d(discretisation='bilinear')", "linear_attn -> normalised_attn(eta='softplus')",
}  # fmt: skip


def pair(name: str, seed: int = 0, heads: int = 1) -> tuple[Any, Any]:
    """An ordinary draw and what its parameters are mapped to in floats."""
    e = MAPS[name]
    assert e.params is not None
    n, p = e.sizes[-1]
    a = e.special.init(d=e.only.get("d", p), n=n, p=p, heads=heads, seed=seed)
    return a, e.params(a)


@cache
def near(name: str) -> tuple[Any, Any, Certificate]:
    """A draw, its image in floats, and the certificate of the bound."""
    a, b = pair(name)
    return a, b, dsf.compare(a, b).certificates[0]


def refused(c: Certificate, match: str | None = None) -> None:
    with pytest.raises(CertificateError, match=match):
        c.check()


def changed(c: Certificate, **witnesses: Any) -> Certificate:
    return replace(c, witnesses={**c.witnesses, **witnesses})


# ------------------------------------------------------------------- the verdict
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 2))])
def test_equal_and_different_exclude_each_other(name, seed):
    found = dsf.compare(*pair(name, seed))
    kinds = [c.kind for c in found.certificates]
    assert found.verdict.name == ("ROUNDED" if name in COMPUTED else "EQUAL")
    assert len(found.findings) == 1 and found.check()
    if found.verdict.name == "EQUAL":
        assert kinds == ["instance-image", "nesting"]
    else:
        assert kinds == ["instance-image/near", "nesting", "separation/instances"]
        assert "they are not equal" in str(found)
        assert 0 < found.certificates[2].lower <= found.certificates[0].upper < 1e-12
    again = Comparison.from_json(found.to_json())
    assert str(again) == str(found) and again.check()


@pytest.mark.parametrize("name", [x for x in MAPS if MAPS[x].special.cls.has_heads])
def test_the_order_of_the_two_and_the_heads_do_not_matter(name):
    a, b = pair(name, heads=3)
    found = dsf.compare(b, a)
    assert found.verdict.name == ("ROUNDED" if name in COMPUTED else "EQUAL") and found.check()


def slow_lru() -> tuple[Any, Any]:
    """An LRU so close to the identity that the floats of its image have no digit right."""
    a = dsf.lru.init(d=1, n=1)
    tiny = np.full((1, 1), np.log(1e-16))
    a = replace(a, nu=tiny, theta=tiny)
    return a, edge("lru -> s4d").params(a)


def test_a_map_that_loses_the_digits_is_no_equality():
    a, b = slow_lru()
    u = np.ones((3, 1))
    assert np.abs(a(u) - b(u)).max() > 1e-3
    found = dsf.compare(a, b)
    assert found.verdict.name == "DIFFERENT" and found.check()
    apart, bound, _ = found.certificates
    assert apart.kind == "separation/instances" and apart.lower > 1e-3
    assert bound.kind == "instance-image/near" and bound.upper > 0.1
    assert "how far apart they can be" in str(found)


def test_other_parameters_are_no_rounded_ones():
    a, b = pair("retnet -> gla")
    other = replace(b, Wq=2 * b.Wq)
    found = dsf.compare(a, other)
    assert [c.kind for c in found.certificates] == ["separation/instances"]


def test_outside_of_the_domain_a_map_proves_nothing():
    """gamma and -gamma have the same sixteenth power, so both map to the same GLA."""
    a, _ = pair("retnet -> gla")
    minus = replace(a, gamma=-a.gamma)
    with pytest.raises(DomainError, match="gamma leaves its domain"):
        dsf.compare(minus, edge("retnet -> gla").params(minus))
    copied = edge("retnet(rotation='qk') = retnet(rotation=True)")
    out = replace(pair(copied.name)[0], gamma=np.full((1, 1, 1), 1.5))
    with pytest.raises(DomainError, match="gamma leaves its domain"):
        dsf.compare(out, copied.params(out))
    c = near("retnet -> gla")[2]
    parameters = {**c.witnesses["special_parameters"], "gamma": -a.gamma}
    refused(changed(c, special_parameters=parameters), "gamma leaves its domain")


def test_a_restricted_edge_is_used_where_it_holds():
    a, b = dsf.lru.init(d=2, n=2), dsf.s4d.init(d=2, n=2)
    assert dsf.compare(a, b).verdict.name == "DIFFERENT"
    c = near("lru -> s4d")[2]
    wide = changed(c, special_parameters=a.parameters(), general_parameters=b.parameters())
    refused(wide, "at d = 1 only")


def test_an_ulp_is_seen():
    a, b = pair("qlstm = qlstm(reversed=True)")
    moved = replace(b, Wv=np.nextafter(b.Wv, 9))
    found = dsf.compare(a, moved)
    assert found.verdict.name == "ROUNDED" and found.check()
    assert "they are not equal" in str(found)
    assert dsf.compare(b, moved).verdict.name == "DIFFERENT"


# ------------------------------------------------------------------- the bound
@pytest.mark.parametrize("name", sorted(COMPUTED))
@given(data=st.data())
@settings(max_examples=25)
def test_the_bound_holds_at_points_of_the_box(name, data):
    """The slow twin: both instances in balls at one input, corners of the box included."""
    a, b, c = near(name)
    U = c.witnesses["radius"]
    inside = st.one_of(st.sampled_from([-U, 0.0, U]), st.floats(-U, U))
    L = data.draw(st.sampled_from([1, 2, 9, c.witnesses["length"]]))
    u = data.draw(arrays(np.float64, (L, a.d), elements=inside, fill=inside))
    with precision(300):
        y, z = (mech.map(balls)(balls(u)) for mech in (a, b))
        assert all(abs(e) <= c.upper for e in (y - z).flat)


@pytest.mark.parametrize("name", sorted(COMPUTED))
def test_the_bound_is_not_far_from_what_is_reached(name):
    a, b, c = near(name)
    rng = np.random.default_rng(0)
    reached = 0.0
    with precision(300):
        for _ in range(10):
            u = balls(rng.choice([-1.0, 1.0], (c.witnesses["length"], a.d)))
            gaps = a.map(balls)(u) - b.map(balls)(u)
            reached = max(reached, *(float(abs(e).upper()) for e in gaps.flat))
    assert reached <= c.upper <= 1000 * reached


# ------------------------------------------------------------------- forgeries
@pytest.mark.parametrize("name", sorted(COMPUTED))
def test_another_bound_or_box_is_refused(name):
    c = near(name)[2]
    assert c.check() and Certificate.from_json(c.to_json()).check()

    def restated(upper: float, radius: float, length: int) -> Certificate:
        most, old = dsf.core.printing.at_most, c.witnesses
        claim = c.claim.replace(f"at most {most(c.upper, 3)} ", f"at most {most(upper, 3)} ")
        claim = claim.replace("|u_t| <= 1 ", f"|u_t| <= {dsf.core.printing.exactly(radius)} ")
        claim = claim.replace(f"t <= {old['length']},", f"t <= {length},")
        return replace(changed(c, radius=radius, length=length), upper=upper, claim=claim)

    U, L = c.witnesses["radius"], c.witnesses["length"]
    assert restated(c.upper, U, L).check()
    refused(restated(c.upper / 2, U, L), "follows, not")
    refused(restated(c.upper * 2, U, L), "were they changed")
    refused(restated(c.upper, 2 * U, L), "follows, not")
    refused(restated(c.upper, U, L + 1), "follows, not|were they changed")
    refused(restated(c.upper, U, 5000), "at most 4096")


@pytest.mark.parametrize("name", ["lru -> s4d", "lru -> s4d(discretisation='bilinear')"])
def test_a_moved_parameter_is_refused(name):
    """With one channel and one state every parameter is seen in the bound, from 2^-53 on."""
    e = MAPS[name]
    a = e.special.init(d=1, n=1, seed=1)
    c = dsf.compare(a, e.params(a)).certificates[0]
    assert c.kind == "instance-image/near"
    for side in ("special_parameters", "general_parameters"):
        for k, x in c.witnesses[side].items():
            moved = np.where(x == 0, 2.0**-53, np.nextafter(x, 99))
            refused(changed(c, **{side: {**c.witnesses[side], k: moved}}))


@pytest.mark.parametrize("name", sorted(set(MAPS) - COMPUTED))
def test_an_exact_image_is_exact(name):
    a, b = pair(name)
    c = dsf.compare(a, b).certificates[0]
    assert c.strength.value == "exact"
    for k, x in b.parameters().items():
        if x.size:
            moved = {**b.parameters(), k: np.nextafter(x, 99)}
            refused(changed(c, general_parameters=moved), f"the parameter {k} is not exactly")


@pytest.mark.parametrize("name", ["retnet -> gla", "qlstm = qlstm(reversed=True)"])
def test_other_edges_and_missing_or_bad_parameters_are_refused(name):
    c = dsf.compare(*pair(name)).certificates[0]
    for other in ("retnet -> mamba2", "gla -> deltanet", "mamba2 -> gla", "linear_attn -> retnet"):
        refused(changed(c, edge=other))
        refused(replace(changed(c, edge=other), claim=c.claim.replace(name, other)))
    for side in ("special_parameters", "general_parameters"):
        held = c.witnesses[side]
        for k, x in held.items():
            refused(changed(c, **{side: {m: y for m, y in held.items() if m != k}}))
            for bad in (np.nan, np.inf):
                if x.size:
                    refused(changed(c, **{side: {**held, k: np.full_like(x, bad)}}))
        refused(changed(c, **{side: {**held, "more": np.zeros(1)}}))


def wrong_for_one_state(mech: Any) -> Any:
    """RWKV-6 read after the update, with another bonus where no general check looks."""
    bonus = mech.bonus + 1 if mech.bonus.shape[-1] == 1 else mech.bonus
    return type(mech)(**{**mech.parameters(), "bonus": bonus}, read="after")


def twice(S: Any, tok: Any) -> Any:
    return 2 * S


def test_the_edge_is_checked_and_tried_at_the_parameters(monkeypatch):
    own = edge("rwkv6 = rwkv6(read='after')")
    monkeypatch.setitem(MADE, (__name__, own.name), [])
    made = replace(own, params=wrong_for_one_state)
    for n, holds in ((2, True), (1, False)):
        a = dsf.rwkv6.init(d=2, n=n, p=2)
        c = EqualImage.of(made, a, wrong_for_one_state(a)).certificate()
        assert "as defined in" in c.claim
        if holds:
            assert c.check()
        else:
            refused(c, "does not hold at these parameters")
    a = dsf.rwkv6.init(d=2, n=2, p=2)
    false = replace(made, T=twice)
    c = EqualImage.of(false, a, wrong_for_one_state(a)).certificate()
    refused(c, "one step")


# ------------------------------------------------------------------- dtypes
def draws(f: Any) -> tuple[Any, Any]:
    a, b = (dsf.gla.init(3, n=2, p=2, seed=k).map(f) for k in (0, 1))
    return a, b


TYPES = {
    "float64": np.float64, "float32": np.float32, "float16": np.float16,
    "big-endian": lambda x: x.astype(">f8"),
    "torch": torch.tensor,
    "torch float32": lambda x: torch.tensor(x, dtype=torch.float32),
    "torch bfloat16": lambda x: torch.tensor(x, dtype=torch.bfloat16, requires_grad=True),
}  # fmt: skip


@pytest.mark.parametrize("kind", TYPES)
def test_every_stored_float_is_taken_exactly(kind):
    a, b = draws(TYPES[kind])
    for x, y, verdict in ((a, a, "EQUAL"), (a, b, "DIFFERENT")):
        found = dsf.compare(x, y)
        assert found.verdict.name == verdict and found.check()
        assert "parameters as stored" in found.statement
        assert Comparison.from_json(found.to_json()).check()
    if "torch" not in kind:
        wide = a.map(lambda x: x.astype(np.float64))  # the same numbers
        assert dsf.compare(a, wide).verdict.name == "EQUAL"
        assert dsf.compare(a, draws(np.float64)[0]).verdict.name == (
            "EQUAL" if kind in ("float64", "big-endian") else "DIFFERENT"
        )


def test_a_map_in_float32_is_judged_by_the_digits_of_float32():
    a = pair("retnet -> gla")[0].map(np.float32)
    found = dsf.compare(a, edge("retnet -> gla").params(a))
    assert found.verdict.name == "ROUNDED" and found.check()
    assert 1e-8 < found.certificates[0].upper < 1e-4


def test_zeros_of_both_signs_are_equal_numbers():
    a = dsf.gla.init(3, n=2, p=2)
    found = dsf.compare(a, replace(a, b=-a.b))
    assert found.verdict.name == "EQUAL" and found.check()
    assert "number by number" in found.statement


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_parameters_that_are_not_finite_are_diagnosed(bad):
    a = dsf.gla.init(3, n=2, p=2)
    broken = replace(a, b=np.full_like(a.b, bad))
    with pytest.raises(NonFiniteError, match="the parameter b holds NaN or infinity"):
        dsf.compare(broken, broken)


@pytest.mark.parametrize(
    "f", [dsf.balls, dsf.symbols, np.longdouble], ids=["balls", "symbols", "longdouble"]
)
def test_numbers_that_no_certificate_holds_are_diagnosed(f):
    a = dsf.gla.init(3, n=2, p=2)
    with pytest.raises(DTypeError, match="the parameter Wq holds"):
        dsf.compare(a.map(f), a)


@pytest.mark.parametrize("e", [e for e in NESTINGS if e.limit is not None and e.params], ids=repr)
def test_a_limit_makes_no_two_instances_equal(e):
    n, p = e.sizes[-1]
    d = e.only.get("d", 2)
    a, b = (f.init(d=d, n=n, p=p) for f in (e.special, e.general))
    found = dsf.compare(a, b)
    assert found.verdict.name == "DIFFERENT" and found.check()


# ------------------------------------------------------------------- other coordinates
ORDER = [2, 0, 1]


def in_order(mech: Any, **axes: int) -> Any:
    """The states permuted: along these axes of these parameters."""
    return replace(mech, **{k: np.take(getattr(mech, k), ORDER, ax) for k, ax in axes.items()})


def other_coordinates() -> dict[str, tuple[Any, Any]]:
    gla = dsf.gla.init(d=4, n=3, p=2, heads=2, seed=0)
    s4d = dsf.s4d.init(d=3, n=3, seed=0)
    lru = dsf.lru.init(d=3, n=3, seed=0)
    found = {
        "gla, permuted": (gla, in_order(gla, Wq=-1, Wk=-1, W2=-1, b=-1)),
        "gla, float32": (gla.map(np.float32), gla.map(np.float32)),
        "s4d, permuted": (
            s4d,
            in_order(s4d, **dict.fromkeys(("log_re", "a_im", "b_re", "b_im", "c_re", "c_im"), -1)),
        ),
        "lru, permuted": (
            lru,
            in_order(
                lru, nu=1, theta=1, log_gamma=0, b_re=0, b_im=0, c_re=1, c_im=1,
            ),
        ),
    }  # fmt: skip
    found["gla, float32"] = (
        found["gla, float32"][0],
        in_order(found["gla, float32"][1], Wq=-1, Wk=-1, W2=-1, b=-1),
    )
    for name in ("gla", "retnet", "retnet(rotation=True)", "linear_attn", "mamba2", "rwkv6"):
        m = dsf.family(name).init(d=4, n=2, p=2, seed=0)
        found[f"{name}, scaled"] = m, replace(m, Wq=m.Wq / 2, Wk=m.Wk * 2)
    m = dsf.linear_attn.init(d=2, n=2, p=2, seed=0).map(lambda x: np.round(8 * x) / 8)
    G = np.array([[2.0, 1.0], [1.0, 1.0]])
    found["linear attention, any matrix"] = (
        m,
        replace(m, Wq=m.Wq @ np.array([[1.0, -1.0], [-1.0, 2.0]]), Wk=m.Wk @ G.T),
    )
    return found


OTHER = other_coordinates()


@pytest.mark.parametrize("name", OTHER)
def test_the_same_map_in_other_coordinates_is_equal(name):
    a, b = OTHER[name]
    found = dsf.compare(a, b)
    assert (found.verdict.name, found.certificates[0].kind) == ("EQUAL", "instance-coordinates")
    assert found.check()
    u = np.random.default_rng(1).standard_normal((9, a.d)).astype(next(iter(
        a.parameters().values())).dtype)  # fmt: skip
    np.testing.assert_allclose(a(u), b(u), rtol=1e-4 if "float32" in name else 1e-9, atol=1e-6)


@pytest.mark.parametrize("name", OTHER)
def test_a_parameter_moved_by_its_last_bit_is_another_map(name):
    a, b = OTHER[name]
    found = dsf.compare(a, b).certificates[0]
    moved = {k: x.copy() for k, x in b.parameters().items()}
    first = next(k for k in moved if k in ("Wv", "c_re"))
    moved[first].flat[0] = np.nextafter(moved[first].flat[0], moved[first].dtype.type(9))
    refused(changed(found, right=moved), "does not agree identically|square roots")
    refused(changed(found, G=np.full_like(found.witnesses["G"], "1/3")), "does not agree|square")
    refused(changed(found, G=found.witnesses["G"][..., :0]), "is no matrix")


def test_states_that_are_only_close_to_multiples_are_not_taken_for_them():
    """Three tenths of a float is no third of it: the outputs differ in the last digits."""
    a = dsf.gla.init(d=3, n=2, p=2, seed=0)
    found = dsf.compare(a, replace(a, Wq=a.Wq * 3, Wk=a.Wk / 3))
    assert found.verdict.name == "DIFFERENT" and found.check()


def test_instances_that_differ_say_where():
    a = dsf.gla.init(d=3, n=2, p=2, seed=0)
    found = dsf.compare(a, replace(a, Wq=a.Wq + 0.25, b=a.b - 1))
    (note,) = found.findings[0].notes
    assert note == (
        "their parameters differ, entry by entry: Wq by at most 0.251, b by at most 1.01; the same "
        "in Wk, Wv, W1, W2"
    )
    assert found.check()
    wide = dsf.compare(a, dsf.gla.init(d=3, n=3, p=2, seed=0))
    assert "other sizes: Wq [1, 3, 2] and [1, 3, 3]" in wide.findings[0].notes[0] and wide.check()
