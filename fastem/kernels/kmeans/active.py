"""Hamerly's algorithm, with the few centres that move far compared exactly.

After some passes most centres hardly move, yet the fastest few make every row's bound fail. Rows
whose bound would hold without these are compared with them and their own centre only, which keeps
the bound. The idea of active centres is from T. Kaukoranta, P. Fraenti and O. Nevalainen, "A fast
exact GLA based on code vector activity detection", IEEE Transactions on Image Processing 9, 2000.
"""

import numpy as np

from fastem.kernels.assignment import BLOCK, nearest_two, pad_order, squared_norms
from fastem.kernels.compiling import kernel
from fastem.kernels.kmeans.hamerly import Hamerly, list_failing
from fastem.kernels.kmeans.rounding import ROUNDED_DOWN, ROUNDED_UP, distances_below
from fastem.kernels.parallel import next_chunk, run
from fastem.kernels.row_distance import row_distance
from fastem.kernels.simd import TILE
from fastem.kernels.tiles import aligned_empty, gather_tile

# A comparison with the fast centres alone must promise to save at least this share of a full one.
_LEAST_SAVING = 0.1


@kernel
def confirm_pass(
    tickets,
    n_chunks,
    chunk_rows,
    X,
    origin,
    scale,
    shift,
    fast,
    packed,
    centers,
    drift,
    greatest,
    slow_drift,
    bounds,
    labels,
):
    """Renew the bounds of rows that only the centres in ``fast`` could have come nearer to."""
    negated, half_norms, _, rounding, radius = packed
    n_rows, n_features = X.shape
    tile = aligned_empty(n_features * TILE)
    norms, best, second = aligned_empty(TILE), aligned_empty(TILE), aligned_empty(TILE)
    nearest = np.empty(TILE, np.int32)
    rows = np.empty(TILE, np.int32)
    failed = np.empty(chunk_rows + TILE, np.int32)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start, stop = chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)
        n_failed = list_failing(start, stop, bounds, drift, greatest, labels, failed)
        n_listed = 0
        for i in range(n_failed):
            row = failed[i]
            failed[n_listed] = row
            n_listed += bounds[row] > slow_drift[labels[row]]
        for t in range(0, n_listed, TILE):
            n_lanes = min(TILE, n_listed - t)
            for lane in range(TILE):
                rows[lane] = failed[t + min(lane, n_lanes - 1)]
            gather_tile(X, rows, scale, shift, tile)
            squared_norms(tile, n_features, norms)
            nearest_two(
                tile, n_features, negated, half_norms, fast, 0, len(fast), best, second, nearest
            )
            distances_below(norms, best, rounding, radius, best)
            distances_below(norms, second, rounding, radius, second)
            for lane in range(n_lanes):
                row = rows[lane]
                label = labels[row]
                own = np.sqrt(row_distance(X, row, origin, centers, label)) * scale
                rival = second[lane] if nearest[lane] == label else best[lane]
                gap = min(rival - np.float32(own) * ROUNDED_UP, bounds[row] - slow_drift[label])
                if gap > np.float32(0):
                    bounds[row] = (gap + drift[label]) * ROUNDED_DOWN


class Active(Hamerly):
    """For many clusters: does not let a few fast centres spoil the bounds."""

    name = "active"

    def _choose_fast(self, moved):
        """The fast centres, and the greatest distance that any other has moved.

        With q of k centres taken out, a comparison costs q / k, and the share of rows that need a
        full one is taken to fall as the drift of the others does.
        """
        if len(moved) <= BLOCK:
            return None, 0.0
        slowest_last = np.argsort(-moved)
        n_fast = np.arange(BLOCK, len(moved), BLOCK)
        cost = n_fast / len(moved) + moved[slowest_last[n_fast]] / max(moved.max(), 1e-300)
        i = np.argmin(cost)
        if cost[i] > 1 - _LEAST_SAVING:
            return None, 0.0
        return slowest_last[: n_fast[i]], moved[slowest_last[n_fast[i]]]

    def _renew_bounds(self, centers, packed, moved, before):
        fast, slow = self._choose_fast(moved)
        if fast is None:
            return
        drift = self._drift.astype(np.float32)
        run(
            confirm_pass,
            self._n_chunks,
            self._n_chunks,
            self._chunk_rows,
            self._rows,
            self._origin,
            self._scale,
            self._shift,
            pad_order(np.sort(fast), len(centers)),
            packed,
            centers,
            drift,
            drift.max(),
            (before + (moved + slow) * (1 + 1e-9)).astype(np.float32),
            self._bounds,
            self.labels,
        )
