"""What the rows of a pattern have in common, found for many components side by side.

Components are lanes: value (i, j) of all of them is at ``[(i * n_features + j) * stride + lane]``,
and lanes behind the last component have the identity. A matrix alone is so small that its pivots'
roots and quotients, each of which waits for the last, take longer than all else.
"""

import math

import numpy as np

from fastem.kernels.runtime.chunks import round_up
from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.elementary import log
from fastem.kernels.vectors.machine import DOUBLES
from fastem.kernels.vectors.vector import broadcast, load, multiply_add, square_root, store, where

#: Components worked on together: two vectors, whose operations need not wait for each other.
ABREAST = 2 * DOUBLES


def across_components(covariances):
    """Matrices of shape (n_components, n_features, n_features) as lanes."""
    n_components, n_features, _ = covariances.shape
    lanes = np.zeros((n_features, n_features, round_up(n_components, ABREAST)))
    lanes[:] = np.eye(n_features)[:, :, np.newaxis]
    lanes[:, :, :n_components] = covariances.transpose(1, 2, 0)
    return lanes.ravel()


@inline
def factor_observed(covariances, columns, n, n_features, stride, lane, factors, log_determinants):
    """Upper triangular P with ``P P' = S_oo^-1``, of the ``n`` columns that were observed.

    Where a covariance isn't positive definite, P is NaN. ``log_determinants`` are P's.
    """
    zero, one = broadcast(0.0, ABREAST), broadcast(1.0, ABREAST)
    infinite, none = broadcast(math.inf, ABREAST), broadcast(math.nan, ABREAST)
    # First U with U' U = S_oo, but for its diagonal, in the place of which are the reciprocals.
    for i in range(n):
        at = columns[i] * n_features
        reciprocal = one
        for j in range(i, n):
            total = load(covariances, (at + columns[j]) * stride + lane, ABREAST)
            for r in range(i):
                left = load(factors, (r * n_features + i) * stride + lane, ABREAST)
                right = load(factors, (r * n_features + j) * stride + lane, ABREAST)
                total = multiply_add(zero - left, right, total)
            if j == i:
                pivot = where((zero < total) & (total < infinite), total, none)
                reciprocal = one / square_root(pivot)
                total = one
            store(total * reciprocal, factors, (i * n_features + j) * stride + lane)
    total, product = zero, one
    for i in range(n - 1, -1, -1):
        reciprocal = load(factors, (i * n_features + i) * stride + lane, ABREAST)
        # Of two that are roots of finite numbers the product is finite.
        product = product * reciprocal
        if i % 2 == 0:
            total = total + log(product)
            product = one
        # From the last column to the first: what is left of U's row is still needed.
        for j in range(n - 1, i, -1):
            value = zero
            for r in range(i + 1, j + 1):
                left = load(factors, (i * n_features + r) * stride + lane, ABREAST)
                right = load(factors, (r * n_features + j) * stride + lane, ABREAST)
                value = multiply_add(left, right, value)
            store(zero - value * reciprocal, factors, (i * n_features + j) * stride + lane)
    store(total, log_determinants, lane)
