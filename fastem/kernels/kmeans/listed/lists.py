"""Hamerly's algorithm, with a list of near centres and a bound of all others for each row.

J. Drake and G. Hamerly, "Accelerated k-means with adaptive distance bounds", OPT 2012. The gap
between a row's nearest and second nearest centre fails after a step or two, while some centres
farther off are still out of the question: between the second and the ninth lies several times as
much. So a row keeps the numbers of its eight nearest centres, and how far away all others are at
least. Where its gap fails, it is compared with the eight only, unless the others' bound fails, too.

A few centres move several times as far as the rest. Rows are compared with the eight fastest as
well, so that the others' bound falls by the step of the ninth: half as many rows are compared with
all centres then.
"""

from typing import ClassVar

import numpy as np

from fastem.kernels.distances.metric import distance_gaps
from fastem.kernels.distances.rounding import ROUNDED_DOWN, distances_below
from fastem.kernels.distances.tile_nearest import nearest_two_of_all, squared_norms
from fastem.kernels.kmeans.hamerly import (
    FEW_ROWS,
    BoundedAlgorithm,
    Hamerly,
    list_failing,
    renew_row,
    settle,
)
from fastem.kernels.kmeans.listed.keys import N_KEYS, least_keys
from fastem.kernels.kmeans.listed.scores import (
    LISTED,
    MOST_LISTED,
    empty_layout,
    lay_out_centers,
    listed_error,
    nearest_two_listed,
    score_listed,
)
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.memory import aligned_array
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.tiles import (
    aligned_empty,
    fetch_start,
    first_lanes,
    gather_tile,
    tiles_fit,
)
from fastem.kernels.vectors.vector import (
    broadcast,
    greater,
    lesser,
    load,
    magnitude,
    multiply_add,
    store,
)

# A chunk's other rows are compared with all centres once this share of those looked at was.
_GIVE_UP_SHARE = 0.8

# Lists and bounds may take this share of the rows.
_MOST_MEMORY = 1 / 4

# Rows are fetched so many places of a list before they are compared.
_AHEAD = 8


def can_list(n_features, n_clusters, itemsize):
    """Whether lists of centres are a part of all, and take little memory beside the rows."""
    few = 2 * LISTED < n_clusters <= MOST_LISTED
    return few and LISTED + 4 < _MOST_MEMORY * n_features * itemsize


@inline
def _bound_others(packed, norms, away, second):
    """Lower the second least scores to those of centres so far away.

    ``away`` are at most the distances; those of no meaning become 0.
    """
    zero, half = broadcast(np.float32(0), LANES), broadcast(np.float32(0.5), LANES)
    grown = np.float32(1) + np.float32(2) * packed.rounding + np.float32(2.0**-20)
    for lane in range(0, TILE, LANES):
        distance = greater(load(away, lane, LANES), zero)
        store(distance, away, lane)
        square = distance * distance * broadcast(ROUNDED_DOWN, LANES)
        square = square - load(norms, lane, LANES) * broadcast(grown, LANES)
        store(lesser(square * half, load(second, lane, LANES)), second, lane)


@inline
def _last_keys(keys, scores):
    """Lower bounds of the scores that ``least_keys`` has left out."""
    for lane in range(0, TILE, LANES):
        key = load(keys, (N_KEYS - 1) * TILE + lane, LANES)
        tiny = broadcast(np.float32(2.0**-126), LANES)
        error = multiply_add(magnitude(key), broadcast(np.float32(2.0**-15), LANES), tiny)
        store(key - error, scores, lane)


@kernel
def lists_pass(
    tickets,
    n_chunks,
    chunk_rows,
    X,
    scale,
    shift,
    order,
    packed,
    by_rows,
    layout,
    fast,
    fast_layout,
    slow,
    total,
    drift,
    greatest,
    bounds,
    near,
    others,
    labels,
    moves,
):
    """Label the rows whose bounds fail, and list those that have moved.

    Parameters
    ----------
    X, scale, shift, order, packed, drift, greatest, bounds, labels, moves
        As for ``hamerly.hamerly_pass``.
    by_rows : EuclideanPacked
        The same with the rounding of ``scores.py``.
    layout, fast_layout
        As ``score_listed`` takes them.
    fast : uint8 array of shape (LISTED,)
        The numbers of the fastest centres.
    slow : float32
        How far the fastest of the other centres has moved in this step, in scaled units, and the
        total before.
    total : float32
        How far the fastest centres of all steps have moved together.
    near : uint8 array of shape (n_rows, LISTED)
        The numbers of the centres that the rows were nearest to when they were compared with all.
    others : float32 array of shape (n_rows,)
        At most the rows' distances from all other centres when they were compared, plus the total
        then; 0 where nothing is known.
    """
    n_rows, n_features = X.shape
    tile = aligned_empty(n_features * TILE)
    scores, keys = aligned_empty(len(order) * TILE), aligned_empty(N_KEYS * TILE)
    numbers = keys.view(np.int32)
    few, lists = aligned_empty(2 * LISTED * TILE), aligned_array(TILE * LISTED, np.uint8)
    norms, best, second = aligned_empty(TILE), aligned_empty(TILE), aligned_empty(TILE)
    gaps, beyond, away = aligned_empty(TILE), aligned_empty(TILE), aligned_empty(TILE)
    nearest, rows = aligned_array(TILE, np.int32), aligned_array(TILE, np.int32)
    failed = aligned_array(chunk_rows + TILE, np.int32)
    # Of the rows that failed: those to be compared with all centres, labels and gaps.
    opened, chosen = aligned_array(chunk_rows, np.int32), aligned_array(chunk_rows, np.int32)
    found = aligned_empty(chunk_rows)
    distances = aligned_array(len(order), np.float64)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start, stop = chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)
        first_pass = labels[start] < 0
        n_failed, n_opened = stop - start, 0
        if first_pass:
            for i in range(n_failed):
                failed[i] = start + i
        else:
            n_failed = list_failing(start, stop, bounds, drift, greatest, labels, failed)
        for t in range(0, n_failed, TILE):
            n_lanes = min(TILE, n_failed - t)
            if first_pass or n_opened > _GIVE_UP_SHARE * (t + TILE):
                for i in range(t, t + n_lanes):
                    opened[n_opened] = i
                    n_opened += 1
                continue
            for lane in range(n_lanes):
                row = np.intp(failed[t + lane])
                fetch_start(X, np.intp(failed[min(t + lane + _AHEAD, n_failed - 1)]))
                away[lane] = others[row] - slow
                score_listed(
                    X, row, scale, shift, layout, near, fast_layout, lane, norms, few, lists
                )
            nearest_two_listed(few, lists, fast, best, second, beyond, nearest)
            distances_below(norms, beyond, by_rows.rounding, by_rows.radius, beyond)
            _bound_others(by_rows, norms, away, second)
            undecided = distance_gaps(by_rows, norms, best, second, gaps)
            for lane in range(n_lanes):
                i = t + lane
                chosen[i], found[i] = nearest[lane], gaps[lane]
                others[failed[i]] = (min(away[lane], beyond[lane]) + total) * ROUNDED_DOWN
                opened[n_opened] = i
                n_opened += np.intp((undecided >> np.uint64(lane)) & np.uint64(1))
        for t in range(0, n_opened, TILE):
            n_lanes = min(TILE, n_opened - t)
            for lane in range(TILE):
                rows[lane] = failed[opened[t + min(lane, n_lanes - 1)]]
            undecided = first_lanes(n_lanes)
            if n_lanes > FEW_ROWS:
                gather_tile(X, rows, scale, shift, tile)
                squared_norms(tile, n_features, norms)
                nearest_two_of_all(
                    tile, n_features, packed.negated, packed.half_norms, order, 0, len(order), best,
                    second, nearest, scores,
                )  # fmt: skip
                undecided = distance_gaps(packed, norms, best, second, gaps)
                if not first_pass:
                    least_keys(scores, len(order), keys)
                    _last_keys(keys, beyond)
                    distances_below(norms, beyond, packed.rounding, packed.radius, beyond)
                    for lane in range(n_lanes):
                        row = np.intp(rows[lane])
                        for i in range(LISTED):
                            near[row, i] = numbers[i * TILE + lane] & 255
                        others[row] = (beyond[lane] + total) * ROUNDED_DOWN
            for lane in range(n_lanes):
                i = np.intp(opened[t + lane])
                if (undecided >> np.uint64(lane)) & np.uint64(1):
                    row = np.intp(rows[lane])
                    nearest[lane], gaps[lane] = settle(packed, X, row, scale, distances)
                chosen[i], found[i] = nearest[lane], gaps[lane]
        # In the rows' order, in which the sums are updated whatever the algorithm.
        n_moved = 0
        for i in range(n_failed):
            n_moved = renew_row(
                np.intp(failed[i]), chosen[i], found[i], drift, bounds, labels, moves, chunk,
                n_moved,
            )  # fmt: skip
        moves.counts[chunk] = n_moved


class Lists(BoundedAlgorithm):
    """For some dozens of clusters and more: compares rows with few centres where these suffice."""

    name = "lists"
    kernels: ClassVar[tuple] = ()
    lean = Hamerly

    def __init__(self, X, sample_weight, n_clusters, frame):
        super().__init__(X, sample_weight, n_clusters, frame)
        n_rows, n_features = X.shape
        listed = can_list(n_features, n_clusters, X.itemsize)
        self._may_list = listed and tiles_fit(self._rows)
        if not self._may_list:
            return
        self._near = np.zeros((n_rows, LISTED), np.uint8)
        self._others = np.zeros(n_rows, np.float32)
        self._layout = empty_layout(n_clusters, n_features)
        _, n_vectors, _ = self._layout.shape
        self._fast_layout = aligned_array((n_vectors, LISTED, LANES), np.float32)
        self._by_rows = listed_error(n_features)
        self._moved, self._total = np.zeros(n_clusters), 0.0

    def _renew_bounds(self, centers, packed, moved, before):
        self._moved = moved

    @np.errstate(over="ignore")  # totals of centres far beyond the rows are infinite in float32
    def _compare(self, packed):
        if not self._may_list:
            super()._compare(packed)
            return
        fastest = np.argsort(-self._moved, kind="stable")
        fast = fastest[:LISTED]
        slow = self._total + self._moved[fastest[LISTED]] * (1 + 1e-9)
        self._total += self._moved[fastest[0]] * (1 + 1e-9)
        lay_out_centers(packed, self._layout)
        self._fast_layout[:] = self._layout[fast].swapaxes(0, 1)
        run(
            lists_pass,
            self._n_chunks,
            self._chunk_rows,
            self._rows,
            self._scale,
            self._shift,
            self._order,
            packed,
            packed._replace(rounding=self._by_rows),
            self._layout,
            fast.astype(np.uint8),
            self._fast_layout,
            np.float32(slow),
            np.float32(self._total),
            self._rounded,
            self._greatest,
            self._bounds,
            self._near,
            self._others,
            self.labels,
            self._moves,
        )
