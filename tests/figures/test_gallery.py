"""Every figure in the smoke profile: computed, read back, judged and drawn; never its pixels."""

from __future__ import annotations

import pytest

from dsf.figures import VERDICTS
from dsf.figures.runner.catalogue import catalogue
from dsf.tools.style import style

GOOD, PART, BAD, OPEN = VERDICTS
# the gallery in its order, and what each figure says here; another verdict has to be looked at
KNOWN = {
    "dsf": {
        "lattice": GOOD, "states_needed": GOOD, "linear_vs_softmax": OPEN, "gauge": GOOD,
        "memory": OPEN, "reversed_sigmoid": GOOD, "text_states": OPEN,
    },
    "svm": {
        "global_convergence": PART, "local_convergence": PART, "rank": PART, "gd_paths_a": PART,
        "gd_paths_b": GOOD, "gen_svm": PART, "mmts_single": GOOD, "mmts_multi": BAD,
        "mmts_joint": GOOD, "mmts_losses": PART, "mirror_descent": PART,
    },
    "dynamics": {  # trainings of twenty steps are too few to judge
        "scan_snap_growth": PART, "sink_flows": PART, "syn_small": GOOD, "syn_medium": GOOD,
        "syn_adam": PART, "bigram_backcopy": OPEN, "sink_operations": OPEN, "deconstructed": OPEN,
        "deconstructed_maps": OPEN, "entropy_dilution": OPEN, "ssa_matrix_norm": OPEN,
        "adam_vs_sgd": GOOD, "clipped_softmax": OPEN, "gate_positions": OPEN, "visual_sinks": OPEN,
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

    text, verdict = figure(name).measured(table(name))
    assert verdict == known and "nan" not in text, text
    with style():
        drawn = figure(name).draw(table(name))
        assert isinstance(drawn, Figure)
        drawn.canvas.draw()
        assert drawn.get_size_inches()[0] <= 6.75
    plt.close(drawn)
