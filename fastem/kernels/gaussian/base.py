"""What the passes of all covariance types share; one short file for each type has the rest."""

import math
from typing import NamedTuple

import numpy as np

from fastem.kernels.gaussian.driver import em_pass, evaluate_pass
from fastem.kernels.gaussian.skipping import skipping_pass
from fastem.kernels.gaussian.visiting import Visitor
from fastem.kernels.runtime.arrays import as_weights, read_only, wanted
from fastem.kernels.runtime.chunks import row_chunks, summing_chunks
from fastem.kernels.runtime.parallel import run
from fastem.kernels.vectors.machine import LANES

# What a batch of tiles may take of a core's cache, in bytes, and its most tiles.
_BATCH_BYTES, _MOST_TILES = 1 << 18, 8


class GaussianComponents(NamedTuple):
    """A mixture's parameters, all float64.

    Parameters
    ----------
    log_weights : ndarray of shape (n_components,)
    means : ndarray of shape (n_components, n_features)
        In the data's coordinates.
    precisions_cholesky : ndarray
        "full": (n_components, n_features, n_features), upper triangular matrices P such that
        ``(x - mean) @ P`` has unit covariance; "tied": one such matrix; "diag": (n_components,
        n_features), "spherical": (n_components,), "tied_diag": (n_features,) and
        "tied_spherical": (), the reciprocals of the standard deviations.
    """

    log_weights: np.ndarray
    means: np.ndarray
    precisions_cholesky: np.ndarray


class GaussianStatistics(NamedTuple):
    """What the M-step needs of the rows; the statistics of two parts of the data add up.

    ``gamma`` are the responsibilities and ``c`` the centres, the means unless others are given.

    Parameters
    ----------
    objective : float
        Sum of ``w * log p(x)``, or of the greatest ``w * log(weight * density)`` for hard
        assignments; 0 for given labels.
    counts : ndarray of shape (n_components,)
        Sums of ``w * gamma``.
    sums : ndarray of shape (n_components, n_features)
        Sums of ``w * gamma * (x - c)``.
    scatter : ndarray
        Sums of ``w * gamma * (x - c)(x - c)^T``. "full": (n_components, n_features, n_features);
        "diag": the diagonals, (n_components, n_features); "spherical": the traces,
        (n_components,). Added up over the components for "tied": (n_features, n_features),
        "tied_diag": (n_features,) and "tied_spherical": ().
    """

    objective: float
    counts: np.ndarray
    sums: np.ndarray
    scatter: np.ndarray


class GaussianPass:
    """Passes over the rows of one part, for one covariance type.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64, C-contiguous
    sample_weight : None or ndarray of shape (n_rows,), float64
    n_components : int
    """

    def __init__(self, X, sample_weight, n_components):
        n_features = X.shape[1]
        self._rows = read_only(X)
        self._weight = as_weights(sample_weight)
        self._n_components = n_components
        self._totals_size = self._size_of_totals(n_components, n_features)
        work = n_components * self._work(n_features)
        self._chunk_rows, self._n_chunks = summing_chunks(X, work, self._totals_size)
        tile_bytes = 64 * X.itemsize * (2 * n_features + n_components)
        self._batch = int(np.clip(_BATCH_BYTES // tile_bytes, 1, _MOST_TILES))
        mean_weight = 1.0 if sample_weight is None else float(np.mean(sample_weight))
        self._visitor = Visitor(X, n_components, self._work(n_features), mean_weight)

    def step(self, parameters, centers=None, hard=False, skip=True):
        """One E-step, and the statistics for the M-step.

        Parameters
        ----------
        parameters : GaussianComponents
        centers : None or ndarray of shape (n_components, n_features), float64
            What the statistics are about; None stands for the means.
        hard : bool
            Whether every row belongs to its most probable component alone.
        skip : bool
            Whether components may be left out where their share is negligible.

        Returns
        -------
        GaussianStatistics
        """
        packed = self._pack(parameters)
        centers = parameters.means if centers is None else centers
        if skip and self._visitor.skips:
            return self._skipping_step(parameters, packed, centers, hard)
        totals, objective, counted = self._pass_over_all(packed, centers, hard=hard)
        self._visitor.learn_from_all(counted)
        return self._statistics(totals, objective, packed)

    def _skipping_step(self, parameters, packed, centers, hard):
        visit = self._visitor.plan(parameters, self._peaks(parameters), self._movement)
        shift = self._shift(packed)
        totals, objective, counted = self._pass(skipping_pass, packed, centers, shift, hard, visit)
        self._visitor.learn(counted)
        return self._statistics(totals, objective, packed)

    def _statistics(self, totals, objective, packed):
        log_density, weight = objective
        return GaussianStatistics(log_density + packed.reference * weight, *self._unpack(totals))

    def _pass_over_all(self, packed, centers, labels=(), hard=False):
        labels = read_only(np.ascontiguousarray(labels, np.int32))
        numbers = np.arange(max(self._n_components, self._batch))
        return self._pass(em_pass, packed, centers, labels, hard, numbers)

    def _pass(self, body, packed, centers, *options):
        """The sums of a pass' totals, and of what else it finds."""
        totals = np.empty((self._n_chunks, self._totals_size))
        objective = np.zeros((self._n_chunks, 2))
        counted = np.zeros((self._n_chunks, 2), np.int64)
        run(
            body,
            self._n_chunks,
            self._chunk_rows,
            self._batch,
            self._scratch_size(self._batch),
            self._rows,
            self._weight,
            packed,
            self._split(centers),
            *options,
            totals,
            objective,
            counted,
        )
        return totals.sum(axis=0), objective.sum(axis=0), counted.sum(axis=0)

    def from_labels(self, labels, centers):
        """The statistics of rows that belong to one component each.

        Parameters
        ----------
        labels : ndarray of shape (n_rows,), int32
            Each row's component; -1 for none.
        centers : ndarray of shape (n_components, n_features), float64

        Returns
        -------
        GaussianStatistics
            With an objective of 0.
        """
        packed = self._pack(self._standard_parameters(centers))
        totals, _, _ = self._pass_over_all(packed, centers, labels)
        return GaussianStatistics(0.0, *self._unpack(totals))

    def evaluate(self, parameters, **outputs):
        """Fill the given arrays, one value or one row of values for every row of the data.

        Parameters
        ----------
        parameters : GaussianComponents
        log_density : ndarray of shape (n_rows,), the data's dtype
        labels : ndarray of shape (n_rows,), int32 or int64
            The most probable component.
        responsibilities : ndarray of shape (n_rows, n_components), the data's dtype
        log_joint : ndarray of shape (n_rows, n_components), the data's dtype
            The logarithms of weight times density.
        """
        self._evaluate(self._pack(parameters), **outputs)

    def _evaluate(self, packed, **outputs):
        chunk_rows, n_chunks = row_chunks(*self._work_of_rows())
        run(
            evaluate_pass,
            n_chunks,
            chunk_rows,
            self._scratch_size(1),
            self._n_components,
            self._rows,
            self._shift(packed),
            packed,
            *wanted(**outputs, dtype=self._rows.dtype),
        )

    def _shift(self, packed):
        """What rows to be evaluated are shifted by, and as many zeros as a vector has lanes."""
        return read_only(np.zeros(self._rows.shape[1] + LANES, self._rows.dtype))

    def _work_of_rows(self):
        n_rows, n_features = self._rows.shape
        return n_rows, self._n_components * self._work(n_features)

    def _split(self, points):
        """Points as the rows' dtype holds them, and the remainders."""
        points = np.asarray(points, np.float64)
        high = points.astype(self._rows.dtype)
        return np.stack([high, (points - high).astype(self._rows.dtype)])

    def _standard_parameters(self, means):
        """Some parameters, where only the shapes matter."""
        raise NotImplementedError

    def _movement(self, old, new):
        """Bounds on what becomes of Mahalanobis distances from one pass's parameters to the next.

        Parameters
        ----------
        old, new : GaussianComponents

        Returns
        -------
        shrink, drift : ndarray of shape (n_components,)
            No row is nearer than ``shrink`` times its old distance, minus ``drift``.
        """
        raise NotImplementedError

    def _work(self, n_features):
        """Multiplications for a row and a component."""
        raise NotImplementedError

    def _size_of_totals(self, n_components, n_features):
        raise NotImplementedError

    def _scratch_size(self, n_tiles):
        """Values that the kernels of this type need beside a batch of tiles."""
        raise NotImplementedError

    def _peaks(self, parameters):
        """The log-densities at the means, weights included."""
        raise NotImplementedError

    def _pack(self, parameters):
        """The parameters as the kernels take them, a NamedTuple of the type's own.

        It has a float ``reference``, relative to which log-densities are.
        """
        raise NotImplementedError

    def _unpack(self, totals):
        """Counts, sums and scatter from the layout of the totals."""
        raise NotImplementedError


def relative(constants, dtype):
    """Constants relative to the greatest, in the rows' dtype, and the greatest."""
    reference = float(constants.max())
    if not math.isfinite(reference):
        reference = 0.0
    return (constants - reference).astype(dtype), reference
