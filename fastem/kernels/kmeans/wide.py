"""Hamerly's algorithm for many features and few clusters: rows are compared whole.

The bounds are those of ``hamerly.py``; see there. The rows that fail are read where they are, two
at a time (``row_nearest.py``): to transpose them would take longer than to compare them, which
takes no longer than to read them from memory.
"""

from typing import ClassVar

import numpy as np

from fastem.kernels.distances.listed import LIST_SLACK, end_list
from fastem.kernels.distances.metric import distance_gaps
from fastem.kernels.distances.rounding import chain_error
from fastem.kernels.distances.row_nearest import (
    empty_blocks,
    fill_blocks,
    longest_chain,
    n_scores,
    nearest_two_rows,
)
from fastem.kernels.kmeans.hamerly import BoundedAlgorithm, list_failing, renew_row, settle
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import TILE
from fastem.kernels.vectors.tiles import aligned_empty, aligned_empty_like


@kernel
def wide_pass(
    tickets,
    n_chunks,
    chunk_rows,
    X,
    scale,
    shift,
    packed,
    drift,
    greatest,
    bounds,
    labels,
    moves,
):
    """Label the rows whose bounds fail, and list those that have moved.

    Parameters
    ----------
    X, scale, shift, drift, greatest, bounds, labels, moves
        As for ``hamerly.hamerly_pass``.
    packed : EuclideanPacked
        With blocks of ``row_nearest.fill_blocks`` as ``negated``.
    """
    blocks, half_norms = packed.negated, packed.half_norms
    n_rows = len(X)
    scores = aligned_empty(n_scores(blocks))
    best, second, gaps = aligned_empty(TILE), aligned_empty(TILE), aligned_empty(TILE)
    nearest = np.empty(TILE, np.int32)
    failed = np.empty(chunk_rows + LIST_SLACK, np.int32)
    distances = np.empty(len(half_norms) - 1)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start, stop = chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)
        n_moved = 0
        # At first all rows fail: bounds and drifts are 0.
        n_failed = list_failing(start, stop, bounds, drift, greatest, labels, failed)
        end_list(failed, n_failed, n_rows)
        for t in range(0, n_failed, TILE):
            n_lanes = min(TILE, n_failed - t)
            nearest_two_rows(
                X,
                failed,
                t,
                n_lanes,
                scale,
                shift,
                blocks,
                half_norms,
                scores,
                best,
                second,
                nearest,
            )
            undecided = distance_gaps(packed, scores, best, second, gaps)
            for lane in range(n_lanes):
                row = failed[t + lane]
                if (undecided >> np.uint64(lane)) & np.uint64(1):
                    nearest[lane], gaps[lane] = settle(packed, X, row, scale, distances)
                n_moved = renew_row(
                    row, nearest[lane], gaps[lane], drift, bounds, labels, moves, chunk, n_moved
                )
        moves.counts[chunk] = n_moved


class WholeRowsAlgorithm(BoundedAlgorithm):
    """Compares rows as they lie in memory: needs no tiles."""

    kernels: ClassVar[tuple] = (wide_pass,)

    def __init__(self, X, sample_weight, n_clusters, frame):
        super().__init__(X, sample_weight, n_clusters, frame)
        shift = self._shift
        self._shift = aligned_empty_like(len(shift), shift)
        self._shift[:] = shift
        self._blocks = empty_blocks(X.shape[1], n_clusters)
        self._rounding = chain_error(longest_chain(self._blocks))

    def _compare(self, packed):
        fill_blocks(packed.negated[:-1], self._blocks)
        run(
            wide_pass,
            self._n_chunks,
            self._chunk_rows,
            self._rows,
            self._scale,
            self._shift,
            packed._replace(negated=self._blocks),
            self._rounded,
            self._greatest,
            self._bounds,
            self.labels,
            self._moves,
        )


class Wide(WholeRowsAlgorithm):
    """For many features and few clusters."""

    name = "wide"
