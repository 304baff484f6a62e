"""Where each tile of rows lies, for passes that leave out the centres out of its reach.

Rows that follow one another are best neighbours: then a tile of few features has few centres that
can be the nearest of any of its rows, often one. None is farther from the tile's middle than the
nearest centre there and the tile's diameter. The filter is that of D. Pelleg and A. Moore,
"Accelerating exact k-means algorithms with geometric reasoning", KDD 1999, without their tree.
"""

from typing import NamedTuple

import numpy as np

from fastem.kernels.distances.tile_nearest import BLOCK
from fastem.kernels.kmeans.base import tile_units
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.memory import aligned_array, aligned_empty
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.tiles import load_tile
from fastem.kernels.vectors.vector import (
    bits,
    broadcast,
    first_bit,
    lesser,
    load,
    multiply_add,
    store,
)

# Of more features, few centres are out of reach.
NARROW = 8

# Cover the rounding of lengths to float32, as a share of them, and that of rows and centres, as a
# share of how far they are from the origin: of eight features no more than ten times 2^-24; and
# what is lost of subnormal squares, as all are of rows beside far ones of no weight.
_SLACK, _BLUR = np.float32(1 + 2.0**-16), np.float32(2.0**-18)
_TINY = np.float32(2.0**-58)


class Regions(NamedTuple):
    """The rows as tiles, and balls around those of each tile, in scaled units.

    Parameters
    ----------
    tiles : ndarray of shape (n_tiles, n_features * TILE), float32
        As ``tiles.py`` says; to fill them took a third of a pass over 64 features.
    middles : ndarray of shape (n_tiles, n_features), float32
    radii : ndarray of shape (n_tiles,), float32
        Negative for rows of more than ``NARROW`` features.
    """

    tiles: np.ndarray
    middles: np.ndarray
    radii: np.ndarray


@kernel
def _fill_regions(X, scale, shift, tiles, middles, radii):
    n_features = X.shape[1]
    rows, squares = np.empty(TILE, np.int32), aligned_empty(TILE)
    for t in range(len(radii)):
        tile = tiles[t]
        load_tile(X, t * TILE, scale, shift, rows, tile)
        radii[t] = np.float32(-1)
        if n_features > NARROW:
            continue
        for lane in range(TILE):
            squares[lane] = np.float32(0)
        for f in range(n_features):
            least = greatest = tile[f * TILE]
            for lane in range(TILE):
                least = min(least, tile[f * TILE + lane])
                greatest = max(greatest, tile[f * TILE + lane])
            middle = np.float32(0.5) * (least + greatest)
            middles[t, f] = middle
            for lane in range(TILE):
                away = tile[f * TILE + lane] - middle
                squares[lane] += away * away
        farthest = np.float32(0)
        for lane in range(TILE):
            farthest = max(farthest, squares[lane])
        radii[t] = np.sqrt(farthest) * _SLACK


def regions_of(X, frame):
    """The regions of dense rows.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64, C-contiguous
    frame : Frame

    Returns
    -------
    Regions
    """
    n_tiles, n_features = ceil_div(len(X), TILE), X.shape[1]
    regions = Regions(
        aligned_array((n_tiles, n_features * TILE), np.float32),
        np.empty((n_tiles, n_features), np.float32),
        np.empty(n_tiles, np.float32),
    )
    _fill_regions(read_only(X), *tile_units(X, frame), *regions)
    return regions


@inline
def lay_out(negated, columns):
    """Write packed centres, negated, feature by feature; lanes behind the last are infinite."""
    n_clusters, n_features = len(negated) - 1, negated.shape[1]
    width = len(columns) // n_features
    for f in range(n_features):
        for j in range(n_clusters):
            columns[f * width + j] = negated[j, f]
        for j in range(n_clusters, width):
            columns[f * width + j] = np.float32(np.inf)


@inline
def list_near(regions, t, columns, radius, n_clusters, apart, near):
    """List the centres within a tile's reach, in whole blocks and in order.

    Parameters
    ----------
    regions : Regions
    t : int
        The tile.
    columns : float32 array of n_features * width values
        From :func:`lay_out`. The width is a multiple of ``LANES``.
    radius : float32
        The greatest norm of a centre.
    n_clusters : int
    apart : float32 array of ``width + LANES`` values
        Scratch.
    near : int32 array of ``width`` values
        Gets the numbers of the centres, and in the end ``n_clusters``, which is no centre.

    Returns
    -------
    n_near, n_listed : int
        How many there are, and with those that fill up the last block. None are listed where
        distances overflow.
    """
    middles, n_features = regions.middles, regions.middles.shape[1]
    width = len(columns) // n_features
    norm, least = np.float32(0), broadcast(np.float32(np.inf), LANES)
    for f in range(n_features):
        norm += middles[t, f] * middles[t, f]
    for j in range(0, width, LANES):
        squares = broadcast(np.float32(0), LANES)
        for f in range(n_features):
            away = broadcast(middles[t, f], LANES) + load(columns, f * width + j, LANES)
            squares = multiply_add(away, away, squares)
        store(squares, apart, j)
        least = lesser(least, squares)
    store(least, apart, width)
    nearest = np.float32(np.inf)
    for lane in range(width, width + LANES):
        nearest = min(nearest, apart[lane])
    diameter = np.float32(2) * regions.radii[t]
    reach = (np.sqrt(nearest) + diameter) * _SLACK
    reach += (np.sqrt(norm) + diameter + radius) * _BLUR + _TINY
    reach *= reach
    n_near = 0
    if not reach < np.float32(np.inf):
        return n_near, n_near
    limit = broadcast(reach, LANES)
    for j in range(0, width, LANES):
        within = bits(load(apart, j, LANES) <= limit)
        while within != np.uint64(0):
            near[n_near] = j + np.intp(first_bit(within))
            within &= within - np.uint64(1)
            n_near += 1
    n_listed = n_near
    while n_listed % BLOCK > 0:
        near[n_listed] = n_clusters
        n_listed += 1
    return n_near, n_listed
