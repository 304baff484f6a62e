"""Greedy k-means++ over one part's CSR rows.

The candidates of a step are a table of eight columns, a cache line for each feature that any of
them has, so that a row is compared with all at once for each value that it stores. The other
features share a line of zeros: lines of their own would not fit into the second-level cache. Which
candidates are nearer than the seeds is kept, a bit for each row, so that only these rows are
compared anew with the one that becomes a seed.

Where the rows are float32, so are the distances and their running sums, as in scikit-learn: sums of
more digits would end at other rows.
"""

from typing import NamedTuple

import numpy as np

from fastem.kernels.distances.sparse import (
    TOLERANCE,
    SparseRows,
    coordinate,
    distance_to_one,
    row_work,
    sparse_rows,
    squared_norms,
)
from fastem.kernels.runtime.arrays import as_weights, read_only
from fastem.kernels.runtime.chunks import row_chunks
from fastem.kernels.runtime.compiling import inline, kernel, variant
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.seeding.base import Seeder, no_bounds
from fastem.kernels.vectors.machine import VECTOR_BYTES
from fastem.kernels.vectors.stored import row_products
from fastem.kernels.vectors.tiles import aligned_empty_like
from fastem.kernels.vectors.twofold import add_product
from fastem.kernels.vectors.vector import (
    bits,
    broadcast,
    double,
    first_bit,
    lesser,
    load,
    single,
    store,
)

# Candidates that a pass compares, the table's columns.
_BATCH = 8
_LANES = VECTOR_BYTES // 8
_WIDTH = _BATCH // _LANES
# Running sums of more float32 distances would stand still: float64 ones are better seeds then.
_MOST_SINGLE = 1 << 20


class Placed(NamedTuple):
    """Up to eight points as rows are compared with them.

    Parameters
    ----------
    places : int32 array of shape (n_features,)
        The features' lines in the table: that of zeros, 0, for those that no point has.
    table : float64 array
        Lines of eight, the points' values of a feature side by side.
    norms : float64 array of shape (2, 8)
        Their squared norms in twofold precision, infinite behind the last.
    """

    places: np.ndarray
    table: np.ndarray
    norms: np.ndarray


@variant(coordinate, of=Placed)
def _coordinate(points, j, f):
    return points.table[points.places[f] * _BATCH + j]


@kernel
def _place(points, chosen, placed):
    """Lay out some of the points, SparseRows."""
    places, table, norms = placed
    for f in range(len(places)):
        places[f] = 0
    for j in range(_BATCH):
        table[j], norms[0, j], norms[1, j] = 0.0, np.inf, np.inf
    n_lines = 1
    for j in range(len(chosen)):
        high = low = 0.0
        for i in range(points.indptr[chosen[j]], points.indptr[chosen[j] + 1]):
            value, f = points.data[i], points.indices[i]
            if places[f] == 0:
                places[f] = n_lines
                for other in range(_BATCH):
                    table[n_lines * _BATCH + other] = 0.0
                n_lines += 1
            table[places[f] * _BATCH + j] = value
            high, low = add_product(high, low, value, value)
        norms[0, j], norms[1, j] = high, low


@inline
def _compare(rows, row, square, unit, near, points, zeros, rounded, distances):
    """Write a row's distances to placed points; return which of them are less than ``near``.

    The others need not be precise.
    """
    start, stop = rows.indptr[row], rows.indptr[row + 1]
    row_products(
        rows.data,
        rows.indices,
        points.places,
        start,
        stop,
        -2.0,
        points.table,
        0,
        _WIDTH,
        zeros,
        distances,
        0,
    )
    share = broadcast((stop - start + 4) * 2.0**-52, _LANES)
    most, units = broadcast(near, _LANES), broadcast(unit, _LANES)
    nearer = np.uint64(0)
    for j in range(0, _BATCH, _LANES):
        norm = load(points.norms, j, _LANES)
        squares = norm + broadcast(square, _LANES)
        distance = load(distances, j, _LANES) + squares
        error = share * (squares + norm)
        blurred = broadcast(TOLERANCE, _LANES) * distance < error
        unsure = bits(blurred & ((distance - error) * units < most))
        if unsure != np.uint64(0):
            store(distance, distances, j)
            while unsure != np.uint64(0):
                lane = j + np.intp(first_bit(unsure))
                unsure &= unsure - np.uint64(1)
                distances[lane] = distance_to_one(rows, row, points, points.norms, lane)
            distance = load(distances, j, _LANES)
        distance = distance * units
        if rounded:
            distance = double(single(distance))
        store(distance, distances, j)
        nearer |= bits(distance < most) << np.uint64(j)
    return nearer


@kernel
def _try(
    tickets, n_chunks, chunk_rows, rows, squares, unit, sample_weight, closest, points, nearer,
    potentials,
):  # fmt: skip
    """Compare all rows with up to eight points.

    Parameters
    ----------
    rows : SparseRows
    squares : float64 array of shape (n_rows,)
        Their squared norms.
    unit : float
        What squared distances are multiplied by.
    sample_weight : float64 array of n_rows values, or of none
    closest : float array of shape (n_rows,)
        Squared distances to the nearest seed.
    points : Placed
    nearer : uint8 array of shape (n_rows,)
        Gets a bit for each point that is nearer than the nearest seed.
    potentials : float64 array of shape (n_points, n_chunks)
        Gets each chunk's weighted sum of the distances if the point were a seed.
    """
    zeros, distances, totals = np.zeros(_BATCH), np.empty(_BATCH), np.empty(_BATCH)
    rounded = closest.itemsize == 4
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for j in range(_BATCH):
            totals[j] = 0.0
        for row in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, len(closest))):
            near = np.float64(closest[row])
            nearer[row] = _compare(
                rows, row, squares[row], unit, near, points, zeros, rounded, distances
            )
            weight = broadcast(sample_weight[row] if len(sample_weight) else 1.0, _LANES)
            for j in range(0, _BATCH, _LANES):
                distance = lesser(load(distances, j, _LANES), broadcast(near, _LANES))
                store(load(totals, j, _LANES) + weight * distance, totals, j)
        for j in range(len(potentials)):
            potentials[j, chunk] = totals[j]


@kernel
def _accept(
    tickets, n_chunks, chunk_rows, rows, squares, unit, sample_weight, closest, points, nearer,
    bit, potentials,
):  # fmt: skip
    """Make the first placed point a seed for the rows whose ``bit`` in ``nearer`` is set.

    ``potentials``, of shape (n_chunks,), gets each chunk's weighted sum of the distances.
    """
    zeros, distances = np.zeros(_BATCH), np.empty(_BATCH)
    rounded = closest.itemsize == 4
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        total = 0.0
        for row in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, len(closest))):
            if nearer[row] & bit:
                near = np.float64(closest[row])
                _compare(rows, row, squares[row], unit, near, points, zeros, rounded, distances)
                closest[row] = min(near, distances[0])
            total += closest[row] * (sample_weight[row] if len(sample_weight) else 1.0)
        potentials[chunk] = total


class SparseGreedySeeder(Seeder):
    """A :class:`Seeder` of CSR rows by squared Euclidean distance.

    Parameters
    ----------
    X : CSR matrix of shape (n_rows, n_features), float32 or float64
    sample_weight : None or ndarray of shape (n_rows,), float64
    scale : float
        A power of two that the rows are multiplied by.
    """

    def __init__(self, X, sample_weight, scale):
        n_rows, n_features = X.shape
        self._rows, self._unit = sparse_rows(X), float(scale) ** 2
        self._weight = as_weights(sample_weight)
        self._split = row_chunks(n_rows, row_work(X, _BATCH))
        self._closest = np.full(n_rows, np.inf, X.dtype)
        self._squares = squared_norms(self._rows, *self._split)
        self._places = np.empty(n_features, np.int32)
        self._table = np.empty(0)
        self._nearer = np.empty((0, n_rows), np.uint8)

    def add(self, point):
        """As for dense rows; ``point`` is a CSR matrix of one row."""
        self.screen(point)
        return self._accept(0, np.full(len(self._closest), 1, np.uint8), 1)

    def screen(self, candidates):
        """As for dense rows; ``candidates`` are a CSR matrix."""
        data, indices, indptr = sparse_rows(candidates)
        self._points = SparseRows(read_only(data.astype(np.float64)), indices, indptr)
        return no_bounds(candidates.shape[0])

    def try_candidates(self, kept):
        starts = range(0, len(kept), _BATCH)
        if len(self._nearer) < len(starts):
            self._nearer = np.empty((len(starts), len(self._closest)), np.uint8)
        found = [
            self._try(kept[start : start + _BATCH], self._nearer[number])
            for number, start in enumerate(starts)
        ]
        self._kept, self._tried = kept, self._rounded(np.concatenate(found))
        return self._tried

    def accept(self, index):
        self._accept(self._kept[index], self._nearer[index // _BATCH], 1 << index % _BATCH)
        return float(self._tried[index])

    def locate(self, values):
        distances, weight = self._closest, self._weight
        if len(distances) > _MOST_SINGLE:
            distances = distances.astype(np.float64)
        if len(weight):
            distances = distances * weight.astype(distances.dtype)
        ends = np.cumsum(distances)
        # What rounding has lost is looked for at the end.
        return np.searchsorted(ends, np.minimum(values, ends[-1]))

    def _run(self, body, points, *args):
        chunk_rows, n_chunks = self._split
        run(
            body,
            n_chunks,
            chunk_rows,
            self._rows,
            self._squares,
            self._unit,
            self._weight,
            self._closest,
            points,
            *args,
        )

    def _rounded(self, potentials):
        return potentials.astype(self._closest.dtype).astype(np.float64)

    def _placed(self, chosen):
        """Up to eight of the points."""
        n_values = _BATCH * (1 + min(len(self._points.data), len(self._places)))
        if len(self._table) < n_values:
            self._table = aligned_empty_like(n_values, self._squares)
        placed = Placed(self._places, self._table, np.empty((2, _BATCH)))
        _place(self._points, read_only(chosen), placed)
        return placed

    def _try(self, chosen, nearer):
        potentials = np.empty((len(chosen), self._split[1]))
        self._run(_try, self._placed(chosen), nearer, potentials)
        return np.cumsum(potentials, axis=1)[:, -1]

    def _accept(self, number, nearer, bit):
        potentials = np.empty(self._split[1])
        self._run(_accept, self._placed(np.array([number])), nearer, bit, potentials)
        return float(self._rounded(np.cumsum(potentials)[-1:])[0])
