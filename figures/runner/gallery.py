"""The gallery: one page that holds every figure and needs no network."""

from __future__ import annotations

import ast
import io
import os
from base64 import b64encode
from collections.abc import Iterable
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from dsf.figures.runner.catalogue import Figure
from dsf.figures.runner.files import write
from dsf.figures.runner.findings import overall, tally
from dsf.figures.runner.formulas import formulas
from dsf.figures.runner.page import ARTICLE, GLOSSARY, PAGE, STYLE, VERDICTS_MEAN, WHAT, ZOOM
from dsf.figures.runner.tutorial import tutorial

SVG_LIMIT = 600_000  # bytes; a larger drawing is shown as PNG
THUMBNAIL = 360, 220  # pixels, at most
NOT_COMPUTED = "not computed"
BADGES = {verdict: badge for verdict, badge, _ in VERDICTS_MEAN} | {NOT_COMPUTED: "failed"}


def gallery(figures: list[Figure], folder: Path, profile: str, failures: dict[str, str]) -> Path:
    """Write index.html beside `folder`; figures without results are shown as such."""
    page = folder.parent / "index.html"
    cards = [(f, *_card(f, folder, profile, failures.get(f.name, ""))) for f in figures]
    verdicts = [verdict for _, verdict, _ in cards]
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
    lead = f"{len(figures)} figures, profile {profile}: {counts}." if figures else "No figures."
    contents, sections = [], []
    for paper, group in groupby(cards, key=lambda card: card[0].name.partition("/")[0]):
        members = list(group)
        name = f"<h2>{escape(_paper(members[0][0].source, paper))}</h2>"
        contents += [name, _thumbnails(members, folder)]
        sections += [name, *(html for _, _, html in members)]
    text = tutorial()
    html = PAGE.format(
        style=STYLE,
        what=escape(WHAT),
        lead=escape(lead),
        contents="\n".join(contents),
        verdicts=_list((_badge(v), escape(means)) for v, _, means in VERDICTS_MEAN),
        glossary=_list((f"<b>{escape(word)}</b>", escape(means)) for word, means in GLOSSARY),
        sections="\n".join(sections),
        tutorial=f'<div class="box">{text}</div>' if text else "",
        zoom=ZOOM,
    )
    write(page, html.encode())
    return page


def _list(rows: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<dt>{a}</dt><dd>{b}</dd>" for a, b in rows)


def _thumbnails(members: list[tuple[Figure, str, str]], folder: Path) -> str:
    cards = [
        f'<a class="card" href="#{escape(f.name)}">{_thumbnail(f, folder)}'
        f"<span>{formulas(_title(f, folder))}</span>{_badge(verdict)}</a>"
        for f, verdict, _ in members
    ]
    return f'<div class="grid">{"".join(cards)}</div>'


def _thumbnail(figure: Figure, folder: Path) -> str:
    """A small picture of the kept run, or of this one."""
    record = figure.record(folder)
    if record is None:
        return ""
    from PIL import Image  # of matplotlib

    suffix = ".paper.png" if record["kept"] else ".png"
    with Image.open(figure.file(folder, suffix)) as picture:
        small = picture.convert("RGB")
        small.thumbnail(THUMBNAIL)
        data = io.BytesIO()
        small.save(data, "PNG", optimize=True)
    return f'<img src="data:image/png;base64,{b64encode(data.getvalue()).decode()}" alt="">'


def _card(figure: Figure, folder: Path, profile: str, failure: str) -> tuple[str, str]:
    """Verdict and HTML of one figure."""
    record = figure.record(folder)
    warning = f"The last run failed: {failure}" if failure else ""
    if record is None:
        texts = figure.literals()
        html = ARTICLE.format(
            id=escape(figure.name),
            title=formulas(texts["TITLE"]),
            badge=_badge(NOT_COMPUTED),
            warning=_warning(warning),
            picture="",
            see="",
            table=f"<p>Nothing yet: <code>{_command(figure)}</code></p>",
            paper=formulas(texts["PAPER"]),
            differs=_differs(texts["DIFFERS"]),
            other="",
            footer="",
        )
        return NOT_COMPUTED, html
    if not failure and figure.state(folder, profile) == "old":
        warning = "Computed by an earlier state of the sources."
    kept = record["kept"]
    shown = record if kept is None else kept
    html = ARTICLE.format(
        id=escape(figure.name),
        title=formulas(record["title"]),
        badge=_badge(overall(_verdicts(shown)), tally(_verdicts(shown))),
        warning=_warning(warning),
        picture=_picture(figure, folder, record, "" if kept is None else ".paper"),
        see=f"<p>{formulas(record['see'])}</p>",
        table=_table(shown["findings"]),
        paper=formulas(record["paper"]),
        differs=_differs(record["differs"]),
        other="" if kept is None else _small_run(figure, folder, record),
        footer=_footer(figure, folder, record),
    )
    return overall(_verdicts(shown)), html


def _verdicts(record: dict[str, Any]) -> list[str]:
    return [f["verdict"] for f in record["findings"]]


def _table(findings: list[dict[str, str]]) -> str:
    rows = "".join(
        f'<tr><td data-label="The paper">{formulas(f["paper"])}</td>'
        f'<td data-label="Ours">{formulas(f["ours"])}</td><td>{_badge(f["verdict"])}</td></tr>'
        for f in findings
    )
    return f"<table><tr><th>The paper</th><th>Ours</th><th>Verdict</th></tr>{rows}</table>"


def _small_run(figure: Figure, folder: Path, record: dict[str, Any]) -> str:
    """The run of this profile, below the kept one."""
    return (
        f"<details><summary>The same at profile {escape(record['profile'])}, computed here"
        f"</summary>{_picture(figure, folder, record, '')}{_table(record['findings'])}</details>"
    )


def _title(figure: Figure, folder: Path) -> str:
    record = figure.record(folder)
    return str(record["title"] if record else figure.literals()["TITLE"])


def _paper(source: Path, name: str) -> str:
    """The first line of the docstring of the paper's folder."""
    init = source.with_name("__init__.py")
    doc = ast.get_docstring(ast.parse(init.read_text("utf-8"))) if init.exists() else None
    return doc.splitlines()[0].rstrip(".") if doc else name


def _badge(verdict: str, text: str = "") -> str:
    return f'<span class="badge {BADGES.get(verdict, "")}">{escape(text or verdict)}</span>'


def _warning(text: str) -> str:
    return f'<div class="warn"><pre>{escape(text)}</pre></div>\n' if text else ""


def _differs(text: str) -> str:
    return f"<h4>What differs from the paper</h4><p>{formulas(text)}</p>" if text else ""


def _picture(figure: Figure, folder: Path, record: dict[str, Any], run: str) -> str:
    data, kind = figure.file(folder, f"{run}.svg").read_bytes(), "svg+xml"
    if len(data) > SVG_LIMIT:
        data, kind = figure.file(folder, f"{run}.png").read_bytes(), "png"
    source = f"data:image/{kind};base64,{b64encode(data).decode()}"
    width = round(130 * record["inches"][0])  # larger than on paper: a screen is farther away
    title = escape(record["title"])
    return f'<div class="picture"><img src="{source}" width="{width}" alt="{title}"></div>'


def _command(figure: Figure) -> str:
    return f"dsf figure {escape(figure.name)}"


def _footer(figure: Figure, folder: Path, record: dict[str, Any]) -> str:
    """Links, and where the numbers that are shown were computed."""
    base = folder.parent
    theorem = _theorem(figure)
    links = [(figure.source, "source"), *([(theorem, "theorem, as a test")] if theorem else [])]
    suffixes = ((".csv", "numbers (CSV)"), (".json", "record (JSON)"), (".png", "PNG"))
    links += [(figure.file(folder, s), label) for s, label in suffixes]
    shown = "".join(
        f'<a href="{escape(os.path.relpath(path, base))}">{label}</a>' for path, label in links
    )
    kept, seed = record["kept"], record["seed"]
    run = (record if kept is None else kept)["run"]
    revision = (run["git"]["revision"] or "unknown")[:10]
    facts = [
        f"profile {record['profile'] if kept is None else 'paper, kept with the sources'}",
        *([] if seed is None else [f"seed {seed}"]),
        f"{run['seconds']} s on one thread"
        + (f" ({run['cpu']}), {run.get('date', 'once')}" if kept else ""),
        f"revision {revision}" + (" with local changes" if run["git"]["dirty"] else ""),
    ]
    told = "".join(f"<span>{escape(fact)}</span>" for fact in facts)
    return f"<footer>{shown}<code>{_command(figure)}</code>{told}</footer>"


def _theorem(figure: Figure) -> Path | None:
    """The theorem of the same name beside the figures, if there is one."""
    root = figure.source.parents[2] / "theory_tests"
    return next(iter(sorted(root.glob(f"*/{figure.source.stem}.py"))), None)
