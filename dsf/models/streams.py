"""From which sequence a tensor of a run comes: what tells cross attention from self-attention.

    sources of a tensor = {inputs of the model, attention calls} that it was computed from

Queries and keys of self-attention are projections of one hidden state and have the same sources.
Those of cross attention come from two: both have a source that the other lacks, or one has none.
What cross attention returns belongs to the sequence of its queries, so its values' sources are left
out: otherwise the second layer of a decoder would seem to be the encoder, a little later.

No sources are known of what is made without functions of torch (kernels of other libraries), nor
of tensors that a function knows without being given them; what a module returns has those of its
inputs then.  Where sources are not known, and for two slices of one input that met no attention
before, queries and keys count as one sequence.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Sources = frozenset[object]
NOTHING: Sources = frozenset()
PRODUCTS = {"matmul", "bmm", "__matmul__", "einsum", "baddbmm"}
RESHAPED = {"view", "reshape", "expand", "transpose", "permute", "flatten", "unflatten"}


class Streams:
    """The sources of the tensors of one run, kept as long as the tensors live.

    >>> import torch
    >>> x, y = torch.ones(2), torch.ones(2)
    >>> streams = Streams(None)
    >>> streams.enter((x, y))
    >>> both = x + y
    >>> streams.follow("add", (x, y), {}, both)
    >>> len(streams.of(both)), streams.differ(x, y), streams.differ(x, both)
    (2, True, False)
    """

    def __init__(self, model: Any) -> None:
        import torch
        from torch.utils.weak import WeakIdKeyDictionary

        self.found: Any = WeakIdKeyDictionary()  # tensor: its sources, None if unknown
        self.factors: Any = WeakIdKeyDictionary()  # a product, or what was made of it: two sources
        if isinstance(model, torch.nn.Module):
            for x in model.buffers():
                self.found[x] = NOTHING

    def of(self, x: Any) -> Sources | None:
        """The sources; None where they are not known."""
        import torch

        return NOTHING if isinstance(x, torch.nn.Parameter) else self.found.get(x)

    def enter(self, given: Any) -> None:
        """Inputs of the model: each tensor that was not made in the run is a source."""
        for x in _tensors(given):
            if self.of(x) is None and x not in self.found:
                self.found[x] = frozenset([object()])

    def follow(self, name: str, args: Any, named: Any, out: Any) -> None:
        """What a function of torch has made of its arguments."""
        made = list(_tensors(out))
        if not made:
            return
        given = list(_tensors((args, named)))
        sources = self._union(given)
        pair = None
        if name in PRODUCTS and len(given) > 1:
            pair = self.of(given[-2]), self.of(given[-1])
        else:
            alike = (
                self.factors[x] for x in given
                if x in self.factors and (name in RESHAPED or x.shape == made[0].shape)
            )  # fmt: skip
            pair = next(alike, None)
        for x in made:
            self.found[x] = sources
            if pair is not None:
                self.factors[x] = pair

    def leave(self, given: Any, out: Any) -> None:
        """What a module has made of its inputs, where nothing else is known of that."""
        unknown = [x for x in _tensors(out) if self.of(x) is None]
        sources = self._union(_tensors(given)) if unknown else None
        if sources is not None:
            for x in unknown:
                self.found[x] = sources

    def attended(self, cross: bool, query: Sources | None, others: Iterable[Any], out: Any) -> None:
        """The mixed values of an attention call, a source of its own."""
        known = query or NOTHING
        if not cross:
            known = known.union(*(s for x in others if (s := self.of(x)) is not None))
        for x in _tensors(out):
            self.found[x] = known | {object()}

    def differ(self, query: Any, key: Any) -> bool:
        """Whether queries and keys come from two sequences."""
        return apart(self.of(query), self.of(key))

    def _union(self, given: Iterable[Any]) -> Sources | None:
        tensors = list(given)
        sets = [s for x in tensors if (s := self.of(x)) is not None]
        return NOTHING.union(*sets) if sets or not tensors else None


def apart(query: Sources | None, key: Sources | None) -> bool:
    """Whether each has a source that the other lacks, or one of them has none; not if unknown."""
    if query is None or key is None:
        return False
    return bool(query) != bool(key) or not (query <= key or key <= query)


def _tensors(x: Any) -> Iterable[Any]:
    """The tensors in nested tuples, lists and dictionaries."""
    import torch

    if torch.is_tensor(x):
        yield x
    elif isinstance(x, (tuple, list)):
        for part in x:
            yield from _tensors(part)
    elif isinstance(x, dict):
        yield from _tensors(list(x.values()))
