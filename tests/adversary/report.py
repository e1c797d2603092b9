"""All forgeries, with the counts per kind: what was tried, refused, and true after all.

    python tests/adversary/report.py

Exit code 1 if a false sentence passes, or one that is not judged.
"""

from __future__ import annotations

from attack import Count, every, honest_and_true
from comparisons import forged_comparisons, forged_results, passes

ROW = "{:24}{:>8}{:>9}{:>6}{:>7}{:>7}{:>9}"


def main() -> int:
    wrong = honest_and_true()
    print(f"honest certificates that are not judged true: {', '.join(wrong) or 'none'}")
    counts: dict[str, Count] = {}
    for f in every():
        counts.setdefault(f.certificate.kind, Count()).add(f)
    print(ROW.format("kind", "tried", "refused", "true", "false", "open", "slowest"))
    for kind, c in sorted(counts.items()):
        row = kind, c.tried, c.refused, c.true, len(c.false), len(c.open), f"{c.slowest:.2f} s"
        print(ROW.format(*row), flush=True)
    bad = [f for c in counts.values() for f in (*c.false, *c.open)]
    for f in bad:
        print(f"  {f.source}: {f.how}: {f.certificate.claim}")
    records = [*forged_comparisons(), *forged_results()]
    kept = [how for how, made in records if passes(made)]
    print(f"records: {len(records)} tried, {len(kept)} accepted: {', '.join(kept) or 'none'}")
    tried, true = (sum(x) for x in zip(*((c.tried, c.true) for c in counts.values()), strict=True))
    print(
        f"{tried + len(records)} forgeries, of which {true} are true sentences; "
        f"false ones accepted: {len(bad) + len(kept)}"
    )
    return 1 if bad or kept or wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
