"""The papers: what was built of each, and how much of it holds, as one table."""

from __future__ import annotations

import difflib
import textwrap
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from dsf.core import hooks
from dsf.core.errors import UnknownNameError
from dsf.core.result import WIDTH
from dsf.tools import cite

FILE = Path(__file__).parents[1] / "papers.toml"
HOLDS, NOT, UNKNOWN = "holds", "does not hold", "no value known"  # the last two as in dsf.figures
ALL, NOT_ALL = "all hold", "not all hold"  # of a paper: what of it was judged
NOT_RUN, NOT_KEPT, NOTHING = "not run here", "no kept results", "none judged"
LINES = 9  # of one theorem; the rest is shown by `dsf theorem NAME`

# (heading, width) of the printed columns; 79 characters with a blank between columns
HEAD = (
    ("paper", 17), ("arXiv", 10), ("mechanisms", 10), ("theorems", 8), ("figures", 7),
    ("findings", 8), ("verdict", 13),
)  # fmt: skip
LEGEND = (
    "mechanisms, theorems, figures: how many stand here of a paper; of theorems that were run "
    "(check), for their default parameters, how many hold. findings: how many hold of what its "
    "figures find on their kept results, as far as it can be decided. verdict: whether all these "
    "hold; it is no verdict on all that a paper says, and a theorem is stated as it was proved "
    "here, which may correct the paper. The block of a paper shows what was judged."
)


@dataclass(frozen=True)
class Judged:
    """One theorem or figure of a paper: its verdict, and how many of its judged parts hold.

    A theorem that was run is one part; the parts of a figure are the findings about this paper
    that can be decided.
    """

    name: str
    text: str  # the statement of the theorem, the title of the figure
    verdict: str
    holding: int = 0
    judged: int = 0
    lines: tuple[str, ...] = ()  # computed and theory of a theorem, findings of a figure


@dataclass(frozen=True)
class Paper:
    """One paper: what `papers.toml` lists of it, and what was judged; printing shows all of it.

    >>> import dsf
    >>> dsf.papers("zheng2022")["zheng2022"].theorems[0].verdict
    'not run here'
    """

    key: str
    title: str
    arxiv: str
    claim: str
    mechanisms: tuple[str, ...]
    theorems: tuple[Judged, ...]
    figures: tuple[Judged, ...]

    @property
    def source(self) -> str:
        """The bibliography key, for `dsf.cite`."""
        return self.key

    @property
    def verdict(self) -> str:
        """Whether all that was judged holds; where nothing was, whether theorems were not run."""
        parts = (*self.theorems, *self.figures)
        if any(p.judged for p in parts):
            return ALL if all(p.holding == p.judged for p in parts) else NOT_ALL
        return NOT_RUN if any(p.verdict == NOT_RUN for p in parts) else NOTHING

    def __str__(self) -> str:
        head = f"{self.key}   arXiv {self.arxiv}" if self.arxiv else self.key
        lines = [_two(head, self.verdict), *_filled(self.title, "")]
        lines += ["", *_filled(f"claims: {self.claim}", "  ")]
        lines += _filled(f"mechanisms: {', '.join(self.mechanisms) or 'none'}", "  ")
        lines += _part("theorems", self.theorems) + _part("figures", self.figures)
        if any(t.verdict == NOT_RUN for t in self.theorems):
            lines += ["", f"  to run the theorems: dsf papers {self.key} --check"]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


@dataclass(frozen=True, eq=False)
class Papers:
    """A table of papers, one row each; `wanted` are the arXiv numbers of those to be covered.

    >>> import dsf
    >>> dsf.papers("li2023", "deng2023")["li2023"].arxiv
    '2304.13276'
    """

    rows: tuple[Paper, ...]
    wanted: tuple[str, ...]

    def __getitem__(self, key: str) -> Paper:
        """The paper of a key; KeyError otherwise."""
        return {row.key: row for row in self.rows}[key]

    def headline(self) -> str:
        """How many papers there are, and how many of those wanted are among them."""
        reached = {row.arxiv for row in self.rows} & set(self.wanted)
        return (
            f"{len(self.rows)} papers, {len(reached)} of the {len(self.wanted)} that this "
            "laboratory set out to cover among them"
        )

    def __str__(self) -> str:
        lines = [_line([name for name, _ in HEAD]), "-" * WIDTH]
        lines += [_line([row.key, row.arxiv, *_counts(row), row.verdict]) for row in self.rows]
        lines += ["", textwrap.fill(LEGEND, WIDTH)]
        if any(t.verdict == NOT_RUN for row in self.rows for t in row.theorems):
            lines += ["", "Theorems were not run; dsf papers --check runs them (half a minute)."]
        return "\n".join([self.headline(), "", *lines])

    __repr__ = __str__

    def to_html(self) -> str:
        """The table as HTML, with titles and claims; what a notebook shows.

        >>> import dsf
        >>> "claims that softmax attention" in dsf.papers("zheng2022").to_html()
        True
        """
        head = "".join(f"<th>{name}</th>" for name, _ in HEAD)
        return (
            f"<p>{escape(self.headline())}.</p>"
            f"<table><thead><tr>{head}</tr></thead>"
            f"<tbody>{''.join(map(_html, self.rows))}</tbody></table>"
            f"<p>{escape(LEGEND)}</p>"
        )

    _repr_html_ = to_html


def papers(*keys: str, check: bool = False) -> Papers:
    """The table of all papers, or of those with these keys, with what holds of each computed.

    Findings are judged again on the kept results of the figures.  Theorems are run only with
    `check` (all of them: half a minute), each with its default parameters.  Raises
    UnknownNameError for an unknown key.

    >>> import dsf
    >>> dsf.papers("zheng2022", check=True)["zheng2022"].verdict
    'all hold'
    """
    tables, wanted = declared()
    if unknown := [key for key in keys if key not in tables]:
        near = difflib.get_close_matches(str(unknown[0]), tables, n=3) or tables
        raise UnknownNameError(f"papers: no paper {unknown[0]!r}; there is {', '.join(near)}")
    chosen = {key: tables[key] for key in keys or tables}
    theorems = {t.name: t for t in hooks.theorems()}
    proved = {n: _theorem(theorems[n], check) for n in _names(chosen, "theorems")}
    figures = {f.name: f for f in hooks.figures()}
    kept = {n: hooks.kept_findings(figures[n]) for n in _names(chosen, "figures")}
    rows = []
    for key, table in chosen.items():
        arxiv = cite.field(key, "eprint")
        rows.append(
            Paper(
                key,
                cite.field(key, "title"),
                arxiv,
                table["claim"],
                tuple(table.get("mechanisms", ())),
                tuple(proved[n] for n in table.get("theorems", ())),
                tuple(_figure(figures[n], kept[n], arxiv) for n in table.get("figures", ())),
            )
        )
    return Papers(tuple(rows), wanted)


@cache
def declared() -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    """What `papers.toml` lists: a table per key, and the arXiv numbers of the papers wanted.

    >>> declared()[0]["zheng2022"]["theorems"]
    ['random_features/randomised_attention']
    """
    content = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return content, tuple(content.pop("wanted"))


def _names(tables: Mapping[str, Any], kind: str) -> list[str]:
    """The theorems or the figures of some papers, each once: it may belong to several."""
    return list(dict.fromkeys(name for t in tables.values() for name in t.get(kind, ())))


def _theorem(theorem: Any, check: bool) -> Judged:
    if not check:
        return Judged(theorem.name, theorem.statement, NOT_RUN)
    found = hooks.judge(theorem.claim()())
    verdict = HOLDS if found.holds else NOT
    return Judged(theorem.name, theorem.statement, verdict, int(found.holds), 1, found.lines)


def _figure(figure: Any, findings: list[dict[str, str]] | None, arxiv: str) -> Judged:
    """A figure with its findings about one paper; those without a source are about all of its."""
    title = figure.literals()["TITLE"]
    if findings is None:
        return Judged(figure.name, title, NOT_KEPT, lines=(f"compute: dsf figure {figure.name}",))
    about = [f for f in findings if f["source"] in ("", arxiv)]
    verdicts = [f["verdict"] for f in about if f["verdict"] != UNKNOWN]
    holding = sum(v != NOT for v in verdicts)
    whole = _count(holding, len(verdicts)) if verdicts else UNKNOWN
    lines = tuple(f"{f['verdict']}: {f['paper']}; here: {f['ours']}" for f in about)
    return Judged(figure.name, title, whole, holding, len(verdicts), lines)


def _count(holding: int, judged: int) -> str:
    return f"{holding} of {judged} {'holds' if holding == 1 else 'hold'}"


def _share(parts: Iterable[Judged]) -> tuple[int, int]:
    """How many judged parts hold, and how many there are."""
    parts = tuple(parts)
    return sum(p.holding for p in parts), sum(p.judged for p in parts)


def _counts(row: Paper) -> list[str]:
    """The cells of mechanisms, theorems, figures and findings."""
    sizes = [str(len(x) or ".") for x in (row.mechanisms, row.theorems, row.figures)]
    proved, found = (
        f"{holding} of {judged}" if judged else ""
        for holding, judged in (_share(row.theorems), _share(row.figures))
    )
    return [sizes[0], proved or sizes[1], sizes[2], found or "."]


def _line(cells: Sequence[str]) -> str:
    return " ".join(f"{c:<{width}}" for c, (_, width) in zip(cells, HEAD, strict=True)).rstrip()


def _part(kind: str, parts: tuple[Judged, ...]) -> list[str]:
    if not parts:
        return []
    holding, judged = _share(parts)
    lines = ["", f"  {kind}: {_count(holding, judged)}" if judged else f"  {kind}"]
    for part in parts:
        lines += [_two(f"    {part.name}", part.verdict), *_filled(part.text, "      ")]
        shown = part.lines[:LINES] if kind == "theorems" else part.lines
        for line in shown:
            lines += _filled(line, "        ")
        if more := len(part.lines) - len(shown):
            lines.append(f"        {more} more lines: dsf theorem {part.name}")
    return lines


def _two(left: str, right: str) -> str:
    return f"{left}{right:>{WIDTH - len(left)}}"


def _filled(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def _html(row: Paper) -> str:
    about = f"<b>{row.key}</b> {escape(row.title)}<br>claims that {escape(row.claim)}"
    cells = (about, row.arxiv, *_counts(row), row.verdict)
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
