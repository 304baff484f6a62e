"""Lloyd's algorithm: every row is compared with every centre in every pass.

S. P. Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 28,
1982, with the fused compare-and-accumulate of ``assignment.py``.
"""

import numpy as np

from fastem.kernels.assignment import nearest_two, squared_norms
from fastem.kernels.compiling import kernel
from fastem.kernels.kmeans.base import DenseAlgorithm
from fastem.kernels.kmeans.moves import move_tile
from fastem.kernels.kmeans.rounding import nearest_exactly, undecided_lanes
from fastem.kernels.parallel import next_chunk, run
from fastem.kernels.simd import TILE, first_bit
from fastem.kernels.tiles import aligned_empty, load_tile


@kernel
def lloyd_pass(
    tickets,
    n_chunks,
    chunk_rows,
    X,
    origin,
    scale,
    shift,
    order,
    packed,
    labels,
    moved_rows,
    moved_from,
    n_moved,
    capacity,
):
    negated, half_norms, exact, rounding, radius = packed
    n_rows, n_features = X.shape
    tile = aligned_empty(n_features * TILE)
    norms, best, second = aligned_empty(TILE), aligned_empty(TILE), aligned_empty(TILE)
    nearest = np.empty(TILE, np.int32)
    rows = np.empty(TILE, np.int32)
    distances = np.empty(len(half_norms) - 1)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        moved = 0
        for first in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows), TILE):
            load_tile(X, first, scale, shift, rows, tile)
            squared_norms(tile, n_features, norms)
            nearest_two(
                tile, n_features, negated, half_norms, order, 0, len(order), best, second, nearest
            )
            undecided = undecided_lanes(norms, best, second, rounding, radius)
            while undecided != np.uint64(0):
                lane = np.intp(first_bit(undecided))
                undecided &= undecided - np.uint64(1)
                row = min(first + lane, n_rows - 1)
                nearest[lane], _, _ = nearest_exactly(X, row, origin, exact, distances)
            moved = move_tile(
                first,
                nearest,
                labels,
                moved_rows,
                moved_from,
                moved,
                chunk * capacity,
                capacity,
            )
        n_moved[chunk] = moved


class Lloyd(DenseAlgorithm):
    """Plain passes: the least work a row for few clusters and features."""

    name = "lloyd"

    def _pass(self, centers):
        run(
            lloyd_pass,
            self._n_chunks,
            self._n_chunks,
            self._chunk_rows,
            self._rows,
            self._origin,
            self._scale,
            self._shift,
            self._order,
            self._pack(centers),
            self.labels,
            self._moved_rows,
            self._moved_from,
            self._n_moved,
            self._capacity,
        )
