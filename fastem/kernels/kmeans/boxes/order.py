"""The order of rows along Hilbert's curve, which visits all cells of a grid, neighbours in turn.

D. Hilbert, "Über die stetige Abbildung einer Linie auf ein Flächenstück", Mathematische Annalen 38,
1891. Along Morton's, which jumps, tiles have larger boxes. Rows are sorted by their cells by
counting.
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np

from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import TILE

# Rows of a cell there are to be on average, bits of a cell's number that are enough, and at most.
_CELL_ROWS, _ENOUGH_BITS, _MOST_BITS = 8, 14, 16
# The grid spans all of so many rows but this share at either end: few far rows don't widen it.
_SAMPLE, _OUTSIDE = 1024, 1 / 128
# Groups of rows are counted apart, by a thread each.
_MOST_GROUPS, _GROUP_ROWS = 8, 1 << 17


class Grid(NamedTuple):
    """Cells, of each feature ``2**n_bits``; rows outside belong to those at the end.

    Parameters
    ----------
    lows, inverses : ndarray of shape (n_features,)
        Where the grid begins, and how many cells there are to a unit.
    n_bits : int
        A cell's number has so many bits for its place along each feature, the first one's last.
    """

    lows: np.ndarray
    inverses: np.ndarray
    n_bits: int


def _grid(X):
    n_rows, n_features = X.shape
    n_bits = math.ceil(math.log2(max(n_rows / _CELL_ROWS, 2)) / n_features)
    n_bits = min(n_bits, ceil_div(_ENOUGH_BITS, n_features), _MOST_BITS // n_features)
    sample = np.sort(X[:: ceil_div(n_rows, _SAMPLE)].astype(np.float64), axis=0)
    outside = int(len(sample) * _OUTSIDE)
    lows, highs = sample[outside], sample[len(sample) - 1 - outside]
    widths = 0.5 * highs - 0.5 * lows  # differences stay in range
    inverses = np.zeros(n_features)
    wide = widths > np.finfo(np.float64).tiny * 2**n_bits
    inverses[wide] = 0.5 * 2**n_bits / widths[wide]
    return Grid(lows, inverses, n_bits)


@cache
def cells_on_curve(n_features: int, n_bits: int) -> np.ndarray:
    """The numbers of a grid's cells in their order along the curve.

    J. Skilling, "Programming the Hilbert curve", AIP Conference Proceedings 707, 2004.
    """
    cells = np.arange(1 << n_features * n_bits)
    places = [cells >> f * n_bits & (1 << n_bits) - 1 for f in range(n_features)]
    bits = [1 << bit for bit in range(n_bits - 1, 0, -1)]
    # Undo the turns and reflections of ever smaller cubes, ...
    for bit in bits:
        for f in range(n_features):
            inverted = (places[f] & bit) != 0
            swapped = np.where(inverted, 0, (places[0] ^ places[f]) & bit - 1)
            places[f] = places[f] ^ swapped
            places[0] = places[0] ^ swapped ^ np.where(inverted, bit - 1, 0)
    # ... then that of Gray's code.
    for f in range(1, n_features):
        places[f] = places[f] ^ places[f - 1]
    turned = np.zeros_like(cells)
    for bit in bits:
        turned ^= np.where(places[-1] & bit, bit - 1, 0)
    along = np.zeros_like(cells)
    for bit in range(n_bits - 1, -1, -1):
        for place in places:
            along = along << 1 | (place ^ turned) >> bit & 1
    order = np.empty(len(cells), np.int32)
    order[along] = cells
    order.flags.writeable = False
    return order


@inline
def _cell_of(X, row, grid):
    cell, last = 0, np.float64((1 << grid.n_bits) - 1)
    for f in range(X.shape[1]):
        place = (X[row, f] - grid.lows[f]) * grid.inverses[f]
        if not place > 0.0:
            place = 0.0
        cell |= np.intp(min(place, last)) << f * grid.n_bits
    return cell


@kernel
def _count_pass(tickets, n_groups, X, grid, cells, counts):
    """Find the rows' cells, and count each group's rows of each cell.

    Parameters
    ----------
    X : array of shape (n_rows, n_features)
    grid : Grid
    cells : uint16 array of shape (n_rows,)
    counts : int32 array of shape (n_groups, n_cells)
        Zeros before.
    """
    n_rows = len(X)
    while True:
        group = next_chunk(tickets)
        if group >= n_groups:
            return
        for row in range(group * n_rows // n_groups, (group + 1) * n_rows // n_groups):
            cell = _cell_of(X, row, grid)
            cells[row] = cell
            counts[group, cell] += 1


@kernel
def _place_pass(tickets, n_groups, cells, places, order):
    """Write the rows' numbers to their cells' places, which ``places`` counts up."""
    n_rows = len(cells)
    while True:
        group = next_chunk(tickets)
        if group >= n_groups:
            return
        for row in range(group * n_rows // n_groups, (group + 1) * n_rows // n_groups):
            cell = cells[row]
            order[places[group, cell]] = row
            places[group, cell] += 1


@kernel
def _counts_to_places(counts, cells):
    """Turn the counts into where each cell's rows of each group begin, in the cells' order."""
    place = 0
    for cell in cells:
        for group in range(counts.shape[0]):
            count = counts[group, cell]
            counts[group, cell] = place
            place += count


def order_on_curve(X):
    """The rows' numbers in their order along the curve.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64, C-contiguous
        Of at most ``near.NARROW`` features.

    Returns
    -------
    ndarray of int32
        In whole tiles: the last row's number fills up the last one.
    """
    n_rows = len(X)
    grid = _grid(X)
    n_groups = max(1, min(_MOST_GROUPS, n_rows // _GROUP_ROWS))
    cells = np.empty(n_rows, np.uint16)
    curve = cells_on_curve(X.shape[1], grid.n_bits)
    places = np.zeros((n_groups, len(curve)), np.int32)
    order = np.empty(ceil_div(n_rows, TILE) * TILE, np.int32)
    run(_count_pass, n_groups, read_only(X), grid, cells, places)
    _counts_to_places(places, curve)
    run(_place_pass, n_groups, cells, places, order)
    order[n_rows:] = order[n_rows - 1]
    return order
