"""The nearest and second nearest of the centres that a row is compared with in float64."""

import numpy as np

from fastem.kernels.distances.rounding import ROUNDED_DOWN, ROUNDED_UP, WIDE
from fastem.kernels.runtime.compiling import inline


@inline
def with_one_more(number, distance, label, near, far):
    """The nearest centre, its squared distance and the second least, after one more centre."""
    if distance < near or (distance == near and number < label):
        return number, distance, near
    if distance < far:
        return label, near, distance
    return label, near, far


@inline
def in_doubt(near, far, n_features):
    """Whether distances to all centres, which are summed in another order, might say otherwise."""
    if n_features >= WIDE or not far < np.inf:
        return False
    return far - near <= (n_features + 8) * 2.0**-50 * far


@inline
def gap_to_others(near, far, beyond, n_features, scale):
    """At most how much farther than the nearest centre any other is, in scaled units.

    ``beyond`` is at most the distance, in these units, of those the row isn't compared with.
    """
    second = np.sqrt(far) * (1 - (n_features + 8) * 2.0**-52) * scale
    gap = min(beyond, second) * ROUNDED_DOWN - np.sqrt(near) * scale * ROUNDED_UP
    return np.float32(max(min(gap, 1e30), 0.0))
