"""The gallery: one page that holds every figure and needs no network."""

from __future__ import annotations

import ast
import os
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from dsf.figures.runner.catalogue import Figure
from dsf.figures.runner.findings import AGAIN, overall, tally
from dsf.figures.runner.formulas import formulas
from dsf.figures.runner.kept import PROFILE
from dsf.figures.runner.page import (
    ARTICLE,
    GLOSSARY,
    JUDGED,
    PAGE,
    STYLE,
    VERDICTS_MEAN,
    WHAT,
    ZOOM,
)
from dsf.figures.runner.tutorial import STORY, tutorial
from dsf.tools.files import write
from dsf.verdicts.papers import papers

SVG_LIMIT = 600_000  # bytes; a larger drawing is shown as PNG
SMALL = ".small.png"  # the thumbnail
NOT_COMPUTED = "not computed"
BADGES = {verdict: badge for verdict, badge, _ in VERDICTS_MEAN} | {NOT_COMPUTED: "failed"}
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class _Card:
    """One figure on the page: a thumbnail in the contents, and its article."""

    name: str
    title: str
    verdict: str
    thumbnail: str
    article: str
    group: str

    def small(self) -> str:
        return (
            f'<a class="card" href="#{escape(self.name)}">{self.thumbnail}'
            f"<span>{formulas(self.title)}</span>{_badge(self.verdict)}</a>"
        )


def gallery(figures: list[Figure], folder: Path, profile: str, failures: dict[str, str]) -> Path:
    """Write index.html beside `folder`; figures without results are shown as such."""
    page = folder.parent / "index.html"
    cards = [_card(f, folder, profile, failures.get(f.name, "")) for f in figures]
    verdicts = [card.verdict for card in cards]
    counts = "".join(f"{_badge(v)} {verdicts.count(v)} " for v in BADGES if v in verdicts)
    groups = [(name, list(members)) for name, members in groupby(cards, key=lambda c: c.group)]
    text, story = tutorial(), tutorial(STORY)
    # of the figures of another package no paper is known
    table = papers().to_html() if any(f.module.startswith("dsf.") for f in figures) else ""
    links = [("#verdicts", "what the badges mean"), ("#words", "words"), ("#contents", "contents")]
    links += [("#papers", "papers")] if table else []
    links += [("#story", "the story of one head")] if story else []
    links += [("#tutorial", "the first ten minutes")] if text else []
    html = PAGE.format(
        style=STYLE,
        what=escape(WHAT),
        nav="".join(f'<a href="{target}">{name}</a>' for target, name in links),
        hero="".join(members[0].small() for _, members in groups[:3]),
        judged=escape(JUDGED),
        verdicts=_list((_badge(v), escape(means)) for v, _, means in VERDICTS_MEAN),
        glossary=_list((f"<b>{escape(word)}</b>", escape(means)) for word, means in GLOSSARY),
        lead=f"{len(cards)} figures: {counts}" if cards else "No figures.",
        contents="\n".join(
            f'<h3 class="contents">{escape(name)}</h3>'
            f'<div class="grid">{"".join(c.small() for c in members)}</div>'
            for name, members in groups
        ),
        sections="\n".join(
            f"<h2>{escape(name)}</h2>{''.join(c.article for c in members)}"
            for name, members in groups
        ),
        papers=f'<h2 id="papers">Papers</h2><div class="box papers">{table}</div>' if table else "",
        story=f'<div class="box" id="story">{story}</div>' if story else "",
        tutorial=f'<div class="box" id="tutorial">{text}</div>' if text else "",
        zoom=ZOOM,
    )
    write(page, html.encode())
    return page


def _card(figure: Figure, folder: Path, profile: str, failure: str) -> _Card:
    record = figure.record(folder)
    warning = f"The last run failed: {failure}" if failure else ""
    texts = figure.literals()
    if record is None:
        title, verdict, badge = texts["TITLE"], NOT_COMPUTED, _badge(NOT_COMPUTED)
        paper, differs = texts["PAPER"], texts["DIFFERS"]
        picture = thumbnail = see = other = ""
        table = f"<p>Nothing yet: <code>{_command(figure, profile)}</code></p>"
    else:
        if not failure and figure.state(folder, profile) == "old":
            warning = "Computed by an earlier state of the sources."
        title, paper, differs = record["title"], record["paper"], record["differs"]
        kept = record["kept"]  # the long run stands in the place of this one
        shown, run = (record, "") if kept is None else (kept, f".{PROFILE}")
        parts = [f for f in record["findings"] if f["paper"] == AGAIN]
        findings = shown["findings"] + (parts if kept else [])
        verdict = overall(f["verdict"] for f in findings)
        badge = _badge(verdict, tally([f["verdict"] for f in findings]))
        picture = _picture(figure, folder, record, run) + _caption(figure, record, parts)
        small = figure.file(folder, f"{run}{SMALL}").read_bytes()
        thumbnail = f'<img src="{_embedded(small, "png")}" alt="">'
        see, table = f"<p>{formulas(record['see'])}</p>", _table(findings)
        other = "" if kept is None else _small_run(figure, folder, record)
    article = ARTICLE.format(
        id=escape(figure.name),
        title=formulas(title),
        badge=badge,
        warning=f'<div class="warn"><pre>{escape(warning)}</pre></div>\n' if warning else "",
        picture=picture,
        see=see,
        table=table,
        paper=formulas(paper),
        differs=f"<div><h4>What differs here</h4><p>{formulas(differs)}</p></div>"
        if differs
        else "",
        other=other,
        footer=_footer(figure, folder, profile, record),
    )
    return _Card(figure.name, title, verdict, thumbnail, article, _group(figure))


def _group(figure: Figure) -> str:
    """The first line of the docstring of the paper's folder."""
    init = figure.source.with_name("__init__.py")
    doc = ast.get_docstring(ast.parse(init.read_text("utf-8"))) if init.exists() else None
    return doc.splitlines()[0].rstrip(".") if doc else figure.name.partition("/")[0]


def _list(rows: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<dt>{a}</dt><dd>{b}</dd>" for a, b in rows)


def _badge(verdict: str, text: str = "") -> str:
    return f'<span class="badge {BADGES[verdict]}">{escape(text or verdict)}</span>'


def _table(findings: list[dict[str, str]]) -> str:
    rows = "".join(
        f'<tr><td data-label="The paper">{formulas(f["paper"])}</td>'
        f'<td data-label="Ours">{formulas(f["ours"])}</td><td>{_badge(f["verdict"])}</td></tr>'
        for f in findings
    )
    return f"<table><tr><th>The paper</th><th>Ours</th><th>Verdict</th></tr>{rows}</table>"


def _picture(figure: Figure, folder: Path, record: dict[str, Any], run: str) -> str:
    data, kind = figure.file(folder, f"{run}.svg").read_bytes(), "svg+xml"
    if len(data) > SVG_LIMIT:
        data, kind = figure.file(folder, f"{run}.png").read_bytes(), "png"
    width = round(130 * record["inches"][0])  # larger than on paper: a screen is farther away
    title = escape(record["title"])
    return (
        f'<div class="picture" tabindex="0" role="button" aria-label="Enlarge">'
        f'<img src="{_embedded(data, kind)}" width="{width}" alt="{title}"></div>'
    )


def _embedded(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{b64encode(data).decode()}"


def _caption(figure: Figure, record: dict[str, Any], parts: list[dict[str, str]]) -> str:
    """Which run the picture shows, and what of it this run computed again."""
    kept = record["kept"]
    text = f"Profile {record['profile']}, computed in {record['run']['seconds']:.0f} s."
    if kept is not None:
        text = (
            f"Profile {PROFILE}, computed {kept['run'].get('date', 'once')} and "
            f"kept in figures/{figure.name.partition('/')[0]}/results/."
        )
        text += "".join(f" Computed again here: {f['ours']}." for f in parts)
    return f'<p class="caption">{escape(text)}</p>'


def _small_run(figure: Figure, folder: Path, record: dict[str, Any]) -> str:
    """The run of this profile, folded up below the kept one."""
    return (
        f"<details><summary>The same at profile {escape(record['profile'])}, computed here"
        f"</summary>{_picture(figure, folder, record, '')}{_table(record['findings'])}</details>"
    )


def _command(figure: Figure, profile: str) -> str:
    return f"dsf figure {escape(figure.name)} --profile {escape(profile)}"


def _footer(figure: Figure, folder: Path, profile: str, record: dict[str, Any] | None) -> str:
    """Source, theorems, files, the command, and where the numbers shown were computed."""
    links = [(figure.source, f"source: {figure.name}.py")]
    links += [
        (ROOT / "theory_tests" / f"{name}.py", f"theorem: {name}")
        for name in figure.literals()["THEOREMS"]
    ]
    facts: list[str] = []
    if record is not None:
        files = ((".csv", "numbers (CSV)"), (".json", "record (JSON)"), (".png", "PNG"))
        links += [(figure.file(folder, suffix), label) for suffix, label in files]
        run = (record["kept"] or record)["run"]
        revision, changed = (run["git"]["revision"] or "unknown")[:10], run["git"]["dirty"]
        facts = [
            *([] if record["seed"] is None else [f"seed {record['seed']}"]),
            f"{run['seconds']} s on one thread ({run['cpu']})",
            f"revision {revision}" + (" with local changes" if changed else ""),
        ]
    shown = "".join(
        f'<a href="{escape(os.path.relpath(path, folder.parent))}">{label}</a>'
        for path, label in links
    )
    told = "".join(f"<span>{escape(fact)}</span>" for fact in facts)
    command = f"<span>redraw: <code>{_command(figure, profile)}</code></span>"
    return f"<footer>{shown}{command}{told}</footer>"
