"""dsf.sweep: what it returns, what a task draws, what is kept and when it counts."""

from __future__ import annotations

import errno
import functools
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

import dsf
from dsf.core.errors import DomainError, DTypeError, MissingExtraError, OutputError, SweepError
from dsf.tools.sweeps.keys import key_of, rng_of, text_of
from dsf.tools.sweeps.store import packed, unpacked

# the functions of this file, as those of a notebook, are not importable in another process
cloudpickle.register_pickle_by_value(sys.modules[__name__])

calls: list[object] = []


def square(n):
    calls.append(n)
    return {"square": n * n}


@pytest.fixture(autouse=True)
def no_calls():
    calls.clear()


# ------------------------------------------------------------------------------- the grid
@pytest.mark.smoke
def test_the_rows_are_in_the_order_of_the_grid():
    found = dsf.sweep(lambda a, b: 10 * a + b, {"a": [2, 1], "b": (3, 4)})
    assert found.values == [23, 24, 13, 14]
    assert found.rows()[1] == {"a": 2, "b": 4, "value": 24}
    assert [o.status for o in found] == ["done"] * 4 and len(found.failures) == 0
    assert found[-1].value == 14 and found[1:3].values == [24, 13]


@pytest.mark.parametrize("grid, n", [({"n": []}, 0), ([], 0), ({}, 1), ([{}], 1), ({"n": [0]}, 1)])
def test_small_grids(grid, n):
    assert dsf.sweep(lambda n=0: n, grid).values == [0] * n


def test_a_list_of_dicts_makes_rows_and_a_dict_makes_one():
    some = dsf.sweep(lambda n: [{"m": m} for m in range(n)], {"n": [2, 0, 1]})
    assert some.rows() == [{"n": 2, "m": 0}, {"n": 2, "m": 1}, {"n": 1, "m": 0}]
    assert dsf.sweep(square, {"n": [3]}).rows() == [{"n": 3, "square": 9}]


def test_numpy_values_are_plain_numbers_for_the_function():
    (found,) = dsf.sweep(lambda x: type(x).__name__, {"x": np.array([0.5])}).values
    assert found == "float"


@pytest.mark.parametrize(
    "grid, text",
    [
        ({"mech": "gla"}, r"grid\['mech'\] must be a list of values; got 'gla'"),
        ({"n": 3}, r"a list too: \[3\]"),
        ({"n": {"a": 1}}, "must be a list"),
        ([1, 2], "must be a dict of names and values; got 1"),
        ([{1: 2}], "must be a dict of names"),
    ],
)
def test_what_is_no_grid_is_refused(grid, text):
    with pytest.raises(DomainError, match=text):
        dsf.sweep(square, grid)


@pytest.mark.parametrize(
    "options",
    [
        {"n_jobs": 0}, {"seed": -1}, {"seed": 0.5}, {"seed": True}, {"retries": -1},
        {"time_limit": 0}, {"threads": 0}, {"on_error": "ignore"},
        {"backend": "threading", "time_limit": 1},
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(DomainError, match=next(reversed(options))):
        dsf.sweep(square, {"n": [1]}, **options)
    assert calls == []


def test_rng_belongs_to_the_seed():
    with pytest.raises(DomainError, match="no point may have an entry of that name"):
        dsf.sweep(lambda rng: rng, {"rng": [1]}, seed=0)
    assert dsf.sweep(lambda rng: rng, {"rng": [1]}).values == [1]


def test_a_function_that_does_not_take_the_points_is_refused_at_once(tmp_path):
    with pytest.raises(DomainError, match=r"n, rng: .*'rng'\.  With a seed it must take `rng`"):
        dsf.sweep(square, {"n": [1]}, seed=0)
    with pytest.raises(DomainError, match=r"with m: .*Its parameters are \(n\)"):
        dsf.sweep(square, [{"n": 1}, {"m": 1}])
    assert calls == []


def test_progress_is_told(capsys, tmp_path):
    told = []
    dsf.sweep(square, {"n": [1, 2]}, progress=lambda *x: told.append(x))
    assert told == [(0, 2), (1, 2), (2, 2)]
    told.clear()
    dsf.sweep(square, {"n": [1, 2, 1]}, cache=tmp_path, progress=lambda *x: told.append(x))
    dsf.sweep(square, {"n": [1, 3, 1]}, cache=tmp_path, progress=lambda *x: told.append(x))
    assert told == [(0, 3), (2, 3), (3, 3), (2, 3), (3, 3)]
    assert capsys.readouterr().err == ""
    dsf.sweep(square, {"n": [1, 2]}, progress=True)
    assert "2/2" in capsys.readouterr().err


# ------------------------------------------------------------------------- random numbers
def draw(n, rng):
    return rng.integers(2**63, size=n + 1).tolist()


@given(st.lists(st.integers(0, 50), unique=True, min_size=1), st.randoms(), st.integers(0, 2**70))
def test_what_a_task_draws_depends_on_its_parameters_and_the_seed_alone(ns, shuffler, seed):
    found = dsf.sweep(draw, {"n": ns}, seed=seed)
    shuffled = random.Random(shuffler.random()).sample(ns, len(ns))
    again = dsf.sweep(draw, {"n": [*shuffled, 51]}, seed=seed)
    pairs = {o.parameters["n"]: o.value for o in again}
    assert {o.parameters["n"]: o.value for o in found} == {n: pairs[n] for n in ns}
    first = [value[0] for value in pairs.values()]
    assert len({*first}) == len(first)  # no two tasks draw the same
    assert dsf.sweep(draw, {"n": ns}, seed=seed + 1).values != found.values


def test_the_seed_is_that_of_the_documented_sequence():
    import hashlib

    digest = hashlib.sha256(b'["dict", {"n": 3}]').digest()
    words = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 32, 4)]
    expected = np.random.default_rng(np.random.SeedSequence(5, spawn_key=words))
    assert rng_of(5, {"n": 3}).random() == expected.random()


BLAS = {"n": [3, 40], "k": [0, 1]}


def product(n, k, rng):
    A = rng.standard_normal((n, 70))
    return np.exp(A @ A.T / 70)


@pytest.mark.parametrize("options", [{"n_jobs": 2}, {"n_jobs": 2, "backend": "threading"}])
def test_every_bit_is_the_same_for_every_backend(options):
    alone = dsf.sweep(product, BLAS, seed=0)
    found = dsf.sweep(product, BLAS, seed=0, **options)
    assert all(np.array_equal(a, b) for a, b in zip(alone.values, found.values, strict=True))


@pytest.mark.parametrize("backend", [None, "threading"])
def test_threads_within_a_task_are_as_many_as_wished(backend):
    def blas():
        found = [x for x in threadpool_info() if x["user_api"] == "blas"]
        return {x["filepath"]: x["num_threads"] for x in found}

    before = blas()
    with threadpool_limits(2):  # a library that was built for one thread stays at one
        several = {file for file, threads in blas().items() if threads == 2}
    assert several
    for n in (1, 2):
        (found,) = dsf.sweep(blas, {}, threads=n, backend=backend).values
        assert {found[file] for file in several} == {n}
    assert blas() == before


def test_the_backend_of_joblib_is_taken():
    import joblib

    with joblib.parallel_config(backend="threading", n_jobs=2):
        assert dsf.sweep(square, {"n": [1, 2]}).values == [{"square": 1}, {"square": 4}]
    assert sorted(calls) == [1, 2]  # in this process


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_backend_that_is_missing_is_named(backend, monkeypatch):
    for name in ("distributed", "ray", "ray.util.joblib"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=f"{backend} is not installed.  Install the extra"):
        dsf.sweep(square, {"n": [1]}, backend=backend)


@pytest.mark.slow
def test_dask_gives_the_same():
    distributed = pytest.importorskip("distributed", reason="the extra 'dask'")
    alone = dsf.sweep(product, BLAS, seed=0)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as c,
        distributed.Client(c),
    ):
        found = dsf.sweep(product, BLAS, seed=0, backend="dask")
    assert all(np.array_equal(a, b) for a, b in zip(alone.values, found.values, strict=True))


@pytest.mark.slow
def test_ray_gives_the_same():
    ray = pytest.importorskip("ray", reason="the extra 'ray'")
    alone = dsf.sweep(product, BLAS, seed=0)
    ray.init(num_cpus=2, include_dashboard=False)
    try:
        found = dsf.sweep(product, BLAS, seed=0, backend="ray")
    finally:
        ray.shutdown()
    assert all(np.array_equal(a, b) for a, b in zip(alone.values, found.values, strict=True))


# ------------------------------------------------------------------------- what is kept
def test_finished_tasks_are_not_computed_again(tmp_path):
    found = dsf.sweep(square, {"n": [1, 2]}, cache=tmp_path / "deep" / "er")
    again = dsf.sweep(square, {"n": [3, 2, 1, 3]}, cache=str(tmp_path / "deep" / "er"))
    assert calls == [1, 2, 3]  # equal tasks once
    assert again.values[:3] == [{"square": 9}, *reversed(found.values)]
    assert again[3].value == {"square": 9}
    assert [o.attempts for o in again] == [1, 0, 0, 1]
    assert "2 from an earlier call" in str(again)


def keys_of(fn, **options):
    return text_of({"function": fn, **options}, "fn")


def make(scale, power=2):
    return lambda n: scale * n**power


def test_other_code_closures_defaults_and_partials_are_other_functions():
    variants = [
        make(1), make(2), make(1, 3), lambda n: n, lambda n: n + 1, lambda n, k=1: n,
        lambda n, k=2: n, lambda n, *, k=1: n, lambda n, *, k=2: n, lambda m: m,
        functools.partial(square, 1), functools.partial(square, 2), functools.partial(square, n=1),
        square, math_like,
        functools.cache(square), lambda n: n in {"a", "b"}, lambda n: n in {"a", "c"},
        lambda n: [m for m in n], lambda n: [m + 1 for m in n], np.linalg.norm, dict, set, len, abs,
    ]  # fmt: skip
    texts = [keys_of(fn) for fn in variants]
    assert len({*texts}) == len(texts)
    assert keys_of(make(1)) == keys_of(make(1)) and keys_of(square) == keys_of(square)


def math_like(n):
    return square(n)


def test_a_function_that_calls_itself_has_a_text():
    def factorial(n):
        return 1 if n == 0 else n * factorial(n - 1)

    assert dsf.sweep(factorial, {"n": [5]}).values == [120]
    assert keys_of(factorial) != keys_of(math_like)


def test_where_a_function_stands_does_not_count():
    texts = []
    for blank in ("", "\n\n# a remark\n"):
        space = {"__name__": "somewhere"}
        exec(blank + "def f(n):\n    return {'a', 'b', 'c'} >= {n}", space)
        texts.append(keys_of(space["f"]))
    assert texts[0] == texts[1]


def test_a_text_is_the_same_in_every_process():
    code = (
        "from dsf.tools.sweeps.keys import text_of\n"
        "def f(n): return n in {'alpha', 'beta', 'gamma', ('delta', 1)}\n"
        "print(text_of([f, {'b': 1, 'a': (0.1, None, 2j)}], 'x'))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-P", "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "TZ": zone},
            capture_output=True, check=True, text=True,
        ).stdout
        for hash_seed, zone in (("1", "UTC"), ("2", "Asia/Kathmandu"))
    }  # fmt: skip
    assert len(printed) == 1


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=5,
)


def kind(x):
    """What distinguishes values that Python calls equal: 1, 1.0, True, and 0.0, -0.0."""
    if isinstance(x, list):
        return [kind(v) for v in x]
    if isinstance(x, dict):
        return {k: kind(v) for k, v in x.items()}
    return type(x), repr(x)


@given(plain, plain)
def test_texts_are_equal_where_values_are(a, b):
    assert (text_of(a, "") == text_of(b, "")) == (kind(a) == kind(b))


def test_arrays_are_known_by_value():
    x = np.arange(6.0).reshape(2, 3)
    same = [x, x.copy(), np.asfortranarray(x), x[::-1][::-1]]
    assert len({text_of(a, "") for a in same}) == 1
    other = [x, x.T, x.ravel(), x.astype("f4"), x + 1, x.astype(">f8"), x.tolist()]
    assert len({text_of(a, "") for a in other}) == len(other)
    assert text_of(np.float64(0.1), "") == text_of(0.1, "")


def test_the_text_of_one_kind_is_not_that_of_another():
    for x in ([1], {"a": 1}, 2j, np.ones(2), Path("a"), square, len, functools.partial(square)):
        assert text_of(x, "") != text_of(json.loads(text_of(x, "")), "")
    assert text_of(Path("a"), "") != text_of("a", "")


def test_parameters_without_a_text_are_refused_only_where_it_is_needed(tmp_path):
    thing = object()
    assert dsf.sweep(lambda x: x is thing, {"x": [thing]}).values == [True]
    for options in ({"cache": tmp_path}, {"seed": 0}):
        with pytest.raises(DTypeError, match=r"task\['x'\] is of type object.*Put a name"):
            dsf.sweep(lambda x, rng=None: x, {"x": [thing]}, **options)
    with pytest.raises(
        DTypeError, match=r"fn\['function'\]: \['closed over'\]\[0\] is of type obj"
    ):
        dsf.sweep(lambda x: thing, {"x": [1]}, cache=tmp_path)


def test_what_another_call_finished_meanwhile_is_taken(tmp_path):
    def task(n):
        calls.append(n)
        if n == 1:
            assert dsf.sweep(task, {"n": [2]}, cache=tmp_path)[0].attempts == 1
        return n

    found = dsf.sweep(task, {"n": [1, 2]}, cache=tmp_path)
    assert found.values == [1, 2] and found[1].attempts == 0 and calls == [1, 2]


def test_another_version_seed_or_function_does_not_take_what_is_kept(tmp_path):
    def run(**options):
        calls.clear()
        dsf.sweep(**{"fn": noted, "grid": {"n": [1]}, "cache": tmp_path, **options})
        return bool(calls)

    first = {}, {"version": "2"}, {"seed": 0}, {"seed": 1}, {"fn": square}
    assert all(run(**options) for options in first)
    assert not any(run(**options) for options in first)


def noted(n, rng=None):
    calls.append(n)


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=100)
def test_no_altered_file_is_believed(place, bit):
    data = bytearray(packed({"key": "k", "value": np.arange(3.0)}))
    data[int(place * len(data))] ^= 1 << bit
    with pytest.raises(ValueError, match="checksum"):
        unpacked(bytes(data))


@given(place=st.floats(0, 1, exclude_max=True))
@settings(max_examples=100)
def test_no_cut_file_is_believed(place):
    data = packed({"key": "k", "value": np.arange(3.0)})
    with pytest.raises(ValueError, match="checksum"):
        unpacked(data[: int(place * len(data))])


def flip(data):
    return data[:-9] + bytes([data[-9] ^ 4]) + data[-8:]


@pytest.mark.parametrize("damage", [flip, lambda d: d[:-1], lambda d: b"", lambda d: b"x" + d])
def test_a_damaged_file_is_noted_and_computed_again(tmp_path, damage):
    whole = dsf.sweep(square, {"n": [1, 2]}, cache=tmp_path)
    files = {path: path.read_bytes() for path in sorted(tmp_path.iterdir())}
    victim = next(iter(files))
    victim.write_bytes(damage(files[victim]))
    calls.clear()
    again = dsf.sweep(square, {"n": [1, 2]}, cache=tmp_path)
    assert len(calls) == 1 and again.values == whole.values
    (note,) = again.notes
    assert (
        note == f"n={calls[0]}: {victim}: its checksum is not that of its content; computed again"
    )
    assert "checksum" in str(again)
    assert dsf.sweep(square, {"n": [1, 2]}, cache=tmp_path).notes == ()


def test_the_file_of_another_task_is_not_taken(tmp_path):
    dsf.sweep(square, {"n": [1, 2]}, cache=tmp_path)
    one, two = sorted(tmp_path.iterdir())
    one.write_bytes(two.read_bytes())
    found = dsf.sweep(square, {"n": [1, 2]}, cache=tmp_path)
    assert found.values == [{"square": 1}, {"square": 4}] and "of another task" in found.notes[0]


def test_a_file_whose_class_has_gone_is_computed_again(tmp_path, monkeypatch):
    module = type(sys)("gone")
    exec("class Point:\n    pass", module.__dict__)
    monkeypatch.setitem(sys.modules, "gone", module)
    dsf.sweep(lambda: sys.modules["gone"].Point(), {}, cache=tmp_path)
    monkeypatch.delattr(module, "Point")
    found = dsf.sweep(lambda: sys.modules["gone"].Point(), {}, cache=tmp_path)
    assert "cannot be read back (AttributeError" in found.notes[0]
    assert found[0].status == "failed"  # it cannot be made either


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    key = key_of(text_of({"function": square, "version": ""}, "fn"), {"n": 1}, None)
    (tmp_path / f"{key}.result").mkdir()
    with pytest.raises(OutputError, match=rf"cannot write .*{key}\.result"):
        dsf.sweep(square, {"n": [1]}, cache=tmp_path)


# --------------------------------------------------------------------- disks and failures
def refused(number):
    def call(*_, **__):
        raise OSError(number, os.strerror(number))

    return call


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_computed(
    tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match=r"file is a file\.  Move it, or choose .*cache="):
        dsf.sweep(square, {"n": [1]}, cache=tmp_path / "file" / "inside")
    whole = dsf.sweep(square, {"n": [1]}, cache=tmp_path / "cache")
    monkeypatch.setattr("tempfile.TemporaryFile", refused(errno.EROFS))
    with pytest.raises(OutputError, match=r"Read-only file system\.  Make it writable"):
        dsf.sweep(square, {"n": [1, 2]}, cache=tmp_path / "cache")
    assert calls == [1]
    # what is kept can be read all the same
    assert dsf.sweep(square, {"n": [1]}, cache=tmp_path / "cache").values == whole.values


def test_a_full_disk_is_named_and_what_was_kept_stays(tmp_path, monkeypatch):
    whole = dsf.sweep(square, {"n": [1]}, cache=tmp_path)
    kept = list(tmp_path.iterdir())
    with monkeypatch.context() as m:
        m.setattr(os, "fsync", refused(errno.ENOSPC))
        with pytest.raises(OutputError, match=r"\.result: No space left on device\.  Free some"):
            dsf.sweep(square, {"n": [1, 2]}, cache=tmp_path)
    assert list(tmp_path.iterdir()) == kept
    calls.clear()
    assert dsf.sweep(square, {"n": [1, 2]}, cache=tmp_path).values[:1] == whole.values
    assert calls == [2]


def test_a_task_that_raises_is_recorded_and_never_a_silent_gap(tmp_path):
    def gpu(n):
        if n == 1:
            raise RuntimeError("CUDA error: device lost")
        return n

    found = dsf.sweep(gpu, {"n": [0, 1, 2]}, cache=tmp_path)
    assert [o.status for o in found] == ["done", "failed", "done"]
    assert found.finished.values == [0, 2] and len(found.failures) == 1
    assert isinstance(found[1].exception, RuntimeError) and "in gpu" in found[1].details
    for wanted in (lambda: found.values, found.rows, found.to_pandas, lambda: found[1].value):
        with pytest.raises(SweepError, match="sweep: no result for n=1: RuntimeError: CUDA"):
            wanted()
    assert "2 of 3 done, 1 failed" in str(found) and "CUDA" in found._repr_html_()
    assert len(list(tmp_path.iterdir())) == 2  # a failure is not kept


def test_the_first_failure_is_raised_where_that_is_wished(tmp_path):
    def fails(n):
        return calls.append(n) or 1 / (n - 1)

    with pytest.raises(ZeroDivisionError) as e:
        dsf.sweep(fails, {"n": [0, 1, 2]}, on_error="raise")
    assert "no result for n=1: ZeroDivisionError" in e.value.__notes__[0]
    assert calls == [0, 1]


def test_what_cannot_be_pickled_is_a_failure_where_it_is_kept(tmp_path):
    assert next(dsf.sweep(lambda: iter([3]), {}).values[0]) == 3
    found = dsf.sweep(lambda: (i for i in [1]), {}, cache=tmp_path)
    assert found[0].status == "failed" and "a generator that cannot be pickled" in found[0].error
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_prints_in_79_columns():
    def fails(n, long):
        raise ValueError("a long reason " * 20)

    text = str(dsf.sweep(fails, {"n": range(9), "long": ["x" * 200]}))
    assert max(map(len, text.splitlines())) <= 79 and "and 4 more" in text
    assert text.startswith("sweep of fails   0 of 9 done, 9 failed\n")


def test_to_pandas_has_a_column_for_each_name():
    frame = dsf.sweep(square, {"n": [1, 2]}).to_pandas()
    assert frame.to_dict("list") == {"n": [1, 2], "square": [1, 4]}
