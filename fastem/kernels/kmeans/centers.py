"""An M-step's sums over clusters and features, each in one call.

For few clusters, a handful of NumPy calls takes longer than a pass over a few hundred rows; for
many features, as texts have, longer than a pass over all rows.
"""

import numpy as np

from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import VECTOR_BYTES
from fastem.kernels.vectors.vector import (
    broadcast,
    double,
    load,
    multiply_add,
    store,
    sum_of_lanes,
)
from fastem.kernels.vectors.vector import single as to_single

# A chunk of clusters has about so many values, and few ones are not worth a thread.
_CHUNK_VALUES, _FEW_VALUES = 1 << 16, 1 << 18
# Of so many features, sums are taken in parts: one after the other they would wait for each sum.
_MANY = 1024
# Values of a vector.
_LANES = VECTOR_BYTES // 8


def _n_chunks(centers):
    """How many runs of clusters to split a sweep into."""
    if centers.size < _FEW_VALUES:
        return 1
    return min(len(centers), centers.size // _CHUNK_VALUES)


@kernel
def average_pass(
    tickets, n_chunks, sums, weights, heaviest, origin, single, factor, before, means, partial
):
    """As :func:`average`, which says of what; writes each chunk's share of the squared ways."""
    n_clusters, n_features = sums.shape
    whole = n_features // _LANES * _LANES if n_features >= _MANY else 0
    back = 1.0 / factor
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        shift, shifts = 0.0, broadcast(0.0, _LANES)
        for j in range(chunk * n_clusters // n_chunks, (chunk + 1) * n_clusters // n_chunks):
            source = j if weights[j] > 0 else heaviest
            own, new, old, inverse = sums[source], means[j], before[j], 1.0 / weights[source]
            for f in range(0, whole, _LANES):
                mean = load(own, f, _LANES) * broadcast(inverse, _LANES)
                mean = (mean + load(origin, f, _LANES)) * broadcast(back, _LANES)
                if single:
                    mean = double(to_single(mean))
                mean = mean * broadcast(factor, _LANES)
                store(mean, new, f)
                moved = mean - load(old, f, _LANES)
                shifts = multiply_add(moved, moved, shifts)
            for f in range(whole, n_features):
                new[f] = own[f] * inverse
            for f in range(whole, n_features):  # in a loop of its own: not to be rounded only once
                mean = (new[f] + origin[f]) * back
                if single:
                    mean = np.float64(np.float32(mean))
                new[f] = mean * factor
            for f in range(whole, n_features):
                moved = new[f] - old[f]
                shift += moved * moved
        partial[chunk] = shift + sum_of_lanes(shifts)


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
        average_pass,
        len(partial),
        read_only(sums),
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
def inertia_change_pass(tickets, n_chunks, sums, weights, centers, origin, partial):
    """As :func:`inertia_change`, which says of what; writes each chunk's share."""
    n_clusters, n_features = sums.shape
    whole = n_features // _LANES * _LANES if n_features >= _MANY else 0
    twice = broadcast(-2.0, _LANES)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        total, totals = 0.0, broadcast(0.0, _LANES)
        for j in range(chunk * n_clusters // n_chunks, (chunk + 1) * n_clusters // n_chunks):
            own, center, weight = sums[j], centers[j], broadcast(weights[j], _LANES)
            for f in range(0, whole, _LANES):
                c = load(center, f, _LANES) - load(origin, f, _LANES)
                slope = multiply_add(twice, load(own, f, _LANES), weight * c)
                totals = multiply_add(c, slope, totals)
            for f in range(whole, n_features):
                c = center[f] - origin[f]
                total += c * (weights[j] * c - 2.0 * own[f])
        partial[chunk] = total + sum_of_lanes(totals)


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
    run(
        inertia_change_pass,
        len(partial),
        read_only(sums),
        weights,
        read_only(centers),
        origin,
        partial,
    )
    return sum(partial.tolist())
