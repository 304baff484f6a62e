"""Greedy seeding by L1 distance over one part's rows.

As k-means++ (Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007,
with several candidates for each seed), with L1 distances where that has squared ones.
"""

import numpy as np

from fastem.kernels.distances.pairwise import block_of_manhattan
from fastem.kernels.distances.tile_nearest import BLOCK
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.chunks import row_chunks
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.seeding.chunked import ChunkedSeeder
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.tiles import aligned_empty_like, load_tile


@kernel
def try_points(
    tickets, n_chunks, chunk_rows, X, sample_weight, points, closest, settle, potentials
):
    """Compare all rows with a few points.

    Parameters
    ----------
    X : array of shape (n_rows, n_features)
    sample_weight : float64 array of n_rows values, or of none
    points : array of shape (n_points, n_features), in the rows' dtype
    closest : array of shape (n_rows,), in the rows' dtype
        L1 distances to the nearest seed; brought up to date with the first point if ``settle`` is
        set.
    potentials : float64 array of shape (n_points, n_chunks)
        Gets each chunk's weighted sum of the distances if the point were a seed.
    """
    n_rows, n_features = X.shape
    n_points = len(points)
    tile = aligned_empty_like(n_features * TILE, X)
    distances = aligned_empty_like((n_points + BLOCK) * TILE, X)
    shift = np.zeros(n_features + LANES, X.dtype)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for i in range(n_points):
            potentials[i, chunk] = 0.0
        for first in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows), TILE):
            n_lanes = min(TILE, n_rows - first)
            load_tile(X, first, X.dtype.type(1), shift, tile)
            for i in range(0, n_points, BLOCK):
                block_of_manhattan(
                    points, i, n_points - 1, tile, n_features, distances, i * TILE, TILE
                )
            for i in range(n_points):
                total = 0.0
                for lane in range(n_lanes):
                    distance = min(closest[first + lane], distances[i * TILE + lane])
                    weight = sample_weight[first + lane] if len(sample_weight) else 1.0
                    total += weight * distance
                potentials[i, chunk] += total
            if settle:
                for lane in range(n_lanes):
                    closest[first + lane] = min(closest[first + lane], distances[lane])


class GreedyManhattanSeeder(ChunkedSeeder):
    """A :class:`ChunkedSeeder` of dense rows by L1 distance.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64, C-contiguous
    sample_weight : None or ndarray of shape (n_rows,), float64
    """

    def __init__(self, X, sample_weight):
        super().__init__(len(X), sample_weight, *row_chunks(len(X), 8 * X.shape[1]), X.dtype)
        self._rows = read_only(X)

    def _compare(self, points, settle):
        potentials = np.empty((len(points), self._n_chunks))
        run(
            try_points,
            self._n_chunks,
            self._chunk_rows,
            self._rows,
            self._weight,
            np.ascontiguousarray(points, self._rows.dtype),
            self._closest,
            settle,
            potentials,
        )
        return potentials
