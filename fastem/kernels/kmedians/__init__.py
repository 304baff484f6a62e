"""Exact K-medians algorithms: those of K-means with another distance and location."""

from fastem.kernels.kmeans.hamerly import BoundedAlgorithm
from fastem.kernels.kmeans.lloyd import PlainAlgorithm
from fastem.kernels.kmedians.base import KMediansStatistics, MedianAlgorithm

__all__ = ["ALGORITHMS", "Bounded", "KMediansStatistics", "Plain", "choose"]


class Plain(MedianAlgorithm, PlainAlgorithm):
    """Compares every row with every centre in every pass."""

    name = "plain"


class Bounded(MedianAlgorithm, BoundedAlgorithm):
    """Skips the rows whose nearest centre can't have changed: L1 is a metric, too."""

    name = "bounded"


ALGORITHMS = {algorithm.name: algorithm for algorithm in (Plain, Bounded)}

# Up to so many features and clusters, comparing a row with all centres costs no more than reading
# and writing its bound.
_FEW_FEATURES, _FEW_CLUSTERS = 4, 64


def choose(n_features: int, n_clusters: int) -> type:
    """The algorithm that is faster for data of this shape; the results are the same."""
    return Plain if n_features <= _FEW_FEATURES and n_clusters <= _FEW_CLUSTERS else Bounded
