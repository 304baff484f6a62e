"""The medians of clusters, found through brackets around them.

A sample gives a *bracket*, an interval that holds the median of a feature almost surely; one pass
over the members of a cluster counts the values below it and collects those inside, among which the
median is selected (R. W. Floyd and R. L. Rivest, "Expected time bounds for selection",
Communications of the ACM 18, 1975).
"""

import math
from typing import NamedTuple

import numpy as np

from fastem.kernels.medians.selection import middle, select
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk
from fastem.kernels.vectors.machine import TILE
from fastem.kernels.vectors.tiles import aligned_empty_like
from fastem.kernels.vectors.vector import (
    bits,
    broadcast,
    count_bits,
    fetch,
    first_bit,
    lanes_of,
    load,
)

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
def load_columns(X, members, first, stop, features, n_features, columns):
    """``columns[b * TILE + lane] = X[members[first + lane], features[b]]``."""
    for i in range(first, min(first + TILE, stop)):
        ahead = np.intp(members[min(i + _ROWS_AHEAD, stop - 1)]) * X.shape[1]
        fetch(X, ahead + features[0])
        fetch(X, ahead + features[n_features - 1])
        row = members[i]
        for b in range(n_features):
            columns[b * TILE + i - first] = X[row, features[b]]


@inline
def scan_column(columns, first, n_lanes, lower, upper):
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
def select_median(X, members, start, stop, feature):
    """The median of a column by selection among all its values; NaN if there are none.

    Parameters
    ----------
    X : array of shape (n_rows, n_features)
    members : int32 array
        Of which ``members[start:stop]`` are the rows.
    start, stop, feature : int
    """
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
    median, tells about where to look; otherwise, or if that fails, a sample does.

    Parameters
    ----------
    X : array of shape (n_rows, n_features)
    members : int32 array
        The rows, cluster by cluster.
    starts : int64 array of shape (n_clusters + 1,)
        Where each cluster's begin.
    largest : int
        Number of rows of the largest cluster.
    wanted : bool array of shape (n_clusters, n_features)
    brackets : Brackets
    keep : bool
        Whether brackets are kept around the medians; else they are scratch.
    medians : array of shape (n_clusters, n_features), in the rows' dtype
        Gets those wanted; NaN where a cluster has no rows.
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
                load_columns(X, members, first, stop, features, n_tried, columns)
                for b in range(n_tried):
                    f = features[b]
                    below, at_lower, at_upper, lanes = scan_column(
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
                    medians[cluster, f] = select_median(X, members, start, stop, f)
