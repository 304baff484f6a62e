"""Inverts a covariance matrix for every row of a tile, rows being lanes.

The matrix is bordered by the row's difference from the mean: of ``[[T, d], [d', 0]]`` what is on
and below the diagonal, row after row, value (i, j) at ``matrix[place(i, j) * TILE + lane]``.
Sweeping T out of it leaves ``[[-T^-1, u], [u', -d' u]]`` with ``u = T^-1 d``, which is all that EM
asks of a row: J. H. Goodnight, "A tutorial on the SWEEP operator", The American Statistician 33,
1979.

What a row doesn't have is one feature less. Lanes that differ in what they have all run the same
instructions, so that feature stays, as one of variance 1 that is correlated with nothing and that
does not differ from its mean.
"""

from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.elementary import log
from fastem.kernels.vectors.machine import DOUBLES, TILE
from fastem.kernels.vectors.vector import broadcast, load, multiply_add, store

#: Rows worked on together: four vectors, whose operations need not wait for each other.
WIDTH = min(TILE, 4 * DOUBLES)

# Pivots whose product is taken before their logarithm; units keep it in range.
_TOGETHER = 4


@inline
def place(i, j):
    """Where the value in row i and column j <= i of a triangle is."""
    return i * (i + 1) // 2 + j


@inline
def fill_matrices(tile, seen, errors, n_features, mean, covariance, lane, matrix):
    """A component's bordered matrices for ``WIDTH`` rows.

    Parameters
    ----------
    tile : array of float64
        The rows, zero where nothing was observed.
    seen : array of float64
        One where a value was observed, zero elsewhere.
    errors : array of float64
        Triangles to be added to the covariance, of the identity where nothing was observed; none
        if there are no errors.
    """
    one = broadcast(1.0, WIDTH)
    for i in range(n_features):
        own = load(seen, i * TILE + lane, WIDTH)
        at = place(i, 0)
        for j in range(i + 1):
            value = broadcast(covariance[i, j], WIDTH) * own
            if j < i:
                value = value * load(seen, j * TILE + lane, WIDTH)
            if len(errors):
                value = value + load(errors, (at + j) * TILE + lane, WIDTH)
            elif j == i:
                value = value + (one - own)
            store(value, matrix, (at + j) * TILE + lane)
        value = (load(tile, i * TILE + lane, WIDTH) - broadcast(mean[i], WIDTH)) * own
        store(value, matrix, (place(n_features, 0) + i) * TILE + lane)
    store(broadcast(0.0, WIDTH), matrix, place(n_features, n_features) * TILE + lane)


@inline
def sweep_out(matrix, n_features, lane, column):
    """Sweep the features out of ``WIDTH`` bordered matrices; the logarithms of determinants.

    ``column`` is scratch for ``(n_features + 1) * WIDTH`` values.
    """
    zero, one = broadcast(0.0, WIDTH), broadcast(1.0, WIDTH)
    log_determinant, product = zero, one
    for p in range(n_features):
        pivot = load(matrix, place(p, p) * TILE + lane, WIDTH)
        product = product * pivot
        if p % _TOGETHER == _TOGETHER - 1:
            log_determinant = log_determinant + log(product)
            product = one
        reciprocal = one / pivot
        # Row and column p move out. With -1 in their place, what follows brings them back swept.
        for i in range(n_features + 1):
            at = (place(p, i) if i < p else place(i, p)) * TILE + lane
            value = load(matrix, at, WIDTH)
            store(zero - one if i == p else value, column, i * WIDTH)
            store(zero, matrix, at)
        for i in range(n_features + 1):
            factor = zero - load(column, i * WIDTH, WIDTH) * reciprocal
            at = place(i, 0) * TILE + lane
            for j in range(i + 1):
                value = load(matrix, at + j * TILE, WIDTH)
                value = multiply_add(factor, load(column, j * WIDTH, WIDTH), value)
                store(value, matrix, at + j * TILE)
    return log_determinant + log(product)
