"""An M-step's sums over clusters and features, each in one call.

For few clusters, a handful of NumPy calls takes longer than a pass over a few hundred rows; for
many features, as texts have, longer than a pass over all rows.
"""

import numpy as np

from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import DOUBLES
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
_CHUNK_VALUES, _FEW_VALUES = 1 << 15, 1 << 18
# Of so many features, sums are taken in parts: one after the other they would wait for each sum.
_MANY = 1024
# Of fewer, those of so many clusters are taken side by side.
_CHAINS = 4


# What stands for all clusters, and for sums that nobody asks for.
ALL, NONE = np.empty(0, bool), np.empty(0)


def _n_chunks(n_clusters, n_values):
    """How many runs of clusters to split a sweep over so many values into."""
    if n_values < _FEW_VALUES:
        return 1
    return min(n_clusters, n_values // _CHUNK_VALUES)


def knows_shares(n_features: int) -> bool:
    """Whether it pays to keep each cluster's share of the inertia, of so many features."""
    return n_features >= _MANY


@inline
def _add_share(own, center, weight, origin, f, totals):
    """Add some features' part of a cluster's share."""
    c = center - load(origin, f, DOUBLES)
    slope = multiply_add(broadcast(-2.0, DOUBLES), load(own, f, DOUBLES), weight * c)
    return multiply_add(c, slope, totals)


@kernel
def average_pass(
    tickets, n_chunks, sums, weights, heaviest, origin, single, factor, before, changed, means,
    shares, partial,
):  # fmt: skip
    """As :func:`average`, which says of what; writes each chunk's share of the squared ways.

    ``changed`` and ``shares`` may be ``ALL`` and ``NONE``.
    """
    n_clusters, n_features = sums.shape
    vectors = n_features // DOUBLES * DOUBLES
    whole = vectors if n_features >= _MANY else 0
    back = 1.0 / factor
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        shift, shifts = 0.0, broadcast(0.0, DOUBLES)
        for j in range(chunk * n_clusters // n_chunks, (chunk + 1) * n_clusters // n_chunks):
            source = j if weights[j] > 0 else heaviest
            own, new, old, inverse = sums[source], means[j], before[j], 1.0 / weights[source]
            if len(changed) and not changed[j]:
                for f in range(n_features):
                    new[f] = old[f]
                continue
            weight, total, totals = broadcast(weights[j], DOUBLES), 0.0, broadcast(0.0, DOUBLES)
            for f in range(0, whole, DOUBLES):
                mean = load(own, f, DOUBLES) * broadcast(inverse, DOUBLES)
                mean = (mean + load(origin, f, DOUBLES)) * broadcast(back, DOUBLES)
                if single:
                    mean = double(to_single(mean))
                mean = mean * broadcast(factor, DOUBLES)
                store(mean, new, f)
                moved = mean - load(old, f, DOUBLES)
                shifts = multiply_add(moved, moved, shifts)
                totals = _add_share(own, mean, weight, origin, f, totals)
            # In two loops: not to be rounded only once.
            for f in range(whole, vectors, DOUBLES):
                store(load(own, f, DOUBLES) * broadcast(inverse, DOUBLES), new, f)
            for f in range(whole, vectors, DOUBLES):
                mean = load(new, f, DOUBLES) + load(origin, f, DOUBLES)
                mean = mean * broadcast(back, DOUBLES)
                if single:
                    mean = double(to_single(mean))
                mean = mean * broadcast(factor, DOUBLES)
                store(mean, new, f)
                moved = mean - load(old, f, DOUBLES)
                shifts = multiply_add(moved, moved, shifts)
            for f in range(vectors, n_features):
                new[f] = own[f] * inverse
            for f in range(vectors, n_features):
                mean = (new[f] + origin[f]) * back
                if single:
                    mean = np.float64(np.float32(mean))
                new[f] = mean * factor
            for f in range(vectors, n_features):
                moved = new[f] - old[f]
                shift += moved * moved
            if len(shares):
                for f in range(whole, n_features):
                    c = new[f] - origin[f]
                    total += c * (weights[j] * c - 2.0 * own[f])
                shares[j] = total + sum_of_lanes(totals)
        partial[chunk] = shift + sum_of_lanes(shifts)


def average(
    sums: np.ndarray,
    weights: np.ndarray,
    origin: np.ndarray,
    dtype: np.dtype,
    factor: float,
    before: np.ndarray,
    means: np.ndarray,
    changed: np.ndarray = ALL,
    shares: np.ndarray = NONE,
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
    changed : bool array of n_clusters values, or of none
        For which clusters these aren't the means already; any if there are none.
    shares : float64 array of n_clusters values, or of none
        Gets what :func:`inertia_change` would write of the means, of those that have changed.

    Returns
    -------
    float
        Sum of the squared distances that the centres moved.
    """
    single = np.dtype(dtype) == np.float32
    partial = np.empty(_n_chunks(len(sums), sums.size))
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
        changed,
        means,
        shares,
        partial,
    )
    return sum(partial.tolist())


@inline
def _write_shares(sums, weights, centers, origin, j, shares):
    """Write the shares of some clusters, side by side, each summed as one alone is."""
    first = second = third = fourth = 0.0
    for f in range(len(origin)):
        c = centers[j, f] - origin[f]
        first += c * (weights[j] * c - 2.0 * sums[j, f])
        c = centers[j + 1, f] - origin[f]
        second += c * (weights[j + 1] * c - 2.0 * sums[j + 1, f])
        c = centers[j + 2, f] - origin[f]
        third += c * (weights[j + 2] * c - 2.0 * sums[j + 2, f])
        c = centers[j + 3, f] - origin[f]
        fourth += c * (weights[j + 3] * c - 2.0 * sums[j + 3, f])
    shares[j], shares[j + 1], shares[j + 2], shares[j + 3] = first, second, third, fourth


@kernel
def inertia_change_pass(tickets, n_chunks, sums, weights, centers, origin, changed, shares):
    """As :func:`inertia_change`, which says of what; ``changed`` may be ``ALL``."""
    n_clusters, n_features = sums.shape
    whole = n_features // DOUBLES * DOUBLES if n_features >= _MANY else 0
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        first, last = chunk * n_clusters // n_chunks, (chunk + 1) * n_clusters // n_chunks
        if not (len(changed) or whole):
            for j in range(first, last - _CHAINS + 1, _CHAINS):
                _write_shares(sums, weights, centers, origin, j, shares)
            first = last - (last - first) % _CHAINS
        for j in range(first, last):
            if len(changed) and not changed[j]:
                continue
            own, center, weight = sums[j], centers[j], broadcast(weights[j], DOUBLES)
            total, totals = 0.0, broadcast(0.0, DOUBLES)
            for f in range(0, whole, DOUBLES):
                totals = _add_share(own, load(center, f, DOUBLES), weight, origin, f, totals)
            for f in range(whole, n_features):
                c = center[f] - origin[f]
                total += c * (weights[j] * c - 2.0 * own[f])
            shares[j] = total + sum_of_lanes(totals)


def inertia_change(
    sums: np.ndarray,
    weights: np.ndarray,
    centers: np.ndarray,
    origin: np.ndarray,
    changed: np.ndarray = ALL,
    shares: np.ndarray = NONE,
) -> float:
    """What the inertia about the origin changes by if it is taken about the clusters' centres.

    Parameters
    ----------
    sums : float64 array of shape (n_clusters, n_features)
        Of differences from the origin.
    weights : float64 array of shape (n_clusters,)
    centers : float64 array of shape (n_clusters, n_features)
    origin : float64 array of shape (n_features,)
    changed : bool array of n_clusters values, or of none
        Which clusters' shares aren't known yet; any if there are none.
    shares : float64 array of n_clusters values, or of none
        The known shares; gets the others.
    """
    n_clusters, n_features = centers.shape
    if not len(shares):
        shares = np.empty(n_clusters)
    n_changed = np.count_nonzero(changed) if len(changed) else n_clusters
    run(
        inertia_change_pass,
        _n_chunks(n_clusters, n_changed * n_features),
        read_only(sums),
        weights,
        read_only(centers),
        origin,
        changed,
        shares,
    )
    return float(shares.sum())
