"""The Euclidean distance, as passes over dense rows ask for it."""

from typing import NamedTuple

import numpy as np

from fastem.kernels.distances import metric, rounding
from fastem.kernels.distances.one_row import squared_distance
from fastem.kernels.distances.tile_nearest import nearest_two, squared_norms
from fastem.kernels.runtime.compiling import variant


class EuclideanPacked(NamedTuple):
    """The centres of one pass, as kernels over dense rows take them.

    ``negated`` and ``half_norms`` as ``pack_centers`` writes them (scaled, float32); ``exact`` as
    ``exact_layout`` does; ``rounding`` and ``radius`` as ``rounding.py`` says.
    """

    negated: np.ndarray
    half_norms: np.ndarray
    exact: np.ndarray
    rounding: np.float32
    radius: np.float32


@variant(metric.compare_tile, of=EuclideanPacked)
def _compare_tile(packed, tile, n_features, order, norms, best, second, nearest):
    squared_norms(tile, n_features, norms)
    nearest_two(
        tile,
        n_features,
        packed.negated,
        packed.half_norms,
        order,
        0,
        len(order),
        best,
        second,
        nearest,
    )


@variant(metric.undecided_lanes, of=EuclideanPacked)
def _undecided_lanes(packed, norms, best, second):
    return rounding.undecided_lanes(norms, best, second, packed.rounding, packed.radius)


variant(metric.distance_gaps, of=EuclideanPacked)(rounding.distance_gaps)
variant(metric.nearest_exactly, of=EuclideanPacked)(rounding.nearest_exactly)


@variant(metric.row_distance, of=EuclideanPacked)
def _row_distance(packed, X, row, points, point):
    return squared_distance(X, row, points, point)


@variant(metric.length_between, of=EuclideanPacked)
def _length_between(packed, X, row, points, point):
    return np.sqrt(squared_distance(X, row, points, point))
