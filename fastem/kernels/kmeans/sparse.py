"""Lloyd's algorithm for CSR rows: a row costs its non-zeros times the clusters."""

import numpy as np

from fastem.kernels.clusters.moves import move_row
from fastem.kernels.distances.sparse import nearest_to_row, pack_sparse, sparse_rows
from fastem.kernels.kmeans.base import Algorithm
from fastem.kernels.kmeans.losses import sparse_losses
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.parallel import next_chunk, run


@kernel
def sparse_pass(tickets, n_chunks, chunk_rows, rows, packed, labels, moves):
    """Label all rows by their nearest centres, and list those that have moved.

    Parameters
    ----------
    rows : SparseRows
    packed : SparsePacked
        The centres.
    labels : int32 array of shape (n_rows,)
    moves : Moves
    """
    n_rows, n_clusters = len(labels), len(packed.high)
    sums, distances = np.empty((2, n_clusters)), np.empty(n_clusters)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        n_moved = 0
        for row in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)):
            label = nearest_to_row(rows, row, packed, sums, distances)
            if labels[row] != label:
                n_moved = move_row(row, label, labels, moves, chunk, n_moved)
        moves.counts[chunk] = n_moved


class Sparse(Algorithm):
    """Plain passes over CSR rows, in float64."""

    name = "sparse"

    def _as_kernel_rows(self, X):
        return sparse_rows(X)

    def _nbytes(self, X):
        return X.data.nbytes

    def _norms(self, centers):
        packed = pack_sparse(centers)
        return np.array([packed.high, packed.low])

    def _pass(self, centers):
        run(
            sparse_pass,
            self._n_chunks,
            self._chunk_rows,
            self._rows,
            pack_sparse(centers),
            self.labels,
            self._moves,
        )

    def losses(self, centers, chosen):
        return sparse_losses(
            self._rows,
            self._weight,
            self.labels,
            self._chunk_rows,
            self._n_chunks,
            pack_sparse(np.ascontiguousarray(centers, np.float64)),
            chosen,
        )
