"""Greedy seeding by L1 distance over one part's rows.

As k-means++ (Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007,
with several candidates for each seed), with L1 distances where that has squared ones.
"""

import numpy as np

from fastem.kernels.distances.pairwise import block_of_manhattan
from fastem.kernels.distances.tile_nearest import BLOCK
from fastem.kernels.runtime.arrays import as_weights, read_only
from fastem.kernels.runtime.chunks import row_chunks
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.tiles import aligned_empty_like, load_tile


@kernel
def try_points(
    tickets, n_chunks, chunk_rows, X, sample_weight, points, closest, settle, potentials
):
    """Compare all rows with a few points.

    ``potentials`` of shape (n_points, n_chunks) get each chunk's weighted sum of the distances to
    the nearest seed if the point were one. With ``settle`` the first point becomes one: ``closest``
    is brought up to date with it.
    """
    n_rows, n_features = X.shape
    n_points = len(points)
    tile = aligned_empty_like(n_features * TILE, X)
    distances = aligned_empty_like((n_points + BLOCK) * TILE, X)
    shift = np.zeros(n_features + LANES, X.dtype)
    rows = np.empty(TILE, np.int64)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for i in range(n_points):
            potentials[i, chunk] = 0.0
        for first in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows), TILE):
            n_lanes = min(TILE, n_rows - first)
            load_tile(X, first, X.dtype.type(1), shift, rows, tile)
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


class GreedyManhattanSeeder:
    """Each row's L1 distance to the nearest of the seeds so far.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64, C-contiguous
    sample_weight : None or ndarray of shape (n_rows,), float64
    """

    def __init__(self, X, sample_weight):
        self._rows = read_only(X)
        self._weight = as_weights(sample_weight)
        self._chunk_rows, self._n_chunks = row_chunks(len(X), 8 * X.shape[1])
        self._closest = np.full(len(X), np.inf, X.dtype)

    def add(self, point):
        """Make a row a seed; returns the potential afterwards."""
        potentials = self._compare(point[np.newaxis], True)[0]
        self._ends = np.cumsum(potentials)
        return float(self._ends[-1])

    def screen(self, candidates):
        """Bounds on how much the potential would fall if a candidate were the next seed: none."""
        self._points = candidates
        return np.array([np.zeros(len(candidates)), np.full(len(candidates), np.inf)])

    def try_candidates(self, kept):
        """The potential that each candidate would leave if it were the next seed.

        Parameters
        ----------
        kept : ndarray of shape (n_kept,), int
            Which of those just screened.

        Returns
        -------
        ndarray of shape (n_kept,), float64
        """
        self._candidates = self._points[kept]
        return self._compare(self._candidates, False).sum(axis=1)

    def accept(self, index):
        """Make one of the candidates just tried a seed; returns the potential afterwards."""
        return self.add(self._candidates[index])

    def locate(self, values):
        """The first rows up to which the weighted distances sum to at least the values.

        Parameters
        ----------
        values : ndarray of shape (n_values,)

        Returns
        -------
        ndarray of shape (n_values,), int
        """
        chunks = np.minimum(np.searchsorted(self._ends, values), self._n_chunks - 1)
        found = np.empty(len(values), int)
        for i, (chunk, value) in enumerate(zip(chunks, values, strict=True)):
            rows = slice(chunk * self._chunk_rows, (chunk + 1) * self._chunk_rows)
            distances = self._closest[rows].astype(np.float64)
            if len(self._weight):
                distances *= self._weight[rows]
            cumulated = np.cumsum(distances)
            before = self._ends[chunk - 1] if chunk > 0 else 0.0
            # What rounding has lost is looked for at the chunk's end.
            wanted = min(value - before, cumulated[-1])
            found[i] = rows.start + np.searchsorted(cumulated, wanted)
        return found

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
