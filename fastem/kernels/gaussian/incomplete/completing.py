"""From sums over what was observed to those over rows whose gaps are filled, for one pattern.

Given what was observed, ``x_o``, the rest has the mean ``m_r + B (x_o - m_o)`` and the covariance
``C = S_rr - B S_or`` with ``B = S_ro S_oo^-1``: linear, so that a pattern's sums over ``x_o`` tell
all that EM wants of its rows. The upper triangular P with ``P P' = S_oo^-1`` is at hand from the
log-densities. Components are lanes, as in ``factoring.py``.
"""

import numpy as np

from fastem.kernels.gaussian.incomplete.factoring import ABREAST
from fastem.kernels.gaussian.incomplete.solving import place
from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.vector import broadcast, load, multiply_add, store, where


@inline
def size_of_completed(n_features):
    """A component's count, sums, where it was observed, and scatter's lower triangle."""
    return 1 + 2 * n_features + place(n_features, 0)


def unpack_completed(totals, n_features):
    """Counts, sums, where something was observed, and scatter.

    ``totals`` are of shape (size_of_completed(n_features), n_components).
    """
    count, sums, observed, triangle = np.split(
        np.ascontiguousarray(totals.T), np.cumsum([1, n_features, n_features]), axis=1
    )
    rows, columns = np.tril_indices(n_features)
    scatter = np.empty((len(count), n_features, n_features))
    scatter[:, rows, columns] = scatter[:, columns, rows] = triangle
    return count[:, 0], sums, observed, scatter


@inline
def _add(value, totals, at):
    store(load(totals, at, ABREAST) + value, totals, at)


@inline
def regress(covariances, columns, n, n_features, stride, lane, factors, count, whitened, slopes):
    """``S_ro P`` and the slopes ``B = S_ro P P'``, a row for each column that is missing.

    Zeros where nothing is counted, lest factors that mean nothing be.
    """
    zero = broadcast(0.0, ABREAST)
    counted = zero < count
    for i in range(n, n_features):
        at = columns[i] * n_features
        for j in range(n):
            total = zero
            for q in range(j + 1):
                left = load(covariances, (at + columns[q]) * stride + lane, ABREAST)
                right = load(factors, (q * n_features + j) * stride + lane, ABREAST)
                total = multiply_add(left, right, total)
            store(where(counted, total, zero), whitened, (i * n_features + j) * ABREAST)
        for q in range(n):
            total = zero
            for j in range(q, n):
                left = load(whitened, (i * n_features + j) * ABREAST, ABREAST)
                right = load(factors, (q * n_features + j) * stride + lane, ABREAST)
                total = multiply_add(left, right, total)
            store(where(counted, total, zero), slopes, (i * n_features + q) * ABREAST)


@inline
def add_completed(
    covariances, columns, n, n_features, stride, lane, whitened, slopes, sums, work, totals
):
    """Add the components' sums, completed, to those of all rows of the chunk.

    Parameters
    ----------
    sums : array
        The count, and of ``x_o - m_o`` the sums and the products' lower triangle, row after row.
    work : array of shape (n_features * ABREAST,)
        Scratch.
    totals : array
        As for :func:`unpack_completed`.
    """
    zero = broadcast(0.0, ABREAST)
    count = load(sums, lane, ABREAST)
    products, scatter = 1 + n, 1 + 2 * n_features
    _add(count, totals, lane)
    for i in range(n):
        at = columns[i]
        _add(load(sums, (1 + i) * stride + lane, ABREAST), totals, (1 + at) * stride + lane)
        _add(count, totals, (1 + n_features + at) * stride + lane)
        for j in range(i + 1):
            value = load(sums, (products + place(i, j)) * stride + lane, ABREAST)
            _add(value, totals, (scatter + place(at, columns[j])) * stride + lane)
    for i in range(n, n_features):
        at = columns[i]
        total = zero
        for q in range(n):
            slope = load(slopes, (i * n_features + q) * ABREAST, ABREAST)
            total = multiply_add(slope, load(sums, (1 + q) * stride + lane, ABREAST), total)
        _add(total, totals, (1 + at) * stride + lane)
        for j in range(n):
            total = zero
            for q in range(n):
                pair = place(q, j) if j <= q else place(j, q)
                slope = load(slopes, (i * n_features + q) * ABREAST, ABREAST)
                value = load(sums, (products + pair) * stride + lane, ABREAST)
                total = multiply_add(slope, value, total)
            store(total, work, j * ABREAST)
            pair = place(at, columns[j]) if columns[j] < at else place(columns[j], at)
            _add(total, totals, (scatter + pair) * stride + lane)
        for other in range(n, i + 1):
            total = load(covariances, (at * n_features + columns[other]) * stride + lane, ABREAST)
            value = zero
            for q in range(n):
                left = load(whitened, (i * n_features + q) * ABREAST, ABREAST)
                right = load(whitened, (other * n_features + q) * ABREAST, ABREAST)
                total = multiply_add(zero - left, right, total)
                slope = load(slopes, (other * n_features + q) * ABREAST, ABREAST)
                value = multiply_add(load(work, q * ABREAST, ABREAST), slope, value)
            value = multiply_add(count, total, value)
            _add(value, totals, (scatter + place(at, columns[other])) * stride + lane)
