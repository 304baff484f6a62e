"""Which components a tile of rows can do without.

Rows are visited in the order of their most probable component, so that a tile of them has a share
in few components. How much less than a row's most probable component another one has is bounded
from below, for all rows of a tile at once, and the bounds are carried from pass to pass as the
parameters move. In the coordinates where a component's covariance is the identity, a row at
distance d before is at distance d' >= shrink * d - drift after; cf. the bounds of C. Elkan, "Using
the triangle inequality to accelerate k-means", ICML 2003.

Let m be a row's greatest ``log(weight * density)`` and T at most the least m of the tile. The bound
b >= 0 of a component with log-density c at its mean says of every row, at whatever distance d,

    m - log(weight * density) >= T - c + b^2 / 2.                                        (1)

As the left side is at least T - c + d^2 / 2, only rows with d < b need the bound. If no row's m
falls by more than F, the new T' = T - F and b' = max(shrink * b - drift, 0) hold again: rows with
d >= b because their distances stay above b', and those with d < b because d^2 - d'^2 grows with d.
Another T'' > T', still at most the least m, takes 2 (T'' - T') from b'^2.

A component is left out of a tile where it provably has less than a negligible share in every row's
density, and less than another in the component's own mass and scatter, so that neither the
log-likelihood nor any statistic changes by more than rounding does. With q the squared distance and
w the component's weight, the latter is where

    log(density) + log(1 + q) < m + log(negligible),    log(1 + q) <= q / 100 + 3.62.

The left side can be bounded as if all rows were at distance b.
"""

import numpy as np

from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.machine import LANES
from fastem.kernels.vectors.vector import (
    bits,
    broadcast,
    first_bit,
    greater,
    load,
    square_root,
    store,
)

# The bound on -q / 2 + log(1 + q) is OFFSET less q times the slope.
_SLOPE, OFFSET = np.float32(0.5 - 0.01), 3.62
ROUNDING = 1e-6  # of bounds, relative; those in float32 take a few operations
_FARTHEST = 1e18  # as a bound: its square is finite in float32
_LOWEST = -1e38  # above the padding's level
_ZERO = np.float32(0)


@inline
def carry_bounds(bounds, at, shrink, drift):
    """Bring a tile's bounds to the present parameters.

    Parameters
    ----------
    bounds, shrink, drift
        Those of a ``driver.Visit``.
    at : int
        Where the tile's bounds begin.
    """
    zero = broadcast(_ZERO, LANES)
    for j in range(0, len(shrink), LANES):
        low = load(bounds, at + j, LANES) * load(shrink, j, LANES)
        store(greater(low - load(drift, j, LANES), zero), bounds, at + j)


@inline
def list_possible(bounds, at, levels, above, below, components):
    """List the components that are possible with a T of ``above``, but were not with ``below``.

    Parameters
    ----------
    bounds, levels
        Those of a ``driver.Visit``.
    at : int
        Where the tile's bounds begin.
    above, below : float
    components : int64 array
        Where the components' numbers go.

    Returns
    -------
    n_listed : int
    """
    slope = broadcast(_SLOPE, LANES)
    above = broadcast(np.float32(max(above - ROUNDING * abs(above), _LOWEST)), LANES)
    below = broadcast(np.float32(max(below - ROUNDING * abs(below), _LOWEST)), LANES)
    n_listed = 0
    for j in range(0, len(levels), LANES):
        low = load(bounds, at + j, LANES)
        most = load(levels, j, LANES) - slope * low * low
        possible = bits(above <= most) & ~bits(below <= most)
        while possible != np.uint64(0):
            components[n_listed] = j + np.intp(first_bit(possible))
            possible &= possible - np.uint64(1)
            n_listed += 1
    return n_listed


@inline
def rebase(bounds, at, width, rise):
    """Bring a tile's bounds, ``width`` from ``at`` on, to a T that is greater by ``rise``."""
    zero, relative = broadcast(_ZERO, LANES), broadcast(np.float32(1 - ROUNDING), LANES)
    less = broadcast(np.float32(min(2 * rise, _FARTHEST)), LANES)
    for j in range(0, width, LANES):
        low = load(bounds, at + j, LANES)
        store(square_root(greater(low * low - less, zero)) * relative, bounds, at + j)


@inline
def bound_from(square):
    """The bound b for its square, rounded down."""
    return np.float32(min(np.sqrt(max(square, 0.0)), _FARTHEST) * (1 - ROUNDING))
