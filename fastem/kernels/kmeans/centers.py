"""An M-step's sums over clusters and features, each in one call.

For few clusters, a handful of NumPy calls takes longer than a pass over a few hundred rows; for
many features, as texts have, longer than a pass over all rows.
"""

import numpy as np

from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.parallel import next_chunk, run

# A chunk of clusters has about so many values, and few ones are not worth a thread.
_CHUNK_VALUES, _FEW_VALUES = 1 << 16, 1 << 18
# Of so many features, sums are taken in parts: one after the other they would wait for each sum.
_MANY, _LANES = 1024, 16
_BLOCK = 512


def _n_chunks(centers):
    """How many runs of clusters to split a sweep into."""
    if centers.size < _FEW_VALUES:
        return 1
    return min(len(centers), centers.size // _CHUNK_VALUES)


@kernel
def _average(
    tickets, n_chunks, sums, weights, heaviest, origin, single, factor, before, means, partial
):
    n_clusters, n_features = sums.shape
    lanes = np.empty(_LANES)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        shift = 0.0
        for lane in range(_LANES):
            lanes[lane] = 0.0
        for j in range(chunk * n_clusters // n_chunks, (chunk + 1) * n_clusters // n_chunks):
            own = j if weights[j] > 0 else heaviest
            inverse = 1.0 / weights[own]
            for first in range(0, n_features, _BLOCK):  # which stays in the cache
                last = min(first + _BLOCK, n_features)
                for f in range(first, last):
                    means[j, f] = sums[own, f] * inverse
                for f in range(
                    first, last
                ):  # in a loop of its own: not to be fused to one rounding
                    mean = (means[j, f] + origin[f]) / factor
                    if single:
                        mean = np.float64(np.float32(mean))
                    means[j, f] = mean * factor
                for start in range(first, last, _LANES):
                    if n_features < _MANY or last - start < _LANES:
                        for f in range(start, min(start + _LANES, last)):
                            moved = means[j, f] - before[j, f]
                            shift += moved * moved
                    else:
                        for lane in range(_LANES):
                            moved = means[j, start + lane] - before[j, start + lane]
                            lanes[lane] += moved * moved
        for lane in range(_LANES):
            shift += lanes[lane]
        partial[chunk] = shift


def average(
    sums: np.ndarray,
    weights: np.ndarray,
    origin: np.ndarray,
    dtype: np.dtype,
    factor: float,
    before: np.ndarray,
    means: np.ndarray,
) -> float:
    """Write the means of the clusters, rounded to what the user gets.

    A cluster of no weight gets that of the heaviest.

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
    before : float64 array of shape (n_clusters, n_features)
        The centres before.

    Returns
    -------
    float
        Sum of the squared distances that the centres moved.
    """
    single, partial = np.dtype(dtype) == np.float32, np.empty(_n_chunks(sums))
    run(
        _average,
        len(partial),
        sums,
        weights,
        int(np.argmax(weights)),
        origin,
        single,
        float(factor),
        read_only(before),
        means,
        partial,
    )
    return sum(partial.tolist())


@kernel
def _inertia_change(tickets, n_chunks, sums, weights, centers, origin, partial):
    n_clusters, n_features = centers.shape
    lanes = np.empty(_LANES)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        total = 0.0
        for lane in range(_LANES):
            lanes[lane] = 0.0
        for j in range(chunk * n_clusters // n_chunks, (chunk + 1) * n_clusters // n_chunks):
            for start in range(0, n_features, _LANES):
                if n_features < _MANY or n_features - start < _LANES:
                    for f in range(start, min(start + _LANES, n_features)):
                        c = centers[j, f] - origin[f]
                        total += c * (weights[j] * c - 2.0 * sums[j, f])
                else:
                    for lane in range(_LANES):
                        c = centers[j, start + lane] - origin[start + lane]
                        lanes[lane] += c * (weights[j] * c - 2.0 * sums[j, start + lane])
        for lane in range(_LANES):
            total += lanes[lane]
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
