"""The atlas: every named mechanism and what was computed about it, as one table."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, ClassVar

from dsf.core import notation
from dsf.core.catalogue import families, family, variants
from dsf.core.errors import ShapeError, UnknownNameError
from dsf.core.optional import pandas
from dsf.core.result import WIDTH
from dsf.verdicts.measure import Row, measure

COLUMNS = {
    "mechanism": "the family, with its options",
    "structure": "of the transition A_t of the linear system: scalar, diagonal, low rank, dense, "
    "shift; nonlinear where there is none",
    "varies": "which of A, B, C, D change from token to token",
    "reads": "the output reads the state after or before the update",
    "field": "real or complex coefficients",
    "order_aware": "the last output changes when the earlier tokens are permuted",
    "lookback": "earlier tokens that the equations read besides the state (all: every one)",
    "substeps": "steps of the recurrence per token",
    "eigenvalues": "smallest and largest eigenvalue of A_t over random tokens that reach towards "
    "the ends of their domains, cut to two decimals; |z|: of absolute values, some are not real",
    "eigenvalue_low": "the first of these numbers",
    "eigenvalue_high": "the second",
    "contraction": "|A_t|_2 <= 1 for all these tokens",
    "commuting": "A_s A_t = A_t A_s for all these tokens",
    "parity": "some A_t depends on the token and has an eigenvalue outside [0, inf): necessary for "
    "tracking parity at every length in finite precision",
    "normalised": "constant values give that constant as output",
    "state_formula": "size of the recurrent state, as declared",
    "state": "real numbers in the recurrent state after the input, counted",
    "memory": "real numbers that run() hands on, lookback rows included, counted",
    "flops_formula": "multiplications and additions per token for the recurrence, as declared",
    "flops": "that formula at these sizes",
    "rank": "largest rank of the middle Hankel block of a head's kernel on the random input "
    "(singular values above 1e-12 of the largest)",
    "source": "bibliography key; see dsf.cite and dsf.papers",
}

# (column, heading, width) of the printed blocks; 79 characters with a blank between columns
BLOCKS = {
    "The recurrence": (
        ("mechanism", "mechanism", 25),
        ("structure", "A_t", 9),
        ("varies", "varies", 6),
        ("reads", "reads state", 11),
        ("order_aware", "order", 5),
        ("lookback", "looks back", 10),
        ("substeps", "steps", 5),
    ),
    "Its transitions A_t": (
        ("mechanism", "mechanism", 25),
        ("eigenvalues", "eigenvalues", 14),
        ("contraction", "contraction", 11),
        ("commuting", "commute", 7),
        ("parity", "parity", 6),
        ("normalised", "normalised", 10),
    ),
    "Sizes": (
        ("mechanism", "mechanism", 25),
        ("state_formula", "state", 8),
        ("state", "numbers", 7),
        ("memory", "memory", 6),
        ("flops_formula", "flops per token", 15),
        ("rank", "Hankel rank", 11),
    ),
}
LATEX = ("structure", "state_formula", "flops_formula", "eigenvalues", "contraction", "parity")
LEGEND = (
    "varies: which of A, B, C, D change with the token. order: whether that of earlier tokens "
    "matters. looks back: earlier tokens read besides the state. steps: of the recurrence per "
    "token. contraction: |A_t|_2 <= 1 for all tokens. parity: some A_t depends on the token and "
    "has an eigenvalue outside [0, inf), as parity needs. normalised: constants pass unchanged. "
    "memory: numbers that run() hands on. Hankel rank: of the middle block. More: "
    "dsf.atlas().columns"
)

# a variant has a row of its own if it differs from its family in a column other than these
RANGES = ("mechanism", "eigenvalues", "eigenvalue_low", "eigenvalue_high")


@dataclass(frozen=True, eq=False)
class Atlas:
    """A table of mechanisms; `rows` are records with the fields of `COLUMNS`.

    Printing fits 79 columns; `to_pandas`, `to_json`, `to_latex` and a notebook show every column.

    >>> import dsf
    >>> table = dsf.atlas("gla", "softmax")
    >>> table["gla"].state, table["softmax"].rank
    (32, 16)
    """

    rows: tuple[Row, ...]
    sizes: dict[str, int]
    columns: ClassVar[Mapping[str, str]] = COLUMNS  # name -> meaning

    def __getitem__(self, mechanism: str) -> Row:
        """The row of a mechanism by the name it is printed with; KeyError otherwise."""
        return {row.mechanism: row for row in self.rows}[mechanism]

    def __str__(self) -> str:
        sizes = ", ".join(f"{k} = {v}" for k, v in self.sizes.items())
        parts = [f"{len(self.rows)} mechanisms; numbers at {sizes}"]
        parts += [f"{title}\n{_block(self.rows, block)}" for title, block in BLOCKS.items()]
        parts.append(_wrapped("Sources", self._sources()))
        parts.append(textwrap.fill(LEGEND, WIDTH))
        return "\n\n".join(parts)

    __repr__ = __str__

    def _sources(self) -> str:
        by_key: dict[str, list[str]] = {}
        for row in self.rows:
            names = by_key.setdefault(row.source, [])
            name = row.mechanism.partition("(")[0]
            if name not in names:
                names.append(name)
        return "; ".join(f"{', '.join(names)}: {key}" for key, names in by_key.items())

    def records(self) -> list[dict[str, Any]]:
        """One dictionary per mechanism with the keys of `COLUMNS`; None where not defined."""
        return [{name: getattr(row, name) for name in COLUMNS} for row in self.rows]

    def to_pandas(self) -> Any:
        """The table as a `pandas.DataFrame` indexed by mechanism; MissingExtraError without pandas.

        >>> import dsf
        >>> dsf.atlas("gla").to_pandas().loc["gla", "structure"]
        'diagonal'
        """
        frame = pandas("atlas").DataFrame(self.records())
        return frame.set_index("mechanism")

    def to_json(self) -> str:
        """Sizes, meanings of the columns and rows as JSON.

        >>> import dsf
        >>> json.loads(dsf.atlas("gla").to_json())["rows"][0]["source"]
        'yang2023'
        """
        return json.dumps(
            {"sizes": self.sizes, "columns": COLUMNS, "rows": self.records()},
            indent=1,
        )

    def to_latex(self, columns: Sequence[str] = LATEX) -> str:
        """Some columns as a `tabular` without packages; UnknownNameError for an unknown column.

        >>> import dsf
        >>> print(dsf.atlas("gla").to_latex(["structure", "state_formula"]))
        \\begin{tabular}{lll}
        \\hline
        mechanism & structure & state formula \\\\
        \\hline
        gla & diagonal & $H n p$ \\\\
        \\hline
        \\end{tabular}
        """
        names = ["mechanism", *columns]
        if unknown := [name for name in names if name not in COLUMNS]:
            raise UnknownNameError(
                f"atlas: no column {', '.join(unknown)}; there is {', '.join(COLUMNS)}"
            )
        head = " & ".join(name.replace("_", " ") for name in names)
        body = [" & ".join(_latex(name, r[name]) for name in names) for r in self.records()]
        lines = [f"\\begin{{tabular}}{{{'l' * len(names)}}}", "\\hline", f"{head} \\\\", "\\hline"]
        lines += [f"{line} \\\\" for line in body]
        return "\n".join([*lines, "\\hline", "\\end{tabular}"])

    def _repr_html_(self) -> str:
        head = "".join(
            f'<th title="{escape(meaning)}">{escape(name.replace("_", " "))}</th>'
            for name, meaning in COLUMNS.items()
        )
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(_text(value))}</td>" for value in r.values()) + "</tr>"
            for r in self.records()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def atlas(
    *mechanisms: Any, d: int = 8, n: int = 4, p: int = 4, heads: int = 2, L: int = 32, seed: int = 0
) -> Atlas:
    """The table of all mechanisms and of their variants with other properties, or of those named.

    Properties are measured once per family (`dsf.verdicts.properties`), at tokens drawn over their
    whole domains; sizes on an instance drawn with `init(d, n, p, heads, seed)` and one Gaussian
    input [L d].  Only the two columns that end in `_formula`, `flops` and `source` are declared by
    the mechanisms.  A variant is shown if a column besides the range of its eigenvalues differs
    from its family's.  float64.  Raises UnknownNameError for an unknown name and ShapeError for
    L < 3, where the order of earlier tokens means nothing.

    >>> import dsf
    >>> dsf.atlas("deltanet", "deltanet(reach=2)")["deltanet(reach=2)"].parity
    True
    """
    if L < 3:
        raise ShapeError(f"atlas: L must be at least 3, two earlier tokens and one; got {L}")
    sizes = {"d": d, "n": n, "p": p, "heads": heads, "L": L}
    rows = [measure(family(m), **sizes, seed=seed) for m in mechanisms]
    return Atlas(tuple(rows or _catalogue(**sizes, seed=seed)), sizes)


def _catalogue(**sizes: int) -> list[Row]:
    """All named families, each followed by its variants with other properties."""
    rows = []
    for base in families().values():
        row = measure(base, **sizes)
        others = (measure(v, **sizes) for v in variants(base))
        rows += [row, *(other for other in others if _differs(other, row))]
    return rows


def _differs(row: Row, other: Row) -> bool:
    return any(getattr(row, c) != getattr(other, c) for c in COLUMNS if c not in RANGES)


def _block(rows: tuple[Row, ...], block: tuple[tuple[str, str, int], ...]) -> str:
    lines = [" ".join(f"{heading:<{width}}" for _, heading, width in block).rstrip()]
    lines.append("-" * WIDTH)
    seen = set()
    for row in rows:
        base, _, options = row.mechanism.partition("(")
        name = f"  {options[:-1]}" if base in seen and options else row.mechanism
        seen.add(base)
        cells = [name, *(_cell(column, getattr(row, column)) for column, _, _ in block[1:])]
        line = " ".join(f"{c:<{width}}" for c, (_, _, width) in zip(cells, block, strict=True))
        lines += _folded(cells, line, block)
    return "\n".join(line.rstrip() for line in lines)


def _folded(cells: list[str], line: str, block: tuple[tuple[str, str, int], ...]) -> list[str]:
    """One line, or two where the name is wider than its column."""
    width = block[0][2]
    return [line] if len(cells[0]) <= width else [cells[0], " " * width + line[len(cells[0]) :]]


def _cell(column: str, value: Any) -> str:
    text = _text(value)
    if not column.endswith("_formula"):
        return text
    return text.replace("width", "w").replace("p*p", "p^2").replace("*", "")


def _text(value: Any) -> str:
    if value is None or value == "":
        return "." if value is None else "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _latex(column: str, value: Any) -> str:
    text = _text(value)
    if column.endswith("_formula"):
        return f"${notation.latex(text.replace('p*p', 'p^2').replace('width', 'w'))}$"
    return notation.text(text)


def _wrapped(title: str, text: str) -> str:
    return textwrap.fill(f"{title}: {text}", WIDTH, subsequent_indent="  ", break_long_words=False)
