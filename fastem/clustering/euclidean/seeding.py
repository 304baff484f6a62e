"""Where K-means starts.

Strategies as :mod:`fastem.clustering.seeding` describes them.

- ``"k-means++"``: Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding",
  SODA 2007, with several candidates for each seed, of which the best is taken. For rows that are
  larger than the memory, two rounds of ``"k-means||"``.
- ``"k-means||"``: as :mod:`fastem.clustering.scalable` draws.
- ``"random"``: random rows (Forgy 1965).
- ``"random_partition"``: the averages of a random partition of the rows (MacQueen 1967).
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastem.clustering.scalable import FEW_ROUNDS, ROUNDS, draw_candidates
from fastem.clustering.seeding import (
    FEW_ROWS,
    draw_greedily,
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
from fastem.kernels.seeding.few import FEW_VALUES, FewRowsSeeder
from fastem.kernels.seeding.sparse import SparseGreedySeeder
from fastem.kernels.vectors.tiles import tiles_fit
from fastem.rows import array_rows
from fastem.rows.blocks import block_seeds, dense_pieces, random_labels, weights_of

# Where rows differ from the origin by so small a part of their spread, the squares of differences
# between near rows are below the dtype's range.
_LEAST_DIFFERENCE = {"float32": 2.0**-40, "float64": 2.0**-480}
# Rows of so many float64 features get a coarse copy for k-means++, if rows, features and seeds
# multiply to so much. With less it is no faster than plain comparisons, and its kernels take three
# times as long to compile.
_COARSE_FEATURES, _COARSE_WORK = 16, 1 << 22
# With so many seeds, CSR rows get a copy by columns, if it takes no more than a quarter of them
# beside so many arrays of centres: what a fit takes afterwards that doesn't write them in place.
_FEWEST_SEEDS, _ARRAYS_OF_CENTERS = 16, 4


def greedy_kmeans_plusplus(
    rows: Any,
    n_clusters: int,
    frame: Frame,
    random_state: np.random.RandomState,
    n_local_trials: int | None = None,
) -> tuple[Any, np.ndarray]:
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
    centers : ndarray or CSR matrix of shape (n_clusters, n_features)
        The seeds, as the rows are.
    indices : ndarray of shape (n_clusters,), int
    """
    room = 0
    if n_clusters >= _FEWEST_SEEDS:
        room = _ARRAYS_OF_CENTERS * 8 * n_clusters * rows.n_features // rows.n_parts
    options = n_clusters, frame, _is_dwarfed(rows, frame), room
    return draw_greedily(rows, n_clusters, random_state, n_local_trials, _start, *options)


def _start(part, n_clusters, frame, dwarfed, room, point):
    return keep_seeder(part, _seeder(part, n_clusters, frame, dwarfed, room), point)


def _seeder(part, n_clusters, frame, dwarfed, room):
    X, scale = part.X, frame.scale
    if dwarfed:
        X, scale = X.astype(np.float64), 1.0  # squares of what the rows are fit into that anyway
    if not isinstance(X, np.ndarray):
        if room and part.in_memory:
            room += (X.data.nbytes + X.indices.nbytes + X.indptr.nbytes) // 4
        return SparseGreedySeeder(X, part.sample_weight, scale, room if part.in_memory else 0)
    if not tiles_fit(X):
        return DirectSeeder(X, part.sample_weight, scale)
    coarse = part.X.dtype == np.float64 and X.shape[1] >= _COARSE_FEATURES
    coarse = coarse and X.size * n_clusters >= _COARSE_WORK
    if coarse and part.in_memory:  # else there would be no room for a copy
        return CoarseSeeder(X, part.sample_weight, scale, frame.origin)
    greedy = FewRowsSeeder if X.size <= FEW_VALUES else GreedySeeder
    return greedy(X, part.sample_weight, scale)


def _is_dwarfed(rows, frame):
    """Whether most rows differ by so little, beside few far ones, that squares would vanish."""
    picked = np.array([0, rows.n_rows // 2, rows.n_rows - 1])  # of which one may be far
    if rows.sparse:  # dense, they might be longer than all other rows together
        sizes = [size for sizes in rows.map(_sizes, picked) for size in sizes]
    else:
        sizes = np.abs(rows.take(picked) - frame.origin).max(axis=1).tolist()
    sizes.sort()
    return 0.0 < sizes[1] * frame.scale < _LEAST_DIFFERENCE[rows.dtype.name]


def _sizes(part, picked):
    """The greatest magnitudes of those of the picked CSR rows that are the part's.

    SciPy takes longer to copy three rows than a seed takes.
    """
    local = [i - part.offset for i in picked.tolist() if 0 <= i - part.offset < part.n_rows]
    if not local:  # its rows needn't be read
        return []
    data, indptr = np.asarray(part.X.data), part.X.indptr
    return [float(np.abs(data[indptr[i] : indptr[i + 1]]).max(initial=0.0)) for i in local]


def kmeans_plusplus(rows, n_clusters, frame, random_state):
    """``"k-means++"``, as the module describes it; few rows are drawn from sorted."""
    if rows.n_rows <= FEW_ROWS:
        rows = sorted_by_value(rows)
    elif rows.outgrow_memory():
        return scalable_kmeans_plusplus(rows, n_clusters, frame, random_state, FEW_ROUNDS)
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
        for piece, values in dense_pieces(part, block):
            own = slice(piece.start - block.start, piece.stop - block.start)
            np.add.at(sums, labels[own], (values - origin) * weight[own, np.newaxis])
        np.add.at(weights, labels, weight)
    return sums, weights


def scalable_kmeans_plusplus(rows, n_clusters, frame, random_state, n_rounds=ROUNDS):
    """``"k-means||"``, as the module describes it; the candidates are reduced by k-means++."""
    found = _candidates(rows, n_clusters, frame, random_state, n_rounds)
    missing = n_clusters - len(found.X)
    if missing > 0:
        extra = rows.take(spare_rows(rows, random_state, missing))
        return np.concatenate([found.X, extra])
    return kmeans_plusplus(array_rows(found.X, found.weights), n_clusters, frame, random_state)


def plusplus_indices(rows, n_clusters, frame, random_state):
    """The indices of rows drawn by k-means++, or by what stands for it."""
    if not rows.outgrow_memory():
        return greedy_kmeans_plusplus(rows, n_clusters, frame, random_state)[1]
    found = _candidates(rows, n_clusters, frame, random_state, FEW_ROUNDS)
    missing = n_clusters - len(found.X)
    if missing > 0:
        return np.concatenate([found.indices, spare_rows(rows, random_state, missing)])
    candidates = array_rows(found.X, found.weights)
    return found.indices[greedy_kmeans_plusplus(candidates, n_clusters, frame, random_state)[1]]


def _candidates(rows, n_clusters, frame, random_state, n_rounds):
    return draw_candidates(
        rows, n_clusters, frame, random_state, n_rounds, _algorithm, _squared_lengths
    )


def _algorithm(*shape):
    return choose("lloyd", *shape)


def _squared_lengths(differences):
    return np.einsum("ij,ij->i", differences, differences)


STRATEGIES: dict[str, Callable] = {
    "k-means++": kmeans_plusplus,
    "k-means||": scalable_kmeans_plusplus,
    "random": random_rows,
    "random_partition": means_of_random_partition,
}
