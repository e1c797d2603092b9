"""Scan and Snap on the co-occurrences of a real text: Python's own help topics."""

from __future__ import annotations

import re
from collections import Counter
from pydoc_data.topics import topics

import numpy as np
import pytest

from dsf.solvers.dynamics.scan_snap import Classes, reduced_flow

statement = (
    "In the reduced flow every token that only one class uses gains attention, and r_l(t)/r_l(0) = "
    "e^{2 z_l0} for the relative gain over each other such token, whatever the co-occurrences."
)
reference = "tian2023, theorems 2 and 3; here with counts of a text instead of drawn classes"
falsified_by = "a distinct token that loses attention, or gains that depend on the other token"

TIMES = np.array([0.0, 1.0, 1e2, 1e4, 1e6])


def text_classes(K: int = 4, tokens: int = 80, window: int = 6) -> Classes:
    """The K most frequent words of more than six letters as next tokens; P counts the words among
    the `tokens` most frequent others that stand up to `window` places before them."""
    words = re.findall(r"[a-z]+", " ".join(topics[k] for k in sorted(topics)).lower())
    frequent = [w for w, _ in Counter(words).most_common(600)]
    following = [w for w in frequent if len(w) > 6][:K]
    context = [w for w in frequent if w not in following]
    counts = np.zeros((K, len(context)))
    place, row = ({w: i for i, w in enumerate(part)} for part in (context, following))
    for t, word in enumerate(words):
        if word in row:
            for before in words[max(0, t - window) : t]:
                if before in place:
                    counts[row[word], place[before]] += 1
    # the words that stand before these classes most often, whichever they are
    counts = counts[:, np.argsort(-counts.sum(0), kind="stable")[:tokens]]
    return Classes(counts / counts.sum(1, keepdims=True))


def claim(K: int = 4, tokens: int = 200, eta_Y: float = 10.0):
    """The largest relative departure of r(t)/r(0) from e^{2 z_l0} over classes, tokens, times."""
    classes = text_classes(K, tokens)
    flow = reduced_flow(classes, eta_Y, 1.0, TIMES)
    worst = 0.0
    for n in range(K):
        own = np.flatnonzero(~classes.common & (classes.P[n] > 0))
        lead = own[np.argmax(classes.P[n, own])]
        rest = own[classes.P[n, own] < classes.P[n, lead]]
        c = np.array([classes.attention(z)[n] for z in flow.z])
        ratio = (c[:, [lead]] / c[:, rest]) ** 2 - 1
        gain = ratio / ratio[0] / np.exp(2 * flow.z[:, n, lead])[:, None]
        worst = max(worst, float(np.abs(gain - 1).max(initial=0.0)))
    return worst, 0.0, 1e-7


@pytest.mark.parametrize("eta_Y", [1.0, 10.0])
def test_gain_does_not_depend_on_the_other_token(eta_Y: float) -> None:
    computed, theory, tolerance = claim(eta_Y=eta_Y)
    assert abs(computed - theory) <= tolerance


def test_distinct_words_gain_attention() -> None:
    classes = text_classes(tokens=200)
    distinct = (classes.P > 0) & ~classes.common
    pairs = distinct.sum(1)
    assert np.all(pairs >= 2) and classes.common.sum() > 10  # the text has both kinds
    z = reduced_flow(classes, 1.0, 1.0, TIMES).z[1:]
    assert np.all(z[:, distinct] > 0)
    # some common word loses attention in every class
    assert np.all((z[-1] < 0).any(axis=1))
