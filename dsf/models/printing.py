"""An inspection as text: the summary first, then a line per head."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from dsf.core.result import Item, Section, Text
from dsf.models.head import NEAR, Head
from dsf.models.verdict import CROSS, KEEP, NONE, RECURRENT, SHORT, WINDOW

if TYPE_CHECKING:
    from dsf.models.inspection import Inspection

WORDS = (RECURRENT, WINDOW, KEEP, SHORT, CROSS, NONE)
FEW = 40  # lines of the table
LOOKS = (
    "sink, prev, ind: mean weight on the first token, the token before, and what",
    "followed earlier copies of a token; the largest over the inputs",
)
LEGEND = (
    "own: states that the layer keeps; dist: mean distance of what an output depends",
    "on; growth: the most that a change of the first state grows on its way",
)
NAMES = 16  # columns of the module's name
COUNT, COLUMNS = 9, 3  # columns of a count; counts in a line
SCOPE = (
    "Scope: counts are proved for these inputs, frozen: a linear recurrence whose coefficients may "
    "depend on the whole input, errors in the operator norm. Other texts may need more."
)


@dataclass(frozen=True)
class Lines:
    """Lines that are already set."""

    rows: tuple[str, ...]

    def lines(self) -> list[str]:
        return list(self.rows)

    def html(self) -> str:
        return f"<pre>{escape(chr(10).join(self.rows))}</pre>"


def headline(found: Inspection) -> str:
    parts = []
    if found.heads or not found.layers:
        modules = len({row.module for row in found.rows})
        parts = [f"{many(len(found.heads), 'head')} in {many(modules, 'module')}"]
    if found.layers:
        layers = {(row.module, row.call) for row in found.layers}
        other = "other layer" if found.heads else "layer"
        parts += ["the model as a whole" if _whole(found) else many(len(layers), other)]
    lengths = sorted({r.tokens for r in found.rows} | {r.tokens for r in found.layers})
    tokens = "-".join(map(str, dict.fromkeys((lengths[0], lengths[-1])))) if lengths else "0"
    return ", ".join([*parts, f"{tokens} token{'s' * (tokens != '1')}"])


def outcome(found: Inspection) -> str:
    """Whether both counts are proved, of all rows that could be counted."""
    layers = [row for row in found.layers if row.states]
    if not layers and not any(row.states for row in found.rows):
        return "nothing counted"
    return "enclosed" if all(row.how == "kernel" for row in layers) else "partly enclosed"


def _whole(found: Inspection) -> bool:
    return any(row.kind == "whole" for row in found.layers)


def many(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def sections(found: Inspection) -> Sequence[Section]:
    notes = [Item(note, 2, 4) for note in [*found.notes, *_notes(found)]]
    return [
        Text([Item(line) for line in _verdicts(found)]), Lines(tuple(_counts(found))),
        Lines(tuple(_table(found))), Lines(tuple(_layers(found))), Text(notes, "notes"),
        Text([Item(SCOPE)]),
    ]  # fmt: skip


def _rule(budget: int) -> dict[str, str]:
    """What each word of a verdict says."""
    return {
        RECURRENT: f"recurrent: at most {budget} states suffice",
        WINDOW: f"window: all that is w or more tokens away weighs at most the error, w <= {NEAR} "
        "and half of the tokens",
        KEEP: "keep: neither recurrent nor a window",
        SHORT: f"too short: fewer than {4 * budget} tokens; half as many states as tokens suffice "
        "always",
        CROSS: "cross attention: on keys of another sequence, so no recurrence along one",
        NONE: "not counted: see notes",
    }


def _verdicts(found: Inspection) -> list[str]:
    counts = Counter(v.word for v in found.verdicts.values())
    if not counts:
        return []
    if set(counts) <= {NONE, CROSS}:
        return ["no head could be counted"]
    words = [f"{counts[w]} {w}" for w in WORDS if counts[w]]
    decided = Counter(v.probe for v in found.verdicts.values() if v.probe)
    lines = [
        f"verdict at error {min(found.rtol):g} |M|, by the worst input: {', '.join(words)}",
        f"({'; '.join(_rule(found.budget)[w] for w in WORDS if counts[w])})",
    ]
    if len(found.probes) > 1:
        most = ", ".join(f"{name} for {many(n, 'head')}" for name, n in decided.most_common())
        lines.append(f"the worst input: {most} (the first of equals)")
    return lines


def _counts(found: Inspection) -> list[str]:
    """A line per input and error: how the heads' counts are spread."""
    lines = []
    for probe in found.probes:
        rows = [row for row in found.rows if row.probe == probe and row.states]
        several = len({row.sequence for row in rows})
        name = f"{probe} x {several}" if several > 1 else probe
        for e in found.rtol:
            if rows:
                low, high = (np.array([row.states[e][i] for row in rows]) for i in (0, 1))
                cells = [
                    _span(low.min(), high.min()),
                    *(f"{np.quantile(high, q):g}" for q in (0.5, 0.9)),
                    _span(low.max(), high.max()),
                ]  # fmt: skip
                counts = "".join(f"{c:>11}" for c in cells)
                lines.append(f"{name:12}{e:<9g}{counts}{_growth(rows, e):>14}".rstrip())
                name = ""
    if not lines:
        return []
    head = "".join(f"{c:>11}" for c in ("least", "median", "nine in 10", "most"))
    more = f"{'per doubling':>14}" if any(row.prefixes for row in found.rows) else ""
    return [f"{'states on':12}{'error':9}{head}{more}", *lines]


def _growth(rows: Sequence[Head], e: float) -> str:
    slopes = [s for row in rows if (s := row.slope(e)) is not None]
    return f"{np.median(slopes):+.1f}" if slopes else ""


def _notes(found: Inspection) -> list[str]:
    alike: dict[str, list[Head]] = {}
    for row in found.rows:
        if row.note:
            alike.setdefault(row.note, []).append(row)
    notes = [f"{_whose(rows)}: {note}" for note, rows in alike.items()]
    notes += [f"{row.module or 'the model'} on {row.probe}: {row.note}"
              for row in found.layers if row.note]  # fmt: skip
    first = {row.module: row.leak for row in reversed(found.layers) if row.leak is not None}
    notes += [f"{name or 'the model'}: output {i} depends on the later token {j}"
              for name, (i, j) in first.items()]  # fmt: skip
    if any(row.how in ("blocks", "sketch") for row in found.layers):
        notes.append("how: blocks, sketch: only the necessary states are proved (`Row`)")
    leaks = [row for row in found.rows if row.leak is not None]
    if leaks:
        i, j = leaks[0].leak or (0, 0)
        heads = len({row.place for row in leaks})
        notes.append(
            f"{heads} head{'s look' if heads > 1 else ' looks'} at later tokens, e.g. "
            f"{leaks[0].module or 'the model'} head {leaks[0].head}: token {i} at {j}; such counts "
            "are those of both directions together"
        )
    few = [*notes[:FEW]]
    return few if len(few) == len(notes) else [*few, f"and {len(notes) - FEW} more"]


def _whose(rows: Sequence[Head]) -> str:
    first = f"{rows[0].module or 'the model'} head {rows[0].head}"
    which = first if len(rows) == 1 else f"{len(rows)} rows of heads, the first {first},"
    return f"{which} on {', '.join(dict.fromkeys(row.probe for row in rows))}"


def _table(found: Inspection) -> list[str]:
    def worst(rows: Sequence[Head], e: float) -> int:
        return max((row.states[e][1] for row in rows if row.states), default=-1)

    first, last = min(found.rtol), max(found.rtol)
    heads = [(p, rows) for p, rows in found.heads.items() if worst(rows, first) >= 0]
    if not heads:
        return []
    heads.sort(key=lambda x: (-worst(x[1], first), -worst(x[1], last)))
    columns = [(p, first) for p in found.probes][:COLUMNS]
    if len(columns) == 1:
        columns = [(found.probes[0], e) for e in found.rtol][:COLUMNS]
    before, after = _stem([p[0] for p, _ in heads])
    titles = [p if len(found.probes) > 1 else f"at {e:g}" for p, e in columns]
    what = (
        f"states at error {first:g} |M|" if len(found.probes) > 1 else f"states on {columns[0][0]}"
    )
    about = f"; module: {before}*{after}" if before or after else ""
    head = f"{'module':{NAMES}}{'head':>5}" + "".join(f"{t:>{COUNT}}" for t in titles)
    lines = [f"{what}{about}", f"{head}{'sink':>5}{'prev':>5}{'ind':>5}  verdict"]
    for place, rows in heads[:FEW]:
        cells = [_span(*_worst([r for r in rows if r.probe == p], e)) for p, e in columns]
        looks = [_largest(rows, name) for name in ("sink", "previous", "induction")]
        name = place[0][len(before) : len(place[0]) - len(after)] or "model"
        name += f" call {place[1] + 1}" if place[1] else ""
        counts = "".join(f"{c:>{COUNT}}" for c in cells)
        line = f"{short(name):{NAMES}}{place[2]:>5}{counts}{''.join(looks)}"
        lines.append(f"{line}  {found.verdicts[place]}")
    if len(heads) > FEW:
        lines.append(f"{len(heads) - FEW} more heads, none with more states: .to_pandas()")
    return [*lines, *LOOKS]


def _layers(found: Inspection) -> list[str]:
    """A line per layer, probe and sequence."""
    if not found.layers:
        return []
    errors = dict.fromkeys((found.rtol[0], found.rtol[-1]))
    before, after = _stem([row.module for row in found.layers])
    counts = "".join(f"{f'at {e:g}':>{COUNT}}" for e in errors)
    lines = [f"layer: {before}*{after}"] if before or after else []
    lines += [f"{'layer':{NAMES}}{'kind':>12}{'own':>6}{counts}{'dist':>7}{'growth':>9}  how"]
    probe = ""
    for row in found.layers[:FEW]:
        if len(found.probes) > 1 and row.probe != probe:
            probe = row.probe
            lines.append(f"on {probe}")
        cells = [_span(*row.states[e]) if row.states else "-" for e in errors]
        own = "-" if row.own is None else str(row.own)
        rest = "".join(f"{'-' if x is None else f'{x:.3g}':>{w}}"
                       for x, w in ((row.horizon, 7), (row.growth, 9)))  # fmt: skip
        name = row.module[len(before) : len(row.module) - len(after)] or "model"
        name += f" call {row.call + 1}" if row.call else ""
        line = f"{short(name):{NAMES}}{row.kind[:11]:>12}{own:>6}"
        lines.append(f"{line}{''.join(f'{c:>{COUNT}}' for c in cells)}{rest}  {row.how}")
    if len(found.layers) > FEW:
        lines.append(f"{len(found.layers) - FEW} more rows: .to_pandas()")
    return [*lines, *LEGEND]


def _worst(rows: Sequence[Head], e: float) -> tuple[int, int] | tuple[None, None]:
    counts = [row.states[e] for row in rows if row.states]
    if not counts:
        return None, None
    return max(c[0] for c in counts), max(c[1] for c in counts)


def _largest(rows: Sequence[Head], name: str) -> str:
    known = [x for row in rows if (x := getattr(row, name)) is not None]
    return f"{max(known):>5.2f}" if known else f"{'-':>5}"


def _span(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "-"
    return f"{low:g}" if low == high else f"{low:g}..{high:g}"


def _stem(names: Sequence[str]) -> tuple[str, str]:
    """What all names begin and end with, in whole words: ("model.layers.", ".self_attn")."""
    words = [name.split(".") for name in dict.fromkeys(names)]
    if len(words) < 2:
        return "", ""
    least = min(map(len, words)) - 1
    same = lambda i: len({w[i] for w in words}) == 1  # noqa: E731
    before = next((i for i in range(least) if not same(i)), least)
    after = next((i for i in range(least - before) if not same(-1 - i)), least - before)
    first = words[0]
    return "".join(f"{w}." for w in first[:before]), "".join(
        f".{w}" for w in first[len(first) - after :]
    )


def short(name: str) -> str:
    """The last words of a name that fit NAMES columns; numbers tell layers apart there."""
    if len(name) < NAMES:
        return name
    before, fits = name[: 4 - NAMES], name[4 - NAMES :]
    whole = fits if before.endswith(".") else fits.partition(".")[2]
    return f"...{whole or fits}"  # a word is cut only where there is no other
