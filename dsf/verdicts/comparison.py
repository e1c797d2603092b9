"""The answer of `dsf.compare`: a verdict, the certificates behind it, and the differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from dsf.claims.reading import require
from dsf.core import notation
from dsf.core.certificate import Certificate, Scope
from dsf.core.optional import pandas
from dsf.core.result import Item, Result, Section, SideBySide, Text
from dsf.verdicts.differences import FORMULAS, compared
from dsf.verdicts.finding import Finding, Verdict
from dsf.verdicts.plot import plot
from dsf.verdicts.rules import Sides
from dsf.verdicts.rules import found as made

SHOWN = 4  # certificates in a printout


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Result):
    """What `dsf.compare` returns.

    verdict       the first verdict proved, in the order of `Verdict`
    scope         for what it holds: recurrence, instance or operator
    findings      all verdicts proved, with their sentences and certificates
    differences   rows (label, left, right); equal rows are folded in the printout
    tried         what was looked for without success
    d             the model width that was asked about, if one was

    `check()` recomputes the certificates, makes every finding anew from its own
    (`dsf.verdicts.rules`) and measures the table of differences again: what is printed follows, or
    CertificateError says what does not.  A comparison without a finding has nothing to check.

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
    d: int | None = None
    drawn: Any = field(default=None)  # (side, side, u) for `plot`; not kept in JSON

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
            found.setdefault(c.to_json(), c)
        return tuple(found.values())

    def check(self) -> bool:
        """Recompute certificates, findings and differences; True, or CertificateError."""
        require(self.findings, "nothing was proved, so there is nothing to check")
        sides = Sides(self.left, self.right, self.scope, self.d)
        for f in self.findings:
            again = made(f.rule, sides, f.certificates)
            same = f == again and type(f.conditional) is bool
            require(same, f"the certificates say {again.statement!r}, not {f.statement!r}")
        ordered = sorted(self.findings, key=Finding.rank)
        require(ordered == list(self.findings), "the findings are not in their order")
        told = [f.to_data() for f in self.findings]
        require(all(told.count(x) == 1 for x in told), "a finding is told twice")
        require(not self.tried, "something was found, so nothing was tried in vain")
        require(self.differences == compared(*sides.both()), "the differences are not these")
        require(type(self.seconds) is float and self.seconds >= 0, "seconds must be >= 0")
        return super().check()  # last, as it takes longest: what is printed is only read above

    # --------------------------------------------------------------- printing
    def headline(self) -> tuple[str, str]:
        about = "" if self.verdict is Verdict.UNKNOWN else f" {SCOPES[self.scope][0]}"
        return f"{self.left}  against  {self.right}", self.verdict.name + about

    def sections(self) -> Sequence[Section]:
        first, rest = self.findings[:1], self.findings[1:]
        notes = [Item(note, 2) for f in first for note in f.notes]
        scope = Item(f"scope: {self.scope.value} ({SCOPES[self.scope][1]})", 2)
        return [
            Text([Item(self.statement), *notes, scope]),
            SideBySide(self.left, self.right, self.differences, FORMULAS),
            Text([item for f in rest for item in self._items(f)], "also"),
            Text(self._shown(), "certificates (recompute them with .check())"),
            Text([Item(f"- {t}", 2, 4) for t in self.tried], "tried without success"),
        ]

    def _items(self, f: Finding) -> list[Item]:
        """A further finding as a paragraph, with its notes below it."""
        scopes = {c.scope for c in f.certificates}
        about = (
            f" {SCOPES[scopes.pop()][0]}" if len(scopes) == 1 and self.scope not in scopes else ""
        )
        head = Item(f"{f.verdict.name}{about}: {f.statement}", 2)
        return [head, *(Item(note, 4) for note in f.notes)]

    def _shown(self) -> list[Item]:
        shown = [
            Item(f"[{i}] {c.strength.value}{self._elsewhere(c)}: {c.claim}", 2, 6)
            for i, c in enumerate(self.certificates[:SHOWN])
        ]
        more = len(self.certificates) - SHOWN
        return shown + ([Item(f"and {more} more in .certificates", 2)] if more > 0 else [])

    def _elsewhere(self, c: Certificate) -> str:
        """The scope of a certificate that is about something else than the comparison."""
        return "" if c.scope is self.scope else f", scope {c.scope.value}"

    # ----------------------------------------------------------------- export
    def to_pandas(self) -> Any:
        """The table of differences as a DataFrame: one column per mechanism."""
        labels = [row[0] for row in self.differences]
        cells = [row[1:] for row in self.differences]
        return pandas("Comparison.to_pandas").DataFrame(
            cells, index=labels, columns=[self.left, self.right]
        )

    def to_latex(self) -> str:
        """The verdict and the table of differences as a LaTeX tabular; formulas in math mode."""
        rows = [
            " & ".join([_label(label), *(_cell(label, x) for x in cells)]) + r" \\"
            for label, *cells in self.differences
        ]
        head = f" & {notation.text(self.left)} & {notation.text(self.right)} \\\\ \\hline"
        caption = f"% {self.verdict.name}: {' '.join(self.statement.split())}"
        return "\n".join([caption, r"\begin{tabular}{lll}", head, *rows, r"\end{tabular}"])

    def to_data(self) -> dict[str, Any]:
        return {
            "left": self.left,
            "right": self.right,
            "verdict": self.verdict.name,
            "scope": self.scope.value,
            "findings": [f.to_data() for f in self.findings],
            "differences": [list(row) for row in self.differences],
            "tried": list(self.tried),
            "seconds": self.seconds,
            "d": self.d,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            data["left"],
            data["right"],
            Scope(data["scope"]),
            tuple(map(Finding.from_data, data["findings"])),
            tuple((label, left, right) for label, left, right in data["differences"]),
            tuple(data["tried"]),
            data["seconds"],
            data["d"],
        )

    def plot(self) -> Any:
        """Per mechanism: kernel, memory against lag, eigenvalues, Hankel singular values."""
        return plot(self)


SCOPES = {  # in the first line, and in full
    Scope.RECURRENCE: (
        "on free tokens",
        "all token sequences in their domains, gates free; not the maps u -> y of given weights",
    ),
    Scope.MECHANISM: ("as maps of u", "all parameters and all inputs"),
    Scope.INSTANCE: ("for these parameters", "all inputs, unless some are named"),
    Scope.OPERATOR: ("on this input", "these parameters, this input"),
}


def _label(label: str) -> str:
    """The label of a row of the table of differences, for LaTeX."""
    return {"state <-": "new state", "y_t": "$y_t$", "A_t": "$A_t$"}.get(
        label, notation.text(label)
    )


def _cell(label: str, cell: str) -> str:
    formula = label in FORMULAS and cell != "-"
    return f"${notation.latex(cell)}$" if formula else notation.text(cell)
