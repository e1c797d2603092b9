"""Whether a head can become recurrent: one rule for what was counted, the worst probe decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dsf.models.head import NEAR, Head

RECURRENT, WINDOW, KEEP, SHORT, NONE = "recurrent", "window", "keep", "too short", "not counted"
CROSS = "cross attention"


@dataclass(frozen=True)
class Verdict:
    """What the rule says of a head: a word, its number, and the probe with most states.

    The rule goes by the smallest error.  |M|_2 of a head that looks at one token from everywhere is
    about the square root of the tokens, so a tenth of it hides what else the head does.

    recurrent(n)     n states suffice on every probe, and n <= budget
    window(w)        not that; what is w or more tokens away weighs at most rtol |M| on every probe,
                     with w at most 32 and half of the tokens: all of them are always enough
    keep             neither
    too short        the budget is more than a quarter of the tokens: half of them suffices always
    cross attention  its keys are of another sequence: no map of a sequence to itself
    not counted      a probe on which it could not be counted: nothing holds on every one
    """

    word: str
    size: int | None = None
    probe: str = ""

    def __str__(self) -> str:
        return self.word if self.size is None else f"{self.word}({self.size})"


def judge(rows: Sequence[Head], rtol: float, budget: int) -> Verdict:
    """The verdict on one head from its rows, by the counts at the error `rtol`.

    >>> row = Head("a", 0, 0, "sdpa", 4, 0, "text", 0, 64, states={0.1: (2, 3)}, window={0.1: 60})
    >>> str(judge([row], 0.1, 16)), str(judge([row], 0.1, 2)), str(judge([row], 0.1, 17))
    ('recurrent(3)', 'keep', 'too short')
    >>> from dataclasses import replace
    >>> [str(judge([replace(row, window={0.1: w})], 0.1, 2)) for w in (32, 33)]
    ['window(32)', 'keep']
    """
    if all(row.cross for row in rows):
        return Verdict(CROSS)
    if not all(row.states for row in rows):
        return Verdict(NONE)
    worst = max(rows, key=lambda row: row.states[rtol][1])
    n, tokens = worst.states[rtol][1], min(row.tokens for row in rows)
    if 4 * budget > tokens:
        return Verdict(SHORT, None, worst.probe)
    if n <= budget:
        return Verdict(RECURRENT, n, worst.probe)
    widest = max(row.window[rtol] for row in rows)
    if widest <= min(NEAR, tokens // 2):
        return Verdict(WINDOW, widest, worst.probe)
    return Verdict(KEEP, None, worst.probe)
