"""Hamerly's algorithm, with the few centres that move far compared exactly.

After some passes most centres hardly move, yet the fastest few make every row's bound fail. Rows
whose bound would hold without these are compared with them and their own centre only, which keeps
the bound. How much farther from its own centre a row is than before is computed, not bounded by how
far the centre has moved: it has seldom moved straight away from the row. The idea of active centres
is from T. Kaukoranta, P. Fraenti and O. Nevalainen, "A fast exact GLA based on code vector activity
detection", IEEE Transactions on Image Processing 9, 2000.
"""

import numpy as np

from fastem.kernels.distances.one_row import direct_distance
from fastem.kernels.distances.rounding import ROUNDED_DOWN, ROUNDED_UP, distances_below
from fastem.kernels.distances.tile_nearest import BLOCK, nearest_two, pad_order, squared_norms
from fastem.kernels.kmeans.hamerly import BoundedAlgorithm, list_failing
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import TILE
from fastem.kernels.vectors.tiles import aligned_empty, gather_tile, tiles_fit

# A comparison with the fast centres alone must promise to save at least this share of a full one.
_LEAST_SAVING = 0.1

# It takes as long as comparing with so many centres to fetch a row and find its own distances.
_OWN_CENTERS = 32

# From so many rows' bounds is estimated how many will do with a comparison with the fast centres.
_SAMPLE = 1024


@kernel
def confirm_pass(
    tickets,
    n_chunks,
    chunk_rows,
    X,
    scale,
    shift,
    fast,
    packed,
    centers,
    previous,
    moved,
    drift,
    greatest,
    slow_drift,
    bounds,
    labels,
):
    """Renew the bounds of rows that only the centres in ``fast`` could have come nearer to.

    Parameters
    ----------
    X, scale, shift, packed, drift, greatest, bounds, labels
        As for ``hamerly.hamerly_pass``; the drifts are those after the last move of the centres.
    fast : int32 array
        The numbers of the fast centres, from ``pad_order``.
    centers, previous : float64 arrays of shape (n_clusters, n_features)
        In the rows' coordinates, now and in the pass before.
    moved : float64 array of shape (n_clusters,)
        How far each centre has moved between these, in scaled units.
    slow_drift : float32 array of shape (n_clusters,)
        Each cluster's drift before, and how far the fastest of the other centres has moved.
    """
    negated, half_norms, _, rounding, radius = packed
    n_rows, n_features = X.shape
    tile = aligned_empty(n_features * TILE)
    norms, best, second = aligned_empty(TILE), aligned_empty(TILE), aligned_empty(TILE)
    nearest = np.empty(TILE, np.int32)
    rows = np.empty(TILE, np.int32)
    failed = np.empty(chunk_rows + TILE, np.int32)
    left, own = np.empty(chunk_rows, np.float32), np.empty(chunk_rows, np.float32)
    relative_error = (n_features + 8) * 2.0**-52
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start, stop = chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)
        n_failed = list_failing(start, stop, bounds, drift, greatest, labels, failed)
        n_listed = 0
        for i in range(n_failed):
            row = failed[i]
            label = labels[row]
            gap = bounds[row] - slow_drift[label]
            if gap <= np.float32(0):
                continue
            now = np.sqrt(direct_distance(X, row, centers, label))
            if moved[label] > 0.0:
                then = np.sqrt(direct_distance(X, row, previous, label))
                growth = now - then + relative_error * (now + then)
                gap = np.float32(np.float64(gap) - growth * scale)
            if gap > np.float32(0):
                failed[n_listed] = row
                left[n_listed] = gap * ROUNDED_DOWN
                own[n_listed] = np.float32(now * scale) * ROUNDED_UP
                n_listed += 1
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
                rival = second[lane] if nearest[lane] == label else best[lane]
                gap = min(rival - own[t + lane], left[t + lane])
                if gap > np.float32(0):
                    bounds[row] = (gap + drift[label]) * ROUNDED_DOWN


class ConfirmingAlgorithm(BoundedAlgorithm):
    """Does not let a few fast centres spoil the bounds."""

    # What a comparison with all centres takes, as a share of what it takes a tile in float32.
    _full_cost = 1.0

    def _choose_fast(self, moved, before):
        """The fast centres, and the greatest distance that any other has moved.

        With q of k centres taken out, a comparison costs q / k, and rows whose gap is less than
        what the others have moved need a full one after it.
        """
        n_clusters = len(moved)
        if n_clusters <= BLOCK:
            return None, 0.0
        sample = slice(None, None, ceil_div(len(self.labels), _SAMPLE))
        labels = self.labels[sample]
        gaps = self._bounds[sample] - before[labels]
        failing = np.mean(gaps <= (self._drift - before)[labels])
        slowest_last = np.argsort(-moved)
        n_fast = np.arange(BLOCK, n_clusters, BLOCK)
        slow = moved[slowest_last[n_fast]]
        full = np.minimum(np.searchsorted(np.sort(gaps), slow, side="right") / len(gaps), failing)
        cost = failing * (n_fast + _OWN_CENTERS) / n_clusters + full * self._full_cost
        i = np.argmin(cost)
        if cost[i] > failing * self._full_cost * (1 - _LEAST_SAVING):
            return None, 0.0
        return slowest_last[: n_fast[i]], slow[i]

    @np.errstate(over="ignore")  # drifts of centres far beyond the rows are infinite in float32
    def _renew_bounds(self, centers, packed, moved, before):
        fast, slow = self._choose_fast(moved, before)
        if fast is None or not tiles_fit(self._rows):
            return
        run(
            confirm_pass,
            self._n_chunks,
            self._chunk_rows,
            self._rows,
            self._scale,
            self._shift,
            pad_order(np.sort(fast), len(centers)),
            packed,
            centers,
            self._previous,
            moved,
            self._rounded,
            self._greatest,
            (before + slow * (1 + 1e-9)).astype(np.float32),
            self._bounds,
            self.labels,
        )


class Active(ConfirmingAlgorithm):
    """For many clusters."""

    name = "active"
