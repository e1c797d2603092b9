"""The table behind a figure: rows of plain cells that survive the way to CSV and back."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from typing import Any

Cell = int | float | bool | str | None

_INTEGER = re.compile(r"[+-]?\d+")


class Table(list[dict[str, Any]]):
    """Rows of a figure, as dicts with the same keys; what a row leaves out is None.

    >>> t = Table([{"mechanism": "gla", "lag": 1, "influence": 0.5},
    ...            {"mechanism": "s4d", "lag": 1}])
    >>> t.columns
    ['mechanism', 'lag', 'influence']
    >>> t.column("influence")
    [0.5, None]
    >>> t.where(mechanism="gla").column("lag")
    [1]
    >>> print(t.to_csv(), end="")
    mechanism,lag,influence
    gla,1,0.5
    s4d,1,
    >>> Table.from_csv(t.to_csv()) == t
    True

    Raises ValueError for a cell that CSV cannot give back: a complex number, an array, a string
    that reads as a number.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        rows = list(rows)
        keys = list(dict.fromkeys(key for row in rows for key in row))
        super().__init__({key: _cell(key, row.get(key)) for key in keys} for row in rows)

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return list(self[0]) if self else []

    def column(self, name: str) -> list[Any]:
        """One column as a list."""
        if self and name not in self[0]:
            raise KeyError(f"no column {name!r}; the table has {', '.join(self.columns)}")
        return [row[name] for row in self]

    def where(self, **values: Cell) -> Table:
        """The rows in which every named column has the given value."""
        rows: list[dict[str, Any]] = self
        for name, value in values.items():
            rows = [row for row in rows if row[name] == value]
        return Table._of(rows)

    def values(self, name: str) -> list[Any]:
        """The different values of a column, in order of first appearance."""
        return list(dict.fromkeys(self.column(name)))

    def to_csv(self) -> str:
        """The table as CSV; floats with all their digits, None as an empty cell."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_write(cell) for cell in row.values()] for row in self)
        return text.getvalue()

    @classmethod
    def from_csv(cls, text: str) -> Table:
        """The inverse of `to_csv`."""
        header, *rows = csv.reader(io.StringIO(text))
        return cls._of(dict(zip(header, map(_read, row), strict=True)) for row in rows)

    @classmethod
    def _of(cls, rows: Iterable[dict[str, Any]]) -> Table:
        """A table of rows that are known to have the same keys, and cells as CSV gives them."""
        table = cls()
        table.extend(map(dict, rows))
        return table


def _cell(column: str, value: Any) -> Cell:
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a numpy or torch scalar
        value = value.item()
    if value is not None and not isinstance(value, (bool, int, float, str)):
        raise ValueError(
            f"table: column {column!r} holds a {type(value).__name__}; a cell is int, float, bool, "
            "str or None (a complex number goes into two columns, an array into rows)"
        )
    if isinstance(value, str) and _read(value) != value:
        raise ValueError(
            f"table: column {column!r} holds the string {value!r}, which a reader of the CSV would "
            "take for something else; store the number itself or a longer name"
        )
    return value


def _write(cell: Cell) -> str:
    return "" if cell is None else repr(cell) if isinstance(cell, float) else str(cell)


def _read(text: str) -> Cell:
    if text in ("", "True", "False"):
        return {"": None, "True": True, "False": False}[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text
