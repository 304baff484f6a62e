"""An M-step's sums over clusters and features, each in one call.

For few clusters, a handful of NumPy calls takes longer than a pass over a few hundred rows; for
many features, as texts have, longer than a pass over all rows.
"""

import numpy as np

from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.parallel import next_chunk, run

# A chunk of clusters has about so many values, and few ones are not worth a thread.
_CHUNK_VALUES, _FEW_VALUES = 1 << 16, 1 << 18


def _n_chunks(centers):
    """How many runs of clusters to split a sweep into."""
    if centers.size < _FEW_VALUES:
        return 1
    return min(len(centers), centers.size // _CHUNK_VALUES)


@kernel
def _average(tickets, n_chunks, sums, weights, origin, single, factor, means):
    n_clusters, n_features = sums.shape
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for j in range(chunk * n_clusters // n_chunks, (chunk + 1) * n_clusters // n_chunks):
            if not weights[j] > 0:
                continue
            inverse = 1.0 / weights[j]
            for f in range(n_features):
                means[j, f] = sums[j, f] * inverse
            for f in range(n_features):  # in a loop of its own: not to be fused to one rounding
                mean = (means[j, f] + origin[f]) / factor
                if single:
                    mean = np.float64(np.float32(mean))
                means[j, f] = mean * factor


def average(
    sums: np.ndarray,
    weights: np.ndarray,
    origin: np.ndarray,
    dtype: np.dtype,
    factor: float,
    means: np.ndarray,
) -> None:
    """Write the means of the clusters of positive weight, rounded to what the user gets.

    Parameters
    ----------
    sums, means : float64 arrays of shape (n_clusters, n_features)
        The sums are of differences from the origin.
    weights : float64 array of shape (n_clusters,)
    origin : float64 array of shape (n_features,)
    dtype : dtype
        Of the user's centres.
    factor : float
        What these are multiplied by, a power of two.
    """
    single = np.dtype(dtype) == np.float32
    run(_average, _n_chunks(sums), sums, weights, origin, single, float(factor), means)


@kernel
def _inertia_change(tickets, n_chunks, sums, weights, centers, origin, partial):
    n_clusters, n_features = centers.shape
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        total = 0.0
        for j in range(chunk * n_clusters // n_chunks, (chunk + 1) * n_clusters // n_chunks):
            for f in range(n_features):
                c = centers[j, f] - origin[f]
                total += c * (weights[j] * c - 2.0 * sums[j, f])
        partial[chunk] = total


def inertia_change(
    sums: np.ndarray, weights: np.ndarray, centers: np.ndarray, origin: np.ndarray
) -> float:
    """What the inertia about the origin changes by if it is taken about the clusters' centres.

    Parameters
    ----------
    sums : float64 array of shape (n_clusters, n_features)
        Of differences from the origin.
    weights : float64 array of shape (n_clusters,)
    centers : float64 array of shape (n_clusters, n_features)
    origin : float64 array of shape (n_features,)
    """
    partial = np.empty(_n_chunks(centers))
    run(_inertia_change, len(partial), sums, weights, centers, origin, partial)
    return sum(partial.tolist())


@kernel
def _squared_shift(tickets, n_chunks, before, after, partial):
    n_clusters, n_features = before.shape
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        total = 0.0
        for j in range(chunk * n_clusters // n_chunks, (chunk + 1) * n_clusters // n_chunks):
            for f in range(n_features):
                shift = after[j, f] - before[j, f]
                total += shift * shift
        partial[chunk] = total


def squared_shift(before: np.ndarray, after: np.ndarray) -> float:
    """Sum of the squared distances that the centres moved.

    Parameters
    ----------
    before, after : float64 arrays of shape (n_clusters, n_features)
    """
    partial = np.empty(_n_chunks(before))
    run(_squared_shift, len(partial), before, after, partial)
    return sum(partial.tolist())
