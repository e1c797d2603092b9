"""A second look at the lattice by search, for every pair that no chain of exact edges joins.

    python tests/nestings/search_nestings.py [--only SPECIAL GENERAL] [--minutes M]

For each ordered pair of families of the catalogue that no chain of exact edges joins, the token
maps of `nesting_grid` go through the numeric filter of `nesting_search`; what passes goes to the
prover (`nesting_proofs`).  One JSON object per pair is appended to `build/nestings.jsonl` as it is
finished; finished ones are not run again.  When all are there, the table is written to
`found.jsonl`: in its first line the catalogue and the edges that it is about, then the pairs with
maps, then those without, each with the number of maps tried and, for every field that was searched,
one + for each factor that its products may have (none: constants and atoms alone).
--minutes is of CPU time, 60 unless given.  Exit code 2 if pairs are left.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from nesting_proofs import proved
from nesting_search import BUDGET, Found, Map, Pair

from dsf.core.catalogue import everything, family
from dsf.core.family import Family
from dsf.verdicts.lattice.paths import edges, find_path

HERE = Path(__file__).resolve().parent
KEPT = HERE / "found.jsonl"
RESULTS = HERE.parent.parent / "build" / "nestings.jsonl"

MORE = 5  # times the budget where a limit is known

Record = dict[str, Any]


def searched() -> list[tuple[Family, Family]]:
    """The pairs without an exact chain: those with a limit edge first."""
    all_families = list(dict.fromkeys(everything()))
    pairs = [
        (a, b)
        for a in all_families
        for b in all_families
        if a != b and ((path := find_path(a, b)) is None or path.is_limit)
    ]
    return sorted(pairs, key=lambda pair: find_path(*pair) is None)


def about() -> Record:
    """What a table is about: the families with their tokens, and the edges."""
    return {
        "families": {
            repr(f): {k: f"{' '.join(x.axes)} {x.domain}" for k, x in f.spec.items()}
            for f in dict.fromkeys(everything())
        },
        "edges": sorted(e.name for e in edges()),
        "budget": [BUDGET, MORE * BUDGET],
    }


def record(found: Found, seconds: float) -> Record:
    return {
        "special": repr(found.special), "general": repr(found.general), "tried": found.tried,
        "factors": found.factors, "left": found.left, "cut": found.cut,
        "maps": [str(m) for m in found.maps[:3]], "proof": proof(found.maps),
        "seconds": round(seconds, 2),
    }  # fmt: skip


def proof(maps: list[Map]) -> str:
    """What the prover says of the simplest maps, until one is proved."""
    said = ""
    for m in maps[:6]:
        words = proved(m)[0]
        if words == "proved":
            return f"proved: {m}"
        said = said or words
    return said


def finished(path: Path) -> dict[tuple[str, str], Record]:
    """The records of a file; a line that was cut off by a kill is passed over."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            r = json.loads(line)
            found[r["special"], r["general"]] = r
        except (ValueError, KeyError):
            continue
    return found


def search(pairs: Iterable[tuple[Family, Family]], minutes: float) -> Iterable[Record]:
    start = time.process_time()
    for special, general in pairs:
        begun = time.process_time()
        if begun - start > 60 * minutes:
            return
        budget = BUDGET * (MORE if find_path(special, general) else 1)
        found = Pair(special, general, budget).search()
        yield record(found, time.process_time() - begun)


def table(records: dict[tuple[str, str], Record]) -> list[Record]:
    """The lines of `found.jsonl`: what it is about, what was found, where nothing was."""
    rows = [records[repr(a), repr(b)] for a, b in searched()]
    limits = {(repr(a), repr(b)) for a, b in searched() if find_path(a, b)}
    total = {
        "pairs": len(rows), "limits": len(limits), "tried": sum(r["tried"] for r in rows),
        "with maps": sum(bool(r["maps"]) for r in rows),
        "cpu seconds": round(sum(r["seconds"] for r in rows)), "numpy": np.__version__,
    }  # fmt: skip
    lines: list[Record] = [{**about(), "total": total}]
    for r in rows:
        if r["maps"]:
            known = "limit" if (r["special"], r["general"]) in limits else "none"
            kept = ("special", "general", "tried", "maps", "proof")
            lines.append({"known": known, **{k: r[k] for k in kept}})
    nothing: dict[str, dict[str, str]] = {}
    for r in rows:
        if not r["maps"]:
            told = " ".join(f"{k}{'+' * n}" for k, n in r["factors"].items())
            cut = "; not all tried" if r["cut"] else ""
            nothing.setdefault(r["special"], {})[r["general"]] = f"{r['tried']}: {told}{cut}"
    return lines + [{"special": a, "nothing in": b} for a, b in nothing.items()]


def write(records: dict[tuple[str, str], Record]) -> None:
    lines = [json.dumps(line) for line in table(records)]
    KEPT.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs=2, metavar=("SPECIAL", "GENERAL"))
    parser.add_argument("--minutes", type=float, default=60)
    arguments = parser.parse_args()
    if arguments.only:
        a, b = map(family, arguments.only)
        for r in search([(a, b)], arguments.minutes):
            print(json.dumps(r, indent=1))
        return 0
    done = finished(RESULTS)
    todo = [(a, b) for a, b in searched() if (repr(a), repr(b)) not in done]
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        for i, r in enumerate(search(todo, arguments.minutes)):
            file.write("\n" + json.dumps(r))
            file.flush()
            if r["maps"] or i % 20 == 0:
                print(
                    f"{i}/{len(todo)} {r['special']} in {r['general']}: {r['seconds']} s, "
                    f"{r['tried']} tried, {r['maps'][:1]} {r['proof'][:60]}",
                    flush=True,
                )
    done = finished(RESULTS)
    left = [pair for pair in searched() if tuple(map(repr, pair)) not in done]
    if left:
        print(f"{len(left)} pairs are left: run it again")
        return 2
    write(done)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
