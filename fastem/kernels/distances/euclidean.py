"""The Euclidean distance, as passes over dense rows ask for it."""

from typing import NamedTuple

import numpy as np

from fastem.kernels.distances import metric, rounding
from fastem.kernels.distances.one_row import direct_distance
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


@variant(metric.compare_tile)
def _compare_tile(packed, tile, n_features, order, norms, best, second, nearest):
    if not metric.same_metric(packed, EuclideanPacked):
        return None

    def compare_tile(packed, tile, n_features, order, norms, best, second, nearest):
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

    return compare_tile


@variant(metric.undecided_lanes)
def _undecided_lanes(packed, norms, best, second):
    if not metric.same_metric(packed, EuclideanPacked):
        return None
    return lambda packed, norms, best, second: rounding.undecided_lanes(
        norms, best, second, packed.rounding, packed.radius
    )


@variant(metric.distance_gaps)
def _distance_gaps(packed, norms, best, second, gaps):
    if not metric.same_metric(packed, EuclideanPacked):
        return None
    return rounding.distance_gaps


@variant(metric.nearest_exactly)
def _nearest_exactly(packed, X, row, distances):
    if not metric.same_metric(packed, EuclideanPacked):
        return None
    return rounding.nearest_exactly


@variant(metric.row_distance)
def _row_distance(packed, X, row, points, point):
    if not metric.same_metric(packed, EuclideanPacked):
        return None
    return lambda packed, X, row, points, point: direct_distance(X, row, points, point)
