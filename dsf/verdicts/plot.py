"""The picture of a comparison: two mechanisms, four views of each."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core.errors import DomainError
from dsf.core.family import Family
from dsf.core.kinds import Step
from dsf.core.mechanism import Mechanism
from dsf.tools.style import GREY, TEXT, look, style

DRAW = {"d": 8, "n": 4, "p": 4}
LENGTH = 64
TITLES = (
    "kernel, row i, column j",
    "memory, relative",
    "eigenvalues of A_t",
    "Hankel values, relative",
)
ROUNDING = "rounding"
EPS = float(np.finfo(np.float64).eps)
TINY = 1e-300  # where all is 0


def plot(comparison: Any) -> Any:
    """A matplotlib Figure with one row per mechanism.

    columns: the kernel, |M_ij| against the lag i - j (median, 10-90 %), eigenvalues of A_t (they
    depend on the state coordinates), Hankel singular values at the middle cut (they do not).  All
    but the eigenvalues are relative to the largest of their mechanism, and both rows of a column
    have one scale.  What is below rounding, eps for an entry and eps times the number of rows for
    a singular value, is drawn on that level.  Families are drawn by init(d=8, n=4, p=4, seed=0),
    on a random input.  Raises DomainError for a comparison read from JSON.
    """
    import matplotlib.pyplot as plt

    if comparison.drawn is None:
        raise DomainError(
            "plot: a comparison that was read from JSON keeps no mechanisms to draw. Call "
            "dsf.compare again with the same sides."
        )
    left, right, u = comparison.drawn
    u = np.random.default_rng(0).standard_normal((LENGTH, DRAW["d"])) if u is None else u
    with style():
        fig, axes = plt.subplots(2, 4, figsize=(TEXT, 3.6))
        for axs, name, side in zip(
            axes, (comparison.left, comparison.right), (left, right), strict=True
        ):
            _row(axs, name, _draw(side, u), u)
        for ax, title in zip(axes[0], TITLES, strict=True):
            ax.set_title(title)
        for column in (axes[:, 1], axes[:, 3]):
            _one_scale([ax for ax in column if ax.axison])
        axes[1][1].set_xlabel("lag i - j")
        axes[1][3].set_xlabel("index")
    return fig


def _row(axs: Any, name: str, mech: Mechanism | None, u: np.ndarray) -> None:
    """The four views of one mechanism; a remark where it makes no linear system."""
    axs[0].set_ylabel(name)
    if mech is None:
        for ax in axs:
            ax.set_axis_off()
        axs[0].text(0, 0.5, f"{name}: no linear system", transform=axs[0].transAxes)
        return
    M, color = _magnitude(mech, u), look(name.partition("(")[0])["color"]
    scale = float(np.abs(M).max()) or 1.0
    axs[0].imshow(M, cmap="RdBu_r", vmin=-scale, vmax=scale, interpolation="nearest")
    _memory(axs[1], M, color)
    _eigenvalues(axs[2], mech, u, color)
    _hankel(axs[3], M, color)


def _draw(side: Any, u: np.ndarray) -> Mechanism | None:
    if isinstance(side, Family):
        side = side.init(**{**DRAW, "d": u.shape[-1]})
    return side if isinstance(side, Mechanism) and not isinstance(side, Step) else None


def _magnitude(mech: Mechanism, u: np.ndarray) -> np.ndarray:
    """The kernel of the first head; blocks [r m] are replaced by their norms."""
    M = mech.kernel(u)
    if M.ndim >= 4:
        blocks = M if M.ndim == 4 else M.reshape(-1, *M.shape[-4:])[0]
        return np.linalg.norm(blocks, axis=(1, 3))
    return M.reshape(-1, *M.shape[-2:])[0]


def _memory(ax: Any, M: np.ndarray, color: str) -> None:
    L = len(M)
    lags = np.arange(0, max(L - 3, 1))
    bands = np.array([np.quantile(np.abs(np.diagonal(M, -k)), [0.1, 0.5, 0.9]) for k in lags])
    bands = np.maximum(bands / max(float(np.abs(M).max()), TINY), EPS)
    ax.fill_between(lags, bands[:, 0], bands[:, 2], color=color, alpha=0.25, lw=0)
    ax.plot(lags, bands[:, 1], color=color)
    _log(ax, bands, EPS)


def _eigenvalues(ax: Any, mech: Mechanism, u: np.ndarray, color: str) -> None:
    z = np.ravel(mech.ltv(u).eigenvalues())
    angle = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(angle), np.sin(angle), color="#7f7f7f", lw=0.6)
    ax.plot(z.real, z.imag, ".", color=color, ms=3, alpha=0.5)
    ax.set_aspect("equal")
    ax.set_xlim(-1.15, 1.15)
    ax.set_ylim(-1.15, 1.15)


def _hankel(ax: Any, M: np.ndarray, color: str) -> None:
    half = len(M) // 2
    s = np.linalg.svd(M[half:, :half], compute_uv=False)
    floor = EPS * (len(M) - half)
    s = np.maximum(s / max(s.max(initial=0), TINY), floor)
    ax.plot(np.arange(1, len(s) + 1), s, ".-", color=color, ms=3)
    _log(ax, s, floor)


def _log(ax: Any, values: np.ndarray, floor: float) -> None:
    """A logarithmic axis; with the level of rounding, where something lies on it."""
    ax.set_yscale("log")
    if values.size and values.min() <= floor:
        ax.axhline(floor, color=GREY, lw=0.8, ls="--", zorder=0)
        ax.annotate(
            ROUNDING, (0.98, floor), (0, -2), ax.get_yaxis_transform(),
            textcoords="offset points", ha="right", va="top", color=GREY, fontsize="small",
        )  # fmt: skip


def _one_scale(axes: list[Any]) -> None:
    """One range for all rows of a column, with room for a label below the level of rounding."""
    ends = [ax.get_ylim() for ax in axes]
    room = 10 if any(ax.texts for ax in axes) else 1
    for ax in axes:
        ax.set_ylim(min(low for low, _ in ends) / room, max(high for _, high in ends))
