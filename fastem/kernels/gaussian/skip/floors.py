"""The least and the greatest values of a tile, and its rows' floors.

A row's floor is the greatest logarithm of weight times density that some component gives it,
rounded down to float32.
"""

import numpy as np

from fastem.kernels.gaussian.skip.bounds import ROUNDING
from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.vector import (
    broadcast,
    greater,
    greatest_of_lanes,
    lanes_of,
    least_of_lanes,
    lesser,
    load,
    magnitude,
    single,
    store,
)

_EPSILON = np.float32(5e-7)  # of float32, four times


@inline
def least_of_tile(values, start):
    """The least of a tile's values from ``start`` on."""
    lanes = lanes_of(values)
    least = load(values, start, lanes)
    for lane in range(lanes, TILE, lanes):
        least = lesser(least, load(values, start + lane, lanes))
    return least_of_lanes(least)


@inline
def least_behind(values, start, others):
    """The least by which ``others`` exceed a tile's values from ``start`` on."""
    lanes = lanes_of(values)
    least = load(others, 0, lanes) - load(values, start, lanes)
    for lane in range(lanes, TILE, lanes):
        behind = load(others, lane, lanes) - load(values, start + lane, lanes)
        least = lesser(least, behind)
    return least_of_lanes(least)


@inline
def raise_to_greatest(log_joint, components, n_listed, greatest):
    """Raise a tile's values ``greatest`` to the greatest of the listed components'.

    Parameters
    ----------
    log_joint : array
        ``log_joint[j * TILE + lane]``, as ``log_joint_tile`` writes it.
    components : int array
        ``components[:n_listed]`` are listed.
    greatest : array of TILE values
    """
    lanes = lanes_of(log_joint)
    for lane in range(0, TILE, lanes):
        value = load(greatest, lane, lanes)
        for i in range(n_listed):
            value = greater(load(log_joint, components[i] * TILE + lane, lanes), value)
        store(value, greatest, lane)


@inline
def lower(greatest, reference, floors):
    """Write a tile's floors: its greatest values plus ``reference``, rounded down.

    Parameters
    ----------
    greatest : array of TILE values
    reference : float of the same dtype
    floors : float32 array of TILE values
    """
    lanes = lanes_of(greatest)
    for lane in range(0, TILE, lanes):
        value = single(load(greatest, lane, lanes) + broadcast(reference, lanes))
        store(value - magnitude(value) * broadcast(_EPSILON, lanes), floors, lane)


@inline
def most_fallen(floors, at, lowered):
    """By how much a tile's floors, from ``at`` on, fall at most to those that are ``lowered``."""
    most = load(floors, at, LANES) - load(lowered, 0, LANES)
    for lane in range(LANES, TILE, LANES):
        most = greater(most, load(floors, at + lane, LANES) - load(lowered, lane, LANES))
    fall = np.float64(greatest_of_lanes(most))
    return fall + ROUNDING * abs(fall)
