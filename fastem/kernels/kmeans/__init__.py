"""Exact K-means algorithms: one short file each, all with the same interface."""

from typing import Any

import numpy as np

from fastem.kernels.kmeans.active import Active
from fastem.kernels.kmeans.base import KMeansStatistics
from fastem.kernels.kmeans.bytes import Bytes
from fastem.kernels.kmeans.filtering import Filtering, can_arrange
from fastem.kernels.kmeans.hamerly import Hamerly
from fastem.kernels.kmeans.listed.lists import Lists, can_list
from fastem.kernels.kmeans.lloyd import Lloyd
from fastem.kernels.kmeans.sparse import Sparse
from fastem.kernels.kmeans.steps import Steps, pays
from fastem.kernels.kmeans.wide import Wide
from fastem.kernels.vectors.machine import BYTE_DOTS
from fastem.kernels.vectors.tiles import tile_fits

__all__ = ["ALGORITHMS", "KMeansStatistics", "Lloyd", "Sparse", "choose"]

ALGORITHMS = {
    algorithm.name: algorithm
    for algorithm in (Lloyd, Filtering, Hamerly, Lists, Active, Wide, Steps, Bytes)
}

# Up to so many features, tiles of neighbours have few centres within reach. Up to so many features
# and clusters, comparing a row with all centres costs no more than reading and writing its bound.
_FEW_FEATURES, _FEW_CLUSTERS = 4, 64

# Multiplications of a pass up to which these take longer than comparing all rows: fits of tables of
# some hundred rows took 0.94 to 0.98 of the time without them, those of 10,000 x 8 rows and 8
# clusters 0.86 to 0.93; and less is compiled.
_LITTLE_WORK = 1 << 20

# From so many multiplications a row, and so many of a pass, lists of near centres are worth being
# made and read: 5,000 and 10,000 rows took 1.07 of the time, mostly, and up to 1.3 where clusters
# lie apart; 20,000 x 64 and 100 clusters took 0.82 to 1.07. Of more features, rows one by one take
# too long: 300 and 64 clusters 0.93 to 1.5, 400 and 200 1.1 to 1.3; 200 and 200 0.86 to 1.14.
_LISTED_WORK, _LISTED_PASS, _LISTED_FEATURES = 1 << 12, 1 << 26, 200

# With so many features and so few clusters, it would take longer to transpose rows than to compare
# them: whole rows take half the time at 784 features and 10 clusters, as much as tiles at 30.
_WIDE_FEATURES, _WIDE_CLUSTERS = 64, 20

# From so many multiplications a row on, it pays to compare with the fast centres first.
_MUCH_WORK = 1 << 15

# What comparing in bytes leaves open takes as long for few clusters or features as comparing all.
# The centres' codes are to be small beside the rows: with so many, a sixteenth in float32.
_BYTES_FEATURES, _BYTES_CLUSTERS, _BYTES_ROWS = 48, 256, 4


def choose(
    algorithm: str, n_rows: int, n_features: int, n_clusters: int, dtype: Any, sparse: bool
) -> type:
    """The class that does the work: all give the same result, they differ in speed only.

    Parameters
    ----------
    algorithm : str
        ``"auto"``, a key of ``ALGORITHMS``, or ``"elkan"``: scikit-learn's name for skipping work
        by the triangle inequality, for which the fastest of those that do so is taken. (Elkan's
        own bound for every row and centre, singly or in groups of centres, was slower everywhere.)
    n_rows, n_features, n_clusters : int
    dtype : dtype
    sparse : bool
        Whether the rows are a CSR matrix, for which there is one algorithm.
    """
    if sparse:
        return Sparse
    if algorithm in ALGORITHMS:
        return ALGORITHMS[algorithm]
    little = algorithm == "auto" and n_rows * n_features * n_clusters <= _LITTLE_WORK
    if algorithm == "auto" and n_features <= _FEW_FEATURES:
        if not little and can_arrange(n_rows, n_features, np.dtype(dtype).itemsize):
            return Filtering
        if n_clusters <= _FEW_CLUSTERS:
            return Lloyd
    if not tile_fits(n_rows, n_features, np.dtype(dtype).itemsize):
        return Lloyd  # few long rows: it keeps the least beside them
    if n_features >= _WIDE_FEATURES and n_clusters <= _WIDE_CLUSTERS:
        follows = pays(n_rows, n_features, n_clusters, np.dtype(dtype).itemsize)
        return Steps if follows else Wide
    work = n_features * n_clusters
    wide = n_features >= _BYTES_FEATURES and n_clusters >= _BYTES_CLUSTERS
    if BYTE_DOTS and wide and work >= _MUCH_WORK and n_rows >= _BYTES_ROWS * n_clusters:
        return Bytes
    listed = can_list(n_features, n_clusters, np.dtype(dtype).itemsize)
    listed = listed and n_features <= _LISTED_FEATURES
    if listed and work >= _LISTED_WORK and n_rows * work >= _LISTED_PASS:
        return Lists
    if work >= _MUCH_WORK:
        return Active
    return Lloyd if little else Hamerly
