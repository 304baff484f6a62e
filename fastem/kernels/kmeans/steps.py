"""For many features and few clusters: each row's scores are kept, and follow the centres' steps.

Rows so wide are compared with few centres in less time than it takes to read them from memory. So
their codes of seven bits are kept, less than a quarter of float32 rows, and of the scores of all
centres (``bytewise/steps.py``) a lower bound, and an upper one of the row's own centre. Each pass
brings them up to date by the codes and the centres' last steps, whose error is a share of these
steps. While its own centre's upper bound is below all others' lower ones, a row keeps its label
unseen; the others are compared as in ``wide.py``, and their bounds made anew. Those that move are
among them, whose values the sums need anyway.

The fit begins as in ``wide.py``, while rows move by the thousands and steps are long.
"""

from typing import NamedTuple

import numpy as np

from fastem.kernels.distances.listed import LIST_SLACK, end_list
from fastem.kernels.distances.metric import distance_gaps
from fastem.kernels.distances.row_nearest import fill_blocks, n_scores, nearest_two_rows
from fastem.kernels.distances.tile_nearest import squared_norms
from fastem.kernels.kmeans.bytewise.centers import LARGE
from fastem.kernels.kmeans.bytewise.sevens import n_stored, pack_words
from fastem.kernels.kmeans.bytewise.steps import code_steps, no_steps, step_products
from fastem.kernels.kmeans.bytewise.tiles import MOST_FEATURES, bound_norms, code_tile_in_seven_bits
from fastem.kernels.kmeans.hamerly import renew_row, settle
from fastem.kernels.kmeans.wide import WholeRowsAlgorithm, Wide
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import BYTE_DOTS, LANES, TILE
from fastem.kernels.vectors.tiles import aligned_empty, first_lanes, gather_tile, tiles_fit
from fastem.kernels.vectors.vector import (
    bits,
    broadcast,
    first_bit,
    lesser,
    load,
    magnitude,
    multiply_add,
    store,
    where,
)

# What is kept may take this share of the rows. Rows of so few bytes in all stay in a cache.
_MOST_MEMORY, _LEAST_BYTES = 1 / 4, 1 << 24

# To make codes takes about as long as to compare all rows, which pays once no more than this share
# of them moves, while more than that share's bounds fail: so many of them tell.
_MOST_MOVING, _LEAST_FAILING, _SAMPLE = 1 / 8, 1 / 4, 1024

# A chunk's other rows are compared without a look at their codes once this share is left open.
_GIVE_UP_SHARE = 0.6

# What a pass does: begins to follow, makes all bounds anew, or follows the steps.
_CODE, _RENEW, _FOLLOW = range(3)


class Known(NamedTuple):
    """What is kept of the rows, tile by tile.

    Parameters
    ----------
    words : int32 array of shape (n_tiles, n_words, TILE)
        The codes, from ``pack_words``.
    rows : float32 array of shape (n_tiles, 3, TILE)
        The codes' units, the greatest norms of what the codes stand for, and of what these leave.
    lows : float32 array of shape (n_tiles, n_clusters, TILE)
        Lower bounds of the scores.
    above : float32 array of shape (n_tiles, TILE)
        Upper bounds of the score of each row's own centre.
    """

    words: np.ndarray
    rows: np.ndarray
    lows: np.ndarray
    above: np.ndarray


def _values_of_tile(n_features, n_clusters):
    """How many values of each of these arrays belong to a tile."""
    return [TILE * n for n in (n_stored(ceil_div(n_features, 4)), 3, n_clusters, 1)]


def keeps_little(n_rows, n_features, n_clusters, itemsize):
    """Whether what is kept is less than a quarter of such rows."""
    kept = 4 * ceil_div(n_rows, TILE) * sum(_values_of_tile(n_features, n_clusters))
    return kept < _MOST_MEMORY * n_rows * n_features * itemsize


def pays(n_rows, n_features, n_clusters, itemsize):
    """Whether such rows are better followed than compared."""
    large = n_rows * n_features * itemsize >= _LEAST_BYTES
    return BYTE_DOTS and large and keeps_little(n_rows, n_features, n_clusters, itemsize)


@inline
def _describe_tile(X, first, n_features, scale, shift, numbers, tile, codes, rests, norms, known):
    """Code a tile's rows, and write what is known of them."""
    at = first // TILE
    for lane in range(TILE):
        numbers[lane] = min(first + lane, len(X) - 1)
    gather_tile(X, numbers, scale, shift, tile)
    rows = known.rows[at]
    code_tile_in_seven_bits(tile, n_features, rows[0], rests, codes)
    pack_words(codes, len(codes) // TILE, known.words[at])
    squared_norms(tile, n_features, norms)
    for lane in range(TILE):
        norm = bound_norms(norms[lane], rests[lane], n_features, lane, rows)
        if not norm < LARGE:  # nothing is known of it
            rows[0, lane], rows[1, lane], rows[2, lane] = 0.0, 0.0, np.inf


@inline
def _follow(coded, products, rows, lows, above, labels):
    """Bring a tile's bounds up to date; the lanes whose label is in doubt."""
    doubt = np.uint64(0)
    infinity = broadcast(np.float32(np.inf), LANES)
    share = broadcast(np.float32(2.0**-21), LANES)
    for lane in range(0, TILE, LANES):
        reach, rest = load(rows, TILE + lane, LANES), load(rows, 2 * TILE + lane, LANES)
        label, own = load(labels, lane, LANES), load(above, lane, LANES)
        least, raised = infinity, infinity
        for j in range(lows.shape[0]):
            at = j * TILE + lane
            low, product = load(lows, at, LANES), load(products, at, LANES)
            change = broadcast(coded.changes[j], LANES)
            error = multiply_add(
                reach,
                broadcast(coded.terms[j, 0], LANES),
                multiply_add(
                    rest, broadcast(coded.terms[j, 1], LANES), broadcast(coded.terms[j, 2], LANES)
                ),
            )
            # Of a few roundings.
            size = (magnitude(low) + magnitude(own)) + (magnitude(product) + magnitude(change))
            error = multiply_add(size, share, error)
            change = product + change
            low = (low + change) - error
            store(low, lows, at)
            other = label != broadcast(np.int32(j), LANES)
            least = lesser(where(other, low, infinity), least)
            raised = where(other, raised, (own + change) + error)
        store(raised, above, lane)
        doubt |= (~bits(raised < least) & np.uint64((1 << LANES) - 1)) << np.uint64(lane)
    return doubt


@inline
def _know(row, label, norm, scores, lane, n_clusters, size, packed, float_error, known):
    """Write a row's bounds from its float32 scores, whose errors are as in ``rounding.py``."""
    tile, at = row // TILE, row % TILE
    radius = np.float64(packed.radius)
    e = np.float64(packed.rounding)
    norm = np.float64(norm) * (1 + 2 * e)
    error = e * radius * (0.5 * (norm + 1) + radius) * 1.001 + 2.0**-90
    error += float_error * (norm + radius * radius)  # so that float64 agrees
    finite = np.sqrt(norm) < LARGE and error < np.inf
    for j in range(n_clusters):
        score = np.float64(scores[(j + j // size + 1) * TILE + lane])
        slack = error + abs(score) * 2.0**-22
        known.lows[tile, j, at] = score - slack if finite else -np.inf
        if j == label:
            known.above[tile, at] = score + slack if finite else np.inf


@kernel
def steps_pass(
    tickets,
    n_chunks,
    chunk_rows,
    X,
    scale,
    shift,
    packed,
    coded,
    known,
    work,
    drift,
    bounds,
    labels,
    moves,
    left,
):
    """Label the rows whose own centre is not certain to be the nearest, and list those that moved.

    Parameters
    ----------
    X, scale, shift, packed, drift, bounds, labels, moves
        As for ``wide.wide_pass``.
    coded : CodedSteps
        Of the centres since the last pass.
    known : Known
    work : int
        ``_CODE``, ``_RENEW`` or ``_FOLLOW``.
    left : int64 array of shape (n_chunks,)
        Gets how many rows of each chunk were compared.
    """
    blocks, half_norms = packed.negated, packed.half_norms
    n_rows, n_features = X.shape
    n_clusters, size = len(half_norms) - 1, blocks.shape[2]
    n_quads = coded.codes.shape[1]
    codes = aligned_empty(n_quads * TILE if work == _CODE else 0).view(np.int32)
    products = aligned_empty(len(coded.starts) * TILE)
    tile = aligned_empty(n_features * TILE if work == _CODE else 0)
    rests, norms = aligned_empty(TILE), aligned_empty(TILE)
    scores = aligned_empty(n_scores(blocks))
    best, second, gaps = aligned_empty(TILE), aligned_empty(TILE), aligned_empty(TILE)
    nearest, numbers = np.zeros(TILE, np.int32), np.empty(TILE, np.int32)
    opened = np.empty(chunk_rows + LIST_SLACK, np.int32)
    distances = np.empty(n_clusters)
    float_error = (n_features + 8) * 2.0**-50
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start, stop = chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)
        n_opened, n_moved = 0, 0
        for first in range(start, stop, TILE):
            n_lanes = min(TILE, stop - first)
            doubt = first_lanes(n_lanes)
            if work == _FOLLOW and n_opened <= _GIVE_UP_SHARE * (first - start + TILE):
                at = first // TILE
                following = known.words[min(at + 1, len(known.words) - 1)]
                for lane in range(n_lanes):
                    nearest[lane] = labels[first + lane]
                step_products(known.words[at], n_quads, coded, known.rows[at], following, products)
                doubt &= _follow(
                    coded, products, known.rows[at], known.lows[at], known.above[at], nearest
                )
            while doubt != np.uint64(0):
                opened[n_opened] = first + np.intp(first_bit(doubt))
                doubt &= doubt - np.uint64(1)
                n_opened += 1
        end_list(opened, n_opened, n_rows)
        for t in range(0, n_opened, TILE):
            n_lanes = min(TILE, n_opened - t)
            nearest_two_rows(
                X,
                opened,
                t,
                n_lanes,
                scale,
                shift,
                blocks,
                half_norms,
                scores,
                best,
                second,
                nearest,
            )
            undecided = distance_gaps(packed, scores, best, second, gaps)
            for lane in range(n_lanes):
                row = np.intp(opened[t + lane])
                if (undecided >> np.uint64(lane)) & np.uint64(1):
                    nearest[lane], gaps[lane] = settle(packed, X, row, scale, distances)
                label = nearest[lane]
                _know(
                    row, label, scores[lane], scores, lane, n_clusters, size, packed, float_error,
                    known,
                )  # fmt: skip
                n_moved = renew_row(
                    row, label, gaps[lane], drift, bounds, labels, moves, chunk, n_moved
                )
            if work == _CODE:
                _describe_tile(
                    X, start + t, n_features, scale, shift, numbers, tile, codes, rests, norms,
                    known,
                )  # fmt: skip
        moves.counts[chunk] = n_moved
        left[chunk] = n_opened


class Steps(WholeRowsAlgorithm):
    """For rows that take longer to read than to compare."""

    name = "steps"
    lean = Wide

    def __init__(self, X, sample_weight, n_clusters, frame):
        super().__init__(X, sample_weight, n_clusters, frame)
        n_rows, n_features = X.shape
        few = n_features <= MOST_FEATURES and tiles_fit(self._rows)
        little = keeps_little(n_rows, n_features, n_clusters, X.itemsize)
        self._may_follow = BYTE_DOTS and few and little
        self._coded = no_steps(n_clusters, n_features)
        self._left = np.zeros(self._n_chunks, np.int64)
        self._known = None
        self._followed = None  # the centres that the bounds belong to, while they do

    def _compare(self, packed):
        centers = self._previous
        if not (self._may_follow and packed.radius < LARGE and self._many_fail()):
            self._followed = None
            super()._compare(packed)
            return
        if self._known is None:
            work = _CODE
            self._known = self._unknown()
        elif self._followed is None:
            work = _RENEW
        else:
            work = _FOLLOW
            code_steps(self._followed, centers, self._origin, float(self._scale), self._coded)
        self._followed = centers
        fill_blocks(packed.negated[:-1], self._blocks)
        run(
            steps_pass,
            self._n_chunks,
            self._chunk_rows,
            self._rows,
            self._scale,
            self._shift,
            packed._replace(negated=self._blocks),
            self._coded,
            self._known,
            work,
            self._rounded,
            self._bounds,
            self.labels,
            self._moves,
            self._left,
        )

    def _many_fail(self):
        """Whether to follow costs less than to compare the rows whose bounds fail."""
        if self.labels[0] < 0:
            return False
        n_rows = len(self.labels)
        if self._followed is None and self._moves.counts.sum() > _MOST_MOVING * n_rows:
            return False
        sample = slice(None, None, ceil_div(n_rows, _SAMPLE))
        failing = self._bounds[sample] <= self._rounded[self.labels[sample]]
        return np.count_nonzero(failing) > _LEAST_FAILING * len(failing)

    def _unknown(self):
        n_rows, n_features = self._rows.shape
        n_tiles = ceil_div(n_rows, TILE)
        n_clusters = len(self._drift)
        words, rows, lows, above = (
            aligned_empty(n_tiles * n) for n in _values_of_tile(n_features, n_clusters)
        )
        return Known(
            words.view(np.int32).reshape(n_tiles, -1, TILE),
            rows.reshape(n_tiles, 3, TILE),
            lows.reshape(n_tiles, n_clusters, TILE),
            above.reshape(n_tiles, TILE),
        )
