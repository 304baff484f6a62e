"""Centres as CSR rows are compared with them first: in few digits, with a bound on the error.

A row's score of a centre is ``|c|^2 / 2 - x.c``, in units of the frame's scale. With ``n``
non-zeros it is a sum of ``n + 1`` terms whose magnitudes sum to at most ``|c|^2 / 2 + |x| |c|``.
Values and centres are rounded to float32, as is each sum of a product, and what follows takes a few
more roundings: ``(n + 16) 2^-24`` times that sum is a bound up to terms of second order (Higham,
Accuracy and Stability of Numerical Algorithms, 2002, section 3.1), which are below its fiftieth for
less than 2^18 non-zeros. Where values or products are subnormal, each errs by up to 2^-150 times a
length or one, and up to 2^40 times that as rows are taken as they are, and centres are multiplied
by the square of the scale: that is what ``TINY`` adds.

A large table waits for the caches, and is kept in 16-bit floats: centres are multiplied by a power
of two that brings the longest near their largest number, and sums by its inverse. Each value then
errs by 2^-11 of itself more, which is at most ``2^-11 |x| |c|`` in a score; values that are
subnormal err by less than 2^-38 of the longest centre, in up to 2^18 products by less than 2^-28
of its length times ``|x|``.
"""

import math
from typing import NamedTuple

import numpy as np

from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.memory import aligned_array, aligned_empty, aligned_empty_like
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import LANES, WIDENS_HALVES
from fastem.kernels.vectors.stored import piece_widths, put, put_square
from fastem.kernels.vectors.vector import load

# The bound is the row's share of ``halves + |x| lengths``, and a share of ``|x| lengths`` for what
# the table's values are rounded by.
SHARE, MORE_TERMS, MOST_STORED = 1.02 * 2.0**-24, 16, 1 << 18
# Nothing overflows in float32 between rows and centres that are no longer.
MOST_LENGTH = 2.0**60
TINY, UP = 2.0**-80, 1 + 2.0**-20
# Rows as they are, which tables are multiplied for, are so far from those in the frame's units.
_MOST_EXTENT = 2.0**40
# Of 16-bit floats: by what they round, the power of the longest centre, between which powers of two
# this may be, and what its length adds to that of each.
_HALF_SHARE, _HALF_POWER, _HALF_RANGE, _HALF_TINY = 1.02 * 2.0**-11, 14, 2.0**20, 2.0**-17
# Smaller float32 tables stay in the second-level cache, where 16-bit floats gain nothing.
_LARGE = 1 << 20
# Features that are put into a column at a time, and the share of a piece's columns up to which they
# are put there one by one.
_BLOCK, _FEW = 64, 1 / 4


class CenterTable(NamedTuple):
    """Centres in float32, and what bounds the errors of scores.

    Parameters
    ----------
    values : ndarray of float32, or of uint16 for 16-bit floats
        One piece after the other, each of shape (n_features, LANES * width).
    widths : ndarray of shape (n_pieces,), int64
        The pieces' vectors. Columns without a centre have anything.
    n_features : int
    halves : ndarray of float32
        Half the squared norms, infinite behind the last column.
    sizes, lengths : ndarray of float32
        No less than these and the norms; zero behind the last column.
    """

    values: np.ndarray
    widths: np.ndarray
    n_features: int
    halves: np.ndarray
    sizes: np.ndarray
    lengths: np.ndarray


def empty_table(n_columns: int, n_features: int, coarse: bool = False) -> CenterTable:
    """Room for so many centres; in 16-bit floats if it may be ``coarse``, and these are faster."""
    n_lanes = LANES * int(piece_widths(n_columns, 4).sum())
    coarse = coarse and WIDENS_HALVES and 4 * n_features * n_lanes > _LARGE
    return _room(n_columns, n_features, np.uint16 if coarse else np.float32)


def smaller_table(n_columns: int, table: CenterTable) -> CenterTable:
    """Room for some of the centres of a table, of the same type."""
    return _room(n_columns, table.n_features, table.values.dtype)


def _room(n_columns, n_features, dtype):
    widths = piece_widths(n_columns, 4)
    n_lanes = LANES * int(widths.sum())
    return CenterTable(
        # NumPy asks for huge pages, which rows need here.
        aligned_array(n_features * n_lanes, dtype),
        widths,
        n_features,
        np.full(n_lanes, np.inf, np.float32),
        *np.zeros((2, n_lanes), np.float32),
    )


@kernel
def _fill(tickets, n_chunks, chunk_features, centers, chosen, stale, scale, widths, values):
    n_features = centers.shape[1]
    block = aligned_empty(_BLOCK)
    stored = aligned_empty_like(_BLOCK, values)
    # What lies behind the last column is never looked at: any centre will do.
    n_columns = LANES * widths.sum()
    numbers = np.empty(n_columns, np.int64)
    for column in range(n_columns):
        numbers[column] = chosen[min(column, len(chosen) - 1)]
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start = chunk * chunk_features
        stop = min(start + chunk_features, n_features)
        whole = stop - (stop - start) % LANES
        first = at = 0
        for piece in range(len(widths)):
            width = widths[piece] * LANES
            n_stale = 0
            for column in range(first, min(first + width, len(chosen))):
                n_stale += np.intp(stale[column])
            few = n_stale <= _FEW * width
            if not few:
                for f in range(start, whole, LANES):
                    for c in range(0, width, LANES):
                        put_square(
                            centers, numbers, first + c, f, scale, values, at + f * width + c, width
                        )
            for c in range(width):
                if few and not (first + c < len(chosen) and stale[first + c]):
                    continue
                for f in range(start if few else whole, stop, _BLOCK):
                    last = min(f + _BLOCK, stop)
                    for i in range(f, last):
                        block[i - f] = np.float32(centers[numbers[first + c], i] * scale)
                    for i in range(0, _BLOCK, LANES):
                        put(load(block, i, LANES), stored, i)
                    for i in range(f, last):
                        values[at + i * width + c] = stored[i - f]
            first += width
            at += width * n_features


def is_coarse(table: CenterTable) -> bool:
    """Whether it is of 16-bit floats."""
    return table.values.dtype == np.uint16


def rounding(table: CenterTable) -> float:
    """The share of ``|x| lengths`` that scores err by beside the row's own."""
    return _HALF_SHARE if is_coarse(table) else 0.0


def fill_table(
    table: CenterTable,
    centers: np.ndarray,
    squares: np.ndarray,
    scale: float,
    chosen: np.ndarray | None = None,
    stale: np.ndarray | None = None,
    factor: float = 0.0,
) -> float:
    """Put centres into a table.

    Parameters
    ----------
    table : CenterTable
    centers : ndarray of shape (n_clusters, n_features), float32 or float64
    squares : ndarray of shape (n_clusters,), float64
        Their squared norms.
    scale : float
        A power of two that they are multiplied by.
    chosen : None or ndarray of shape (n_columns,), int64
        The table's columns, if they aren't all the centres.
    stale : None or ndarray of shape (n_columns,), bool
        Which columns are not in the table yet, if rows are still to be multiplied by
    factor : float
        as when the others were put there.

    Returns
    -------
    float
        What the rows' products are to be multiplied by; 0 if centres are too long for the table, or
        rows too large or small for float32.
    """
    if chosen is None:
        chosen = np.arange(len(centers))
    n_columns, n_features = len(chosen), centers.shape[1]
    lengths = np.sqrt(squares[chosen]) * scale
    longest = float(lengths.max())
    if not longest < MOST_LENGTH:
        return 0.0
    up, more, extent = scale, TINY, scale
    if is_coarse(table):
        if not 1 / _HALF_RANGE < longest < _HALF_RANGE:
            return 0.0
        up, more = 2.0 ** (_HALF_POWER - math.frexp(longest)[1]), longest * _HALF_TINY
        extent = scale / up
    if not 1 / _MOST_EXTENT < extent < _MOST_EXTENT:
        return 0.0
    table.halves[n_columns:], table.sizes[n_columns:], table.lengths[n_columns:] = np.inf, 0.0, 0.0
    table.halves[:n_columns] = 0.5 * lengths**2
    table.sizes[:n_columns] = (0.5 * lengths**2 + TINY) * UP
    table.lengths[:n_columns] = (lengths + more) * UP
    if stale is None or factor != scale / up:
        stale = np.ones(n_columns, bool)
    chunk_features = max(_BLOCK, ceil_div(n_features, 64 * _BLOCK) * _BLOCK)
    run(
        _fill,
        ceil_div(n_features, chunk_features),
        chunk_features,
        read_only(centers),
        chosen,
        stale,
        float(scale) * up,
        table.widths,
        table.values,
    )
    return scale / up


def row_lengths(squares: np.ndarray, scale: float) -> np.ndarray:
    """No less than the lengths of rows of such squared norms times a power of two, in float32."""
    lengths = np.sqrt(squares)
    lengths *= scale * UP
    with np.errstate(over="ignore"):  # beyond float32 they are infinite
        return lengths.astype(np.float32)
