"""The nearest of some points for every row, for Python and for a user's compiled code.

The vector kernels compare in float32; where the bound on their rounding leaves it open which point
is the nearest, float64 decides.
"""

import math
from typing import NamedTuple

import numpy as np

from fastem.kernels.distances.one_row import direct_distance
from fastem.kernels.distances.rounding import (
    WIDE,
    nearest_exactly,
    rounding_error,
    undecided_lanes,
)
from fastem.kernels.distances.tile_nearest import BLOCK, nearest_two, squared_norms
from fastem.kernels.runtime.arrays import large_empty
from fastem.kernels.runtime.chunks import row_chunks
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.inputs import as_pair, compiled_as
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.tiles import aligned_empty, load_tile
from fastem.kernels.vectors.vector import first_bit


class _Packed(NamedTuple):
    """The rows of Y as ``nearest_two`` and ``nearest_exactly`` take them; see there.

    ``points`` are the rows in float64.
    """

    scale: float
    shift: np.ndarray
    negated: np.ndarray
    half_norms: np.ndarray
    order: np.ndarray
    points: np.ndarray
    exact: np.ndarray
    rounding: float
    radius: float


_rounding_error = inline(rounding_error)


@kernel
def pack(Y):
    """The rows of Y as the pass takes them."""
    n_centers, n_features = Y.shape
    points = Y.astype(np.float64)
    origin = np.zeros(n_features)
    reach = 0.0
    for j in range(n_centers):
        for f in range(n_features):
            origin[f] += points[j, f] / n_centers
    for f in range(n_features):
        # As exact in the rows' dtype as they are.
        mean = np.float64(Y.dtype.type(origin[f]))
        origin[f] = mean if np.isfinite(mean) else 0.0
    for j in range(n_centers):
        for f in range(n_features):
            reach = max(reach, abs(points[j, f] - origin[f]))
    # A power of two that brings the points to about 1, and is a normal number in the rows' dtype.
    exponent = math.frexp(reach)[1] if 0 < reach < np.inf else 0
    limit = 126 if Y.itemsize == 4 else 1000
    scale = math.ldexp(1.0, max(-limit, min(limit, -exponent)))
    shift = np.zeros(n_features + LANES, Y.dtype)
    for f in range(n_features):
        shift[f] = -origin[f] * scale
    negated = np.zeros((n_centers + 1, n_features), np.float32)
    half_norms = np.full(n_centers + 1, np.float32(np.inf))
    greatest = 0.0
    for j in range(n_centers):
        square = 0.0
        for f in range(n_features):
            value = np.float32((points[j, f] - origin[f]) * scale)
            negated[j, f] = -value
            square += np.float64(value) * np.float64(value)
        half_norms[j] = 0.5 * square
        greatest = max(greatest, square)
    order = np.full((n_centers + BLOCK - 1) // BLOCK * BLOCK, n_centers, np.int32)
    order[:n_centers] = np.arange(n_centers)
    exact = points if n_features >= WIDE else np.ascontiguousarray(points.T)
    rounding = np.float64(_rounding_error(n_features))
    radius = math.sqrt(greatest) * 1.001
    return _Packed(scale, shift, negated, half_norms, order, points, exact, rounding, radius)


@kernel
def nearest_pass(tickets, n_chunks, chunk_rows, X, packed, labels, distances):
    """Write what :func:`nearest` returns.

    Parameters
    ----------
    X : array of shape (n_rows, n_features)
    packed : _Packed
    labels : int32 array of shape (n_rows,)
    distances : array of shape (n_rows,), in the rows' dtype
    """
    n_rows, n_features = X.shape
    tile = aligned_empty(n_features * TILE)
    norms, best, second = aligned_empty(TILE), aligned_empty(TILE), aligned_empty(TILE)
    nearest = np.empty(TILE, np.int32)
    scratch = np.empty(len(packed.points))
    scale = X.dtype.type(packed.scale)
    rounding, radius = np.float32(packed.rounding), np.float32(packed.radius)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for first in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows), TILE):
            load_tile(X, first, scale, packed.shift, tile)
            squared_norms(tile, n_features, norms)
            nearest_two(
                tile,
                n_features,
                packed.negated,
                packed.half_norms,
                packed.order,
                0,
                len(packed.order),
                best,
                second,
                nearest,
            )
            undecided = undecided_lanes(norms, best, second, rounding, radius)
            while undecided != np.uint64(0):
                lane = np.intp(first_bit(undecided))
                undecided &= undecided - np.uint64(1)
                row = min(first + lane, n_rows - 1)
                nearest[lane], _ = nearest_exactly(packed, X, row, scratch)
            for lane in range(min(TILE, n_rows - first)):
                row = first + lane
                labels[row] = nearest[lane]
                distances[row] = direct_distance(X, row, packed.points, nearest[lane])


def nearest(X: np.ndarray, Y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every row of X the nearest row of Y, and the squared Euclidean distance to it.

    Rows are compared in float32 with a proven bound on the rounding, and those that this can't
    decide in float64, so that the labels are those that float64 arithmetic gives for float32 data
    too. Callable from Python and from functions under ``@njit``, where it takes 2-D arrays and runs
    on the calling thread. Besides its output it needs up to three times the memory of Y.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features)
    Y : array-like of shape (n_others, n_features)
        Of at least one row.

    Returns
    -------
    labels : ndarray of shape (n_rows,), int32
        The nearest row's number; among equally near rows the lowest. Rows of Y that aren't finite
        are farther than all others; 0 for rows of X that aren't.
    distances : ndarray of shape (n_rows,)
        Squared distances, by direct differences in float64; float32 if both are, else float64.

    Raises
    ------
    ValueError
        If an argument is not a 2-D array of real numbers, their features differ in number or there
        are none, or Y has no rows.
    """
    X, Y = as_pair(X, Y, True)
    labels, distances = np.empty(len(X), np.int32), np.empty(len(X), X.dtype)
    chunk_rows, n_chunks = row_chunks(len(X), X.shape[1] * len(Y))
    run(nearest_pass, n_chunks, chunk_rows, X, pack(Y), labels, distances)
    return labels, distances


@kernel
def _nearest_serial(X, Y):
    X, Y = as_pair(X, Y, True)
    labels, distances = large_empty(len(X), np.int32), large_empty(len(X), X.dtype)
    nearest_pass(np.zeros(1, np.int64), 1, max(len(X), 1), X, pack(Y), labels, distances)
    return labels, distances


compiled_as(nearest, _nearest_serial)
