"""A function call in a process of its own, which a solver may crash or hang without ending ours.

    call("dsf.solvers.svm.cones:solve_cone", time_limit, **arguments) -> what it returned

The child is started afresh (no fork of loaded solver libraries) and talks through pickles of plain
data on its standard streams.
"""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from typing import Any

CHILD = """
import importlib, os, pickle, sys
out = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # whatever a solver prints must not reach the answer
target, arguments = pickle.load(sys.stdin.buffer)
module, name = target.split(":")
answer = getattr(importlib.import_module(module), name)(**arguments)
pickle.dump(answer, out)
out.close()
"""


class SolverFailure(Exception):
    """The child crashed, hung or raised; the text says which and is recorded with the attempt."""


def call(target: str, time_limit: float, /, **arguments: Any) -> Any:
    """What `module:function` returns for the arguments, computed in a child process.

    Raises SolverFailure if it is killed by a signal, raises, or gives no answer within
    `time_limit` seconds.

    >>> call("math:fsum", 60.0)
    Traceback (most recent call last):
    dsf.solvers.svm.isolated.SolverFailure: raised TypeError: ...
    """
    try:
        run = subprocess.run(
            [sys.executable, "-P", "-c", CHILD],
            input=pickle.dumps((target, arguments)),
            capture_output=True,
            timeout=time_limit,
            check=False,
        )
    except subprocess.TimeoutExpired as e:
        raise SolverFailure(f"no answer within the time limit of {time_limit:g} s") from e
    if run.returncode < 0:
        raise SolverFailure(f"crashed: {signal.Signals(-run.returncode).name}")
    if run.returncode > 0:
        lines = run.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise SolverFailure(f"raised {lines[-1][:80]}")
    return pickle.loads(run.stdout)
