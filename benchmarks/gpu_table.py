"""README's table of Triton kernels: `python benchmarks/gpu_table.py [results/gpu_h200.json]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

KEPT = Path(__file__).parent / "results" / "gpu_h200.json"
NAMES = {
    "none": "linear attention",
    "head": "one decay per head",
    "channel": "one decay per channel",
    "delta": "gated delta rule",
}


def table(measured: dict[str, Any]) -> str:
    """Forward passes in bfloat16: milliseconds, how many times faster than peers, of the copy."""
    lines = [
        "| kernel | batch x tokens x heads x width | ms | x flash-linear-attention | x SDPA | "
        "of copy bandwidth |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for r in measured["rows"]:
        if r["part"] != "time" or r["kernel"] not in ("linear", "delta"):
            continue
        size = " x ".join(str(r[n]) for n in "BLHd")
        ours = r["ms_ours"]
        lines.append(
            f"| {NAMES[r.get('decay', 'delta')]} | {size} | {ours:.3g} | {r['ms_fla'] / ours:.2f} "
            f"| {r['ms_sdpa'] / ours:.2f} | {100 * r['fraction_of_copy']:.0f} % |"
        )
    return "\n".join(lines) + "\n"


def backward(measured: dict[str, Any]) -> str:
    """How many times as long as forward the backward passes take, where both were timed."""
    times = {
        (r["kernel"].partition(" ")[2] or "forward", r.get("decay"), *(r[n] for n in "BLHd")): r
        for r in measured["rows"]
        if r["part"] == "time" and r["kernel"].startswith("linear")
    }
    found = [
        f"{NAMES[decay]} {r['ms_ours'] / times['forward', decay, *size]['ms_ours']:.0f}"
        for (way, decay, *size), r in times.items()
        if way == "backward"
    ]
    return "as long as forward, times: " + ", ".join(found)


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else KEPT
    found = json.loads(path.read_text())
    print(f"{found['device']}, torch {found['torch']}, triton {found['triton']}:\n")
    print(table(found), end="")
    print(f"\nBackward passes take {backward(found)}.")
