"""Students with inputs: instances that read tokens alone, their losses and their starts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import dsf
from dsf.core.errors import CertificateError, DomainError, ShapeError, UnknownNameError
from dsf.models.distil import Learned, student

L, D, N = 16, 6, 3


def inputs(B=2, seed=0):
    return np.random.default_rng(seed).standard_normal((B, L, D))


def teacher(name="gla", seed=3):
    return dsf.family(name).init(D, n=N, p=2, seed=seed)


def learn(of, into="gla", B=2, iterations=40, **more) -> Learned:
    return dsf.distil(of, into, N, inputs=inputs(B), iterations=iterations, **more)


@pytest.mark.parametrize("name", ["gla", "gated_deltanet", "mamba2", "rwkv6"])
def test_kernels_are_those_of_the_instance(name):
    mech = teacher(name)
    wanted = mech.kernel(inputs())[:, 0]
    assert np.allclose(student.kernels(mech, inputs()), wanted, atol=1e-13)


def test_copied_projections_of_the_same_class_are_the_teacher():
    mech = teacher()
    own = {k: x for k, x in mech.parameters().items() if k != "Wv"}
    found = learn(mech, start=own, iterations=5)
    assert found.error(found.targets, inputs(), found.start) < 1e-12
    assert found.error(mech.kernel(inputs(5, seed=9))[:, 0], inputs(5, seed=9)) < 1e-6


def test_copies_may_lie_in_memory_column_by_column():
    own = {k: np.asfortranarray(teacher("softmax").parameters()[k]) for k in ("Wq", "Wk")}
    found = learn(teacher("softmax"), start=own, iterations=2)
    assert np.array_equal(found.start.parameters()["Wq"], own["Wq"])


def test_copied_projections_of_a_softmax_head_beside_the_realization():
    """On the texts of the fit and on sixteen others: where each start begins and ends.

    Of one text for GLA the realization begins nearer, and what is fitted from it carries over
    worse; of eight texts for rows of sum 1 the copied projections begin nearer and end nearer.
    """
    of, u = teacher("softmax"), inputs(24)
    M = of.kernel(u)[:, 0]
    copied = {k: of.parameters()[k] for k in ("Wq", "Wk")}

    def errors(into, texts, start):
        found = dsf.distil(M[:texts], into, N, inputs=u[:texts], start=start, iterations=60)
        own = (M[:texts], u[:texts])
        begun, ended = found.error(*own, found.start), found.error(*own)
        assert found.floor <= ended <= begun
        shown = "given Wq, Wk" if start is copied else "realization"
        assert f"{shown}: error {begun:.4g}" in repr(found)
        return begun, ended, found.error(M[8:], u[8:])

    one, two = errors("gla", 1, "realization"), errors("gla", 1, copied)
    assert one[0] < 0.5 * two[0] and two[2] < 0.5 * one[2]
    rows = "linear_attn(phi=exp, normalise=True)"
    one, two = errors(rows, 8, "realization"), errors(rows, 8, copied)
    assert two[0] < one[0] and two[1] < 0.8 * one[1] and two[2] < 0.8 * one[2]


@pytest.mark.parametrize("start", ["realization", "drawn"])
@pytest.mark.parametrize("into", ["gla", "gated_deltanet"])
def test_training_does_not_make_it_worse(into, start):
    found = learn(teacher("softmax"), into, start=start)
    M, u = found.targets, inputs()
    assert found.floor <= found.error(M, u) <= found.error(M, u, found.start)
    again = Learned.from_json(found.to_json())
    assert again.check() and repr(again) == repr(found)


def test_the_realization_is_a_start_on_its_own_sequence():
    """One sequence with as many inputs as tokens: any tokens are maps of it."""
    u = np.eye(L)[None]
    M = teacher("softmax").kernel(inputs(1))[:, 0]
    near = dsf.distil(M, "gated_deltanet", N, inputs=u, iterations=20)
    far = dsf.distil(M, "gated_deltanet", N, inputs=u, iterations=20, start="drawn")
    assert near.error(M, u, near.start) < far.error(M, u, far.start)
    frozen = dsf.distil(M[0], "gated_deltanet", N).row()
    assert near.floor <= near.error(M, u)
    assert frozen.floor.lower == pytest.approx(near.floor)


def test_the_loss_of_outputs():
    v = np.random.default_rng(1).standard_normal((2, L, 4))
    found = learn(teacher("softmax"), loss="output", values=v, start="drawn")
    M = found.targets

    def off(mech):
        gap = np.tril(student.kernels(mech, inputs()) - M, -1) @ v
        return np.linalg.norm(gap)

    assert off(found.instance) < off(found.start)


def test_the_divergence_of_rows():
    found = learn(teacher("softmax"), "linear_attn(phi=exp, normalise=True)", loss="kl",
                  start="drawn")  # fmt: skip

    def divergence(mech):
        K, M = student.kernels(mech, inputs()), found.targets
        seen = np.tri(L, dtype=bool)
        return np.sum(np.where(seen, M * np.log(M / np.where(seen, K, 1) + ~seen), 0), -1).mean()

    assert np.allclose(student.kernels(found.instance, inputs()).sum(-1), 1)
    assert 0 <= divergence(found.instance) < divergence(found.start)


def test_what_is_refused():
    M, u = teacher("softmax").kernel(inputs())[:, 0], inputs()
    with pytest.raises(DomainError, match="probabilities"):
        dsf.distil(M, "gla", N, inputs=u, loss="kl")
    with pytest.raises(UnknownNameError, match="loss"):
        dsf.distil(M, "gla", N, inputs=u, loss="l1")
    with pytest.raises(DomainError, match="values"):
        dsf.distil(M, "gla", N, inputs=u, loss="output")
    with pytest.raises(UnknownNameError, match="start"):
        dsf.distil(M, "gla", N, inputs=u, start="teacher")
    with pytest.raises(DomainError, match="copied"):
        dsf.distil(M, "gla", N, inputs=u, start={"Wq": np.ones((1, D, N + 1))})
    with pytest.raises(DomainError, match="one number"):
        dsf.distil(M, "gla", (1, 2), inputs=u)
    with pytest.raises(ShapeError, match="inputs"):
        dsf.distil(M, "gla", N, inputs=u[:, :4])
    two = dsf.gla.init(D, n=N, heads=2)
    with pytest.raises(ShapeError, match="one head"):
        dsf.distil(two, "gla", N, inputs=u)


def test_a_floor_of_other_kernels_is_refused():
    found = learn(teacher("softmax"), iterations=2)
    other = dsf.distil(np.tril(np.ones((L, L))), "gla", N, iterations=1).row().floor
    forged = replace(found.floors[0], lower=5.0)
    with pytest.raises(CertificateError):
        replace(found, floors=(forged, other)).check()
