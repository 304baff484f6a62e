"""Rows so few that iterations settle in one call, in an order in which neighbours are together."""

import numpy as np

from fastem.clustering.model import ALGORITHM
from fastem.clustering.search import (
    ITERATIONS,
    LEAST_SHARE,
    POWER_ITERATIONS,
    Halves,
    first_directions,
)
from fastem.kernels.clusters import Frame
from fastem.kernels.kmeans.boxes.near import NARROW
from fastem.kernels.kmeans.boxes.order import order_on_curve
from fastem.kernels.kmeans.boxes.regions import regions_of
from fastem.kernels.kmeans.settling import Settling
from fastem.kernels.vectors.tiles import tiles_fit
from fastem.rows import LocalRows, Part

# A search's passes over more values than this, or that multiply more often, are better shared
# among threads, and what lies between them counts for less. Copies of the rows take 12 MB at most.
_MOST_VALUES, _MOST_WORK = 1 << 20, 1 << 23


class GatheredRows(LocalRows):
    """Rows in one array, and the algorithms that settle among them.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64, C-contiguous
    sample_weight : None or ndarray of shape (n_rows,), float64
    frame : Frame
    """

    def __init__(self, X: np.ndarray, sample_weight: np.ndarray | None, frame: Frame):
        if X.shape[1] <= NARROW:
            order = order_on_curve(X)[: len(X)]
            X = X.take(order, axis=0)  # in a tenth of the time of an index
            sample_weight = None if sample_weight is None else sample_weight[order]
        super().__init__([Part(X, sample_weight)])
        self._frame, self._regions = frame, regions_of(X, frame)
        self._made: dict[int, Settling] = {}

    def algorithm(self, n_clusters: int) -> Settling:
        """The algorithm for so many clusters, which the rows keep as that of the run under way."""
        part = self.parts[0]
        if n_clusters not in self._made:
            self._made[n_clusters] = Settling(
                part.X, part.sample_weight, n_clusters, self._frame, self._regions
            )
        return part.keep(ALGORITHM, self._made[n_clusters])

    def bisect(self, means: np.ndarray, weights: np.ndarray) -> Halves:
        """As ``clustering.search.bisect``, in one call."""
        directions, offsets = first_directions(means)
        constants = POWER_ITERATIONS, ITERATIONS, LEAST_SHARE
        made = self.parts[0].kept(ALGORITHM)
        halves, both = made.bisect(*constants, means, weights, directions, offsets)
        return Halves(halves, both, directions, offsets)


def gathered(rows: LocalRows, n_clusters: int, frame: Frame) -> LocalRows:
    """The rows as a search goes over them: in a copy that is in order, if they are few."""
    if type(rows) is not LocalRows or rows.n_parts > 1 or rows.sparse or rows.outgrow_memory():
        return rows
    n_values = rows.n_rows * rows.n_features
    part = rows.parts[0]
    if n_values > _MOST_VALUES or n_values * n_clusters > _MOST_WORK or not tiles_fit(part.X):
        return rows
    few = GatheredRows(part.X, part.sample_weight, frame)
    few.algorithm(n_clusters)  # for the first step
    return few
