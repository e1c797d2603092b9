"""fracast as a module of torch: what follows a series, by causal convolutions of its past."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import pad, silu

from dsf.core.errors import ShapeError
from dsf.models.library.archives import file
from dsf.models.library.networks import missing

LENGTH, AHEAD, WIDTH = 2048, 48, 64
LEVELS = tuple(i / 10 for i in range(1, 10))
PERIODS, BINS = 4, 16
SIGNIFICANT = 0.05
SEEN = 128  # encoded steps that the convolutions along the forecast begin with
SMALLEST = 1e-5  # span of a series that hardly changes


class Gated(nn.Module):
    """Down(silu(a) b) with (a, b) = Up(x)."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(WIDTH, 192), nn.Linear(96, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.up(x).chunk(2, -1)
        return self.down(silu(a) * b)


class Smoothing(nn.Module):
    """x + a causal convolution with dilation 2^i of each channel, normalised."""

    def __init__(self, i: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([convolution(i)])
        self.norm = nn.RMSNorm(WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x + causal(self.convs[0], x))


class Stages(nn.Module):
    """One block at dilations 1, 2, 4, ...: a causal convolution, a linear map, a gated one."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convolution(i) for i in range(count))
        for conv in self.convs[1:]:  # all have the same weights
            conv.weight, conv.bias = self.convs[0].weight, self.convs[0].bias
        self.pw, self.ffn = nn.Linear(WIDTH, WIDTH), Gated()
        self.norm1, self.norm2 = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)

    def forward(self, x: torch.Tensor, i: int) -> torch.Tensor:
        x = self.norm1(x + self.pw(causal(self.convs[i], x)))
        return self.norm2(x + self.ffn(x))


class Future(nn.Module):
    """Causal convolutions from the last encoded steps into the seasonal guess of the next ones."""

    def __init__(self) -> None:
        super().__init__()
        self.in_proj, self.out_proj = nn.Linear(6, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.block = Stages(6)

    def forward(self, h: torch.Tensor, guess: torch.Tensor, far: torch.Tensor) -> torch.Tensor:
        ahead = self.in_proj(torch.cat([guess[..., None], far], -1))
        x = torch.cat([h[:, -SEEN:], ahead], 1)
        for i in range(len(self.block.convs)):
            x = self.block(x, i)
        return self.out_proj(x[:, -AHEAD:])


class Forecaster(nn.Module):
    """fracast: quantiles 0.1 .. 0.9 [B 48 9] of what follows series [B 2048] without gaps.

    >>> Forecaster()(torch.randn(2, 2048)).shape
    torch.Size([2, 48, 9])
    """

    def __init__(self) -> None:
        super().__init__()
        self.in_proj, self.norm = nn.Linear(7, WIDTH), nn.RMSNorm(WIDTH)
        self.periodic = nn.ModuleDict({"proj": nn.Linear(2 * PERIODS, WIDTH)})
        self.scale = nn.ModuleDict({"to_gb": nn.Linear(8, 2 * WIDTH)})
        self.block = Stages(10)
        self.summary_proj = nn.Linear(2 * WIDTH + 5, WIDTH)
        self.queries = nn.Parameter(torch.zeros(AHEAD, WIDTH))
        self.decoder_ffns = nn.ModuleList([Gated()])
        self.decoder_norms = nn.ModuleList([nn.RMSNorm(WIDTH)])
        self.fc_blocks = nn.ModuleList(Smoothing(i) for i in range(2))
        self.future_conv = Future()
        self.out_proj = nn.Linear(WIDTH, len(LEVELS))

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        if series.ndim != 2 or series.shape[1] != LENGTH:
            raise ShapeError(f"fracast: series must be [B {LENGTH}]; got {list(series.shape)}")
        low = series.amin(1, keepdim=True)
        span = (series.amax(1, keepdim=True) - low).clamp_min(SMALLEST)
        x = (series - low) / span
        periods = significant(x)
        h = self.encoded(x, periods)
        far = recency(torch.arange(LENGTH, LENGTH + AHEAD)).expand(len(x), -1, -1)
        whole = torch.cat([h.mean(1), h[:, -1]], -1)[:, None].expand(-1, AHEAD, -1)
        y = self.summary_proj(torch.cat([far, whole], -1)) + self.queries
        y = self.decoder_norms[0](y + self.decoder_ffns[0](y))
        for smooth in self.fc_blocks:
            y = smooth(y)
        y = y + self.future_conv(h, seasonal(x, periods[:, :1]), far)
        return self.out_proj(y) * span[..., None] + low[..., None]

    def encoded(self, x: torch.Tensor, periods: torch.Tensor) -> torch.Tensor:
        """[B 2048 64] of series between 0 and 1 and their periods [B 4]; causal, these given."""
        steps = torch.arange(LENGTH)
        known = torch.stack([x, torch.ones_like(x)], -1)
        h = self.in_proj(torch.cat([known, recency(steps).expand(len(x), -1, -1)], -1))
        angle = 2 * math.pi * steps[:, None] / periods.clamp_min(1)[:, None].float()
        waves = torch.stack([angle.sin(), angle.cos()], -1) * (periods > 0)[:, None, :, None]
        h = h + self.periodic["proj"](waves.flatten(2))
        for i in range(len(self.block.convs)):
            angles = i / 2.0 ** torch.arange(4) * math.pi
            gain, shift = self.scale["to_gb"](torch.cat([angles.sin(), angles.cos()])).chunk(2)
            h = self.block(h * (1 + gain) + shift, i)
        return self.norm(h)


def convolution(i: int) -> nn.Conv1d:
    """Three taps of each channel, 2^i steps apart."""
    return nn.Conv1d(WIDTH, WIDTH, 3, dilation=2**i, groups=WIDTH)


def causal(conv: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A convolution of [B L d] over what came before."""
    return conv(pad(x.mT, (2 * conv.dilation[0], 0))).mT


def recency(steps: torch.Tensor) -> torch.Tensor:
    """Five features [T 5] of the distance of steps from the last one that is known."""
    delta = (steps - (LENGTH - 1)) / LENGTH
    far = delta.abs()
    fades = [(-rate * far).exp() for rate in (0.5, 2.0, 8.0)]
    return torch.stack([delta, delta.sign() * far.log1p() / math.log(2.0), *fades], -1)


def significant(x: torch.Tensor) -> torch.Tensor:
    """Periods [B 4] at the largest peaks of the periodogram, 0 where a peak may be chance."""
    power = torch.fft.rfft(x - x.mean(1, keepdim=True)).abs().square()[:, 1:]
    share = power / power.sum(1, keepdim=True).clamp_min(1e-12)
    bins = share.shape[1]
    peak = torch.zeros_like(share, dtype=torch.bool)
    peak[:, 1:-1] = (share[:, 1:-1] > share[:, :-2]) & (share[:, 1:-1] > share[:, 2:])
    peak &= share >= math.log(bins / SIGNIFICANT) / bins
    top, place = share.masked_fill(~peak, -math.inf).topk(PERIODS, 1)
    return torch.where(top.isfinite(), (LENGTH / (place + 1)).round().long(), 0)


def seasonal(x: torch.Tensor, period: torch.Tensor) -> torch.Tensor:
    """What is expected at the next steps [B 48]: the mean of x at 16 phases of a period [B 1]."""
    period = period.clamp_min(1)

    def phase(steps: torch.Tensor) -> torch.Tensor:
        return ((steps % period) / period * BINS).long().clamp_max(BINS - 1)

    of = nn.functional.one_hot(phase(torch.arange(LENGTH)), BINS).to(x)
    count = of.sum(1)
    mean = torch.einsum("btn,bt->bn", of, x) / count.clamp_min(1.0)
    mean = torch.where(count > 0, mean, x.mean(1, keepdim=True))
    return mean.gather(1, phase(torch.arange(LENGTH, LENGTH + AHEAD)))


def forecaster() -> Forecaster:
    """fracast, trained."""
    path = file("fracast", "model.safetensors")
    try:
        from safetensors.torch import load_file
    except ImportError as e:
        raise missing("fracast", "safetensors") from e
    net = Forecaster()
    wanted = net.state_dict()
    state: dict[str, torch.Tensor] = {}
    for name, x in load_file(str(path)).items():
        name = name.removeprefix("core.").removeprefix("head.")
        place, _, kind = name.rpartition(".dw_")
        of = [k for k in wanted if k.startswith(f"{place}.convs.") and k.endswith(kind)]
        state |= dict.fromkeys(of, x) if place else {name: x}
    net.load_state_dict(state)
    return net.eval()
