"""Centres in bytes, as ``tiles.py`` compares rows with them, or the middles of near centres."""

from typing import NamedTuple

import numpy as np

from fastem.kernels.kmeans.bytewise.tiles import BLOCK, CODES, LEAST_STEP
from fastem.kernels.runtime.chunks import ceil_div, round_up
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import DOUBLES
from fastem.kernels.vectors.vector import (
    broadcast,
    double,
    greater,
    greatest_of_lanes,
    load,
    magnitude,
    multiply_add,
    sum_of_lanes,
)

# The padding's score, which is never the least of rows that are compared.
NEVER = np.float32(1e36)

# Cover the roundings to float32 of rows, centres and of the terms of a score (some 10 of 2**-24),
# and what little a product of subnormal numbers loses.
_RELATIVE, _TINY = 2.0**-20, 2.0**-100

# What a norm is off by whose half square is a subnormal number of float32.
_SUBNORMAL = 2.0**-74

# No length is taken for less than this share of the greatest: so the bounds are as wide as what
# float64 may err by, too, and a centre is ruled out only if float64 would find it farther as well.
# Rows must not lie beyond ``farthest``: the squared distances to a pair of centres err by up to
# ``(n + 8) 2**-52 (|x|**2 + |c|**2)`` in float64, and the bounds hold ``2**-30 |x|`` times the
# greatest length besides their own roundings.
_LEAST_LENGTH = 2.0**-10
_FARTHEST = 2.0**22

# Squares of greater values, and sums of these, might overflow in float32.
LARGE = 1e15

_CHUNK_BLOCKS = 16


class CodedCenters(NamedTuple):
    """Centres in bytes, in blocks of centres of like norms.

    ``n`` is the number of clusters in whole blocks; behind the last centre come ones to which no
    row is nearest.

    A middle stands for several centres, its *members*, of which each has a score that is off by no
    more than the terms say.

    Parameters
    ----------
    numbers : ndarray of shape (n,), int32
        The clusters, or what else has been given; the padding's is the number of clusters.
    codes : ndarray of shape (n_blocks, n_quads, BLOCK), int32
        The negated codes of four features each, as bytes.
    starts : ndarray of shape (n,), int32
        128 times the sum of the codes.
    steps, halves : ndarrays of shape (n,), float32
        The codes' units, and half the squared norms; for members, the middle of these.
    terms : ndarray of shape (n, 3), float32
        A centre's ``rest``, the norm of what its codes leave; its ``length``, its norm; and its
        ``slack``, an error that doesn't depend on the row. The greatest of any member.
    limits : ndarray of shape (n_blocks, 3), float32
        The greatest of these in each block.
    """

    numbers: np.ndarray
    codes: np.ndarray
    starts: np.ndarray
    steps: np.ndarray
    halves: np.ndarray
    terms: np.ndarray
    limits: np.ndarray


@inline
def _write_middle(negated, members, first, last, middle):
    """Write the mean of some centres, in float32's values; its greatest coordinate."""
    n_features = len(middle)
    if last - first == 1:
        own = negated[members[first]]
        for f in range(n_features):
            middle[f] = own[f]
    else:
        for f in range(n_features):
            middle[f] = 0.0
        for i in range(first, last):
            own = negated[members[i]]
            for f in range(n_features):
                middle[f] += own[f]
        share = 1.0 / max(last - first, 1)
        for f in range(n_features):
            middle[f] = np.float64(np.float32(middle[f] * share))
    whole = n_features // DOUBLES * DOUBLES
    most = broadcast(0.0, DOUBLES)
    for f in range(0, whole, DOUBLES):
        most = greater(most, magnitude(load(middle, f, DOUBLES)))
    greatest = greatest_of_lanes(most)
    for f in range(whole, n_features):
        greatest = max(greatest, abs(middle[f]))
    return np.float32(greatest)


@inline
def _write_codes(middle, inverse, words):
    """Write a middle's codes in its place, and to the words of four; return their sum."""
    n_features, total = len(middle), np.int64(0)
    for f in range(n_features):
        middle[f] = np.rint(np.float32(middle[f]) * inverse)
    for f in range(n_features):
        total += np.int32(middle[f])
    whole = n_features // 4
    for quad in range(whole):
        word = np.int32(middle[4 * quad]) & 255
        word |= (np.int32(middle[4 * quad + 1]) & 255) << 8
        word |= (np.int32(middle[4 * quad + 2]) & 255) << 16
        words[quad] = word | (np.int32(middle[4 * quad + 3]) & 255) << 24
    if 4 * whole < n_features:
        word = np.int64(0)
        for f in range(4 * whole, n_features):
            word |= (np.int32(middle[f]) & 255) << (8 * (f - 4 * whole))
        words[whole] = word
    return total


@inline
def _square_left(negated, number, codes, step):
    """The squared length of what the codes of a middle leave of a centre."""
    n_features = len(codes)
    whole = n_features // DOUBLES * DOUBLES
    own, sums = negated[number], broadcast(0.0, DOUBLES)
    for f in range(0, whole, DOUBLES):
        left = double(load(own, f, DOUBLES)) - load(codes, f, DOUBLES) * broadcast(step, DOUBLES)
        sums = multiply_add(left, left, sums)
    total = sum_of_lanes(sums)
    for f in range(whole, n_features):
        left = own[f] - codes[f] * step
        total += left * left
    return total


@kernel
def _code_blocks(tickets, n_chunks, negated, half_norms, least_length, members, ends, coded):
    _, codes, starts, steps, halves, terms, limits = coded
    n_blocks, n_quads, _ = codes.shape
    n_features, n_coded = negated.shape[1], len(ends) - 1
    middle, words = np.empty(n_features), np.empty(n_quads, np.int32)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for block in range(chunk * _CHUNK_BLOCKS, min((chunk + 1) * _CHUNK_BLOCKS, n_blocks)):
            for t in range(3):
                limits[block, t] = 0
            for i in range(BLOCK):
                at = block * BLOCK + i
                first, last = ends[min(at, n_coded)], ends[min(at + 1, n_coded)]
                greatest = _write_middle(negated, members, first, last, middle)
                step = np.float32(max(greatest / np.float32(CODES), np.float32(LEAST_STEP)))
                inverse = np.float32(1) / step
                starts[at] = -128 * _write_codes(middle, inverse, words)
                for quad in range(n_quads):
                    codes[block, quad, i] = words[quad]
                steps[at] = step
                rest, length, least, most = 0.0, 0.0, np.inf, 0.0
                for member in range(first, last):
                    number = members[member]
                    rest = max(rest, _square_left(negated, number, middle, np.float64(step)))
                    half = np.float64(half_norms[number])
                    length = max(length, np.sqrt(2.0 * half), least_length)
                    least, most = min(least, half), max(most, half)
                halves[at], apart = NEVER, 0.0
                if last > first:
                    halves[at], apart = 0.5 * (least + most), most - least
                terms[at, 0] = (np.sqrt(rest) + length * _RELATIVE) * (1 + _RELATIVE) + _TINY
                terms[at, 1] = length * (1 + _RELATIVE) + _SUBNORMAL
                terms[at, 2] = 0.5 * apart + length * length * _RELATIVE + _TINY
                for t in range(3):
                    limits[block, t] = max(limits[block, t], terms[at, t])


def empty_codes(n_clusters, n_features):
    """What :func:`code_centers` writes to."""
    n = round_up(n_clusters, BLOCK)
    return CodedCenters(
        np.empty(n, np.int32),
        np.empty((n // BLOCK, ceil_div(n_features, 4), BLOCK), np.int32),
        np.empty(n, np.int32),
        np.empty(n, np.float32),
        np.empty(n, np.float32),
        np.empty((n, 3), np.float32),
        np.empty((n // BLOCK, 3), np.float32),
    )


def farthest(n_features, radius):
    """The greatest norm of rows that may be compared in bytes with centres of up to this norm."""
    return min(LARGE, _FARTHEST / (n_features + 8) * radius)


def code_centers(negated, half_norms, radius, order, coded):
    """Code centres, in an order by which the greatest errors of a block are like its centres'.

    Parameters
    ----------
    negated, half_norms
        As ``tile_nearest.pack_centers`` writes them, finite but for the padding.
    radius : float
        The greatest norm of a centre, below ``LARGE``.
    order : int32 array of shape (n_clusters,)
        An empty one for the order of the norms.
    coded : CodedCenters
        Gets the codes.
    """
    n_clusters = len(half_norms) - 1
    if len(order) == 0:
        order = np.argsort(half_norms[:-1], kind="stable").astype(np.int32)
    ends = np.arange(n_clusters + 1)
    code_middles(negated, half_norms, radius, order, ends, order, coded)


def code_middles(negated, half_norms, radius, members, ends, numbers, coded):
    """Code the means of centres that are near each other.

    Parameters
    ----------
    negated, half_norms, radius, coded
        As for :func:`code_centers`.
    members : int32 array of shape (n_clusters,)
        The clusters, those of a middle together.
    ends : int64 array of shape (n_middles + 1,)
        Where each middle's begin, and where all end.
    numbers : int32 array of shape (n_middles,)
        What is written to ``coded.numbers``.
    """
    coded.numbers[: len(numbers)] = numbers
    coded.numbers[len(numbers) :] = len(half_norms) - 1
    n_chunks = ceil_div(len(coded.limits), _CHUNK_BLOCKS)
    run(
        _code_blocks, n_chunks, negated, half_norms, radius * _LEAST_LENGTH, members, ends, coded
    )  # fmt: skip
