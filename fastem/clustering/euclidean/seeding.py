"""Where K-means starts.

Strategies as :mod:`fastem.clustering.seeding` describes them.

- ``"k-means++"``: Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding",
  SODA 2007, with several candidates for each seed, of which the best is taken. For a mapped file
  that is larger than the memory, two rounds of ``"k-means||"``, which read it three times.
- ``"k-means||"``: Bahmani, Moseley, Vattani, Kumar and Vassilvitskii, "Scalable k-means++",
  VLDB 2012.
- ``"random"``: random rows (Forgy 1965).
- ``"random_partition"``: the averages of a random partition of the rows (MacQueen 1967).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastem.clustering.seeding import (
    FEW_ROWS,
    draw_greedily,
    forget,
    keep_seeder,
    random_rows,
    sorted_by_value,
    spare_rows,
)
from fastem.kernels.clusters import Frame
from fastem.kernels.kmeans import choose
from fastem.kernels.seeding.coarse import CoarseSeeder
from fastem.kernels.seeding.direct import DirectSeeder
from fastem.kernels.seeding.euclidean import GreedySeeder
from fastem.kernels.seeding.sparse import SparseGreedySeeder
from fastem.kernels.vectors.tiles import tiles_fit
from fastem.rows import Slot, array_rows
from fastem.rows.array import outgrows_memory
from fastem.rows.blocks import (
    BLOCK_ROWS,
    block_seeds,
    dense,
    generators,
    random_labels,
    weights_of,
)
from fastem.rows.choice import choose_rows

# k-means||: candidates of a round as a multiple of the clusters, and rounds.
_OVERSAMPLING = 2
_ROUNDS, _FEW_ROUNDS = 5, 2
# Where rows differ from the origin by so small a part of their spread, the squares of differences
# between near rows are below the dtype's range.
_LEAST_DIFFERENCE = {"float32": 2.0**-40, "float64": 2.0**-480}
# Rows of so many float64 features get a coarse copy for k-means++.
_COARSE_FEATURES = 16


class _Nearest(NamedTuple):
    """Each row's nearest candidate of k-means||, and its squared distance from it."""

    distances: np.ndarray
    candidates: np.ndarray


# What a part keeps between the rounds of k-means||.
NEAREST: Slot[_Nearest] = Slot("nearest candidates")


def greedy_kmeans_plusplus(
    rows: Any,
    n_clusters: int,
    frame: Frame,
    random_state: np.random.RandomState,
    n_local_trials: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Greedy k-means++ on scikit-learn's random stream: the same state picks the same rows.

    Parameters
    ----------
    rows : rows as in :mod:`fastem.rows`
    n_clusters : int
    frame : Frame
    random_state : RandomState
    n_local_trials : int or None
        Candidates for each seed but the first; None for 2 + log(n_clusters).

    Returns
    -------
    centers : ndarray of shape (n_clusters, n_features)
        The seeds.
    indices : ndarray of shape (n_clusters,), int
    """
    options = frame, _is_dwarfed(rows, frame)
    indices = draw_greedily(rows, n_clusters, random_state, n_local_trials, _start, *options)
    return rows.take(indices), indices


def _start(part, frame, dwarfed, point):
    return keep_seeder(part, _seeder(part, frame, dwarfed), point)


def _seeder(part, frame, dwarfed):
    X, scale = part.X, frame.scale
    if dwarfed:
        X, scale = X.astype(np.float64), 1.0  # squares of what the rows are fit into that anyway
    if not isinstance(X, np.ndarray):
        return SparseGreedySeeder(X, part.sample_weight, scale)
    if not tiles_fit(X):
        return DirectSeeder(X, part.sample_weight, scale)
    coarse = part.X.dtype == np.float64 and X.shape[1] >= _COARSE_FEATURES
    if coarse and part.in_memory:  # else there would be no room for a copy
        return CoarseSeeder(X, part.sample_weight, scale, frame.origin)
    return GreedySeeder(X, part.sample_weight, scale)


def _is_dwarfed(rows, frame):
    """Whether most rows differ by so little, beside few far ones, that squares would vanish."""
    three = rows.take(np.array([0, rows.n_rows // 2, rows.n_rows - 1]))  # of which one may be far
    sizes = sorted(np.abs(three - frame.origin).max(axis=1).tolist())
    return 0.0 < sizes[1] * frame.scale < _LEAST_DIFFERENCE[rows.dtype.name]


def kmeans_plusplus(rows, n_clusters, frame, random_state):
    """``"k-means++"``, as the module describes it; few rows are drawn from sorted."""
    if rows.n_rows <= FEW_ROWS:
        rows = sorted_by_value(rows)
    elif any(rows.map(outgrows_memory)):
        return scalable_kmeans_plusplus(rows, n_clusters, frame, random_state, _FEW_ROUNDS)
    return greedy_kmeans_plusplus(rows, n_clusters, frame, random_state)[0]


def means_of_random_partition(rows, n_clusters, frame, random_state):
    """``"random_partition"``, as the module describes it; a random row where no row fell."""
    sums, weights = rows.reduce(
        _partition, n_clusters, frame.origin, block_seeds(rows.n_rows, random_state)
    )
    empty = np.flatnonzero(weights == 0)
    if len(empty):
        sums[empty] = rows.take(spare_rows(rows, random_state, len(empty))) - frame.origin
        weights[empty] = 1.0
    return frame.origin + sums / weights[:, np.newaxis]


def _partition(part, n_clusters, origin, seeds):
    sums, weights = np.zeros((n_clusters, part.X.shape[1])), np.zeros(n_clusters)
    for block, labels in random_labels(part, n_clusters, seeds):
        weight = weights_of(part, block)
        np.add.at(sums, labels, (dense(part, block) - origin) * weight[:, np.newaxis])
        np.add.at(weights, labels, weight)
    return sums, weights


def scalable_kmeans_plusplus(rows, n_clusters, frame, random_state, n_rounds=_ROUNDS):
    """``"k-means||"``, as the module describes it; the candidates are reduced by k-means++."""
    candidates = rows.take(choose_rows(rows, random_state, 1)).astype(np.float64)
    potential = rows.reduce(_approach, candidates, 0, frame)
    for _ in range(n_rounds):
        if potential <= 0:
            break
        seeds = block_seeds(rows.n_rows, random_state)
        factor = _OVERSAMPLING * n_clusters / potential
        chosen = np.concatenate(rows.map(_sample, factor, seeds))
        if len(chosen) == 0:
            continue
        n_before = len(candidates)
        candidates = np.concatenate([candidates, rows.take(chosen)])
        potential = rows.reduce(_approach, candidates[n_before:], n_before, frame)
    weights = rows.reduce(_count, len(candidates))
    rows.map(forget, NEAREST)
    candidates, weights = candidates[weights > 0], weights[weights > 0]
    missing = n_clusters - len(candidates)
    if missing > 0:
        extra = rows.take(spare_rows(rows, random_state, missing))
        return np.concatenate([candidates, extra])
    return kmeans_plusplus(array_rows(candidates, weights), n_clusters, frame, random_state)


def _approach(part, new, n_before, frame):
    """Compare every row with new candidates; returns the sum of the weighted distances."""
    if n_before == 0:
        part.keep(NEAREST, _Nearest(np.full(part.n_rows, np.inf), np.zeros(part.n_rows, np.int32)))
    kept = part.kept(NEAREST)
    sparse = not isinstance(part.X, np.ndarray)
    algorithm = choose("lloyd", *part.X.shape, len(new), part.X.dtype, sparse)
    algorithm = algorithm(part.X, None, len(new), frame)
    algorithm.label_rows(new)
    potential = 0.0
    for start in range(0, part.n_rows, BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        nearest = algorithm.labels[block]
        closest, candidates = kept.distances[block], kept.candidates[block]
        differences = dense(part, block) - new[nearest]
        distances = np.einsum("ij,ij->i", differences, differences)
        nearer = distances < closest
        closest[nearer] = distances[nearer]
        candidates[nearer] = n_before + nearest[nearer]
        # Not a dot product: OpenBLAS' threads would start and stop for each block.
        potential += float((closest * weights_of(part, block)).sum())
    return potential


def _sample(part, factor, seeds):
    chosen = []
    for block, generator, drawn in generators(part, seeds):
        values = generator.random_sample(BLOCK_ROWS)[drawn]
        probabilities = factor * part.kept(NEAREST).distances[block] * weights_of(part, block)
        chosen.append(part.offset + block.start + np.flatnonzero(values < probabilities))
    return np.concatenate(chosen)


def _count(part, n_candidates):
    weights = np.zeros(n_candidates)
    for start in range(0, part.n_rows, BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        labels = part.kept(NEAREST).candidates[block]
        weights += np.bincount(labels, weights_of(part, block), n_candidates)
    return weights


STRATEGIES: dict[str, Callable] = {
    "k-means++": kmeans_plusplus,
    "k-means||": scalable_kmeans_plusplus,
    "random": random_rows,
    "random_partition": means_of_random_partition,
}
