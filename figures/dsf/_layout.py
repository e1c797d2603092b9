"""Layout of a small diagram: every edge points upward, few edges cross."""

from __future__ import annotations

import numpy as np

CLEARANCE = (0.55, 0.4)  # half axes of the ellipse around a node that edges of other nodes avoid
SHORT = 1e-9  # squared length of an edge between two nodes in one place


def place(
    edges: list[tuple[int, int]], count: int, columns: int, seed: int, moves: int = 2500
) -> np.ndarray:
    """Integer places [count 2] = (column, row) with every edge (low, high) going up.

    The best of up to six runs with `moves` trials per node; more columns than asked for if a row
    needs them.

    >>> place([(0, 1), (1, 2)], 3, columns=2, seed=0, moves=20)[:, 1].tolist()
    [0.0, 1.0, 2.0]
    """
    best: tuple[float, np.ndarray] | None = None
    for run in range(6):
        places = _anneal(edges, count, columns, np.random.default_rng([seed, run]), count * moves)
        wrong = faults(places, edges)
        if best is None or wrong < best[0]:
            best = wrong, places
        if not wrong:
            break
    assert best is not None
    return best[1]


def _anneal(
    edges: list[tuple[int, int]], count: int, columns: int, rng: np.random.Generator, moves: int
) -> np.ndarray:
    """Simulated annealing: every node starts as high as its edges allow, then nodes move to free
    places and swap.  The cost counts crossings, edges through other nodes, and lengths."""
    low, high = np.array(edges).T
    pairs = _pairs(low, high)
    above = [high[low == v] for v in range(count)]
    below = [low[high == v] for v in range(count)]
    row = _rows(edges, count)
    columns = max(columns, int(np.bincount(row).max()))
    cells = np.array([(x, y) for y in range(row.max() + 1) for x in range(columns)], float)
    at = np.array([row[v] * columns + np.sum(row[:v] == row[v]) for v in range(count)])
    where = np.full(len(cells), -1)  # the node of each cell
    where[at] = np.arange(count)

    def upright(node: int) -> bool:
        y = cells[at[node], 1]
        return bool(np.all(cells[at[above[node]], 1] > y) and np.all(cells[at[below[node]], 1] < y))

    now = best = _cost(cells[at], low, high, pairs)
    kept = at.copy()
    for step in range(moves):
        heat = 20.0 * 0.02 ** (step / moves)
        node, cell = int(rng.integers(count)), int(rng.integers(len(cells)))
        here, other = int(at[node]), int(where[cell])
        at[node] = cell
        if other >= 0:
            at[other] = here
        new = np.inf
        if here != cell and upright(node) and (other < 0 or upright(other)):
            new = _cost(cells[at], low, high, pairs)
        if new <= now or rng.random() < np.exp((now - new) / heat):
            now, where[cell], where[here] = new, node, other
            if now < best:
                best, kept = now, at.copy()
        else:
            at[node] = here
            if other >= 0:
                at[other] = cell
    return cells[kept]


def _rows(edges: list[tuple[int, int]], count: int) -> np.ndarray:
    """The row of each node if it is as high as its edges allow; the highest row is the same for
    all nodes with nothing above them."""
    depth = np.zeros(count, int)
    for _ in range(count):
        for a, b in edges:
            depth[a] = max(depth[a], depth[b] + 1)
    return depth.max() - depth


def faults(places: np.ndarray, edges: list[tuple[int, int]]) -> int:
    """How many edges do not go up, cross another one, or run through a node of others."""
    low, high = np.array(edges).T
    down = np.sum(places[high, 1] <= places[low, 1])
    return int(down + _crossings(places, _pairs(low, high)) + _through(places, low, high))


def _pairs(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, ...]:
    """The four ends of all pairs of edges that share none."""
    i, j = np.triu_indices(len(low), 1)
    a, b, c, d = low[i], high[i], low[j], high[j]
    apart = (a != c) & (a != d) & (b != c) & (b != d)
    return a[apart], b[apart], c[apart], d[apart]


def _cost(
    places: np.ndarray, low: np.ndarray, high: np.ndarray, pairs: tuple[np.ndarray, ...]
) -> float:
    span = places[high] - places[low]
    length = np.sum(span[:, 0] ** 2 + 1.5 * (span[:, 1] - 1) ** 2)
    return float(12 * (_crossings(places, pairs) + _through(places, low, high)) + length)


def _crossings(places: np.ndarray, pairs: tuple[np.ndarray, ...]) -> float:
    a, b, c, d = (places[x] for x in pairs)
    return np.sum((_side(a, b, c) * _side(a, b, d) < 0) & (_side(c, d, a) * _side(c, d, b) < 0))


def _side(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """On which side of the line a b the point c lies."""
    u, v = b - a, c - a
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]


def _through(places: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """How many nodes lie on edges of others."""
    scaled = places / np.array(CLEARANCE)
    a, b = scaled[low][:, None], scaled[high][:, None]
    span = b - a
    t = np.sum((scaled - a) * span, -1) / np.maximum(np.sum(span**2, -1), SHORT)
    distance = np.linalg.norm(scaled - a - np.clip(t, 0, 1)[..., None] * span, axis=-1)
    nodes = np.arange(len(places))
    foreign = (nodes != low[:, None]) & (nodes != high[:, None])
    return np.sum(foreign & (distance < 1))
