"""Greedy seeding over few long rows, in either metric: without tiles, which would be as large."""

import numpy as np

from fastem.kernels.distances.one_row import direct_distance, direct_manhattan
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.seeding.chunked import ChunkedSeeder


def _row_by_row(distance):
    @kernel
    def distances_by_row(tickets, n_rows, X, points, distances):
        """All rows' distances, a row at a time.

        Parameters
        ----------
        X : array of shape (n_rows, n_features)
        points : array of shape (n_points, n_features), in the rows' dtype
        distances : float64 array of shape (n_points, n_rows)
        """
        while True:
            row = next_chunk(tickets)
            if row >= n_rows:
                return
            for j in range(len(points)):
                distances[j, row] = distance(X, row, points, j)

    return distances_by_row


_SQUARES, _MAGNITUDES = _row_by_row(direct_distance), _row_by_row(direct_manhattan)


class DirectSeeder(ChunkedSeeder):
    """A :class:`ChunkedSeeder` of few long dense rows.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64, C-contiguous
    sample_weight : None or ndarray of shape (n_rows,), float64
    scale : float or None
        A power of two that brings the rows' squared Euclidean distances near one; None for L1
        distances.
    """

    def __init__(self, X, sample_weight, scale):
        super().__init__(len(X), sample_weight, len(X), 1, np.float64)
        self._rows = read_only(X)
        self._kernel = _MAGNITUDES if scale is None else _SQUARES
        self._unit = 1.0 if scale is None else float(scale) ** 2

    def _compare(self, points, settle):
        distances = np.empty((len(points), len(self._rows)))
        points = read_only(np.ascontiguousarray(points, self._rows.dtype))
        run(self._kernel, len(self._rows), self._rows, points, distances)
        distances *= self._unit
        np.minimum(distances, self._closest, out=distances)
        if settle:
            self._closest = distances[0].copy()
        if len(self._weight):
            distances *= self._weight
        return distances.sum(axis=1, keepdims=True)
