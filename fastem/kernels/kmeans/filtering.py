"""Lloyd's algorithm for few features, by tiles of neighbouring rows.

The rows are copied into tiles along a curve. Of the centres those are left out that can't be the
nearest of any row in a tile's box; of whole families of tiles first. Where one is left, it has all
rows of the tile, whose sums are known; otherwise those that are left are compared. This is the
filtering of T. Kanungo et al., "An efficient k-means clustering algorithm", IEEE Transactions on
Pattern Analysis and Machine Intelligence 24, 2002, with two levels of boxes in place of a tree.

To arrange the rows takes as long as several passes. So the fit begins as in ``lloyd.py``.
"""

from typing import NamedTuple

import numpy as np

from fastem.kernels.clusters.moves import LISTED_SHARE
from fastem.kernels.distances.metric import compare_tile, nearest_exactly, undecided_lanes
from fastem.kernels.distances.tile_nearest import BLOCK
from fastem.kernels.kmeans.base import KMeansStatistics
from fastem.kernels.kmeans.boxes.near import (
    NARROW,
    empty_boxes,
    enclose,
    enclose_boxes,
    lay_out,
    list_near,
)
from fastem.kernels.kmeans.boxes.order import order_on_curve
from fastem.kernels.kmeans.boxes.sums import (
    add_rows,
    forget_empty,
    load_weights,
    move_lanes,
    move_whole,
    sum_tile,
)
from fastem.kernels.kmeans.centers import ALL
from fastem.kernels.kmeans.lloyd import Lloyd, PlainAlgorithm
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.chunks import ceil_div, round_up, summing_chunks
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.memory import aligned_array
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import LANES, LINE_BYTES, TILE
from fastem.kernels.vectors.tiles import aligned_empty, first_lanes, gather_tile, tiles_fit
from fastem.kernels.vectors.vector import (
    bits,
    broadcast,
    first_bit,
    load,
    multiply_add,
    single,
    store,
)

# The copies take no more bytes than this.
_MOST_BYTES = 1 << 26

# Rows are arranged once passes * n_clusters * (n_features + 2) * the share of rows that moved last
# is this, where greater shares count as the given one. Fits of 4 passes would else take up to 1.7
# times as long, those of 18 to 140 take 0.2 to 0.7 of the time.
_WORTH, _MOST_MOVING = 4.0, 0.01

# Tiles of one family: with 8 or 32, passes took up to 1.2 times as long.
_FAMILY = 16

# Float64 values of a cache line: two chunks' sums don't share any.
_LINE = LINE_BYTES // 8


class Tiles(NamedTuple):
    """Rows in their order along the curve, and what is known of them.

    Parameters
    ----------
    values : ndarray of shape (n_tiles, n_features * TILE)
        The rows as they are, transposed tile by tile.
    order : ndarray of shape (n_tiles * TILE,), int32
        Their numbers. The last one's fills up the last tile.
    labels : ndarray of shape (n_tiles * TILE,), int32
        Their labels after the last pass.
    owners : ndarray of shape (n_tiles,), int32
        The label of all of a tile's rows; -1 if they have several.
    totals : ndarray of shape (n_tiles, n_features + 2), float64
        The tiles' sums, as ``boxes/sums.py`` says.
    """

    values: np.ndarray
    order: np.ndarray
    labels: np.ndarray
    owners: np.ndarray
    totals: np.ndarray


def can_arrange(n_rows, n_features, itemsize):
    """Whether copies of such rows are small enough, and these narrow enough."""
    return n_features <= NARROW and n_rows * n_features * itemsize <= _MOST_BYTES


@inline
def scale_tile(values, scale, shift, n_features, tile):
    """Bring a tile of rows as they are into scaled units."""
    for f in range(n_features):
        for lane in range(f * TILE, (f + 1) * TILE, LANES):
            scaled = multiply_add(
                load(values, lane, LANES), broadcast(scale, LANES), broadcast(shift[f], LANES)
            )
            store(single(scaled), tile, lane)


@inline
def _shared(labels):
    """The label of all of a tile's rows; -1 if they have several."""
    others = np.uint64(0)
    for lane in range(0, TILE, LANES):
        others |= bits(load(labels, lane, LANES) != broadcast(labels[0], LANES))
    return labels[0] if others == np.uint64(0) else np.int32(-1)


@inline
def _sum_anew(start, stop, origin, sample_weight, tiles, weights, sums):
    """Sum the clusters' rows of a chunk: differences lose digits where great addends leave."""
    for i in range(len(sums)):
        sums[i] = 0.0
    for first in range(start, stop, TILE):
        t, n_lanes = first // TILE, min(TILE, stop - first)
        owner, labels = tiles.owners[t], tiles.labels[first:]
        if owner < 0:
            load_weights(sample_weight, tiles.order[first:], n_lanes, weights)
        add_rows(tiles.values[t], tiles.totals[t], owner, labels, origin, weights, n_lanes, sums)


@kernel
def arrange_pass(
    tickets,
    n_chunks,
    chunk_rows,
    X,
    scale,
    shift,
    origin,
    sample_weight,
    labels,
    tiles,
    boxes,
    totals,
):
    """Fill the tiles, whose order is known, and the boxes; sum the clusters' rows.

    Parameters
    ----------
    X, scale, shift
        As for ``lloyd.lloyd_pass``.
    origin, sample_weight
        As for ``sums.update_sums``.
    labels : int32 array of shape (n_rows,)
    tiles : Tiles
    boxes : Boxes
    totals : float64 array of shape (n_chunks, width)
        Gets each chunk's sums, as ``boxes/sums.py`` says.
    """
    n_rows, n_features = X.shape
    tile, weights = aligned_empty(n_features * TILE), aligned_array(TILE, np.float64)
    one, zeros = X.dtype.type(1), np.zeros(n_features + LANES, X.dtype)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start, stop = chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)
        for first in range(start, stop, TILE):
            t, n_lanes = first // TILE, min(TILE, n_rows - first)
            values, rows, own = tiles.values[t], tiles.order[first:], tiles.labels[first:]
            gather_tile(X, rows, one, zeros, values)
            scale_tile(values, scale, shift, n_features, tile)
            enclose(tile, n_features, boxes, t)
            load_weights(sample_weight, rows, n_lanes, weights)
            sum_tile(values, origin, weights, tiles.totals[t])
            for lane in range(TILE):
                own[lane] = labels[np.uintp(rows[lane])]
            tiles.owners[t] = _shared(own)
        _sum_anew(start, stop, origin, sample_weight, tiles, weights, totals[chunk])


@kernel
def filtering_pass(
    tickets,
    n_chunks,
    chunk_rows,
    X,
    scale,
    shift,
    origin,
    sample_weight,
    order,
    packed,
    tiles,
    boxes,
    totals,
    n_moved,
):
    """Label all rows by their nearest centres, and bring the clusters' sums up to date.

    Parameters
    ----------
    X, scale, shift, order, packed
        As for ``lloyd.lloyd_pass``.
    origin, sample_weight, tiles, boxes, totals
        As for :func:`arrange_pass`.
    n_moved : int64 array of shape (n_chunks,)
        Gets how many rows of each chunk have new labels.
    """
    n_rows, n_features = X.shape
    n_clusters = len(packed.negated) - 1
    tile = aligned_empty(n_features * TILE)
    norms, best, second = aligned_empty(TILE), aligned_empty(TILE), aligned_empty(TILE)
    nearest, weights = aligned_array(TILE, np.int32), aligned_array(TILE, np.float64)
    distances = aligned_array(len(order), np.float64)
    width = round_up(n_clusters, max(LANES, BLOCK))
    columns = aligned_array((n_features + 1, width), np.float32)
    reached = aligned_array((n_features + 1, width), np.float32)
    scores = aligned_empty(width)
    candidates, near = aligned_array(width, np.int32), aligned_array(width, np.int32)
    middle, half = aligned_empty(n_features), aligned_empty(n_features)
    lay_out(packed, order, n_clusters, columns)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        sums, moved, n_candidates = totals[chunk], 0, 0
        start, stop = chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)
        for first in range(start, stop, TILE):
            t, n_lanes = first // TILE, min(TILE, n_rows - first)
            if (first - start) % (_FAMILY * TILE) == 0:
                last = min(t + _FAMILY, ceil_div(stop, TILE))
                norm = enclose_boxes(boxes, t, last, middle, half)
                n_candidates = list_near(
                    middle, half, norm, packed, order, n_clusters, columns, scores, candidates
                )
                lay_out(packed, candidates, n_candidates, reached)
            near[0], n_near = candidates[0], n_candidates
            if n_candidates > 1:
                n_near = list_near(
                    boxes.middles[t],
                    boxes.halves[t],
                    boxes.norms[t],
                    packed,
                    candidates,
                    n_candidates,
                    reached,
                    scores,
                    near,
                )
            owner, rows, labels = tiles.owners[t], tiles.order[first:], tiles.labels[first:]
            if n_near == 1:
                if owner == near[0]:
                    continue
                for lane in range(TILE):
                    nearest[lane] = near[0]
                if owner >= 0:
                    move_whole(tiles.totals[t], owner, near[0], sums)
                    moved += n_lanes
                    for lane in range(TILE):
                        labels[lane] = near[0]
            else:
                while n_near % BLOCK > 0:
                    near[n_near] = n_clusters  # no centre
                    n_near += 1
                scale_tile(tiles.values[t], scale, shift, n_features, tile)
                compare_tile(packed, tile, n_features, near[:n_near], norms, best, second, nearest)
                undecided = undecided_lanes(packed, norms, best, second) & first_lanes(n_lanes)
                while undecided != np.uint64(0):
                    lane = np.intp(first_bit(undecided))
                    undecided &= undecided - np.uint64(1)
                    nearest[lane], _ = nearest_exactly(packed, X, np.intp(rows[lane]), distances)
            moved += move_lanes(
                tiles.values[t], origin, sample_weight, rows, n_lanes, nearest, labels, sums
            )
            tiles.owners[t] = _shared(labels)
        n_moved[chunk] = moved
        if moved > LISTED_SHARE * (stop - start):
            _sum_anew(start, stop, origin, sample_weight, tiles, weights, sums)
        else:
            forget_empty(n_clusters, n_features, sums)


@kernel
def _write_labels(tickets, n_chunks, chunk_rows, tiles, labels):
    """Write the labels to where the rows are."""
    n_rows = len(labels)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for i in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)):
            labels[tiles.order[i]] = tiles.labels[i]


class Filtering(PlainAlgorithm):
    """For few features: most rows, or most centres, need not be looked at."""

    name = "filtering"
    lean = Lloyd
    copies = True

    def __init__(self, X, sample_weight, n_clusters, frame):
        self._tiles, self._behind = None, False
        super().__init__(X, sample_weight, n_clusters, frame)
        self._may_arrange = can_arrange(*X.shape, X.itemsize) and tiles_fit(X)
        self._n_passes, self._n_moved = 0, self._moves.counts

    def _split(self, n_rows, work):
        # Each chunk has its sums: those of 20,000 clusters took eight times as much as the rows.
        n_features = self._rows.shape[1]
        return summing_chunks(self._rows, work, work // n_features * (n_features + 2))

    @property
    def labels(self):
        # They are written where they are asked for only: as a rule, after the last pass.
        if self._behind:
            self._behind = False
            run(_write_labels, self._n_chunks, self._chunk_rows, self._tiles, self._labels)
        return self._labels

    @labels.setter
    def labels(self, labels):
        self._labels = labels

    def _pass(self, centers):
        if self._tiles is None and self._pays(*centers.shape):
            self._arrange(*centers.shape)
        self._n_passes += 1
        if self._tiles is None:
            super()._pass(centers)
            return
        run(
            filtering_pass,
            self._n_chunks,
            self._chunk_rows,
            self._rows,
            self._scale,
            self._shift,
            self._origin,
            self._weight,
            self._order,
            self._pack(centers),
            self._tiles,
            self._boxes,
            self._totals,
            self._n_moved,
        )
        self._behind = True

    def _pays(self, n_clusters, n_features):
        moving = min(self._n_moved.sum() / len(self._labels), _MOST_MOVING)
        spent = self._n_passes * n_clusters * (n_features + 2)
        return self._may_arrange and self._n_passes > 0 and spent * moving >= _WORTH

    def _arrange(self, n_clusters, n_features):
        order = order_on_curve(self._rows)
        n_tiles, width = len(order) // TILE, n_features + 2
        self._tiles = Tiles(
            aligned_array((n_tiles, n_features * TILE), self._rows.dtype),
            order,
            np.empty(len(order), np.int32),
            np.empty(n_tiles, np.int32),
            np.empty((n_tiles, width)),
        )
        self._boxes = empty_boxes(n_tiles, n_features)
        shape = self._n_chunks, round_up(n_clusters * width, _LINE)
        self._totals = aligned_array(shape, np.float64)
        self._n_moved = np.zeros(self._n_chunks, np.int64)
        run(
            arrange_pass,
            self._n_chunks,
            self._chunk_rows,
            self._rows,
            self._scale,
            self._shift,
            self._origin,
            self._weight,
            read_only(self._labels),
            self._tiles,
            self._boxes,
            self._totals,
        )

    def statistics(self, centers):
        if self._tiles is None:
            return super().statistics(centers)
        n_clusters, n_features = centers.shape
        width = n_features + 2
        totals = self._totals.sum(axis=0)[: n_clusters * width].reshape(n_clusters, width)
        sums, weights = totals[:, :n_features].copy(), totals[:, n_features].copy()
        return KMeansStatistics(sums, weights, int(self._n_moved.sum()), ALL)
