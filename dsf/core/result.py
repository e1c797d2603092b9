"""What computations return: it prints as a block, checks its certificates, and survives JSON."""

from __future__ import annotations

import json
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from dsf.core import html, printing
from dsf.core.errors import STUMBLES, CertificateError

WIDTH = printing.WIDTH


class Checkable(Protocol):
    """What has a `check()`: a certificate."""

    def check(self) -> bool: ...


class Section(Protocol):
    """A part of a printed block."""

    def lines(self) -> list[str]: ...

    def html(self) -> str: ...


class Result(ABC):
    """The base of what is returned with a proof: comparisons, realizations, stabilities.

    A class that derives from it says what its title and sections are, which certificates it rests
    on, and what its data are; printing in 79 columns, the notebook's HTML, `check`, `to_json` and
    `from_json` follow from that.
    """

    @abstractmethod
    def headline(self) -> tuple[str, str]:
        """What this is (left), and its outcome (right) in the first printed line."""

    @abstractmethod
    def sections(self) -> Sequence[Section]:
        """The parts below the title; the later ones are set off by empty lines."""

    @property
    @abstractmethod
    def certificates(self) -> tuple[Checkable, ...]:
        """What proves the result."""

    @abstractmethod
    def to_data(self) -> dict[str, Any]:
        """The result as data that JSON can hold."""

    @classmethod
    @abstractmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_data`."""

    def check(self) -> bool:
        """Recompute every certificate; True, or CertificateError."""
        return all(c.check() for c in self.certificates)

    def to_json(self) -> str:
        """The result as JSON; the numbers of certificates keep every bit."""
        return json.dumps(self.to_data())

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`; CertificateError if the text is not such a result."""
        try:
            return cls.from_data(json.loads(text))
        except STUMBLES as e:
            raise CertificateError(f"from_json: not the JSON of a {cls.__name__} ({e!r})") from e

    def __repr__(self) -> str:
        left, right = self.headline()
        fits = len(left) + len(right) < WIDTH
        line = (left + right.rjust(WIDTH - len(left))).rstrip()
        lines = [line] if fits else [*textwrap.wrap(left, WIDTH), right]
        for i, section in enumerate(filter(None, map(_lines, self.sections()))):
            lines += [*([""] if i else []), *section]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        left, right = self.headline()
        return html.card(left, right, *(section.html() for section in self.sections()))


def _lines(section: Section) -> list[str]:
    return section.lines()


@dataclass(frozen=True)
class Rows:
    """Labelled rows, each wrapped under itself."""

    rows: Sequence[tuple[str, str]]

    def lines(self) -> list[str]:
        return printing.block("", list(self.rows)).splitlines()[1:] if self.rows else []

    def html(self) -> str:
        return html.table(self.rows)


@dataclass(frozen=True)
class Item:
    """A paragraph: its first line is indented by `indent`, the later ones by `hang`."""

    text: str
    indent: int = 0
    hang: int | None = None

    def lines(self) -> list[str]:
        later = self.indent if self.hang is None else self.hang
        return textwrap.wrap(
            self.text, WIDTH, initial_indent=" " * self.indent, subsequent_indent=" " * later
        )


@dataclass(frozen=True)
class Text:
    """Paragraphs, under a heading or (if it is empty) under none."""

    items: Sequence[Item]
    heading: str = ""

    def lines(self) -> list[str]:
        heading = [self.heading] if self.heading and self.items else []
        return [*heading, *(line for item in self.items for line in item.lines())]

    def html(self) -> str:
        heading = [html.heading(self.heading)] if self.heading and self.items else []
        return "".join([*heading, *(html.paragraph(i.text, i.indent) for i in self.items)])


LABEL = 17  # columns of the first column of a `SideBySide`


@dataclass(frozen=True)
class SideBySide:
    """A table of two things: (label, left, right) per row; in print equal rows share one line.

    `formulas` are the labels of rows that hold formulas.
    """

    left: str
    right: str
    rows: Sequence[tuple[str, str, str]]
    formulas: Collection[str] = ()

    def lines(self) -> list[str]:
        if not self.rows:
            return []
        width = (WIDTH - LABEL - 2) // 2
        lines = [f"{'':{LABEL}}{self.left[:width]:{width + 2}}{self.right[:width]}".rstrip()]
        for label, *cells in (row for row in self.rows if row[1] != row[2]):
            columns = [textwrap.wrap(cell, width) or [""] for cell in cells]
            for i in range(max(map(len, columns))):
                left, right = (c[i] if i < len(c) else "" for c in columns)
                name = label if i == 0 else ""
                lines.append(f"  {name:{LABEL - 2}}{left:{width + 2}}{right}".rstrip())
        same = " | ".join(f"{label}: {left}" for label, left, right in self.rows if left == right)
        return lines + (Item(f"{'same':{LABEL - 2}}{same}", 2, LABEL).lines() if same else [])

    def html(self) -> str:
        return html.table(self.rows, ["", self.left, self.right], self.formulas)
