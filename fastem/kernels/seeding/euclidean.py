"""Greedy k-means++ over one part's dense rows.

Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007, with several
candidates for each seed. All candidates of a seed are tried in one pass over the rows, which first
brings the closest distances up to date with the seed before: one reading of the rows a seed.
"""

import numpy as np

from fastem.kernels.distances.direct import (
    LIST_SLACK,
    WIDE_ROW,
    end_list,
    load_columns,
    pad_points,
    row_distances,
    sum_of_lesser,
    take_lesser,
    tile_distance,
    tile_distances,
)
from fastem.kernels.runtime.arrays import as_weights, read_only
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import TILE, VECTOR_BYTES
from fastem.kernels.vectors.tiles import aligned_empty
from fastem.kernels.vectors.vector import count_bits, first_bit

# Tiles of a chunk, at most; and the values of a chunk, at least: a thread is not worth waking for
# less.
_CHUNK_TILES = 64
_CHUNK_VALUES = 1 << 15
# What it costs to list a row and to spread its distances, in features compared.
_LISTING = 32
_TINY = 1e-30
# So few tiles are brought up to date sooner than those that it matters for are found.
_FEW_TILES = 16

# The jobs of a pass: to find the distances from each seed within which no candidate can be
# nearer; to bring a chunk up to date with the last seed; to compare it with the candidates.
_LIMIT, _SETTLE, _COMPARE = range(3)


@inline
def weigh(weight, row, n_rows, tile_weight):
    """A tile's weights: ones if there are none, zero behind the last row."""
    n_lanes = min(TILE, n_rows - row)
    if len(weight) == 0:
        for lane in range(TILE):
            tile_weight[lane] = 1.0 if lane < n_lanes else 0.0
    else:
        for lane in range(n_lanes):
            tile_weight[lane] = weight[row + lane]
        for lane in range(n_lanes, TILE):
            tile_weight[lane] = 0.0


@inline
def _judge(distances, tile, row, closest, tile_weight, potentials, improved):
    """Fill in what each candidate would make of a tile."""
    for i in range(len(potentials)):
        potentials[i, tile], improved[i, tile] = sum_of_lesser(
            distances, i * TILE, closest, row, tile_weight
        )


@inline
def _list_lanes(lanes, row, n_rows, rows, n_listed):
    """Append the rows of a tile whose bits are set; returns the list's length."""
    while lanes != np.uint64(0):
        rows[n_listed] = min(row + np.intp(first_bit(lanes)), n_rows - 1)
        lanes &= lanes - np.uint64(1)
        n_listed += 1
    return n_listed


@kernel
def try_wide(
    tickets,
    n_chunks,
    chunk_tiles,
    tiles,
    X,
    scale,
    weight,
    last,
    last_improved,
    seeds,
    candidates,
    margin,
    closest,
    labels,
    potentials,
    improved,
):
    """A pass over rows of many features; see :class:`GreedySeeder`.

    There are three jobs, each with a list of rows to compare with some points, block by block (in
    one loop, as each place where rows are compared adds to the time it takes to compile).
    """
    n_rows, n_features = X.shape
    distances = aligned_empty(2 * TILE * (len(candidates) + 2)).view(X.dtype)
    compact = aligned_empty(2 * TILE * (len(candidates) + 2)).view(X.dtype)
    limits = np.zeros(len(seeds) + 1, X.dtype)  # the last is that of no row
    tile_weight = np.empty(TILE)
    capacity = max(chunk_tiles * TILE, len(seeds))
    rows = np.empty(capacity + LIST_SLACK, np.int32)
    starts = np.empty(capacity // TILE + 2, np.int32)
    comparable = np.empty(chunk_tiles, np.uint64)
    # With more rows of a tile to be compared, it is faster to compare all.
    most_listed = TILE * n_features // (n_features + _LISTING)
    first_job = _LIMIT if len(candidates) > 0 else _SETTLE
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        begin, end = chunk * chunk_tiles, min((chunk + 1) * chunk_tiles, len(tiles))
        for job in range(first_job, _COMPARE + 1 if len(candidates) > 0 else _COMPARE):
            n_listed = 0
            n_blocks = end - begin
            source, points = X, candidates
            if job == _LIMIT:
                source = seeds
                for j in range(len(seeds)):
                    rows[j] = j
                n_listed = len(seeds)
            elif job == _SETTLE:
                points = last
                for t in range(begin, end):
                    tile = tiles[t]
                    nearer = last_improved[tile]
                    n_listed = _list_lanes(nearer, tile * TILE, n_rows, rows, n_listed)
                    last_improved[tile] = np.uint64(0)
            else:
                starts[0] = 0
                for t in range(n_blocks):
                    row = tiles[begin + t] * TILE
                    lanes = ~np.uint64(0)
                    if len(seeds) > 0:
                        for lane in range(TILE):
                            distances[lane] = limits[labels[row + lane]]
                        _, lanes = sum_of_lesser(distances, 0, closest, row, tile_weight)
                    if np.intp(count_bits(lanes)) > most_listed:
                        lanes = ~np.uint64(0)
                        for lane in range(TILE):
                            rows[n_listed + lane] = min(row + lane, n_rows - 1)
                        n_listed += TILE
                    else:
                        n_listed = _list_lanes(lanes, row, n_rows, rows, n_listed)
                    comparable[t] = lanes
                    starts[t + 1] = n_listed
            if job != _COMPARE:
                n_blocks = (n_listed + TILE - 1) // TILE
                for t in range(n_blocks + 1):
                    starts[t] = min(t * TILE, n_listed)
            end_list(rows, n_listed, len(source))

            for t in range(n_blocks):
                start, n_listed = starts[t], starts[t + 1] - starts[t]
                spread = job == _COMPARE and n_listed < TILE
                target = compact if spread else distances
                row_distances(source, rows, start, n_listed, scale, points, target)
                if job == _LIMIT:
                    # By the triangle inequality, |x - c| >= |x - s| where |c - s| >= 2 |x - s|.
                    # The margin makes that certain for the distances as they are computed; the
                    # bounds on their rounding hold for normal numbers only.
                    for j in range(n_listed):
                        least = distances[j]
                        for i in range(1, len(candidates)):
                            least = min(least, distances[i * TILE + j])
                        limits[start + j] = least * margin if least > _TINY else -1
                elif job == _SETTLE:
                    for j in range(n_listed):
                        closest[rows[start + j]] = distances[j]
                        labels[rows[start + j]] = len(seeds) - 1
                else:
                    tile = tiles[begin + t]
                    if spread:
                        for i in range(len(distances)):
                            distances[i] = np.inf
                        lanes = comparable[t]
                        for j in range(n_listed):
                            lane = np.intp(first_bit(lanes))
                            lanes &= lanes - np.uint64(1)
                            for i in range(len(candidates)):
                                distances[i * TILE + lane] = compact[i * TILE + j]
                    weigh(weight, tile * TILE, n_rows, tile_weight)
                    _judge(distances, tile, tile * TILE, closest, tile_weight, potentials, improved)
        first_job = _SETTLE


@kernel
def try_narrow(
    tickets,
    n_chunks,
    chunk_tiles,
    tiles,
    X,
    scale,
    weight,
    last,
    last_improved,
    seeds,
    candidates,
    margin,
    closest,
    labels,
    potentials,
    improved,
):
    """A pass over rows of few features; see :class:`GreedySeeder`."""
    n_rows, n_features = X.shape
    lanes = VECTOR_BYTES // X.itemsize
    transposed = aligned_empty(2 * TILE * n_features).view(X.dtype)
    distances = aligned_empty(2 * TILE * (len(candidates) + 2)).view(X.dtype)
    tile_weight = np.empty(TILE)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for number in range(chunk * chunk_tiles, min((chunk + 1) * chunk_tiles, len(tiles))):
            tile = tiles[number]
            row = tile * TILE
            load_columns(X, row, lanes, scale, transposed)
            if last_improved[tile] != np.uint64(0):
                tile_distance(transposed, last, distances)
                take_lesser(distances, closest, labels, row, np.int32(len(seeds) - 1))
                last_improved[tile] = np.uint64(0)
            if len(candidates) == 0:
                continue
            tile_distances(transposed, candidates, distances)
            weigh(weight, row, n_rows, tile_weight)
            _judge(distances, tile, row, closest, tile_weight, potentials, improved)


@kernel
def find_rows(values, tiles, ends, closest, weight, n_rows, rows):
    """The rows of some tiles up to which the potential reaches the values.

    ``ends`` are the sums up to each tile's end. What rounding has lost is looked for there.
    """
    for i in range(len(values)):
        tile = tiles[i]
        before = ends[tile - 1] if tile > 0 else 0.0
        rows[i] = tile * TILE
        total = 0.0
        for row in range(tile * TILE, min((tile + 1) * TILE, n_rows)):
            potential = np.float64(closest[row])
            if len(weight) > 0:
                potential *= weight[row]
            total += potential
            if potential > 0 or total >= values[i] - before:
                rows[i] = row
            if total >= values[i] - before:
                break


class Seeder:
    """Each row's squared distance to the nearest of the seeds so far.

    Points are given as rows of the data: not shifted, not scaled. All potentials (sums of the
    rows' weighted squared distances) are in units of ``1 / scale**2``.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64, C-contiguous
    sample_weight : None or ndarray of shape (n_rows,), float64
    """

    def __init__(self, X, sample_weight):
        self._rows = read_only(X)
        self._weight = as_weights(sample_weight)
        n_rows = len(X)
        n_tiles = ceil_div(n_rows, TILE)
        self._tiles = np.arange(n_tiles)
        # Up to the end of the last tile.
        self._closest = np.full(n_tiles * TILE, np.inf, X.dtype)
        self._closest[n_rows:] = 0.0  # to which nothing is nearer
        self._n_seeds = 0
        self._last_improved = np.zeros(n_tiles, np.uint64)
        self._potentials = np.empty((0, n_tiles))
        self._improved = np.empty((0, n_tiles), np.uint64)

    def add(self, point):
        """Make a row a seed; returns the potential afterwards."""
        self.screen(point[np.newaxis])
        self.try_candidates(np.zeros(1, np.intp))
        return self.accept(0)

    def screen(self, candidates):
        """Bounds on how much the potential would fall if a candidate were the next seed.

        Parameters
        ----------
        candidates : ndarray of shape (n_candidates, n_features)

        Returns
        -------
        ndarray of shape (2, n_candidates), float64
            Lower and upper bounds, which need not be close.
        """
        n_candidates = len(candidates)
        if len(self._potentials) != n_candidates:
            shape = (n_candidates, len(self._tiles))
            self._potentials = np.empty(shape)
            self._improved = np.empty(shape, np.uint64)
        self._points = np.ascontiguousarray(candidates, self._rows.dtype)
        return self._screen()

    def try_candidates(self, kept):
        """The potential that a candidate would leave if it were the next seed.

        Parameters
        ----------
        kept : ndarray of shape (n_kept,), int
            The numbers of some of the candidates just screened, in order.

        Returns
        -------
        ndarray of shape (n_kept,), float64
        """
        self._kept = kept
        self._compare()
        return self._potentials[: len(kept)].sum(axis=1)

    def accept(self, index):
        """Make ``kept[index]`` of those just tried a seed; returns the potential afterwards."""
        self._last_improved = self._improved[index].copy()
        self._ends = np.cumsum(self._potentials[index])
        self._remember(self._points[self._kept[index]])
        self._n_seeds += 1
        return float(self._potentials[index].sum())

    def locate(self, values):
        """The first rows up to which the weighted squared distances sum to at least the values.

        Parameters
        ----------
        values : ndarray of shape (n_values,)

        Returns
        -------
        ndarray of shape (n_values,), int
        """
        tiles = np.minimum(np.searchsorted(self._ends, values), len(self._ends) - 1)
        self._settle(np.unique(tiles) if len(self._tiles) > _FEW_TILES else self._tiles)
        rows = np.empty(len(values), np.intp)
        find_rows(values, tiles, self._ends, self._closest, self._weight, len(self._rows), rows)
        return rows

    def _screen(self):
        """The bounds that :meth:`screen` returns."""
        return np.array([np.zeros(len(self._points)), np.full(len(self._points), np.inf)])

    def _compare(self):
        """Fill in what the candidates kept would make of each tile."""
        raise NotImplementedError

    def _remember(self, point):
        """Take note of the last seed."""
        raise NotImplementedError

    def _settle(self, tiles):
        """Bring some tiles up to date with the last seed."""
        raise NotImplementedError

    def _chunks(self, tiles):
        """The numbers of chunks and of a chunk's tiles."""
        least = ceil_div(_CHUNK_VALUES, TILE * self._rows.shape[1])
        chunk_tiles = max(min(len(tiles) // 64, _CHUNK_TILES), least)
        n_chunks = ceil_div(len(tiles), chunk_tiles)
        return n_chunks, chunk_tiles


class GreedySeeder(Seeder):
    """A :class:`Seeder` that reads all rows, or those of many features that may have come nearer.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64, C-contiguous
    sample_weight : None or ndarray of shape (n_rows,), float64
    scale : float
        A power of two that brings the rows' distances near one; see ``kmeans.Frame``.
    """

    def __init__(self, X, sample_weight, scale):
        super().__init__(X, sample_weight)
        n_features = X.shape[1]
        self._kernel = try_wide if n_features * X.itemsize >= WIDE_ROW else try_narrow
        self._scale = X.dtype.type(scale)
        self._labels = np.full(len(self._closest), -1, np.int32)
        self._seeds = np.empty((8, n_features), X.dtype)
        self._margin = X.dtype.type(0.25 - (n_features + 8) * np.finfo(X.dtype).eps)
        self._last = np.zeros((2, n_features), X.dtype)

    @property
    def labels(self):
        """Each row's nearest seed, by the order of the calls: int32 of shape (n_rows,)."""
        self._settle(self._tiles)
        return self._labels[: len(self._rows)]

    def _remember(self, point):
        if self._n_seeds == len(self._seeds):
            self._seeds = np.resize(self._seeds, (2 * self._n_seeds, self._seeds.shape[1]))
        self._seeds[self._n_seeds] = point
        self._last = pad_points(point[np.newaxis], self._scale, self._rows.dtype)

    def _compare(self):
        self._pass(self._tiles, self._points[self._kept])

    def _settle(self, tiles):
        self._pass(tiles, self._points[:0])

    def _pass(self, tiles, candidates):
        """Bring some tiles up to date with the last seed, and try candidates there."""
        run(
            self._kernel,
            *self._chunks(tiles),
            tiles,
            self._rows,
            self._scale,
            self._weight,
            self._last,
            self._last_improved,
            read_only(self._seeds[: self._n_seeds]),
            pad_points(candidates, self._scale, self._rows.dtype),
            self._margin,
            self._closest,
            self._labels,
            self._potentials[: len(candidates)],
            self._improved[: len(candidates)],
        )
