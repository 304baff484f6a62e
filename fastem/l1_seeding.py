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
from fastem.seeding import (
    FEW_ROWS,
    block_seeds,
    draw_greedily,
    random_labels,
    random_rows,
    sorted_by_value,
    spare_rows,
)

_BLOCK_VALUES = 1 << 16


def greedy_seeds(rows, n_clusters, frame, random_state):
    """``"k-means++"``, as the module describes it; few rows are drawn from sorted."""
    if rows.n_rows <= FEW_ROWS:
        rows = sorted_by_value(rows)
    indices = draw_greedily(rows, n_clusters, random_state, None, _start)
    return rows.take(indices) - frame.origin


def _start(part, point):
    part.state["seeder"] = GreedyManhattanSeeder(part.X, part.sample_weight)
    return part.offset, part.state["seeder"].add(point)


def random_partition(rows, n_clusters, frame, random_state):
    """``"random_partition"``, as the module describes it; a random row where no row fell."""
    seeds = block_seeds(rows.n_rows, random_state)
    (medians,) = rows.map(_partition, n_clusters, seeds)
    empty = np.flatnonzero(np.isnan(medians).any(axis=1))
    if len(empty):
        medians[empty] = rows.take(spare_rows(rows, random_state, len(empty)))
    return medians - frame.origin


def _partition(part, n_clusters, seeds):
    labels = np.empty(part.n_rows, np.int32)
    for block, drawn in random_labels(part, n_clusters, seeds):
        labels[block] = drawn
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
