"""Greedy k-means++ over one part's CSR rows."""

import numpy as np

from fastem.kernels.distances.sparse import distances_of_row, pack_sparse, row_work, sparse_rows
from fastem.kernels.runtime.chunks import row_chunks
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.seeding.chunked import ChunkedSeeder

_CANDIDATES = 4  # that a pass compares, about


@kernel
def try_sparse(
    tickets,
    n_chunks,
    chunk_rows,
    rows,
    unit,
    sample_weight,
    packed,
    closest,
    settle,
    potentials,
):
    """Compare all rows with a few points.

    Parameters
    ----------
    rows : SparseRows
    unit : float
        What squared distances are multiplied by.
    sample_weight : float64 array of n_rows values, or of none
    packed : SparsePacked
        The points.
    closest : float64 array of shape (n_rows,)
        Squared distances to the nearest seed; brought up to date with the first point if
        ``settle`` is set.
    potentials : float64 array of shape (n_points, n_chunks)
        Gets each chunk's weighted sum of the distances if the point were a seed.
    """
    n_rows, n_points = len(closest), len(packed.high)
    sums, distances = np.empty((2, n_points)), np.empty(n_points)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        totals = np.zeros(n_points)
        for row in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)):
            distances_of_row(rows, row, packed, sums, distances)
            weight = sample_weight[row] if len(sample_weight) else 1.0
            for j in range(n_points):
                totals[j] += weight * min(closest[row], distances[j] * unit)
            if settle:
                closest[row] = min(closest[row], distances[0] * unit)
        for j in range(n_points):
            potentials[j, chunk] = totals[j]


class SparseGreedySeeder(ChunkedSeeder):
    """A :class:`ChunkedSeeder` of CSR rows by squared Euclidean distance.

    Parameters
    ----------
    X : CSR matrix of shape (n_rows, n_features), float32 or float64
    sample_weight : None or ndarray of shape (n_rows,), float64
    scale : float
        A power of two that the rows are multiplied by.
    """

    def __init__(self, X, sample_weight, scale):
        n_rows = X.shape[0]
        chunk_rows, n_chunks = row_chunks(n_rows, row_work(X, _CANDIDATES))
        super().__init__(n_rows, sample_weight, chunk_rows, n_chunks, np.float64)
        self._rows, self._unit = sparse_rows(X), float(scale) ** 2

    def _compare(self, points, settle):
        potentials = np.empty((len(points), self._n_chunks))
        run(
            try_sparse,
            self._n_chunks,
            self._chunk_rows,
            self._rows,
            self._unit,
            self._weight,
            pack_sparse(np.ascontiguousarray(points, np.float64)),
            self._closest,
            settle,
            potentials,
        )
        return potentials
