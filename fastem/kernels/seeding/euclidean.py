"""Greedy k-means++ over one part's dense rows, which are read as they are."""

import numpy as np

from fastem.kernels.distances.direct_rows import WIDE_ROW, pad_points
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.parallel import run
from fastem.kernels.seeding.closest import Known, Trial
from fastem.kernels.seeding.narrow import try_narrow
from fastem.kernels.seeding.tiled import TiledSeeder
from fastem.kernels.seeding.wide import try_wide


class EuclideanSeeder(TiledSeeder):
    """Reads all rows in a pass, or of many features those that may have come nearer.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64, C-contiguous
    sample_weight : None or ndarray of shape (n_rows,), float64
    scale : float
        A power of two that brings the rows' distances near one; see ``clusters.Frame``.
    """

    def __init__(self, X, sample_weight, scale):
        super().__init__(X, sample_weight)
        n_features = X.shape[1]
        self._kernel = try_wide if n_features * X.itemsize >= WIDE_ROW else try_narrow
        self._scale = X.dtype.type(scale)
        self._labels = np.full(len(self._closest), -1, np.int32)
        self._known = Known(self._closest, self._labels, self._last_improved)
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
            read_only(self._seeds[: self._n_seeds]),
            self._margin,
            self._known,
            Trial(
                pad_points(candidates, self._scale, self._rows.dtype),
                self._potentials[: len(candidates)],
                self._improved[: len(candidates)],
            ),
        )


class GreedySeeder(EuclideanSeeder):
    """Step by step, on all threads."""
