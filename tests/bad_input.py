"""Print the table of bad inputs in the README: value, typed error, propagated or undecided.

Run `python tests/bad_input.py` (a minute).
"""

from __future__ import annotations

import runpy
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MARGIN = {19: "inseparable", 20: "scales", 21: "degenerate", 22: "solvers"}


def main() -> None:
    core: dict[str, Any] = runpy.run_path(str(HERE / "core" / "test_bad_input.py"))
    margin = runpy.run_path(str(HERE / "solvers" / "test_bad_input.py"))
    stability = runpy.run_path(str(HERE / "spectra" / "test_stability.py"))
    table: dict[str, Counter[str]] = {}
    for row in core["ROWS"]:
        cases = [(*c, s) for c in core["CASES"] for s in core["SIZES"] if c[0] == row]
        table[row] = Counter(core["kind"](core["outcome"](*c)) for c in cases)
    for number, title in MARGIN.items():
        runs = [run for row, _, run, _ in margin["TABLE"] if row == number]
        table[f"row_{number}_{title}"] = Counter(margin["outcome"](run)[0] for run in runs)
    table["row_23_stability"] = stability["outcomes"]()
    kinds = (core["VALUE"], core["ERROR"], core["PROPAGATED"], margin["UNDECIDED"])
    names, backends = len(core["NAMES"]), len(core["BACKENDS"])
    sizes = len(core["SIZES"])
    print(f"{names} mechanisms x {backends} backends x {sizes} sizes, margin problems, stability")
    print("| bad input | " + " | ".join(kinds) + " |\n|---|" + "---:|" * len(kinds))
    for row, n in [*table.items(), ("total", sum(table.values(), Counter()))]:
        title = row.removeprefix("row_").replace("_", " ")
        print(f"| {title} | " + " | ".join(str(n[kind]) for kind in kinds) + " |")


if __name__ == "__main__":
    main()
