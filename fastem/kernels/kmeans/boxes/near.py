"""Boxes around tiles of rows, and the centres that can be the nearest of a row in a box.

The test is that of D. Pelleg and A. Moore, "Accelerating exact k-means algorithms with geometric
reasoning", KDD 1999: a centre is out of the question if another one is nearer even to the corner
that lies farthest in the first one's direction.
"""

from typing import NamedTuple

import numpy as np

from fastem.kernels.runtime.chunks import round_up
from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.vector import (
    bits,
    broadcast,
    first_bit,
    greater,
    greatest_of_lanes,
    least_of_lanes,
    lesser,
    load,
    magnitude,
    multiply_add,
    store,
)

# Of more features, few centres are out of the question.
NARROW = 8

# Cover the rounding of a box's half widths, as a share of them and of how far it is from the
# origin, and what is lost of subnormal products.
_WIDER, _BLUR = np.float32(1 + 2.0**-20), np.float32(2.0**-22)
_TINY = np.float32(2.0**-120)

# How many times the error of a score may be lost: two scores' and, of a few roundings each, that of
# how far a box reaches.
_ERRORS = np.float32(8)


class Boxes(NamedTuple):
    """Boxes around tiles of rows, in scaled units.

    Parameters
    ----------
    middles, halves : ndarray of shape (n_tiles, n_features), float32
        Where their middles are, and half their widths.
    norms : ndarray of shape (n_tiles,), float32
        At least the norms of their rows.
    """

    middles: np.ndarray
    halves: np.ndarray
    norms: np.ndarray


def empty_boxes(n_tiles, n_features):
    """Boxes to be filled."""
    shape = (n_tiles, n_features)
    return Boxes(
        np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(n_tiles, np.float32)
    )


@inline
def enclose(tile, n_features, boxes, t):
    """Write the box of a tile of rows in scaled units."""
    square = np.float32(0)
    for f in range(n_features):
        lows = highs = load(tile, f * TILE, LANES)
        for lane in range(f * TILE + LANES, (f + 1) * TILE, LANES):
            values = load(tile, lane, LANES)
            lows, highs = lesser(lows, values), greater(highs, values)
        least, greatest = least_of_lanes(lows), greatest_of_lanes(highs)
        middle, most = np.float32(0.5) * (least + greatest), max(-least, greatest)
        boxes.middles[t, f] = middle
        boxes.halves[t, f] = max(greatest - middle, middle - least) * _WIDER + most * _BLUR
        square += most * most
    boxes.norms[t] = np.sqrt(square) * _WIDER


@inline
def enclose_boxes(boxes, first, last, middle, half):
    """Write the middle and the half widths of a box around those of some tiles; return its norm."""
    norm = boxes.norms[first]
    for t in range(first + 1, last):
        norm = max(norm, boxes.norms[t])
    for f in range(len(middle)):
        least = boxes.middles[first, f] - boxes.halves[first, f]
        greatest = boxes.middles[first, f] + boxes.halves[first, f]
        for t in range(first + 1, last):
            least = min(least, boxes.middles[t, f] - boxes.halves[t, f])
            greatest = max(greatest, boxes.middles[t, f] + boxes.halves[t, f])
        middle[f] = np.float32(0.5) * (least + greatest)
        half[f] = max(greatest - middle[f], middle[f] - least) * _WIDER + norm * _BLUR
    return norm


@inline
def lay_out(packed, numbers, n_numbers, columns):
    """Write some packed centres, negated, feature by feature, and half their squares.

    Behind them, to the end of a vector, stand centres that are never the nearest.

    Parameters
    ----------
    packed : EuclideanPacked
    numbers : int32 array
        The first ``n_numbers`` are the centres'.
    columns : float32 array of shape (n_features + 1, width)
        The width is a multiple of ``LANES``.
    """
    n_clusters, n_features = len(packed.negated) - 1, packed.negated.shape[1]
    for i in range(round_up(n_numbers, LANES)):
        center = np.intp(numbers[i]) if i < n_numbers else n_clusters
        for f in range(n_features):
            columns[f, i] = packed.negated[center, f]
        columns[n_features, i] = packed.half_norms[center]


@inline
def list_near(middle, half, norm, packed, numbers, n_numbers, columns, scores, near):
    """List the centres that may be the nearest of a row in a box, in their order.

    Parameters
    ----------
    middle, half : float32 arrays of shape (n_features,)
    norm : float32
        Of a box, as in ``Boxes``.
    packed : EuclideanPacked
    numbers, n_numbers, columns
        The centres that come into question, as :func:`lay_out` takes and writes them.
    scores : float32 array of ``width`` values
        Scratch.
    near : int32 array of ``width`` values
        Gets the centres' numbers.

    Returns
    -------
    int
        How many there are: one at least, all where squares overflow.
    """
    n_features, width = len(middle), columns.shape[1]
    padded = round_up(n_numbers, LANES)
    least = broadcast(np.float32(np.inf), LANES)
    for i in range(0, padded, LANES):
        score = load(columns, n_features * width + i, LANES)
        for f in range(n_features):
            center = load(columns, f * width + i, LANES)
            score = multiply_add(broadcast(middle[f], LANES), center, score)
        store(score, scores, i)
        least = lesser(least, score)
    lowest, best = least_of_lanes(least), 0
    for i in range(0, padded, LANES):
        equal = bits(load(scores, i, LANES) <= broadcast(lowest, LANES))
        if equal != np.uint64(0):
            best = i + np.intp(first_bit(equal))
            break
    margin = _ERRORS * packed.rounding * packed.radius * (norm + packed.radius) + _TINY
    n_near = 0
    for i in range(0, padded, LANES):
        limit = broadcast(lowest + margin, LANES)
        for f in range(n_features):
            apart = load(columns, f * width + i, LANES) - broadcast(columns[f, best], LANES)
            limit = multiply_add(broadcast(half[f], LANES), magnitude(apart), limit)
        # What isn't a number is not beyond.
        within = ~bits(limit < load(scores, i, LANES)) & np.uint64((1 << LANES) - 1)
        while within != np.uint64(0):
            place = i + np.intp(first_bit(within))
            within &= within - np.uint64(1)
            if place < n_numbers:
                near[n_near] = numbers[place]
                n_near += 1
    return n_near
