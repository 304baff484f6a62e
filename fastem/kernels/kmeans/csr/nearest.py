"""The pass of K-means over CSR rows: scores in few digits, what they leave open in float64."""

import numpy as np

from fastem.kernels.distances.sparse import nearest_to_row, precise_distance_to_one
from fastem.kernels.kmeans.csr.bounds import bounds_of, no_less, no_more
from fastem.kernels.kmeans.csr.scores import fetch_row, write_scores
from fastem.kernels.kmeans.csr.table import MORE_TERMS, MOST_LENGTH, MOST_STORED, SHARE
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk
from fastem.kernels.vectors.machine import LANES
from fastem.kernels.vectors.tiles import aligned_empty
from fastem.kernels.vectors.vector import (
    bits,
    broadcast,
    count_bits,
    first_bit,
    greater,
    least_of_lanes,
    lesser,
    load,
    multiply_add,
    store,
    where,
)

# So many centres are compared one by one with a row; if more are left, with all at once.
FEW = 32


@inline
def _only_candidate(scores, table, share, rounding, length, places):
    """The centre that alone may be the nearest, or -1, and bounds as ``bounds_of`` has them.

    In one sweep that never branches: what followed the scores of 50 centres took as long as these.

    Parameters
    ----------
    scores : float32 array of shape (n_columns,)
    table : CenterTable
    share, rounding, length : float
        What the scores' errors are bounded by.
    places : int32 scratch of LANES values
    """
    reach = (share + rounding) * length
    shares, reaches = broadcast(np.float32(share), LANES), broadcast(np.float32(reach), LANES)
    # Of each lane, the two least of the scores less their errors, and where the least one is.
    first = second = broadcast(np.float32(np.inf), LANES)
    place = broadcast(np.int32(0), LANES)
    for j in range(0, len(scores), LANES):
        error = shares * load(table.sizes, j, LANES)
        error = multiply_add(reaches, load(table.lengths, j, LANES), error)
        low = load(scores, j, LANES) - error
        second = lesser(greater(first, low), second)
        place = where(low < first, broadcast(np.int32(j), LANES), place)
        first = lesser(low, first)
    store(place, places, 0)
    nearest = first <= broadcast(least_of_lanes(first), LANES)
    lanes = bits(nearest)
    least = np.float64(least_of_lanes(where(nearest, second, first)))
    lane = np.int32(first_bit(lanes | np.uint64(1 << LANES - 1)))
    label = places[lane] + lane
    most = np.float64(scores[label]) + reach * np.float64(table.lengths[label])
    most += share * np.float64(table.sizes[label])
    alone = count_bits(lanes) == np.uint64(1) and most < least
    return label if alone else np.int32(-1), most, least


@inline
def _candidates(scores, table, share, rounding, length, found):
    """Write the first few centres that may be the nearest; return how many there are of all.

    Those whose least score is no more than the least of the greatest.
    """
    shares, reach = (
        broadcast(np.float32(share), LANES),
        broadcast(np.float32((share + rounding) * length), LANES),
    )
    most = broadcast(np.float32(np.inf), LANES)
    for j in range(0, len(scores), LANES):
        error = multiply_add(reach, load(table.lengths, j, LANES), load(scores, j, LANES))
        most = lesser(multiply_add(shares, load(table.sizes, j, LANES), error), most)
    most = broadcast(least_of_lanes(most), LANES)
    n_found = 0
    for j in range(0, len(scores), LANES):
        error = multiply_add(reach, load(table.lengths, j, LANES), most)
        error = multiply_add(shares, load(table.sizes, j, LANES), error)
        left = bits(load(scores, j, LANES) <= error)
        if left != np.uint64(0):
            if n_found < FEW:
                rest = left
                at = n_found
                while rest != np.uint64(0) and at < FEW:
                    found[at] = np.int32(j) + np.int32(first_bit(rest))
                    rest &= rest - np.uint64(1)
                    at += 1
            n_found += np.intp(count_bits(left))
    return n_found


@inline
def _nearest_of(rows, row, centers, norms, found, n_found, plain):
    """The nearest of some centres: in float64, and what this leaves open in twofold precision.

    Its error is bounded as in ``fastem.kernels.distances.sparse``.
    """
    start, stop = rows.indptr[row], rows.indptr[row + 1]
    square, most = 0.0, np.inf
    for i in range(start, stop):
        square += np.float64(rows.data[i]) * np.float64(rows.data[i])
    share = (stop - start + 4) * 2.0**-52
    for i in range(n_found):
        j = found[i]
        distance = norms[0, j]
        for n in range(start, stop):
            distance -= 2.0 * np.float64(rows.data[n]) * centers[j, rows.indices[n]]
        error = share * (square + 2.0 * norms[0, j])
        plain[i] = distance - error
        most = min(most, distance + error)
    n_close, label = 0, found[0]
    for i in range(n_found):
        if plain[i] <= most:
            found[n_close] = label = found[i]
            n_close += 1
    if n_close > 1:
        least = np.inf
        for i in range(n_close):
            distance = precise_distance_to_one(rows, row, centers, norms, found[i])
            if distance < least:
                least, label = distance, found[i]
    return label


@inline
def list_left(start, stop, left, compared):
    """List a chunk's rows that are left to compare; how many these are."""
    n_compared = 0
    for row in range(start, stop):
        compared[n_compared] = row
        n_compared += left[row]
    return n_compared


@inline
def has_scores(rows, row, lengths):
    """Whether what bounds the errors of a row's scores holds for it."""
    n_stored = rows.indptr[row + 1] - rows.indptr[row]
    return lengths[row] < MOST_LENGTH and n_stored < MOST_STORED


@inline
def label_row(
    rows, row, scores, rounding, table, lengths, centers, norms, labels, own, others, found, plain,
    places,
):  # fmt: skip
    """Label a row by the nearest of the few centres that its scores leave; returns how many.

    More than ``FEW`` if it isn't labelled. The other parameters are those of :func:`table_pass`.
    """
    length = lengths[row]
    n_stored = rows.indptr[row + 1] - rows.indptr[row]
    n_found, share = FEW + 1, SHARE * (n_stored + MORE_TERMS)
    if has_scores(rows, row, lengths):
        label, most, least = _only_candidate(scores, table, share, rounding, length, places)
        if label >= 0:
            labels[row] = label
            own[row], others[row] = no_less(most), no_more(least)
            return 1
        n_found = _candidates(scores, table, share, rounding, length, found)
    own[row], others[row] = np.float32(np.inf), np.float32(-np.inf)
    if n_found <= FEW:
        label = found[0]
        if n_found > 1:
            label = _nearest_of(rows, row, centers, norms, found, n_found, plain)
        labels[row] = label
        most, least = bounds_of(scores, table, share, rounding, length, label)
        own[row], others[row] = no_less(most), no_more(least)
    return n_found


@kernel
def table_pass(
    tickets, n_chunks, chunk_rows, rows, lengths, factor, rounding, table, centers, norms, labels,
    left, own, others, counts,
):  # fmt: skip
    """Label those of the rows left whose nearest centre is among the few that their scores leave.

    Parameters
    ----------
    rows : SparseRows
    lengths : float32 array of shape (n_rows,)
        As ``row_lengths`` returns them.
    factor : float
        As ``fill_table`` returns it.
    rounding : float
        The table's.
    table : CenterTable
    centers : float32 or float64 array of shape (n_clusters, n_features)
    norms : float64 array of shape (2, n_clusters)
        Their squared norms in twofold precision.
    labels : int32 array of shape (n_rows,)
    left : bool array of shape (n_rows,)
        Which rows to compare; gets which are left to be compared with all centres in float64.
    own, others : float32 arrays of shape (n_rows,)
        Get bounds as for :func:`kept_pass`.
    counts : int64 array of shape (2, n_chunks)
        How many rows of each chunk had several candidates, and how many are left.
    """
    scores, found = aligned_empty(len(table.halves)), np.empty(FEW, np.int32)
    plain, places = np.empty(FEW), np.empty(LANES, np.int32)
    compared = np.empty(chunk_rows, np.int64)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        n_open = n_left = 0
        start, stop = chunk * chunk_rows, min((chunk + 1) * chunk_rows, len(labels))
        n_compared = list_left(start, stop, left, compared)
        some = n_compared < stop - start
        for i in range(n_compared):
            if some and i + 1 < n_compared:
                fetch_row(rows, compared[i + 1])
            row = compared[i]
            if has_scores(rows, row, lengths):
                write_scores(rows, row, factor, table, scores)
            n_found = label_row(
                rows, row, scores, rounding, table, lengths, centers, norms, labels, own, others,
                found, plain, places,
            )  # fmt: skip
            left[row] = n_found > FEW
            n_open += n_found > 1
            n_left += n_found > FEW
        counts[0, chunk], counts[1, chunk] = n_open, n_left


@kernel
def exact_pass(tickets, n_chunks, chunk_rows, rows, packed, left, labels):
    """Label rows by their nearest centres, in float64: those that are ``left``, all if it is empty.

    Parameters
    ----------
    rows : SparseRows
    packed : SparsePacked
        The centres.
    left : bool array of n_rows values, or of none
    labels : int32 array of shape (n_rows,)
    """
    n_clusters = len(packed.high)
    sums, distances = np.empty((2, n_clusters)), np.empty(n_clusters)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for row in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, len(labels))):
            if len(left) == 0 or left[row]:
                labels[row] = nearest_to_row(rows, row, packed, sums, distances)
