"""What the figures on local linear attention find: the smoke profile, and tables on either side
of each rule.

Training is too short in the smoke profile to be judged; its rules are tried on a table made here.
"""

from __future__ import annotations

import numpy as np
import pytest
from changes import both, put, times

from dsf.figures import Table
from dsf.figures.local_linear import segments, trained
from dsf.solvers.local_linear.experiments import MODELS, relative_errors
from dsf.solvers.local_linear.experiments import segments as stream
from dsf.solvers.local_linear.learning import MIXERS, TASKS, Recall, Regression, Tracking, train

BAD = "does not hold"
LETTERS = {
    "matches the number": "N", "matches the statement": "S", BAD: "-", "no value known": "o",
}  # fmt: skip
SMOKE = {
    "local_linear/rates": "NNSSo",
    "local_linear/segments": "SSS--oo",
    "local_linear/trained": "o",
}


@pytest.mark.parametrize("name", SMOKE)
def test_what_they_find(name, figure, table):
    found = figure(name).findings(table(name))
    assert "".join(LETTERS[f.verdict] for f in found) == SMOKE[name]


LATE = {"data": "segments", "d": 8}
RULES = [  # figure, first words of a finding, a change it bears, one it does not
    ("rates", "the error of the local constant", times("error", 1.0), times("error", 0.5, n=400)),
    ("rates", "the error of the local linear", times("error", 1.0), times("error", 0.5, n=400)),
    ("rates", "A global linear", times("error", 1.05, fit="line", n=400),
     times("error", 1.2, fit="line", n=400)),
    ("rates", "The local linear fit has", times("error", 1.1, fit="linear"),
     times("error", 2.0, fit="linear", n=400)),
    ("rates", "No bandwidths", times("error", 1.0),
     times("error", 1e-6, fit="linear", width=0.01)),
    ("segments", "Local linear attention keeps", times("error", 1.0),
     put("error", 0.1, model="lla", **LATE)),
    ("segments", "Softmax attention does not", put("error", 0.1, model="softmax", **LATE),
     both(*(put("error", 0.01, model="softmax", at=a, **LATE) for a in (480, 496)))),
    ("segments", "MesaNet is best", times("error", 1.0), put("error", 0.9, model="mesa", **LATE)),
    ("segments", "Local linear attention beats", put("error", 1e-9, model="lla", **LATE),
     times("error", 1.0)),
    ("segments", "The advantage", times("error", 2.0, model="softmax", d=8),
     times("error", 0.5, model="softmax", d=8)),
    ("segments", "Nothing on regions", times("error", 1.0),
     times("error", 0.01, model="deltanet", data="regions")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "words", "inside", "outside"), RULES, ids=[f"{r[0]}: {r[1]}" for r in RULES]
)
def test_every_rule_has_two_sides(name, words, inside, outside, figure, table):
    module, smoke = figure(f"local_linear/{name}"), table(f"local_linear/{name}")
    verdicts = [verdict(module, smoke, words, change) for change in (inside, outside)]
    assert verdicts[0] != BAD and verdicts[1] == BAD


def verdict(module, table, words, change):
    rows = [dict(r) for r in table]
    change(rows)
    found = [f for f in module.findings(Table(rows)) if f.paper.startswith(words)]
    assert len(found) == 1, words
    return found[0].verdict


def long_run():
    """A table of a training that went as the paper says."""
    ends = {
        "recall": {"softmax": 1.0, "lla": 1.0, "deltanet": 0.7, "deltanet to -1": 0.7},
        "tracking": {"softmax": 0.5, "lla": 0.5, "deltanet": 0.5, "deltanet to -1": 1.0},
        "regression": {"softmax": 0.5, "lla": 0.4, "deltanet": 0.5, "deltanet to -1": 0.5},
    }
    rows = []
    for task, scores in ends.items():
        for mixer, score in scores.items():
            here = {"task": task, "mixer": mixer, "seed": 0, "steps": 9, "step": 9}
            rows.append({**here, "what": "mean", "at": -1, "score": score})
            rows += [{**here, "what": "position", "at": a, "score": score}
                     for a in range(TASKS[task]().sizes[0])]  # fmt: skip
    return Table(rows)


MEAN = {"what": "mean", "mixer": "lla"}
TRAINED = [
    ("Local linear attention leads", put("score", 0.96, task="recall", **MEAN),
     put("score", 0.94, task="recall", **MEAN)),
    ("Local linear attention leads", put("score", 0.8, what="mean", mixer="softmax"),
     put("score", 0.8, task="recall", **MEAN)),
    ("In tracking", put("score", 0.54, task="tracking", **MEAN),
     put("score", 0.56, task="tracking", **MEAN)),
    ("In regression", put("score", 0.54, task="regression", **MEAN),
     put("score", 0.56, task="regression", **MEAN)),
    ("Nothing on transitions", times("score", 1.0),
     put("score", 0.98, task="tracking", what="mean", mixer="deltanet to -1")),
]  # fmt: skip


@pytest.mark.parametrize(("words", "inside", "outside"), TRAINED)
def test_the_rules_of_training_have_two_sides(words, inside, outside):
    verdicts = [verdict(trained, long_run(), words, change) for change in (inside, outside)]
    assert verdicts[0] != BAD and verdicts[1] == BAD


@pytest.mark.parametrize("mixer", MIXERS)
def test_every_mixer_trains(mixer):
    (_, before), (_, after) = train(mixer, Recall(8, 4, 3), 2, 2, width=8, batch=2, tests=4)
    assert np.isnan(before[:3]).all() and np.isfinite(after[3:]).all()


@pytest.mark.parametrize("task", [Recall(4, 2, 1), Tracking(2, 1), Regression(1, 1, 2, 1)])
def test_the_smallest_tasks(task):
    found = train("softmax", task, 0, 1, width=4, batch=1, tests=2)
    assert len(found) == 1 and found[0][1].shape == task.sizes[:1]


def test_recall_asks_for_every_key_once():
    x, y = Recall(8, 4, 3).draw(np.random.default_rng(0), 5)
    for row, wanted in zip(x, y, strict=True):
        keys, values = row[:, :8], row[:, 8:]
        assert (keys.sum(1) == 1).all() and (values.sum(1) == [1, 1, 1, 0, 0, 0]).all()
        told = {int(k.argmax()): int(v.argmax()) for k, v in zip(keys[:3], values[:3], strict=True)}
        assert [told[int(k.argmax())] for k in keys[3:]] == wanted[3:].tolist()


def test_tracking_follows_the_first_object():
    x, y = Tracking(3, 6).draw(np.random.default_rng(0), 4)
    pairs = [(0, 1), (0, 2), (1, 2)]
    for row, wanted in zip(x, y, strict=True):
        order = [0, 1, 2]
        for t, swap in enumerate(row.argmax(1)):
            a, b = pairs[swap]
            order[a], order[b] = order[b], order[a]
            assert order.index(0) == wanted[t]


def test_no_token_of_regression_knows_its_own_value():
    task = Regression(S=4, length=8, d=3, p=2)
    x, y = task.draw(np.random.default_rng(0), 2)
    assert (x[:, 1:, -2:] == y[:, :-1]).all() and (x[:, 0, 3:] == 0).all()
    assert (x[:, 1:, 3:6] == x[:, :-1, :3]).all()


def test_predictions_are_made_from_earlier_tokens():
    k, v = stream(0, 8, L=8)
    moved = v.copy()
    moved[5] += 1
    for model in MODELS:
        a, b = (segments.relative_errors(model, k, x) for x in (v, moved))
        size = [np.mean(np.sum(x * x, 1)) for x in (v, moved)]
        assert np.allclose(a[:4] * size[0], b[:4] * size[1]) and a[4] != b[4]
        assert relative_errors(model, k, v).shape == (7,)
