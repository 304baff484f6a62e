"""What the exact K-means algorithms share."""

from typing import ClassVar, NamedTuple

import numpy as np

from fastem.kernels.clusters.moves import LISTED_SHARE, no_moves
from fastem.kernels.distances.euclidean import EuclideanPacked
from fastem.kernels.distances.rounding import exact_layout, rounding_error
from fastem.kernels.distances.tile_nearest import pack_centers, pad_order
from fastem.kernels.kmeans.centers import ALL
from fastem.kernels.kmeans.halves import bisect, sum_halves
from fastem.kernels.kmeans.losses import dense_losses
from fastem.kernels.kmeans.sums import chunk_inertia, own_distances, split_clusters, update_sums
from fastem.kernels.runtime.arrays import as_weights, read_only
from fastem.kernels.runtime.chunks import row_chunks
from fastem.kernels.runtime.parallel import run
from fastem.kernels.vectors.machine import LANES

# Partial sums take up to this share of the data's memory, and there are at most so many.
_SUMS_SHARE, _MOST_GROUPS = 1 / 32, 16

# Sums of rows with so many features follow up to this share of them: they are read from memory one
# by one at nearly the rate that all are read at, and a list takes nothing beside them.
_WIDE, _LISTED_OF_WIDE = 64, 1 / 3


class KMeansStatistics(NamedTuple):
    """What the M-step needs of the rows; the statistics of two parts of the data add up.

    Parameters
    ----------
    sums : ndarray of shape (n_clusters, n_features), float64
        Sum of ``w * (x - origin)`` over each cluster's rows. Valid until the next assignment.
    weights : ndarray of shape (n_clusters,), float64
        Sum of the weights of each cluster's rows.
    n_changed : int
        Rows whose cluster differs from that of the previous pass.
    changed : bool array of n_clusters values, or of none
        Which clusters' sums may differ from those of the previous pass; any if there are none.
    """

    sums: np.ndarray
    weights: np.ndarray
    n_changed: int
    changed: np.ndarray


class Algorithm:
    """Assigns a part's rows to the nearest centres, pass after pass, and keeps their sums.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64, C-contiguous, or CSR matrix
    sample_weight : None or ndarray of shape (n_rows,), float64
    n_clusters : int
    frame : Frame

    Attributes
    ----------
    labels : ndarray of shape (n_rows,), int32
        Each row's cluster after the last pass; -1 before the first.
    """

    #: What stands for this algorithm where memory doesn't hold the rows; None if it keeps little.
    lean: ClassVar[type | None] = None

    #: The kernel of a pass, which takes longest to compile, where all its passes call this one.
    #: In a tuple, as a class makes a method of it otherwise.
    kernels: ClassVar[tuple] = ()

    #: Whether it keeps a copy of all rows, which those of a mapped file are not to have.
    copies: ClassVar[bool] = False

    def __init__(self, X, sample_weight, n_clusters, frame):
        n_rows, n_features = X.shape
        self.labels = np.full(n_rows, -1, np.int32)
        self._rows = self._as_kernel_rows(X)
        self._weight = as_weights(sample_weight)
        self._frame = frame
        self._origin = np.ascontiguousarray(frame.origin, np.float64)
        self._chunk_rows, self._n_chunks = self._split(n_rows, n_features * n_clusters)
        self._moves = no_moves(self._chunk_rows, self._n_chunks, self._listed_share(n_features))
        self._set_up_statistics(X, n_clusters)

    def _split(self, n_rows, work):
        """Rows of a chunk, and the number of chunks, for so many multiplications a row."""
        return row_chunks(n_rows, work)

    def _listed_share(self, n_features):
        """The most rows of a chunk that are listed as moved, as a share of all."""
        return _LISTED_OF_WIDE if n_features >= _WIDE else LISTED_SHARE

    def _set_up_statistics(self, X, n_clusters):
        """Make what ``statistics`` keeps between passes."""
        n_features = X.shape[1]
        one_group = n_clusters * (n_features + 1) * 8
        n_groups = int(_SUMS_SHARE * self._nbytes(X) // one_group)
        n_groups = max(1, min(_MOST_GROUPS, self._n_chunks, n_groups))
        self._sums = np.zeros((n_groups, n_clusters, n_features))
        self._weights = np.zeros((n_groups, n_clusters))
        self._counts = np.zeros((n_groups, n_clusters), np.int64)
        split = self._n_chunks > 1
        self._n_ranges = split_clusters(n_groups, n_clusters, n_features) if split else 1

    def assign(self, centers, moved=None):
        """Assign every row to its nearest centre.

        Parameters
        ----------
        centers : ndarray of shape (n_clusters, n_features), float64
            In the rows' coordinates. They must not be changed until the next assignment.
        moved : None or bool array of shape (n_clusters,)
            Which may differ from those of the previous assignment; None if any may.

        Returns
        -------
        KMeansStatistics
        """
        self.label_rows(centers)
        return self.statistics(centers)

    def label_rows(self, centers):
        """As :meth:`assign`, for a caller who needs the labels only."""
        self._pass(self._as_kernel_centers(centers))

    def statistics(self, centers):
        """What the M-step needs, once the labels are written and the moves are listed."""
        run(
            update_sums,
            len(self._sums) * self._n_ranges,
            self._n_ranges,
            self._rows,
            self._origin,
            self._weight,
            self.labels,
            self._chunk_rows,
            self._moves,
            self._sums,
            self._weights,
            self._counts,
        )
        n_moved = self._moves.counts
        if self._n_chunks == 1:  # small data, where NumPy's sums would take as long as the rest
            sums, weights, n_changed = self._sums[0].copy(), self._weights[0].copy(), n_moved[0]
        elif len(self._sums) == 1:  # large: copies took 0.2 ms of 3 MB
            sums, weights, n_changed = self._sums[0], self._weights[0].copy(), n_moved.sum()
        else:
            sums, weights = self._sums.sum(axis=0), self._weights.sum(axis=0)
            n_changed = n_moved.sum()
        return KMeansStatistics(sums, weights, int(n_changed), ALL)

    def inertia(self, centers):
        """Weighted sum of squared distances of the rows to their own centres, in float64."""
        centers = self._as_kernel_centers(centers)
        partial = np.empty(self._n_chunks)
        run(
            chunk_inertia,
            self._n_chunks,
            self._chunk_rows,
            self._rows,
            self._weight,
            self.labels,
            centers,
            self._norms(centers),
            partial,
        )
        return sum(partial.tolist())

    def own_distances(self, centers):
        """The rows' squared Euclidean distances from their own centres, in float64."""
        centers = self._as_kernel_centers(centers)
        distances = np.empty(len(self.labels))
        run(
            own_distances,
            self._n_chunks,
            self._chunk_rows,
            self._rows,
            self.labels,
            centers,
            self._norms(centers),
            distances,
        )
        return distances

    def halves(self, directions, offsets, halves):
        """Sums over the clusters as labelled by the last pass: :func:`halves.sum_halves`."""
        return sum_halves(
            self._rows,
            self._nbytes(self._rows),
            self._origin,
            self._weight,
            self.labels,
            directions,
            offsets,
            halves,
        )

    def bisect(self, *args):
        """Halves of the clusters as labelled by the last pass: :func:`halves.bisect`."""
        return bisect(self._rows, self._origin, self._weight, self.labels, *args)

    def losses(self, centers, chosen):
        """What the chosen clusters lose without their centres, as :class:`losses.Losses`.

        ``centers`` are those of the last pass, two at least.
        """
        raise NotImplementedError

    def _norms(self, centers):
        """The centres' squared norms, (2, n_clusters), if distances are computed from them."""
        return np.empty((2, 0))

    def _as_kernel_rows(self, X):
        """The rows as the kernels take them."""
        raise NotImplementedError

    def _as_kernel_centers(self, centers):
        """Centres as the kernels take them."""
        return np.ascontiguousarray(centers, np.float64)

    def _nbytes(self, X):
        raise NotImplementedError

    def _pass(self, centers):
        """Write ``labels`` and the lists of rows that moved."""
        raise NotImplementedError


def tile_units(X, frame):
    """What brings dense rows into a tile's units, as ``tiles.py`` says: the scale and the shift."""
    shift = np.zeros(X.shape[1] + LANES, X.dtype)
    shift[: X.shape[1]] = -frame.origin * frame.scale
    return X.dtype.type(frame.scale), shift


class DenseAlgorithm(Algorithm):
    """An algorithm whose kernels compare tiles of dense rows in float32."""

    def __init__(self, X, sample_weight, n_clusters, frame):
        super().__init__(X, sample_weight, n_clusters, frame)
        n_features = X.shape[1]
        self._scale, self._shift = tile_units(X, frame)
        self._rounding = rounding_error(n_features)
        self._order = pad_order(np.arange(n_clusters), n_clusters)
        self._negated = np.empty((n_clusters + 1, n_features), np.float32)
        self._half_norms = np.empty(n_clusters + 1, np.float32)

    def _as_kernel_rows(self, X):
        return read_only(X)

    def _nbytes(self, X):
        return X.nbytes

    def losses(self, centers, chosen):
        centers = np.ascontiguousarray(centers, np.float64)
        return dense_losses(
            self._rows,
            self._scale,
            self._shift,
            self._weight,
            self.labels,
            self._chunk_rows,
            self._n_chunks,
            self._pack(centers),
            centers,
            chosen,
        )

    def _pack(self, centers):
        greatest = pack_centers(
            centers, self._origin, self._frame.scale, self._negated, self._half_norms
        )
        return EuclideanPacked(
            self._negated,
            self._half_norms,
            exact_layout(centers),
            self._rounding,
            np.float32(greatest * 1.001),
        )
