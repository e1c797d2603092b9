"""Models by name: folders and GGUF files of transformers, the library, functions of the user."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dsf.core.errors import DomainError, DTypeError, MissingExtraError, UnknownNameError
from dsf.models import library
from dsf.models.capture import run
from dsf.models.probes import users

Encode = Callable[[str], Any]  # text -> token ids


def load(name: str) -> tuple[Any, Encode | None]:
    """The model that `name` stands for, and what turns a text into its tokens, if that is known.

    package.module:function    what the function returns without arguments: a model, or a pair
                               (model, encode), encode(text) -> token ids.  Modules of the working
                               folder are found, too
    a name of the library      a model that `dsf models --fetch` has fetched, with its tokenizer
    a folder, a .gguf file     a causal language model, by transformers (extra `models`), from disk
                               alone; code that comes with a model is not run

    Raises UnknownNameError for what is not there, DTypeError for a function that returns no model,
    MissingExtraError without transformers, DomainError for what transformers cannot read.
    """
    place = Path(name)
    if place.exists():
        return _of_transformers(place)
    if name in {entry.name for entry in library.ENTRIES}:
        trained = library.load(name)
        return trained.model, getattr(trained.tokenizer, "encode", None)
    module, colon, function = name.partition(":")
    if not colon:
        raise UnknownNameError(
            f"inspect: {name!r} is neither a folder or file that is there, nor a model of `dsf "
            "models`, nor package.module:function"
        )
    return _of_function(module, function)


def _of_function(module: str, function: str) -> tuple[Any, Encode | None]:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        factory = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as e:
        raise UnknownNameError(f"inspect: there is no {module}:{function} ({e})") from e
    except Exception as e:
        raise DomainError(f"inspect: {module} cannot be imported: {type(e).__name__}: {e}") from e
    try:
        made = factory()
    except Exception as e:
        raise DomainError(
            f"inspect: {module}:{function}() raised {type(e).__name__}: {e}. It must return a "
            "model, or a pair (model, encode)"
        ) from e
    model, encode = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not callable(model) or not (encode is None or callable(encode)):
        raise DTypeError(
            f"inspect: {module}:{function} must return a model or a pair (model, encode); got "
            f"{type(made).__name__}"
        )
    return model, encode


def _of_transformers(place: Path) -> tuple[Any, Encode | None]:
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as e:
        raise MissingExtraError(
            "inspect: transformers is not installed, and reads models from folders. Install the "
            "extra 'models' of this package, or give package.module:function"
        ) from e
    folder, more = (place, {}) if place.is_dir() else (place.parent, {"gguf_file": place.name})
    options = {"local_files_only": True, **more}
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, **options)
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    except ImportError as e:
        raise MissingExtraError(f"inspect: {place} needs what is not installed: {e}") from e
    except (OSError, ValueError, KeyError) as e:
        raise DomainError(
            f"inspect: transformers cannot read {place} as a causal language model: {e}"
        ) from e
    return model.eval(), lambda text: tokenizer(text)["input_ids"]


def inputs_of(text: Path | None, array: Path | None, encode: Encode | None, tokens: int) -> Any:
    """The input of a model from a file: token ids [1 L] of a text, or a saved array as it is.

    Raises DomainError unless exactly one file is given and can be read, or a text has no encoder.
    """
    import torch

    if (text is None) == (array is None):
        raise DomainError("inspect: give either a --text or an --input")
    if array is None and encode is None:
        raise DomainError(
            "inspect: the function returned a model alone, so a text cannot be turned into "
            "tokens. Let it return (model, encode), or give an --input"
        )
    try:
        if array is not None or encode is None:
            return np.load(str(array), allow_pickle=False)
        ids = list(encode(Path(str(text)).read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, ValueError) as e:
        raise DomainError(f"inspect: {text or array} cannot be read: {e}") from e
    if not ids:
        raise DomainError(f"inspect: {text} holds no tokens")
    return torch.as_tensor(ids, dtype=torch.int64)[None, :tokens]


def require_runs(model: Any, x: Any) -> None:
    """DomainError, with what the model says, where it cannot be called with the input."""
    given = users(model, (x,), {})
    try:
        run(model, given.inputs, {}, lambda call: None)
    except Exception as e:
        raise DomainError(
            f"inspect: the model cannot be run on an input of shape {list(x.shape)}: "
            f"{type(e).__name__}: {e}"
        ) from e
