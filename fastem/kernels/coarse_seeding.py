"""Greedy k-means++ over one part's dense float64 rows, by means of a coarse copy.

A new seed is the nearest of i seeds to about one row in i: nearly all comparisons end with the
coarse copy, and few of the rows themselves are read.
"""

import numpy as np

from fastem.kernels.arrays import read_only
from fastem.kernels.coarse import (
    NO_ROWS,
    code_limits,
    code_points,
    code_products,
    code_rows,
    possibly_nearer,
)
from fastem.kernels.compiling import inline, kernel
from fastem.kernels.differences import sum_of_lesser
from fastem.kernels.parallel import next_chunk, run
from fastem.kernels.row_distance import direct_distance, fetch_row
from fastem.kernels.seeding import Seeder, weigh
from fastem.kernels.simd import TILE, count_bits, first_bit
from fastem.kernels.tiles import aligned_empty

# Rows are fetched about so many bytes before they are compared, in whole tiles.
_AHEAD = 1 << 15
_NONE = np.uint64(0)
_LAST = np.uint64(1 << 63)
_FEW_PAIRS = 3
_ALL = ~np.uint64(0)


@inline
def _fetch_rows(X, row, lanes):
    while lanes != _NONE:
        fetch_row(X, row + np.intp(first_bit(lanes)))
        lanes &= lanes - np.uint64(1)


@inline
def _list_pairs(lanes, first, pairs, n_pairs):
    """Append ``first`` plus the positions of the bits set; returns the list's length.

    Few are written without a look at their number, which no branch predictor could know.
    """
    end = n_pairs + np.intp(count_bits(lanes))
    for j in range(_FEW_PAIRS):
        pairs[n_pairs + j] = first + np.intp(first_bit(lanes | _LAST))
        lanes &= lanes - np.uint64(1)
    for j in range(n_pairs + _FEW_PAIRS, end):
        pairs[j] = first + np.intp(first_bit(lanes))
        lanes &= lanes - np.uint64(1)
    return end


@kernel
def try_coarse(
    tickets,
    n_chunks,
    chunk_tiles,
    tiles,
    X,
    scale,
    origin,
    weight,
    last,
    last_improved,
    coarse,
    points,
    closest,
    potentials,
    improved,
):
    """A pass over the rows; see :class:`CoarseSeeder`.

    Each tile goes through three steps: the rows that the last seed has come nearer to are
    fetched; their distances are brought up to date and the candidates' codes compared; the rows
    that may be nearer a candidate are compared with it. Other tiles' steps lie between them, in
    which the memory brings the rows.
    """
    n_rows, n_features = X.shape
    n_candidates = len(points)
    distances = aligned_empty(2 * TILE * (n_candidates + 1)).view(X.dtype)
    products = aligned_empty(TILE * (n_candidates + 1)).view(np.int32)
    pairs = np.empty(TILE * n_candidates + _FEW_PAIRS, np.int32)
    rows = np.empty(TILE + _FEW_PAIRS, np.int64)
    limits = aligned_empty(TILE)
    tile_weight = np.empty(TILE)
    ahead = min(max(_AHEAD // (TILE * X.itemsize * n_features), 1), chunk_tiles)
    nearer = np.empty((ahead + 1, max(n_candidates, 1)), np.uint64)
    unit = scale * scale
    codes = np.zeros((n_candidates + 3, coarse.codes.shape[1] * 2), np.int16)
    point_steps, point_norms = np.empty(n_candidates), np.empty(n_candidates)
    point_error = 0.0
    row_codes, row_norms, row_steps, row_errors = coarse
    tile_codes = row_codes.reshape(len(row_codes), row_codes.shape[1] * 2 * TILE)
    coded = len(row_steps) > 0
    if coded:
        point_error = code_points(points, scale, origin, codes, point_steps, point_norms)
    point_codes = codes[: (n_candidates + 1) // 2 * 2].view(np.int32)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        begin, end = chunk * chunk_tiles, min((chunk + 1) * chunk_tiles, len(tiles))
        for number in range(begin, end + 2 * ahead):
            n_fetched = 0
            if number < end:
                tile = tiles[number]
                if coded:
                    fetch_row(tile_codes, tile)
                _fetch_rows(X, tile * TILE, last_improved[tile])

            second = number - ahead
            if begin <= second < end:
                tile = tiles[second]
                row = tile * TILE
                left = last_improved[tile]
                while left != _NONE:
                    lane = np.intp(first_bit(left))
                    left &= left - np.uint64(1)
                    closest[row + lane] = unit * direct_distance(X, row + lane, last, 0)
                if last_improved[tile] != _NONE:
                    last_improved[tile] = _NONE
                real = _ALL >> np.uint64(max(0, row + TILE - n_rows))
                slot = second % (ahead + 1)
                if coded:
                    code_products(row_codes, tile, point_codes, products)
                    step = np.float64(row_steps[tile])
                    error = np.float64(row_errors[tile]) + point_error
                    code_limits(row_norms, closest, row, step, error, limits)
                fetched = _NONE
                for i in range(n_candidates):
                    lanes = real
                    if coded:
                        factor = 2 * step * point_steps[i]
                        lanes &= possibly_nearer(products, i * TILE, limits, factor, point_norms[i])
                    nearer[slot, i] = lanes
                    fetched |= lanes
                n_fetched = _list_pairs(fetched, row, rows, 0)

            n_done = 0
            third = second - ahead
            if begin <= third < end and n_candidates > 0:
                tile = tiles[third]
                row = tile * TILE
                slot = third % (ahead + 1)
                n_pairs = 0
                for i in range(n_candidates):
                    n_pairs = _list_pairs(nearer[slot, i], i * TILE, pairs, n_pairs)
                for j in range(n_candidates * TILE):
                    distances[j] = np.inf
                n_done = min(n_fetched, n_pairs)
                for j in range(n_pairs):
                    if j < n_fetched:
                        fetch_row(X, rows[j])
                    at = np.intp(pairs[j])
                    i, lane = at // TILE, at % TILE
                    distances[at] = unit * direct_distance(X, row + lane, points, i)
                weigh(weight, row, n_rows, tile_weight)
                for i in range(n_candidates):
                    potentials[i, tile], improved[i, tile] = sum_of_lesser(
                        distances, i * TILE, closest, row, tile_weight
                    )
            for j in range(n_done, n_fetched):
                fetch_row(X, rows[j])


class CoarseSeeder(Seeder):
    """A :class:`Seeder` of float64 rows.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float64, C-contiguous
    sample_weight : None or ndarray of shape (n_rows,), float64
    scale : float
        A power of two that brings the rows' distances near one; see ``kmeans.Frame``.
    origin : ndarray of shape (n_features,), float64
        A point near the rows' mean.
    """

    def __init__(self, X, sample_weight, scale, origin):
        super().__init__(X, sample_weight)
        self._scale, self._origin = float(scale), read_only(origin * scale)
        self._last = np.zeros((1, X.shape[1]))
        self._coarse = NO_ROWS

    def _settle(self, point):
        self._last = np.array(point, np.float64, ndmin=2)

    def _pass(self, tiles, candidates):
        if self._n_seeds == 1 and len(candidates) > 0:
            self._coarse = code_rows(self._rows, self._scale, self._origin)
        run(
            try_coarse,
            *self._chunks(tiles),
            tiles,
            self._rows,
            self._scale,
            self._origin,
            self._weight,
            self._last,
            self._last_improved,
            self._coarse,
            np.ascontiguousarray(candidates, np.float64),
            self._closest,
            self._potentials,
            self._improved,
        )
