"""Decides when a part's rows are sorted and its passes skip; see ``bounds.py`` for how."""

import numpy as np

from fastem.kernels.gaussian.skip.bounds import OFFSET, ROUNDING
from fastem.kernels.gaussian.skip.driver import Visit
from fastem.kernels.gaussian.skip.sorting import STEPS, sort_pass
from fastem.kernels.runtime.chunks import ceil_div, round_up
from fastem.kernels.runtime.parallel import run
from fastem.kernels.vectors.machine import LANES, TILE

# The shares that are as good as none: in a row's density, and in a component's statistics.
_IN_DENSITY = {np.dtype(np.float32): 1e-9, np.dtype(np.float64): 1e-13}
_IN_STATISTICS = {np.dtype(np.float32): 1e-8, np.dtype(np.float64): 1e-10}

# Rows are sorted in blocks of at most so many, and so many bytes: a pass stays near some place of a
# memory-mapped file.
_MOST_ROWS, _MOST_BYTES = 1 << 18, 1 << 26

# What is kept takes up to this share of the data's memory, or so many bytes a row.
_MEMORY, _BYTES_A_ROW = 3 / 8, 16

# Skipping takes so many multiplications for a row, and the pairs of a tile and a component that are
# left must not be more than a part of all.
_OVERHEAD, _PROFITABLE = 1600, 3 / 4

# It is tried where rows have a share in at most this part of as many: tiles have more.
_PROMISING = 1 / 3

# It pays from so many components on, and where a pass is some ten milliseconds' work.
_FEWEST_COMPONENTS, _LEAST_WORK = 4, 1 << 28


class Visitor:
    """How the passes visit the rows of a part.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    n_components : int
    work : int
        Multiplications for a row and a component.
    mean_weight : float
        The rows' mean weight.

    Attributes
    ----------
    skips : bool
        Whether the next pass may skip.
    """

    def __init__(self, X, n_components, work, mean_weight):
        self._n_rows, self._n_components = len(X), n_components
        rows = min(_MOST_ROWS, _MOST_BYTES // (X.itemsize * X.shape[1]), len(X))
        self._block_rows = round_up(rows, TILE)
        self._n_blocks = ceil_div(len(X), self._block_rows)
        self._width = round_up(n_components, LANES)
        self._n_tiles = ceil_div(len(X), TILE)
        self._key_dtype = np.uint16 if n_components * STEPS <= 1 << 16 else np.uint32
        self._in_density, self._in_statistics = _IN_DENSITY[X.dtype], _IN_STATISTICS[X.dtype]
        self._tile_weight = mean_weight * TILE
        memory = (8 + np.dtype(self._key_dtype).itemsize) * len(X)
        memory += self._n_tiles * (4 * self._width + 8)
        self._most_pairs = (_PROFITABLE * n_components - _OVERHEAD / work) * self._n_tiles
        self._possible = (
            n_components >= _FEWEST_COMPONENTS
            and work * n_components * len(X) >= _LEAST_WORK
            and memory <= max(_MEMORY * X.nbytes, _BYTES_A_ROW * len(X))
        )
        self._passes, self._next_look = 0, 1
        self._stop()

    def _start(self):
        self.skips = True
        within = np.arange(self._block_rows, dtype=np.uint32)
        self._order = np.resize(within, self._n_rows)
        self._n_mixed = np.zeros(self._n_blocks, np.int64)
        self._floors = np.empty(self._n_tiles * TILE, np.float32)
        self._least = np.full(self._n_tiles, -np.inf)
        self._bounds = np.zeros(self._n_tiles * self._width, np.float32)
        self._since = self._failures = 0

    def _stop(self):
        self.skips = False
        self._order = self._n_mixed = self._floors = self._least = self._bounds = self._last = None

    def _sort(self, keys):
        """Have the rows of blocks where it matters visited in the order of their keys."""
        is_new = np.empty(self._n_blocks, bool)
        run(
            sort_pass,
            self._n_blocks,
            self._block_rows,
            keys,
            self._n_components * STEPS,
            STEPS,
            self._order,
            self._n_mixed,
            is_new,
        )
        if is_new.all():
            self._since = 1
        # Other tiles than before: nothing is known of them.
        tiles = self._block_rows // TILE
        for block in np.flatnonzero(is_new):
            self._least[block * tiles : (block + 1) * tiles] = -np.inf
            self._bounds[block * tiles * self._width : (block + 1) * tiles * self._width] = 0.0

    def plan(self, parameters, peaks, movement):
        """The next pass's visit of the rows.

        Parameters
        ----------
        parameters : GaussianComponents
        peaks : ndarray of shape (n_components,)
            Log-densities at the means, weights included.
        movement : callable
            ``Kernel.movement``.
        """
        shrink, drift = np.zeros((2, self._width), np.float32)
        levels = np.full(self._width, -np.inf, np.float32)
        k = self._n_components
        with np.errstate(all="ignore"):
            carried = movement(self._last or parameters, parameters)
            # Not a number, or infinite: whatever happened, nothing is known any more.
            known = np.isfinite(carried[0]) & np.isfinite(carried[1]) & (carried[1] < 1e30)
            shrink[:k] = np.where(known, carried[0] * (1 - ROUNDING), 0.0)
            drift[:k] = np.where(known, carried[1] * (1 + ROUNDING), 0.0)
            in_statistics = OFFSET - np.log(self._in_statistics) - parameters.log_weights
            level = peaks + np.maximum(in_statistics, -np.log(self._in_density))
            levels[:k] = np.where(np.isfinite(level), level, -np.inf)
        self._last = parameters
        looks = self._since != 1 and self._since & (self._since - 1) == 0
        self._keys = np.empty(self._n_rows if looks else 0, self._key_dtype)
        return Visit(
            self._block_rows,
            self._order,
            self._keys,
            self._floors,
            self._least,
            self._bounds,
            shrink,
            drift,
            levels,
            peaks,
            self._in_statistics * self._tile_weight * np.exp(parameters.log_weights),
        )

    def learn_from_all(self, counted):
        """Take note of what ``em_pass`` counted."""
        self._passes += 1
        if self._possible and not self.skips and self._passes >= self._next_look:
            n_sampled, n_shares = counted.tolist()
            pairs = self._n_tiles * self._n_components * n_shares
            if pairs <= _PROMISING * self._most_pairs * n_sampled:
                self._start()

    def learn(self, counted):
        """Take note of what ``skipping_pass`` counted."""
        self._passes += 1
        self._since += 1
        # Judged before anything is sorted anew, which begins anew: all is evaluated in the first
        # passes then, so that rows whose order never settles would be sorted for ever.
        if self._since > 2:
            unprofitable = counted.sum() > 2 * self._most_pairs
            self._failures = self._failures + 1 if unprofitable else 0
            if self._failures == 2:
                self._next_look = 4 * self._passes
                self._stop()
                return
        if len(self._keys):
            self._sort(self._keys)
            self._keys = None
