"""What the passes over dense and CSR rows share."""

from typing import NamedTuple

import numpy as np

from fastem.kernels.bernoulli.driver import bernoulli_pass
from fastem.kernels.bernoulli.tables import GROUP
from fastem.kernels.runtime.arrays import as_weights, unless_ones, wanted
from fastem.kernels.runtime.chunks import ceil_div, round_up
from fastem.kernels.runtime.parallel import run
from fastem.kernels.vectors.machine import TILE

# Chunks at most, and at least if their sums would take more than this share of the rows' memory.
_MOST_CHUNKS, _FEWEST_CHUNKS, _TOTALS_SHARE = 64, 4, 1 / 4

# A batch's values take up to so many bytes of a core's cache, but its rows must be worth the making
# of their tables.
_BATCH_BYTES, _FEWEST_ROWS = 1 << 17, 256


class BernoulliComponents(NamedTuple):
    """A mixture's parameters as log-probabilities, which may be -inf.

    Parameters
    ----------
    log_weights : ndarray of shape (n_components,), float64
    absent, present : ndarray of shape (n_components, n_features), float64
        Of a feature being zero, and one.
    """

    log_weights: np.ndarray
    absent: np.ndarray
    present: np.ndarray

    @classmethod
    def of(cls, weights: np.ndarray, probabilities: np.ndarray) -> "BernoulliComponents":
        """From the weights and the probabilities of ones."""
        with np.errstate(divide="ignore"):
            return cls(np.log(weights), np.log1p(-probabilities), np.log(probabilities))


class BernoulliStatistics(NamedTuple):
    """What the M-step needs of the rows; the statistics of two parts of the data add up.

    Parameters
    ----------
    objective : float
        Sum of ``w * log p(x)``, or of the greatest ``w * log(weight * density)`` for hard
        assignments.
    counts : ndarray of shape (n_components,)
        Sums of ``w * gamma``, where ``gamma`` are the responsibilities.
    sums : ndarray of shape (n_components, n_features)
        Sums of ``w * gamma * x``.
    """

    objective: float
    counts: np.ndarray
    sums: np.ndarray


def grouped(values: np.ndarray, width: int) -> np.ndarray:
    """Values (n_components, n_features) as the kernels take them.

    Groups of ``GROUP`` components, in each the features up to ``width``, in each a vector over the
    group; zeros where there is no such component or feature.
    """
    n_components, n_features = values.shape
    groups = np.zeros((ceil_div(n_components, GROUP), width, GROUP))
    for group, first in enumerate(range(0, n_components, GROUP)):
        some = values[first : first + GROUP]
        groups[group, :n_features, : len(some)] = some.T
    return groups.ravel()


def summed_groups(totals: np.ndarray, shape: tuple[int, int], width: int) -> np.ndarray:
    """The sum of several arrays that :func:`grouped` has laid out, as an array of its ``shape``."""
    (n_components, n_features), sums = shape, np.empty(shape)
    groups = totals.reshape(len(totals), -1, width, GROUP)
    # A group stays in the cache: two thirds of the time for 300 components of 8,000 features.
    for group, first in enumerate(range(0, n_components, GROUP)):
        total = groups[:, group].sum(axis=0)
        sums[first : first + GROUP] = total[:n_features, : n_components - first].T
    return sums


class BernoulliPass:
    """Passes over the rows of one part.

    Attributes
    ----------
    rows : ndarray or tuple
        The rows as the subclass takes them.
    """

    # Set by the subclasses: slots for features in the sums, float64 values that the kernels need,
    # and rows of a chunk below which there is nothing to gain.
    _width: int
    _scratch_size: int
    _least_chunk: int
    # Rows of a batch at least, if a chunk has as many.
    _fewest_rows = _FEWEST_ROWS

    def __init__(self, rows, n_rows, n_features, sample_weight, n_components, nbytes):
        self.rows = rows
        self._n_rows = n_rows
        self._n_features = n_features
        self._n_components = n_components
        self._n_groups = ceil_div(n_components, GROUP)
        self._weight = as_weights(unless_ones(sample_weight))
        total_bytes = 8 * GROUP * self._n_groups * self._width
        most = int(np.clip(_TOTALS_SHARE * nbytes / total_bytes, _FEWEST_CHUNKS, _MOST_CHUNKS))
        least = min(max(n_rows // 8, 512), self._least_chunk)
        self._chunk_rows, self._n_chunks = _split(n_rows, max(ceil_div(n_rows, most), least))
        batch = max(_BATCH_BYTES // (8 * GROUP * self._n_groups), self._fewest_rows)
        self._batch_rows, _ = _split(self._chunk_rows, batch)

    def e_step(self, parameters, hard=False):
        """One E-step, and the statistics for the M-step.

        Parameters
        ----------
        parameters : BernoulliComponents
        hard : bool
            Whether every row belongs to its most probable component alone.

        Returns
        -------
        BernoulliStatistics
        """
        k = self._n_components
        totals = np.empty((self._n_chunks, self._n_groups * self._width * GROUP))
        counts, objective = np.empty((self._n_chunks, k)), np.empty(self._n_chunks)
        self._run(parameters, hard, totals, counts, objective, wanted())
        sums = summed_groups(totals, (k, self._n_features), self._width)
        return BernoulliStatistics(float(objective.sum()), counts.sum(axis=0), sums)

    def evaluate(self, parameters, **outputs):
        """Fill the given arrays, one value or one row of values for every row of the data.

        Parameters
        ----------
        parameters : BernoulliComponents
        log_density : ndarray of shape (n_rows,), float64
        labels : ndarray of shape (n_rows,), int64
            The most probable component.
        responsibilities : ndarray of shape (n_rows, n_components), float64
        log_joint : ndarray of shape (n_rows, n_components), float64
            The logarithms of weight times density.
        """
        none = np.empty((0, 0))
        self._run(parameters, False, none, none, np.empty(0), wanted(**outputs))

    def _run(self, parameters, hard, totals, counts, objective, outputs):
        run(
            bernoulli_pass,
            self._n_chunks,
            self._chunk_rows,
            self._batch_rows,
            self._scratch_size,
            self.rows,
            self._n_rows,
            self._weight,
            self._pack(parameters),
            hard,
            totals,
            counts,
            objective,
            outputs,
        )

    def _pack(self, parameters):
        """The parameters as the kernels take them: a NamedTuple with ``log_weights``."""
        raise NotImplementedError


def _split(n_rows, size):
    """Rows and number of chunks of about equal size, up to ``size`` rounded up to whole tiles."""
    n_chunks = max(1, ceil_div(n_rows, round_up(size, TILE)))
    rows = ceil_div(n_rows, n_chunks * TILE) * TILE
    return max(rows, TILE), max(1, ceil_div(n_rows, max(rows, TILE)))
