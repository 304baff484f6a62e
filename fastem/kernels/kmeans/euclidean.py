"""The Euclidean distance, as passes over dense rows ask for it."""

from fastem.kernels import comparison
from fastem.kernels.assignment import nearest_two, squared_norms
from fastem.kernels.compiling import variant
from fastem.kernels.kmeans import rounding
from fastem.kernels.kmeans.base import Packed


@variant(comparison.compare_tile)
def _compare_tile(packed, tile, n_features, order, norms, best, second, nearest):
    if not comparison.same_metric(packed, Packed):
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


@variant(comparison.undecided_lanes)
def _undecided_lanes(packed, norms, best, second):
    if not comparison.same_metric(packed, Packed):
        return None
    return lambda packed, norms, best, second: rounding.undecided_lanes(
        norms, best, second, packed.rounding, packed.radius
    )


@variant(comparison.distance_gaps)
def _distance_gaps(packed, norms, best, second, gaps):
    if not comparison.same_metric(packed, Packed):
        return None
    return rounding.distance_gaps


@variant(comparison.nearest_exactly)
def _nearest_exactly(packed, X, row, origin, distances):
    if not comparison.same_metric(packed, Packed):
        return None
    return rounding.nearest_exactly
