"""dsf.sweep under faults of processes and disks: 0 lost, 0 silently wrong, nothing left over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

import dsf
from dsf.core.errors import OutputError, SweepError

# the functions of this file, as those of a notebook, are not importable in another process
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Awkward(Exception):
    """An exception that can be pickled and not read back."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class Point:
    def __init__(self, x):
        self.x = x


def faulty(fault, folder):
    """One task for each fault, and some without; each leaves a line for every attempt."""
    folder = Path(folder)
    with (folder / f"{fault}.attempts").open("a") as attempts:
        attempts.write("x")
    first = (folder / f"{fault}.attempts").stat().st_size == 1
    if fault == "killed once" and first:
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "killed always":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "exits":
        os._exit(3)
    if fault == "hangs":  # with a child, while compiled code holds the interpreter's lock
        import ctypes

        child = subprocess.Popen(["sleep", "600"])
        (folder / "pids").write_text(f"{os.getpid()} {child.pid}")
        ctypes.PyDLL(None).sleep(600)
    if fault == "raises":
        raise Awkward("CUDA error", "device lost")
    if fault == "leaves":
        raise SystemExit(5)
    if fault == "unpicklable":
        return (i for i in [1])
    if fault == "nested":
        inner = dsf.sweep(lambda i: (i, os.getpid()), {"i": [1, 2]}, n_jobs=2)
        return inner.values == [(1, os.getpid()), (2, os.getpid())]
    if fault == "class":
        return Point(3)
    if fault == "threads":
        return os.environ["OMP_NUM_THREADS"], os.environ["NUMBA_NUM_THREADS"]
    return fault


FAULTS = {
    "none": "done", "killed once": "done", "killed always": "killed", "exits": "killed",
    "hangs": "timeout", "raises": "failed", "leaves": "failed", "unpicklable": "failed",
    "nested": "done", "class": "done", "threads": "done", "none more": "done",
}  # fmt: skip


@pytest.fixture(scope="module")
def survived(tmp_path_factory):
    """A sweep in which every fault happens to one task, and the folder of its notes."""
    folder = tmp_path_factory.mktemp("faults")
    grid = {"fault": list(FAULTS), "folder": [str(folder)]}
    return dsf.sweep(faulty, grid, n_jobs=3, time_limit=4.0), folder


def of(sweep, fault):
    return sweep[list(FAULTS).index(fault)]


def test_every_fault_is_that_of_its_task_alone(survived):
    found, _ = survived
    assert {o.parameters["fault"]: o.status for o in found} == FAULTS
    assert of(found, "none").value == "none" and of(found, "none more").value == "none more"


def test_a_killed_task_is_started_again_at_most_twice(survived):
    found, folder = survived
    attempts = {f: (folder / f"{f}.attempts").stat().st_size for f in FAULTS}
    more = {"killed once": 2, "killed always": 3, "exits": 3}
    assert attempts == {f: more.get(f, 1) for f in FAULTS}
    assert {o.parameters["fault"]: o.attempts for o in found} == attempts
    assert of(found, "killed once").value == "killed once"
    assert "SIGKILL" in of(found, "killed always").error and "EXIT(3)" in of(found, "exits").error


def test_a_task_that_hangs_is_stopped_with_what_it_started(survived):
    found, folder = survived
    hung = of(found, "hangs")
    assert hung.error == "stopped at its time limit of 4 s"
    for pid in map(int, (folder / "pids").read_text().split()):
        gone(pid)


def gone(pid):
    """Waits until a process has ended; fails if it has not after 30 s."""
    for _ in range(300):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":  # ended, and nobody has asked
            return
        time.sleep(0.1)
    raise AssertionError(f"process {pid} is still there")


def test_what_cannot_come_back_is_said(survived):
    found, _ = survived
    raised = of(found, "raises")
    assert raised.error == "Awkward: CUDA error and device lost" and raised.exception is None
    assert "in faulty" in raised.details
    assert of(found, "leaves").error == "SystemExit: 5"
    assert "a generator that cannot be pickled" in of(found, "unpicklable").error
    assert of(found, "class").value.x == 3  # a class of no module that others can import


def test_a_sweep_within_a_task_stays_in_its_process(survived):
    found, _ = survived
    assert of(found, "nested").value is True
    assert of(found, "threads").value == ("1", "1")


def test_the_report_lists_all_of_it(survived):
    text = " ".join(str(survived[0]).split())
    assert "6 of 12 done, 3 failed, 1 timeout, 2 killed" in text
    assert "fault='killed once'" in text and "2 attempts" in text and "time limit of 4 s" in text


def test_a_function_that_cannot_be_sent_or_loaded_is_said(tmp_path):
    lock = threading.Lock()
    with pytest.raises(SweepError, match=r"cannot be sent to another process .*a lock"):
        dsf.sweep(lambda n: lock, {"n": [1]}, n_jobs=2)

    class Unloadable:
        def __reduce__(self):
            return os.path.getsize, (str(tmp_path / "absent"),)

    thing = Unloadable()
    with pytest.raises(SweepError, match=r"could not be started .*FileNotFoundError.*n_jobs=1"):
        dsf.sweep(lambda n: thing, {"n": [1]}, n_jobs=2)


def unwritable(n):
    def full(_):
        raise OSError(28, os.strerror(28))

    os.fsync = full
    return n


def test_a_disk_that_is_full_for_a_worker_is_named(tmp_path):
    with pytest.raises(OutputError, match=r"\.result: No space left on device\.  Free some"):
        dsf.sweep(unwritable, {"n": [1, 2]}, backend="loky", cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------- the process of the sweep itself is stopped
SCRIPT = """
import json, os, sys, time
import dsf

def task(n, pause, diary, rng):
    with open(diary, "a") as file:
        file.write(f"{n} {os.getpid()}\\n")
    time.sleep(pause)
    return {"x": rng.random(), "y": rng.standard_normal(1000)}

if __name__ == "__main__":
    cache, diary, pause = sys.argv[1:4]
    found = dsf.sweep(task, {"n": range(8), "pause": [float(pause)], "diary": [diary]}, seed=3,
                      n_jobs=2, cache=cache)
    print(json.dumps([[row["n"], row["x"], row["y"].tobytes().hex()] for row in found.rows()]))
"""
PAUSE = 0.15


class Runs:
    def __init__(self, folder):
        self.folder, self.cache, self.diary = folder, folder / "cache", folder / "diary"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "script.py").write_text(SCRIPT)
        self.diary.write_text("")

    def start(self, setup=""):
        command = [sys.executable, "-P", self.folder / "script.py", self.cache, self.diary]
        shell = f'{setup}\nexec "$@"'
        return subprocess.Popen(
            ["sh", "-c", shell, "sh", *map(str, command), str(PAUSE)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            preexec_fn=heeded,
        )  # fmt: skip

    def run(self, setup=""):
        process = self.start(setup)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def started(self):
        """How often each task was started, and the processes that did it."""
        lines = [line.split() for line in self.diary.read_text().splitlines()]
        return Counter(int(n) for n, _ in lines), {int(pid) for _, pid in lines}


def heeded():
    """Signals that the tests were started to ignore (nohup, a job beside) count again."""
    for name in ("SIGINT", "SIGHUP", "SIGTERM"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What an uninterrupted run prints; the path of the diary is a parameter and draws numbers."""
    runs = Runs(Path(tmp_path_factory.mktemp("runs")) / "a")
    code, out, err = runs.run()
    assert code == 0, err
    assert runs.started()[0] == {n: 1 for n in range(8)}
    return runs, out


def again(runs):
    """The same place, emptied."""
    for path in runs.cache.glob("*"):
        path.unlink()
    runs.diary.write_text("")
    return runs


@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT", "SIGTERM"])
def test_a_sweep_that_was_stopped_resumes(whole, name):
    runs, out = again(whole[0]), whole[1]
    process = runs.start()
    while len(runs.diary.read_text().splitlines()) < 4:
        assert process.poll() is None
        time.sleep(0.02)
    if name == "SIGINT":  # Ctrl-C goes to the whole group
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.Signals[name])
    _, err = process.communicate(timeout=30)
    assert process.returncode != 0
    assert err.count("Traceback") == (name == "SIGINT"), err  # of the sweep, and of no worker
    _, pids = runs.started()
    for pid in pids:
        gone(pid)
    kept = sorted(runs.cache.glob("*.result"))
    assert 2 <= len(kept) < 8
    kept[0].write_bytes(kept[0].read_bytes()[:-20])  # and one of the files is cut besides

    code, printed, err = runs.run()
    assert (code, printed) == (0, out), err
    starts, _ = runs.started()
    # twice: the cut one, and the two under way when the signal came
    assert sum(starts.values()) <= 8 + 3 and {*starts} == {*range(8)}


@pytest.mark.slow
def test_nothing_is_lost_at_any_time_of_the_kill(whole):
    runs, out = whole
    rng = np.random.default_rng(0)
    finished = []
    for _ in range(20):
        process = again(runs).start()
        time.sleep(rng.uniform(0.1, 3.0))
        kind = [signal.SIGKILL, signal.SIGINT, signal.SIGTERM][rng.integers(3)]
        os.killpg(process.pid, kind) if rng.random() < 0.5 else process.send_signal(kind)
        process.communicate()
        finished.append(process.returncode == 0)
        code, printed, err = runs.run()
        assert (code, printed) == (0, out), err
    assert not all(finished)  # some signals came before the end, or this shows nothing


def test_two_sweeps_at_once_in_one_folder_agree(whole):
    runs, out = again(whole[0]), whole[1]
    both = [runs.start(), runs.start()]
    for process in both:
        printed, err = process.communicate(timeout=120)
        assert (process.returncode, printed) == (0, out), err
    assert len(list(runs.cache.iterdir())) == 8  # nothing half written is left
    runs.diary.write_text("")
    assert runs.run()[:2] == (0, out) and runs.diary.read_text() == ""  # every file is valid


def test_a_disk_that_is_full_ends_in_one_error_and_the_same_call_goes_on(whole):
    runs, out = again(whole[0]), whole[1]
    # 4096 bytes: the diary is smaller, a result is not
    code, printed, err = runs.run(setup="ulimit -f 8; export LC_ALL=C")
    assert code != 0 and printed == ""
    assert "OutputError: cannot write" in err and "File too large.  Free some space" in err
    assert list(runs.cache.glob("*.result")) == []
    assert runs.run()[:2] == (0, out)


@pytest.mark.slow
def test_clocks_zones_and_processes_do_not_matter(whole, tmp_path):
    runs, out = again(whole[0]), whole[1]
    jump = "export TZ=Pacific/Kiritimati; export PYTHONHASHSEED=7"
    assert runs.run(setup=jump)[:2] == (0, out)
    for path in runs.cache.iterdir():  # files from the future
        os.utime(path, (4e9, 4e9))
    runs.diary.write_text("")
    assert runs.run()[:2] == (0, out) and runs.diary.read_text() == ""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_faults_on_a_cluster_are_those_of_their_tasks(backend, tmp_path):
    with cluster(backend):
        grid = {"fault": list(FAULTS), "folder": [str(tmp_path)]}
        found = dsf.sweep(faulty, grid, backend=backend, time_limit=4.0)
    assert {o.parameters["fault"]: o.status for o in found} == FAULTS
    assert of(found, "killed once").attempts == 2 and of(found, "killed always").attempts == 3
    assert of(found, "none").value == "none" and of(found, "class").value.x == 3


@contextmanager
def cluster(backend):
    """Two workers of dask or ray; skips the test where it is not installed."""
    if backend == "dask":
        distributed = pytest.importorskip("distributed", reason="the extra 'dask'")
        options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
        with distributed.LocalCluster(**options) as local, distributed.Client(local):
            yield
    else:
        ray = pytest.importorskip("ray", reason="the extra 'ray'")
        ray.init(num_cpus=2, include_dashboard=False)
        try:
            yield
        finally:
            ray.shutdown()
