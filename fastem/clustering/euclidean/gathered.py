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
from fastem.rows import LocalRows, Part, Rows, Slot

# A search's passes over more values than this, or that multiply more often, are better shared
# among threads, and what lies between them counts for less. Copies of the rows take 12 MB at most.
_MOST_VALUES, _MOST_WORK = 1 << 20, 1 << 23


class Gathered:
    """Rows in an order in which neighbours are together, and the algorithms that settle among them.

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
        self.X, self.sample_weight = X, sample_weight
        self._frame, self._regions = frame, regions_of(X, frame)
        self._made: dict[int, Settling] = {}

    def algorithm(self, n_clusters: int) -> Settling:
        """The algorithm for so many clusters."""
        if n_clusters not in self._made:
            self._made[n_clusters] = Settling(
                self.X, self.sample_weight, n_clusters, self._frame, self._regions
            )
        return self._made[n_clusters]


_GATHERED: Slot[Gathered] = Slot("gathered")


def gathered(rows: Rows, n_clusters: int, frame: Frame) -> Rows:
    """The rows as a search goes over them: in a copy that is in order, if they are few."""
    if not isinstance(rows, LocalRows) or rows.n_parts > 1 or rows.sparse or rows.outgrow_memory():
        return rows
    n_values = rows.n_rows * rows.n_features
    part = rows.parts[0]
    if n_values > _MOST_VALUES or n_values * n_clusters > _MOST_WORK or not tiles_fit(part.X):
        return rows
    few = Gathered(part.X, part.sample_weight, frame)
    part = Part(few.X, few.sample_weight)
    part.keep(_GATHERED, few)
    part.keep(ALGORITHM, few.algorithm(n_clusters))  # for the first step
    return LocalRows([part])


def are_gathered(rows: Rows) -> bool:
    """Whether these are rows that :func:`gathered` has put in order."""
    return isinstance(rows, LocalRows) and _GATHERED.name in rows.parts[0].keeps


def settling(rows: LocalRows, n_clusters: int) -> Settling:
    """Gathered rows' algorithm for so many clusters, kept as that of the run under way."""
    part = rows.parts[0]
    return part.keep(ALGORITHM, part.kept(_GATHERED).algorithm(n_clusters))


def bisect_at_once(rows: LocalRows, means: np.ndarray, weights: np.ndarray) -> Halves:
    """As ``clustering.search.bisect``, of gathered rows, in one call."""
    directions, offsets = first_directions(means)
    constants = POWER_ITERATIONS, ITERATIONS, LEAST_SHARE
    made = rows.parts[0].kept(ALGORITHM)
    halves, both = made.bisect(*constants, means, weights, directions, offsets)
    return Halves(halves, both, directions, offsets)
