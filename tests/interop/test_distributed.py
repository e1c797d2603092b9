"""One sequence over ranks: threads that play them, for every mechanism, and processes of gloo."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.core.authoring import (
    LTV,
    Array,
    Diag,
    Recurrence,
    Step,
    Tokens,
    ops,
    row,
    split_heads,
    weight,
)
from dsf.core.catalogue import everything
from dsf.core.errors import DTypeError, NotLinearError, OverflowingScanError, RankError, ShapeError
from dsf.core.metrics import end_to_end, ratio

torch = pytest.importorskip("torch")
from dsf.interop.distributed import scan_over  # noqa: E402

SCRIPT = Path(__file__).parent / "ranks.py"
pytestmark = pytest.mark.filterwarnings("ignore::dsf.core.errors.NotContractive")
FAMILIES = [f for f in everything() if not issubclass(f.cls, Step)]
L, D = 11, 3
KNOWN = {}


class Played:
    """A rank that is a thread: what it tells lies on a table that all see."""

    def __init__(self, rank, size, table, barrier):
        self.rank, self.size, self.table, self.barrier = rank, size, table, barrier

    def objects(self, x):
        self.table[self.rank] = x
        self.barrier.wait(60)
        every = [self.table[r] for r in range(self.size)]
        self.barrier.wait(60)
        return every

    def arrays(self, own, shapes):
        assert [tuple(x.shape) for x in own] == shapes[self.rank]
        every = self.objects(own)
        assert len({x.dtype for held in every for x in held}) == 1
        return every

    def tied(self, x, received):
        return x


def played(mechs, parts):
    """What each rank returns, or the error it raises."""
    size, found, table = len(parts), {}, {}
    barrier = threading.Barrier(size)

    def run(rank):
        try:
            ranks = Played(rank, size, table, barrier)
            found[rank] = scan_over(mechs[rank], parts[rank], ranks)
        except Exception as e:
            found[rank] = e

    threads = [threading.Thread(target=run, args=(r,)) for r in range(size)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return [found[r] for r in range(size)]


def split(mech, u, cuts):
    ends = [0, *cuts, u.shape[-2]]
    parts = [u[..., a:b, :] for a, b in pairwise(ends)]
    return played([mech] * len(parts), parts)


def known(family):
    """An instance, an input, its outputs and last state, and by how much they may differ."""
    if family not in KNOWN:
        mech = family.init(d=D, n=2, p=2, heads=2, seed=0)
        u = np.random.default_rng(1).standard_normal((L, D))
        KNOWN[family] = mech, u, *mech.run(u), *end_to_end(mech, u)
    return KNOWN[family]


def agrees(family, cuts):
    mech, u, y, state, scale, gate = known(family)
    every = split(mech, u, cuts)
    for one in every:
        if isinstance(one, Exception):
            raise one
    found = np.concatenate([y for y, _ in every], -2)
    assert found.shape == y.shape and ratio(found, y, scale) <= gate
    assert [s.t for _, s in every] == [*cuts, L]
    last = every[-1][1]
    for a, b in zip(last.arrays(), state.arrays(), strict=True):
        assert a.shape == b.shape and np.allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_every_mechanism(family):
    agrees(family, [0, 4, 4, 5, 9])  # slices of 0, 4, 0, 1, 4 and 2 tokens


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_in_float32(family):
    mech, u, *_ = known(family)
    mech, u = mech.map(np.float32), u.astype(np.float32)
    scale, gate = end_to_end(mech, u)
    y = np.concatenate([y for y, _ in split(mech, u, [0, 4, 4, 5, 9])], -2)
    assert y.dtype == np.float32 and ratio(y, known(family)[2], scale, np.float32) <= gate


@given(st.sampled_from(FAMILIES), st.lists(st.integers(0, L), max_size=4).map(sorted))
def test_any_cuts(family, cuts):
    agrees(family, cuts)


class Echo(Recurrence):
    """S_t = S_{t-1} / 2 + v_t + (t - 2) v_{t-2}: reads rows before, at their places."""

    W: Array = weight("H d p")
    spec = {"v": "L p", "pos": "L 1"}
    lookback = 2

    def tokens(self, u):
        return Tokens(v=split_heads(u) @ self.W)

    def recurrence(self, tok):
        before = tok.previous.previous
        one = ops.ones((1, 1, 1), tok.v)
        return LTV(Diag(a=one[0] / 2), one, one), row(tok.v + before.pos * before.v)


@pytest.mark.parametrize("cuts", [[4, 8], [1, 2, 3], [0, 5, 5, 6]])
def test_rows_before_are_read_at_their_places(cuts):
    mech = Echo(W=np.random.default_rng(0).standard_normal((2, D, 3)))
    u = np.random.default_rng(1).standard_normal((L, D))
    found = np.concatenate([y for y, _ in split(mech, u, cuts)], -2)
    assert np.allclose(found, mech(u), rtol=1e-12, atol=1e-13)


def test_no_tokens_at_all():
    mech = dsf.gla.init(d=D)
    for y, state in split(mech, np.ones((0, D)), [0, 0]):
        assert y.shape == mech(np.ones((0, D))).shape and state.t == 0


def test_every_rank_can_go_on_from_its_state():
    mech, u, y, *_ = known(dsf.mamba3)
    for (_, state), end in zip(split(mech, u, [3, 7]), [3, 7, L], strict=True):
        rest, _ = mech.run(u[end:], state)
        assert np.allclose(rest, y[end:], rtol=1e-11, atol=1e-12)


def raised(mechs, parts, *types):
    """The messages of all ranks, each of the type given for it."""
    found = played(mechs, parts)
    assert [type(x) for x in found] == [*types]
    return [str(x) for x in found]


def test_a_nonlinear_step_is_refused_on_every_rank():
    mech = dsf.gru.init(d=D)
    for told in raised([mech] * 2, [np.ones((2, D))] * 2, NotLinearError, NotLinearError):
        assert "not affine" in told and "dsf.simulate" in told


def test_an_error_on_one_rank_ends_all_of_them():
    mech = dsf.gla.init(d=D)
    _, told = raised([mech] * 2, [np.ones((2, 9)), np.ones((2, D))], ShapeError, RankError)
    assert "rank 0 could not do its part" in told and "ShapeError" in told and "d = 3" in told


def test_numbers_out_of_range_are_counted_from_the_start():
    mech = dsf.linear_attn.init(d=D, seed=0)
    u = np.random.default_rng(0).standard_normal((12, D))
    u[8] *= 1e200
    parts = [u[:5], u[5:7], u[7:]]
    *others, own = raised([mech] * 3, parts, RankError, RankError, OverflowingScanError)
    assert "at token 9 (index 8) of the whole sequence" in own
    assert all("rank 2 could not" in told for told in others)
    with pytest.raises(OverflowingScanError) as error:
        mech(u)
    assert error.value.index == played([mech] * 3, parts)[2].index == 8


def test_not_a_number_reaches_what_it_reaches_in_one_process():
    for family in (dsf.gla, dsf.deltanet, dsf.window_softmax):
        mech, u, *_ = known(family)
        u = u.copy()
        u[5] = np.nan
        every = np.concatenate([y for y, _ in split(mech, u, [3, 6, 8])], -2)
        assert np.array_equal(np.isnan(every), np.isnan(mech(u)))


@pytest.mark.parametrize(
    ("mechs", "parts", "match"),
    [
        ([dsf.gla.init(d=D, seed=s) for s in (0, 1)], [np.ones((2, D))] * 2, "parameters differ"),
        ([dsf.gla.init(d=D), dsf.retnet.init(d=D)], [np.ones((2, D))] * 2, "mechanism differ"),
        ([dsf.gla.init(d=D)] * 2, [np.ones((2, D)), np.ones((3, 2, D))], "batch axes of u differ"),
        (
            [dsf.gla.init(d=D).map(np.float32)] * 2,
            [np.ones((2, D), k) for k in (np.float32, np.float64)],
            "dtype differ: float",
        ),
    ],
)
def test_ranks_that_do_not_fit(mechs, parts, match):
    for told in raised(mechs, parts, RankError, RankError):
        assert match in told and "one sequence" in told


def test_what_does_not_travel():
    mech = dsf.gla.init(d=D)
    u = np.ones((2, D), np.longdouble)
    for told in raised([mech] * 2, [u, u], DTypeError, DTypeError):
        assert "float32 or float64" in told


def test_without_a_group():
    with pytest.raises(RankError, match="init_process_group"):
        dsf.distributed.scan(dsf.gla.init(d=D), np.ones((2, D)))


# ------------------------------------------------------------------------- processes
def script():
    spec = importlib.util.spec_from_file_location("ranks", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_processes(size, folder):
    ranks = script()
    command = [sys.executable, "-P", str(SCRIPT)]
    started = [subprocess.Popen([*command, str(r), str(size), str(folder)]) for r in range(size)]
    try:
        assert [p.wait(200) for p in started] == [0] * size
    finally:
        for p in started:
            p.kill()
    found = [np.load(folder / f"{r}.npz") for r in range(size)]
    for name in ranks.FAMILIES:
        mech, u = ranks.drawn(name)
        y, state = mech.run(u)
        scale, gate = end_to_end(mech, u)
        for kind in ("y", "torch"):
            assert ratio(np.concatenate([f[f"{name} {kind}"] for f in found], -2), y, scale) <= gate
        assert [int(f[f"{name} t"]) for f in found] == [*ranks.ends(size, name)[1:]]
        if state.S is not None:
            assert np.allclose(found[-1][f"{name} S"], state.S, rtol=1e-11, atol=1e-12)
        layer, whole = mech.to_torch(), torch.tensor(u, requires_grad=True)
        ranks.loss(*layer.run(whole)).backward()
        expected = {
            "grad": whole.grad,
            **{f"grad {k}": x.grad for k, x in layer.named_parameters()},
        }
        for k, x in expected.items():
            parts = [f[f"{name} {k}"] for f in found]
            got = np.concatenate(parts, -2) if k == "grad" else parts[0]
            want = np.zeros_like(got) if x is None else x.numpy()
            assert np.allclose(got, want, rtol=1e-9, atol=1e-10 * np.abs(want).max()), (name, k)
    told = [str(f["failed"]) for f in found]
    assert told[-1].startswith("OverflowingScanError: distributed.scan: at token")
    assert all(f"rank {size - 1} could not do its part" in t for t in told[:-1])


def test_two_processes(tmp_path):
    in_processes(2, tmp_path)


@pytest.mark.slow
def test_four_processes_of_which_one_has_nothing(tmp_path):
    in_processes(4, tmp_path)
