"""Decides when a part's rows are sorted and its passes skip; see ``skipping.py`` for how."""

import numpy as np

from fastem.kernels.gaussian.skipping import OFFSET, ROUNDING, Visit
from fastem.kernels.gaussian.sorting import sort_pass
from fastem.kernels.parallel import run
from fastem.kernels.simd import LANES, TILE

# The share of the rows' densities and of a component's statistics that is as good as none.
_NEGLIGIBLE = {np.dtype(np.float32): 1e-9, np.dtype(np.float64): 1e-13}

# For sorting, a chunk should have two tiles' rows of a component; the order's dtype limits it.
_ROWS_PER_COMPONENT, _MOST_ROWS, _FEWEST_CHUNKS = 2 * TILE, 1 << 16, 16

# Order and bounds take up to this share of the data's memory.
_MEMORY = 1 / 4

# Skipping is tried where rows have a share in at most this part of the components, and given up
# where more than that part of the work remains.
_PROMISING, _UNPROFITABLE = 1 / 4, 3 / 4

# It pays from so many components on, and where a pass is some milliseconds' work.
_FEWEST_COMPONENTS, _LEAST_WORK = 4, 1 << 26


def wanted_rows(n_rows, n_components):
    """Rows of a chunk from which on sorting it makes tiles of one component."""
    rows = min(_ROWS_PER_COMPONENT * n_components, n_rows // _FEWEST_CHUNKS, _MOST_ROWS)
    return rows // TILE * TILE


class Visitor:
    """How the passes visit the rows of a part.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    n_components, chunk_rows, n_chunks : int
    work : int
        Multiplications of a pass.
    mean_weight : float
        The rows' mean weight.

    Attributes
    ----------
    promising : bool
        Whether the next pass may skip, once the rows are sorted.
    """

    def __init__(self, X, n_components, chunk_rows, n_chunks, work, mean_weight):
        self._n_rows, self._n_components = len(X), n_components
        self._chunk_rows, self._n_chunks = chunk_rows, n_chunks
        self._width = -(-n_components // LANES) * LANES
        self._n_tiles = -(-len(X) // TILE)
        self._negligible = _NEGLIGIBLE[X.dtype]
        self._tile_weight = mean_weight * TILE
        memory = 2 * len(X) + self._n_tiles * (4 * self._width + 8)
        self._possible = (
            n_components >= _FEWEST_COMPONENTS
            and chunk_rows <= _MOST_ROWS
            and work >= _LEAST_WORK
            and memory <= _MEMORY * X.nbytes
        )
        self._passes, self._next_look = 0, 1
        self._give_up()

    def _give_up(self):
        self.promising = self.is_sorted = False
        self._order = self._n_mixed = self._bounds = self._guesses = self._last = None

    def sort(self, labels):
        """Have the rows visited label by label.

        Parameters
        ----------
        labels : ndarray of shape (n_rows,), int32
        """
        self._order = np.empty(self._n_rows, np.uint16)
        self._n_mixed = np.zeros(self._n_chunks, np.int64)
        run(
            sort_pass,
            self._n_chunks,
            self._n_chunks,
            self._chunk_rows,
            labels,
            self._n_components,
            self._order,
            self._n_mixed,
        )
        self._bounds = np.zeros(self._n_tiles * self._width, np.float32)
        self._guesses = np.full(self._n_tiles, -np.inf)
        self.is_sorted = True
        self._since = self._failures = 0

    def plan(self, parameters, packed, movement):
        """The next pass's visit of the sorted rows.

        Parameters
        ----------
        parameters : Parameters
        packed : NamedTuple
            The same, as the kernels take them.
        movement : callable
            ``GaussianPass._movement``.
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
            level = packed.constants - parameters.log_weights
            level += OFFSET - np.log(self._negligible)
            levels[:k] = np.where(np.isfinite(level), level, -np.inf)
        self._last = parameters
        return Visit(
            self._since & (self._since - 1) == 0,  # powers of two
            self._order,
            self._n_mixed,
            self._bounds,
            self._guesses,
            shrink,
            drift,
            levels,
            self._negligible * self._tile_weight * np.exp(parameters.log_weights),
        )

    def learn_from_all(self, counted):
        """Take note of what ``em_pass`` counted."""
        self._passes += 1
        if self._possible and self._passes >= self._next_look:
            self._next_look = 2 * self._passes
            n_sampled, n_shares = counted.tolist()
            self.promising = n_shares <= _PROMISING * n_sampled

    def learn(self, counted):
        """Take note of what ``skipping_pass`` counted."""
        self._passes += 1
        self._since += 1
        if self._since > 1:  # all was evaluated in the first pass
            unprofitable = counted.sum() > 2 * _UNPROFITABLE * self._n_tiles * self._n_components
            self._failures = self._failures + 1 if unprofitable else 0
            if self._failures == 2:
                self._next_look = 4 * self._passes
                self._give_up()
