"""The style, the script and the texts of the gallery's page; no network is needed."""

STYLE = """
:root { --ink: #1c2430; --soft: #5b6675; --line: #e1e5ea; --paper: #fff; --back: #f5f6f8; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; overflow-wrap: break-word; }
main { max-width: 64rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; margin: 0 0 .6rem; }
h2 { font-size: 1.25rem; margin: 3rem 0 1rem; }
.two h2 { margin-top: 1.8rem; }
.contents { margin: 1.6rem 0 .7rem; font-size: 1.02rem; }
h3 { font-size: 1.2rem; margin: 0; line-height: 1.3; }
h4 { font-size: .95rem; margin: .6rem 0 .3rem; color: var(--soft); }
p { margin: 0 0 .7rem; }
a { color: #0b5cad; }
dl { margin: 0; font-size: .93rem; } dt { margin-top: .5rem; } dt:first-child { margin-top: 0; }
dd { margin: .1rem 0 0; }
.lead { font-size: 1.08rem; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; margin: 0 0 1rem; }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 0 2rem; }
.hero { display: grid; grid-template-columns: repeat(3, 1fr); gap: .9rem; }
.hero .card img { height: 11rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: .9rem; }
.card { display: flex; flex-direction: column; gap: .4rem; padding: .7rem; text-decoration: none;
  color: var(--ink); background: var(--paper); border: 1px solid var(--line); border-radius: 8px;
  font-size: .88rem; line-height: 1.35; }
.card img { width: 100%; height: 7rem; object-fit: contain; background: #fff; }
.card .badge { align-self: start; margin-top: auto; }
article { scroll-margin-top: 1rem; }
article, .box { background: var(--paper); border: 1px solid var(--line); border-radius: 8px;
  padding: 1.4rem 1.5rem; margin: 0 0 1.5rem; }
.head { display: flex; gap: 1rem; justify-content: space-between; align-items: start; }
.badge { display: inline-block; border-radius: 99px; padding: .1rem .7rem; font-size: .78rem;
  font-weight: 600; color: #fff; background: #5f6773; white-space: nowrap; }
.number { background: #00704f; } .statement { background: #0b5cad; } .not { background: #b3400e; }
.failed { background: #9b1c31; }
.picture { margin: 1.1rem 0 .4rem; cursor: zoom-in; }
.picture img { display: block; margin: 0 auto; max-width: 100%; height: auto; background: #fff; }
.picture.zoomed { position: fixed; inset: 0; z-index: 9; margin: 0; padding: .5rem; overflow: auto;
  background: #fff; cursor: zoom-out; }
.picture.zoomed img { max-width: none; width: max(100%, 68rem); }
.caption { color: var(--soft); font-size: .85rem; text-align: center; }
math { font-size: 1.05em; margin-right: -.1em; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; margin: .8rem 0; }
th { text-align: left; color: var(--soft); font-weight: 600; }
th, td { padding: .45rem .7rem .45rem 0; border-top: 1px solid var(--line); vertical-align: top; }
td:first-child { width: 34%; }
td:last-child, th:last-child { padding-right: 0; text-align: right; width: 1%; }
.papers td:first-child { width: auto; } .papers td:last-child { white-space: nowrap; }
details { margin-top: 1rem; border-top: 1px solid var(--line); padding-top: .7rem; }
summary { cursor: pointer; color: var(--soft); }
footer { margin-top: 1.1rem; padding-top: .7rem; border-top: 1px solid var(--line);
  color: var(--soft); font-size: .82rem; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; }
.warn { margin: 1rem 0; padding: .6rem .9rem; border-radius: 6px; background: #fdf1e7; }
pre { margin: 0 0 .7rem; white-space: pre-wrap; font-size: .85rem; }
.box pre { padding: .7rem .9rem; background: var(--back); border-radius: 6px; white-space: pre;
  overflow-x: auto; }
.box > h2:first-child { margin-top: 0; }
@media (max-width: 42rem) {
  main { padding: 1.4rem .8rem 3rem; } article, .box { padding: 1rem .9rem; }
  .grid, .hero { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .card { padding: .5rem; } .card .badge { font-size: .68rem; padding: .1rem .5rem; }
  .two { grid-template-columns: 1fr; }
  .hero .card:last-child { display: none; } .hero .card img { height: 7rem; }
  .head { flex-direction: column; gap: .4rem; }
  tr { display: block; padding: .5rem 0; border-top: 1px solid var(--line); }
  tr:first-child, th { display: none; }
  td, td:first-child, td:last-child { display: block; border: 0; padding: .15rem 0; width: auto;
    text-align: left; }
  td[data-label]::before { content: attr(data-label) ": "; color: var(--soft); }
}
"""

ZOOM = """
const zoomed = () => document.querySelector(".zoomed");
document.addEventListener("click", e => e.target.closest(".picture")?.classList.toggle("zoomed"));
document.addEventListener("keydown", e => {
  if (e.key === "Escape") zoomed()?.classList.remove("zoomed");
  if (e.key === "Enter") e.target.closest(".picture")?.classList.toggle("zoomed");
});
"""

WHAT = (
    "dsf is a laboratory for sequence mixers: attention, linear attention, state-space models and "
    "RNNs, side by side and wherever it can be as one linear recurrence. "
    "Every picture below is drawn from numbers that the code beside it computes, and stands next "
    "to what a paper says. "
    "Where a statement does not hold on our numbers, the page says so."
)

JUDGED = (
    "Each figure compares, row by row, what its paper says with what we measured. The verdict of a "
    "row is computed by a rule, whose thresholds and their reasons stand in the figure's source. "
    "The figure wears its worst badge: one row that does not hold is enough."
)

VERDICTS_MEAN = (
    ("matches the number", "number", "The paper gives a number, and ours lies within the stated "
     "distance of it."),
    ("matches the statement", "statement", "The paper says something without a number, and our "
     "numbers bear it out."),
    ("does not hold", "not", "Our numbers contradict the number or the statement. That may be our "
     "setting: what differs from the paper stands beside it."),
    ("no value known", "", "Nothing to compare with: the paper gives no value, or none that we "
     "know, or the numbers cannot decide."),
)  # fmt: skip

GLOSSARY = (
    ("token mixing", "the output at a token is a weighted sum of values at all earlier tokens; the "
     "weights form a matrix M"),
    ("state", "the numbers that a recurrence carries from one token to the next"),
    ("Hankel block", "the part of M by which the past acts on the future; its rank is a number of "
     "states that no recurrence can do without"),
    ("softmax, logit", "attention weights are exponentials of scores, the logits, divided by their "
     "sum"),
    ("max-margin solution", "the shortest weights that put chosen tokens ahead by 1; shortest in "
     "the Frobenius norm (root of the sum of squares) or the nuclear norm (sum of the singular "
     "values)"),
    ("sink", "a token that gathers attention although it carries no content"),
    ("profile", "how much is computed: smoke in seconds, default in minutes, paper in hours; what "
     "the last one found is kept with the sources"),
)  # fmt: skip

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>dsf: gallery</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>dsf: gallery</h1>
<p class="lead">{what}</p>
<nav>{nav}</nav>
<div class="hero">{hero}</div>
<div class="two">
<section><h2 id="verdicts">What the badges mean</h2>
<div class="box"><p>{judged}</p><dl>{verdicts}</dl></div></section>
<section><h2 id="words">Words</h2>
<div class="box"><dl>{glossary}</dl></div></section>
</div>
<h2 id="contents">Contents</h2>
<p>{lead}</p>
{contents}
{sections}
{papers}
{story}
{tutorial}
</main>
<script>{zoom}</script>
</body>
</html>
"""

ARTICLE = """<article id="{id}">
<div class="head"><h3>{title}</h3>{badge}</div>
{warning}{picture}
{see}
{table}
<div class="two"><div><h4>What the paper does</h4><p>{paper}</p></div>{differs}</div>
{other}{footer}
</article>
"""
