"""Factorisations that several questions about one operator share."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np

Arrays = tuple[np.ndarray, ...]
KEPT = 2**28  # bytes: what does not fit is computed again


class Kept:
    """Arrays by a key, computed when first asked for and kept, up to KEPT bytes in all.

    >>> kept = Kept()
    >>> [kept.once("ones", lambda: (np.full(2, x),))[0][0] for x in (1.0, 2.0)]
    [np.float64(1.0), np.float64(1.0)]
    """

    def __init__(self) -> None:
        self._found: dict[Hashable, Arrays] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._found)

    def once(self, key: Hashable, compute: Callable[[], Arrays]) -> Arrays:
        """The arrays of that key; `compute` runs where none are kept."""
        if key in self._found:
            return self._found[key]
        arrays = compute()
        size = sum(x.nbytes for x in arrays)
        if self._bytes + size <= KEPT:
            self._found[key] = arrays
            self._bytes += size
        return arrays

    def clear(self) -> None:
        """Keep nothing any longer."""
        self._found.clear()
        self._bytes = 0
