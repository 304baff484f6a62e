"""Centres as CSR rows are compared with them first: in few digits, with a bound on the error.

A row's score of a centre is ``|c|^2 / 2 - x.c``, in units of the frame's scale. With ``n``
non-zeros it is a sum of ``n + 1`` terms whose magnitudes sum to at most ``|c|^2 / 2 + |x| |c|``.
Values and centres are rounded to float32, as is each sum of a product, and what follows takes a few
more roundings: ``(n + 16) 2^-24`` times that sum is a bound up to terms of second order (Higham,
Accuracy and Stability of Numerical Algorithms, 2002, section 3.1), which are below its fiftieth for
less than 2^18 non-zeros. Where values or products are subnormal, each errs by up to 2^-150 times a
length or one: that is what ``_TINY`` adds.

A large table waits for the caches, and is kept in 16-bit floats: centres are multiplied by a power
of two that brings the longest near their largest number, and rows by its inverse. Each value then
errs by 2^-11 of itself more, which is at most ``2^-11 |x| |c|`` in a score; values that are
subnormal err by less than 2^-38 of the longest centre, in up to 2^18 products by less than 2^-28
of its length times ``|x|``.
"""

import math
from typing import NamedTuple

import numpy as np

from fastem.kernels.distances.sparse import SparseRows, squared_norms
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.memory import aligned_array, aligned_empty
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import LANES, WIDENS_HALVES
from fastem.kernels.vectors.stored import piece_widths, put
from fastem.kernels.vectors.vector import load

# The bound is the row's share of ``halves + |x| lengths``, and a share of ``|x| lengths`` for what
# the table's values are rounded by.
SHARE, MORE_TERMS, MOST_STORED = 1.02 * 2.0**-24, 16, 1 << 18
# Nothing overflows in float32 between rows and centres that are no longer.
MOST_LENGTH = 2.0**60
_TINY, _UP = 2.0**-80, 1 + 2.0**-20
# Of 16-bit floats: by what they round, the power of the longest centre, between which powers of two
# this and the rows' factor may be, and what its length adds to that of each.
_HALF_SHARE, _HALF_POWER, _HALF_RANGE, _HALF_TINY = 1.02 * 2.0**-11, 14, 2.0**20, 2.0**-17
_FACTORS = 2.0**100
# Smaller float32 tables stay in the second-level cache, where 16-bit floats gain nothing.
_LARGE = 1 << 20
# Features that are transposed at a time.
_BLOCK = 64


class CenterTable(NamedTuple):
    """Centres in float32, and what bounds the errors of scores.

    Parameters
    ----------
    values : ndarray of float32, or of uint16 for 16-bit floats
        One piece after the other, each of shape (n_features, LANES * width).
    widths : ndarray of shape (n_pieces,), int64
        The pieces' vectors. Columns behind the last centre are zeros.
    halves : ndarray of float32
        Half the squared norms, infinite behind the last centre.
    sizes, lengths : ndarray of float32
        No less than these and the norms; zero behind the last centre.
    """

    values: np.ndarray
    widths: np.ndarray
    halves: np.ndarray
    sizes: np.ndarray
    lengths: np.ndarray


def empty_table(n_clusters: int, n_features: int, coarse: bool = False) -> CenterTable:
    """Room for centres; in 16-bit floats if it may be ``coarse``, and these are faster."""
    widths = piece_widths(n_clusters, 4)
    n_columns = LANES * int(widths.sum())
    size = n_features * n_columns
    coarse = coarse and WIDENS_HALVES and 4 * size > _LARGE
    return CenterTable(
        # NumPy asks for huge pages, which rows need here.
        aligned_array(size, np.uint16 if coarse else np.float32),
        widths,
        np.full(n_columns, np.inf, np.float32),
        *np.zeros((2, n_columns), np.float32),
    )


@kernel
def _fill(tickets, n_chunks, chunk_features, centers, scale, widths, values):
    n_clusters, n_features = centers.shape
    block = aligned_empty(_BLOCK * LANES * widths.max())
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start = chunk * chunk_features
        stop = min(start + chunk_features, n_features)
        column = at = 0
        for piece in range(len(widths)):
            n_columns = widths[piece] * LANES
            for first in range(start, stop, _BLOCK):
                last = min(first + _BLOCK, stop)
                for c in range(n_columns):
                    if column + c < n_clusters:
                        for f in range(first, last):
                            value = np.float32(centers[column + c, f] * scale)
                            block[(f - first) * n_columns + c] = value
                    else:
                        for f in range(first, last):
                            block[(f - first) * n_columns + c] = np.float32(0.0)
                for i in range(0, (last - first) * n_columns, LANES):
                    put(load(block, i, LANES), values, at + first * n_columns + i)
            column += n_columns
            at += n_columns * n_features


def is_coarse(table: CenterTable) -> bool:
    """Whether it is of 16-bit floats."""
    return table.values.dtype == np.uint16


def rounding(table: CenterTable) -> float:
    """The share of ``|x| lengths`` that scores err by beside the row's own."""
    return _HALF_SHARE if is_coarse(table) else 0.0


def fill_table(table: CenterTable, centers: np.ndarray, squares: np.ndarray, scale: float) -> float:
    """Put centres into a table.

    Parameters
    ----------
    table : CenterTable
    centers : ndarray of shape (n_clusters, n_features), float64
    squares : ndarray of shape (n_clusters,), float64
        Their squared norms.
    scale : float
        A power of two that they are multiplied by.

    Returns
    -------
    float
        What the rows are to be multiplied by; 0 if centres are too long for the table.
    """
    n_clusters, n_features = centers.shape
    lengths = np.sqrt(squares) * scale
    longest = float(lengths.max())
    if not longest < MOST_LENGTH:
        return 0.0
    up, more = 1.0, _TINY
    if is_coarse(table):
        if not 1 / _HALF_RANGE < longest < _HALF_RANGE:
            return 0.0
        up, more = 2.0 ** (_HALF_POWER - math.frexp(longest)[1]), longest * _HALF_TINY
        if not 1 / _FACTORS < scale / up < _FACTORS:
            return 0.0
    table.halves[:n_clusters] = 0.5 * lengths**2
    table.sizes[:n_clusters] = (0.5 * lengths**2 + _TINY) * _UP
    table.lengths[:n_clusters] = (lengths + more) * _UP
    chunk_features = max(_BLOCK, ceil_div(n_features, 64 * _BLOCK) * _BLOCK)
    run(
        _fill,
        ceil_div(n_features, chunk_features),
        chunk_features,
        read_only(centers),
        float(scale) * up,
        table.widths,
        table.values,
    )
    return scale / up


def row_lengths(rows: SparseRows, scale: float, chunk_rows: int, n_chunks: int) -> np.ndarray:
    """No less than the lengths of the rows times a power of two, in float32."""
    lengths = np.sqrt(squared_norms(rows, chunk_rows, n_chunks))
    lengths *= scale * _UP
    with np.errstate(over="ignore"):  # beyond float32 they are infinite
        return lengths.astype(np.float32)
