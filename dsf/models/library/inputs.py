"""Inputs on which the models of the library are tried."""

from __future__ import annotations

import torch

# words with the sounds that CMUdict's alphabet writes for them
WORDS = {
    "transformer": "T R AE0 N S F AO1 R M ER0",
    "activationist": "AE2 K T IH0 V EY1 SH AH0 N IH0 S T",
}
TEXTS = (
    "The weather was nice yesterday, so we went to the park and had a great time with our friends. "
    "In the evening we cooked dinner together, and the children told us about their day at school.",
    "What is the best way to learn a new language? I have tried to read books and to watch films.",
)
PITCH = 120.0  # Hz
FORMANTS = (700.0, 1200.0, 2500.0)  # of an open vowel, Hz
RATE = 16000  # samples in a second


def syllables(seconds: float = 2.0) -> torch.Tensor:
    """A voice [1 T] in -1..1: harmonics of 120 Hz under the formants of a vowel, four in a second.

    >>> syllables(0.5).shape
    torch.Size([1, 8000])
    """
    t = torch.arange(int(seconds * RATE)) / RATE
    pitch = PITCH + 10 * torch.sin(6 * torch.pi * t)
    phase = torch.cumsum(2 * torch.pi * pitch / RATE, 0)
    sound = torch.zeros_like(t)
    for k in range(1, 30):
        near = [-(((k * PITCH - f) / 150) ** 2) for f in FORMANTS]
        sound += torch.sin(k * phase) / k * torch.tensor(near).exp().sum()
    sound = sound * (0.6 + 0.4 * torch.sin(8 * torch.pi * t))
    return (0.5 * sound / sound.abs().max())[None]


def noise(seconds: float = 2.0, seed: int = 0) -> torch.Tensor:
    """Faint white noise [1 T]."""
    generator = torch.Generator().manual_seed(seed)
    return 0.05 * torch.randn(1, int(seconds * RATE), generator=generator)
