"""Rows in tiles and the tiles' boxes, for many passes over few rows."""

from typing import NamedTuple

import numpy as np

from fastem.kernels.kmeans.base import tile_units
from fastem.kernels.kmeans.boxes.near import NARROW, Boxes, empty_boxes, enclose
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.memory import aligned_array
from fastem.kernels.vectors.machine import TILE
from fastem.kernels.vectors.tiles import load_tile


class Regions(NamedTuple):
    """The rows as tiles, and boxes around those of each tile, in scaled units.

    Parameters
    ----------
    tiles : ndarray of shape (n_tiles, n_features * TILE), float32
        As ``tiles.py`` says; to fill them took a third of a pass over 64 features.
    boxes : Boxes
        Not filled for rows of more than ``NARROW`` features.
    """

    tiles: np.ndarray
    boxes: Boxes


@kernel
def _fill_regions(X, scale, shift, regions):
    n_features = X.shape[1]
    for t in range(len(regions.tiles)):
        load_tile(X, t * TILE, scale, shift, regions.tiles[t])
        if n_features <= NARROW:
            enclose(regions.tiles[t], n_features, regions.boxes, t)


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
    tiles = aligned_array((n_tiles, n_features * TILE), np.float32)
    regions = Regions(tiles, empty_boxes(n_tiles, n_features))
    _fill_regions(read_only(X), *tile_units(X, frame), regions)
    return regions
