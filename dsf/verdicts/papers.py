"""The papers: what was built of each, and how much of it holds, as one table."""

from __future__ import annotations

import difflib
import textwrap
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from dsf.core import hooks
from dsf.core.errors import UnknownNameError
from dsf.core.result import WIDTH
from dsf.tools import cite

FILE = Path(__file__).parents[1] / "papers.toml"
NOT, UNKNOWN = "does not hold", "no value known"  # as in dsf.figures: a row judged against, or not
NOT_RUN, NOT_KEPT, NOTHING = "not run here", "no kept results", "nothing judged"
LINES = 9  # of one theorem; the rest is shown by `dsf theorem NAME`

# (heading, width) of the printed columns; 79 characters with a blank between columns
HEAD = (("paper", 18), ("arXiv", 10), ("mechanisms", 10), ("theorems", 8), ("figures", 7))
LEGEND = (
    "A row counts what stands here of a paper. verdict: how many findings on the kept results of "
    "its figures hold, and how many of its theorems where they were run (check=True), each with "
    "its default parameters; what cannot be decided is not counted. It is no verdict on the whole "
    "paper: what was judged stands in the block of the paper (dsf papers KEY)."
)


@dataclass(frozen=True)
class Judged:
    """One theorem or one figure of a paper: its verdict, and how many of its judged parts hold.

    A theorem that was run is one part; the parts of a figure are the findings that can be decided.
    """

    name: str
    text: str  # the statement of the theorem, the title of the figure
    verdict: str
    holding: int = 0
    judged: int = 0
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Paper:
    """One paper: what `papers.toml` lists of it, and what was judged; printing shows all of it.

    >>> import dsf
    >>> dsf.papers("zheng2022")["zheng2022"].theorems[0].verdict
    'not run here'
    """

    key: str
    claim: str
    mechanisms: tuple[str, ...] = ()
    theorems: tuple[Judged, ...] = ()
    figures: tuple[Judged, ...] = ()
    title: str = field(init=False)
    arxiv: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", cite.field(self.key, "title"))
        object.__setattr__(self, "arxiv", cite.field(self.key, "eprint"))

    @property
    def source(self) -> str:
        """The bibliography key, for `dsf.cite`."""
        return self.key

    @property
    def verdict(self) -> str:
        """How many of the judged parts hold: "all 4 hold", "3 of 4 hold", "nothing judged"."""
        return _verdict((*self.theorems, *self.figures))

    def __str__(self) -> str:
        link = f"arXiv {self.arxiv}" if self.arxiv else ""
        head = f"{self.key}  {link}".rstrip()
        lines = [f"{head}{self.verdict:>{WIDTH - len(head)}}", *_filled(self.title, "")]
        lines += ["", *_filled(f"claims: {self.claim}", "  ")]
        lines += _filled(f"mechanisms: {', '.join(self.mechanisms) or 'none'}", "  ")
        lines += _part("theorems", self.theorems) + _part("figures", self.figures)
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


@dataclass(frozen=True, eq=False)
class Papers:
    """A table of papers; `rows` are the papers, `wanted` all that the laboratory set out to cover.

    >>> import dsf
    >>> dsf.papers("li2023", "deng2023")["li2023"].arxiv
    '2304.13276'
    """

    rows: tuple[Paper, ...]
    wanted: tuple[str, ...]  # arXiv numbers

    def __getitem__(self, key: str) -> Paper:
        """The paper of a key; KeyError otherwise."""
        return {row.key: row for row in self.rows}[key]

    def __iter__(self) -> Iterator[Paper]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def headline(self) -> str:
        """How many papers there are, and how many of those wanted are among them."""
        reached = len({row.arxiv for row in self.rows} & set(self.wanted))
        return (
            f"{len(self.rows)} papers, among them {reached} of the {len(self.wanted)} that this "
            "laboratory set out to cover"
        )

    def __str__(self) -> str:
        lines = [" ".join(f"{name:<{width}}" for name, width in HEAD) + " verdict", "-" * WIDTH]
        for row in self.rows:
            counts = (len(x) for x in (row.mechanisms, row.theorems, row.figures))
            cells = (row.key, row.arxiv, *(n or "." for n in counts))
            shown = zip(cells, HEAD, strict=True)
            lines.append(" ".join(f"{c:<{width}}" for c, (_, width) in shown) + f" {row.verdict}")
        return "\n".join([self.headline(), "", *lines, "", textwrap.fill(LEGEND, WIDTH)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        names = ("paper", "claims", *(name for name, _ in HEAD[2:]), "verdict")
        head = "".join(f"<th>{name}</th>" for name in names)
        return (
            f"<p>{escape(self.headline())}.</p>"
            f"<table><thead><tr>{head}</tr></thead>"
            f"<tbody>{''.join(map(_html, self.rows))}</tbody></table>"
            f"<p>{escape(LEGEND)}</p>"
        )


def papers(*keys: str, check: bool = False) -> Papers:
    """The table of all papers, or of those with these keys, with what holds of each computed.

    Findings are judged again on the kept results of the figures.  Theorems are run only with
    `check` (all of them: half a minute), each with its default parameters.  Raises
    UnknownNameError for an unknown key.

    >>> import dsf
    >>> dsf.papers("zheng2022", check=True)["zheng2022"].verdict
    'all 1 hold'
    """
    tables, wanted = declared()
    if unknown := [key for key in keys if key not in tables]:
        near = difflib.get_close_matches(unknown[0], tables, n=3) or tables
        raise UnknownNameError(f"papers: no paper {unknown[0]!r}; there is {', '.join(near)}")
    chosen = {key: tables[key] for key in keys or tables}
    theorems = {t.name: t for t in hooks.theorems()}
    figures = {f.name: f for f in hooks.figures()}
    proved = {n: _theorem(theorems[n], check) for n in _names(chosen, "theorems")}
    seen = {n: _figure(figures[n]) for n in _names(chosen, "figures")}
    rows = [
        Paper(
            key,
            table["claim"],
            tuple(table.get("mechanisms", ())),
            tuple(proved[name] for name in table.get("theorems", ())),
            tuple(seen[name] for name in table.get("figures", ())),
        )
        for key, table in chosen.items()
    ]
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
    """The theorems or the figures of some papers, each once: one may belong to several."""
    return list(dict.fromkeys(name for t in tables.values() for name in t.get(kind, ())))


def _theorem(theorem: Any, check: bool) -> Judged:
    if not check:
        return Judged(theorem.name, theorem.statement, NOT_RUN)
    judgement = hooks.judge(theorem.claim()())
    verdict = "holds" if judgement.holds else NOT
    return Judged(
        theorem.name, theorem.statement, verdict, int(judgement.holds), 1, judgement.lines
    )


def _figure(figure: Any) -> Judged:
    title, findings = figure.literals()["TITLE"], hooks.kept_findings(figure)
    if findings is None:
        return Judged(figure.name, title, NOT_KEPT)
    verdicts = [f["verdict"] for f in findings]
    judged = [v for v in verdicts if v != UNKNOWN]
    holding = sum(v != NOT for v in judged)
    lines = tuple(f"{f['verdict']}: {f['paper']} | here: {f['ours']}" for f in findings)
    return Judged(
        figure.name, title, _count(holding, len(judged)), holding, len(judged), lines
    )


def _verdict(parts: Iterable[Judged]) -> str:
    parts = tuple(parts)
    return _count(sum(p.holding for p in parts), sum(p.judged for p in parts))


def _count(holding: int, judged: int) -> str:
    if not judged:
        return NOTHING
    return f"all {judged} hold" if holding == judged else f"{holding} of {judged} hold"


def _part(kind: str, parts: tuple[Judged, ...]) -> list[str]:
    if not parts:
        return []
    lines = ["", f"  {kind}: {_verdict(parts)}"]
    for part in parts:
        name = f"    {part.name}"
        lines.append(f"{name}{part.verdict:>{WIDTH - len(name)}}")
        lines += _filled(part.text, "      ")
        shown = part.lines if kind == "figures" else part.lines[:LINES]
        for line in shown:
            lines += _filled(line, "        ")
        if len(shown) < len(part.lines):
            more = len(part.lines) - len(shown)
            lines.append(f"        ... {more} more lines: dsf theorem {part.name}")
    return lines


def _filled(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def _html(row: Paper) -> str:
    link = f'<a href="https://arxiv.org/abs/{row.arxiv}">{row.arxiv}</a>' if row.arxiv else ""
    counts = (len(row.mechanisms), len(row.theorems), len(row.figures))
    cells = (
        f"{escape(row.title)} ({row.key}) {link}",
        escape(row.claim),
        *(str(n or "") for n in counts),
        row.verdict,
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
