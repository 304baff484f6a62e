"""Every row's sum of distances to the rows of every cluster.

Each distance serves both of its rows, so that half of all suffice. Rows are taken in the order of
their clusters, in tiles and blocks of tiles; blocks meet as players do in a tournament: in a round
each meets one other, so that no two threads write to the same row's sums, and the order in which
sums grow does not depend on the threads.
"""

import numpy as np

from fastem.kernels.columns.magnitude import largest_magnitude
from fastem.kernels.distances.pairwise import block_of_manhattan, block_of_squared_euclidean
from fastem.kernels.distances.tile_nearest import BLOCK
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.tiles import aligned_empty_like, gather_tile
from fastem.kernels.vectors.vector import lanes_of, load, square_root, store, sum_of_lanes

# Tiles of a block: enough to be worth a thread's while, and about so many blocks for many threads;
# but no more values than the second-level cache holds.
_FEWEST_TILES, _MOST_TILES, _BLOCKS = 8, 32, 128
_BLOCK_VALUES = 1 << 16


@inline
def _rooted(distances, start):
    """Take a tile's square roots in place."""
    lanes = lanes_of(distances)
    for lane in range(start, start + TILE, lanes):
        store(square_root(load(distances, lane, lanes)), distances, lane)


@inline
def _row_sum(distances, start):
    """The sum of a tile's distances."""
    lanes = lanes_of(distances)
    total = load(distances, start, lanes)
    for lane in range(start + lanes, start + TILE, lanes):
        total = total + load(distances, lane, lanes)
    return sum_of_lanes(total)


@inline
def _add_rows(distances, columns):
    """Add a block of rows' distances to the tile's columns."""
    lanes = lanes_of(distances)
    for lane in range(0, TILE, lanes):
        total = load(distances, lane, lanes)
        for i in range(1, BLOCK):
            total = total + load(distances, i * TILE + lane, lanes)
        store(load(columns, lane, lanes) + total, columns, lane)


@inline
def _number_rows(order, first, numbers):
    """The numbers of a tile's rows; those behind the last repeat it."""
    for lane in range(TILE):
        numbers[lane] = order[min(first + lane, len(order) - 1)]


@inline
def _is_pure(labels, first):
    """Whether a tile is full and of one cluster."""
    return first + TILE <= len(labels) and labels[first] == labels[first + TILE - 1]


def _sums_kernel(block_of_distances, squared):
    @inline
    def meet(rows, row, tile, column, n_features, labels, distances, columns, sums):
        """Add the distances between a tile's rows from ``row`` on and those from ``column`` on.

        To the sums of both; or to the first alone if they are the same tile.
        """
        n_rows, n_columns = min(TILE, len(labels) - row), min(TILE, len(labels) - column)
        both, row_pure, column_pure = row != column, _is_pure(labels, row), _is_pure(labels, column)
        for lane in range(TILE):
            columns[lane] = 0
        for top in range(0, n_rows, BLOCK):
            block_of_distances(rows, top, n_rows - 1, tile, n_features, distances, 0, TILE)
            for i in range(min(BLOCK, n_rows - top)):
                if squared:
                    _rooted(distances, i * TILE)
                number = row + top + i
                if column_pure:
                    sums[labels[column], number] += np.float64(_row_sum(distances, i * TILE))
                else:
                    for lane in range(n_columns):
                        sums[labels[column + lane], number] += distances[i * TILE + lane]
                if both and not row_pure:
                    for lane in range(n_columns):
                        sums[labels[number], column + lane] += distances[i * TILE + lane]
            if both and row_pure:
                _add_rows(distances, columns)
        if both and row_pure:
            for lane in range(n_columns):
                sums[labels[row], column + lane] += columns[lane]

    @kernel
    def add_distances(
        tickets, n_chunks, meeting, n_blocks, block_rows, X, order, labels, scale, sums
    ):
        """A round in which each block of rows meets one other.

        Parameters
        ----------
        meeting : int
            The round's number; -1 for the first, each block's with itself.
        n_blocks, block_rows : int
        X : array of shape (n_rows, n_features)
        order, labels : int64 arrays of shape (n_rows,)
            As for :func:`cluster_sums`.
        scale : float
            A power of two that the rows are multiplied by.
        sums : float64 array of shape (n_clusters, n_rows)
            To which each row's distances to the others are added.
        """
        n_rows, n_features = X.shape
        n_players = n_blocks + n_blocks % 2
        scale = X.dtype.type(scale)
        shift = np.zeros(n_features + LANES, X.dtype)
        numbers = np.empty(TILE, np.int64)
        tiles = aligned_empty_like(block_rows * n_features, X)
        rows = np.empty((TILE, n_features), X.dtype)
        distances = aligned_empty_like(BLOCK * TILE, X)
        columns = aligned_empty_like(TILE, X)
        while True:
            chunk = next_chunk(tickets)
            if chunk >= n_chunks:
                return
            one, other = chunk, chunk
            if meeting >= 0:
                # The circle method: the last player stays, the others move on by one.
                one = (meeting + chunk) % (n_players - 1) if chunk > 0 else n_players - 1
                other = (meeting - chunk) % (n_players - 1)
            if max(one, other) >= n_blocks:
                continue  # nobody to meet
            left, right = other * block_rows, min((other + 1) * block_rows, n_rows)
            for column in range(left, right, TILE):
                _number_rows(order, column, numbers)
                tile = tiles[(column - left) * n_features :]
                gather_tile(X, numbers, scale, shift, tile)
            for row in range(one * block_rows, min((one + 1) * block_rows, n_rows), TILE):
                for i in range(min(TILE, n_rows - row)):
                    for f in range(n_features):
                        rows[i, f] = X[order[row + i], f] * scale
                for column in range(row if one == other else left, right, TILE):
                    tile = tiles[(column - left) * n_features :]
                    meet(rows, row, tile, column, n_features, labels, distances, columns, sums)

    return add_distances


_EUCLIDEAN = _sums_kernel(block_of_squared_euclidean, True)
_MANHATTAN = _sums_kernel(block_of_manhattan, False)
_BODIES = {"euclidean": _EUCLIDEAN, "manhattan": _MANHATTAN}


def _block_rows(n_rows, n_features):
    wanted = min(max(ceil_div(n_rows, TILE * _BLOCKS), _FEWEST_TILES), _MOST_TILES)
    return TILE * max(1, min(wanted, _BLOCK_VALUES // (TILE * n_features)))


def _power_near(magnitude, dtype):
    """A power of two that brings values to about one, so that no square overflows or vanishes."""
    limit = 126 if dtype == np.float32 else 1022
    return float(np.ldexp(1.0, int(np.clip(-np.frexp(magnitude)[1], -limit, limit))))


def cluster_sums(
    X: np.ndarray, order: np.ndarray, labels: np.ndarray, n_clusters: int, metric: str
) -> tuple[np.ndarray, float]:
    """Every row's sum of distances to the rows of each cluster.

    Parameters
    ----------
    X : C-contiguous array of shape (n_rows, n_features), float32 or float64
        Of finite values.
    order : int array of shape (n_rows,)
        The rows' numbers, those of a cluster together.
    labels : int array of shape (n_rows,)
        The clusters of the rows in this order, ascending, from 0.
    n_clusters : int
    metric : {"euclidean", "manhattan"}
        Distances are direct differences in the rows' dtype, and 64 of them are added in it before
        they are added to others in float64.

    Returns
    -------
    sums : ndarray of shape (n_clusters, n_rows), float64
        Of the rows in this order, multiplied by the scale.
    scale : float
        A power of two.
    """
    n_rows, n_features = X.shape
    block_rows = _block_rows(n_rows, n_features)
    n_blocks = ceil_div(n_rows, block_rows)
    scale = _power_near(largest_magnitude(X), X.dtype)
    sums = np.zeros((n_clusters, n_rows))
    args = (
        n_blocks,
        block_rows,
        read_only(X),
        read_only(order.astype(np.int64, copy=False)),
        read_only(labels.astype(np.int64, copy=False)),
        scale,
        sums,
    )
    body = _BODIES[metric]
    run(body, n_blocks, -1, *args)
    n_players = n_blocks + n_blocks % 2
    for meeting in range(n_players - 1 if n_blocks > 1 else 0):
        run(body, n_players // 2, meeting, *args)
    return sums, scale
