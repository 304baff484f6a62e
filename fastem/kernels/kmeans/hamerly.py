"""Hamerly's algorithm, with one number a row.

G. Hamerly, "Making k-means even faster", SDM 2010. The gap between a row's second nearest and
nearest centre shrinks by no more than what its own centre and the fastest other one have moved
since. The sum of these drifts is kept per cluster, so that a row's bound is written once, when
it is compared, and only read afterwards. Rows that fail the test are gathered into full tiles.
"""

from typing import ClassVar

import numpy as np

from fastem.kernels.clusters.moves import move_row, move_tile
from fastem.kernels.distances.metric import (
    compare_tile,
    distance_gaps,
    length_between,
    nearest_exactly,
)
from fastem.kernels.distances.rounding import ROUNDED_DOWN
from fastem.kernels.kmeans.base import DenseAlgorithm
from fastem.kernels.runtime.arrays import read_only
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
def add_drift(packed, previous, centers, scale, before, drift, rounded, moved):
    """Add to every centre's drift how far it and its fastest rival have moved.

    In one call: for few clusters, a handful of NumPy's takes longer than a pass over few rows.

    Parameters
    ----------
    packed : NamedTuple
        The centres as the metric packs them, for its type only.
    previous, centers : float64 arrays of shape (n_clusters, n_features)
        The last pass's centres and this one's.
    scale : float
    before, drift : float64 arrays of shape (n_clusters,)
        The drifts, and what gets the new ones.
    rounded : float32 array of shape (n_clusters,)
        Gets these, too; the greatest is returned.
    moved : float64 array of shape (n_clusters,)
        Gets how far each centre has moved, in scaled units.
    """
    fastest, most, second = -1, 0.0, 0.0
    for j in range(len(centers)):
        moved[j] = length_between(packed, previous, j, centers, j) * scale
        if moved[j] > most:
            fastest, most, second = j, moved[j], most
        elif moved[j] > second:
            second = moved[j]
    greatest = np.float32(0)
    for j in range(len(centers)):
        rival = second if j == fastest else most
        drift[j] = before[j] + (moved[j] + rival) * (1 + 1e-9)
        rounded[j] = np.float32(drift[j])  # infinite for a centre far beyond the rows
        greatest = max(greatest, rounded[j])
    return greatest


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


class BoundedAlgorithm(DenseAlgorithm):
    """Skips the rows whose nearest centre can't have changed."""

    kernels: ClassVar[tuple] = (hamerly_pass,)

    def __init__(self, X, sample_weight, n_clusters, frame):
        super().__init__(X, sample_weight, n_clusters, frame)
        self._bounds = np.zeros(len(X), np.float32)
        self._drift = np.zeros(n_clusters)
        self._rounded, self._greatest = np.zeros(n_clusters, np.float32), np.float32(0)
        self._previous = None

    def _renew_bounds(self, centers, packed, moved, before):
        """For a subclass: raise bounds that would fail, ``before`` being the drift before."""

    def _pass(self, centers):
        packed = self._pack(centers)
        if self._previous is not None:
            before, moved = self._drift, np.empty(len(centers))
            self._drift = np.empty(len(centers))
            greatest = add_drift(
                packed,
                read_only(self._previous),
                read_only(centers),
                float(self._frame.scale),
                before,
                self._drift,
                self._rounded,
                moved,
            )
            self._greatest = np.float32(greatest)
            self._renew_bounds(centers, packed, moved, before)
        self._previous = centers.copy()
        self._compare(packed)

    def _compare(self, packed):
        """Compare the rows whose bounds fail: with all centres, unless overridden."""
        run(
            hamerly_pass,
            self._n_chunks,
            self._chunk_rows,
            self._rows,
            self._scale,
            self._shift,
            self._order,
            packed,
            self._rounded,
            self._greatest,
            self._bounds,
            self.labels,
            self._moves,
        )


class Hamerly(BoundedAlgorithm):
    """With one number a row, and nothing else."""

    name = "hamerly"
