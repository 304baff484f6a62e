"""What the passes over dense rows ask of a distance: compiled anew for each metric.

The class of the packed centres tells the metric. A metric's module registers what it does with
``@variant(..., of=...)`` that class.
"""


def compare_tile(packed, tile, n_features, order, norms, best, second, nearest):
    """Write the norms of a tile's rows, their two least scores and their nearest centres.

    Parameters
    ----------
    packed : NamedTuple
        The centres as the metric's algorithms pack them.
    tile : float32 array of n_features * TILE values
    order : int32 array
        The centres' numbers in whole blocks, as ``tile_nearest.pad_order`` returns them.
    norms, best, second : float32 arrays of TILE values
    nearest : int32 array of TILE values
    """
    raise NotImplementedError("for kernels only")


def undecided_lanes(packed, norms, best, second):
    """The lanes of a tile whose nearest centre float32 can't tell, as the bits of a uint64.

    Takes what ``compare_tile`` has written.
    """
    raise NotImplementedError("for kernels only")


def distance_gaps(packed, norms, best, second, gaps):
    """As ``undecided_lanes``, and writes a tile's gaps in scaled units.

    A gap is a lower bound of the difference between a row's second least and least distance; 0 in
    the lanes that are undecided.
    """
    raise NotImplementedError("for kernels only")


def nearest_exactly(packed, X, row, distances):
    """One row's nearest centre in float64, and its gap in the rows' own units.

    Parameters
    ----------
    distances : float64 scratch of at least n_clusters values

    Returns
    -------
    label : int32
    gap : float
    """
    raise NotImplementedError("for kernels only")


def row_distance(packed, X, row, points, point):
    """One row's distance to one point in float64, by direct differences, as the inertia sums it.

    Parameters
    ----------
    packed : NamedTuple
        For its type only.
    X : array of shape (n_rows, n_features)
    points : float64 array of shape (n_points, n_features)
        In the rows' coordinates.
    """
    raise NotImplementedError("for kernels only")


def length_between(packed, X, row, points, point):
    """As ``row_distance``, but a length: one that is never longer than the way by another point."""
    raise NotImplementedError("for kernels only")
