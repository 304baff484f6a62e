"""Exact K-means algorithms: one short file each, all with the same interface."""

from fastem.kernels.kmeans.base import Frame, Statistics
from fastem.kernels.kmeans.hamerly import Hamerly
from fastem.kernels.kmeans.lloyd import Lloyd
from fastem.kernels.kmeans.sparse import Sparse

__all__ = ["ALGORITHMS", "Frame", "Statistics", "choose"]

ALGORITHMS = {"lloyd": Lloyd, "hamerly": Hamerly, "elkan": Hamerly}


def choose(algorithm, n_rows, n_features, n_clusters, dtype, sparse):
    """The class that does the work: all are exact, they differ in speed only.

    Parameters
    ----------
    algorithm : str
        ``"auto"`` or a key of ``ALGORITHMS``.
    n_rows, n_features, n_clusters : int
    dtype : dtype
    sparse : bool
    """
    if sparse:
        return Sparse
    if algorithm == "auto":
        algorithm = "lloyd" if n_features <= 4 and n_clusters <= 16 else "hamerly"
    return ALGORITHMS[algorithm]
