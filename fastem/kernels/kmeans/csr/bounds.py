"""What is known of CSR rows from the pass before: few are compared anew once few centres move.

A row's score of its own centre is at most ``own``, and those of the others are at least ``others``.
When a centre moves, a score changes by what half its squared norm does, and at most by the row's
length times the way. Where this leaves open which centre is the nearest, the row is compared with
the centres that have moved, if these are few: ``others`` holds for the rest. Texts move little
after three passes, and soon some of their clusters not at all.
"""

from typing import NamedTuple

import numpy as np

from fastem.kernels.distances.sparse import PARTIAL, twofold_norm
from fastem.kernels.kmeans.csr.scores import fetch_row, write_scores
from fastem.kernels.kmeans.csr.table import MORE_TERMS, MOST_LENGTH, MOST_STORED, SHARE, TINY, UP
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.chunks import round_up
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.memory import aligned_empty
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import LANES
from fastem.kernels.vectors.vector import (
    broadcast,
    greater,
    greatest_of_lanes,
    least_of_lanes,
    lesser,
    load,
    magnitude,
    multiply_add,
    sum_of_lanes,
)

# So few values are not worth a second thread.
_FEW_VALUES = 1 << 17


class Moves(NamedTuple):
    """How the centres have moved that differ from those of the pass before.

    Parameters
    ----------
    columns : int32 array of shape (n_clusters,)
        Each centre's number among them, -1 for one that hasn't moved.
    rises, falls, ways : float32 arrays
        No less than what half the squared norms have changed by, no more than that, and no less
        than how far they have moved, in units of the frame's scale; zero behind the last.
    """

    columns: np.ndarray
    rises: np.ndarray
    falls: np.ndarray
    ways: np.ndarray


@kernel
def _follow_centers(tickets, n_clusters, before, centers, moved, norms, squares):
    """Write how far centres have moved, squared, -1 for not at all; renew the norms of these."""
    n_features = centers.shape[1]
    partial = np.empty((2, PARTIAL))
    whole = n_features - n_features % PARTIAL
    while True:
        j = next_chunk(tickets)
        if j >= n_clusters:
            return
        if len(moved) and not moved[j]:
            squares[j] = -1.0
            continue
        squares_of_lanes = farthest = broadcast(0.0, PARTIAL)
        for first in range(j * n_features, j * n_features + whole, PARTIAL):
            ways = load(centers, first, PARTIAL) - load(before, first, PARTIAL)
            squares_of_lanes = multiply_add(ways, ways, squares_of_lanes)
            farthest = greater(magnitude(ways), farthest)
        square, most = sum_of_lanes(squares_of_lanes), greatest_of_lanes(farthest)
        for f in range(whole, n_features):
            way = centers[j, f] - before[j, f]
            square += way * way
            most = max(most, abs(way))
        squares[j] = square if most > 0.0 else -1.0  # squares may vanish
        if most > 0.0:
            twofold_norm(centers, j, partial, norms)


@np.errstate(over="ignore", invalid="ignore")
def follow_centers(
    before: np.ndarray,
    centers: np.ndarray,
    norms: np.ndarray,
    scale: float,
    moved: np.ndarray | None = None,
) -> tuple[np.ndarray, Moves]:
    """Which centres have moved, (n_moved,) int64, and how.

    Parameters
    ----------
    before, centers : ndarrays of shape (n_clusters, n_features), float64
    norms : ndarray of shape (2, n_clusters), float64
        The squared norms of those before in twofold precision, which are brought up to date.
    scale : float
        The frame's.
    moved : None or bool array of shape (n_clusters,)
        Which ones may have; None if any may.
    """
    n_clusters = len(centers)
    old, squares = norms[0].copy(), np.empty(n_clusters)
    if moved is None:
        moved = np.empty(0, bool)
    few = (np.count_nonzero(moved) if len(moved) else n_clusters) * centers.shape[1] < _FEW_VALUES
    run(
        _follow_centers,
        n_clusters,
        read_only(before),
        read_only(centers),
        moved,
        norms,
        squares,
        most_threads=1 if few else None,
    )
    return moves_of(squares, old, norms[0], scale)


@np.errstate(over="ignore", invalid="ignore")
def moves_of(
    squares: np.ndarray, old: np.ndarray, new: np.ndarray, scale: float
) -> tuple[np.ndarray, Moves]:
    """As :func:`follow_centers`, from what is known of the centres.

    Parameters
    ----------
    squares : ndarray of shape (n_clusters,), float64
        How far they have moved, squared; -1 for not at all.
    old, new : ndarrays of shape (n_clusters,), float64
        Their squared norms, before and now.
    scale : float
        The frame's.
    """
    n_clusters = len(squares)
    moved = np.flatnonzero(~(squares < 0.0))
    columns = np.full(n_clusters, -1, np.int32)
    columns[moved] = np.arange(len(moved))
    rises, falls, ways = np.zeros((3, round_up(len(moved), LANES)), np.float32)
    half = 0.5 * scale**2
    rise = half * (new[moved] - old[moved])
    error = (UP - 1) * np.abs(rise) + 2.0**-50 * half * (new[moved] + old[moved]) + TINY
    rises[: len(moved)], falls[: len(moved)] = rise + error, rise - error
    ways[: len(moved)] = np.sqrt(squares[moved]) * (scale * UP) + TINY
    return moved, Moves(columns, rises, falls, ways)


@inline
def no_less(value):
    """A float32 number that is not below this one."""
    return np.float32(value + abs(value) * 2.0**-23 + TINY)


@inline
def no_more(value):
    """A float32 number that is not above this one."""
    return np.float32(value - abs(value) * 2.0**-23 - TINY)


@inline
def bounds_of(scores, table, share, rounding, length, column):
    """Bounds on a row's scores: the most that one is, and the least of the others.

    Parameters
    ----------
    scores : float32 array of shape (n_columns,)
        As they were written; that of the column is lost.
    table : CenterTable
    share, rounding, length : float
        What the scores' errors are bounded by.
    column : int
        -1 for none: all are others.
    """
    most = np.inf
    reach = (share + rounding) * length
    if column >= 0:
        most = np.float64(scores[column]) + reach * np.float64(table.lengths[column])
        most += share * np.float64(table.sizes[column])
        scores[column] = np.float32(np.inf)
    shares, reaches = broadcast(np.float32(share), LANES), broadcast(np.float32(reach), LANES)
    least = broadcast(np.float32(np.inf), LANES)
    for j in range(0, len(scores), LANES):
        error = shares * load(table.sizes, j, LANES)
        error = multiply_add(reaches, load(table.lengths, j, LANES), error)
        least = lesser(load(scores, j, LANES) - error, least)
    return most, np.float64(least_of_lanes(least))


@kernel
def kept_pass(
    tickets, n_chunks, chunk_rows, rows, lengths, factor, rounding, table, moves, labels, left,
    own, others, counts,
):  # fmt: skip
    """Note which rows may have another nearest centre now.

    Parameters
    ----------
    rows, lengths, rounding
        As for :func:`table_pass`.
    factor : float
        As ``fill_table`` returns it for the table; 0 if there are no scores to look at.
    table : CenterTable
        Of the centres that have moved.
    moves : Moves
    labels : int32 array of shape (n_rows,)
    left : bool array of shape (n_rows,)
        Gets which rows are left to be compared with all centres.
    own, others : float32 arrays of shape (n_rows,)
        Bounds on the scores of the rows' own centres and of all others, for those before; of the
        rows that aren't left, they are brought up to date.
    counts : int64 array of shape (n_chunks,)
        How many rows of each chunk are left.
    """
    scores = aligned_empty(len(table.halves))
    opened, before = np.empty(chunk_rows, np.int64), np.empty((2, chunk_rows), np.float32)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        # Listed first, without a branch that nothing foretells: it took half of such a pass.
        n_opened = 0
        for row in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, len(labels))):
            length, column = lengths[row], moves.columns[labels[row]]
            fall = broadcast(np.float32(0.0), LANES)
            negative = broadcast(-length, LANES)
            for j in range(0, len(moves.ways), LANES):
                way = multiply_add(
                    negative, load(moves.ways, j, LANES), load(moves.falls, j, LANES)
                )
                fall = lesser(fall, way)
            above = np.float64(own[row])
            below = np.float64(others[row]) + UP * np.float64(least_of_lanes(fall))
            j = max(column, 0)
            rise = np.float64(moves.rises[j]) + np.float64(length) * np.float64(moves.ways[j])
            above += rise if column >= 0 else 0.0
            kept = np.intp(length < MOST_LENGTH) * np.intp(above < below)
            opened[n_opened], left[row] = row, kept == 0
            before[0, n_opened], before[1, n_opened] = own[row], others[row]
            own[row], others[row] = no_less(above), no_more(below)  # those left get new ones anyway
            n_opened += 1 - kept
        n_left = n_opened
        for i in range(n_opened if factor != 0.0 else 0):
            if i + 1 < n_opened:
                fetch_row(rows, opened[i + 1])
            row = opened[i]
            length, column = lengths[row], moves.columns[labels[row]]
            n_stored = rows.indptr[row + 1] - rows.indptr[row]
            if not (length < MOST_LENGTH and n_stored < MOST_STORED):
                continue
            write_scores(rows, row, factor, table, scores)
            share = SHARE * (n_stored + MORE_TERMS)
            above, below = bounds_of(scores, table, share, rounding, length, column)
            least = np.float64(before[1, i])
            if column < 0:  # it is nearer than the others that haven't moved
                above = np.float64(before[0, i])
                kept = above < below
                below = min(below, least)
            else:
                below = min(below, least)
                kept = above < below
            if kept:
                own[row], others[row] = no_less(above), no_more(below)
                left[row] = False
                n_left -= 1
        counts[chunk] = n_left
