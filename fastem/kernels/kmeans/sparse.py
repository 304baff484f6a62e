"""Lloyd's algorithm for CSR rows: a row costs its non-zeros times the clusters.

The score ``|c|^2 / 2 - x.c`` is accumulated for all centres at once over a row's non-zeros.
"""

import numpy as np

from fastem.kernels.kmeans.base import Algorithm
from fastem.kernels.kmeans.moves import move_row
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.parallel import next_chunk, run


@kernel
def sparse_pass(
    tickets,
    n_chunks,
    chunk_rows,
    rows,
    transposed,
    half_norms,
    labels,
    moves,
):
    data, indices, indptr = rows
    n_rows, n_clusters = len(labels), len(half_norms)
    scores = np.empty(n_clusters)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        n_moved = 0
        for row in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)):
            for j in range(n_clusters):
                scores[j] = half_norms[j]
            for i in range(indptr[row], indptr[row + 1]):
                value, f = data[i], indices[i]
                for j in range(n_clusters):
                    scores[j] -= value * transposed[f, j]
            label = np.int32(0)
            for j in range(1, n_clusters):
                if scores[j] < scores[label]:
                    label = np.int32(j)
            if labels[row] != label:
                n_moved = move_row(row, label, labels, moves, chunk, n_moved)
        moves.counts[chunk] = n_moved


class Sparse(Algorithm):
    """Plain passes over CSR rows, in float64."""

    name = "sparse"

    def _as_kernel_rows(self, X):
        return (
            read_only(X.data),
            read_only(X.indices.astype(np.int32, copy=False)),
            read_only(X.indptr.astype(np.int64, copy=False)),
        )

    def _nbytes(self, X):
        return X.data.nbytes

    def _pass(self, centers):
        run(
            sparse_pass,
            self._n_chunks,
            self._chunk_rows,
            self._rows,
            np.ascontiguousarray(centers.T),
            0.5 * np.einsum("ij,ij->i", centers, centers),
            self.labels,
            self._moves,
        )
