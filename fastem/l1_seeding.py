"""Where K-medians starts, and where it restarts empty clusters.

As in :mod:`fastem.seeding`, every strategy is a function ``(rows, n_clusters, frame,
random_state)`` that returns centres relative to the frame's origin as an ndarray of shape
(n_clusters, n_features), float64.

- ``"k-means++"``: as k-means++ (Arthur and Vassilvitskii, SODA 2007) with probabilities
  proportional to L1 distances, and with several candidates for each seed.
- ``"random"``: random rows.
- ``"random_partition"``: the medians of a random partition of the rows.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastem.kernels.l1_seeding import GreedyManhattanSeeder
from fastem.kernels.medians import cluster_medians
from fastem.sampling import choose_rows
from fastem.seeding import (
    FEW_ROWS,
    _accept,
    _block_seeds,
    _blocks,
    _forget,
    _locate,
    _sorted_by_value,
    _spare_rows,
    _try,
    random_rows,
)

_BLOCK_VALUES = 1 << 16


def greedy_seeds(rows, n_clusters, frame, random_state):
    """``"k-means++"``, as the module describes it; few rows are drawn from sorted."""
    if rows.n_rows <= FEW_ROWS:
        rows = _sorted_by_value(rows)
    n_trials = 2 + int(np.log(n_clusters))
    indices = np.empty(n_clusters, int)
    indices[:1] = choose_rows(rows, random_state, 1)
    potentials = rows.map(_start, rows.take(indices[:1])[0])
    for seed in range(1, n_clusters):
        current = sum(potential for _, potential in potentials)
        values = random_state.uniform(size=n_trials) * current
        candidates = _locate(rows, potentials, values)
        best = int(np.argmin(rows.reduce(_try, rows.take(candidates))))
        potentials = rows.map(_accept, best)
        indices[seed] = candidates[best]
    rows.map(_forget, "seeder")
    return rows.take(indices) - frame.origin


def _start(part, point):
    part.state["seeder"] = GreedyManhattanSeeder(part.X, part.sample_weight)
    return part.offset, part.state["seeder"].add(point)


def random_partition(rows, n_clusters, frame, random_state):
    """``"random_partition"``, as the module describes it; a random row where no row fell."""
    seeds = _block_seeds(rows.n_rows, random_state)
    (medians,) = rows.map(_partition, n_clusters, seeds)
    empty = np.flatnonzero(np.isnan(medians).any(axis=1))
    if len(empty):
        medians[empty] = rows.take(_spare_rows(rows, random_state, len(empty)))
    return medians - frame.origin


def _partition(part, n_clusters, seeds):
    labels = np.empty(part.n_rows, np.int32)
    for block, generator, drawn in _blocks(part, seeds):
        labels[block] = generator.randint(n_clusters, size=1 << 14)[drawn]
    return cluster_medians(part.X, labels, n_clusters, part.sample_weight)


def farthest_rows(rows: Any, centers: np.ndarray, count: int) -> np.ndarray:
    """The rows of positive weight that are farthest from their own centres in L1 distance.

    Parameters
    ----------
    rows : rows as in :mod:`fastem.rows`
        After an assignment to ``centers``.
    centers : ndarray of shape (n_clusters, n_features), float64
    count : int

    Returns
    -------
    ndarray of shape (n, n_features), n <= count
        The farthest first, the first of equally far ones; none that lies on its centre.
    """
    found = rows.map(_farthest, centers, count)
    distances, indices = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(-distances, kind="stable")[:count]
    return rows.take(indices[order])


def _farthest(part, centers, count):
    labels = part.state["clustering"].labels
    distances = np.empty(part.n_rows)
    step = max(1, _BLOCK_VALUES // part.X.shape[1])
    for start in range(0, part.n_rows, step):
        block = slice(start, start + step)
        distances[block] = np.abs(part.X[block] - centers[labels[block]]).sum(axis=1)
    if part.sample_weight is not None:
        distances[part.sample_weight == 0] = 0.0
    order = np.argsort(-distances, kind="stable")[:count]
    order = order[distances[order] > 0]
    return distances[order], part.offset + order


STRATEGIES: dict[str, Callable] = {
    "k-means++": greedy_seeds,
    "random": random_rows,
    "random_partition": random_partition,
}
