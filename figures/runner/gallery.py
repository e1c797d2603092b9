"""The gallery: one page that holds every figure and needs no network."""

from __future__ import annotations

import ast
import os
from base64 import b64encode
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from dsf.figures.runner.catalogue import Figure
from dsf.figures.runner.files import write

SVG_LIMIT = 600_000  # bytes; a larger drawing is shown as PNG

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>dsf: gallery</title>
<style>
:root {{ --ink: #1c2430; --soft: #5b6675; --line: #e1e5ea; --paper: #fff; --back: #f5f6f8; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: var(--back); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }}
main {{ max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }}
h1 {{ font-size: 1.9rem; margin: 0; }}
h2 {{ font-size: 1.15rem; margin: 3rem 0 1rem; color: var(--soft); font-weight: 600; }}
h3 {{ font-size: 1.2rem; margin: 0; line-height: 1.3; }}
h4 {{ font-size: .78rem; margin: 0 0 .2rem; color: var(--soft); text-transform: uppercase;
  letter-spacing: .05em; }}
p {{ margin: 0; }}
a {{ color: #0b5cad; }}
.lead {{ color: var(--soft); margin: .3rem 0 1.5rem; }}
table {{ border-collapse: collapse; width: 100%; background: var(--paper);
  border: 1px solid var(--line); border-radius: 8px; font-size: .93rem; }}
td {{ padding: .45rem .9rem; border-top: 1px solid var(--line); }}
tr:first-child td {{ border-top: 0; }}
td:last-child {{ text-align: right; white-space: nowrap; }}
article {{ background: var(--paper); border: 1px solid var(--line); border-radius: 8px;
  padding: 1.4rem 1.5rem; margin: 0 0 1.5rem; }}
.head {{ display: flex; gap: 1rem; justify-content: space-between; align-items: start; }}
.badge {{ border-radius: 99px; padding: .1rem .7rem; font-size: .8rem; font-weight: 600;
  white-space: nowrap; color: #fff; background: #6b7280; }}
.agrees {{ background: #00704f; }}
.part {{ background: #8a5a00; }}
.not {{ background: #b3400e; }}
.failed {{ background: #9b1c31; }}
.picture {{ text-align: center; margin: 1.1rem 0; overflow-x: auto; }}
.picture img {{ max-width: 100%; }}
.pair {{ display: grid; grid-template-columns: 1fr 1fr; gap: 1rem 2rem; }}
.pair + div {{ margin-top: 1rem; }}
.long {{ margin-top: 1.2rem; padding-top: 1rem; border-top: 1px solid var(--line); }}
@media (max-width: 42rem) {{ .pair {{ grid-template-columns: 1fr; }} }}
footer {{ margin-top: 1.1rem; padding-top: .7rem; border-top: 1px solid var(--line);
  color: var(--soft); font-size: .82rem; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; }}
.warn {{ margin: 1rem 0; padding: .6rem .9rem; border-radius: 6px; background: #fdf1e7; }}
pre {{ margin: 0; white-space: pre-wrap; font-size: .85rem; }}
</style>
</head>
<body>
<main>
<h1>dsf: gallery</h1>
<p class="lead">{lead}</p>
{contents}
{sections}
</main>
</body>
</html>
"""

ARTICLE = """<article id="{id}">
<div class="head"><h3>{title}</h3>{badge}</div>
{warning}{picture}
<div class="pair">
<div><h4>The paper says</h4><p>{paper}</p></div>
<div><h4>We measured</h4><p>{measured}</p></div>
</div>
{differs}
{long}{footer}
</article>
"""

BADGES = {
    "agrees": "agrees",
    "agrees in part": "part",
    "does not hold": "not",
    "not computed": "failed",
}


def gallery(figures: list[Figure], folder: Path, profile: str, failures: dict[str, str]) -> Path:
    """Write index.html beside `folder`; figures without results are shown as such."""
    page = folder.parent / "index.html"
    cards = [(f, *_card(f, folder, profile, failures.get(f.name, ""))) for f in figures]
    verdicts = [verdict for _, verdict, _ in cards]
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
    lead = f"{len(figures)} figures, profile {profile}: {counts}." if figures else "No figures."
    rows = (
        f'<tr><td><a href="#{escape(f.name)}">{escape(_title(f, folder))}</a></td>'
        f"<td>{_badge(verdict)}</td></tr>"
        for f, verdict, _ in cards
    )
    sections = []
    for paper, group in groupby(cards, key=lambda card: card[0].name.partition("/")[0]):
        members = list(group)
        sections.append(f"<h2>{escape(_paper(members[0][0].source, paper))}</h2>")
        sections += [html for _, _, html in members]
    contents = f"<table>{''.join(rows)}</table>" if figures else ""
    html = PAGE.format(lead=escape(lead), contents=contents, sections="\n".join(sections))
    write(page, html.encode())
    return page


def _card(figure: Figure, folder: Path, profile: str, failure: str) -> tuple[str, str]:
    """Verdict and HTML of one figure."""
    record = figure.record(folder)
    warning = f"The last run failed: {failure}" if failure else ""
    if record is None:
        texts = figure.literals()
        html = ARTICLE.format(
            id=escape(figure.name),
            title=escape(texts["TITLE"]),
            badge=_badge("not computed"),
            warning=_warning(warning),
            picture="",
            paper=escape(texts["PAPER"]),
            measured=f"Nothing yet: <code>dsf figure {escape(figure.name)}</code>",
            differs=_differs(texts["DIFFERS"]),
            long="",
            footer="",
        )
        return "not computed", html
    if not failure and figure.state(folder, profile) == "old":
        warning = "Computed by an earlier state of the sources."
    html = ARTICLE.format(
        id=escape(figure.name),
        title=escape(record["title"]),
        badge=_badge(record["verdict"]),
        warning=_warning(warning),
        picture=_picture(figure, folder, record, ""),
        paper=escape(record["paper"]),
        measured=escape(record["measured"]),
        differs=_differs(record["differs"]),
        long=_long(figure, folder, record),
        footer=_footer(figure, folder, record),
    )
    return record["verdict"], html


def _title(figure: Figure, folder: Path) -> str:
    record = figure.record(folder)
    return record["title"] if record else figure.literals()["TITLE"]


def _paper(source: Path, name: str) -> str:
    """The first line of the docstring of the paper's folder."""
    init = source.with_name("__init__.py")
    doc = ast.get_docstring(ast.parse(init.read_text())) if init.exists() else None
    return doc.splitlines()[0].rstrip(".") if doc else name


def _badge(verdict: str) -> str:
    return f'<span class="badge {BADGES.get(verdict, "")}">{escape(verdict)}</span>'


def _warning(text: str) -> str:
    return f'<div class="warn"><pre>{escape(text)}</pre></div>\n' if text else ""


def _differs(text: str) -> str:
    return f"<div><h4>What differs from the paper</h4><p>{escape(text)}</p></div>" if text else ""


def _long(figure: Figure, folder: Path, record: dict[str, Any]) -> str:
    """The kept run of the long profile: its picture, what it says, where it was computed."""
    kept = record.get("kept")
    if kept is None:
        return ""
    revision, dirty = kept["run"]["git"]["revision"], kept["run"]["git"]["dirty"]
    facts = [
        f"computed {kept['run'].get('date', 'once')}",
        f"{kept['run']['seconds']} s on one thread ({kept['run']['cpu']})",
        f"revision {(revision or 'unknown')[:10]}" + (" with local changes" if dirty else ""),
        f"kept in figures/{figure.name.partition('/')[0]}/results/",
    ]
    return (
        f'<div class="long"><div class="head"><h4>Profile paper</h4>{_badge(kept["verdict"])}</div>'
        f"{_picture(figure, folder, record, '.paper')}<p>{escape(kept['measured'])}</p>"
        f"<footer>{''.join(f'<span>{escape(fact)}</span>' for fact in facts)}</footer></div>"
    )


def _picture(figure: Figure, folder: Path, record: dict[str, Any], run: str) -> str:
    data, kind = figure.file(folder, f"{run}.svg").read_bytes(), "svg+xml"
    if len(data) > SVG_LIMIT:
        data, kind = figure.file(folder, f"{run}.png").read_bytes(), "png"
    source = f"data:image/{kind};base64,{b64encode(data).decode()}"
    width = round(
        130 * record["inches"][0]
    )  # larger than on paper, because a screen is farther away
    title = escape(record["title"])
    return f'<div class="picture"><img src="{source}" width="{width}" alt="{title}"></div>'


def _footer(figure: Figure, folder: Path, record: dict[str, Any]) -> str:
    links = "".join(
        f'<a href="{escape(os.path.relpath(figure.file(folder, s), folder.parent))}">{label}</a>'
        for s, label in ((".csv", "numbers (CSV)"), (".json", "record (JSON)"), (".png", "PNG"))
    )
    git = record["run"]["git"]
    revision = (git["revision"] or "unknown")[:10] + (" with local changes" if git["dirty"] else "")
    facts = [
        f"profile {record['profile']}",
        *([] if record["seed"] is None else [f"seed {record['seed']}"]),
        f"{record['run']['seconds']} s on one thread",
        f"revision {revision}",
    ]
    return f"<footer>{links}{''.join(f'<span>{escape(fact)}</span>' for fact in facts)}</footer>"
