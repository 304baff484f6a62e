"""The centres that may be a row's nearest by what bytes tell, and which of them is.

Blocks of centres are noted while the bound on a row's least score falls; once it is final, few are
left. Of these the most promising is compared in float32 first, which rules out most of the others;
what float32 can't tell apart is compared in float64.
"""

from typing import NamedTuple

import numpy as np

from fastem.kernels.distances.one_row import direct_distance
from fastem.kernels.distances.rounding import ROUNDED_DOWN, ROUNDED_UP
from fastem.kernels.kmeans.bytewise.centers import NEVER
from fastem.kernels.kmeans.bytewise.compared import gap_to_others, in_doubt, with_one_more
from fastem.kernels.kmeans.bytewise.rows import product_error, read_row, row_product
from fastem.kernels.kmeans.bytewise.tiles import BLOCK, GROUP
from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.machine import TILE
from fastem.kernels.vectors.vector import first_bit

# So many blocks are noted for one row at a time: about a dozen is usual. With 32, 3 rows of 1,000
# had too many in the first pass of (50k, 768, 500), a tenth of which their comparison took.
MOST_BLOCKS = 64

# So many centres, and this share of all, are compared one by one for one row: they take a good deal
# less time than all of them in a tile.
_MOST_CANDIDATES, _CANDIDATES_SHARE = 32, 1 / 32


class Noted(NamedTuple):
    """The blocks noted for each lane of a tile.

    Parameters
    ----------
    counts : int64 array of shape (TILE,)
        How many; more than there is room for if some were not noted.
    blocks : int32 array of shape (TILE, MOST_BLOCKS)
    lows : float32 array of shape (TILE, MOST_BLOCKS)
        Lower bounds of the blocks' scores.
    scores : float32 array of shape (TILE, MOST_BLOCKS, BLOCK)
    """

    counts: np.ndarray
    blocks: np.ndarray
    lows: np.ndarray
    scores: np.ndarray


class Listed(NamedTuple):
    """Scratch for the centres that bytes leave one row.

    Parameters
    ----------
    numbers : int32 array of shape (MOST_BLOCKS * BLOCK,)
    lows : float32 array of shape (MOST_BLOCKS * BLOCK,)
        Lower bounds of their scores.
    row : float32 array
        Of ``coded_values(n_features)`` values.
    """

    numbers: np.ndarray
    lows: np.ndarray
    row: np.ndarray


@inline
def note_promising(unit, lanes, scores, least, beyond, noted):
    """Note a unit's block for the rows ``lanes`` of its group, as ``next_promising`` has found it.

    ``beyond`` keeps a lower bound of the scores that are not noted, or no longer.
    """
    block, group = unit // (TILE // GROUP), unit % (TILE // GROUP)
    while lanes != np.uint64(0):
        i = np.intp(first_bit(lanes))
        lanes &= lanes - np.uint64(1)
        lane = group * GROUP + i
        n = noted.counts[lane]
        if n == MOST_BLOCKS:
            n = _drop(lane, least, beyond, noted)
            if n == MOST_BLOCKS:
                noted.counts[lane] = n + 1
                least[lane] = -np.inf  # no more of them
                continue
        noted.blocks[lane, n] = block
        noted.lows[lane, n] = scores[BLOCK * GROUP + i]
        for j in range(BLOCK):
            noted.scores[lane, n, j] = scores[j * GROUP + i]
        noted.counts[lane] = n + 1


@inline
def _drop(lane, least, beyond, noted):
    """Drop what a row's least score has ruled out since it was noted; how many are left."""
    n_kept = 0
    for i in range(MOST_BLOCKS):
        if noted.lows[lane, i] > least[lane]:
            beyond[lane] = min(beyond[lane], noted.lows[lane, i])
            continue
        noted.blocks[lane, n_kept] = noted.blocks[lane, i]
        noted.lows[lane, n_kept] = noted.lows[lane, i]
        for j in range(BLOCK):
            noted.scores[lane, n_kept, j] = noted.scores[lane, i, j]
        n_kept += 1
    return n_kept


@inline
def _error(coded, place, rows, lane):
    """How much a row's score may be off."""
    return (
        coded.terms[place, 0] * rows[1, lane]
        + coded.terms[place, 1] * rows[2, lane]
        + coded.terms[place, 2]
    ) * ROUNDED_UP


@inline
def least_beyond(group, middles, rows, beyond, noted, lane):
    """At most the scores of a row's centres in other groups; ``middles`` are numbered by these.

    All blocks of middles have been noted, or lowered ``beyond``.
    """
    least = beyond[lane]
    for i in range(noted.counts[lane]):
        for j in range(BLOCK):
            place = noted.blocks[lane, i] * BLOCK + j
            if middles.halves[place] != NEVER and middles.numbers[place] != group:
                least = min(least, noted.scores[lane, i, j] - _error(middles, place, rows, lane))
    return least


@inline
def distance_below(score, norm, relative):
    """At most the distance, in scaled units, of a centre of at least this score.

    ``norm`` is the row's squared norm in scaled units, off by the share ``relative`` at most.
    """
    square = norm * (1 - relative) + 2.0 * np.float64(score)
    return np.sqrt(max(square, 0.0)) * ROUNDED_DOWN


@inline
def nearest_noted(
    X, row, scale, shift, packed, centers, coded, rows, norms, least, beyond, noted, lane, listed
):
    """A row's nearest centre of those noted, and the gap to all others in scaled units.

    The number is -1 where that is left to a comparison with all of them: too many are left, or
    their distances overflow, or narrow rows' distances, which are summed in another order for all
    centres, might come in another order.

    Parameters
    ----------
    X, row, scale, shift, centers, coded, noted, lane
        The row of ``X`` is in the lane of a tile.
    packed : EuclideanPacked
        With the rounding of ``rows.py``.
    rows, norms, least, beyond
        What is known of the tile's rows, and the bounds of their scores.
    listed : Listed
        Scratch.
    """
    failed = np.int32(-1), np.float32(0)
    if noted.counts[lane] > MOST_BLOCKS:
        return failed
    numbers, lows, x = listed
    limit, others = least[lane], beyond[lane]
    n, first = 0, 0
    for i in range(noted.counts[lane]):
        if noted.lows[lane, i] > limit:
            others = min(others, noted.lows[lane, i])
            continue
        for j in range(BLOCK):
            place = noted.blocks[lane, i] * BLOCK + j
            if coded.halves[place] == NEVER:
                continue  # padding
            low = noted.scores[lane, i, j] - _error(coded, place, rows, lane)
            if low > limit:
                others = min(others, low)
                continue
            numbers[n], lows[n] = coded.numbers[place], low
            if low < lows[first]:
                first = n
            n += 1
    if n == 0:
        return failed
    # The most promising one rules most of the others out.
    numbers[0], numbers[first] = numbers[first], numbers[0]
    lows[0], lows[first] = lows[first], lows[0]
    relative = 2.0 * np.float64(packed.rounding)
    square = np.float64(norms[lane]) * (1 + relative)
    error = product_error(packed, np.sqrt(square))
    most = max(2, min(_MOST_CANDIDATES, int(_CANDIDATES_SHARE * len(centers))))
    # In float32 first: half as much is read of the centres.
    read_row(X, row, scale, shift, x)
    label, score, second, n_left = np.int32(-1), np.inf, np.inf, 0
    for i in range(n):
        if lows[i] > limit:
            others = min(others, lows[i])
            continue
        if n_left == most:
            return failed
        number = numbers[i]
        one = np.float64(row_product(x, packed.negated, number)) + packed.half_norms[number]
        around = error + abs(one) * 2.0**-22  # rounded to float32
        limit = min(limit, np.float32(one + around))
        numbers[n_left], lows[n_left] = number, np.float32(one - around)
        n_left += 1
        if one < score:
            label, score, second = number, one, score
        elif one < second:
            second = one
    if score + error < second - error:
        # Too great a norm makes the gap smaller.
        near = np.sqrt(max(square + 2.0 * (score + error), 0.0))
        away = np.sqrt(max(square + 2.0 * min(second - error, np.float64(others)), 0.0))
        gap = away * ROUNDED_DOWN - near * ROUNDED_UP
        return label, np.float32(max(min(gap, 1e30), 0.0))
    near, far = np.inf, np.inf
    for i in range(n_left):
        if lows[i] > limit:
            others = min(others, lows[i])
            continue
        distance = direct_distance(X, row, centers, np.intp(numbers[i]))
        label, near, far = with_one_more(numbers[i], distance, label, near, far)
    n_features = X.shape[1]
    if not near < np.inf or in_doubt(near, far, n_features):
        return failed
    # Of those that are ruled out.
    least_square = np.float64(norms[lane]) * (1 - relative)
    away = np.sqrt(max(least_square + 2.0 * np.float64(others), 0.0))
    return label, gap_to_others(near, far, away, n_features, np.float64(scale))
