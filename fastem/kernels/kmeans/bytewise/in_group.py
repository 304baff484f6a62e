"""A row's nearest centre if its group tells: ``groups.py`` says when it does.

In float32, row by row: few rows of a chunk have a group in common, so that tiles would be nearly
empty, and bytes can't tell centres apart that are so near each other. What float32 leaves open is
compared in float64.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.distances.one_row import direct_distance
from fastem.kernels.distances.rounding import ROUNDED_DOWN, ROUNDED_UP, chain_error
from fastem.kernels.kmeans.bytewise.centers import LARGE
from fastem.kernels.kmeans.bytewise.compared import gap_to_others, in_doubt, with_one_more
from fastem.kernels.kmeans.bytewise.rows import read_row
from fastem.kernels.kmeans.bytewise.tiles import BLOCK
from fastem.kernels.runtime.chunks import ceil_div, round_up
from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.emit import (
    INDEX,
    Emitter,
    constant,
    fold_halves,
    load_at,
    prefetch,
    store_at,
    sum_vectors,
    zeros_of,
)
from fastem.kernels.vectors.machine import LANES, LINE_BYTES, TILE, VECTOR_BYTES
from fastem.kernels.vectors.vector import (
    bits,
    broadcast,
    count_bits,
    first_bit,
    least_of_lanes,
    lesser,
    load,
    multiply_add,
    sum_of_lanes,
    where,
)

# So far ahead rows are fetched: with one in place of four, passes took a ninth longer.
_ROWS_AHEAD = 4


def row_error(n_features):
    """``rounding.py``'s ``e`` of the scores made here, and of those of ``rows.py``.

    There, features behind whole pairs of vectors are added one by one.
    """
    behind = n_features % (2 * LANES)
    return chain_error(ceil_div(n_features, 2 * LANES) + LANES.bit_length() + 1 + behind)


@inline
def row_values(n_features):
    """How much scratch a row takes: zeros follow it, up to whole pairs of vectors."""
    return round_up(n_features, 2 * LANES)


def _scoring(fetches):
    """The intrinsic that scores a block of centres; whether it fetches a row meanwhile."""

    def emit(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        row, number_pointer, output, rows = e.pointers(0, 3, 5, 7)
        n_values, first, at = args[1], args[4], args[6]
        later = e.row(rows, args[8], e.extent(7, 1))
        itemsize = signature.args[7].dtype.bitwidth // 8
        negated, halves = e.field(2, "negated"), e.field(2, "half_norms")
        width = builder.extract_value(negated.shape, 1)
        last = builder.sub(builder.extract_value(negated.shape, 0), constant(2))
        vector = ir.VectorType(ir.FloatType(), LANES)
        block = ir.VectorType(ir.FloatType(), BLOCK)
        bases, starts = [], zeros_of(block)
        for i in range(BLOCK):
            number = builder.load(builder.gep(number_pointer, [e.plus(first, i)]))
            number = builder.sext(number, INDEX)
            half = builder.load(builder.gep(halves.data, [number]))
            starts = builder.insert_element(starts, half, ir.Constant(ir.IntType(32), i))
            beyond = builder.icmp_signed(">", number, last)
            bases.append(e.row(negated.data, builder.select(beyond, last, number), width))
        # Two sums for each: an addition need not wait for the one before.
        sums = [e.zeros(vector, BLOCK) for _ in range(2)]
        with e.loop(0, n_values, 2 * LANES) as pair:
            for half, slots in enumerate(sums):
                f = e.plus(pair, half * LANES)
                if fetches:
                    for line in range(0, LANES * itemsize, LINE_BYTES):
                        prefetch(builder, later, e.plus(f, line // itemsize))
                values = load_at(builder, row, f, vector, VECTOR_BYTES)
                for base, slot in zip(bases, slots, strict=True):
                    e.add_product(slot, values, load_at(builder, base, f, vector, 4))

        def add(builder, a, b):
            return builder.fadd(a, b)

        totals = [
            fold_halves(builder, add(builder, *map(builder.load, slots)), BLOCK, add)
            for slots in zip(*sums, strict=True)
        ]
        total = builder.fadd(sum_vectors(builder, totals), starts)
        store_at(builder, total, output, at, 4)
        return e.nothing()

    @intrinsic
    def function(typingctx, x, n_values, packed, numbers, first, scores, at, X, ahead):
        integer = types.intp
        sig = types.void(x, integer, packed, numbers, integer, scores, integer, X, integer)
        return sig, emit

    return function


#: Write the scores of the ``BLOCK`` centres from ``numbers[first]`` on to ``scores[at:]``, by
#: ``_score_block(x, n_values, packed, numbers, first, scores, at, X, ahead)``. ``x`` has
#: ``n_values`` values, as many as whole vectors, with zeros behind the row's of a vector at least;
#: those of a centre reach into the next one's row, which each has: the padding's is the last. The
#: padding's score is infinite.
_score_block = _scoring(fetches=False)

#: The same, which fetches the row ``X[ahead]`` meanwhile: fetched at once, it took a fifth longer.
_score_and_fetch = _scoring(fetches=True)


@inline
def _least_two(scores, n_scores):
    """The place of the least score, this score, and the second least; of whole vectors."""
    infinity = broadcast(np.float32(np.inf), LANES)
    least, others, place, n_least = infinity, infinity, 0, np.uint64(0)
    for at in range(0, n_scores, LANES):
        least = lesser(load(scores, at, LANES), least)
    best = least_of_lanes(least)
    for at in range(0, n_scores, LANES):
        score = load(scores, at, LANES)
        found = score <= broadcast(best, LANES)
        others = lesser(where(found, infinity, score), others)
        if bits(found) != np.uint64(0):
            place = at + np.intp(first_bit(bits(found)))
            n_least += count_bits(bits(found))
    return place, best, least_of_lanes(others) if n_least == np.uint64(1) else best


@inline
def _square_of(x):
    """The squared norm of a row, with the zeros behind it."""
    zero = broadcast(np.float32(0), LANES)
    sums = zero, zero
    for f in range(0, len(x), 2 * LANES):
        low, high = load(x, f, LANES), load(x, f + LANES, LANES)
        sums = multiply_add(low, low, sums[0]), multiply_add(high, high, sums[1])
    return sum_of_lanes(sums[0] + sums[1])


@inline
def _fill_up(scores, n_scores):
    """Fill up whole vectors with infinite scores; how many there are then."""
    n_filled = round_up(n_scores, LANES)
    for i in range(n_scores, n_filled):
        scores[i] = np.inf
    return n_filled


@inline
def _score_of_outer(outer, moved, norm, packed):
    """At most the scores of centres that were so far from a row before they moved."""
    outer = min(max((np.float64(outer) - moved) * ROUNDED_DOWN, 0.0), LARGE)
    bound = 0.5 * (outer * outer - np.float64(norm) * (1 + 2 * np.float64(packed.rounding)))
    return np.float32(bound - abs(bound) * 2.0**-22)


@inline
def n_scores(groups, away):
    """How much scratch a row's scores take."""
    most = 0
    for count in groups.counts:
        most = max(most, count)
    return round_up(most * BLOCK + len(away.fast), LANES)


@inline
def own_places(groups, label):
    """Where the blocks of a centre's group begin and end."""
    group = groups.numbers[label]
    first = np.intp(groups.firsts[group])
    return first * BLOCK, (first + groups.counts[group]) * BLOCK


@inline
def sort_by_group(rows, n_listed, labels, groups, ends, order):
    """List the places in ``rows`` group by group: the next row's centres are in the cache then.

    ``ends`` is scratch for one number more than there are groups. Rows have labels.
    """
    for group in range(len(ends)):
        ends[group] = 0
    for i in range(n_listed):
        ends[groups.numbers[labels[rows[i]]] + 1] += 1
    for group in range(1, len(ends)):
        ends[group] += ends[group - 1]
    for i in range(n_listed):
        group = groups.numbers[labels[rows[i]]]
        order[ends[group]] = i
        ends[group] += 1


@inline
def score_group(x, packed, numbers, groups, label, scores, X, ahead):
    """Write the scores of a centre's group; where its blocks begin, and how many scores these are.

    The row ``X[ahead]`` is fetched meanwhile. The other parameters are as for
    :func:`compare_with_groups`, for one row.
    """
    width = row_values(X.shape[1])
    first, last = own_places(groups, label)
    _score_and_fetch(x, width, packed, numbers, first, scores, 0, X, ahead)
    for i in range(BLOCK, last - first, BLOCK):
        _score_block(x, width, packed, numbers, first + i, scores, i, X, ahead)
    return first, last - first


@inline
def least_in_group(x, packed, numbers, groups, label, scores, X, ahead):
    """The nearest centre of a centre's group, its score, and the second least one.

    The parameters are those of :func:`score_group`.
    """
    first, n_own = score_group(x, packed, numbers, groups, label, scores, X, ahead)
    place, least, second = _least_two(scores, _fill_up(scores, n_own))
    return numbers[first + place], least, second


@inline
def bound_by_outer(outer, moved, lane, norms, packed, second):
    """Count centres that were so far from a row before they moved; whether two others are nearer.

    ``second`` holds the second least scores.
    """
    bound = _score_of_outer(outer, moved, norms[lane], packed)
    nearer = second[lane] < bound
    second[lane] = min(second[lane], bound)
    return nearer


@inline
def compare_with_groups(
    X, rows, n_lanes, scale, shift, packed, numbers, groups, away, outers, labels, xs, scores,
    norms, best, second, nearest,
):  # fmt: skip
    """Compare rows with their group and the fast centres, and with a bound on all others.

    Not with those of the fast ones whose bound says that two others are nearer.

    Parameters
    ----------
    X, scale, shift, packed, groups, away, outers, labels
        As for ``bytes.bytes_pass``.
    rows : int32 array of TILE values
        The first ``n_lanes`` are the rows' numbers; they have labels.
    numbers : int32 array
        The clusters, group by group, in whole blocks.
    xs, scores : float32 scratch
        Of ``row_values(n_features)`` and ``n_scores(groups, away)`` values a lane.
    norms, best, second, nearest : arrays of TILE values
        Get the rows' squared norms, least and second least scores, and the centre of the least. A
        bound on the scores of all centres that a row is not compared with counts as one.

    Returns
    -------
    uint64
        The lanes whose second least score is a centre's and not this bound.
    """
    width, n_fast = row_values(X.shape[1]), len(away.fast)
    stride = len(scores) // TILE
    pending = np.uint64(0)
    for lane in range(TILE):
        norms[lane] = best[lane] = second[lane] = np.float32(0)
    for lane in range(n_lanes):
        row = np.intp(rows[lane])
        if outers[row] <= away.reaches[-1]:
            continue
        pending |= np.uint64(1) << np.uint64(lane)
        ahead = np.intp(rows[min(lane + _ROWS_AHEAD, n_lanes - 1)])
        x, own_scores = xs[lane * width : (lane + 1) * width], scores[lane * stride :]
        read_row(X, row, scale, shift, x)
        norms[lane] = _square_of(x)
        score_group(x, packed, numbers, groups, labels[row], own_scores, X, ahead)
    within = np.uint64(0)
    for i in range(0, n_fast + BLOCK, BLOCK):
        # A block of fast centres stays in the cache for all rows that want it.
        lanes = pending
        while lanes != np.uint64(0):
            lane = np.intp(first_bit(lanes))
            lanes &= lanes - np.uint64(1)
            row = np.intp(rows[lane])
            first, last = own_places(groups, labels[row])
            n_own, own_scores = last - first, scores[lane * stride : (lane + 1) * stride]
            if i > 0:
                x, at = xs[lane * width : (lane + 1) * width], n_own + i - BLOCK
                _score_block(x, width, packed, away.fast, i - BLOCK, own_scores, at, X, row)
                for j in range(BLOCK):
                    if first <= groups.places[away.fast[i - BLOCK + j]] < last:
                        own_scores[at + j] = np.inf
            place, least, runner_up = _least_two(own_scores, _fill_up(own_scores, n_own + i))
            best[lane], second[lane] = least, runner_up
            reach = away.reaches[i // BLOCK]
            nearer = bound_by_outer(outers[row], reach, lane, norms, packed, second)
            if not (nearer or i == n_fast):
                continue
            pending ^= np.uint64(1) << np.uint64(lane)
            if nearer:
                within |= np.uint64(1) << np.uint64(lane)
            nearest[lane] = numbers[first + place] if place < n_own else away.fast[place - n_own]
    return within


@inline
def nearest_in_group(X, row, scale, centers, numbers, groups, away, outers, labels):
    """A row's nearest centre and the gap to all others in scaled units, in float64.

    The number is -1 where a centre beyond the group may be nearer, or where float64 sums, which
    are made in another order for all centres of narrow rows, might put two in another order.

    Parameters
    ----------
    X, row, scale, centers, numbers, groups, away, outers, labels
        As for :func:`compare_with_groups`; the row's outer bound exceeds ``away.reaches[-1]``.
    """
    failed = np.int32(-1), np.float32(0)
    outer = (np.float64(outers[row]) - away.reaches[-1]) * ROUNDED_DOWN
    first, last = own_places(groups, labels[row])
    label, near, far = np.int32(-1), np.inf, np.inf
    for i in range(first, last + len(away.fast)):
        number = numbers[i] if i < last else away.fast[i - last]
        if number == len(centers) or (i >= last and first <= groups.places[number] < last):
            continue
        distance = direct_distance(X, row, centers, np.intp(number))
        label, near, far = with_one_more(number, distance, label, near, far)
    n_features = X.shape[1]
    if not np.sqrt(near) * scale * ROUNDED_UP < outer or in_doubt(near, far, n_features):
        return failed
    return label, gap_to_others(near, far, outer, n_features, scale)
