"""Greedy k-means++ over one part's CSR rows.

The candidates of a step are a table of eight columns, or four if they are no more, with a line for
each feature that any of them has, so that a row is compared with all at once for each value that it
stores. The other features share a line of zeros: lines of their own would not fit into the
second-level cache.

Where there is room for the rows by columns in 16 bits, the candidates' columns are looked at first,
in which a fifth of a text's values lie. This tells which rows a candidate may be nearer to, and
bounds what it gains: most often only one of them is left, which is compared with these rows.

Where the rows are float32, so are the distances and their running sums, as in scikit-learn: sums of
more digits would end at other rows.
"""

import numpy as np

from fastem.kernels.distances.sparse import row_work, sparse_rows
from fastem.kernels.runtime.arrays import as_weights, read_only
from fastem.kernels.runtime.chunks import ceil_div, row_chunks, worthwhile_threads
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.parallel import run
from fastem.kernels.seeding.base import Seeder, may_be_best, no_bounds
from fastem.kernels.seeding.csr.passes import (
    ROOM,
    accept_pass,
    settle_pass,
    try_pass,
)
from fastem.kernels.seeding.csr.points import BATCH, FEW, Placed, nearest_pass, place
from fastem.kernels.seeding.csr.screen import ALL, ColumnScreen, screened_rows
from fastem.kernels.vectors.tiles import aligned_empty_like

# Running sums of more float32 distances would stand still: float64 ones are better seeds then.
_MOST_SINGLE = 1 << 20
# If rounding leaves more than this share of the rows' nearest seeds open, a pass finds them.
_MOST_DOUBTFUL = 1 / 256
# Distances to few candidates are all kept, if they take up to this share of the rows' memory.
_FEW_SHARE = 1 / 8
# A multiplication takes as long as so many of a dense pass, as values are looked up in the caches.
_SLOW = 8


@kernel
def _first_rows(distances, values, order, found):
    """The first rows up to which the distances sum to at least the values, in ``found``.

    ``order`` sorts the values. What rounding has lost is looked for at the end. The sums are
    rounded one after the other, as NumPy's cumulated ones.
    """
    total, last, at = np.zeros(1, distances.dtype)[0], 0, 0
    for row in range(len(distances)):
        if at == len(values):
            return
        before = total
        total = total + distances[row]
        if total > before:
            last = row
        while at < len(values) and np.float64(total) >= values[order[at]]:
            found[order[at]] = row
            at += 1
    for i in range(at, len(values)):
        found[order[i]] = last


class SparseGreedySeeder(Seeder):
    """A :class:`Seeder` of CSR rows by squared Euclidean distance.

    Parameters
    ----------
    X : CSR matrix of shape (n_rows, n_features), float32 or float64
    sample_weight : None or ndarray of shape (n_rows,), float64
    scale : float
        A power of two that the rows are multiplied by.
    room : int
        The bytes that the rows by columns may take, which spare time from the second seed on.

    Attributes
    ----------
    squares : ndarray of shape (n_rows,), float64
        The rows' squared norms, not scaled.
    """

    def __init__(self, X, sample_weight, scale, room=0):
        n_rows, n_features = X.shape
        self._X, self._rows = X, sparse_rows(X)
        self._scale, self._unit = float(scale), float(scale) ** 2
        self._weight = as_weights(sample_weight)
        self._split = row_chunks(n_rows, _SLOW * row_work(X, BATCH))
        self._closest = np.full(n_rows, np.inf, X.dtype)
        self.squares = np.empty(n_rows)  # which the first seed's pass finds
        self._n_features = n_features
        self._laid = self._empty_places(np.int16, 0)
        self._nearer = self._found = self._lost = np.empty((0, 0))
        most = _FEW_SHARE * (X.data.nbytes + X.indices.nbytes)
        self._most_few = FEW if FEW * self._closest.nbytes <= most else 0
        self._labels, self._n_seeds = np.full(n_rows, -1, np.int32), 0
        self._potential = np.inf
        self._rounding = n_rows * 2.0**-53 + float(np.finfo(X.dtype).eps)
        self._room, self._block_rows, self._columns = room, 0, None

    def add(self, point):
        """As for dense rows; ``point`` is a CSR matrix of one row."""
        self._look_at(sparse_rows(point), np.zeros(1, np.int64))
        self.try_candidates(np.zeros(1, int))
        if self._room:
            self._block_rows = screened_rows(self._X, self.squares, self._scale, self._room)
        return self.accept(0)

    def draw(self, potential, n_seeds, n_candidates, random_state):
        """As :meth:`fastem.kernels.seeding.few.FewRowsSeeder.draw`, the last seed included.

        SciPy takes longer to copy candidates than it takes to compare a thousand rows with them.
        """
        seeds = np.empty(n_seeds, int)
        for number in range(n_seeds):
            candidates = self.locate(random_state.uniform(size=n_candidates) * potential)
            kept = may_be_best(*self._screen(self._rows, candidates))
            best = int(self.try_candidates(kept).argmin())
            potential = self.accept(best)
            seeds[number] = candidates[kept[best]]
        return seeds

    def screen(self, candidates):
        """As for dense rows; ``candidates`` are a CSR matrix."""
        return self._screen(sparse_rows(candidates), np.arange(candidates.shape[0]))

    def _screen(self, rows, listed):
        """As :meth:`screen`, for listed rows of some SparseRows."""
        self._look_at(rows, listed)
        n_candidates = len(listed)
        if not self._block_rows:
            return no_bounds(n_candidates)
        if self._columns is None:
            self._columns = ColumnScreen(
                self._rows,
                self._block_rows,
                self.squares,
                self._weight,
                self._n_features,
                self._scale,
            )
        bounds = [
            self._bounds(*self._batch(batch), nearer) for batch, nearer in enumerate(self._nearer)
        ]
        bounds = bounds[0] if len(bounds) == 1 else np.concatenate(bounds, axis=1)
        # Candidates whose potentials round to the same number are left to be compared.
        bounds = bounds + np.array([[-self._rounding], [self._rounding]]) * self._potential
        return bounds if np.isfinite(bounds).all() else no_bounds(n_candidates)

    def _bounds(self, first, last, nearer):
        """A batch's bounds, which aren't rounded."""
        placed = self._placed(first, last, BATCH)
        return self._columns.bounds(placed, last - first, self._closest, nearer)

    def try_candidates(self, kept):
        self._kept = kept
        if len(kept) == 1:
            self._tried = self._rounded(self._settle(int(kept[0])))
            return self._tried
        wanted = [0] * len(self._nearer)
        for number in kept.tolist():
            wanted[number // BATCH] |= 1 << number % BATCH
        tried = [
            self._try(batch, bits) if bits else np.empty(BATCH) for batch, bits in enumerate(wanted)
        ]
        self._tried = self._rounded(np.concatenate(tried)[kept])
        return self._tried

    def accept(self, index):
        if len(self._kept) > 1:
            self._accept(int(self._kept[index]))
        self._potential = float(self._tried[index])
        self._n_seeds += 1
        return self._potential

    def nearest(self, seeds):
        """The numbers of the rows' nearest seeds, (n_rows,) int32, the first of equally near ones.

        None if rounding has left many open, or distances overflow. Distances are compared exactly,
        as a pass over the rows would.

        Parameters
        ----------
        seeds : CSR matrix of shape (n_seeds, n_features)
            All points that have been made seeds, in order.
        """
        labels = self._labels
        listed = np.flatnonzero(labels < 0)
        if len(listed) > _MOST_DOUBTFUL * len(labels):
            return None
        if len(listed):
            self._look_at(sparse_rows(seeds), np.arange(self._n_seeds))
            least = np.full(len(listed), np.inf)
            for batch in range(ceil_div(self._n_seeds, BATCH)):
                first, last = self._batch(batch)
                placed = self._placed(first, last)
                args = listed, self._rows, placed, first, last - first, least, labels
                run(nearest_pass, len(listed), *args)
        return labels if labels.min() >= 0 else None

    def _accept(self, number):
        """Make one of several points tried a seed."""
        batch = number // BATCH
        if self._lost[batch].any():
            self._settle(number)
            return
        chunk_rows, n_chunks = self._split
        run(
            accept_pass,
            n_chunks,
            chunk_rows,
            self._nearer[batch],
            self._found[batch],
            self._is_few(),
            number % BATCH,
            self._closest,
            self._n_seeds,
            self._labels,
            most_threads=worthwhile_threads(len(self._closest) // 4),
        )

    def locate(self, values):
        distances, weight = self._closest, self._weight
        if len(distances) > _MOST_SINGLE:
            distances = distances.astype(np.float64)
        if len(weight):
            distances = distances * weight.astype(distances.dtype)
        found = np.empty(len(values), np.int64)
        _first_rows(read_only(distances), values, np.argsort(values), found)
        return found

    def _look_at(self, rows, listed):
        """Look at other points, some of SparseRows; all rows may be near them."""
        self._points = rows, listed
        n_batches = ceil_div(len(listed), BATCH)
        if n_batches != len(self._nearer):
            self._nearer = np.empty((n_batches, len(self._closest)), np.uint8)
        self._nearer.fill(ALL)

    def _rounded(self, potentials):
        return potentials.astype(self._closest.dtype).astype(np.float64)

    def _placed(self, first, last, width=None):
        """Up to eight of the points, in as few columns as they need, or as ``width`` says."""
        if width is None:
            width = FEW if last - first <= FEW else BATCH
        rows, listed = self._points
        listed = listed[first:last]
        n_stored = int((rows.indptr[listed + 1] - rows.indptr[listed]).sum())
        n_values = BATCH * (1 + min(n_stored, self._n_features))
        # In 16 bits, which hold the lines of few values, more places stay in the cache.
        dtype = np.dtype(np.int16 if n_stored < 1 << 15 else np.int32)
        laid = self._laid
        if len(laid.table) < n_values or laid.places.dtype != dtype:
            laid = self._empty_places(dtype, max(n_values, len(laid.table)))
        laid = laid._replace(width=width)
        self._laid = laid._replace(n_lines=place(rows, listed, laid))
        return self._laid

    def _empty_places(self, dtype, n_values):
        return Placed(
            np.zeros(self._n_features, dtype),
            FEW,
            aligned_empty_like(n_values, self.squares),
            np.empty((2, BATCH)),
            np.empty(n_values // BATCH, np.int32),
            0,
        )

    def _batch(self, number):
        """The first and the last point of a batch."""
        first = number * BATCH
        return first, min(first + BATCH, len(self._points[1]))

    def _settle(self, number):
        """Make a point a seed; returns the potential, of shape (1,)."""
        chunk_rows, n_chunks = self._split
        potentials = np.empty(n_chunks)
        run(
            settle_pass,
            n_chunks,
            chunk_rows,
            *self._terms(),
            self._placed(number, number + 1),
            1 << number % BATCH,
            self._nearer[number // BATCH],
            self._n_seeds,
            self._labels,
            potentials,
        )
        return np.cumsum(potentials)[-1:]

    def _try(self, batch, wanted):
        chunk_rows, n_chunks = self._split
        width, room = (FEW, FEW) if self._is_few() else (BATCH, ROOM)
        shape = len(self._nearer), room * len(self._closest)
        if self._found.shape != shape:
            self._found = np.empty(shape, self._closest.dtype)
            self._lost = np.empty((len(self._nearer), n_chunks), np.int64)
        potentials = np.empty((BATCH, n_chunks))
        run(
            try_pass,
            n_chunks,
            chunk_rows,
            *self._terms(),
            self._placed(*self._batch(batch), width),
            wanted,
            self._nearer[batch],
            self._found[batch],
            self._lost[batch],
            potentials,
        )
        return np.cumsum(potentials, axis=1)[:, -1]

    def _is_few(self):
        """Whether all distances to the points are kept."""
        return len(self._points[1]) <= self._most_few

    def _terms(self):
        """What kernels make distances of, beside the points."""
        return self._rows, self.squares, self._unit, self._weight, self._closest
