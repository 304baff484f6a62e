"""What the seeders share that compare tiles of dense rows with the candidates.

All candidates of a seed are tried in one pass over the rows, which first brings the closest
distances up to date with the seed before: one reading of the rows a seed.
"""

from abc import abstractmethod

import numpy as np

from fastem.kernels.runtime.arrays import as_weights, read_only
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.seeding.base import Seeder, no_bounds
from fastem.kernels.vectors.machine import TILE

# Tiles of a chunk, at most; and the values of a chunk, at least: a thread is not worth waking for
# less.
_CHUNK_TILES = 64
_CHUNK_VALUES = 1 << 15
# So few tiles are brought up to date sooner than those that it matters for are found.
_FEW_TILES = 16


@kernel
def find_rows(values, tiles, ends, closest, weight, n_rows, rows):
    """The rows up to which the potential reaches some values.

    Parameters
    ----------
    values : float64 array of shape (n_values,)
    tiles : int64 array of shape (n_values,)
        The tile in which each value is reached. What rounding has lost is looked for at its end.
    ends : float64 array of shape (n_tiles,)
        The potential up to each tile's end.
    closest : array of n_tiles * TILE values
        Squared distances to the closest seed, in scaled units.
    weight : float64 array of n_rows values, or of none
    n_rows : int
    rows : int64 array of shape (n_values,)
        Gets the rows' numbers.
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


class TiledSeeder(Seeder):
    """A :class:`Seeder` of dense rows by squared Euclidean distance.

    All potentials are in units of ``1 / scale**2``.

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
        self.screen(point[np.newaxis])
        self.try_candidates(np.zeros(1, np.intp))
        return self.accept(0)

    def screen(self, candidates):
        n_candidates = len(candidates)
        if len(self._potentials) != n_candidates:
            shape = (n_candidates, len(self._tiles))
            self._potentials = np.empty(shape)
            self._improved = np.empty(shape, np.uint64)
        self._points = np.ascontiguousarray(candidates, self._rows.dtype)
        return self._screen()

    def try_candidates(self, kept):
        self._kept = kept
        self._compare()
        return self._potentials[: len(kept)].sum(axis=1)

    def accept(self, index):
        self._last_improved[:] = self._improved[index]
        self._ends = np.cumsum(self._potentials[index])
        self._remember(self._points[self._kept[index]])
        self._n_seeds += 1
        return float(self._potentials[index].sum())

    def locate(self, values):
        tiles = np.minimum(np.searchsorted(self._ends, values), len(self._ends) - 1)
        self._settle(np.unique(tiles) if len(self._tiles) > _FEW_TILES else self._tiles)
        rows = np.empty(len(values), np.intp)
        find_rows(values, tiles, self._ends, self._closest, self._weight, len(self._rows), rows)
        return rows

    def _screen(self):
        """The bounds that :meth:`screen` returns."""
        return no_bounds(len(self._points))

    @abstractmethod
    def _compare(self):
        """Fill in what the candidates kept would make of each tile."""

    @abstractmethod
    def _remember(self, point):
        """Take note of the last seed."""

    @abstractmethod
    def _settle(self, tiles):
        """Bring some tiles up to date with the last seed."""

    def _chunks(self, tiles):
        """The numbers of chunks and of a chunk's tiles."""
        least = ceil_div(_CHUNK_VALUES, TILE * self._rows.shape[1])
        chunk_tiles = max(min(len(tiles) // 64, _CHUNK_TILES), least)
        n_chunks = ceil_div(len(tiles), chunk_tiles)
        return n_chunks, chunk_tiles
