"""The figure runner under faults of processes and disks: nothing is lost, left over or hidden."""

from __future__ import annotations

import errno
import os
import select
import shutil
import signal
import time

import numpy as np
import pytest

# Point 2 opens a pipe, starts a process that inherits it, says so and holds the interpreter's lock.
HANGS = """
    import ctypes, subprocess
    if n == 2:
        pipe = os.open(DIARY.with_name("pipe"), os.O_WRONLY)
        subprocess.Popen(["sleep", "600"], pass_fds=[pipe])
        os.write(pipe, b"up")
        {then}
"""
LOCKED = "ctypes.PyDLL(None).sleep(600)"


def test_a_run_that_was_killed_resumes(two_houses):
    whole, cut = two_houses
    for house in (whole, cut):
        house.add("slow", "import time; time.sleep(0.3)")
    assert whole.run()[0] == 0

    process = cut.start()
    while cut.diary.read_text().count("point") < 3:
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not cut.file("slow", ".json").exists()
    # One of the points it kept is damaged besides.
    kept = sorted(cut.out.rglob("*.points/*/*.result"))
    kept[0].write_bytes(kept[0].read_bytes()[:-20])

    assert cut.run()[0] == 0
    assert cut.results("slow") == whole.results("slow")
    # Computed twice: the damaged point, and the one under way when the kill came.
    assert cut.diary.read_text().count("point") <= 6 + 2
    assert not list(cut.out.rglob("*.points"))


@pytest.mark.slow
def test_nothing_is_lost_at_any_time_of_the_kill(two_houses):
    whole, cut = two_houses
    for house in (whole, cut):
        house.add("slow", "import time; time.sleep(0.1)")
    assert whole.run()[0] == 0
    rng = np.random.default_rng(0)
    finished = []
    for _ in range(20):
        shutil.rmtree(cut.out, ignore_errors=True)
        process = cut.start()
        time.sleep(rng.uniform(0.1, 2.5))
        os.killpg(process.pid, signal.SIGKILL if rng.random() < 0.5 else signal.SIGINT)
        process.communicate()
        finished.append(cut.file("slow", ".json").exists())
        assert cut.run()[0] == 0
        assert cut.results("slow") == whole.results("slow")
    assert not all(finished)  # some kills came before the end, or this shows nothing


@pytest.fixture
def pipe(house):
    """The reading end of a pipe of the house: it ends when no process holds the other end."""
    os.mkfifo(house.folder / "pipe")
    end = os.open(house.folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    yield end
    os.close(end)


def read(pipe):
    """What is written into the pipe next, b"" when it has ended."""
    assert select.select([pipe], [], [], 30)[0], "a process is still there after 30 s"
    return os.read(pipe, 100)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"])
def test_no_process_outlives_the_runner(house, pipe, name):
    house.add("hangs", HANGS.format(then=LOCKED))
    process = house.start()
    assert read(pipe) == b"up"
    process.send_signal(signal.Signals[name])
    _, err = process.communicate(timeout=30)
    assert read(pipe) == b""
    if name != "SIGKILL":
        assert process.returncode == 130 and "resumes" in err


@pytest.mark.parametrize("then", [LOCKED, "raise RuntimeError('no square today')", "pass"])
def test_no_process_outlives_its_figure(house, pipe, then):
    house.add("leaves", HANGS.format(then=then))
    code, _, _ = house.run_apart("--time-limit", "10")
    assert code == (0 if then == "pass" else 1)
    assert read(pipe) == b"up" and read(pipe) == b""


def test_a_run_that_ignores_the_hangup_of_its_terminal_goes_on(house):
    house.add("slow", "import time; time.sleep(0.3)")
    process = house.start(setup="trap '' HUP")
    while "point" not in house.diary.read_text():
        time.sleep(0.02)
    process.send_signal(signal.SIGHUP)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "6 squares" in out


def test_a_process_killed_from_outside_is_started_again(house):
    once = "flag = DIARY.with_name('once'); n == 2 and not flag.exists() and ("
    house.add("victim", once + "flag.touch(), os.kill(os.getpid(), 9))")
    code, out, _ = house.run()
    assert code == 0 and "started again" in out
    assert house.notes("victim imported") == 2 and house.notes("victim point 1") == 1


def test_a_figure_that_hangs_is_a_failure(house):
    house.add("hangs", "import time; time.sleep(60)")
    code, _, err = house.run_apart("--time-limit", "2")
    assert code == 1 and "time limit of 2 s" in err


def test_a_process_that_is_always_killed_is_started_three_times(house):
    house.add("victim", "os.kill(os.getpid(), 9)")
    code, _, err = house.run()
    assert code == 1 and "ended by signal 9, 3 times" in err
    assert house.notes("victim imported") == 3


@pytest.mark.parametrize("end", ["os._exit(0)", "raise SystemExit"])
def test_a_process_that_ends_without_a_record_is_a_failure(house, end):
    source = house.add("quits", end)
    code, _, err = house.run()
    assert (
        code == 1
        and "quits: FAILED: it ended with exit code 0 and left no new, intact record" in err
    )

    # The same where an earlier record is still there.
    source.write_text(source.read_text().replace(end, "pass"))
    assert house.run()[0] == 0
    before = house.results("quits")
    source.write_text(source.read_text().replace("pass", end))
    code, _, err = house.run()
    assert code == 1 and "no new, intact record" in err
    assert house.results("quits") == before


def test_a_result_that_is_damaged_at_once_is_a_failure(house):
    damage = "lambda: (Path(sys.argv[-1]) / 'euclid' / 'loose.csv').write_text('')"
    house.add("loose", more=f"\nimport atexit, sys\n\natexit.register({damage})\n")
    code, _, err = house.run()
    assert code == 1 and "no new, intact record" in err


def test_a_log_stays_only_with_a_failure(house):
    source = house.add("good")
    assert house.run()[0] == 0
    good = source.read_text()
    source.write_text(good.replace("pass", "raise RuntimeError('no square today')"))
    assert house.run()[0] == 1 and house.file("good", ".log").exists()
    source.write_text(good)  # the first result is up to date again
    assert house.run()[0] == 0 and not house.file("good", ".log").exists()
    assert house.notes("good point 0") == 1


@pytest.mark.parametrize("place", ["out", "out/smoke", "out/smoke/euclid"])
def test_a_file_in_the_place_of_a_folder_is_named(house, place):
    house.add("good")
    file = house.folder / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")
    code, out, err = house.run()
    assert code == 2 and err.count("\n") == 1 and out == ""
    assert f"{file} is a file" in err and "--out" in err
    assert file.read_text() == "mine" and house.notes("good imported") == 0


def refused(number):
    def call(*_, **__):
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_made_is_one_sentence(house, monkeypatch, number):
    house.add("good")
    monkeypatch.setattr(os, "mkdir", refused(number))
    code, out, err = house.run()
    assert code == 2 and err.count("\n") == 1 and out == ""
    assert f"cannot write {house.out / 'smoke'}: {os.strerror(number)}" in err and "--out" in err


def test_a_folder_without_permission_is_one_sentence(house):
    house.add("good")
    house.out.mkdir()
    house.out.chmod(0o555)
    if os.access(house.out, os.W_OK):
        pytest.skip("permissions do not bind this user")
    code, out, err = house.run()
    assert code == 2 and err.count("\n") == 1 and out == ""
    assert os.strerror(errno.EACCES) in err and "--out" in err


def test_a_log_that_cannot_be_written_is_one_sentence(house):
    house.add("good")
    house.file("good", ".log").mkdir(parents=True)
    code, _, err = house.run()
    assert code == 2 and err.count("\n") == 1
    assert f"cannot write {house.file('good', '.log')}" in err


def test_the_report_is_printed_although_the_gallery_cannot_be_written(house, monkeypatch):
    house.add("good")
    assert house.run()[0] == 0
    monkeypatch.setattr(os, "fsync", refused(errno.ENOSPC))
    code, out, err = house.run()
    assert code == 2 and err.count("\n") == 1 and "6 squares" in out
    assert "index.html" in err and os.strerror(errno.ENOSPC) in err and "Free some space" in err


def test_a_disk_that_is_full_for_a_figure_is_named(house):
    full = "\ndef full(_):\n    raise OSError(28, os.strerror(28))\n\n\nos.fsync = full\n"
    source = house.add("large", more=full)
    code, _, err = house.run()
    assert code == 1 and "large: FAILED" in err and os.strerror(28) in err
    assert "Free some space" in err
    source.write_text(source.read_text().replace(full, ""))
    assert house.run()[0] == 0


# No file may grow: neither those of the runner nor, in the first case, one of the figure itself.
@pytest.mark.parametrize("setup", ["ulimit -f 0", "ulimit -f 0; export DIARY=/dev/null"])
def test_a_disk_that_is_full_even_for_the_log_is_named(house, setup):
    house.add("large")
    code, _, err = house.run_apart(setup=setup)
    assert code == 2 and "Traceback" not in err
    assert "large: FAILED: cannot write its files, nor why into its log" in err
    assert "full text" not in err
    assert f"cannot write {house.out / 'index.html'}: " in err
    assert house.run()[0] == 0


MARKERS = """
def draw(table):
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().plot([n * n % 97 for n in range(3000)], "o")
    return figure
"""


def test_points_that_were_kept_before_the_disk_was_full_are_taken(house):
    house.add("large", more=MARKERS)
    # 40960 bytes: points and the page are smaller, this picture is not
    code, _, err = house.run_apart(setup="ulimit -f 80")
    assert code == 1 and "large: FAILED" in err and os.strerror(errno.EFBIG) in err
    assert house.run()[0] == 0
    assert house.notes("large point 0") == 1
