"""Rows that are taken each with a covariance matrix of its own to be inverted."""

import math

import numpy as np

from fastem.kernels.gaussian.incomplete.driver import (
    Mixture,
    observed_pass,
    size_of_totals,
)
from fastem.kernels.gaussian.incomplete.sums import CompletedSums
from fastem.kernels.linalg.factors import product
from fastem.kernels.runtime.arrays import wanted
from fastem.kernels.runtime.chunks import row_chunks, summing_chunks
from fastem.kernels.runtime.parallel import run
from fastem.kernels.vectors.machine import TILE

# What a row and component cost, in the time of other kernels' multiplications: for each cubed
# feature and beside the matrix. From 16 ns of five features, 70 of eight and 580 of twenty.
_CUBED, _OVERHEAD = 3, 512


class RowwisePass:
    """Passes over rows of any pattern and any errors.

    Parameters
    ----------
    rows : Observed
    n_components : int
    shared_noise : ndarray of shape (n_features, n_features), or 0
        The covariance of the errors of all rows.
    """

    def __init__(self, rows, n_components, shared_noise=0.0):
        self._rows = rows
        self._n_rows = len(rows.order) if len(rows.order) else len(rows.X)
        self._n_components = n_components
        self._shared_noise = shared_noise

    def sums(self, log_weights, means, covariances, hard):
        """The rows' CompletedSums; parameters are float64, covariances matrices."""
        X = self._rows.X
        size = self._n_components * size_of_totals(X.shape[1])
        chunk_rows, n_chunks = summing_chunks(X[: self._n_rows], self._work(), size, TILE)
        totals, objective = np.empty((n_chunks, size)), np.empty(n_chunks)
        mixture = self._mixture(log_weights, means, covariances)
        outputs = wanted(dtype=X.dtype)
        run(
            observed_pass,
            n_chunks,
            chunk_rows,
            self._rows,
            mixture,
            hard,
            totals,
            objective,
            outputs,
        )
        totals = totals.sum(axis=0).reshape(self._n_components, -1)
        counts, observed, directions, products = _unpack(totals, mixture.units)
        scatter = product(product(covariances, products), covariances)
        scatter = 0.5 * (scatter + scatter.swapaxes(1, 2))
        return CompletedSums(
            float(objective.sum()),
            counts,
            observed,
            product(covariances, directions[:, :, np.newaxis])[:, :, 0],
            scatter + counts[:, np.newaxis, np.newaxis] * covariances,
        )

    def evaluate(self, log_weights, means, covariances, outputs):
        """Write what is wanted of the rows."""
        chunk_rows, n_chunks = row_chunks(self._n_rows, self._work(), TILE)
        run(
            observed_pass,
            n_chunks,
            chunk_rows,
            self._rows,
            self._mixture(log_weights, means, covariances),
            False,
            np.empty((0, 0)),
            np.empty(n_chunks),
            outputs,
        )

    def _work(self):
        """Multiplications for a row."""
        return self._n_components * (_CUBED * self._rows.X.shape[1] ** 3 + _OVERHEAD)

    def _mixture(self, log_weights, means, covariances):
        """The components in units in which variances are near one."""
        covariances = covariances + self._shared_noise
        variances = np.einsum("kii->ki", covariances).mean(axis=0)
        exponents = np.frexp(np.sqrt(variances))[1]
        units = np.ldexp(1.0, -exponents)
        return Mixture(
            log_weights,
            means * units,
            np.ascontiguousarray(covariances * units * units[:, np.newaxis]),
            units,
            -exponents * math.log(2.0) - 0.5 * math.log(2.0 * math.pi),
        )


def _unpack(totals, units):
    """Counts, what was observed, and sums of ``r u`` and ``r (u u' - T^-1)``."""
    n_features = len(units)
    rows, columns = np.tril_indices(n_features)
    pairs = totals[:, len(rows) : -1].reshape(len(totals), n_features, 2)
    products = np.empty((len(totals), n_features, n_features))
    products[:, rows, columns] = products[:, columns, rows] = totals[:, : len(rows)]
    return (
        totals[:, -1].copy(),
        pairs[:, :, 1].copy(),
        pairs[:, :, 0] * units,
        products * units * units[:, np.newaxis],
    )
