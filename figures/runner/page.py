"""The texts, the style and the script of the gallery's page; no network is needed."""

STYLE = """
:root { --ink: #1c2430; --soft: #5b6675; --line: #e1e5ea; --paper: #fff; --back: #f5f6f8; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; overflow-wrap: break-word; }
main { max-width: 64rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; margin: 0 0 .6rem; }
h2 { font-size: 1.25rem; margin: 3rem 0 1rem; }
h3 { font-size: 1.2rem; margin: 0; line-height: 1.3; }
h4 { font-size: .95rem; margin: 1.2rem 0 .3rem; color: var(--soft); }
p { margin: 0 0 .7rem; }
a { color: #0b5cad; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .35rem 1rem; margin: 0; }
dd { margin: 0; }
.lead { font-size: 1.05rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .9rem; }
.card { display: flex; flex-direction: column; gap: .4rem; padding: .7rem; text-decoration: none;
  color: var(--ink); background: var(--paper); border: 1px solid var(--line); border-radius: 8px;
  font-size: .88rem; line-height: 1.35; }
.card img { width: 100%; height: 7rem; object-fit: contain; background: #fff; }
.card .badge { align-self: start; margin-top: auto; }
article, .box { background: var(--paper); border: 1px solid var(--line); border-radius: 8px;
  padding: 1.4rem 1.5rem; margin: 0 0 1.5rem; }
.head { display: flex; gap: 1rem; justify-content: space-between; align-items: start; }
.badge { border-radius: 99px; padding: .1rem .7rem; font-size: .78rem; font-weight: 600;
  color: #fff; background: #5f6773; white-space: nowrap; }
.number { background: #00704f; } .statement { background: #0b5cad; } .not { background: #b3400e; }
.failed { background: #9b1c31; }
.picture { margin: 1.1rem 0; overflow-x: auto; }
.picture img { display: block; margin: 0 auto; max-width: 100%; height: auto; cursor: zoom-in;
  background: #fff; }
.picture.zoomed img { max-width: none; min-width: 68rem; cursor: zoom-out; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; margin: .8rem 0; }
th { text-align: left; color: var(--soft); font-weight: 600; }
th, td { padding: .45rem .7rem .45rem 0; border-top: 1px solid var(--line); vertical-align: top; }
td:last-child { white-space: nowrap; }
details { margin-top: 1rem; border-top: 1px solid var(--line); padding-top: .7rem; }
summary { cursor: pointer; color: var(--soft); }
footer { margin-top: 1.1rem; padding-top: .7rem; border-top: 1px solid var(--line);
  color: var(--soft); font-size: .82rem; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; }
.warn { margin: 1rem 0; padding: .6rem .9rem; border-radius: 6px; background: #fdf1e7; }
pre { margin: 0 0 .7rem; white-space: pre-wrap; font-size: .85rem; }
.box pre { padding: .7rem .9rem; background: var(--back); border-radius: 6px; }
@media (max-width: 42rem) {
  main { padding: 1.4rem .8rem 3rem; } article, .box { padding: 1rem .9rem; }
  .grid { grid-template-columns: 1fr 1fr; } .head { flex-direction: column; gap: .4rem; }
  dl { grid-template-columns: 1fr; } dd { margin-bottom: .5rem; }
  tr { display: block; padding: .5rem 0; border-top: 1px solid var(--line); }
  th { display: none; } td { display: block; border: 0; padding: .15rem 0; }
  td[data-label]::before { content: attr(data-label) ": "; color: var(--soft); }
}
"""

ZOOM = """
document.addEventListener("click", e => {
  if (e.target.matches(".picture img")) e.target.parentElement.classList.toggle("zoomed");
});
"""

WHAT = (
    "dsf is a laboratory for sequence mixers: attention, linear attention, state-space models and "
    "RNNs, written as one linear time-varying recurrence. "
    "Every picture below is drawn from numbers that the committed code computes, and stands beside "
    "what the paper says. "
    "Where a statement does not hold on our numbers, the page says so."
)

VERDICTS_MEAN = (
    ("matches the number", "number", "The paper gives a number, and ours lies within the tolerance "
     "that the figure's source names."),
    ("matches the statement", "statement", "The paper says something without a number, and a rule "
     "in the figure's source finds it true of our table."),
    ("does not hold", "not", "The same rules find that number or statement not met. A figure has "
     "this badge if one line of its table has it."),
    ("no value known", "", "Our measurement alone: the paper gives no value, or none that we "
     "know, or this run is too small to judge."),
)  # fmt: skip

GLOSSARY = (
    ("token mixing", "how the output at one token is made of the values at all tokens: a matrix M"),
    ("state", "what a recurrence carries from token to token; its size is the number of states"),
    ("kernel", "the matrix M of a mechanism on one input"),
    ("Hankel block", "the part of M by which the past acts on the future; its rank is a number of "
     "states that no recurrence can do without"),
    ("max-margin solution", "the shortest weights that select given tokens with margin 1; "
     "Frobenius or nuclear: in which norm they are shortest"),
    ("sink", "a token that gathers attention without carrying content"),
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
<p>{lead}</p>
{contents}
<h2 id="verdicts">What the badges mean</h2>
<div class="box"><dl>{verdicts}</dl></div>
<h2 id="glossary">Words</h2>
<div class="box"><dl>{glossary}</dl></div>
{sections}
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
<h4>The source</h4>
<p>{paper}</p>
{differs}
{other}{footer}
</article>
"""
