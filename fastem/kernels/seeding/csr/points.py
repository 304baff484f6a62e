"""Up to eight points of few features, as CSR rows are compared with them."""

from typing import NamedTuple

import numpy as np

from fastem.kernels.distances.sparse import (
    TOLERANCE,
    coordinate,
    distance_to_one,
    precise_distance_to_one,
)
from fastem.kernels.runtime.compiling import inline, kernel, variant
from fastem.kernels.runtime.parallel import next_chunk
from fastem.kernels.vectors.machine import DOUBLES
from fastem.kernels.vectors.stored import row_products
from fastem.kernels.vectors.twofold import add_product
from fastem.kernels.vectors.vector import (
    bits,
    broadcast,
    double,
    first_bit,
    load,
    single,
    store,
)

# Points that a pass compares, the table's columns; of up to so few, it has only these.
BATCH, FEW = 8, 4
# A distance that is less by no more than this share, and so much, may not be less but for rounding.
_DOUBT, _LEAST_DOUBT = 2.0**-22, 2.0**-140


class Placed(NamedTuple):
    """Up to eight points as rows are compared with them.

    Parameters
    ----------
    places : int16 or int32 array of shape (n_features,)
        The features' lines in the table: that of zeros, 0, for those that no point has.
    width : int
        The table's columns, ``FEW`` or ``BATCH``.
    table : float64 array
        Lines of so many, the points' values of a feature side by side.
    norms : float64 array of shape (2, 8)
        Their squared norms in twofold precision, infinite behind the last.
    features : int32 array
        The lines' features, behind that of zeros.
    n_lines : int
    """

    places: np.ndarray
    width: int
    table: np.ndarray
    norms: np.ndarray
    features: np.ndarray
    n_lines: int


@variant(coordinate, of=Placed)
def _coordinate(points, j, f):
    return points.table[points.places[f] * points.width + j]


@kernel
def place(rows, listed, placed):
    """Lay out up to eight of some rows as points.

    Parameters
    ----------
    rows : SparseRows
    listed : int64 array
        Their numbers.
    placed : Placed
        As it was left by the points before, which are forgotten; with no lines at first.

    Returns
    -------
    int
        The number of lines.
    """
    places, width, table, norms, features, n_before = placed
    for n in range(1, n_before):
        places[features[n]] = 0
    for j in range(BATCH):
        norms[0, j], norms[1, j] = np.inf, np.inf
    for j in range(width):
        table[j] = 0.0
    n_lines = 1
    for j in range(len(listed)):
        high = low = 0.0
        for i in range(rows.indptr[listed[j]], rows.indptr[listed[j] + 1]):
            value, f = np.float64(rows.data[i]), rows.indices[i]
            if places[f] == 0:
                places[f] = n_lines
                features[n_lines] = f
                for other in range(width):
                    table[n_lines * width + other] = 0.0
                n_lines += 1
            table[places[f] * width + j] = value
            high, low = add_product(high, low, value, value)
        norms[0, j], norms[1, j] = high, low
    return n_lines


@inline
def compare(rows, row, square, unit, near, points, zeros, rounded, distances):
    """Write a row's distances to placed points; return which of them may be less than ``near``.

    The others need not be precise. Behind the last point, ``distances`` has to be finite or
    infinite, and becomes the latter.
    """
    start, stop = rows.indptr[row], rows.indptr[row + 1]
    if points.width == FEW:
        row_products(
            rows.data, rows.indices, points.places, start, stop, -2.0, points.table, 0, FEW,
            zeros, distances, 0,
        )  # fmt: skip
    else:
        row_products(
            rows.data, rows.indices, points.places, start, stop, -2.0, points.table, 0, BATCH,
            zeros, distances, 0,
        )  # fmt: skip
    share = broadcast((stop - start + 4) * 2.0**-52, DOUBLES)
    most = broadcast(near + (_DOUBT * near + _LEAST_DOUBT), DOUBLES)
    units = broadcast(unit, DOUBLES)
    nearer = np.uint64(0)
    for j in range(0, BATCH, DOUBLES):
        norm = load(points.norms, j, DOUBLES)
        squares = norm + broadcast(square, DOUBLES)
        distance = load(distances, j, DOUBLES) + squares
        error = share * (squares + norm)
        blurred = broadcast(TOLERANCE, DOUBLES) * distance < error
        unsure = bits(blurred & ((distance - error) * units < most))
        if unsure != np.uint64(0):
            store(distance, distances, j)
            while unsure != np.uint64(0):
                lane = j + np.intp(first_bit(unsure))
                unsure &= unsure - np.uint64(1)
                distances[lane] = distance_to_one(rows, row, points, points.norms, lane)
            distance = load(distances, j, DOUBLES)
        distance = distance * units
        if rounded:
            distance = double(single(distance))
        store(distance, distances, j)
        nearer |= bits(distance < most) << np.uint64(j)
    return nearer


@inline
def renew(row, distance, seed, closest, labels):
    """Note that a seed may be a row's nearest; where rounding leaves that open, the label is -1.

    Without branches, as which rows are nearer is hard to foretell.
    """
    near = np.float64(closest[row])
    doubt = _DOUBT * near + _LEAST_DOUBT
    label = seed if (distance < near - doubt) | (near == np.inf) else -1
    labels[row] = label if distance < near + doubt else labels[row]
    closest[row] = distance if distance < near else near


@kernel
def nearest_pass(tickets, n_rows, listed, rows, points, first, n_points, least, labels):
    """Compare listed rows with placed points in twofold precision.

    Parameters
    ----------
    listed : int64 array of shape (n_rows,)
    rows : SparseRows
    points : Placed
    first, n_points : int
        The first one's number among all, and how many they are.
    least : float64 array of shape (n_rows,)
        The distances to the nearest of those before, which are brought up to date.
    labels : int32 array, of all rows
        Likewise their numbers; of equally near ones, the first.
    """
    while True:
        i = next_chunk(tickets)
        if i >= n_rows:
            return
        row = listed[i]
        for j in range(n_points):
            distance = precise_distance_to_one(rows, row, points, points.norms, j)
            if distance < least[i]:
                least[i], labels[row] = distance, first + j
