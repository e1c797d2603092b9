"""Figures: one file per figure, in a folder per paper.  `make figures` builds them all.

A figure is a module `figures/<paper>/<name>.py` (no leading underscore) that defines

    TITLE       a short sentence                                                    (literal string)
    PAPER       what the paper says, with its source                                (literal string)
    DIFFERS     what differs from the paper; "" if nothing                          (literal string)
    ORDER       place in the gallery, a number                                     (literal number)
    THEOREMS    optional: theorem tests it bears on, ("svm/rank_lemma", ...)      (literal tuple)
    SEED        optional: the root of its random streams                          (literal integer)
    PARAMETERS  {"smoke": {...}, "default": {...}, "paper": {...}}: what each profile computes
    compute(profile) -> Table       the numbers; rows as dicts, or Table(rows), or sweep(...)
    draw(table) -> Figure           the picture, from the table alone
    SEE         two sentences: what to see in the picture                          (literal string)
    findings(table) -> [Finding, ...]   for each thing that the paper says what was measured, and a
                verdict: made by `number`, `statement`, `unknown` or `derived`

and it imports matplotlib only inside `draw`.  The runner calls `compute`, writes the table as CSV,
reads it back, and hands what it read to `draw` and `findings`: the CSV holds everything that is
shown.  `draw` runs inside `dsf.style()`; it makes its figure with `plt.subplots` or `Figure` and
returns it.  Cells are int, float, bool, str or None.

    from dsf.figures import Table, sweep

    PARAMETERS = {"smoke": {"lengths": [8]}, "default": {"lengths": [8, 64, 512]}}

    def one(length, seed):                              # a dict, or a list of dicts
        return {"gap": ...}

    def compute(profile):
        grid = [{"length": L, "seed": 0} for L in PARAMETERS[profile]["lengths"]]
        return sweep(one, grid)                         # rows {"length", "seed", "gap"}

`sweep` is `dsf.sweep` for rows of cells: it keeps each finished point on disk, so that a run that
was killed resumes where it stopped.  Everything that varies has to be in the grid: it is the key
under which a point is kept.

A paper's number is matched or not, a statement without one holds or not, and where nothing is known
nothing is claimed.  The thresholds of these rules are named constants with a reason, and the smoke
profile is large enough for them, or its rows say that they cannot decide.

For each figure the runner writes figures/build/<profile>/<paper>/<name>.csv, .png, .svg, .small.png
and, last, .json: the findings, the provenance, and the checksums of the others.  A figure is up to
date when this record is intact and was made by the same sources (the figure, `figures/runner`, and
all of `dsf`, `dsf.solvers`, `dsf.kernels`), the same profile and the same library versions.  Each
figure is computed in a process of its own, with one thread.

Profile `paper` may take hours.  It is run once with `--keep`: its table and record are kept in
figures/<paper>/results/ and are drawn, and judged again, with every other profile.  Where such a
profile computes a part of them again, the finding `again` says so, and stands with the kept ones.
"""

from dsf.figures.runner.findings import (
    AGAIN,
    VERDICTS,
    Finding,
    again,
    derived,
    number,
    overall,
    statement,
    tally,
    unknown,
)
from dsf.figures.runner.sweep import sweep
from dsf.figures.runner.table import Table

__all__ = [
    "AGAIN",
    "VERDICTS",
    "Finding",
    "Table",
    "again",
    "derived",
    "number",
    "overall",
    "statement",
    "sweep",
    "tally",
    "unknown",
]
