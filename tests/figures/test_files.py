"""What the figure runner keeps: records, tables and points survive, or are refused."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.core.errors import OutputError
from dsf.figures import Table, sweep
from dsf.figures.runner.sweep import keep_points
from dsf.tools.files import read_record, write, write_record


def test_a_full_disk_is_named_and_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "numbers.csv"
    write(path, b"old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"numbers\.csv: No space left on device\.  Free some"):
        write(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_altered_record_is_believed(tmp_path_factory, place, bit):
    path = tmp_path_factory.mktemp("record") / "x.json"
    write_record(path, {"measured": "gap 0.125", "value": [0.1, None, True]})
    good = read_record(path)
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    path.write_bytes(data)
    # The content as it was, if the bit is in the space between two entries; never another.
    assert read_record(path) in (None, good)


@given(place=st.floats(0, 1, exclude_max=True))
def test_no_cut_record_is_believed(tmp_path_factory, place):
    path = tmp_path_factory.mktemp("record") / "x.json"
    write_record(path, {"measured": "gap 0.125", "value": [0.1, None, True]})
    data = path.read_bytes().rstrip()
    path.write_bytes(data[: int(place * len(data))])
    assert read_record(path) is None


@pytest.mark.parametrize(
    "bad, where",
    [
        ({2: 1}, "the key 2 (int) in the record"),
        ({"parameters": {"steps": {10: 3, 9: 4}}}, "in ['parameters']['steps']"),
        ({"rows": [{}, {None: 1}]}, "the key None (NoneType) in ['rows'][1]"),
        ({"rows": ({1.5: 1},)}, "the key 1.5 (float) in ['rows'][0]"),
    ],
)
def test_a_record_whose_keys_json_would_change_is_refused(tmp_path, bad, where):
    path = tmp_path / "x.json"
    with pytest.raises(TypeError, match="list of pairs") as e:
        write_record(path, bad)
    assert where in str(e.value) and not path.exists()
    write_record(path, {"parameters": {"10": 3, "9": 4}, "pairs": [[10, 3], [9, 4]]})
    assert read_record(path) == {"parameters": {"10": 3, "9": 4}, "pairs": [[10, 3], [9, 4]]}


names = st.text("abcxyz_,\"\n '", min_size=1).filter(lambda s: s.strip())
cells = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), names)


@given(st.lists(st.fixed_dictionaries({"a": cells, "b": cells, "c c": cells}), max_size=5))
def test_a_table_survives_csv(rows):
    table = Table(rows)
    back = Table.from_csv(table.to_csv())
    assert back == table
    assert [[type(c) for c in r.values()] for r in back] == [
        [type(c) for c in r.values()] for r in table
    ]


@pytest.mark.parametrize("cell", [1j, [1], "12", "nan", ""])
def test_a_cell_that_csv_would_change_is_refused(cell):
    with pytest.raises(ValueError, match="column 'x' holds"):
        Table([{"x": cell}])


calls = []  # of `task`; within the test it would be a part of it that changes


def test_a_sweep_takes_what_it_kept(tmp_path):
    def task(n):
        calls.append(n)
        return [{"m": n, "x": 0.1 * n}, {"m": n + 1, "x": float("inf")}]

    grid = [{"n": 1}, {"n": 2}]
    plain = sweep(task, grid)
    with keep_points(tmp_path):
        assert sweep(task, grid) == sweep(task, grid) == plain
    assert calls == [1, 2, 1, 2]


def test_a_cell_that_cannot_be_kept_ends_the_sweep_at_its_point(tmp_path):
    calls.clear()

    def task(n):
        calls.append(n)
        return {"x": 1j}

    with keep_points(tmp_path), pytest.raises(ValueError, match="column 'x' holds a complex"):
        sweep(task, [{"n": 1}, {"n": 2}])
    assert calls == [1] and list(tmp_path.iterdir()) == []
