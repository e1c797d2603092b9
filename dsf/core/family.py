"""Families: a mechanism class with its static options; what lower-case names stand for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from dsf.core import printing
from dsf.core.errors import DomainError, ShapeError, UnknownNameError
from dsf.core.facts import Facts
from dsf.core.mechanism import Mechanism
from dsf.core.tokens import Field, Tokens, sample

REGISTRY: dict[str, Family] = {}


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

    def __call__(self, **options: Any) -> Family:
        known = {*self.defaults(), *getattr(self.cls, "init_options", ())}
        for option in options:
            if option not in known:
                names = ", ".join(sorted(known)) or "none"
                raise UnknownNameError(f"{self.name}: no option {option!r}; options: {names}")
        choices = self.cls.choices
        chosen = {k: _allowed(f"{self.name}: {k}", v, choices.get(k)) for k, v in options.items()}
        return Family(self.name, self.cls, {**self.static, **chosen})

    def init(
        self, d: int, n: int | None = None, p: int | None = None, heads: int = 1, seed: int = 0
    ) -> Mechanism:
        """An instance with model width d, state size n, p values per head (float64).

        Raises ShapeError unless all sizes are at least 1.  n and p default to d.

        >>> import dsf
        >>> dsf.gla.init(d=4, n=2, p=3, heads=5).Wq.shape
        (5, 4, 2)
        """
        n, p = d if n is None else n, d if p is None else p
        if min(d, n, p, heads) < 1:
            raise ShapeError(
                f"{self.name}.init: sizes must be at least 1; got d={d}, n={n}, p={p}, "
                f"heads={heads}"
            )
        rng = np.random.default_rng(seed)
        return self.cls.init(rng, d=d, n=n, p=p, heads=heads, **self.static)

    @property
    def facts(self) -> Facts:
        """What the class claims with these options; see `Facts`."""
        return self.bare().facts

    def bare(self) -> Mechanism:
        """The equations without parameter arrays: enough for `system`, `rows` and `readout`.

        >>> import dsf
        >>> tok = dsf.gla.draw_tokens(np.random.default_rng(0), L=3, n=2, p=1)
        >>> dsf.gla.bare().system(tok)[0].kernel().shape
        (3, 3)
        """
        options = {f.name: None for f in fields(self.cls)} | self.defaults()
        return self.cls(**options)

    def defaults(self) -> dict[str, Any]:
        """All static options of the class with their values in this family.

        >>> import dsf
        >>> dsf.mamba(skip=True).defaults()
        {'discretisation': 'simplified', 'skip': True}
        """
        default = {
            f.name: f.default
            for f in fields(self.cls)
            if isinstance(f.default, (str, int, float, bool, tuple))
        }
        return default | {
            k: v for k, v in self.static.items() if k in {f.name for f in fields(self.cls)}
        }

    @property
    def spec(self) -> dict[str, Field]:
        """The token fields of this family.

        >>> import dsf
        >>> dsf.gla.spec["log_a"].domain
        '< 0'
        """
        return self.bare().token_fields

    def draw_tokens(self, rng: np.random.Generator, L: int = 1, **sizes: int) -> Tokens:
        """Random float tokens in their domains, no head axis.

        >>> import dsf
        >>> dsf.gla.draw_tokens(np.random.default_rng(0), L=5, n=2, p=3)
        Tokens(q [5 2], k [5 2], v [5 3], log_a [5 2])
        """
        sizes = {"s": self.bare().micro, **sizes}
        return Tokens(
            **{k: sample(f, f.shape(sizes, L), rng) for k, f in self.spec.items() if k != "pos"}
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


def register(name: str, cls: type[Mechanism], **static: Any) -> Family:
    """Create a family and enter it in the registry.

    >>> import dsf
    >>> register("fading", dsf.gla.cls)
    fading
    >>> del REGISTRY["fading"]
    """
    family = Family(name, cls, static)
    REGISTRY[name] = family
    return family


def family(name: str | Family) -> Family:
    """A family by name, with options in brackets: `family("linear_attn(phi=exp)")`.

    Raises UnknownNameError with near matches.

    >>> family("deltanet(reach=2)").facts.eigenvalues
    '(-1, 1]'
    """
    if isinstance(name, Family):
        return name
    import dsf.mechanisms  # noqa: F401  (fills the registry)

    match = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", name)
    if not match or match[1] not in REGISTRY:
        near = difflib.get_close_matches(name, REGISTRY, n=3, cutoff=0.4)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise UnknownNameError(
            f"no mechanism named {name!r}.{hint} Known: {', '.join(sorted(REGISTRY))}"
        )
    options: dict[str, Any] = {}
    for item in filter(None, (match[2] or "").split(",")):
        key, _, value = item.partition("=")
        options[key.strip()] = _literal(value.strip())
    return REGISTRY[match[1]](**options) if options else REGISTRY[match[1]]


def family_of(mech: Mechanism) -> Family:
    """The family of an instance: its class with its options, under the registered name.

    >>> import dsf
    >>> family_of(dsf.retnet(rotation=True).init(d=2, n=2))
    retnet(rotation=True)
    """
    import dsf.mechanisms  # noqa: F401  (fills the registry)

    options = {k: v for k, v in mech.options().items() if v is not None}
    named = [f for f in REGISTRY.values() if f.cls is type(mech)]
    name = named[0].name if named else type(mech).__name__
    plain = Family(name, type(mech)).defaults()
    return Family(name, type(mech), {k: v for k, v in options.items() if plain.get(k) != v})


def _allowed(what: str, value: Any, choices: Any) -> Any:
    """The value if it is one of the choices (a tuple, or the smallest allowed integer)."""
    if isinstance(choices, int) and (type(value) is not int or value < choices):
        raise DomainError(f"{what} must be an integer of at least {choices}; got {value!r}")
    if isinstance(choices, tuple):
        if value not in choices:
            raise UnknownNameError(f"{what} must be one of {choices}; got {value!r}")
        return choices[choices.index(value)]  # 1 is True here
    return value


def _literal(text: str) -> Any:
    if text in ("True", "False"):
        return text == "True"
    try:
        return int(text)
    except ValueError:
        return text.strip("'\"")
