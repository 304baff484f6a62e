"""Passes over CSR rows that compare them with points, and make one of these a seed."""

import numpy as np

from fastem.kernels.distances.sparse import squared_norm
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.parallel import next_chunk
from fastem.kernels.seeding.csr.points import BATCH, FEW, compare, renew
from fastem.kernels.vectors.machine import LINE_BYTES, TILE
from fastem.kernels.vectors.stored import put
from fastem.kernels.vectors.vector import (
    broadcast,
    count_bits,
    fetch,
    first_bit,
    lesser,
    load,
    store,
)

# Distances kept for each row on average: beside the first seeds, there may be more to keep.
ROOM = 2
# Values of 4 bytes in a cache line.
_LINE = LINE_BYTES // 4


@kernel
def settle_pass(
    tickets, n_chunks, chunk_rows, rows, squares, unit, sample_weight, closest, points, bit,
    nearer, seed, labels, potentials,
):  # fmt: skip
    """Make a point a seed.

    Parameters
    ----------
    rows, squares, unit, sample_weight
        As for :func:`try_pass`; the first seed's pass finds the squared norms, too.
    closest : float array of shape (n_rows,)
        Squared distances to the nearest seed, which are brought up to date.
    points : Placed
        The point, as the first.
    bit : int
        What rows that it may be nearer to have set in ``nearer``.
    nearer : uint8 array of shape (n_rows,)
    seed : int
        The point's number among the seeds.
    labels : int32 array of shape (n_rows,)
        The numbers of the nearest seeds, which are brought up to date; -1 if rounding leaves open
        which that is.
    potentials : float64 array of shape (n_chunks,)
        Gets each chunk's weighted sum of the distances.
    """
    zeros, distances = np.zeros(BATCH), np.zeros(BATCH)
    listed = np.empty(TILE, np.int64)
    rounded, bit = closest.itemsize == 4, np.uint64(bit)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        total = 0.0
        stop = min((chunk + 1) * chunk_rows, len(closest))
        for first in range(chunk * chunk_rows, stop, TILE):
            n_listed = 0
            for row in range(first, min(first + TILE, stop)):
                listed[n_listed] = row
                n_listed += np.intp((np.uint64(nearer[row]) & bit) != np.uint64(0))
            for i in range(n_listed if n_listed < TILE else 0):
                for at in range(rows.indptr[listed[i]], rows.indptr[listed[i] + 1], _LINE):
                    fetch(rows.indices, at)
                    fetch(rows.data, at)
            for i in range(n_listed):
                row = listed[i]
                near = np.float64(closest[row])
                if seed == 0:
                    squares[row] = squared_norm(rows, row)
                compare(rows, row, squares[row], unit, near, points, zeros, rounded, distances)
                renew(row, distances[0], seed, closest, labels)
            for row in range(first, min(first + TILE, stop)):
                weight = sample_weight[row] if len(sample_weight) else 1.0
                total += weight * np.float64(closest[row])
        potentials[chunk] = total


@kernel
def try_pass(
    tickets, n_chunks, chunk_rows, rows, squares, unit, sample_weight, closest, points, wanted,
    nearer, found, lost, potentials,
):  # fmt: skip
    """Compare rows with some of up to eight points that may be nearer than the nearest seed.

    Parameters
    ----------
    rows : SparseRows
    squares : float64 array of shape (n_rows,)
        Their squared norms.
    unit : float
        What squared distances are multiplied by.
    sample_weight : float64 array of n_rows values, or of none
    closest : float array of shape (n_rows,)
        Squared distances to the nearest seed.
    points : Placed
    wanted : int
        A bit for each point that is compared.
    nearer : uint8 array of shape (n_rows,)
        Has a bit for each point that may be nearer than the nearest seed; gets one for those that
        are.
    found : float array of shape (ROOM * n_rows,), or (FEW * n_rows,)
        From ``ROOM`` times each chunk's first row on, gets the distances that bits are set for.
        Of a table of ``FEW`` columns, all distances of the rows compared, each in its place: to
        pick some takes a sixth more time, as which these are is hard to foretell.
    lost : int64 array of shape (n_chunks,)
        For how many of these there was no room.
    potentials : float64 array of shape (8, n_chunks)
        Gets each chunk's weighted sum of the distances if the point were a seed.
    """
    zeros, distances, sums = np.zeros(BATCH), np.zeros(BATCH), np.empty(BATCH)
    kept, lefts = np.empty(TILE * BATCH), np.empty(TILE, np.uint64)
    rounded, wanted = closest.itemsize == 4, np.uint64(wanted)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        totals = load(zeros, 0, BATCH)
        start, stop = chunk * chunk_rows, min((chunk + 1) * chunk_rows, len(closest))
        at = ROOM * start
        for first in range(start, stop, TILE):
            n_listed = 0
            for row in range(first, min(first + TILE, stop)):
                near = np.float64(closest[row])
                least = broadcast(near, BATCH)
                left = np.uint64(nearer[row]) & wanted
                if left != np.uint64(0):
                    left &= compare(
                        rows, row, squares[row], unit, near, points, zeros, rounded, distances
                    )
                    least = lesser(load(distances, 0, BATCH), least)
                    if points.width == FEW:
                        put(load(distances, 0, FEW), found, row * FEW)
                nearer[row] = left
                weight = sample_weight[row] if len(sample_weight) else 1.0
                totals = totals + broadcast(weight, BATCH) * least
                if points.width != FEW:
                    # Picked from later: a branch that nothing foretells takes longer where it
                    # waits for a distance.
                    store(load(distances, 0, BATCH), kept, n_listed * BATCH)
                    lefts[n_listed] = left
                    n_listed += np.intp(left != np.uint64(0))
            for i in range(n_listed):
                left = lefts[i]
                while left != np.uint64(0):
                    if at < ROOM * stop:
                        found[at] = kept[i * BATCH + np.intp(first_bit(left))]
                    left &= left - np.uint64(1)
                    at += 1
        lost[chunk] = max(at - ROOM * stop, 0)
        store(totals, sums, 0)
        for j in range(BATCH):
            potentials[j, chunk] = sums[j]


@kernel
def accept_pass(
    tickets, n_chunks, chunk_rows, nearer, found, few, number, closest, seed, labels
):  # fmt: skip
    """Make a point a seed: that of the bit ``number`` in what ``try_pass`` has left.

    ``few`` says whether it has kept all distances.

    The other parameters are those of :func:`settle_pass`.
    """
    bit, listed = np.uint64(1) << np.uint64(number), np.empty(TILE, np.int64)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start, stop = chunk * chunk_rows, min((chunk + 1) * chunk_rows, len(closest))
        if few:
            # Listed first, as a branch that nothing foretells takes longer.
            for first in range(start, stop, TILE):
                n_listed = 0
                for row in range(first, min(first + TILE, stop)):
                    listed[n_listed] = row
                    n_listed += np.intp((np.uint64(nearer[row]) & bit) != np.uint64(0))
                for i in range(n_listed):
                    row = listed[i]
                    renew(row, np.float64(found[row * FEW + number]), seed, closest, labels)
            continue
        at = ROOM * start
        for row in range(start, stop):
            which = np.uint64(nearer[row])
            if which & bit:
                before = count_bits(which & (bit - np.uint64(1)))
                distance = np.float64(found[at + np.intp(before)])
                renew(row, distance, seed, closest, labels)
            at += np.intp(count_bits(which))
