"""Families: a mechanism class with its options; what lower-case names stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dsf.core import hooks, printing
from dsf.core.errors import DomainError, DTypeError, ShapeError, UnknownNameError
from dsf.core.facts import Facts
from dsf.core.fields import Field
from dsf.core.mechanism import Mechanism
from dsf.core.tokens import Tokens


@dataclass(frozen=True)
class Family:
    """All mechanisms of one class with the same static options.

    `family.init(d=, n=, p=, heads=1, seed=0)` draws an instance with the initialisation of its
    paper, `family.to_torch(...)` a layer of torch; `family(option=value)` is the family with other
    options.

    >>> import dsf
    >>> dsf.gla.init(d=4, n=2, p=3)(np.ones((5, 4))).shape
    (5, 3)
    >>> dsf.linear_attn(phi="exp")
    linear_attn(phi='exp')
    """

    name: str
    cls: type[Mechanism]
    static: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, *inputs: Any, **options: Any) -> Family:
        if inputs:
            shape = getattr(inputs[0], "shape", ())
            d = shape[-1] if shape else "..."
            raise DTypeError(
                f"{self.name} is a family, not one mechanism: it has no numbers to compute with. "
                f"Draw one, and give that the input: dsf.{self.name}.init(d={d})(u). Options go by "
                f"name: {self.name}(option=value)."
            )
        choices = self.cls.choices()
        for option in options:
            if option not in choices:
                names = ", ".join(sorted(choices)) or "none"
                raise UnknownNameError(f"{self.name}: no option {option!r}; options: {names}")
        chosen = {k: choices[k].allowed(f"{self.name}: {k}", v) for k, v in options.items()}
        return Family(self.name, self.cls, {**self.static, **chosen})

    def init(
        self, d: int, n: int | None = None, p: int | None = None, heads: int = 1, seed: int = 0
    ) -> Mechanism:
        """An instance with model width d, state size n and p values per head (float64).

        n and p default to d / heads, so that the outputs of the heads side by side have width d
        again; families without heads (lru, mamba, s4d, the RNNs) do not read `heads`, and n and p
        default to d there.  Raises ShapeError unless all sizes are integers of at least 1, heads
        divides d where a default needs it, and n is even where the state is made of pairs;
        DomainError for a seed that numpy refuses.

        >>> import dsf
        >>> dsf.gla.init(d=64, heads=4)(np.ones((5, 64))).shape
        (5, 64)
        >>> dsf.gla.init(d=4, n=2, p=3, heads=5).Wq.shape
        (5, 4, 2)
        """
        given: dict[str, Any] = {"d": d, "n": n, "p": p, "heads": heads}
        for what, size in given.items():
            if size is None and what in "np":
                continue
            if np.ndim(size):
                raise ShapeError(
                    f"{self.name}.init: {what} is a size; got an array of shape {np.shape(size)}. "
                    f"Likely cause: the input instead of its width; write {self.name}.init(d="
                    "u.shape[-1])(u)."
                )
            if not isinstance(size, (int, np.integer)) or size < 1:
                raise ShapeError(
                    f"{self.name}.init: sizes must be integers of at least 1; got {what} = {size!r}"
                )
        n, p = (self._width(d, heads) if size is None else size for size in (n, p))
        if n % 2 and any("n/2" in f.axes for f in self.spec.values()):
            raise ShapeError(
                f"{self.name}.init: the state is made of pairs, so n must be even; got n = {n}"
                + ("" if given["n"] else f", which is the default for d = {d}, heads = {heads}")
            )
        try:
            rng = np.random.default_rng(seed)
        except (TypeError, ValueError) as e:
            raise DomainError(
                f"{self.name}.init: seed must be an integer of at least 0; got {seed!r}"
            ) from e
        return self.cls.init(rng, d=d, n=n, p=p, heads=heads, **self.static)

    def to_torch(
        self,
        d: int,
        n: int | None = None,
        p: int | None = None,
        heads: int = 1,
        seed: int | None = None,
    ) -> Any:
        """A new layer for training, as those of torch: in torch's default dtype, on its default
        device, drawn as `init` draws; the seed comes from torch's generator unless it is given.

        The numbers of an instance are kept, in their dtype, by `Mechanism.to_torch`.  Raises what
        `init` raises.

        >>> import dsf, torch
        >>> layer = dsf.gla.to_torch(d=64, heads=4)
        >>> layer(torch.zeros(2, 10, 64)).shape, layer.Wq.dtype
        (torch.Size([2, 10, 64]), torch.float32)
        """
        return hooks.torch_layer(self, d, n, p, heads, seed)

    def _width(self, d: int, heads: int) -> int:
        """What n and p are where none is given: the share of one head in the width d."""
        if not any("H" in draw.axes for draw in self.cls.draws().values()):
            return d
        if d % heads:
            fit = ", ".join(str(h) for h in range(1, min(d, 64) + 1) if d % h == 0)
            raise ShapeError(
                f"{self.name}.init: heads = {heads} does not divide d = {d}, so n and p have no "
                f"default. Choose a divisor of d ({fit}{', ...' if d > 64 else ''}), or give n and "
                "p: sizes per head; the output has width heads * p."
            )
        return d // heads

    @property
    def facts(self) -> Facts:
        """What the class claims with these options; see `Facts`."""
        return self.without_parameters().facts

    def without_parameters(self) -> Mechanism:
        """The equations without parameter arrays: enough for everything that reads tokens only.

        >>> import dsf
        >>> tok = dsf.gla.draw_tokens(np.random.default_rng(0), L=3, n=2, p=1)
        >>> dsf.gla.without_parameters().system(tok)[0].kernel().shape
        (3, 3)
        """
        return self.cls(**self.static)

    @property
    def look(self) -> tuple[str, int]:
        """Colour and line in figures; a further name of a class takes the next of its lines.

        >>> import dsf
        >>> dsf.linear_attn.look, dsf.normalised_linear_attn.look
        (('orange', 0), ('orange', 1))
        """
        colour, line = self.cls.look
        names = [self.cls.name, *self.cls.also]
        return colour, line + (names.index(self.name) if self.name in names else 0)

    def defaults(self) -> dict[str, Any]:
        """All static options of the class with their values in this family.

        >>> import dsf
        >>> dsf.mamba(skip=True).defaults()
        {'discretisation': 'simplified', 'skip': True}
        """
        return {k: o.values[0] for k, o in self.cls.choices().items()} | dict(self.static)

    @property
    def spec(self) -> dict[str, Field]:
        """The token fields of this family.

        >>> import dsf
        >>> dsf.gla.spec["log_a"].domain
        < 0
        """
        return self.without_parameters().token_fields

    def draw_tokens(self, rng: np.random.Generator, L: int = 1, **sizes: int) -> Tokens:
        """Random float tokens in their domains, no head axis.

        >>> import dsf
        >>> dsf.gla.draw_tokens(np.random.default_rng(0), L=5, n=2, p=3)
        Tokens(q [5 2], k [5 2], v [5 3], log_a [5 2])
        """
        sizes = {"s": self.without_parameters().substeps, **sizes}
        return Tokens(
            **{
                k: f.domain.sample(rng, f.shape(sizes, L))
                for k, f in self.spec.items()
                if k != "pos"
            }
        )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Family)
            and self.cls is other.cls
            and self.defaults() == other.defaults()
        )

    def __hash__(self) -> int:
        return hash((self.cls, tuple(sorted((k, str(v)) for k, v in self.defaults().items()))))

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={v!r}" for k, v in self.static.items())
        return self.name + (f"({shown})" if shown else "")

    def describe(self) -> str:
        """Equations, tokens and facts as a block of text (`str` is the name).

        >>> import dsf
        >>> print(dsf.retnet.describe())
        retnet   RetNet
          update   S_t = gamma S_{t-1} + k_t v_t'
          output   y_t = S_t' q_t
          tokens   q [L n]   k [L n]   v [L p]   gamma [1 1] in (0, 1)
          options  rotation=False
          facts    scalar, contraction, causal, sees order, eigenvalues in (0, 1)
          state    H*n*p numbers
          cost     5*H*n*p flops per token
          source   sun2023
        """
        return printing.block(*printing.family(self))

    def _repr_html_(self) -> str:
        return printing.shown(*printing.family(self))
