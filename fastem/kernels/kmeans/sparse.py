"""Lloyd's algorithm for CSR rows: a row costs its non-zeros times the clusters."""

from functools import cached_property

import numpy as np

from fastem.kernels.distances.sparse import (
    pack_sparse,
    sparse_rows,
    squared_norms,
    twofold_norms,
)
from fastem.kernels.kmeans.base import Algorithm, KMeansStatistics
from fastem.kernels.kmeans.csr.bounds import follow_centers, kept_pass, moves_of
from fastem.kernels.kmeans.csr.means import RowMeans
from fastem.kernels.kmeans.csr.nearest import exact_pass, table_pass
from fastem.kernels.kmeans.csr.sums import SparseSums
from fastem.kernels.kmeans.csr.table import (
    empty_table,
    fill_table,
    is_coarse,
    rounding,
    row_lengths,
    smaller_table,
)
from fastem.kernels.kmeans.csr.together import few_pass
from fastem.kernels.kmeans.losses import sparse_losses
from fastem.kernels.runtime.chunks import round_up
from fastem.kernels.runtime.parallel import run
from fastem.kernels.vectors.machine import LANES

# If float32 leaves more than this share of the rows open, float64 alone takes less time; if 16-bit
# floats leave more open twice, float32. Once they may: a fit's first centres are single rows.
_MOST_OPEN, _MOST_OPEN_COARSE = 1 / 8, 1 / 4
# So many of the centres are compared by themselves where others haven't moved.
_SOME = 1 / 4


class Sparse(Algorithm):
    """Passes over CSR rows, in 16-bit floats or float32 where these decide, else in float64."""

    name = "sparse"

    def _as_kernel_rows(self, X):
        return sparse_rows(X)

    def _as_kernel_centers(self, centers):
        # Those that are written in place may be float32, and are large.
        return np.ascontiguousarray(centers, None if centers.dtype == np.float32 else np.float64)

    def _nbytes(self, X):
        return X.data.nbytes

    def _set_up_statistics(self, X, n_clusters):
        n_rows, n_features = X.shape
        self._lengths = None
        self._table = empty_table(n_clusters, n_features, coarse=True)
        # What rows are multiplied by, 0 for an empty table, and which centres have moved since.
        self._factor, self._stale = 0.0, np.ones(n_clusters, bool)
        self._left = np.empty(n_rows, bool)
        self._bounds = np.empty((2, n_rows), np.float32)
        # The centres that these are of, and their squared norms; a table of some that moved.
        self._centers = self._squares = self._some = None
        self._counts = np.zeros((2, self._n_chunks), np.int64)
        self._was_open = self._is_exact = False
        self._shape = n_clusters, n_features
        self._known = self._moved = self._means = None

    @cached_property
    def _totals(self):
        return SparseSums(self._rows, self._weight, *self._shape)

    def begin_with(self, labels, squares):
        """Take these for the labels of the first pass, which then need not be made.

        Parameters
        ----------
        labels : int32 array of shape (n_rows,)
        squares : float64 array of shape (n_rows,)
            The rows' squared norms.
        """
        self._known, self._lengths = labels, self._lengths_of(squares)

    def _lengths_of(self, squares):
        return row_lengths(squares, float(self._frame.scale))

    def _norms(self, centers):
        return twofold_norms(centers)

    def assign(self, centers, moved=None):
        self._moved = moved
        return super().assign(centers)

    def means(self):
        """What writes the clusters' means where the centres are, as :class:`RowMeans`."""
        return RowMeans(self._rows, self._weight, self._shape[0])

    def relabel(self, centers, means):
        """As :meth:`label_rows`, for centres that :class:`RowMeans` writes; they may be float32."""
        self._means = means
        self._pass(centers)
        self._means = None

    def forget_centers(self):
        """Compare all rows in the next pass."""
        self._centers = None

    def _pass(self, centers):
        # Centres may be larger than the rows: they are kept until the next pass, not copied.
        before, self._centers = self._centers, None
        if self._known is not None:
            self.labels[:] = self._known
            self._known = None
            return
        if self._is_exact or not self._compare_coarsely(before, centers):
            self._compare_exactly(centers, np.empty(0, bool))
        else:
            self._centers = centers

    def _compare_coarsely(self, before, centers):
        """Compare in few digits first; False if centres are too long for that."""
        if self._lengths is None:
            squares = squared_norms(self._rows, self._chunk_rows, self._n_chunks)
            self._lengths = self._lengths_of(squares)
        if before is None:
            norms_of = twofold_norms if self._means is None else self._means.norms_of
            self._squares, self._factor = norms_of(centers), 0.0
            self._left.fill(True)
        elif not self._keep(before, centers):
            return True
        factor = self._fill(centers)
        if not factor and is_coarse(self._table):
            self._refine(centers)
            factor = self._fill(centers)
        if not factor:
            return False
        run(
            few_pass if len(self._table.halves) == LANES else table_pass,
            self._n_chunks,
            self._chunk_rows,
            self._rows,
            self._lengths,
            factor,
            rounding(self._table),
            self._table,
            centers,
            self._squares,
            self.labels,
            self._left,
            *self._bounds,
            self._counts,
        )
        n_open, n_left = self._counts.sum(axis=1)
        if n_left:
            self._compare_exactly(centers, self._left)
        coarse = is_coarse(self._table)
        if n_open > (_MOST_OPEN_COARSE if coarse else _MOST_OPEN) * len(self.labels):
            if not coarse:
                self._is_exact = True
            elif self._was_open:
                self._refine(centers)
            self._was_open = True
        return True

    def _keep(self, before, centers):
        """Keep labels that no move of a centre can have changed; returns how many rows are left."""
        scale = float(self._frame.scale)
        if self._means is None:
            moved, moves = follow_centers(before, centers, self._squares, scale, self._moved)
        else:
            moved, moves = moves_of(self._means.ways, self._means.before, self._squares[0], scale)
        if len(moved) == 0:
            return 0
        self._stale[moved] = True
        table, factor = self._table, 0.0
        if len(moved) <= _SOME * len(table.halves):
            n_columns = round_up(len(moved), LANES)
            if self._some is None or n_columns != self._some[0]:
                self._some = n_columns, smaller_table(n_columns, table)
            table = self._some[1]
            factor = fill_table(table, centers, self._squares[0], scale, moved)
        run(
            kept_pass,
            self._n_chunks,
            self._chunk_rows,
            self._rows,
            self._lengths,
            factor,
            rounding(table),
            table,
            moves,
            self.labels,
            self._left,
            *self._bounds,
            self._counts[1],
        )
        return self._counts[1].sum()

    def _fill(self, centers):
        """Put the centres that have moved into the table; returns the rows' factor."""
        scale, squares = float(self._frame.scale), self._squares[0]
        self._factor = fill_table(
            self._table, centers, squares, scale, None, self._stale, self._factor
        )
        self._stale.fill(False)
        return self._factor

    def _refine(self, centers):
        self._factor = 0.0
        self._some = None
        del self._table  # not to have room for both
        self._table = empty_table(*centers.shape)

    def _compare_exactly(self, centers, left):
        run(
            exact_pass,
            self._n_chunks,
            self._chunk_rows,
            self._rows,
            pack_sparse(centers),
            left,
            self.labels,
        )

    def statistics(self, centers):
        # The sums stay ours, until the next assignment: they may be larger than all rows.
        n_changed, changed = self._totals.follow(self.labels)
        return KMeansStatistics(self._totals.sums, self._totals.weights.copy(), n_changed, changed)

    def losses(self, centers, chosen):
        return sparse_losses(
            self._rows,
            self._weight,
            self.labels,
            self._chunk_rows,
            self._n_chunks,
            pack_sparse(np.ascontiguousarray(centers, np.float64)),
            chosen,
        )
