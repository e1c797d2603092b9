"""Mechanisms: what turns an input sequence into a linear time-varying system, written once."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import cache, cached_property
from typing import Any, ClassVar, dataclass_transform

import numpy as np

from dsf.core import border, hooks, ops, printing
from dsf.core.arrays import at_least_float32, full_precision
from dsf.core.checks import all_finite
from dsf.core.draws import Draw, Option, by_name, check_declared
from dsf.core.errors import (
    NotContractive,
    NotLinearError,
    ShapeError,
    UnknownNameError,
)
from dsf.core.facts import Facts
from dsf.core.fields import Field
from dsf.core.ops import Array
from dsf.core.parts import CHUNK, in_parts
from dsf.core.state import State
from dsf.core.system import LTV
from dsf.core.tokens import Tokens

# every class that was given a name: name -> (class, options); read by `dsf.core.catalogue`
NAMED: dict[str, tuple[type[Mechanism], dict[str, Any]]] = {}


@dataclass_transform(frozen_default=True, eq_default=False)
@dataclasses.dataclass(frozen=True, eq=False)
class Mechanism:
    """Base class of `Recurrence`, `Attention` and `Step`, which say how tokens become outputs.

    A mechanism's fields are parameter arrays (`weight`, `zeros`, ...) and options; its equations:

        tokens(u) -> Tokens           pointwise in time: projections, gates, feature maps
        one method of its kind        `recurrence(tok)`, `weights(tok, L)` or `step(S, tok)`
        readout(o, tok) -> o          static output map (default: division by `normaliser`, if any)

    The class keyword `name` enters it in the catalogue, `look` is its colour in figures and one of
    three line styles; every subclass becomes a frozen dataclass.
    An input u [... L d] is computed in the wider dtype of u and the parameters, at least float32;
    integers and lists in float64.  bool, text and complex raise DTypeError: see `dsf.core.border`.

    The method of the kind never reads the parameter arrays: constants are token fields with time
    axis 1, so that statements "for all tokens" are about this code.

    >>> import dsf
    >>> dsf.gla.init(d=4, n=2, p=3)
    gla(Wq=[1 4 2], Wk=[1 4 2], Wv=[1 4 3], W1=[1 4 4], W2=[1 4 2], b=[1 1 2])
    """

    name: ClassVar[str] = ""
    # field -> axes and domain: "L n < 0", "... if option[=value]", a tuple of alternatives
    spec: ClassVar[dict[str, Any]] = {}
    equations: ClassVar[tuple[str, str]]  # state update and output, for printouts
    conventions: ClassVar[tuple[str, ...]] = ()  # scalings that another library may not have
    facts: ClassVar[Facts]
    lookback: ClassVar[int | None] = 0  # earlier rows that are read; None: all of them
    not_cached: ClassVar[tuple[str, ...]] = ()  # fields of earlier tokens that are never read
    letters: ClassVar[Mapping[str, Callable[..., int]]] = {}  # further sizes in parameter shapes
    also: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # further names: name -> options
    tried: ClassVar[tuple[Mapping[str, Any], ...]] = ()  # combinations of options for the contract
    look: ClassVar[tuple[str, int]] = ("", 0)
    bibtex: ClassVar[str] = ""  # the entry of `facts.source`, if the bibliography lacks it
    stateful: ClassVar[bool] = True  # False: all that is kept are rows of tokens
    has_heads: ClassVar[bool] = True  # whether coefficients carry a head (or channel) axis

    # ----------------------------------------------------- written by authors
    def tokens(self, u: Array) -> Tokens:
        """The tokens of an input u [... L d]; row i depends on u_i only."""
        raise NotImplementedError

    def readout(self, o: Array, tok: Tokens) -> Array:
        """Output map on o [... L r p]; by default o without its last column over the normaliser."""
        eta = self.normaliser(o, tok)
        return o if eta is None else o[..., :-1] / border.nonzero(self, eta)

    def normaliser(self, o: Array, tok: Tokens) -> Array | None:
        """eta [... L 1 1] from the output of the appended value 1, or None."""
        return None

    @property
    def substeps(self) -> int:
        """Substeps per token, of which the last is read."""
        return 1

    def validate(self, tok: Tokens) -> None:
        """Warn about tokens that compute but are probably not meant (float worlds only)."""

    @classmethod
    def init(
        cls, rng: np.random.Generator, d: int, n: int, p: int, heads: int, **given: Any
    ) -> Any:
        """An instance whose parameters are drawn as declared, in the order of the fields.

        Options, and parameters drawn already, are in `given`; called by `Family.init`.
        """
        sizes = {"d": d, "n": n, "p": p, "H": heads}
        for f in fields(cls):
            if "option" in f.metadata and type(f.default) is int:
                sizes[f.name] = given.get(f.name, f.default)
        sizes |= {letter: by_name(f, sizes) for letter, f in cls.letters.items()}
        options = {k: o.values[0] for k, o in cls.choices().items()} | given
        needed = cls.drawn_with(options).items()
        return cls(**{k: draw(rng, sizes) for k, draw in needed if k not in given}, **given)

    # ------------------------------------------------------- written by kinds
    def system(self, tok: Tokens) -> tuple[LTV, Array]:
        """The linear system that tokens make, and the values that drive it; of a recurrence."""
        raise NotLinearError(
            f"{self.name}.system: tokens alone make a linear system in a recurrence only. Use "
            "ltv(u), or `weights(tok, L)` of attention."
        )

    def outputs(self, tok: Tokens, full: Tokens, S: Any) -> tuple[Array, Any]:
        """(o [... L r p], S) from these tokens, these behind the kept earlier ones, the state."""
        raise NotImplementedError

    def linear(self, tok: Tokens, L: int) -> tuple[LTV, Array]:
        """The linear system that L tokens make from the start, normaliser in C, and its values."""
        raise NotImplementedError

    def mixing(self, tok: Tokens, L: int) -> Array:
        """The token-mixing matrix of L tokens."""
        with np.errstate(over="ignore", invalid="ignore"):
            M = self.linear(tok, L)[0].kernel()
        return ops.real(M) if ops.is_complex(M) else M

    # ------------------------------------------------------- sizes and worlds
    @classmethod
    def draws(cls) -> dict[str, Draw]:
        """The declared parameters: shape and initial law by name."""
        return {f.name: f.metadata["draw"] for f in fields(cls) if "draw" in f.metadata}

    @classmethod
    def drawn_with(cls, options: Mapping[str, Any]) -> dict[str, Draw]:
        """The declared parameters that an instance with these options has."""
        every = cls.draws().items()
        return {k: d for k, d in every if d.when is None or options[d.when[0]] == d.when[1]}

    @classmethod
    @cache  # two families are compared by them, in every search for a chain of nestings
    def choices(cls) -> dict[str, Option]:
        """The declared options by name."""
        return {f.name: f.metadata["option"] for f in fields(cls) if "option" in f.metadata}

    @cached_property
    def token_fields(self) -> dict[str, Field]:
        """The token fields with these options, in the order of the spec."""
        found = {name: Field.of(text, self.options()) for name, text in self.spec.items()}
        return {name: field for name, field in found.items() if field is not None}

    def parameters(self) -> dict[str, Array]:
        """The parameter arrays by name.

        >>> import dsf
        >>> sorted(dsf.softmax.init(d=2).parameters())
        ['Wk', 'Wq', 'Wv']
        """
        named = {k: getattr(self, k) for k in self.draws()}
        return {k: v for k, v in named.items() if v is not None}

    def options(self) -> dict[str, Any]:
        """The static options by name.

        >>> import dsf
        >>> dsf.s4d.init(d=2).options()
        {'discretisation': 'zoh'}
        """
        return {name: getattr(self, name) for name in self.choices()}

    def map(self, f: Callable[..., Array]) -> Any:
        """f applied to every parameter: symbols, balls, torch, float32, another device.

        >>> import dsf
        >>> dsf.gla.init(d=2).map(np.float32)(np.ones((3, 2), dtype=np.float32)).dtype
        dtype('float32')
        """
        if getattr(f, "named", False):  # dsf.symbols wants to know which parameter it names
            return replace(self, **{k: f(v, k) for k, v in self.parameters().items()})
        return replace(self, **{k: f(v) for k, v in self.parameters().items()})

    @property
    def d(self) -> int:
        """Model width, read off the first parameter that has it."""
        arrays = self.parameters()
        for name, draw in self.draws().items():
            if "d" in draw.axes and name in arrays:
                return arrays[name].shape[draw.axes.index("d") - len(draw.axes)]
        raise ShapeError(
            f"{self.name}: no parameter array has the axis d, so no input can be read. Likely "
            "cause: an instance without parameters; draw one with family.init(d=...)."
        )

    @cached_property
    def sizes(self) -> dict[str, int]:
        """d, H and the sizes of the token axes, read off the arrays.

        >>> import dsf
        >>> sizes = dsf.gla.init(d=4, n=2, p=3, heads=5).sizes
        >>> [sizes[letter] for letter in "dHnp"]
        [4, 5, 2, 3]
        """
        tok = self.tokens(ops.zeros((1, self.d), next(iter(self.parameters().values()))))
        found = {"d": self.d, "H": 1, "s": self.substeps}
        for name, field in self.token_fields.items():
            if not hasattr(tok, name):
                continue
            shape = getattr(tok, name).shape
            axes = ("H", *field.axes) if self.has_heads and len(field.axes) == 2 else field.axes
            for letter, size in zip(reversed(axes), reversed(shape), strict=False):
                if letter not in ("L", "sL", "1") and (size != 1 or letter not in found):
                    found[letter] = size
        return found

    # ------------------------------------------------------------- evaluation
    def __call__(self, u: Array) -> Array:
        """The output sequence y [... L H p] with heads concatenated, for u [... L d].

        >>> import dsf
        >>> dsf.gla.init(d=4, n=2, p=3, heads=5)(np.ones((7, 4))).shape
        (7, 15)
        """
        return self.run(u)[0]

    @full_precision
    def run(self, u: Array, state: State | None = None) -> tuple[Array, State]:
        """(y, state): continue a sequence; run(whole) = run(part), state, run(rest) at any cut.

        Long sequences in numpy are cut so, as what is in the cache need not be fetched again.

        >>> import dsf
        >>> mech, u = dsf.gla.init(d=2), np.ones((5, 2))
        >>> y, state = mech.run(u[:3])
        >>> bool(np.allclose(mech.run(u[3:], state)[0], mech(u)[3:], rtol=1e-14))
        True
        """
        if self._is_long(u):
            return in_parts(self.name, self, u, state=state)
        mech, u, tok = border.tokens(self, u)
        if state is None:
            state = State()
        else:
            border.check_state(mech, state, u)
        with border.named(mech):
            o, new = mech.advance(tok, state)
        y = mech.merge(o)
        if ops.readable(y) and not all(bool(all_finite(x)) for x in (y, *new.arrays())):
            border.explain(mech, u, y, state.arrays())
        return y, new

    def _is_long(self, u: Any) -> bool:
        """Whether u [... L d] is worth cutting: what is handed on does not grow with it."""
        cut = self.stateful and self.lookback is not None and isinstance(u, np.ndarray)
        return cut and u.ndim > 1 and u.shape[-1] == self.d and u.shape[-2] > 2 * CHUNK

    @full_precision
    def advance(self, tok: Tokens, state: State) -> tuple[Array, State]:
        """Outputs o [... L r p] (heads apart) and the new state, from tokens instead of inputs.

        >>> import dsf
        >>> mech = dsf.gla.init(d=4, n=2, p=3, heads=5)
        >>> mech.advance(mech.tokens(np.ones((7, 4))), State())[0].shape
        (5, 7, 1, 3)
        """
        tok, full = self.behind(tok, state)
        o, S = self.outputs(tok, full, state.S)
        return self.readout(o, tok), State(S, self.tail_of(full), state.t + self.length(tok))

    def behind(self, tok: Tokens, state: State) -> tuple[Tokens, Tokens]:
        """Tokens at their positions, and the same behind the earlier rows that are read."""
        tok = self.positioned(tok.map(at_least_float32), state.t)
        if state.tail is not None:
            return tok, tok.after(state.tail, self.token_fields)
        return tok, self.after_nothing(tok) if self.lookback else tok

    def ltv(self, u: Array) -> LTV:
        """The linear system that this input produces: y = kernel . values before output gates.

        A normaliser is moved into C, substeps are one step with several inputs, the growing
        cache of attention is a shift register.  Raises NotLinearError for a nonlinear step.

        >>> import dsf
        >>> ltv = dsf.gla.init(d=4, n=2, p=3).ltv(np.ones((5, 4)))
        >>> ltv.length, ltv.n, ltv.A.structure
        (5, 2, 'diagonal')
        """
        return self.system_on(u)[0]

    @full_precision
    def system_on(self, u: Array) -> tuple[LTV, Array]:
        """`ltv(u)` and the values X [... L m p] that drive it.

        >>> import dsf
        >>> mech, u = dsf.gla.init(d=4, n=2, p=3), np.ones((5, 4))
        >>> ltv, X = mech.system_on(u)
        >>> bool(np.allclose(ltv.scan(X)[0][0, :, 0], mech(u), rtol=1e-14))
        True
        """
        mech, u, tok = border.tokens(self, u)
        with border.named(mech):
            return mech.linear(mech.positioned(tok, 0), u.shape[-2])

    @full_precision
    def kernel(self, u: Array) -> Array:
        """The token-mixing matrix [... H L L], or [... L r L m]: real part of ltv(u).kernel().

        >>> import dsf
        >>> dsf.softmax.init(d=2).kernel(np.zeros((2, 2)))[0]
        array([[1. , 0. ],
               [0.5, 0.5]])
        """
        mech, u, tok = border.tokens(self, u)
        with border.named(mech):
            return mech.mixing(mech.positioned(tok, 0), u.shape[-2])

    def to_torch(self) -> Any:
        """The mechanism as a `torch.nn.Module`: its numbers as parameters, in their dtype.

        No digit is lost, so float64 stays float64 although torch's default is narrower; convert it
        as any module, `.float()`, or draw a new layer with `Family.to_torch`.

        >>> import dsf
        >>> sum(1 for _ in dsf.softmax.init(d=2).to_torch().parameters())
        3
        """
        return hooks.torch_module(self)

    # ---------------------------------------------------------------- helpers
    def length(self, tok: Tokens) -> int:
        """Number of tokens (rows of the per-token fields)."""
        spec = self.token_fields
        for odd in (k for k in tok.names if k not in spec):
            raise UnknownNameError(f"{self.name}: no token {odd!r}; its tokens: {', '.join(spec)}")
        rows = [x.shape[-2] for k, x in tok.items() if spec[k].axes[-2] == "L"]
        if not rows:
            raise ShapeError(f"{self.name}: the token spec has no per-token field")
        return max(rows)  # with a tail, the fields that are not kept are shorter

    def positioned(self, tok: Tokens, t: int) -> Tokens:
        """The tokens with their positions t, t+1, ... in the field `pos`, if the spec has one."""
        if "pos" not in self.token_fields or "pos" in tok.names:
            return tok
        like = next(v for k, v in tok.items() if self.token_fields[k].per_token)
        return tok.replace(pos=ops.positions(t, self.length(tok), like))

    def tail_of(self, full: Tokens) -> Tokens | None:
        """The rows that the tokens after these look back on."""
        if self.lookback == 0:
            return None
        T = self.length(full)
        keep = T if self.lookback is None else min(self.lookback, T)
        if not keep:
            return None
        kept = Tokens(**{k: v for k, v in full.items() if k not in self.not_cached})
        return kept.part(T - keep, T, self.token_fields, self.substeps)

    def after_nothing(self, tok: Tokens) -> Tokens:
        """The tokens behind `lookback` rows of zeros: the start of a sequence."""
        rows = {"L": self.lookback or 0, "sL": (self.lookback or 0) * self.substeps}
        blank = {
            k: ops.zeros((*v.shape[:-2], rows[self.token_fields[k].axes[-2]], v.shape[-1]), v)
            for k, v in tok.items()
            if self.token_fields[k].per_token
        }
        return tok.after(Tokens(**blank), self.token_fields)

    def merge(self, o: Array) -> Array:
        """[... H L r p] -> [... L H r p] with the last three joined (no head axis: [... L r p])."""
        if self.has_heads:
            o = ops.moveaxis(o, -4, -3)
            return o.reshape(*o.shape[:-3], o.shape[-3] * o.shape[-2] * o.shape[-1])
        return o.reshape(*o.shape[:-2], o.shape[-2] * o.shape[-1])

    def warn_growth(self, eigenvalue: Array) -> None:
        """Warn NotContractive where an eigenvalue of the transition is below -1."""
        if bool((eigenvalue < -1).any()):
            warnings.warn(
                f"{self.name}: an eigenvalue of the transition is {eigenvalue.min().item():.6g}, "
                "below -1, so the state may grow. Normalise the keys or reduce the step.",
                NotContractive,
                stacklevel=5,
            )

    def __init_subclass__(
        cls, name: str = "", look: tuple[str, int] = ("", 0), **options: Any
    ) -> None:
        super().__init_subclass__(**options)
        cls.name, cls.look = name or cls.__name__, look
        if "__repr__" not in vars(cls):  # otherwise @dataclass writes one that prints all numbers
            cls.__repr__ = Mechanism.__repr__  # type: ignore[method-assign]
        dataclasses.dataclass(frozen=True, eq=False)(cls)
        if name:
            check_declared(cls, name)
            for one, static in {name: {}, **vars(cls).get("also", {})}.items():
                _enter(cls, one, dict(static))

    def __post_init__(self) -> None:
        for k, declared in self.choices().items():
            declared.allowed(f"{self.name}: {k}", getattr(self, k))

    def __repr__(self) -> str:
        shown = [f"{k}={printing.axes(v)}" for k, v in self.parameters().items()]
        shown += [f"{k}={v!r}" for k, v in self.options().items()]
        return f"{self.name}({', '.join(shown)})"

    def __str__(self) -> str:
        return printing.block(*printing.mechanism(self))

    def _repr_html_(self) -> str:
        return printing.shown(*printing.mechanism(self))


def _enter(cls: type[Mechanism], name: str, static: dict[str, Any]) -> None:
    """Add a class to the catalogue; a class of the same place takes its own earlier place."""
    held = NAMED.get(name, (cls, {}))[0]
    if (held.__module__, held.__qualname__) != (cls.__module__, cls.__qualname__):
        raise UnknownNameError(
            f"{cls.__qualname__}: the name {name!r} is that of {held.__module__}."
            f"{held.__qualname__}. Choose another name."
        )
    NAMED[name] = (cls, static)
