"""The centres that may be a row's nearest by what bytes tell, and which of them is.

Blocks of centres are noted while the bound on a row's least score falls; once it is final, few are
left. Of these the most promising is compared in float64 first, which rules out most of the others.
"""

from typing import NamedTuple

import numpy as np

from fastem.kernels.distances.one_row import direct_distance
from fastem.kernels.distances.rounding import ROUNDED_DOWN, ROUNDED_UP
from fastem.kernels.kmeans.bytewise.centers import NEVER
from fastem.kernels.kmeans.bytewise.compared import gap_to_others, in_doubt, with_one_more
from fastem.kernels.kmeans.bytewise.tiles import BLOCK, GROUP
from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.machine import TILE
from fastem.kernels.vectors.vector import first_bit

# So many blocks are noted for one row at a time: about a dozen is usual. With 32, 3 rows of 1,000
# had too many in the first pass of (50k, 768, 500), a tenth of which their comparison took.
MOST_BLOCKS = 64

# So many centres, and this share of all, are compared in float64 for one row: they take a good deal
# less time than all of them in float32.
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

    ``norm`` and ``relative`` are as for :func:`score_above`.
    """
    square = norm * (1 - relative) + 2.0 * np.float64(score)
    return np.sqrt(max(square, 0.0)) * ROUNDED_DOWN


@inline
def score_above(distance, scale, norm, relative):
    """At least the score of a centre.

    Parameters
    ----------
    distance : float
        Its squared distance by :func:`direct_distance`.
    scale : float
    norm : float
        The row's squared norm in scaled units, off by this share of it at most.
    relative : float
    """
    score = 0.5 * (distance * scale * scale * (1 + 1e-9) - norm * (1 - relative))
    return np.float32(score + abs(score) * 2.0**-22)


@inline
def nearest_noted(
    X, row, scale, relative, centers, coded, rows, norms, least, beyond, noted, lane, places, lows,
):  # fmt: skip
    """A row's nearest centre of those noted, and the gap to all others in scaled units.

    The number is -1 where that is left to a comparison with all of them: too many are left, or
    their distances overflow, or narrow rows' distances, which are summed in another order for all
    centres, might come in another order.

    Parameters
    ----------
    X, row, scale, relative, centers, coded, noted, lane
        The row of ``X`` is in the lane of a tile.
    rows, norms, least, beyond
        What is known of the tile's rows, and the bounds of their scores.
    places, lows : int32 and float32 scratch of ``MOST_BLOCKS * BLOCK`` values
    """
    failed = np.int32(-1), np.float32(0)
    if noted.counts[lane] > MOST_BLOCKS:
        return failed
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
            places[n], lows[n] = place, low
            if low < lows[first]:
                first = n
            n += 1
    if n == 0:
        return failed
    label = coded.numbers[places[first]]
    near, far = direct_distance(X, row, centers, np.intp(label)), np.inf
    norm = np.float64(norms[lane])
    limit = min(limit, score_above(near, scale, norm, relative))
    n_compared = 1
    most = max(2, min(_MOST_CANDIDATES, int(_CANDIDATES_SHARE * len(centers))))
    for i in range(n):
        if i == first:
            continue
        if lows[i] > limit:
            others = min(others, lows[i])
            continue
        n_compared += 1
        if n_compared > most:
            return failed
        number = coded.numbers[places[i]]
        distance = direct_distance(X, row, centers, np.intp(number))
        label, near, far = with_one_more(number, distance, label, near, far)
    n_features = X.shape[1]
    if not near < np.inf or in_doubt(near, far, n_features):
        return failed
    # Of those that bytes have ruled out.
    away = np.sqrt(max(norm * (1 - relative) + 2.0 * np.float64(others), 0.0))
    return label, gap_to_others(near, far, away, n_features, scale)
