"""Every figure in the smoke profile: computed, read back, judged and drawn; never its pixels."""

from __future__ import annotations

import pytest

from dsf.figures import VERDICTS, overall
from dsf.figures.runner.catalogue import catalogue
from dsf.tools.style import style

NUMBER, STATEMENT, FAILS, OPEN = VERDICTS
# the gallery in its order, and what each figure says here; another verdict has to be looked at
KNOWN = {
    "dsf": {
        "lattice": STATEMENT, "states_needed": STATEMENT, "linear_vs_softmax": OPEN,
        "gauge": STATEMENT, "memory": OPEN, "reversed_sigmoid": STATEMENT, "text_states": OPEN,
    },
    "svm": {
        "global_convergence": FAILS, "local_convergence": FAILS, "rank": FAILS, "gd_paths_a": FAILS,
        "gd_paths_b": STATEMENT, "gen_svm": FAILS, "mmts_single": STATEMENT, "mmts_multi": FAILS,
        "mmts_joint": STATEMENT, "mmts_losses": FAILS, "mirror_descent": FAILS,
    },
    "dynamics": {
        "scan_snap_growth": FAILS, "sink_flows": FAILS, "syn_small": STATEMENT,
        "syn_medium": STATEMENT, "syn_adam": FAILS, "bigram_backcopy": OPEN,
        "sink_operations": OPEN, "deconstructed": OPEN, "deconstructed_maps": OPEN,
        "entropy_dilution": OPEN, "ssa_matrix_norm": OPEN, "adam_vs_sgd": STATEMENT,
        "clipped_softmax": OPEN, "gate_positions": OPEN, "visual_sinks": OPEN,
        "soft_injection": OPEN,
    },
}  # fmt: skip
FIGURES = [  # name, verdict
    pytest.param(f"{paper}/{name}", v, marks=[pytest.mark.solver] * (paper == "svm"))
    for paper, known in KNOWN.items()
    for name, v in known.items()
]


@pytest.mark.parametrize("paper", KNOWN)
def test_the_gallery_has_the_figures_in_order(paper):
    found = [f for f in catalogue("dsf.figures") if f.name.startswith(f"{paper}/")]
    assert [f.name for f in found] == [f"{paper}/{name}" for name in KNOWN[paper]]
    texts = [f.literals() for f in found]
    assert all(t["PAPER"] and (t["DIFFERS"] or paper == "svm") for t in texts)
    assert [t["ORDER"] for t in texts] == sorted({t["ORDER"] for t in texts})


def test_the_gallery_holds_nothing_but_figures():
    assert {f.name.partition("/")[0] for f in catalogue("dsf.figures")} == set(KNOWN)


@pytest.mark.parametrize("name, known", FIGURES)
def test_every_figure_is_computed_judged_and_drawn(name, known, figure, table):
    import matplotlib.pyplot as plt
    from matplotlib.figure import Figure

    found = figure(name).findings(table(name))
    assert overall(f.verdict for f in found) == known, found
    assert not any("nan" in f.ours for f in found), found
    with style():
        drawn = figure(name).draw(table(name))
        assert isinstance(drawn, Figure)
        drawn.canvas.draw()
        assert drawn.get_size_inches()[0] <= 6.75
    plt.close(drawn)
