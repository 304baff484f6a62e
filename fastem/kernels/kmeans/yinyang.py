"""Yinyang K-means: one lower bound for each row and group of centres.

Y. Ding, Y. Zhao, X. Shen, M. Musuvathi and T. Mytkowicz, "Yinyang K-means: a drop-in replacement
of the classic K-means with consistent speedup", ICML 2015. Rows that fail a group's test are
gathered into full tiles, which are compared with that group's centres only.
"""

import os

import numpy as np

from fastem.kernels.assignment import BLOCK, nearest_two, pad_order, squared_norms
from fastem.kernels.compiling import kernel
from fastem.kernels.kmeans.base import DenseAlgorithm, Frame
from fastem.kernels.kmeans.lloyd import Lloyd
from fastem.kernels.kmeans.moves import move_row
from fastem.kernels.kmeans.rounding import (
    ROUNDED_DOWN,
    ROUNDED_UP,
    distances_above,
    distances_below,
    margins,
    nearest_exactly,
)
from fastem.kernels.parallel import next_chunk, run
from fastem.kernels.row_distance import row_distance
from fastem.kernels.simd import TILE
from fastem.kernels.tiles import aligned_empty, gather_tile

# Gathering rows anew for each group costs about as much as comparing half of a group's centres.
_FULL_SHARE = 0.6
_GROUPING_ROUNDS = 5
# Bounds and labels take no more than this share of the data.
_MEMORY_SHARE = 0.24
_MOST_GROUPS = int(os.environ.get("YY", "32"))


def count_groups(n_features, n_clusters, dtype):
    """How many groups fit into the memory that bounds may take."""
    # Besides the groups' bounds: label, own centre's bound, and the lists of moved rows.
    spare = _MEMORY_SHARE * n_features * np.dtype(dtype).itemsize - 9
    return int(max(1, min(_MOST_GROUPS, n_clusters // BLOCK, spare // 4)))


@kernel
def yinyang_pass(
    tickets,
    n_chunks,
    chunk_rows,
    X,
    origin,
    scale,
    shift,
    order,
    group_starts,
    groups,
    packed,
    centers,
    drift,
    group_drift,
    upper,
    lower,
    labels,
    moved_rows,
    moved_from,
    n_moved,
    capacity,
):
    negated, half_norms, exact, rounding, radius = packed
    n_rows, n_features = X.shape
    n_groups = len(group_starts) - 1
    tile = aligned_empty(n_features * TILE)
    norms, best, second = aligned_empty(TILE), aligned_empty(TILE), aligned_empty(TILE)
    below_best, below_second = aligned_empty(TILE), aligned_empty(TILE)
    nearest = np.empty(TILE, np.int32)
    rows = np.empty(TILE, np.int32)
    # Of each row of a chunk: the least group bound, and what its comparisons have found so far.
    closest = np.empty(chunk_rows, np.float32)
    least = aligned_empty(chunk_rows + TILE)
    runner_up = aligned_empty(chunk_rows + TILE)
    row_norms = aligned_empty(chunk_rows + TILE)
    winner = np.empty(chunk_rows + TILE, np.int32)
    winning_group = np.empty(chunk_rows + TILE, np.int32)
    without_winner = np.empty(chunk_rows + TILE, np.float32)
    margin = aligned_empty(TILE)
    failed = np.empty(chunk_rows, np.int32)
    listed = np.empty(chunk_rows + TILE, np.int32)
    distances = np.empty(len(half_norms) - 1)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start, stop = chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)
        size = stop - start
        moved = 0

        # Which rows may have another nearest centre?
        n_failed = 0
        n_pairs = 0
        first_pass = labels[start] < 0
        if first_pass:
            for r in range(size):
                failed[r] = r
            n_failed = size
            n_pairs = size * n_groups
        else:
            for r in range(size):
                closest[r] = np.float32(np.inf)
            for g in range(n_groups):
                moved_by = group_drift[g]
                for r in range(size):
                    bound = lower[chunk, g, r] - moved_by
                    closest[r] = bound if bound < closest[r] else closest[r]
            for r in range(size):
                row = start + r
                label = labels[row]
                bound = (upper[row] + drift[label]) * ROUNDED_UP
                if closest[r] <= bound:
                    distance = np.sqrt(row_distance(X, row, origin, centers, label)) * scale
                    bound = min(bound, np.float32(distance) * ROUNDED_UP)
                    failed[n_failed] = r
                    n_failed += closest[r] <= bound
                upper[row] = bound
            for g in range(n_groups):
                moved_by = group_drift[g]
                for i in range(n_failed):
                    r = failed[i]
                    n_pairs += lower[chunk, g, r] - moved_by <= upper[start + r]
        for i in range(n_failed):
            r = failed[i]
            least[r] = np.float32(np.inf)
            runner_up[r] = np.float32(np.inf)

        # Compare them, each with the groups that may hold its nearest centre: all groups tile by
        # tile, or group by group with the rows that need it.
        whole = n_pairs > _FULL_SHARE * n_failed * n_groups
        for task in range((n_failed + TILE - 1) // TILE if whole else n_groups):
            if whole:
                n_listed = min(TILE, n_failed - task * TILE)
                for i in range(n_listed):
                    listed[i] = failed[task * TILE + i]
                first_group, last_group = 0, n_groups
            else:
                n_listed = 0
                moved_by = group_drift[task]
                for i in range(n_failed):
                    r = failed[i]
                    listed[n_listed] = r
                    n_listed += (
                        lower[chunk, task, r] - moved_by <= upper[start + r]
                        or groups[labels[start + r]] == task
                    )
                first_group, last_group = task, task + 1
            for t in range(0, n_listed, TILE):
                n_lanes = min(TILE, n_listed - t)
                for lane in range(TILE):
                    rows[lane] = start + listed[t + min(lane, n_lanes - 1)]
                gather_tile(X, rows, scale, shift, tile)
                squared_norms(tile, n_features, norms)
                for g in range(first_group, last_group):
                    nearest_two(
                        tile,
                        n_features,
                        negated,
                        half_norms,
                        order,
                        group_starts[g],
                        group_starts[g + 1],
                        best,
                        second,
                        nearest,
                    )
                    distances_below(norms, best, rounding, radius, below_best)
                    distances_below(norms, second, rounding, radius, below_second)
                    for lane in range(n_lanes):
                        r = listed[t + lane]
                        row_norms[r] = norms[lane]
                        lower[chunk, g, r] = (below_best[lane] + group_drift[g]) * ROUNDED_DOWN
                        if best[lane] < least[r]:
                            runner_up[r] = min(least[r], second[lane])
                            least[r] = best[lane]
                            winner[r] = nearest[lane]
                            winning_group[r] = g
                            without_winner[r] = (below_second[lane] + group_drift[g]) * ROUNDED_DOWN
                        else:
                            runner_up[r] = min(runner_up[r], best[lane])

        # Settle each row's label and its bounds.
        for t in range(0, n_failed, TILE):
            n_lanes = min(TILE, n_failed - t)
            for lane in range(TILE):
                r = failed[t + min(lane, n_lanes - 1)]
                norms[lane] = row_norms[r]
                best[lane] = least[r]
                second[lane] = runner_up[r]
            margins(norms, second, rounding, radius, margin)
            distances_above(norms, best, rounding, radius, below_best)
            for lane in range(n_lanes):
                r = failed[t + lane]
                row = start + r
                label = winner[r]
                if second[lane] - best[lane] > margin[lane]:
                    lower[chunk, winning_group[r], r] = without_winner[r]
                    upper[row] = below_best[lane]
                else:
                    label, distance, _ = nearest_exactly(X, row, origin, exact, distances)
                    upper[row] = np.float32(np.sqrt(distance) * scale) * ROUNDED_UP
                if labels[row] != label:
                    moved = move_row(
                        row,
                        label,
                        labels,
                        moved_rows,
                        moved_from,
                        moved,
                        chunk * capacity,
                        capacity,
                    )
        n_moved[chunk] = moved


def _group_centers(centers, n_groups):
    """Group the starting centres by a few rounds of K-means."""
    n_centers = len(centers)
    seeds = centers[np.linspace(0, n_centers - 1, n_groups).astype(np.intp)]
    scale = 2.0 ** -np.round(np.log2(np.sqrt((centers**2).sum(axis=1).mean()) + 1e-300))
    grouping = Lloyd(centers, None, n_groups, Frame(np.zeros(centers.shape[1]), scale))
    for _ in range(_GROUPING_ROUNDS):
        statistics = grouping.assign(seeds)
        held = statistics.weights > 0
        seeds[held] = statistics.sums[held] / statistics.weights[held, np.newaxis]
    return grouping.labels


class Yinyang(DenseAlgorithm):
    """Compares a row with the groups of centres that may have come nearer than its own centre."""

    name = "yinyang"

    def __init__(self, X, sample_weight, n_clusters, frame):
        super().__init__(X, sample_weight, n_clusters, frame)
        self._n_groups = count_groups(X.shape[1], n_clusters, X.dtype)
        shape = (self._n_chunks, self._n_groups, self._chunk_rows)
        self._upper = np.zeros(len(X), np.float32)
        self._lower = np.zeros(shape, np.float32)
        self._group_drift = np.zeros(self._n_groups)
        self._previous = None

    def _start(self, centers):
        self._groups = _group_centers(centers, self._n_groups)
        orders = [
            pad_order(np.flatnonzero(self._groups == g), len(centers))
            for g in range(self._n_groups)
        ]
        self._order = np.concatenate(orders)
        self._group_starts = np.cumsum([0] + [len(order) for order in orders])

    def _pass(self, centers):
        drift = np.zeros(len(centers))
        if self._previous is None:
            self._start(centers)
        else:
            drift = np.sqrt(((centers - self._previous) ** 2).sum(axis=1)) * self._frame.scale
            drift *= 1 + 1e-6
            greatest = np.zeros(self._n_groups)
            np.maximum.at(greatest, self._groups, drift)
            self._group_drift += greatest
        self._previous = centers.copy()
        run(
            yinyang_pass,
            self._n_chunks,
            self._n_chunks,
            self._chunk_rows,
            self._rows,
            self._origin,
            self._scale,
            self._shift,
            self._order,
            self._group_starts,
            self._groups,
            self._pack(centers),
            centers,
            drift.astype(np.float32),
            self._group_drift.astype(np.float32),
            self._upper,
            self._lower,
            self.labels,
            self._moved_rows,
            self._moved_from,
            self._n_moved,
            self._capacity,
        )
