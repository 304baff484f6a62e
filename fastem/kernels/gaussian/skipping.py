"""Which components a tile of rows can do without.

Rows are visited in the order of their most probable component, so that a tile of them has a share
in few components. For every tile and component a lower bound on the rows' Mahalanobis distances is
kept and carried from pass to pass as the parameters move. In the coordinates where a component's
covariance is the identity, a row at distance d before is at distance d' >= shrink * d - drift
after; cf. the bounds of C. Elkan, "Using the triangle inequality to accelerate k-means", ICML 2003.

A component is left out of a tile where it provably has less than a share 1e-13 of every row's
density and of the component's own mass, so that neither the log-likelihood nor any statistic
changes by more than rounding does. With q >= low^2 the squared distance, T the least log-density of
the tile's rows and w the component's weight that is where

    log(w * density) + log(1 + q) < T + log(1e-13) + log(w),    log(1 + q) <= q / 100 + 3.62.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.compiling import inline
from fastem.kernels.simd import (
    LANES,
    TILE,
    VECTOR_BYTES,
    bits,
    broadcast,
    constant,
    data_pointer,
    first_bit,
    greater,
    load,
    load_at,
    maximum,
    minimum,
    shuffle,
    store,
    vector_lanes,
)

# The bound on -q / 2 + log(1 + q) is OFFSET less q times the slope.
_SLOPE, OFFSET = np.float32(0.5 - 0.01), 3.62
ROUNDING = 1e-6  # of bounds, relative; those in float32 take a few operations
_FARTHEST = 1e18  # as a bound: its square is finite in float32
_LOWEST = -1e38  # above the padding's level
_ZERO = np.float32(0)

# A sorted chunk is sorted anew when it has so many more mixed tiles than it had.
_UNSORTED = 1.25
SAMPLED = 8  # every so many tiles' shares are counted


class Visit(NamedTuple):
    """How a pass visits the rows.

    Parameters
    ----------
    is_sorted : bool
        Whether rows are visited in the chunks' own ``order``.
    skip : bool
        Whether components may be left out, by means of the arrays below.
    sort : bool
        Whether to sort chunks by the most probable components afterwards, where it pays.
    order : ndarray of shape (n_rows,), uint16
        Positions of rows in their chunk.
    n_mixed : ndarray of shape (n_chunks,), int64
        Tiles of the sorted chunk that have rows of several components.
    bounds : ndarray of shape (n_tiles * width,), float32
        Lower bounds of Mahalanobis distances, with ``width`` at least ``n_components``.
    guesses : ndarray of shape (n_tiles,)
        The tiles' least log-densities in the last pass, relative to no reference.
    shrink, drift, levels : ndarray of shape (width,), float32
        How bounds are carried to the present parameters. A component can be left out where its
        level minus 0.49 times the squared bound is below the tile's least log-density.
    negligible : ndarray of shape (n_components,)
        Weighted responsibilities times (1 + q) that a tile may have without adding to statistics.
    """

    is_sorted: bool
    skip: bool
    sort: bool
    order: np.ndarray
    n_mixed: np.ndarray
    bounds: np.ndarray
    guesses: np.ndarray
    shrink: np.ndarray
    drift: np.ndarray
    levels: np.ndarray
    negligible: np.ndarray


def _reduction(emit):
    @intrinsic
    def reduction(typingctx, values, start):
        """Of the tile's values from ``start`` on."""

        def codegen(context, builder, signature, args):
            pointer = builder.gep(data_pointer(context, builder, values, args[0]), [args[1]])
            lanes = vector_lanes(values.dtype)
            vector = ir.VectorType(pointer.type.pointee, lanes)
            parts = [
                load_at(builder, pointer, constant(lane), vector, VECTOR_BYTES)
                for lane in range(0, TILE, lanes)
            ]
            while len(parts) > 1:
                parts = [emit(builder, *pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
            result = parts[0]
            while lanes > 1:
                lanes //= 2
                low = shuffle(builder, result, result, range(lanes))
                high = shuffle(builder, result, result, range(lanes, 2 * lanes))
                result = emit(builder, low, high)
            return builder.extract_element(result, ir.Constant(ir.IntType(32), 0))

        return values.dtype(values, types.intp), codegen

    return reduction


tile_least = _reduction(minimum)
tile_greatest = _reduction(maximum)
tile_sum = _reduction(lambda builder, a, b: builder.fadd(a, b))


@inline
def carry_bounds(visit, at):
    """Bring a tile's bounds, which begin at ``at``, to the present parameters."""
    zero = broadcast(_ZERO, LANES)
    for j in range(0, len(visit.shrink), LANES):
        low = load(visit.bounds, at + j, LANES) * load(visit.shrink, j, LANES)
        store(greater(low - load(visit.drift, j, LANES), zero), visit.bounds, at + j)


@inline
def list_possible(visit, at, above, below, components):
    """List the components that need at least ``above``, but were not in need of ``below``.

    Returns how many.
    """
    slope = broadcast(_SLOPE, LANES)
    above = broadcast(np.float32(max(above - ROUNDING * abs(above), _LOWEST)), LANES)
    below = broadcast(np.float32(max(below - ROUNDING * abs(below), _LOWEST)), LANES)
    n_listed = 0
    for j in range(0, len(visit.shrink), LANES):
        low = load(visit.bounds, at + j, LANES)
        most = load(visit.levels, j, LANES) - slope * low * low
        possible = bits(above <= most) & ~bits(below <= most)
        while possible != np.uint64(0):
            components[n_listed] = j + np.intp(first_bit(possible))
            possible &= possible - np.uint64(1)
            n_listed += 1
    return n_listed


@inline
def renew_bound(visit, at, component, peak, greatest):
    """Set a bound from the greatest log-density in the tile, where ``peak`` is that at the mean."""
    square = max(2.0 * (np.float64(peak) - np.float64(greatest)), 0.0)
    low = min(np.sqrt(square), _FARTHEST) * (1 - ROUNDING)
    visit.bounds[at + component] = np.float32(low)


@inline
def worst_row(log_joint, components, n_listed, scratch):
    """The least of the rows' greatest log-densities; ``scratch`` has TILE values."""
    for lane in range(TILE):
        scratch[lane] = -np.inf
    for i in range(n_listed):
        start = components[i] * TILE
        for lane in range(TILE):
            value = log_joint[start + lane]
            scratch[lane] = value if value > scratch[lane] else scratch[lane]
    return tile_least(scratch, 0)


@inline
def most_probable(log_joint, components, n_listed, greatest, labels):
    """Each lane's most probable component, as a floating-point number; -1 if all are impossible."""
    for lane in range(TILE):
        greatest[lane] = -np.inf
        labels[lane] = -1
    for i in range(n_listed):
        start = components[i] * TILE
        label = labels.dtype.type(components[i])
        for lane in range(TILE):
            value = log_joint[start + lane]
            closer = value > greatest[lane]
            greatest[lane] = value if closer else greatest[lane]
            labels[lane] = label if closer else labels[lane]


@inline
def count_mixed(labels, order, start, n_rows):
    """Tiles whose rows differ in their labels; ``labels`` and ``order`` are in the chunk."""
    n_mixed = 0
    for first in range(0, n_rows, TILE):
        mixed = False
        label = labels[order[start + first]]
        for i in range(first + 1, min(first + TILE, n_rows)):
            mixed |= label != labels[order[start + i]]
        n_mixed += mixed
    return n_mixed


@inline
def sort_chunk(labels, order, start, n_rows, counts):
    """Write the order by labels of a chunk's rows, those of one label in their own order."""
    counts[:] = 0
    for i in range(n_rows):
        counts[labels[i]] += 1
    before = 0
    for label in range(len(counts)):
        count = counts[label]
        counts[label] = before
        before += count
    for i in range(n_rows):
        label = labels[i]
        order[start + counts[label]] = i
        counts[label] += 1


@inline
def sort_where_it_pays(visit, chunk, start, n_rows, labels, counts):
    """Visit a chunk's rows label by label from now on, unless they nearly are."""
    order, n_mixed = visit.order, visit.n_mixed
    if visit.is_sorted:
        allowed = np.intp(_UNSORTED * n_mixed[chunk]) + n_rows // (8 * TILE)
        if count_mixed(labels, order, start, n_rows) <= allowed:
            return
    sort_chunk(labels, order, start, n_rows, counts)
    n_mixed[chunk] = count_mixed(labels, order, start, n_rows)
    if visit.skip:
        width = len(visit.shrink)
        for number in range(start // TILE, (start + n_rows + TILE - 1) // TILE):
            visit.guesses[number] = -np.inf
            for j in range(width):
                visit.bounds[number * width + j] = _ZERO
