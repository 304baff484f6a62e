"""Hamerly's algorithm, with one number a row.

G. Hamerly, "Making k-means even faster", SDM 2010. The gap between a row's second nearest and
nearest centre shrinks by no more than what its own centre and the fastest other one have moved
since. The sum of these drifts is kept per cluster, so that a row's bound is written once, when
it is compared, and only read afterwards. Rows that fail the test are gathered into full tiles.
"""

import numpy as np

from fastem.kernels.clusters.moves import move_row, move_tile
from fastem.kernels.distances.metric import compare_tile, distance_gaps, nearest_exactly
from fastem.kernels.distances.rounding import ROUNDED_DOWN
from fastem.kernels.kmeans.base import DenseAlgorithm
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.memory import aligned_array
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.tiles import (
    aligned_empty,
    first_lanes,
    gather_tile,
    load_narrow,
    tiles_fit,
)
from fastem.kernels.vectors.vector import bits, broadcast, first_bit, load

# Where more than this share of a chunk's rows fails, a pass over all of them is cheaper.
_FULL_SHARE = 0.55

# So few rows are compared in float64 at once: a tile takes as long for one row as for all.
FEW_ROWS = 4


@inline
def list_failing(start, stop, bounds, drift, greatest, labels, failed):
    """List the rows whose bounds do not exceed their cluster's drift; return their number.

    Vectors of rows are held against the greatest drift first. Then every row of the vector is
    written and counted or not: a branch would often be predicted wrongly.
    """
    n_failed = 0
    whole = start + (stop - start) // LANES * LANES
    for first in range(start, whole, LANES):
        if bits(load(bounds, first, LANES) <= broadcast(greatest, LANES)) == np.uint64(0):
            continue
        for row in range(first, first + LANES):
            failed[n_failed] = row
            n_failed += bounds[row] <= drift[labels[row]]
    for row in range(whole, stop):
        failed[n_failed] = row
        n_failed += bounds[row] <= drift[labels[row]]
    return n_failed


@inline
def settle(packed, X, row, scale, distances):
    """A row's nearest centre by float64, and at most by how much the second is farther away."""
    label, gap = nearest_exactly(packed, X, row, distances)
    gap = min(gap * np.float64(scale), 1e30)
    return label, np.float32(gap) * np.float32(1 - 1e-6)


@inline
def renew_row(row, label, gap, drift, bounds, labels, moves, chunk, n_moved):
    """Write a row's bound and, if it has moved, its label; return how many have."""
    if labels[row] != label:
        n_moved = move_row(row, label, labels, moves, chunk, n_moved)
    bounds[row] = (gap + drift[label]) * ROUNDED_DOWN
    return n_moved


@kernel
def hamerly_pass(
    tickets,
    n_chunks,
    chunk_rows,
    X,
    scale,
    shift,
    order,
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
    X, scale, shift, order, packed, labels, moves
        As for ``lloyd.lloyd_pass``.
    drift : float32 array of shape (n_clusters,)
        How far each centre and its fastest rival have moved so far, together, in scaled units.
    greatest : float32
        The greatest of these.
    bounds : float32 array of shape (n_rows,)
        The gaps between the rows' second nearest and nearest centres when they were compared, plus
        the drift of their cluster then.
    """
    n_rows, n_features = X.shape
    tiled = tiles_fit(X)
    tile = aligned_empty(n_features * TILE if tiled else 0)
    norms, best, second = aligned_empty(TILE), aligned_empty(TILE), aligned_empty(TILE)
    gaps = aligned_empty(TILE)
    nearest = aligned_array(TILE, np.int32)
    rows = aligned_array(TILE, np.int32)
    failed = aligned_array(chunk_rows + TILE, np.int32)
    distances = aligned_array(len(order), np.float64)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start, stop = chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)
        n_moved = 0
        n_failed = stop - start
        full = labels[start] < 0
        if not full:
            n_listed = list_failing(start, stop, bounds, drift, greatest, labels, failed)
            full = n_listed > _FULL_SHARE * (stop - start)
            n_failed = n_failed if full else n_listed
        for t in range(0, n_failed, TILE):
            n_lanes = min(TILE, n_failed - t)
            loaded = full and tiled and load_narrow(X, start + t, scale, shift, tile)
            if not loaded:
                for lane in range(TILE):
                    i = t + min(lane, n_lanes - 1)
                    rows[lane] = start + i if full else failed[i]
            if n_lanes <= FEW_ROWS or not tiled:
                undecided = first_lanes(n_lanes)
            else:
                if not loaded:
                    gather_tile(X, rows, scale, shift, tile)
                compare_tile(packed, tile, n_features, order, norms, best, second, nearest)
                undecided = distance_gaps(packed, norms, best, second, gaps)
            while undecided != np.uint64(0):
                lane = np.intp(first_bit(undecided))
                undecided &= undecided - np.uint64(1)
                row = min(start + t + lane, stop - 1) if full else np.intp(rows[lane])
                nearest[lane], gaps[lane] = settle(packed, X, row, scale, distances)
            if full:
                n_moved = move_tile(start + t, nearest, labels, moves, chunk, n_moved)
                for lane in range(n_lanes):
                    bounds[start + t + lane] = (gaps[lane] + drift[nearest[lane]]) * ROUNDED_DOWN
            else:
                for lane in range(n_lanes):
                    n_moved = renew_row(
                        np.intp(rows[lane]),
                        nearest[lane],
                        gaps[lane],
                        drift,
                        bounds,
                        labels,
                        moves,
                        chunk,
                        n_moved,
                    )
        moves.counts[chunk] = n_moved


class Hamerly(DenseAlgorithm):
    """Skips the rows whose nearest centre can't have changed."""

    name = "hamerly"

    def __init__(self, X, sample_weight, n_clusters, frame):
        super().__init__(X, sample_weight, n_clusters, frame)
        self._bounds = np.zeros(len(X), np.float32)
        self._drift = np.zeros(n_clusters)
        self._previous = None

    def _renew_bounds(self, centers, packed, moved, before):
        """For a subclass: raise bounds that would fail, ``before`` being the drift before."""

    @np.errstate(over="ignore")  # drifts of centres far beyond the rows are infinite in float32
    def _pass(self, centers):
        packed = self._pack(centers)
        if self._previous is not None:
            shift = centers - self._previous
            moved = self._lengths(shift) * self._frame.scale
            # Each cluster's centre and its fastest rival.
            fastest = moved.argmax()
            rival = np.full(len(moved), moved[fastest])
            rival[fastest] = np.partition(moved, -2)[-2] if len(moved) > 1 else 0.0
            before = self._drift
            self._drift = before + (moved + rival) * (1 + 1e-9)
            self._renew_bounds(centers, packed, moved, before)
        self._previous = centers.copy()
        self._compare(packed, self._drift.astype(np.float32))

    def _compare(self, packed, drift):
        """Compare the rows whose bounds fail with all centres."""
        run(
            hamerly_pass,
            self._n_chunks,
            self._chunk_rows,
            self._rows,
            self._scale,
            self._shift,
            self._order,
            packed,
            drift,
            drift.max(),
            self._bounds,
            self.labels,
            self._moves,
        )
