"""The inputs on which heads are counted: the user's own, and two that a head must retrieve from."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

import numpy as np

from dsf.core.errors import DomainError, DTypeError, ShapeError
from dsf.core.family import Family
from dsf.core.mechanism import Mechanism
from dsf.models.capture import run

TEXT, REPEAT, PAIRS = "text", "repeat", "pairs"
PROBES = (TEXT, REPEAT, PAIRS)
DECODER, LABELS = "decoder_input_ids", "labels"
MASKS = ("attention_mask", "decoder_attention_mask")


@dataclass(frozen=True)
class Probe:
    """One call of the model: its inputs, and the tokens [B L] among them if they are known.

    `ids` is where these stand: a number for positional inputs, a name for the others.  `shown`
    [B L] tells which tokens an attention mask leaves; None for all.  A model with an encoder and a
    decoder has `two` sequences: `targets` is the name of the decoder's tokens, or of labels that
    the model makes them from, `targets_shown` what their mask leaves.
    """

    name: str
    inputs: tuple[Any, ...]
    named: dict[str, Any]
    ids: int | str | None = None
    shown: np.ndarray | None = None
    two: bool = False
    targets: str | None = None
    targets_shown: np.ndarray | None = None

    def fresh(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Inputs for one run: what a run may change, such as a cache, as a copy."""
        return tuple(map(_copied, self.inputs)), {k: _copied(x) for k, x in self.named.items()}

    @property
    def tokens(self) -> np.ndarray | None:
        """The tokens [B L]."""
        return self._at(self.ids)

    @property
    def target_tokens(self) -> np.ndarray | None:
        """The tokens of the decoder [B T], or the labels that they are made from."""
        return self._at(self.targets)

    def of(self, module: str) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The tokens that a module sees, and which are shown; a decoder is known by its name."""
        if not (self.two and "decoder" in module.split(".")):
            return self.tokens, self.shown
        known = self.target_tokens if self.targets == DECODER else None  # labels will be shifted
        return known, self.targets_shown

    def with_tokens(self, name: str, ids: np.ndarray, targets: np.ndarray | None = None) -> Probe:
        """The same call with other tokens, none of them hidden, and without other labels."""
        import torch

        named, inputs = dict(self.named), list(self.inputs)
        for at, new in ((self.ids, ids), (self.targets, targets)):
            if at is None or new is None:
                continue
            old = named[at] if isinstance(at, str) else inputs[at]
            made = torch.as_tensor(new, dtype=old.dtype, device=old.device).reshape(old.shape)
            if isinstance(at, str):
                named[at] = made
            else:
                inputs[at] = made
        for mask in MASKS:
            if named.get(mask) is not None:
                named[mask] = torch.ones_like(named[mask])
        if self.targets != LABELS:
            named.pop(LABELS, None)
        return replace(
            self, name=name, inputs=tuple(inputs), named=named, shown=None, targets_shown=None
        )

    def _at(self, place: int | str | None) -> np.ndarray | None:
        if place is None:
            return None
        found = self.named[place] if isinstance(place, str) else self.inputs[place]
        return np.atleast_2d(np.asarray(found.detach().cpu()))


def _copied(x: Any) -> Any:
    """A tensor itself, a copy of anything else; a cache may hold tensors with their history."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Detached(TorchFunctionMode):
        """torch copies no tensor that was computed with gradients."""

        def __torch_function__(
            self, function: Any, _: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if function is torch.Tensor.__deepcopy__ and not args[0].is_leaf:
                return args[1].setdefault(id(args[0]), args[0].detach().clone())
            return function(*args, **(kwargs or {}))

    if torch.is_tensor(x):
        return x
    with Detached():
        return deepcopy(x)


def users(model: Any, inputs: Sequence[Any], named: dict[str, Any]) -> Probe:
    """The user's own inputs as a probe; arrays of numpy become tensors of the model's dtype."""
    import torch

    taken = tuple(_tensor(model, x) for x in inputs)
    kept = {name: _tensor(model, x) for name, x in named.items()}
    taken, kept = _mask_named(model, taken, kept)
    for x in (*taken, *kept.values()):
        if torch.is_tensor(x) and x.is_meta:
            raise DTypeError(
                "inspect: an input is on torch's `meta` device: it has a shape and no numbers. "
                "Make it on the model's device"
            )
        if torch.is_tensor(x) and not x.numel():
            raise ShapeError(
                f"inspect: an input of shape {list(x.shape)} holds nothing. Give at least one "
                "sequence of at least one token"
            )
    places: list[int | str] = [name for name in ("input_ids",) if name in kept]
    places += [i for i, x in enumerate(taken) if _are_tokens(x)]
    two = DECODER in _parameters(model)
    targets = next((n for n in (DECODER, LABELS) if two and _are_tokens(kept.get(n))), None)
    shown, targets_shown = (_shown_by(kept, mask) for mask in MASKS)
    return Probe(
        TEXT if places else "input", taken, kept, places[0] if places else None, shown,
        two, targets, targets_shown if two else None,
    )  # fmt: skip


def _shown_by(kept: dict[str, Any], name: str) -> np.ndarray | None:
    """Which tokens [B L] a mask leaves; None for all."""
    mask = kept.get(name)
    if mask is None or getattr(mask, "ndim", 0) != 2 or bool((mask != 0).all()):
        return None
    shown = np.asarray((mask != 0).cpu())
    hidden = ~shown.any(1)
    if hidden.any():
        raise DomainError(
            f"inspect: {name} hides every token of sequence {int(hidden.argmax())}. "
            "Likely cause: 0 and 1 are exchanged; 1 marks tokens that count"
        )
    return shown


def _parameters(model: Any) -> tuple[str, ...]:
    """Names of what a model takes, in their order; none for functions without a signature."""
    try:
        return tuple(signature(getattr(model, "forward", model)).parameters)
    except (TypeError, ValueError):
        return ()


def _mask_named(
    model: Any, taken: tuple[Any, ...], kept: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A mask that was given by its place, by its name, and what comes after it."""
    names = _parameters(model)
    at = names.index(MASKS[0]) if MASKS[0] in names[: len(taken)] else len(taken)
    if len(taken) > len(names):
        return taken, kept
    return taken[:at], kept | dict(zip(names[at:], taken[at:], strict=False))


def _are_tokens(x: Any) -> bool:
    import torch

    return (
        isinstance(x, torch.Tensor) and x.ndim in (1, 2) and x.dtype in (torch.int32, torch.int64)
    )


def _tensor(model: Any, x: Any) -> Any:
    import torch

    if torch.is_tensor(x) and x.is_inference():  # of these no derivative can be taken
        with torch.inference_mode(False):
            return x.clone()
    if not isinstance(x, np.ndarray):
        return x
    if not np.issubdtype(x.dtype, np.floating):
        return torch.as_tensor(x)
    weights = model.parameters() if isinstance(model, torch.nn.Module) else ()
    kind = next((p.dtype for p in weights if p.is_floating_point()), torch.float64)
    return torch.as_tensor(x).to(kind)


def vocabulary_of(model: Any, text: Probe) -> int | None:
    """How many tokens there are: rows of the first `nn.Embedding` that is given them, or None.

    A table of positions may have more rows; a token beyond its own table would stop the model.
    Where the decoder's tokens are read from a smaller table, its rows.
    """
    import torch

    known = [x for x in (text.tokens, text.target_tokens) if x is not None]
    if not isinstance(model, torch.nn.Module) or text.tokens is None:
        return None
    rows: dict[int, int] = {}  # 0: of the tokens, 1: of the decoder's

    def look(module: Any, given: tuple[Any, ...]) -> None:
        read = [x for x in given[:1] if torch.is_tensor(x) and not x.is_floating_point()]
        for i, tokens in enumerate(known):
            if any(np.array_equal(x.detach().cpu().numpy().ravel(), tokens.ravel()) for x in read):
                rows.setdefault(i, int(module.num_embeddings))

    hooks = [
        m.register_forward_pre_hook(look)
        for m in model.modules() if isinstance(m, torch.nn.Embedding)
    ]  # fmt: skip
    try:
        run(model, *text.fresh(), lambda call: None)
    finally:
        for hook in hooks:
            hook.remove()
    return min(rows.values()) if 0 in rows else None


def drawn(text: Probe, vocabulary: int, which: Sequence[str], seed: int) -> list[Probe]:
    """The probes of random tokens, as long as the text, each beginning with its first token.

    repeat   x_1 .. x_n x_1 .. x_n, tokens drawn without repetition
    pairs    k_1 v_1 k_2 v_2 .. and the same pairs in another order: after a key its value

    The tokens of a decoder are drawn in the same way, for themselves.
    """
    wanted = [name for name in which if name in (REPEAT, PAIRS)]
    tokens, targets = text.tokens, text.target_tokens
    if tokens is None or not wanted or tokens.shape[1] < 5:
        return []
    longest = max(x.shape[1] for x in (tokens, targets) if x is not None)
    half = (longest - 1) // 2
    if vocabulary < half + 1:
        raise DomainError(
            f"inspect: {vocabulary} tokens are too few for the probes, which draw {half} different "
            "ones. Give a shorter text, or probes=('text',)"
        )
    rng = np.random.default_rng(seed)
    found = []
    for name in wanted:
        ids = np.stack([_row(name, row, vocabulary, rng) for row in tokens])
        others = None
        if targets is not None:
            others = np.stack([_row(name, row, vocabulary, rng) for row in targets])
        found.append(text.with_tokens(name, ids, others))
    return found


def _row(name: str, tokens: np.ndarray, vocabulary: int, rng: np.random.Generator) -> np.ndarray:
    """Tokens of a probe [L]."""
    half, odd = divmod(len(tokens) - 1, 2)
    fresh = rng.choice(vocabulary, size=half + odd, replace=False)
    body, rest = fresh[:half], fresh[half:]
    again = body
    if name == PAIRS:
        n = half // 2
        paired = body[: 2 * n].reshape(n, 2)[rng.permutation(n)].reshape(-1)
        again = np.concatenate([paired, body[2 * n :]])
    return np.concatenate([tokens[:1], body, again, rest])


def require_known(which: Sequence[str]) -> tuple[str, ...]:
    """The names of probes; DomainError for others."""
    names = (which,) if isinstance(which, str) else tuple(which)
    odd = [name for name in names if name not in PROBES]
    if odd or not names:
        raise DomainError(f"inspect: probes are among {', '.join(PROBES)}; got {odd or names}")
    return names


def require_on_device(model: Any) -> None:
    """DTypeError for a model that holds no numbers, and for a mechanism that is no module."""
    import torch

    if isinstance(model, (Mechanism, Family)):
        raise DTypeError(
            f"inspect: {model.name} is no torch module. Give mech.to_torch(), or use "
            "dsf.linearise(mech, u) for its system"
        )
    if isinstance(model, torch.nn.Module) and any(p.is_meta for p in model.parameters()):
        raise DTypeError(
            "inspect: the model is on torch's `meta` device: it has shapes and no numbers. Load "
            "its weights first"
        )


def require_fits(call_tokens: int, shown: np.ndarray) -> None:
    """ShapeError where an attention mask does not belong to the tokens of a call."""
    if shown.shape[-1] != call_tokens:
        raise ShapeError(
            f"inspect: attention_mask is about {shown.shape[-1]} tokens and attention was called "
            f"on {call_tokens}"
        )
