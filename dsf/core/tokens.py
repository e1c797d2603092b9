"""Tokens: the named per-token arrays between the projections and the recurrence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from dsf.core import ops, printing
from dsf.core.fields import Field
from dsf.core.ops import Array


class Tokens:
    """A record of named arrays, all with time on the axis before the last; None is no field.

    >>> import numpy as np
    >>> t = Tokens(q=np.ones((5, 2)), v=np.zeros((5, 3)))
    >>> t.q.shape, t.names
    ((5, 2), ('q', 'v'))
    """

    previous: Tokens  # the rows before these, for a recurrence that looks back

    def __init__(self, **fields: Array) -> None:
        self._fields = {name: x for name, x in fields.items() if x is not None}

    def __getattr__(self, name: str) -> Array:
        fields = self.__dict__.get("_fields", {})
        if name in fields:
            return fields[name]
        raise AttributeError(f"no token field {name!r}; fields: {tuple(fields)}")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the fields, in their order."""
        return tuple(self._fields)

    def items(self) -> Iterator[tuple[str, Array]]:
        """(name, array) of every field."""
        yield from self._fields.items()

    def map(self, f: Callable[[Array], Array]) -> Tokens:
        """f applied to every field."""
        return Tokens(**{k: f(v) for k, v in self.items()})

    def replace(self, **fields: Array) -> Tokens:
        """A copy with some fields replaced or added."""
        return Tokens(**{**self._fields, **fields})

    def part(self, start: int, stop: int, spec: Mapping[str, Field], substeps: int = 1) -> Tokens:
        """The tokens start .. stop-1; constant fields stay as they are."""

        def cut(name: str, x: Array) -> Array:
            if not spec[name].per_token:
                return x
            s = substeps if spec[name].axes[-2] == "sL" else 1
            return x[..., start * s : stop * s, :]

        return Tokens(**{k: cut(k, v) for k, v in self.items()})

    def with_previous(
        self, lookback: int, spec: Mapping[str, Field], substeps: int = 1, length: int = 0
    ) -> Tokens:
        """Of length + lookback rows the last `length`, each with the rows before as `previous`."""
        tok = self.part(lookback, lookback + length, spec, substeps)
        if lookback:
            tok.previous = self.with_previous(lookback - 1, spec, substeps, length)
        return tok

    def after(self, earlier: Tokens, spec: Mapping[str, Field]) -> Tokens:
        """Earlier rows followed by these; fields that were not kept have these rows only."""
        kept = [k for k in earlier.names if spec[k].per_token]
        return self.replace(
            **{k: ops.cat([getattr(earlier, k), getattr(self, k)], -2) for k in kept}
        )

    def last(self, rows: int | None, spec: Mapping[str, Field], substeps: int = 1) -> Tokens | None:
        """The last rows (None: all of them) of tokens, as what is looked back on; None for none."""
        T = max(x.shape[-2] for k, x in self.items() if spec[k].axes[-2] == "L")
        start = 0 if rows is None else max(T - rows, 0)
        return None if rows == 0 else self.part(start, T, spec, substeps)

    def __repr__(self) -> str:
        shown = ", ".join(f"{k} {printing.axes(v)}" for k, v in self.items())
        return f"Tokens({shown})"
