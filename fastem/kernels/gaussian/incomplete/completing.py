"""From sums over what was observed to those over rows whose gaps are filled, for one pattern.

Given what was observed, ``x_o``, the rest has the mean ``m_r + B (x_o - m_o)`` and the covariance
``C = S_rr - B S_or`` with ``B = S_ro S_oo^-1``: linear, so that a pattern's sums over ``x_o`` tell
all that EM wants of its rows. The upper triangular P with ``P P' = S_oo^-1`` is at hand from the
log-densities.
"""

from fastem.kernels.linalg.factors import factor_inverse
from fastem.kernels.runtime.compiling import inline


@inline
def factor_observed(covariance, columns, n, gathered, factor, row):
    """P of the ``n`` columns that were observed; whether their covariance is positive definite.

    ``gathered`` and ``row`` are scratch.
    """
    for i in range(n):
        for j in range(n):
            gathered[i, j] = covariance[columns[i], columns[j]]
    return factor_inverse(gathered[:n, :n], factor[:n, :n], row)


@inline
def regress(covariance, columns, n, n_features, factor, whitened, slopes):
    """``S_ro P`` and the slopes ``B = S_ro P P'``, a row for each column that is missing."""
    for i in range(n, n_features):
        for q in range(n):
            whitened[i, q] = 0.0
            slopes[i, q] = 0.0
        for q in range(n):
            value = covariance[columns[i], columns[q]]
            for j in range(q, n):
                whitened[i, j] += value * factor[q, j]
        for q in range(n):
            total = 0.0
            for j in range(q, n):
                total += whitened[i, j] * factor[q, j]
            slopes[i, q] = total


@inline
def add_completed(
    covariance, columns, n, n_features, whitened, slopes, count, sums, products, work, out
):
    """Add a component's sums, completed, to those of all rows of the chunk.

    Parameters
    ----------
    count : float
    sums, products : array
        Of ``x_o - m_o``, for the first ``n`` features in the order of ``columns``.
    work : array of shape (n_features,)
        Scratch.
    out : array
        The component's totals: count, sums, where it was observed, and scatter (n_features,
        n_features), row after row.
    """
    out[0] += count
    scatter = out[1 + 2 * n_features :]
    for i in range(n):
        at = columns[i]
        out[1 + at] += sums[i]
        out[1 + n_features + at] += count
        for j in range(n):
            scatter[at * n_features + columns[j]] += products[i, j]
    for i in range(n, n_features):
        at = columns[i]
        total = 0.0
        for q in range(n):
            total += slopes[i, q] * sums[q]
            work[q] = 0.0
        out[1 + at] += total
        for q in range(n):
            slope = slopes[i, q]
            for j in range(n):
                work[j] += slope * products[q, j]
        for q in range(n):
            scatter[at * n_features + columns[q]] += work[q]
            scatter[columns[q] * n_features + at] += work[q]
        for other in range(n, n_features):
            total = covariance[at, columns[other]]
            value = 0.0
            for q in range(n):
                total -= whitened[i, q] * whitened[other, q]
                value += work[q] * slopes[other, q]
            scatter[at * n_features + columns[other]] += value + count * total
