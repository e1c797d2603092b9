"""Small trained networks as modules of torch: equations of their packages, stored weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from dsf.core.errors import MissingExtraError
from dsf.models.library.archives import file

LETTERS = ("<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz")
# the sounds of CMUdict with stress 0, 1, 2 on vowels, in the order of the stored weights
VOWELS_A = [f"{v}{s}" for v in ("AA", "AE", "AH", "AO", "AW", "AY") for s in "012"]
VOWELS_E = [f"{v}{s}" for v in ("EH", "ER", "EY") for s in "012"]
VOWELS_O = [f"{v}{s}" for v in ("OW", "OY") for s in "012"]
SOUNDS = (
    "<pad>", "<unk>", "<s>", "</s>", *VOWELS_A, "B", "CH", "D", "DH", *VOWELS_E, "F", "G", "HH",
    "IH0", "IH1", "IH2", "IY0", "IY1", "IY2", "JH", "K", "L", "M", "N", "NG", *VOWELS_O, "P", "R",
    "S", "SH", "T", "TH", "UH0", "UH1", "UH2", "UW", "UW0", "UW1", "UW2", "V", "W", "Y", "Z", "ZH",
)  # fmt: skip


class Pronouncer(nn.Module):
    """g2p-en: logits [B T 74] of sounds from letters [B S] and the sounds before [B T].

    >>> Pronouncer()(torch.zeros(1, 5, dtype=torch.long), torch.zeros(1, 3, dtype=torch.long)).shape
    torch.Size([1, 3, 74])
    """

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.letters = nn.Embedding(len(LETTERS), width)
        self.encoder = nn.GRU(width, width, batch_first=True)
        self.sounds = nn.Embedding(len(SOUNDS), width)
        self.decoder = nn.GRU(width, width, batch_first=True)
        self.out = nn.Linear(width, len(SOUNDS))

    def forward(self, letters: torch.Tensor, sounds: torch.Tensor) -> torch.Tensor:
        _, h = self.encoder(self.letters(letters))
        return self.out(self.decoder(self.sounds(sounds), h)[0])

    def encode(self, word: str) -> torch.Tensor:
        """The letters of a word, and its end [1 S]."""
        known = {c: i for i, c in enumerate(LETTERS)}
        return torch.tensor([[known.get(c, 1) for c in (*word.lower(), "</s>")]])

    @torch.no_grad()
    def pronounce(self, word: str, most: int = 20) -> list[str]:
        """The likeliest sound after the sounds so far, until the end."""
        letters, said = self.encode(word), [SOUNDS.index("<s>")]
        while len(said) <= most:
            best = int(self(letters, torch.tensor([said]))[0, -1].argmax())
            if SOUNDS[best] == "</s>":
                break
            said.append(best)
        return [SOUNDS[i] for i in said[1:]]


class VoiceDetector(nn.Module):
    """silero-vad at 16 kHz: P(speech) [B T] of a sound [B 512 T] in -1..1.

    A frame of 512 samples is seen with the 64 before it: |STFT|, four convolutions, one LSTM cell.

    >>> VoiceDetector()(torch.zeros(1, 1024)).shape
    torch.Size([1, 2])
    """

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(129, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm = nn.LSTM(128, 128, batch_first=True)
        self.final_conv = nn.Conv1d(128, 1, 1)

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        frames = nn.functional.pad(sound, (64, 0)).unfold(-1, 576, 512)
        B, T = frames.shape[:2]
        x = nn.functional.pad(frames.reshape(B * T, 1, 576), (0, 64), mode="reflect")
        real, imaginary = self.stft_conv(x).split(129, 1)
        x = (real**2 + imaginary**2).sqrt()
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = conv(x).relu()
        h = self.lstm(x.reshape(B, T, 128))[0]
        return self.final_conv(h.relu().mT).sigmoid()[:, 0]


class CharacterModel(nn.Module):
    """textgenrnn: log P(next character) [B 465] from the 40 before it [B 40], 0 where none is.

    >>> CharacterModel()(torch.zeros(2, 40, dtype=torch.long)).shape
    torch.Size([2, 465])
    """

    LENGTH = 40

    def __init__(self, characters: Mapping[str, int] | None = None) -> None:
        super().__init__()
        self.characters = dict(characters or {})
        self.embedding = nn.Embedding(465, 100)
        self.rnn_1 = nn.LSTM(100, 128, batch_first=True)
        self.rnn_2 = nn.LSTM(128, 128, batch_first=True)
        self.attention = nn.Linear(356, 1, bias=False)
        self.output = nn.Linear(356, 465)

    def forward(self, characters: torch.Tensor) -> torch.Tensor:
        x = self.embedding(characters)
        first = self.rnn_1(x)[0]
        x = torch.cat([x, first, self.rnn_2(first)[0]], -1)
        pooled = (self.attention(x).softmax(1) * x).sum(1)
        return self.output(pooled).log_softmax(-1)

    def encode(self, text: str) -> torch.Tensor:
        """The windows [len(text) + 1, 40] before each character and after the last one."""
        known = [self.characters["<s>"], *(self.characters.get(c, 0) for c in text)]
        padded = [0] * self.LENGTH + known
        return torch.tensor([padded[i + 1 : i + 1 + self.LENGTH] for i in range(len(known))])

    @torch.no_grad()
    def cost(self, text: str) -> float:
        """Mean -log P of the characters of a text, in nats."""
        wanted = torch.tensor([self.characters.get(c, 0) for c in text])
        logs = self(self.encode(text)[:-1])
        return -float(logs.gather(1, wanted[:, None]).mean())


# ---------------------------------------------------------------------- stored weights
def pronouncer() -> Pronouncer:
    """g2p-en, trained."""
    net = Pronouncer()
    with np.load(file("g2p-en", "checkpoint20.npz"), allow_pickle=False) as stored:
        weights = {k: torch.tensor(stored[k]) for k in stored.files}
    state = {"letters.weight": weights["enc_emb"], "sounds.weight": weights["dec_emb"],
             "out.weight": weights["fc_w"], "out.bias": weights["fc_b"]}  # fmt: skip
    for ours, theirs in (("encoder", "enc"), ("decoder", "dec")):
        for kind, short in (("weight_ih", "w_ih"), ("weight_hh", "w_hh"),
                            ("bias_ih", "b_ih"), ("bias_hh", "b_hh")):  # fmt: skip
            state[f"{ours}.{kind}_l0"] = weights[f"{theirs}_{short}"]
    net.load_state_dict(state)
    return net.eval()


def voice_detector() -> VoiceDetector:
    """silero-vad, trained."""
    path = file("silero-vad", "silero_vad_16k.safetensors")
    try:
        from safetensors.torch import load_file
    except ImportError as e:
        raise missing("silero-vad", "safetensors") from e
    stored = load_file(str(path))
    cell = "lstm_cell."
    state = {k if not k.startswith(cell) else f"lstm.{k.removeprefix(cell)}_l0": v
             for k, v in stored.items()}  # fmt: skip
    net = VoiceDetector()
    net.load_state_dict(state)
    return net.eval()


def character_model() -> CharacterModel:
    """textgenrnn, trained."""
    characters = json.loads(file("textgenrnn", "textgenrnn_vocab.json").read_text("utf-8"))
    try:
        import h5py
    except ImportError as e:
        raise missing("textgenrnn", "h5py") from e
    state: dict[str, Any] = {}
    with h5py.File(file("textgenrnn", "textgenrnn_weights.hdf5"), "r") as stored:

        def read(layer: str, name: str) -> torch.Tensor:
            return torch.tensor(stored[f"{layer}/{layer}/{name}:0"][()])

        state["embedding.weight"] = read("embedding", "embeddings")
        state["attention.weight"] = read("attention", "attention_W").T
        state["output.weight"] = read("output", "kernel").T
        state["output.bias"] = read("output", "bias")
        for name in ("rnn_1", "rnn_2"):
            state |= {f"{name}.{k}_l0": v for k, v in from_cudnn(
                read(name, "kernel"), read(name, "recurrent_kernel"), read(name, "bias")).items()
            }  # fmt: skip
    net = CharacterModel(characters)
    net.load_state_dict(state)
    return net.eval()


def from_cudnn(kernel: Any, recurrent: Any, bias: Any) -> dict[str, Any]:
    """Weights of torch's LSTM from those that Keras stores of a CuDNNLSTM; gates i f g o in both.

    kernel [d 4n] holds a gate's [n d] as [d n] with the same order of numbers, recurrent [n 4n]
    each gate as it is, bias [8n] that of the input before that of the state.
    """
    d, n = len(kernel), len(recurrent)
    return {
        "weight_ih": torch.cat([k.reshape(n, d) for k in kernel.split(n, 1)]),
        "weight_hh": torch.cat(recurrent.split(n, 1)),
        "bias_ih": bias[: 4 * n], "bias_hh": bias[4 * n :],
    }  # fmt: skip


def missing(model: str, package: str) -> MissingExtraError:
    """The error of a package that a model's file needs."""
    return MissingExtraError(
        f"library: {model} needs {package}, which is not installed. Install the extra 'models' of "
        "this package"
    )
