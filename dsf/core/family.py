"""Families: a mechanism class with its options; what lower-case names stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dsf.core import printing
from dsf.core.errors import DomainError, DTypeError, ShapeError, UnknownNameError
from dsf.core.facts import Facts
from dsf.core.fields import Field
from dsf.core.mechanism import Mechanism
from dsf.core.tokens import Tokens


@dataclass(frozen=True)
class Family:
    """All mechanisms of one class with the same static options.

    `family.init(d=, n=, p=, heads=1, seed=0)` draws an instance with the initialisation of its
    paper; `family(option=value)` is the family with other options.

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
        """An instance with model width d, state size n, p values per head (float64).

        n and p default to d.  Raises ShapeError unless all sizes are integers of at least 1, and n
        is even where the state is made of pairs; DomainError for a seed that numpy refuses.

        >>> import dsf
        >>> dsf.gla.init(d=4, n=2, p=3, heads=5).Wq.shape
        (5, 4, 2)
        """
        n, p = d if n is None else n, d if p is None else p
        for what, size in (("d", d), ("n", n), ("p", p), ("heads", heads)):
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
        if n % 2 and any("n/2" in f.axes for f in self.spec.values()):
            raise ShapeError(
                f"{self.name}.init: the state is made of pairs, so n must be even; got n = {n}"
            )
        try:
            rng = np.random.default_rng(seed)
        except (TypeError, ValueError) as e:
            raise DomainError(
                f"{self.name}.init: seed must be an integer of at least 0; got {seed!r}"
            ) from e
        return self.cls.init(rng, d=d, n=n, p=p, heads=heads, **self.static)

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
        return printing.family(self)
