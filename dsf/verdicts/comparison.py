"""The answer of `dsf.compare`: a verdict, the certificates behind it, and the differences."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass, field
from enum import Enum
from html import escape
from typing import Any

from dsf.core.certificate import Certificate, Scope

WIDTH = 79
SHOWN = 4  # certificates in a printout


class Verdict(Enum):
    """What was proved, in the order in which it is looked for; the value says what it means."""

    EQUAL = "same input-output map for all inputs and lengths"
    NESTED = "one is the other under a token or parameter map"
    EQUAL_WHEN = "they meet exactly under the conditions given"
    NESTED_LIMIT = "one is a limit of the other; not uniform in length"
    DIFFERENT = "no parameters make them agree, or these two instances differ"
    APPROXIMABLE = "on this input, two-sided bounds on the states needed"
    UNKNOWN = "none of the others was reached"


ORDER = tuple(Verdict)


@dataclass(frozen=True)
class Finding:
    """One verdict that was proved: its sentence, its certificates, and remarks for the reader."""

    verdict: Verdict
    statement: str
    certificates: tuple[Certificate, ...] = ()
    notes: tuple[str, ...] = ()
    conditional: bool = (
        False  # under conditions on more than the gates: reported, never the verdict
    )


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `dsf.compare` returns.

    verdict       the first verdict proved, in the order of `Verdict`
    scope         for what it holds: recurrence, mechanism, instance or operator
    findings      all verdicts proved, with their sentences and certificates
    differences   rows (label, left, right); equal rows are folded in the printout
    tried         what was looked for without success

    >>> import dsf
    >>> dsf.compare(dsf.retnet, dsf.gla).verdict.name
    'NESTED'
    """

    left: str
    right: str
    scope: Scope
    findings: tuple[Finding, ...]
    differences: tuple[tuple[str, str, str], ...]
    tried: tuple[str, ...] = ()
    seconds: float = 0.0
    drawn: Any = field(default=None, repr=False)  # (mechanism, mechanism, u) for `plot`

    @property
    def verdict(self) -> Verdict:
        first = self.findings[0] if self.findings else None
        return Verdict.UNKNOWN if first is None or first.conditional else first.verdict

    @property
    def statement(self) -> str:
        """The first finding as a sentence."""
        if self.verdict is not Verdict.UNKNOWN:
            return self.findings[0].statement
        return "no verdict was reached; see what was tried"

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """The certificates of all findings, those of the verdict first."""
        found: dict[str, Certificate] = {}
        for c in (c for f in self.findings for c in f.certificates):
            found.setdefault(c.claim, c)
        return tuple(found.values())

    def check(self) -> bool:
        """Recompute every certificate; True, or CertificateError."""
        return all(c.check() for c in self.certificates)

    # --------------------------------------------------------------- printing
    def __str__(self) -> str:
        head = f"{self.left}  against  {self.right}"
        room = WIDTH - len(head)
        fits = room > len(self.verdict.name)
        lines = [f"{head}{self.verdict.name:>{room}}"] if fits else [head, self.verdict.name]
        lines += _wrap(self.statement)
        first = self.findings[0] if self.findings else None
        lines += [line for note in (first.notes if first else ()) for line in _wrap(note, 2)]
        lines += [f"  scope: {self.scope.value} ({_SCOPES[self.scope]})"]
        lines += ["", *self._difference_lines()] if self.differences else []
        rest = self.findings[1:]
        if rest:
            lines += ["", "also"]
            for f in rest:
                lines += _wrap(f"{f.verdict.name}: {f.statement}", 2)
                lines += [line for note in f.notes for line in _wrap(note, 4)]
        if self.certificates:
            lines += ["", "certificates (recompute them with .check())"]
            for i, c in enumerate(self.certificates[:SHOWN]):
                lines += _wrap(f"[{i}] {c.strength.value}: {c.claim}", 2, hang=6)
            more = len(self.certificates) - SHOWN
            lines += [f"  and {more} more in .certificates"] if more > 0 else []
        if self.tried:
            lines += ["", "tried without success"]
            lines += [line for t in self.tried for line in _wrap("- " + t, 2, hang=4)]
        return "\n".join(lines)

    def _difference_lines(self) -> list[str]:
        width = (WIDTH - 19) // 2
        lines = [f"{'':17}{self.left[:width]:{width + 2}}{self.right[:width]}".rstrip()]
        same = []
        for label, left, right in self.differences:
            if left == right:
                same.append(f"{label}: {left}")
                continue
            cells = [textwrap.wrap(x, width) or [""] for x in (left, right)]
            for i in range(max(map(len, cells))):
                l, r = (c[i] if i < len(c) else "" for c in cells)
                lines.append(f"  {label if i == 0 else '':15}{l:{width + 2}}{r}".rstrip())
        if same:
            lines += textwrap.wrap(
                "  same           " + " | ".join(same), WIDTH, subsequent_indent=" " * 17
            )
        return lines

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(label)}</th>"
            f"<td style='text-align:left'>{escape(l)}</td>"
            f"<td style='text-align:left'>{escape(r)}</td></tr>"
            for label, l, r in self.differences
        )
        found = "".join(
            f"<p><b>{f.verdict.name}</b>: {escape(f.statement)} "
            f"<i>{escape(' '.join(f.notes))}</i></p>"
            for f in self.findings
        )
        certificates = "".join(
            f"<li>{c.strength.value}: {escape(c.claim)}</li>" for c in self.certificates
        )
        return (
            f"<h4>{escape(self.left)} against {escape(self.right)}: {self.verdict.name}</h4>"
            f"{found}<p>scope: {self.scope.value}</p>"
            f"<table><tr><th></th><th>{escape(self.left)}</th><th>{escape(self.right)}</th></tr>"
            f"{rows}</table><ol start='0'>{certificates}</ol>"
        )

    # ----------------------------------------------------------------- export
    def to_pandas(self) -> Any:
        """The table of differences as a DataFrame: one column per mechanism."""
        from dsf.interop.tables import pandas

        labels = [row[0] for row in self.differences]
        cells = [row[1:] for row in self.differences]
        return pandas("Comparison.to_pandas").DataFrame(
            cells, index=labels, columns=[self.left, self.right]
        )

    def to_latex(self) -> str:
        """The verdict and the table of differences as a LaTeX tabular."""
        rows = [
            r"\texttt{" + _tex(label) + "} & " + _tex(l) + " & " + _tex(r) + r" \\"
            for label, l, r in self.differences
        ]
        head = f" & {_tex(self.left)} & {_tex(self.right)} \\\\ \\hline"
        caption = f"% {self.verdict.name}: {self.statement}"
        body = "\n".join([r"\begin{tabular}{lll}", head, *rows, r"\end{tabular}"])
        return caption + "\n" + body

    def to_json(self) -> str:
        """Everything as JSON; the certificates round-trip bit by bit."""
        return json.dumps(
            {
                "left": self.left,
                "right": self.right,
                "verdict": self.verdict.name,
                "scope": self.scope.value,
                "findings": [
                    {
                        "verdict": f.verdict.name,
                        "statement": f.statement,
                        "notes": list(f.notes),
                        "certificates": [json.loads(c.to_json()) for c in f.certificates],
                    }
                    for f in self.findings
                ],
                "differences": [list(row) for row in self.differences],
                "tried": list(self.tried),
                "seconds": self.seconds,
            },
            indent=1,
        )

    def plot(self) -> Any:
        """Per mechanism: kernel, memory against lag, eigenvalues, Hankel singular values."""
        from dsf.verdicts.plot import plot

        return plot(self)


_SCOPES = {
    Scope.RECURRENCE: "all token sequences in their domains, gates free",
    Scope.MECHANISM: "all parameters and all inputs",
    Scope.INSTANCE: "these parameters, all inputs",
    Scope.OPERATOR: "these parameters, this input",
}


def _wrap(text: str, indent: int = 0, hang: int | None = None) -> list[str]:
    pad = " " * indent
    later = pad if hang is None else " " * hang
    return textwrap.wrap(text, WIDTH, initial_indent=pad, subsequent_indent=later)


def _tex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\~{}"}
    return "".join(special.get(c, "\\" + c if c in "_&%{}#$" else c) for c in text)
