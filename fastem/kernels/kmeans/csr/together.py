"""The pass over CSR rows whose scores fit into one vector: of as many rows at once as it has lanes.

To find the least of a vector's lanes takes as long as to find that of each lane in a dozen vectors:
looked at one by one, rows of 60 values and 10 scores took a quarter of a pass for that.
"""

import numpy as np

from fastem.kernels.kmeans.csr.nearest import FEW, has_scores, label_row, list_left
from fastem.kernels.kmeans.csr.scores import fetch_row
from fastem.kernels.kmeans.csr.table import MORE_TERMS, SHARE, TINY
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.memory import aligned_array
from fastem.kernels.runtime.parallel import next_chunk
from fastem.kernels.vectors.machine import DOUBLES, LANES
from fastem.kernels.vectors.stored import row_products, transpose
from fastem.kernels.vectors.vector import (
    bits,
    broadcast,
    double,
    greater,
    lesser,
    load,
    magnitude,
    multiply_add,
    single,
    store,
    where,
)

# What rows are looked at with: a square of scores, and these lines behind it.
_BOUND, _OTHERS, _SIZES, _SECOND, _N_LINES = LANES, LANES + 1, LANES + 2, LANES + 3, LANES + 4
_ROUNDING = 2.0**-23


@inline
def _n_used(table):
    """The number of the columns that have a centre."""
    last = 0
    for j in range(len(table.halves)):
        last = j + 1 if table.halves[j] < np.inf else last
    return last


@inline
def _only_candidates(scores, n_columns, table, errors, lines, places):
    """Find of each row which centre alone may be the nearest, and bounds as ``bounds_of`` has them.

    Parameters
    ----------
    scores : float32 array of shape (LANES, LANES)
        The rows'.
    n_columns : int
        Those that have a centre.
    table : CenterTable
    errors : float64 array of shape (2, LANES)
        By which shares of the table's sizes and lengths each row's scores may err.
    lines : float32 array of shape (_N_LINES, LANES)
        Gets bounds on the scores of the rows' own centres in ``_BOUND``, and of all others in
        ``_OTHERS``.
    places : int32 array of shape (LANES,)
        Gets the centres of the least scores less their errors.

    Returns
    -------
    uint64
        Bits of the rows of which that is the only candidate: what is written holds for these.
    """
    shares, reaches = single(load(errors, 0, LANES)), single(load(errors, LANES, LANES))
    first = second = best = broadcast(np.float32(np.inf), LANES)
    sizes = lengths = broadcast(np.float32(0.0), LANES)
    place = broadcast(np.int32(0), LANES)
    transpose(scores, lines)
    for j in range(n_columns):
        score = load(lines, j * LANES, LANES)
        size, length = broadcast(table.sizes[j], LANES), broadcast(table.lengths[j], LANES)
        low = score - multiply_add(reaches, length, shares * size)
        second = lesser(greater(first, low), second)
        nearer = low < first
        place = where(nearer, broadcast(np.int32(j), LANES), place)
        best, sizes = where(nearer, score, best), where(nearer, size, sizes)
        lengths = where(nearer, length, lengths)
        first = lesser(low, first)
    store(place, places, 0)
    store(best, lines, _BOUND * LANES)
    store(lengths, lines, _OTHERS * LANES)
    store(sizes, lines, _SIZES * LANES)
    store(second, lines, _SECOND * LANES)
    alone = np.uint64(0)
    up, more = broadcast(_ROUNDING, DOUBLES), broadcast(TINY, DOUBLES)
    for lane in range(0, LANES, DOUBLES):
        bound, others = _BOUND * LANES + lane, _OTHERS * LANES + lane
        most, least = (
            double(load(lines, bound, DOUBLES)),
            double(load(lines, _SECOND * LANES + lane, DOUBLES)),
        )
        length = double(load(lines, others, DOUBLES))
        size = double(load(lines, _SIZES * LANES + lane, DOUBLES))
        most = multiply_add(load(errors, LANES + lane, DOUBLES), length, most)
        most = multiply_add(load(errors, lane, DOUBLES), size, most)
        alone |= bits(most < least) << np.uint64(lane)
        store(single(multiply_add(up, magnitude(most), most) + more), lines, bound)
        store(single(least - multiply_add(up, magnitude(least), more)), lines, others)
    return alone


@inline
def _write_several(
    rows, lengths, factor, rounding, table, compared, first, last, fetched, scores, errors
):
    """Write the scores of some of the rows to compare, of which those up to ``fetched`` are.

    The other parameters are those of :func:`few_pass` and :func:`_only_candidates`. Returns of how
    many rows they are written: of those that have any.
    """
    n_written = 0
    for i in range(first, last):
        if i + 1 < fetched:
            fetch_row(rows, compared[i + 1])
        row = compared[i]
        if has_scores(rows, row, lengths):
            start, stop = rows.indptr[row], rows.indptr[row + 1]
            share = SHARE * (stop - start + MORE_TERMS)
            errors[0, i - first] = share
            errors[1, i - first] = (share + rounding) * np.float64(lengths[row])
            row_products(
                rows.data, rows.indices, None, start, stop, -factor, table.values, 0, LANES,
                table.halves, scores[i - first], 0,
            )  # fmt: skip
            n_written += 1
    return n_written


@kernel
def few_pass(
    tickets, n_chunks, chunk_rows, rows, lengths, factor, rounding, table, centers, norms, labels,
    left, own, others, counts,
):  # fmt: skip
    """As :func:`fastem.kernels.kmeans.csr.nearest.table_pass`, for a table of ``LANES`` columns."""
    found, plain = np.empty(FEW, np.int32), np.empty(FEW)
    places, places_of_one = np.empty(LANES, np.int32), np.empty(LANES, np.int32)
    compared, errors = np.empty(chunk_rows, np.int64), np.empty((2, LANES))
    scores = aligned_array((LANES, LANES), np.float32)
    lines = aligned_array((_N_LINES, LANES), np.float32)
    n_columns = _n_used(table)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        n_open = n_left = 0
        start, stop = chunk * chunk_rows, min((chunk + 1) * chunk_rows, len(labels))
        n_compared = list_left(start, stop, left, compared)
        fetched = n_compared if n_compared < stop - start else 0
        for first in range(0, n_compared, LANES):
            last = min(first + LANES, n_compared)
            n_written = _write_several(
                rows, lengths, factor, rounding, table, compared, first, last, fetched, scores,
                errors,
            )  # fmt: skip
            alone = np.uint64(0)
            if n_written == LANES:
                alone = _only_candidates(scores, n_columns, table, errors, lines, places)
            for i in range(first, last):
                row, lane = compared[i], i - first
                if alone & (np.uint64(1) << np.uint64(lane)):
                    labels[row], left[row] = places[lane], False
                    own[row], others[row] = lines[_BOUND, lane], lines[_OTHERS, lane]
                    continue
                n_found = label_row(
                    rows, row, scores[lane], rounding, table, lengths, centers, norms, labels,
                    own, others, found, plain, places_of_one,
                )  # fmt: skip
                left[row] = n_found > FEW
                n_open += n_found > 1
                n_left += n_found > FEW
        counts[0, chunk], counts[1, chunk] = n_open, n_left
