"""Where K-medians starts.

Strategies as :mod:`fastem.clustering.seeding` describes them.

- ``"k-means++"``: as k-means++ (Arthur and Vassilvitskii, SODA 2007) with probabilities
  proportional to L1 distances, and with several candidates for each seed. For rows that are
  larger than the memory, two rounds of ``"k-means||"``.
- ``"k-means||"``: as :mod:`fastem.clustering.scalable` draws, by L1 distances.
- ``"random"``: random rows.
- ``"random_partition"``: the medians of a random partition of the rows.
"""

from collections.abc import Callable

import numpy as np

from fastem.clustering.manhattan.medians import JointMedians, keep_members
from fastem.clustering.scalable import FEW_ROUNDS, ROUNDS, draw_candidates
from fastem.clustering.seeding import (
    FEW_ROWS,
    draw_greedily,
    keep_seeder,
    random_rows,
    sorted_by_value,
    spare_rows,
)
from fastem.kernels.kmedians import Plain
from fastem.kernels.medians.cluster import cluster_medians
from fastem.kernels.seeding.direct import DirectSeeder
from fastem.kernels.seeding.manhattan import GreedyManhattanSeeder
from fastem.kernels.vectors.tiles import tiles_fit
from fastem.rows import array_rows
from fastem.rows.blocks import block_seeds, random_labels


def greedy_seeds(rows, n_clusters, frame, random_state):
    """``"k-means++"``, as the module describes it; few rows are drawn from sorted."""
    if rows.n_rows <= FEW_ROWS:
        rows = sorted_by_value(rows)
    elif rows.outgrow_memory():
        return scalable_seeds(rows, n_clusters, frame, random_state, FEW_ROUNDS)
    return draw_greedily(rows, n_clusters, random_state, None, _start)[0]


def _start(part, point):
    if tiles_fit(part.X):
        seeder = GreedyManhattanSeeder(part.X, part.sample_weight)
    else:
        seeder = DirectSeeder(part.X, part.sample_weight, None)
    return keep_seeder(part, seeder, point)


def scalable_seeds(rows, n_clusters, frame, random_state, n_rounds=ROUNDS):
    """``"k-means||"``, as the module describes it; the candidates are reduced by k-means++."""
    found = draw_candidates(rows, n_clusters, frame, random_state, n_rounds, _algorithm, _lengths)
    missing = n_clusters - len(found.X)
    if missing > 0:
        extra = rows.take(spare_rows(rows, random_state, missing))
        return np.concatenate([found.X, extra])
    return greedy_seeds(array_rows(found.X, found.weights), n_clusters, frame, random_state)


def _algorithm(*shape):
    return Plain


def _lengths(differences):
    return np.abs(differences).sum(axis=1)


def medians_of_random_partition(rows, n_clusters, frame, random_state):
    """``"random_partition"``, as the module describes it; a random row where no row fell."""
    seeds = block_seeds(rows.n_rows, random_state)
    if rows.n_parts == 1:
        (medians,) = rows.map(_partition, n_clusters, seeds)
    else:
        medians = JointMedians(n_clusters).find(rows, _list_partition, seeds)
    empty = np.flatnonzero(np.isnan(medians).any(axis=1))
    if len(empty):
        medians[empty] = rows.take(spare_rows(rows, random_state, len(empty)))
    return medians


def _partition(part, n_clusters, seeds):
    labels = _labels(part, n_clusters, seeds)
    return cluster_medians(part.X, labels, n_clusters, part.sample_weight)


def _list_partition(part, n_clusters, width, seeds):
    return keep_members(part, _labels(part, n_clusters, seeds), n_clusters, width)


def _labels(part, n_clusters, seeds):
    labels = np.empty(part.n_rows, np.int32)
    for block, drawn in random_labels(part, n_clusters, seeds):
        labels[block] = drawn
    return labels


STRATEGIES: dict[str, Callable] = {
    "k-means++": greedy_seeds,
    "k-means||": scalable_seeds,
    "random": random_rows,
    "random_partition": medians_of_random_partition,
}
