"""K-means of CSR rows with large centres: these are written where they were.

While the iterations go on, nothing else is as large as the centres then, but the table that rows
are compared with, and a dense start until better centres than that are known. Where the rows lie in
several parts, are scaled, or leave a cluster empty, and where somebody watches, sums and new
centres are arrays of their own.
"""

import math
from typing import Any

import numpy as np
import scipy.sparse

from fastem.clustering.euclidean.inertia import (
    MOST_CANCELLED,
    MOST_CANCELLED_IN_HISTORY,
    ROUNDING,
)
from fastem.clustering.model import algorithm_of
from fastem.kernels.clusters import Frame
from fastem.kernels.kmeans import Sparse
from fastem.rows import LocalRows

# Centres that would take at least this share of the rows' memory in float64 are written in place.
# All rows of clusters that change are summed anew then: a fit with smaller centres takes up to a
# quarter longer so, one with centres as large as the rows a fifth less.
_LEAST_SHARE = 1 / 4


def writes_in_place(rows: Any, algorithm: type, n_clusters: int) -> bool:
    """Whether these are rows as :class:`InPlace` takes them."""
    if not (isinstance(rows, LocalRows) and rows.n_parts == 1 and algorithm is Sparse):
        return False
    X = rows.parts[0].X
    stored = X.data.nbytes + X.indices.nbytes
    return 8 * n_clusters * X.shape[1] >= _LEAST_SHARE * stored


class InPlace:
    """The iterations of a run.

    Parameters
    ----------
    rows : LocalRows
        CSR, in one part.
    frame : Frame
    squares : float
        Weighted sum of the rows' squared norms.
    start : ndarray or CSR matrix of shape (n_clusters, n_features)

    Attributes
    ----------
    centers : ndarray of shape (n_clusters, n_features)
        In the rows' dtype.
    """

    def __init__(self, rows: LocalRows, frame: Frame, squares: float, start: Any):
        part = rows.parts[0]
        self._made = algorithm_of(part, Sparse, start.shape[0], frame)
        self._means = self._made.means()
        self._squares = squares
        self._start: Any = start  # kept as long as no other centres are better
        sparse = scipy.sparse.issparse(start)
        self.centers = start.toarray() if sparse else start.astype(rows.dtype, order="C")
        # The least inertia so far, and the labels of whose means it was, none of the start's.
        self._least: tuple[float, np.ndarray | None] = math.inf, None
        self._of: np.ndarray | None = None
        self._settled: float | None = None  # the inertia once no row moves any more

    @property
    def weights(self) -> np.ndarray:
        """The clusters' weights, (n_clusters,)."""
        return self._means.weights.copy()

    def step(self) -> tuple[int, float, float] | None:
        """Make an iteration.

        Returns
        -------
        None or tuple
            How many rows have changed their cluster, the inertia of the centres before, and the
            squared ways that these have moved; None if a cluster is empty, and nothing is done.
        """
        n_changed = self._label()
        if n_changed == 0:
            self._settled = self._labelled()
            self._note(self._settled)
            return 0, self._settled, 0.0
        if not self._means.weights.all():
            return None
        change, fall = self._means.write(self.centers)
        inertia = self._inertia(change, fall)
        self._note(inertia)
        self._of = self._made.labels.copy()
        ways = self._means.ways
        return n_changed, inertia, float(ways[ways > 0.0].sum())

    def leave(self) -> np.ndarray:
        """The centres for iterations that write them to other arrays, as these have them."""
        self._made.forget_centers()
        return self.centers.astype(np.float64)

    def finish(self) -> float:
        """See that the labels go with the centres, and these are the best; return the inertia."""
        if self._settled is None:
            self._label()
            inertia = self._labelled()
        else:
            inertia = self._settled
        if inertia > self._least[0] * (1 + ROUNDING):
            # Centres rounded to the data's dtype may be worse than those before.
            self.restore()
            self._label()
            inertia = self._labelled()
        if inertia * MOST_CANCELLED < self._squares:
            inertia = self._made.inertia(self.centers)
        return inertia

    def restore(self) -> None:
        """Write the centres of the least inertia so far."""
        labels, start = self._least[1], self._start
        self._means.forget()
        if labels is None:
            self.centers[:] = start.toarray() if scipy.sparse.issparse(start) else start
        else:
            self._means.follow(labels)
            self._means.write(self.centers)
        self._made.forget_centers()

    def _label(self):
        """Put the rows to their nearest centres; how many have changed their cluster."""
        self._made.relabel(self.centers, self._means)
        return self._means.follow(self._made.labels)

    def _labelled(self):
        """The inertia of the centres as the rows are labelled now."""
        return self._inertia(self._means.change(self.centers))

    def _inertia(self, change, fall=0.0):
        """The inertia of centres from which it has fallen by so much to those that there are."""
        inertia = self._squares + change
        if inertia * MOST_CANCELLED_IN_HISTORY < self._squares:
            inertia = max(0.0, self._made.inertia(self.centers) + fall)
        return inertia

    def _note(self, inertia):
        if inertia < self._least[0]:
            self._least = inertia, self._of
            if self._of is not None:
                self._start = None
