"""Greedy k-means++ over one part's dense float64 rows, by means of a coarse copy.

A new seed is the nearest of i seeds to about one row in i: nearly all comparisons end with the
coarse copy. It also bounds what each candidate would gain, so that most candidates need not be
compared at all: of the rows themselves, little more is read than those that the best one improves.
"""

import numpy as np

from fastem.kernels.distances.one_row import direct_distance, fetch_row
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.seeding.closest import sum_of_lesser, weigh
from fastem.kernels.seeding.codes import NO_ROWS, code_points, code_rows
from fastem.kernels.seeding.gains import code_products, gain_terms, possible_gains
from fastem.kernels.seeding.tiled import TiledSeeder
from fastem.kernels.vectors.machine import TILE
from fastem.kernels.vectors.tiles import aligned_empty, aligned_empty_like
from fastem.kernels.vectors.vector import count_bits, first_bit

# Rows are fetched about so many bytes before they are compared, in whole tiles.
_AHEAD = 1 << 15
# So many of a list are written at once.
_FEW = 3
# Sums in float32 of smaller weights than this, or greater than its inverse, could go out of range.
_LEAST_WEIGHT = 2.0**-60
_NONE, _LAST, _ALL = np.uint64(0), np.uint64(1 << 63), np.uint64(2**64 - 1)


@inline
def _tiles_ahead(X):
    return max(_AHEAD // (TILE * X.itemsize * X.shape[1]), 1)


@inline
def _list_lanes(lanes, first, numbers, n_listed):
    """Append ``first`` plus the positions of the bits set; returns the list's length.

    Few are written without a look at their number, which no branch predictor could know.
    """
    end = n_listed + np.intp(count_bits(lanes))
    for j in range(_FEW):
        numbers[n_listed + j] = first + np.intp(first_bit(lanes | _LAST))
        lanes &= lanes - np.uint64(1)
    for j in range(n_listed + _FEW, end):
        numbers[j] = first + np.intp(first_bit(lanes))
        lanes &= lanes - np.uint64(1)
    return end


@kernel
def screen_rows(
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
    bounds,
    nearer,
):
    """Bring tiles up to date with the last seed, and compare their codes with the points'.

    Each tile goes through two steps: the rows that the last seed has come nearer to are fetched,
    and dealt with some tiles later, when the memory has brought them.

    Parameters
    ----------
    tiles : int64 array
        The tiles' numbers, of which a chunk takes ``chunk_tiles``.
    X : float64 array of shape (n_rows, n_features)
    scale : float
        A power of two that brings the rows' distances near one.
    origin : float64 array of shape (n_features,)
        In scaled units.
    weight : float64 array of n_rows values, or of none
    last : float64 array of shape (1, n_features)
        The last seed, as a row of the data.
    last_improved : uint64 array of shape (n_tiles,)
        The lanes that it has come nearer to, as bits.
    coarse : Coarse
        The rows' codes, or none.
    points : float64 array of shape (n_points, n_features)
        As rows of the data.
    closest : float64 array of n_tiles * TILE values
        Squared distances to the closest seed, in scaled units.
    bounds : float64 array of shape (n_chunks, 2, n_points)
        Gets bounds on how much each point would lessen the chunk's potential.
    nearer : uint64 array of shape (n_points, n_tiles)
        Gets the lanes that a point may be nearer to.
    """
    n_rows = len(X)
    n_points = len(points)
    products = aligned_empty(TILE * (n_points + 1)).view(np.int32)
    terms = aligned_empty(4 * TILE)
    tile_weight = aligned_empty(TILE)
    for lane in range(TILE):
        tile_weight[lane] = 1.0
    ahead = _tiles_ahead(X)
    unit = scale * scale
    row_codes, row_norms, row_steps, row_errors = coarse
    n_pairs = row_codes.shape[1]
    tile_codes = row_codes.reshape(len(row_codes), n_pairs * 2 * TILE)
    codes = np.zeros((n_points + n_points % 2, 2 * n_pairs), np.int16)
    steps, norms = np.empty(n_points), np.empty(n_points)
    lows, highs = np.empty(n_points), np.empty(n_points)
    coded = len(row_steps) > 0 and n_points > 0
    error = 0.0
    if coded:
        error = code_points(points, scale, origin, codes, steps, norms)
    point_codes = codes.view(np.int32)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        lows[:] = 0.0
        highs[:] = 0.0 if coded else np.inf
        begin, end = chunk * chunk_tiles, min((chunk + 1) * chunk_tiles, len(tiles))
        for number in range(begin, end + ahead):
            if number < end:
                tile = tiles[number]
                if coded:
                    fetch_row(tile_codes, tile)
                left = last_improved[tile]
                while left != _NONE:
                    fetch_row(X, tile * TILE + np.intp(first_bit(left)))
                    left &= left - np.uint64(1)
            if number - ahead < begin:
                continue
            tile = tiles[number - ahead]
            row = tile * TILE
            left = last_improved[tile]
            while left != _NONE:
                lane = np.intp(first_bit(left))
                left &= left - np.uint64(1)
                closest[row + lane] = unit * direct_distance(X, row + lane, last, 0)
            last_improved[tile] = _NONE
            real = _ALL >> np.uint64(max(0, row + TILE - n_rows))
            if not coded:
                for i in range(n_points):
                    nearer[i, tile] = real
                continue
            code_products(row_codes, tile, point_codes, products)
            step = np.float64(row_steps[tile])
            gain_terms(row_norms, closest, row, step, row_errors[tile] + error, terms)
            if len(weight) > 0:
                weigh(weight, row, n_rows, tile_weight)
            for i in range(n_points):
                factor = 2 * step * steps[i]
                lanes, low, high = possible_gains(
                    products, i * TILE, terms, tile_weight, factor, norms[i]
                )
                nearer[i, tile] = real & lanes
                lows[i] += low
                highs[i] += high
        for i in range(n_points):
            bounds[chunk, 0, i], bounds[chunk, 1, i] = lows[i], highs[i]


@kernel
def compare_rows(
    tickets, n_chunks, chunk_tiles, X, scale, weight, points, kept, closest, nearer, potentials
):
    """Compare rows that may be nearer a point with it: some points, numbered ``kept``.

    ``nearer`` has a row for each point; those of the points kept move to the front, less what
    is not nearer. A single point is taken for the next seed, and the distances are brought up to
    date. Rows are fetched some tiles before, one at a time: of many requests at once, the memory
    drops most.

    Parameters
    ----------
    X, scale, weight, points, closest, nearer
        As for :func:`screen_rows`, which has filled in ``nearer``.
    kept : int array of shape (n_kept,)
        In order.
    potentials : float64 array of shape (n_points, n_tiles)
        The first ``n_kept`` get the tiles' potentials if the point were a seed.
    """
    n_rows = len(X)
    n_tiles = nearer.shape[1]
    n_kept = len(kept)
    distances = aligned_empty_like(TILE * n_kept, X)
    pairs = np.empty(TILE * n_kept + _FEW, np.int32)
    rows = np.empty(TILE + _FEW, np.int64)
    tile_weight = np.ones(TILE)
    ahead = _tiles_ahead(X)
    unit = scale * scale
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        begin, end = chunk * chunk_tiles, min((chunk + 1) * chunk_tiles, n_tiles)
        for number in range(begin, end + ahead):
            n_fetched = 0
            if number < end:
                lanes = _NONE
                for i in range(n_kept):
                    lanes |= nearer[kept[i], number]
                n_fetched = _list_lanes(lanes, number * TILE, rows, 0)
            tile = number - ahead
            n_pairs = 0
            if tile >= begin:
                for i in range(n_kept):
                    n_pairs = _list_lanes(nearer[kept[i], tile], i * TILE, pairs, n_pairs)
            for j in range(n_pairs, n_fetched):
                fetch_row(X, rows[j])
            if tile < begin:
                continue
            row = tile * TILE
            for j in range(n_kept * TILE):
                distances[j] = np.inf
            for j in range(n_pairs):
                if j < n_fetched:
                    fetch_row(X, rows[j])
                at = np.intp(pairs[j])
                i, lane = at // TILE, at % TILE
                distances[at] = unit * direct_distance(X, row + lane, points, kept[i])
            if len(weight) > 0:
                weigh(weight, row, n_rows, tile_weight)
            for i in range(n_kept):
                potentials[i, tile], nearer[i, tile] = sum_of_lesser(
                    distances, i * TILE, closest, row, tile_weight
                )
            if n_kept == 1:
                left = nearer[0, tile]
                while left != _NONE:
                    lane = np.intp(first_bit(left))
                    left &= left - np.uint64(1)
                    closest[row + lane] = distances[lane]
                nearer[0, tile] = _NONE


class CoarseSeeder(TiledSeeder):
    """A :class:`TiledSeeder` of float64 rows.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float64, C-contiguous
    sample_weight : None or ndarray of shape (n_rows,), float64
    scale : float
        A power of two that brings the rows' distances near one; see ``clusters.Frame``.
    origin : ndarray of shape (n_features,), float64
        A point near the rows' mean.
    """

    def __init__(self, X, sample_weight, scale, origin):
        super().__init__(X, sample_weight)
        self._scale, self._origin = float(scale), read_only(origin * scale)
        self._last = np.zeros((1, X.shape[1]))
        self._coarse = NO_ROWS
        # Whether bounds on gains hold, which are sums in float32.
        positive = self._weight[self._weight > 0]
        self._bounded = len(positive) == 0 or (
            positive.min() > _LEAST_WEIGHT and positive.max() < 1 / _LEAST_WEIGHT
        )

    def _screen(self):
        if self._n_seeds == 1:
            self._coarse = code_rows(self._rows, self._scale, self._origin)
        bounds = self._pass(self._tiles, self._points)
        return bounds if self._bounded else super()._screen()

    def _compare(self):
        run(
            compare_rows,
            *self._chunks(self._tiles),
            self._rows,
            self._scale,
            self._weight,
            self._points,
            self._kept,
            self._closest,
            self._improved,
            self._potentials,
        )

    def _remember(self, point):
        self._last = np.array([point])

    def _settle(self, tiles):
        self._pass(tiles, self._points[:0])

    def _pass(self, tiles, points):
        """Bring some tiles up to date with the last seed, and screen points there."""
        n_chunks, chunk_tiles = self._chunks(tiles)
        bounds = np.empty((n_chunks, 2, len(points)))
        run(
            screen_rows,
            n_chunks,
            chunk_tiles,
            tiles,
            self._rows,
            self._scale,
            self._origin,
            self._weight,
            self._last,
            self._last_improved,
            self._coarse,
            points,
            self._closest,
            bounds,
            self._improved,
        )
        return bounds.sum(axis=0)
