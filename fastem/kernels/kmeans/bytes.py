"""Hamerly's algorithm for many clusters and features, with rows compared in bytes first.

There the work is a matrix product's. The CPU's dot products of bytes do it four times as fast as
float32 would, and leave one centre or a few that may be a row's nearest: by intervals that hold
each score for certain. These few are compared in float32, and in float64 what that leaves open.
Rows that bytes leave more centres are compared with all in float32, as ``hamerly.py`` does, and
where many are, all of a chunk's. So few rows that a tile wouldn't pay go to float64 at once. The
bounds are those of ``hamerly.py``. Codes are made tile by tile and not kept. Where centres lie in
groups, most rows are compared with their own only: ``bytewise/groups.py`` says why.
"""

from typing import ClassVar

import numpy as np

from fastem.kernels.distances.metric import compare_tile, distance_gaps
from fastem.kernels.kmeans.active import ConfirmingAlgorithm
from fastem.kernels.kmeans.bytewise.candidates import (
    MOST_BLOCKS,
    Listed,
    Noted,
    distance_below,
    least_beyond,
    nearest_noted,
    note_promising,
)
from fastem.kernels.kmeans.bytewise.centers import (
    LARGE,
    code_centers,
    code_middles,
    empty_codes,
    farthest,
)
from fastem.kernels.kmeans.bytewise.grouping import Grouping
from fastem.kernels.kmeans.bytewise.in_group import (
    bound_by_outer,
    compare_with_groups,
    least_in_group,
    n_scores,
    nearest_in_group,
    row_error,
    row_values,
    sort_by_group,
)
from fastem.kernels.kmeans.bytewise.rows import (
    code_row,
    coded_values,
    measure_row,
    product_error,
    read_row,
    transpose_words,
)
from fastem.kernels.kmeans.bytewise.tiles import (
    BLOCK,
    GROUP,
    MOST_FEATURES,
    bound_norms,
    next_promising,
)
from fastem.kernels.kmeans.hamerly import FEW_ROWS, list_failing, renew_row, settle
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.memory import aligned_array
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import BYTE_DOTS, LANES, TILE
from fastem.kernels.vectors.tiles import aligned_empty, first_lanes, gather_tile, tiles_fit

# A chunk's rows are compared in float32 once it has this share of rows with more candidates, and
# so are all, from the next pass on, where a pass has.
_GIVE_UP_SHARE = 0.25

# A comparison in bytes takes this share of one in float32.
_BYTES_COST = 0.3


@inline
def _describe_rows(
    X, rows, n_lanes, scale, shift, limit, packed, labels, scratch, codes, norms, described, least,
    beyond, outer, in_group, numbers, groups, scores, best, second, nearest,
):  # fmt: skip
    """Code rows, and what is known of them before they are compared.

    ``described`` gets what ``next_promising`` takes; lanes without a row, or with one whose norm
    isn't below ``limit``, get a least score that no other is below, and nothing of ``outer``. A
    row's own centre is seldom far from the nearest: no other's score is of interest above its own.
    If ``in_group``, rows are compared with their group in float32 at once, while they are in the
    fastest cache: ``best``, ``second`` and ``nearest`` get what is found.
    """
    x, words = scratch
    n_features, n_words = X.shape[1], len(x) // 4
    for lane in range(TILE):
        row, place = np.intp(rows[lane]), lane % LANES
        label = np.intp(labels[row])
        read_row(X, row, scale, shift, x)
        greatest, square, product = measure_row(x, packed.negated, max(label, 0))
        step, rest = code_row(x, greatest, words, place * n_words)
        norm = bound_norms(square, rest, n_features, lane, described)
        described[0, lane], norms[lane] = step, square
        beyond[lane] = np.inf
        outer[lane] = np.inf if lane < n_lanes and norm < limit else -np.inf
        least[lane] = outer[lane]
        if label >= 0 and least[lane] > 0:
            score = np.float64(product) + packed.half_norms[label]
            error = product_error(packed, norm)
            if in_group:
                ahead = np.intp(rows[min(lane + 1, TILE - 1)])
                nearest[lane], best[lane], second[lane] = least_in_group(
                    x, packed, numbers, groups, label, scores, X, ahead
                )
                score = min(score, np.float64(best[lane]))
            least[lane] = np.float32(score + error + abs(score) * 2.0**-22)
        if place == LANES - 1:
            transpose_words(words, n_words, lane - place, codes)


@inline
def _take_nearest(
    X, scale, centers, packed, numbers, groups, away, outers, labels, norms, best, second, nearest,
    gaps, within, failed, by_group, start, n_lanes, chosen, found, opened, n_opened,
):  # fmt: skip
    """Take the nearest centres of rows whose groups tell, list the places of the others.

    ``within`` are the lanes whose two nearest are in their group, which float64 tells apart where
    float32 can't.
    """
    unclear = distance_gaps(packed, norms, best, second, gaps)
    for lane in range(n_lanes):
        i = np.intp(by_group[start + lane])
        label, gap = nearest[lane], gaps[lane]
        if (unclear >> np.uint64(lane)) & np.uint64(1):
            label, gap = np.int32(-1), np.float32(0)
            if (within >> np.uint64(lane)) & np.uint64(1):
                label, gap = nearest_in_group(
                    X, np.intp(failed[i]), scale, centers, numbers, groups, away, outers, labels
                )
        chosen[i], found[i] = label, gap
        opened[n_opened] = i
        n_opened += label < 0
    return n_opened


@kernel
def bytes_pass(
    tickets,
    n_chunks,
    chunk_rows,
    X,
    scale,
    shift,
    order,
    packed,
    by_rows,
    all_coded,
    middles,
    limit,
    centers,
    drift,
    greatest,
    bounds,
    groups,
    away,
    outers,
    labels,
    moves,
    left,
):
    """Label the rows whose bounds fail, and list those that have moved.

    Parameters
    ----------
    X, scale, shift, order, packed, drift, greatest, bounds, labels, moves
        As for ``hamerly.hamerly_pass``.
    by_rows : EuclideanPacked
        The same with the rounding of ``in_group.py`` and ``rows.py``.
    all_coded, middles : CodedCenters
        The centres, and the middles of near ones with their groups' numbers; maybe none.
    limit : float
        Rows of this norm and above are compared in float32.
    centers : float64 array of shape (n_clusters, n_features)
        In the rows' coordinates.
    groups : Groups
    away : Away
    outers : float32 array of shape (n_rows,)
        At most the rows' distances, in scaled units, from where the centres beyond their group's
        blocks were when they were grouped; 0 where nothing is known.
    left : int64 array of shape (n_chunks, 3)
        Gets how many rows of each chunk failed, how many were compared with all centres, and how
        many bytes could not decide.
    """
    n_rows, n_features = X.shape
    n_quads = all_coded.codes.shape[1]
    tile = aligned_empty(row_values(n_features) * TILE)
    n_coded = coded_values(n_features)
    codes = aligned_empty(n_coded // 4 * TILE).view(np.int32)
    scratch = aligned_empty(n_coded), aligned_empty(n_coded // 4 * LANES).view(np.int32)
    norms = aligned_empty(TILE)
    described = aligned_empty(3 * TILE).reshape((3, TILE))
    best, second = aligned_empty(TILE), aligned_empty(TILE)
    least, beyond = aligned_empty(TILE), aligned_empty(TILE)
    scores, gaps = aligned_empty((BLOCK + 1) * GROUP), aligned_empty(TILE)
    outer = aligned_empty(TILE)
    row_scores = aligned_empty(n_scores(groups, away) * TILE)
    own = aligned_empty(2 * TILE).view(np.int32).reshape((2, TILE))
    hit = np.empty(1, np.uint64)
    noted = Noted(
        np.empty(TILE, np.int64),
        np.empty((TILE, MOST_BLOCKS), np.int32),
        np.empty((TILE, MOST_BLOCKS), np.float32),
        np.empty((TILE, MOST_BLOCKS, BLOCK), np.float32),
    )
    most = MOST_BLOCKS * BLOCK
    listed = Listed(np.empty(most, np.int32), np.empty(most, np.float32), scratch[0])
    rows, nearest = np.empty(TILE, np.int32), np.empty(TILE, np.int32)
    failed = np.empty(chunk_rows + TILE, np.int32)
    # Places in failed.
    opened, undecided = np.empty(chunk_rows, np.int32), np.empty(chunk_rows, np.int32)
    by_group, ends = np.empty(chunk_rows, np.int32), np.empty(len(groups.counts) + 1, np.int32)
    beyond_group = np.empty(chunk_rows, np.float32)
    chosen, found = np.empty(chunk_rows, np.int32), np.empty(chunk_rows, np.float32)
    distances = np.empty(len(order))
    relative = 2.0 * np.float64(by_rows.rounding)
    unit_scale = np.float64(scale)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start, stop = chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)
        if labels[start] < 0:
            n_failed = stop - start
            for i in range(n_failed):
                failed[i] = start + i
        else:
            n_failed = list_failing(start, stop, bounds, drift, greatest, labels, failed)
        n_left = n_few = 0
        grouped = away.reaches[-1] < np.inf
        if grouped:
            sort_by_group(failed, n_failed, labels, groups, ends, by_group)
        for i in range(n_failed):
            opened[i] = by_group[i] if grouped else i
            chosen[i], beyond_group[i] = -1, -1.0
        n_opened = n_failed
        crowded = len(middles.limits) > 0
        if grouped and not crowded:
            n_opened = 0
            for t in range(0, n_failed, TILE):
                n_lanes = min(TILE, n_failed - t)
                for lane in range(n_lanes):
                    rows[lane] = failed[by_group[t + lane]]
                within = compare_with_groups(
                    X, rows, n_lanes, scale, shift, by_rows, all_coded.numbers, groups, away,
                    outers, labels, tile, row_scores, norms, best, second, nearest,
                )  # fmt: skip
                n_opened = _take_nearest(
                    X, unit_scale, centers, by_rows, all_coded.numbers, groups, away, outers,
                    labels, norms, best, second, nearest, gaps, within, failed, by_group, t,
                    n_lanes, chosen, found, opened, n_opened,
                )  # fmt: skip
        for stage in range(0 if crowded else 1, 2):
            # With their group and the middles of near centres first, if there are any, which tell
            # the outer bounds; then with all centres, where these don't tell.
            coded = middles if stage == 0 else all_coded
            n_units = len(coded.limits) * (TILE // GROUP)
            n_compared, n_opened = n_opened, 0 if stage == 0 else n_opened
            for t in range(0, n_compared, TILE):
                n_lanes = min(TILE, n_compared - t)
                if n_lanes <= FEW_ROWS and stage == 0:
                    for i in range(t, n_compared):
                        opened[n_opened] = by_group[i]
                        n_opened += 1
                    break
                if n_lanes <= FEW_ROWS:
                    n_few = n_lanes
                if n_few > 0 or n_left > _GIVE_UP_SHARE * (t + TILE):
                    for i in range(t, n_opened):
                        undecided[n_left] = opened[i]
                        n_left += 1
                    break
                places = by_group if stage == 0 else opened
                for lane in range(TILE):
                    rows[lane] = failed[places[t + min(lane, n_lanes - 1)]]
                _describe_rows(
                    X, rows, n_lanes, scale, shift, limit, by_rows, labels, scratch, codes, norms,
                    described, least, beyond, outer, stage == 0, all_coded.numbers, groups,
                    row_scores, best, second, nearest,
                )  # fmt: skip
                for lane in range(TILE):
                    noted.counts[lane] = 0
                    own[0, lane] = own[1, lane] = 0
                    row = np.intp(rows[lane])
                    if labels[row] >= 0:
                        own[0, lane] = groups.firsts[groups.numbers[labels[row]]]
                        own[1, lane] = groups.counts[groups.numbers[labels[row]]]
                unit = 0
                for lane in range(TILE):
                    # The next tile's rows are fetched meanwhile: one after the other.
                    ahead = np.intp(failed[places[min(t + TILE + lane, n_compared - 1)]])
                    stop_unit = (lane + 1) * n_units // TILE
                    while True:
                        unit = next_promising(
                            codes, n_quads, coded, coded.limits, described, unit, stop_unit, least,
                            beyond, own, outer, scores, hit, X, ahead,
                        )  # fmt: skip
                        if unit == stop_unit:
                            break
                        note_promising(unit, hit[0], scores, least, beyond, noted)
                        unit += 1
                if stage == 0:
                    within = np.uint64(0)
                    for lane in range(n_lanes):
                        row = np.intp(rows[lane])
                        if outer[lane] > -np.inf and noted.counts[lane] <= MOST_BLOCKS:
                            score = least_beyond(
                                groups.numbers[labels[row]], coded, described, beyond, noted, lane
                            )
                            away_now = distance_below(score, np.float64(norms[lane]), relative)
                            outers[row] = max(outers[row], away_now - away.greatest)
                        if not outers[row] > away.reaches[-1]:
                            best[lane] = second[lane] = np.float32(0)
                        elif bound_by_outer(
                            outers[row], away.reaches[-1], lane, norms, by_rows, second
                        ):
                            within |= np.uint64(1) << np.uint64(lane)
                    n_opened = _take_nearest(
                        X, unit_scale, centers, by_rows, all_coded.numbers, groups, away, outers,
                        labels, norms, best, second, nearest, gaps, within, failed, by_group, t,
                        n_lanes, chosen, found, opened, n_opened,
                    )  # fmt: skip
                    continue
                for lane in range(n_lanes):
                    i, row = np.intp(opened[t + lane]), np.intp(rows[lane])
                    label, gap = nearest_noted(
                        X, row, scale, shift, by_rows, centers, coded, described, norms, least,
                        beyond, noted, lane, listed,
                    )  # fmt: skip
                    chosen[i], found[i] = label, gap
                    if outer[lane] > -np.inf:
                        beyond_group[i] = distance_below(
                            outer[lane], np.float64(norms[lane]), relative
                        )
                    if label < 0:
                        undecided[n_left] = i
                        n_left += 1
        left[chunk, 0], left[chunk, 1], left[chunk, 2] = n_failed, n_opened, n_left - n_few
        for t in range(0, n_left, TILE):
            n_lanes = min(TILE, n_left - t)
            for lane in range(TILE):
                rows[lane] = failed[undecided[t + min(lane, n_lanes - 1)]]
            open_lanes = first_lanes(n_lanes)
            if n_lanes > FEW_ROWS:
                gather_tile(X, rows, scale, shift, tile)
                compare_tile(packed, tile, n_features, order, norms, best, second, nearest)
                open_lanes = distance_gaps(packed, norms, best, second, gaps)
            for lane in range(n_lanes):
                if (open_lanes >> np.uint64(lane)) & np.uint64(1):
                    row = np.intp(rows[lane])
                    nearest[lane], gaps[lane] = settle(packed, X, row, scale, distances)
                i = undecided[t + lane]
                chosen[i], found[i] = nearest[lane], gaps[lane]
        # In the rows' order, in which the sums are updated whatever the algorithm.
        n_moved = 0
        for i in range(n_failed):
            row = np.intp(failed[i])
            if beyond_group[i] >= np.float32(0):
                outers[row] = max(outers[row], beyond_group[i] - away.greatest)
            if labels[row] >= 0 and groups.numbers[chosen[i]] != groups.numbers[labels[row]]:
                outers[row] = 0.0
            n_moved = renew_row(
                row, chosen[i], found[i], drift, bounds, labels, moves, chunk, n_moved
            )
        moves.counts[chunk] = n_moved


class Bytes(ConfirmingAlgorithm):
    """For many clusters and features, where the CPU multiplies bytes."""

    name = "bytes"
    kernels: ClassVar[tuple] = ()

    def __init__(self, X, sample_weight, n_clusters, frame):
        super().__init__(X, sample_weight, n_clusters, frame)
        n_features = X.shape[1]
        self._use_bytes = BYTE_DOTS and n_features <= MOST_FEATURES and tiles_fit(self._rows)
        # Rows of centres that lie on one cache line more took a sixth longer to compare in groups.
        self._negated = aligned_array(self._negated.shape, np.float32)
        self._coded = empty_codes(n_clusters, n_features) if self._use_bytes else None
        self._no_middles = empty_codes(0, n_features)
        self._full_cost = _BYTES_COST if self._use_bytes else 1.0
        self._left = np.zeros((self._n_chunks, 3), np.int64)
        self._grouping = Grouping(len(X), n_clusters, self._origin)
        self._moved = None  # in the last step

    def _renew_bounds(self, centers, packed, moved, before):
        self._moved = moved
        super()._renew_bounds(centers, packed, moved, before)

    def _compare(self, packed):
        if not self._use_bytes or not packed.radius < LARGE:
            super()._compare(packed)
            self._grouping.forget()
            return
        radius = float(packed.radius)
        centers = self._previous
        away = self._grouping.follow(
            self._rows, float(self._scale), self.labels, centers, self._moved, packed
        )
        groups = self._grouping.groups
        code_centers(packed.negated, packed.half_norms, radius, groups.order, self._coded)
        middles, crowds = self._no_middles, self._grouping.crowds
        if crowds is not None:
            middles = empty_codes(len(crowds.groups), self._rows.shape[1])
            code_middles(packed.negated, packed.half_norms, radius, *crowds, middles)
        run(
            bytes_pass,
            self._n_chunks,
            self._chunk_rows,
            self._rows,
            self._scale,
            self._shift,
            self._order,
            packed,
            packed._replace(rounding=row_error(self._rows.shape[1])),
            self._coded,
            middles,
            farthest(self._rows.shape[1], radius),
            centers,
            self._rounded,
            self._greatest,
            self._bounds,
            groups,
            away,
            self._grouping.outers,
            self.labels,
            self._moves,
            self._left,
        )
        n_failed, _, n_left = self._left.sum(axis=0)
        self._full_cost = _BYTES_COST * self._grouping.cost
        if n_left > _GIVE_UP_SHARE * n_failed:
            self._use_bytes, self._full_cost = False, 1.0
