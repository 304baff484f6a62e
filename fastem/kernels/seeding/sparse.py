"""Greedy k-means++ over one part's CSR rows.

The candidates of a step are a table of eight columns, a cache line for each feature that any of
them has, so that a row is compared with all at once for each value that it stores. The other
features share a line of zeros: lines of their own would not fit into the second-level cache. Which
candidates are nearer than the seeds is kept, a bit for each row, and how near these are, so that
the rows aren't read again for the one that becomes a seed.

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
from fastem.kernels.runtime.chunks import row_chunks, worthwhile_threads
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
    count_bits,
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
# Distances kept for each row on average: beside the first seeds, there may be more to keep.
_ROOM = 2


class Placed(NamedTuple):
    """Up to eight points as rows are compared with them.

    Parameters
    ----------
    places : int16 or int32 array of shape (n_features,)
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
    found, lost, potentials,
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
    found : float array of shape (_ROOM * n_rows,)
        From ``_ROOM`` times each chunk's first row on, gets the distances that bits are set for.
    lost : int64 array of shape (n_chunks,)
        For how many of these there was no room.
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
        start, stop = chunk * chunk_rows, min((chunk + 1) * chunk_rows, len(closest))
        at = _ROOM * start
        for row in range(start, stop):
            near = np.float64(closest[row])
            left = _compare(rows, row, squares[row], unit, near, points, zeros, rounded, distances)
            nearer[row] = left
            weight = broadcast(sample_weight[row] if len(sample_weight) else 1.0, _LANES)
            for j in range(0, _BATCH, _LANES):
                distance = lesser(load(distances, j, _LANES), broadcast(near, _LANES))
                store(load(totals, j, _LANES) + weight * distance, totals, j)
            while left != np.uint64(0):
                if at < _ROOM * stop:
                    found[at] = distances[np.intp(first_bit(left))]
                left &= left - np.uint64(1)
                at += 1
        lost[chunk] = max(at - _ROOM * stop, 0)
        for j in range(len(potentials)):
            potentials[j, chunk] = totals[j]


@kernel
def _accept(tickets, n_chunks, chunk_rows, nearer, found, bit, closest):
    """Make a point a seed: that of the ``bit`` in what ``_try`` has left."""
    bit = np.uint64(bit)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start = chunk * chunk_rows
        at = _ROOM * start
        for row in range(start, min(start + chunk_rows, len(closest))):
            which = np.uint64(nearer[row])
            if which != np.uint64(0):
                if which & bit:
                    before = count_bits(which & (bit - np.uint64(1)))
                    closest[row] = found[at + np.intp(before)]
                at += np.intp(count_bits(which))


@kernel
def _first_rows(distances, values, found):
    """The first rows up to which the distances sum to at least the values, which are sorted.

    What rounding has lost is looked for at the end. The sums are rounded one after the other, as
    NumPy's cumulated ones.
    """
    total, last, at = np.zeros(1, distances.dtype)[0], 0, 0
    for row in range(len(distances)):
        if at == len(values):
            return
        before = total
        total = total + distances[row]
        if total > before:
            last = row
        while at < len(values) and np.float64(total) >= values[at]:
            found[at] = row
            at += 1
    for i in range(at, len(values)):
        found[i] = last


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
        self._places = np.empty(n_features, np.int16)
        self._table = np.empty(0)
        self._nearer = self._found = self._lost = np.empty((0, 0))

    def add(self, point):
        """As for dense rows; ``point`` is a CSR matrix of one row."""
        self.screen(point)
        self.try_candidates(np.zeros(1, int))
        return self.accept(0)

    def screen(self, candidates):
        """As for dense rows; ``candidates`` are a CSR matrix."""
        data, indices, indptr = sparse_rows(candidates)
        self._points = SparseRows(read_only(data.astype(np.float64)), indices, indptr)
        return no_bounds(candidates.shape[0])

    def try_candidates(self, kept):
        starts = range(0, len(kept), _BATCH)
        self._room(len(starts))
        found = [
            self._try(batch, kept[start : start + _BATCH]) for batch, start in enumerate(starts)
        ]
        self._kept, self._tried = kept, self._rounded(np.concatenate(found))
        return self._tried

    def accept(self, index):
        batch, number = divmod(index, _BATCH)
        chunk_rows, n_chunks = self._split
        if self._lost[batch].any():
            self._try(batch, self._kept[index : index + 1])
            number = 0
        run(
            _accept,
            n_chunks,
            chunk_rows,
            self._nearer[batch],
            self._found[batch],
            1 << number,
            self._closest,
            most_threads=worthwhile_threads(len(self._closest) // 4),
        )
        return float(self._tried[index])

    def locate(self, values):
        distances, weight = self._closest, self._weight
        if len(distances) > _MOST_SINGLE:
            distances = distances.astype(np.float64)
        if len(weight):
            distances = distances * weight.astype(distances.dtype)
        order = np.argsort(values)
        found = np.empty(len(values), np.intp)
        _first_rows(read_only(distances), values[order], found)
        found[order] = found.copy()
        return found

    def _room(self, n_batches):
        """Have room for what is found of so many batches of points."""
        n_rows = len(self._closest)
        if n_batches <= len(self._nearer):
            return
        self._nearer = np.empty((n_batches, n_rows), np.uint8)
        self._found = np.empty((n_batches, _ROOM * n_rows), self._closest.dtype)
        self._lost = np.empty((n_batches, self._split[1]), np.int64)

    def _rounded(self, potentials):
        return potentials.astype(self._closest.dtype).astype(np.float64)

    def _placed(self, chosen):
        """Up to eight of the points."""
        n_values = _BATCH * (1 + min(len(self._points.data), len(self._places)))
        if len(self._table) < n_values:
            self._table = aligned_empty_like(n_values, self._squares)
        # In 16 bits, which hold the lines of few values, more places stay in the cache.
        dtype = np.dtype(np.int16 if len(self._points.data) < 1 << 15 else np.int32)
        if self._places.dtype != dtype:
            self._places = np.empty(len(self._places), dtype)
        placed = Placed(self._places, self._table, np.empty((2, _BATCH)))
        _place(self._points, read_only(chosen), placed)
        return placed

    def _try(self, batch, chosen):
        chunk_rows, n_chunks = self._split
        potentials = np.empty((len(chosen), n_chunks))
        run(
            _try,
            n_chunks,
            chunk_rows,
            self._rows,
            self._squares,
            self._unit,
            self._weight,
            self._closest,
            self._placed(chosen),
            self._nearer[batch],
            self._found[batch],
            self._lost[batch],
            potentials,
        )
        return np.cumsum(potentials, axis=1)[:, -1]
