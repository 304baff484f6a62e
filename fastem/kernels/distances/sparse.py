"""Squared distances from CSR rows to points: a row costs its non-zeros only.

``|x|^2 + |c|^2 - 2 x.c`` loses its digits where rows and points are far from zero and close to each
other. So the sum is taken with a bound on its rounding error, and where this is more than a small
share of the distance, or doesn't tell which point is the nearest, the same sum is made anew in
twofold precision. With ``n`` non-zeros and ``u = 2^-53`` the error is at most ``(n + 4) u`` times
the sum of the terms' magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, 2002,
section 3.1), at most ``2 |x|^2 + 2 |c|^2``; it is taken as ``(n + 4) 2 u (|x|^2 + 2 |c|^2)``.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import types

from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.chunks import row_chunks
from fastem.kernels.runtime.compiling import inline, kernel, variant
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.twofold import add_product, add_value
from fastem.kernels.vectors.vector import (
    broadcast,
    double,
    load,
    multiply_add,
    store,
    sum_of_lanes,
)

# Brings products of values that overflow back into range.
_LESS = 2.0**-600
# Distances with a larger relative error are computed in twofold precision.
TOLERANCE = 2.0**-36
# Sums that are under way at once.
PARTIAL = 16
# Likewise of a row's squares, of which there are few.
_SQUARES = 8


class SparseRows(NamedTuple):
    """A CSR matrix as kernels take it.

    Parameters
    ----------
    data : ndarray of shape (n_stored,), float32 or float64
    indices : ndarray of shape (n_stored,), int32
        The values' features.
    indptr : ndarray of shape (n_rows + 1,), int64
        Where each row begins.
    """

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray


class SparsePacked(NamedTuple):
    """Points as CSR rows are compared with them.

    Parameters
    ----------
    transposed : ndarray of shape (n_features, n_points), float64
    high, low : ndarray of shape (n_points,), float64
        Their squared norms in twofold precision.
    """

    transposed: np.ndarray
    high: np.ndarray
    low: np.ndarray


def sparse_rows(X: Any) -> SparseRows:
    """A CSR matrix as :class:`SparseRows`."""
    return SparseRows(
        read_only(X.data),
        read_only(X.indices.astype(np.int32, copy=False)),
        read_only(X.indptr.astype(np.int64, copy=False)),
    )


@kernel
def _pack(points, transposed, high, low):
    n_points, n_features = points.shape
    for f in range(n_features):
        for j in range(n_points):
            value = np.float64(points[j, f])
            transposed[f, j] = value
            high[j], low[j] = add_product(high[j], low[j], value, value)


def pack_sparse(points: np.ndarray) -> SparsePacked:
    """Points (n_points, n_features), C-contiguous, as :class:`SparsePacked`."""
    packed = SparsePacked(np.empty(points.shape[::-1]), *np.zeros((2, len(points))))
    _pack(read_only(points), *packed)
    return packed


@inline
def twofold_norm(points, j, partial, norms):
    """Write the squared norm of one of several points.

    Parameters
    ----------
    points : float32 or float64 array of shape (n_points, n_features)
    j : int
    partial : float64 scratch of shape (2, PARTIAL)
    norms : float64 array of shape (2, n_points)
        Gets it in twofold precision, high and low.
    """
    n_features = points.shape[1]
    whole = n_features - n_features % PARTIAL
    high = low = broadcast(0.0, PARTIAL)
    for first in range(0, whole, PARTIAL):
        values = double(load(points, j * n_features + first, PARTIAL))
        high, low = add_product(high, low, values, values)
    store(high, partial, 0)
    store(low, partial, PARTIAL)
    for f in range(whole, n_features):
        value = np.float64(points[j, f])
        partial[0, 0], partial[1, 0] = add_product(partial[0, 0], partial[1, 0], value, value)
    total = rest = 0.0
    for lane in range(PARTIAL):
        total, rest = add_value(total, rest + partial[1, lane], partial[0, lane])
    norms[0, j], norms[1, j] = total, rest


@kernel
def _twofold_norms(tickets, n_chunks, points, norms):
    partial = np.empty((2, PARTIAL))
    while True:
        j = next_chunk(tickets)
        if j >= n_chunks:
            return
        twofold_norm(points, j, partial, norms)


def twofold_norms(points: np.ndarray) -> np.ndarray:
    """The squared norms of points (n_points, n_features): (2, n_points), float64, high and low."""
    norms = np.empty((2, len(points)))
    run(_twofold_norms, len(points), read_only(points), norms)
    return norms


@inline
def squared_norm(rows, row):
    """The squared norm of one row."""
    start, stop = rows.indptr[row], rows.indptr[row + 1]
    whole = stop - (stop - start) % _SQUARES
    total, rest = broadcast(0.0, _SQUARES), 0.0
    for i in range(start, whole, _SQUARES):
        values = double(load(rows.data, i, _SQUARES))
        total = multiply_add(values, values, total)
    for i in range(whole, stop):
        value = np.float64(rows.data[i])
        rest += value * value
    return sum_of_lanes(total) + rest


@kernel
def _squared_norms(tickets, n_chunks, chunk_rows, rows, squares):
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for row in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, len(squares))):
            squares[row] = squared_norm(rows, row)


def squared_norms(rows: SparseRows, chunk_rows: int, n_chunks: int) -> np.ndarray:
    """The squared norms of the rows, (n_rows,), float64."""
    squares = np.empty(len(rows.indptr) - 1)
    run(_squared_norms, n_chunks, chunk_rows, rows, squares)
    return squares


@inline
def _plain_distances(rows, row, packed, distances):
    """Write one row's distances; return the share of ``|x|^2 + 2 |c|^2`` they err by, and |x|^2."""
    start, stop = rows.indptr[row], rows.indptr[row + 1]
    n_points = len(packed.high)
    for j in range(n_points):
        distances[j] = packed.high[j]
    square = 0.0
    for i in range(start, stop):
        value, f = np.float64(rows.data[i]), rows.indices[i]
        square += value * value
        twice = 2.0 * value
        for j in range(n_points):
            distances[j] -= twice * packed.transposed[f, j]
    for j in range(n_points):
        distances[j] += square
    return (stop - start + 4) * 2.0**-52, square


@inline
def _above_noise(distance, terms, n_stored):
    """A distance in twofold precision, or 0 where that can't tell it from 0."""
    share = (n_stored + 4) * 2.0**-52
    return 0.0 if distance <= share * share * terms else distance


@inline
def _precise_distances(rows, row, packed, sums):
    """Write one row's distances, summed in twofold precision, to ``sums[0]``."""
    start, stop = rows.indptr[row], rows.indptr[row + 1]
    n_points = len(packed.high)
    for j in range(n_points):
        sums[0, j], sums[1, j] = packed.high[j], packed.low[j]
    high = low = 0.0
    for i in range(start, stop):
        value, f = np.float64(rows.data[i]), rows.indices[i]
        high, low = add_product(high, low, value, value)
        for j in range(n_points):
            sums[0, j], sums[1, j] = add_product(
                sums[0, j], sums[1, j], -2.0 * value, packed.transposed[f, j]
            )
    for j in range(n_points):
        total, rest = add_value(sums[0, j], sums[1, j], high)
        terms = high + 2.0 * packed.high[j]
        sums[0, j] = _above_noise(total + (rest + low), terms, stop - start)


@inline
def distances_of_row(rows, row, packed, sums, distances):
    """Write the squared distances of one row to all points.

    Parameters
    ----------
    rows : SparseRows
    row : int
    packed : SparsePacked
    sums : float64 scratch of shape (2, n_points)
    distances : float64 array of n_points values
    """
    share, square = _plain_distances(rows, row, packed, distances)
    exact = True
    for j in range(len(packed.high)):
        error = share * (square + 2.0 * packed.high[j])
        exact &= error <= TOLERANCE * distances[j]
    if not exact:
        _precise_distances(rows, row, packed, sums)
        for j in range(len(packed.high)):
            error = share * (square + 2.0 * packed.high[j])
            # What one point's distance is doesn't depend on the others.
            if not (error <= TOLERANCE * distances[j]):
                distances[j] = sums[0, j]


@inline
def nearest_to_row(rows, row, packed, sums, distances):
    """The number of the point nearest to one row, the first of equally near ones.

    The parameters are those of :func:`distances_of_row`; ``distances`` is scratch.
    """
    share, square = _plain_distances(rows, row, packed, distances)
    label = _first_least(distances, len(packed.high))
    if not distances[label] < np.inf:
        return _nearest_to_far(rows, row, packed, distances)
    most = distances[label] + share * (square + 2.0 * packed.high[label])
    n_close = 0
    for j in range(len(packed.high)):
        least = distances[j] - share * (square + 2.0 * packed.high[j])
        n_close += not (least > most)
    if n_close > 1:
        _precise_distances(rows, row, packed, sums)
        label = _first_least(sums[0], len(packed.high))
    return label


@inline
def _first_least(distances, n_points):
    label = np.int32(0)
    for j in range(1, n_points):
        if distances[j] < distances[label]:
            label = np.int32(j)
    return label


@inline
def _nearest_to_far(rows, row, packed, scores):
    """As :func:`nearest_to_row` for a row whose squares overflow, from differences and all scaled.

    See ``rounding.nearest_to_far``.
    """
    for j in range(len(packed.high)):
        scores[j] = 0.5 * _LESS * (packed.high[j] - packed.high[0])
    for i in range(rows.indptr[row], rows.indptr[row + 1]):
        value, f = _LESS * np.float64(rows.data[i]), rows.indices[i]
        for j in range(1, len(packed.high)):
            scores[j] -= value * (packed.transposed[f, j] - packed.transposed[f, 0])
    return _first_least(scores, len(packed.high))


def coordinate(points, j, f):
    """The value of a point's feature."""
    raise NotImplementedError("for kernels only")


@variant(coordinate, of=types.Array)
def _dense_coordinate(points, j, f):
    return np.float64(points[j, f])


@inline
def precise_distance_to_one(rows, row, points, norms, j):
    """As :func:`distance_to_one`, in twofold precision as :func:`_precise_distances`."""
    start, stop = rows.indptr[row], rows.indptr[row + 1]
    high, low = norms[0, j], norms[1, j]
    square = rest = 0.0
    for i in range(start, stop):
        value = np.float64(rows.data[i])
        square, rest = add_product(square, rest, value, value)
        high, low = add_product(high, low, -2.0 * value, coordinate(points, j, rows.indices[i]))
    high, low = add_value(high, low, square)
    return _above_noise(high + (low + rest), square + 2.0 * norms[0, j], stop - start)


@inline
def distance_to_one(rows, row, points, norms, j):
    """The squared distance of one row to one point.

    Parameters
    ----------
    rows : SparseRows
    row, j : int
    points : float32 or float64 array of shape (n_points, n_features)
        Or of a class that has a variant of :func:`coordinate`.
    norms : float64 array of shape (2, n_points)
        The points' squared norms in twofold precision, as a ``SparsePacked`` has them.
    """
    start, stop = rows.indptr[row], rows.indptr[row + 1]
    square, distance = 0.0, norms[0, j]
    for i in range(start, stop):
        value, center = np.float64(rows.data[i]), coordinate(points, j, rows.indices[i])
        square += value * value
        difference = value - center
        distance += difference * difference - center * center
    # Twice as many terms of up to twice the size.
    error = (stop - start + 4) * 2.0**-51 * (square + 2.0 * norms[0, j])
    if error <= TOLERANCE * distance:
        return distance
    return precise_distance_to_one(rows, row, points, norms, j)


@kernel
def _all_distances(tickets, n_chunks, chunk_rows, rows, packed, output):
    """Write the squared distances of SparseRows to SparsePacked points, (n_rows, n_points)."""
    n_rows, n_points = output.shape
    sums, distances = np.empty((2, n_points)), np.empty(n_points)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for row in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)):
            distances_of_row(rows, row, packed, sums, distances)
            for j in range(n_points):
                output[row, j] = distances[j]


def sparse_distances(X: Any, points: np.ndarray) -> np.ndarray:
    """Squared distances of all rows of a CSR matrix to points.

    Parameters
    ----------
    X : CSR matrix of shape (n_rows, n_features), float32 or float64
    points : ndarray of shape (n_points, n_features), float64

    Returns
    -------
    ndarray of shape (n_rows, n_points), in the dtype of X
    """
    output = np.empty((X.shape[0], len(points)), X.dtype)
    chunk_rows, n_chunks = row_chunks(len(output), row_work(X, len(points)))
    rows, packed = sparse_rows(X), pack_sparse(np.ascontiguousarray(points))
    run(_all_distances, n_chunks, chunk_rows, rows, packed, output)
    return output


def row_work(X, n_points):
    """About how many multiplications it takes to compare a row of a CSR matrix with points."""
    return X.nnz // max(X.shape[0], 1) * n_points
