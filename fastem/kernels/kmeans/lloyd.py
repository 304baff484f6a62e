"""Lloyd's algorithm: every row is compared with every centre in every pass.

S. P. Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 28,
1982, with the fused compare-and-accumulate of ``tile_nearest.py``.
"""

from typing import ClassVar

import numpy as np

from fastem.kernels.clusters.moves import move_tile
from fastem.kernels.distances.metric import compare_tile, nearest_exactly, undecided_lanes
from fastem.kernels.kmeans.base import DenseAlgorithm
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.memory import aligned_array
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import TILE
from fastem.kernels.vectors.tiles import aligned_empty, first_lanes, load_tile, tiles_fit
from fastem.kernels.vectors.vector import first_bit


@kernel
def lloyd_pass(
    tickets,
    n_chunks,
    chunk_rows,
    X,
    scale,
    shift,
    order,
    packed,
    labels,
    moves,
):
    """Label all rows by their nearest centres, and list those that have moved.

    Parameters
    ----------
    X : array of shape (n_rows, n_features)
    scale, shift
        What brings rows into a tile's units, as ``tiles.py`` says.
    order : int32 array
        All centres, from ``pad_order``.
    packed : NamedTuple
        The centres, as the metric packs them.
    labels : int32 array of shape (n_rows,)
    moves : Moves
    """
    n_rows, n_features = X.shape
    tiled = tiles_fit(X)
    tile = aligned_empty(n_features * TILE if tiled else 0)
    norms, best, second = aligned_empty(TILE), aligned_empty(TILE), aligned_empty(TILE)
    nearest = aligned_array(TILE, np.int32)
    distances = aligned_array(len(order), np.float64)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        n_moved = 0
        for first in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows), TILE):
            if tiled:
                load_tile(X, first, scale, shift, tile)
                compare_tile(packed, tile, n_features, order, norms, best, second, nearest)
                undecided = undecided_lanes(packed, norms, best, second)
            else:
                undecided = first_lanes(min(TILE, n_rows - first))
            while undecided != np.uint64(0):
                lane = np.intp(first_bit(undecided))
                undecided &= undecided - np.uint64(1)
                row = min(first + lane, n_rows - 1)
                nearest[lane], _ = nearest_exactly(packed, X, row, distances)
            n_moved = move_tile(first, nearest, labels, moves, chunk, n_moved)
        moves.counts[chunk] = n_moved


class PlainAlgorithm(DenseAlgorithm):
    """Compares all rows with all centres, unless a subclass can do without."""

    kernels: ClassVar[tuple] = (lloyd_pass,)

    def _pass(self, centers):
        run(
            lloyd_pass,
            self._n_chunks,
            self._chunk_rows,
            self._rows,
            self._scale,
            self._shift,
            self._order,
            self._pack(centers),
            self.labels,
            self._moves,
        )


class Lloyd(PlainAlgorithm):
    """Plain passes: the least work a row for few clusters and features."""

    name = "lloyd"
