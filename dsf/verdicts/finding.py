"""What can be found about two mechanisms: verdicts, and findings that prove one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from dsf.core.certificate import Certificate


class Verdict(Enum):
    """What was proved, in the order in which it is looked for; the value says what it means."""

    EQUAL = "the same map in the scope named, for every length"
    ROUNDED = "equal up to a parameter map evaluated in floating point; outputs within a bound"
    NESTED = "one is the other under a token or parameter map"
    EQUAL_WHEN = "they meet exactly under the conditions given"
    NESTED_LIMIT = "one is a limit of the other, for each length"
    DIFFERENT = "neither is nested in the other, proved both ways; or these two instances differ"
    NOT_NESTED = "one is not nested in the other; the reverse is open"
    APPROXIMABLE = (
        "on this input: how far apart they are, and two-sided bounds on the states needed"
    )
    UNKNOWN = "none of the others was reached"


@dataclass(frozen=True)
class Finding:
    """One verdict that was proved: its sentence, its certificates, and remarks for the reader.

    `conditional`: under conditions on more than the gates, or about something else than outputs
    on all token sequences; it is reported, never the verdict.
    `rule`: which function of `dsf.verdicts.rules` makes it from its certificates.
    """

    verdict: Verdict
    statement: str
    certificates: tuple[Certificate, ...] = ()
    notes: tuple[str, ...] = ()
    conditional: bool = False
    rule: str = ""

    @classmethod
    def of(cls, verdict: Verdict, c: Certificate, conditional: bool = False) -> Finding:
        """The finding that says what one certificate claims."""
        return cls(verdict, c.claim, (c,), conditional=conditional)

    def rank(self) -> tuple[bool, int]:
        """Findings are shown in the order of this: unconditional ones first, then by verdict."""
        return self.conditional, tuple(Verdict).index(self.verdict)

    def to_data(self) -> dict[str, Any]:
        """The finding as data that JSON can hold."""
        return {
            "verdict": self.verdict.name,
            "statement": self.statement,
            "certificates": [c.to_data() for c in self.certificates],
            "notes": list(self.notes),
            "conditional": self.conditional,
            "rule": self.rule,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Finding:
        """The inverse of `to_data`."""
        return cls(
            Verdict[data["verdict"]],
            data["statement"],
            tuple(Certificate.from_json(json.dumps(c)) for c in data["certificates"]),
            tuple(data["notes"]),
            data["conditional"],
            data["rule"],
        )


@dataclass(frozen=True)
class Outcome:
    """What one strategy found, and what it looked for in words (shown where nothing is found)."""

    findings: tuple[Finding, ...] = ()
    looked_for: str = ""
