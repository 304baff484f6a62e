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

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.gaussian.driver import accumulate_tiles, log_joint_tile, prepare_tile
from fastem.kernels.mixtures.lanes import fill_column
from fastem.kernels.mixtures.products import sum_tile, weighted_sum
from fastem.kernels.mixtures.responsibilities import normalize_tile
from fastem.kernels.runtime.compiling import inline, kernel, variant
from fastem.kernels.runtime.parallel import next_chunk
from fastem.kernels.vectors.emit import (
    call_llvm,
    constant,
    data_pointer,
    load_at,
    maximum,
    minimum,
    shuffle,
    splat,
    store_at,
)
from fastem.kernels.vectors.machine import LANES, TILE, VECTOR_BYTES, vector_lanes
from fastem.kernels.vectors.tiles import aligned_empty_like, fetch_start, gather_tile
from fastem.kernels.vectors.vector import (
    bits,
    broadcast,
    fetch,
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
_EPSILON = 5e-7  # of float32, four times
_LEEWAY = 0.5  # by which T may be lower than it could
_ZERO = np.float32(0)

# Rows of a component are sorted by how far the second most probable one is behind.
STEPS, _STEP = 8, 6.0


class Visit(NamedTuple):
    """How a skipping pass visits the rows.

    Parameters
    ----------
    block_rows : int
        Rows are sorted within blocks of so many.
    order : ndarray of shape (n_rows,), uint32
        Each block's rows as they are visited, relative to its first.
    keys : ndarray of shape (n_rows,) or (0,), uint16 or uint32
        Where the keys to sort the rows by go, if they are wanted.
    floors : ndarray of shape (n_tiles * TILE,), float32
        Each row's greatest logarithm of weight times density in the last pass, rounded down; in
        the order of the visit.
    least : ndarray of shape (n_tiles,)
        At most the tiles' least floors: T in (1). -inf where nothing is known.
    bounds : ndarray of shape (n_tiles * width,), float32
        b in (1), with ``width`` at least ``n_components``.
    shrink, drift, levels : ndarray of shape (width,), float32
        How bounds are carried to the present parameters. A component can be left out where its
        level minus 0.49 times the squared bound is below T.
    peaks : ndarray of shape (n_components,)
        The log-densities at the means, weights included: c in (1).
    negligible : ndarray of shape (n_components,)
        Weighted responsibilities times (1 + q) that a tile may have without adding to statistics.
    """

    block_rows: int
    order: np.ndarray
    keys: np.ndarray
    floors: np.ndarray
    least: np.ndarray
    bounds: np.ndarray
    shrink: np.ndarray
    drift: np.ndarray
    levels: np.ndarray
    peaks: np.ndarray
    negligible: np.ndarray


def _reduction(emit):
    @intrinsic
    def reduction(typingctx, values, start, others):
        """Of a tile's values from ``start`` on, or of what ``others`` exceed these by."""

        def codegen(context, builder, signature, args):
            pointer = builder.gep(data_pointer(context, builder, values, args[0]), [args[1]])
            lanes = vector_lanes(values.dtype)
            vector = ir.VectorType(pointer.type.pointee, lanes)

            def parts_of(pointer):
                return [
                    load_at(builder, pointer, constant(lane), vector, VECTOR_BYTES)
                    for lane in range(0, TILE, lanes)
                ]

            parts = parts_of(pointer)
            if others != types.none:
                from_parts = parts_of(data_pointer(context, builder, others, args[2]))
                parts = [builder.fsub(*pair) for pair in zip(from_parts, parts, strict=True)]
            while len(parts) > 1:
                parts = [emit(builder, *pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
            result = parts[0]
            while lanes > 1:
                lanes //= 2
                low = shuffle(builder, result, result, range(lanes))
                high = shuffle(builder, result, result, range(lanes, 2 * lanes))
                result = emit(builder, low, high)
            return builder.extract_element(result, ir.Constant(ir.IntType(32), 0))

        return values.dtype(values, types.intp, others), codegen

    return reduction


tile_least = _reduction(minimum)
tile_greatest = _reduction(maximum)


@inline
def carry_bounds(bounds, at, shrink, drift):
    """Bring a tile's bounds, which begin at ``at``, to the present parameters."""
    zero = broadcast(_ZERO, LANES)
    for j in range(0, len(shrink), LANES):
        low = load(bounds, at + j, LANES) * load(shrink, j, LANES)
        store(greater(low - load(drift, j, LANES), zero), bounds, at + j)


@inline
def list_possible(bounds, at, levels, above, below, components):
    """List the components that need at least ``above``, but were not in need of ``below``.

    Returns how many.
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


def raise_to_greatest(log_joint, components, n_listed, greatest):
    """Raise a tile's values to the greatest of the listed components'."""
    raise NotImplementedError("for kernels only")


@variant(raise_to_greatest)
def _raise_to_greatest(log_joint, components, n_listed, greatest):
    lanes = vector_lanes(log_joint.dtype)

    def implementation(log_joint, components, n_listed, greatest):
        for lane in range(0, TILE, lanes):
            value = load(greatest, lane, lanes)
            for i in range(n_listed):
                value = greater(load(log_joint, components[i] * TILE + lane, lanes), value)
            store(value, greatest, lane)

    return implementation


@intrinsic
def lower(typingctx, greatest, reference, floors):
    """Write a tile's new floors: its greatest values plus the reference, rounded down."""
    if greatest.dtype != reference:
        return None

    def codegen(context, builder, signature, args):
        source = data_pointer(context, builder, greatest, args[0])
        target = data_pointer(context, builder, floors, args[2])
        lanes = vector_lanes(greatest.dtype)
        vector = ir.VectorType(source.type.pointee, lanes)
        single = ir.VectorType(ir.FloatType(), lanes)
        shift = splat(builder, args[1], lanes)
        epsilon = ir.Constant(single, [_EPSILON] * lanes)
        for lane in range(0, TILE, lanes):
            value = load_at(builder, source, constant(lane), vector, VECTOR_BYTES)
            value = builder.fadd(value, shift)
            value = value if vector == single else builder.fptrunc(value, single)
            size = call_llvm(builder, "fabs", [value])
            value = builder.fsub(value, builder.fmul(size, epsilon))
            store_at(builder, value, target, constant(lane), 4)
        return context.get_dummy_value()

    return types.void(greatest, reference, floors), codegen


@inline
def most_fallen(floors, at, lowered, fallen):
    """By how much a tile's floors, from ``at`` on, fall at most; ``fallen`` has TILE values."""
    for lane in range(0, TILE, LANES):
        store(load(floors, at + lane, LANES) - load(lowered, lane, LANES), fallen, lane)
    most = np.float64(tile_greatest(fallen, 0, None))
    return most + ROUNDING * abs(most)


@inline
def rebase(bounds, at, width, fall):
    """Bring a tile's bounds to a T that is greater by ``fall``."""
    zero, relative = broadcast(_ZERO, LANES), broadcast(np.float32(1 - ROUNDING), LANES)
    less = broadcast(np.float32(min(2 * fall, _FARTHEST)), LANES)
    for j in range(0, width, LANES):
        low = load(bounds, at + j, LANES)
        store(square_root(greater(low * low - less, zero)) * relative, bounds, at + j)


@inline
def bound_from(square):
    return np.float32(min(np.sqrt(max(square, 0.0)), _FARTHEST) * (1 - ROUNDING))


@inline
def sort_keys(log_joint, components, n_listed, greatest, second, labels):
    """Each lane's key, as a floating-point number.

    First the most probable component, then how far the next one is behind, in steps. ``greatest``,
    ``second`` and ``labels`` have TILE values; the last receives the keys.
    """
    for lane in range(TILE):
        greatest[lane] = -np.inf
        second[lane] = -np.inf
        labels[lane] = 0
    for i in range(n_listed):
        start = components[i] * TILE
        label = labels.dtype.type(components[i])
        for lane in range(TILE):
            value = log_joint[start + lane]
            closer = value > greatest[lane]
            other = greatest[lane] if closer else value
            second[lane] = other if other > second[lane] else second[lane]
            greatest[lane] = value if closer else greatest[lane]
            labels[lane] = label if closer else labels[lane]
    for lane in range(TILE):
        gap = np.float64(greatest[lane]) - np.float64(second[lane])
        gap = min(gap, 1e9) if gap > 0.0 else 0.0  # not a number where none is listed
        step = min(np.intp(gap / _STEP), STEPS - 1)
        labels[lane] = labels[lane] * STEPS + (STEPS - 1 - step)


@inline
def find_rows(X, visit, first, stop, rows):
    """The numbers of a tile's rows, and ask for their first features and what is known of them.

    Lanes behind ``stop`` repeat the last row. The hardware's own prefetching is lost among the
    rows: a tile's bounds and floors, too, would be waited for.
    """
    block = first // visit.block_rows * visit.block_rows
    order = visit.order[first:stop]
    for lane in range(TILE):
        row = block + np.intp(order[min(lane, len(order) - 1)])
        rows[lane] = row
        fetch_start(X, row)
    width = len(visit.shrink)
    for j in range(0, width, LANES):
        fetch(visit.bounds, first // TILE * width + j)
    for lane in range(0, TILE, LANES):
        fetch(visit.floors, first + lane)
        fetch(visit.order, first + TILE + lane)


@kernel
def skipping_pass(
    tickets,
    n_chunks,
    chunk_rows,
    batch,
    scratch_size,
    X,
    sample_weight,
    packed,
    centers,
    shift,
    hard,
    noise,
    visit,
    totals,
    objective,
    counted,
):
    """As ``driver.em_pass``, without what is negligible.

    Noise is part of every row's density, and so of m and T in (1).
    ``counted[c]`` receives the pairs of a tile and a component that were evaluated, and those that
    were added to the statistics.
    """
    n_rows, n_features = X.shape
    n_components = centers.shape[1]
    one = X.dtype.type(1)
    noisy = noise > -np.inf
    stride = (n_components + noisy) * TILE
    width = len(visit.shrink)
    bounds, floors, least, levels = visit.bounds, visit.floors, visit.least, visit.levels
    tiles = aligned_empty_like((batch * n_features + 1) * TILE, X)
    shares = aligned_empty_like(batch * stride, X)
    scratch = aligned_empty_like(scratch_size, X)
    weights = aligned_empty_like(TILE, X)
    density = aligned_empty_like(TILE, X)
    second, keys = aligned_empty_like(TILE, X), aligned_empty_like(TILE, X)
    lowered, fallen = aligned_empty_like(TILE, floors), aligned_empty_like(TILE, floors)
    reference = X.dtype.type(packed.reference)
    rows, next_rows = np.empty(TILE, np.int64), np.empty(TILE, np.int64)
    fresh, components = np.empty(width, np.int64), np.empty(width + 1, np.int64)
    squares = np.empty(n_components)
    chosen = np.empty((n_components, batch), np.int64)
    n_chosen = np.zeros(n_components, np.int64)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start, stop = chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)
        chunk_totals = totals[chunk]
        chunk_totals[:] = 0.0
        total_density = total_weight = total_noise = 0.0
        n_evaluated = n_added = 0
        weights[:] = one
        find_rows(X, visit, start, stop, next_rows)
        for batch_start in range(start, stop, batch * TILE):
            n_tiles = 0
            for first in range(batch_start, min(batch_start + batch * TILE, stop), TILE):
                tile = tiles[n_tiles * n_features * TILE :]
                log_joint = shares[n_tiles * stride :]
                number, n_lanes = first // TILE, min(TILE, stop - first)
                for lane in range(TILE):
                    rows[lane] = next_rows[lane]
                    density[lane] = noise
                gather_tile(X, rows, one, shift, tile)
                if first + TILE < stop:
                    find_rows(X, visit, first + TILE, stop, next_rows)
                if len(sample_weight) or n_lanes < TILE:
                    for lane in range(TILE):
                        weight = sample_weight[rows[lane]] if len(sample_weight) else 1.0
                        weights[lane] = weight if lane < n_lanes else 0.0
                prepare_tile(packed, tile, n_features, scratch)
                at = number * width
                carry_bounds(bounds, at, visit.shrink, visit.drift)
                above, below, n_listed = least[number], 1e38, 0
                while True:
                    n_fresh = list_possible(bounds, at, levels, above, below, fresh)
                    log_joint_tile(packed, tile, n_features, scratch, fresh, n_fresh, log_joint)
                    for i in range(n_fresh):
                        components[n_listed + i] = fresh[i]
                    n_listed += n_fresh
                    raise_to_greatest(log_joint, fresh, n_fresh, density)
                    lower(density, reference, lowered)
                    carried = least[number]
                    if carried > -np.inf:
                        carried -= most_fallen(floors, first, lowered, fallen)
                    if carried >= above:
                        break
                    # Rows turned out less probable than expected: more components may matter.
                    above, below = carried, above
                for lane in range(0, TILE, LANES):
                    store(load(lowered, lane, LANES), floors, first + lane)
                worst = np.float64(tile_least(lowered, 0, None))
                if not worst - carried < _LEEWAY:
                    rebase(bounds, at, width, worst - carried)
                    carried = worst
                least[number] = carried
                rounding = ROUNDING * (abs(worst) + abs(packed.reference))
                for i in range(n_listed):
                    component = components[i]
                    peak = visit.peaks[component]
                    gap = np.float64(tile_least(log_joint, component * TILE, density)) - rounding
                    lowest = np.float64(tile_least(log_joint, component * TILE, None))
                    bounds[at + component] = bound_from(2.0 * (gap + peak - carried))
                    squares[component] = 2.0 * (peak - packed.reference - lowest)
                if len(visit.keys):
                    sort_keys(log_joint, components, n_listed, density, second, keys)
                    for lane in range(n_lanes):
                        visit.keys[rows[lane]] = np.intp(keys[lane])
                if noisy:
                    fill_column(noise, n_components, log_joint)
                    components[n_listed] = n_components
                normalize_tile(log_joint, n_listed + noisy, weights, hard, density, components)
                total_density += weighted_sum(weights, density)
                if noisy:
                    total_noise += sum_tile(log_joint, n_components * TILE)
                total_weight += sum_tile(weights, 0)
                n_evaluated += n_listed
                for i in range(n_listed):
                    component = components[i]
                    share = sum_tile(log_joint, component * TILE)
                    if share * (1.0 + squares[component]) > visit.negligible[component]:
                        chosen[component, n_chosen[component]] = n_tiles
                        n_chosen[component] += 1
                        n_added += 1
                n_tiles += 1
            for component in range(n_components):
                if n_chosen[component]:
                    accumulate_tiles(
                        packed,
                        centers,
                        component,
                        tiles,
                        n_features,
                        chosen[component],
                        n_chosen[component],
                        shares,
                        stride,
                        scratch,
                        chunk_totals,
                    )
                    n_chosen[component] = 0
        objective[chunk, 0] = total_density
        objective[chunk, 1] = total_weight
        objective[chunk, 2] = total_noise
        counted[chunk, 0] = n_evaluated
        counted[chunk, 1] = n_added
