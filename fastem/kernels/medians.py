"""The coordinate-wise medians of clusters.

The rows of a cluster are visited through a list of its members. A sample gives a *bracket*, an
interval that holds the median of a feature almost surely; one pass over the members counts the
values below it and collects those inside, among which the median is selected (R. W. Floyd and
R. L. Rivest, "Expected time bounds for selection", Communications of the ACM 18, 1975).
"""

import math
from typing import NamedTuple

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import overload

from fastem.kernels.arrays import read_only
from fastem.kernels.chunks import row_chunks
from fastem.kernels.compiling import inline, kernel
from fastem.kernels.pairs import convert, real_rows
from fastem.kernels.parallel import next_chunk, run
from fastem.kernels.selection import middle, select, weighted_median
from fastem.kernels.simd import TILE, bits, broadcast, count_bits, fetch, first_bit, lanes_of, load
from fastem.kernels.tiles import aligned_empty_like

# Features that one task takes: a cache line of float64.
BLOCK = 8

# All values of so small a cluster are collected.
_FEW_ROWS = 512

# A sample's size as a share of the cluster, and its limits.
_SAMPLE_SHARE, _SMALLEST_SAMPLE, _LARGEST_SAMPLE = 1 / 16, 128, 1024

# Half the bracket's width in standard deviations of the sample's median.
_DEVIATIONS = 2.5

# A bracket that the median has left tells where it is by the density of the values inside, if
# these are not too few and it is not farther away than so many times their number. The new bracket
# reaches so far to both sides, as a share of what can be kept.
_FEW_INSIDE, _FARTHEST_GUESS, _GUESS_SHARE = 8, 2, 0.3

# Rows are fetched so many members before they are looked at.
_ROWS_AHEAD = 16


class Brackets(NamedTuple):
    """For each cluster and feature an interval around the median, and what lies in it.

    Parameters
    ----------
    lower, upper : ndarray of shape (n_clusters, n_features), in the rows' dtype
    below, at_lower, inside, at_upper : ndarray of shape (n_clusters, n_features), int32
        How many values lie below the interval, at its ends, and strictly inside. ``below`` is -1
        where there is no bracket.
    values : ndarray of shape (n_clusters, n_features, width), in the rows' dtype
        The first ``inside`` are the values inside, in any order.
    """

    lower: np.ndarray
    upper: np.ndarray
    below: np.ndarray
    at_lower: np.ndarray
    inside: np.ndarray
    at_upper: np.ndarray
    values: np.ndarray


def empty_brackets(n_clusters, n_features, width, dtype):
    """Brackets of which none is known yet."""
    shape = n_clusters, n_features
    ends = [np.zeros(shape, dtype) for _ in range(2)]
    below = np.full(shape, -1, np.int32)
    counts = [np.zeros(shape, np.int32) for _ in range(3)]
    return Brackets(*ends, below, *counts, np.empty((*shape, width), dtype))


@kernel
def count_members(tickets, n_chunks, chunk_rows, labels, sample_weight, counts):
    """Each chunk's number of rows of positive weight in each cluster."""
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for row in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, len(labels))):
            if len(sample_weight) == 0 or sample_weight[row] > 0.0:
                counts[chunk, labels[row]] += 1


@kernel
def list_members(tickets, n_chunks, chunk_rows, labels, sample_weight, wanted, places, members):
    """Write the rows of positive weight of the wanted clusters to where their chunk's begin.

    Behind the ``members`` are ``n_chunks`` more places.
    """
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        next_place = places[chunk].copy()
        # Unwanted rows are written, too, to a place of the chunk's own: a branch would often be
        # predicted wrongly. Unsigned indices need no test for being negative.
        nowhere = len(members) - n_chunks + chunk
        for row in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, len(labels))):
            label = np.uint32(labels[row])
            listed = wanted[label]
            if len(sample_weight) > 0:
                listed &= sample_weight[row] > 0.0
            place = next_place[label]
            next_place[label] = place + listed
            members[np.uint64(place if listed else nowhere)] = row


def members_of(wanted, labels, sample_weight, chunk_rows, counts):
    """The rows of some clusters, in order.

    Parameters
    ----------
    wanted : ndarray of shape (n_clusters,), bool
    labels : ndarray of shape (n_rows,), int32
    sample_weight : ndarray of shape (n_rows,) or (0,), float64
        Rows of weight zero are no members.
    chunk_rows : int
    counts : ndarray of shape (n_chunks, n_clusters), int64
        From :func:`count_members`.

    Returns
    -------
    members : ndarray of int32
        The rows, cluster by cluster, and some more values.
    starts : ndarray of shape (n_clusters + 1,), int64
        Where each cluster's begin.
    """
    counts = np.where(wanted, counts, 0)
    starts = np.zeros(len(wanted) + 1, np.int64)
    np.cumsum(counts.sum(axis=0), out=starts[1:])
    places = starts[:-1] + np.cumsum(counts, axis=0) - counts
    n_chunks = len(counts)
    members = np.empty(starts[-1] + n_chunks, np.int32)
    run(
        list_members,
        n_chunks,
        n_chunks,
        chunk_rows,
        labels,
        sample_weight,
        wanted,
        places,
        members,
    )
    return members, starts


@inline
def _sample_size(n):
    return max(_SMALLEST_SAMPLE, min(_LARGEST_SAMPLE, np.intp(n * _SAMPLE_SHARE)))


@inline
def _capacity(n):
    """How many values of a cluster of ``n`` rows there is room for inside a bracket."""
    if n <= _FEW_ROWS:
        return n
    share = (_DEVIATIONS * math.sqrt(_sample_size(n)) + 4) / _sample_size(n)
    return max(_FEW_ROWS, np.intp(1.5 * share * n))


@inline
def read_median(brackets, cluster, feature, values, start, count):
    """The median from a bracket, and whether it lies there.

    ``values[start:]`` are the values inside, which are reordered; ``count`` is the number of the
    cluster's rows.
    """
    lower, upper = brackets.lower[cluster, feature], brackets.upper[cluster, feature]
    inside = brackets.inside[cluster, feature]
    first_inside = brackets.below[cluster, feature] + brackets.at_lower[cluster, feature]
    first, second = (count - 1) // 2, count // 2
    if first < brackets.below[cluster, feature] or (
        second >= first_inside + inside + brackets.at_upper[cluster, feature]
    ):
        return lower, False
    high = upper
    if second < first_inside:
        high = lower
    elif second < first_inside + inside:
        high = select(values, start, start + inside, start + second - first_inside)
    low = high
    if first < second:
        if first < first_inside:
            low = lower
        elif first >= first_inside + inside:
            low = upper
        else:
            # All that lies before the other of the middle two is not greater than it.
            last = start + min(second - first_inside, inside)
            low = values[start]
            for i in range(start + 1, last):
                low = max(low, values[i])
    return values.dtype.type(middle(low, high)), True


@inline
def _keep(brackets, cluster, feature, values, start, count):
    """Narrow a bracket to three quarters of what its arrays hold and keep the values inside.

    The median has been read from it, so that the values are in two halves.
    """
    reach = 3 * brackets.values.shape[2] // 8
    inside = brackets.inside[cluster, feature]
    lower, upper = brackets.lower[cluster, feature], brackets.upper[cluster, feature]
    below = brackets.below[cluster, feature]
    at_lower, at_upper = brackets.at_lower[cluster, feature], brackets.at_upper[cluster, feature]
    place = count // 2 - below - at_lower
    left_end = place if place < inside else inside
    place = min(max(place, 0), inside - 1)
    if place > reach:
        lower = select(values, start, start + left_end, start + place - reach)
        below, at_lower = below + at_lower, 0
    if inside > 0 and place + reach < inside:
        upper = select(values, start + place, start + inside, start + place + reach)
        at_upper = 0
    n_kept = 0
    for i in range(start, start + inside):
        value = values[i]
        below += value < lower
        at_lower += value == lower
        # With equal ends, values there count as the lower one's.
        at_upper += (value == upper) & (upper != lower)
        if (value > lower) & (value < upper):
            brackets.values[cluster, feature, n_kept] = value
            n_kept += 1
    brackets.lower[cluster, feature], brackets.upper[cluster, feature] = lower, upper
    brackets.below[cluster, feature] = below
    brackets.at_lower[cluster, feature], brackets.at_upper[cluster, feature] = at_lower, at_upper
    brackets.inside[cluster, feature] = n_kept


@inline
def _guess(brackets, cluster, feature, count):
    """Move a bracket to where the median should be; whether it is known well enough for that."""
    inside = brackets.inside[cluster, feature]
    if brackets.below[cluster, feature] < 0 or inside < _FEW_INSIDE:
        return False
    lower = np.float64(brackets.lower[cluster, feature])
    step = (np.float64(brackets.upper[cluster, feature]) - lower) / (inside + 1)
    first_inside = brackets.below[cluster, feature] + brackets.at_lower[cluster, feature]
    place = count // 2 - first_inside
    reach = _GUESS_SHARE * brackets.values.shape[2]
    if abs(place) > _FARTHEST_GUESS * inside:
        return False
    brackets.lower[cluster, feature] = lower + (place - reach) * step
    brackets.upper[cluster, feature] = lower + (place + reach) * step
    return brackets.lower[cluster, feature] < brackets.upper[cluster, feature]


@inline
def _draw(brackets, cluster, feature, X, members, start, count, scratch, first):
    """Take a bracket from a sample, in ``scratch[first:]``."""
    lower, upper = X.dtype.type(-np.inf), X.dtype.type(np.inf)
    if count > _FEW_ROWS:
        size = _sample_size(count)
        n_numbers = 0
        for i in range(size):
            value = X[members[start + i * count // size], feature]
            scratch[first + n_numbers] = value
            n_numbers += value == value
        if n_numbers == size:
            reach = np.intp(_DEVIATIONS * 0.5 * math.sqrt(size)) + 1
            low, high = first + size // 2 - reach, first + size // 2 + reach
            lower = select(scratch, first, first + size, low)
            upper = select(scratch, low, first + size, high)
    brackets.lower[cluster, feature], brackets.upper[cluster, feature] = lower, upper


@inline
def _load_columns(X, members, first, stop, features, n_features, columns):
    """``columns[b * TILE + lane] = X[members[first + lane], features[b]]``."""
    for i in range(first, min(first + TILE, stop)):
        ahead = np.intp(members[min(i + _ROWS_AHEAD, stop - 1)]) * X.shape[1]
        fetch(X, ahead + features[0])
        fetch(X, ahead + features[n_features - 1])
        row = members[i]
        for b in range(n_features):
            columns[b * TILE + i - first] = X[row, features[b]]


@inline
def _scan_column(columns, first, n_lanes, lower, upper):
    """Hold a tile's column against a bracket.

    Returns how many values lie below and at its ends, and the lanes inside as bits.
    """
    lanes = lanes_of(columns)
    low, high = broadcast(lower, lanes), broadcast(upper, lanes)
    below = up_to_lower = below_upper = up_to_upper = np.uint64(0)
    for lane in range(0, TILE, lanes):
        value = load(columns, first + lane, lanes)
        shift = np.uint64(lane)
        below |= bits(value < low) << shift
        up_to_lower |= bits(value <= low) << shift
        below_upper |= bits(value < high) << shift
        up_to_upper |= bits(value <= high) << shift
    used = ~np.uint64(0) >> np.uint64(TILE - n_lanes)
    n_below = np.intp(count_bits(below & used))
    return (
        n_below,
        np.intp(count_bits(up_to_lower & used)) - n_below,
        np.intp(count_bits(up_to_upper & ~below_upper & used)),
        below_upper & ~up_to_lower & used,
    )


@kernel
def _fallback(X, members, start, stop, feature):
    """The median of a column by selection among all its values; NaN if there are none."""
    values = np.empty(stop - start, X.dtype)
    n_numbers = 0
    for i in range(start, stop):
        value = X[members[i], feature]
        values[n_numbers] = value
        n_numbers += value == value
    if n_numbers == 0:
        return X.dtype.type(np.nan)
    low = select(values, 0, n_numbers, (n_numbers - 1) // 2)
    high = select(values, (n_numbers - 1) // 2, n_numbers, n_numbers // 2)
    return X.dtype.type(middle(low, high))


@kernel
def find_medians(tickets, n_tasks, X, members, starts, largest, wanted, brackets, keep, medians):
    """Find the medians of the wanted clusters and features, and keep brackets around them.

    A task is a cluster and ``BLOCK`` features. A bracket that is known, but no longer holds the
    median, tells about where to look; otherwise, or if that fails, a sample does. ``largest`` is
    the number of rows of the largest cluster; without ``keep``, ``brackets`` is scratch.
    """
    n_features = X.shape[1]
    n_blocks = (n_features + BLOCK - 1) // BLOCK
    stride = max(_capacity(largest), _LARGEST_SAMPLE) + 1
    scratch = np.empty(BLOCK * stride, X.dtype)
    columns = aligned_empty_like(BLOCK * TILE, X)
    columns[:] = 0
    features = np.empty(BLOCK, np.intp)
    open_features = np.empty(BLOCK, np.intp)
    while True:
        task = next_chunk(tickets)
        if task >= n_tasks:
            return
        cluster = task // n_blocks
        start, stop = starts[cluster], starts[cluster + 1]
        count = stop - start
        capacity = _capacity(count)
        n_open = 0
        first_feature = task % n_blocks * BLOCK
        for f in range(first_feature, min(first_feature + BLOCK, n_features)):
            if wanted[cluster, f]:
                if count > 0:
                    open_features[n_open] = f
                    n_open += 1
                else:
                    medians[cluster, f] = np.nan
                    brackets.below[cluster, f] = -1
        for attempt in range(2):
            n_tried = 0
            n_left = 0
            for b in range(n_open):
                f = open_features[b]
                if attempt == 0 and not _guess(brackets, cluster, f, count):
                    open_features[n_left] = f
                    n_left += 1
                    continue
                if attempt == 1:
                    _draw(brackets, cluster, f, X, members, start, count, scratch, b * stride)
                brackets.below[cluster, f] = brackets.inside[cluster, f] = 0
                brackets.at_lower[cluster, f] = brackets.at_upper[cluster, f] = 0
                features[n_tried] = f
                n_tried += 1
            n_open = n_left
            if n_tried == 0:
                continue

            for first in range(start, stop, TILE):
                n_lanes = min(TILE, stop - first)
                _load_columns(X, members, first, stop, features, n_tried, columns)
                for b in range(n_tried):
                    f = features[b]
                    below, at_lower, at_upper, lanes = _scan_column(
                        columns,
                        b * TILE,
                        n_lanes,
                        brackets.lower[cluster, f],
                        brackets.upper[cluster, f],
                    )
                    brackets.below[cluster, f] += below
                    brackets.at_lower[cluster, f] += at_lower
                    brackets.at_upper[cluster, f] += at_upper
                    inside = np.intp(brackets.inside[cluster, f])
                    while lanes != np.uint64(0):
                        value = columns[b * TILE + np.intp(first_bit(lanes))]
                        lanes &= lanes - np.uint64(1)
                        scratch[b * stride + min(inside, capacity)] = value
                        inside += 1
                    brackets.inside[cluster, f] = inside

            for b in range(n_tried):
                f = features[b]
                if brackets.lower[cluster, f] == brackets.upper[cluster, f]:
                    brackets.at_upper[cluster, f] = 0  # counted as the lower one's
                found = False
                if brackets.inside[cluster, f] <= capacity:
                    median, found = read_median(brackets, cluster, f, scratch, b * stride, count)
                    if found:
                        medians[cluster, f] = median
                if found and keep:
                    _keep(brackets, cluster, f, scratch, b * stride, count)
                else:
                    brackets.below[cluster, f] = -1
                if not found and attempt == 0:
                    open_features[n_open] = f
                    n_open += 1
                elif not found:
                    medians[cluster, f] = _fallback(X, members, start, stop, f)


@kernel
def find_weighted_medians(
    tickets, n_tasks, X, sample_weight, members, starts, largest, wanted, medians
):
    """As :func:`find_medians` with weights, by collecting all values: a task is one median."""
    n_features = X.shape[1]
    values, weights = np.empty(largest, X.dtype), np.empty(largest)
    while True:
        task = next_chunk(tickets)
        if task >= n_tasks:
            return
        cluster, feature = task // n_features, task % n_features
        if not wanted[cluster, feature]:
            continue
        n_numbers = 0
        for i in range(starts[cluster], starts[cluster + 1]):
            value = X[members[i], feature]
            values[n_numbers], weights[n_numbers] = value, sample_weight[members[i]]
            n_numbers += value == value
        median = np.nan
        if n_numbers > 0:
            median = weighted_median(values, weights, n_numbers)
        medians[cluster, feature] = X.dtype.type(median)


def update_medians(X, labels, sample_weight, chunk_rows, counts, wanted, brackets, medians):
    """Find the medians of the wanted clusters and features; the others stay as they are.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    labels : ndarray of shape (n_rows,), int32
    sample_weight : ndarray of shape (n_rows,) or (0,), float64
    chunk_rows : int
    counts : ndarray of shape (n_chunks, n_clusters), int64
        From :func:`count_members`.
    wanted : ndarray of shape (n_clusters, n_features), bool
    brackets : Brackets or None
        To be kept around the medians found, unless there are weights.
    medians : ndarray of shape (n_clusters, n_features), in the rows' dtype
    """
    members, starts = members_of(wanted.any(axis=1), labels, sample_weight, chunk_rows, counts)
    largest = int(np.diff(starts).max())
    n_clusters, n_features = wanted.shape
    if len(sample_weight):
        arguments = X, sample_weight, members, starts, largest, wanted, medians
        n_tasks = n_clusters * n_features
        run(find_weighted_medians, n_tasks, n_tasks, *arguments)
        return
    keep = brackets is not None
    if not keep:
        brackets = empty_brackets(n_clusters, n_features, 0, X.dtype)
    n_tasks = n_clusters * -(-n_features // BLOCK)
    arguments = X, members, starts, largest, wanted, brackets, keep, medians
    run(find_medians, n_tasks, n_tasks, *arguments)


@kernel
def _check(n_rows, labels, n_clusters, weights, weighted):
    if len(labels) != n_rows or (weighted and len(weights) != n_rows):
        raise ValueError("X, labels and sample_weight must have the same length")
    if n_clusters < 1:
        raise ValueError("n_clusters must be positive")
    for label in labels:
        if label < 0 or label >= n_clusters:
            raise ValueError("labels must be from 0 to n_clusters - 1")
    for weight in weights:
        if not (0 <= weight < np.inf):
            raise ValueError("sample_weight must be finite and not negative")


@kernel
def _spread_nan(X, labels, medians):
    for row in range(len(X)):
        for f in range(X.shape[1]):
            if X[row, f] != X[row, f]:
                medians[labels[row], f] = np.nan


def cluster_medians(
    X: np.ndarray,
    labels: np.ndarray,
    n_clusters: int,
    sample_weight: np.ndarray | None = None,
) -> np.ndarray:
    """The coordinate-wise median of every cluster's rows, by selection.

    Callable from Python and from functions under ``@njit``, where it takes arrays and runs on the
    calling thread.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features)
    labels : array-like of shape (n_rows,), int
        Each row's cluster, from 0 to ``n_clusters - 1``.
    n_clusters : int
    sample_weight : array-like of shape (n_rows,), default=None
        Non-negative; None for ones. A row of weight zero has no influence.

    Returns
    -------
    medians : ndarray of shape (n_clusters, n_features)
        float32 if X is, else float64. As :func:`numpy.median`, the mean of the middle two values
        for an even number of rows; with weights the least value up to which half of the weight
        lies, or if exactly half does (up to the rounding of sums), its mean with the next greater
        value. NaN for clusters without rows, and where a value is NaN.

    Raises
    ------
    ValueError
        If X is not a 2-D array of real numbers, labels are not integers in range, a weight is
        negative or not finite, or the lengths differ.
    """
    X = real_rows(X, "X")
    X = read_only(np.require(X, np.float32 if X.dtype == np.float32 else np.float64, ["C", "A"]))
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise ValueError("labels must be a 1-D array of integers")
    weights = np.empty(0) if sample_weight is None else np.asarray(sample_weight)
    if weights.dtype.kind not in "biuf" or weights.ndim != 1:
        raise ValueError("sample_weight must be a 1-D array of real numbers")
    weights = read_only(np.require(weights, np.float64, ["C", "A"]))
    _check(len(X), labels.astype(np.int64), n_clusters, weights, sample_weight is not None)
    labels = np.require(labels, np.int32, ["C", "A"])
    chunk_rows, n_chunks = row_chunks(len(X), X.shape[1])
    counts = np.zeros((n_chunks, n_clusters), np.int64)
    run(count_members, n_chunks, n_chunks, chunk_rows, labels, weights, counts)
    wanted = np.ones((n_clusters, X.shape[1]), bool)
    medians = np.empty(wanted.shape, X.dtype)
    update_medians(X, labels, weights, chunk_rows, counts, wanted, None, medians)
    _spread_nan(X, labels, medians)
    return medians


@kernel
def _cluster_medians_serial(X, labels, n_clusters, weights, weighted):
    _check(len(X), labels.astype(np.int64), n_clusters, weights, weighted)
    labels = labels.astype(np.int32)
    n_rows, n_features = X.shape
    counts = np.zeros((1, n_clusters), np.int64)
    count_members(np.zeros(1, np.int64), 1, n_rows, labels, weights, counts)
    starts = np.zeros(n_clusters + 1, np.int64)
    largest = 0
    for j in range(n_clusters):
        starts[j + 1] = starts[j] + counts[0, j]
        largest = max(largest, counts[0, j])
    members = np.empty(starts[-1] + 1, np.int32)
    everything = np.ones(n_clusters, np.bool_)
    places = starts[:-1].copy().reshape((1, n_clusters))
    list_members(np.zeros(1, np.int64), 1, n_rows, labels, weights, everything, places, members)
    wanted = np.ones((n_clusters, n_features), np.bool_)
    medians = np.empty((n_clusters, n_features), X.dtype)
    tickets = np.zeros(1, np.int64)
    if weighted:
        n_tasks = n_clusters * n_features
        find_weighted_medians(
            tickets, n_tasks, X, weights, members, starts, largest, wanted, medians
        )
    else:
        n_tasks = n_clusters * ((n_features + BLOCK - 1) // BLOCK)
        shape = (n_clusters, n_features)
        brackets = Brackets(
            np.empty(shape, X.dtype),
            np.empty(shape, X.dtype),
            np.empty(shape, np.int32),
            np.empty(shape, np.int32),
            np.empty(shape, np.int32),
            np.empty(shape, np.int32),
            np.empty((n_clusters, n_features, 0), X.dtype),
        )
        find_medians(
            tickets, n_tasks, X, members, starts, largest, wanted, brackets, False, medians
        )
    _spread_nan(X, labels, medians)
    return medians


@overload(cluster_medians)
def _cluster_medians(X, labels, n_clusters, sample_weight=None):
    if not isinstance(X, types.Array) or X.ndim != 2:
        raise TypingError(f"cluster_medians takes a 2-D array, not {X}")
    if not isinstance(X.dtype, types.Float | types.Integer | types.Boolean):
        raise TypingError(f"cluster_medians takes real numbers, not {X.dtype}")
    if not isinstance(labels, types.Array) or labels.ndim != 1:
        raise TypingError(f"cluster_medians takes a 1-D array of labels, not {labels}")
    if not isinstance(labels.dtype, types.Integer):
        raise TypingError(f"cluster_medians takes labels that are integers, not {labels.dtype}")
    if sample_weight is None or isinstance(sample_weight, types.NoneType | types.Omitted):
        return lambda X, labels, n_clusters, sample_weight=None: _cluster_medians_serial(
            convert(X, X), labels, n_clusters, np.empty(0), False
        )
    if not isinstance(sample_weight, types.Array) or sample_weight.ndim != 1:
        raise TypingError(f"cluster_medians takes a 1-D array of weights, not {sample_weight}")
    return lambda X, labels, n_clusters, sample_weight=None: _cluster_medians_serial(
        convert(X, X), labels, n_clusters, sample_weight.astype(np.float64), True
    )
