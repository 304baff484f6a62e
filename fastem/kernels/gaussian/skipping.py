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

from fastem.kernels.compiling import inline, kernel
from fastem.kernels.gaussian.driver import accumulate_tiles, log_joint_tile, prepare_tile
from fastem.kernels.gaussian.products import sum_tile, weighted_sum
from fastem.kernels.gaussian.sorting import keep_sorted
from fastem.kernels.parallel import next_chunk
from fastem.kernels.responsibilities import normalize_tile
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
from fastem.kernels.tiles import aligned_empty_like, gather_tile

# The bound on -q / 2 + log(1 + q) is OFFSET less q times the slope.
_SLOPE, OFFSET = np.float32(0.5 - 0.01), 3.62
ROUNDING = 1e-6  # of bounds, relative; those in float32 take a few operations
_FARTHEST = 1e18  # as a bound: its square is finite in float32
_LOWEST = -1e38  # above the padding's level
_ZERO = np.float32(0)


class Visit(NamedTuple):
    """How a skipping pass visits the rows.

    Parameters
    ----------
    sort : bool
        Whether to sort chunks anew afterwards where they have become mixed.
    order : ndarray of shape (n_rows,), uint16
        Each chunk's rows as they are visited, relative to its first.
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


@inline
def least_distance(square):
    """A lower bound from an evaluated square."""
    return np.float32(min(np.sqrt(max(square, 0.0)), _FARTHEST) * (1 - ROUNDING))


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
    hard,
    visit,
    totals,
    objective,
    counted,
):
    """As ``driver.em_pass``, without what is negligible.

    ``counted[c]`` receives the pairs of a tile and a component that were evaluated, and those that
    were added to the statistics.
    """
    n_rows, n_features = X.shape
    n_components = centers.shape[1]
    one = X.dtype.type(1)
    shift = np.zeros(n_features + LANES, X.dtype)
    stride = n_components * TILE
    width = len(visit.shrink)
    order, bounds, guesses, levels = visit.order, visit.bounds, visit.guesses, visit.levels
    tiles = aligned_empty_like(batch * n_features * TILE, X)
    shares = aligned_empty_like(batch * stride, X)
    scratch = aligned_empty_like(scratch_size, X)
    weights = aligned_empty_like(TILE, X)
    density = aligned_empty_like(TILE, X)
    tile_labels = aligned_empty_like(TILE, X)
    rows = np.empty(TILE, np.int64)
    fresh, components = np.empty(width, np.int64), np.empty(width, np.int64)
    squares = np.empty(n_components)
    chosen = np.empty((n_components, batch), np.int64)
    n_chosen = np.zeros(n_components, np.int64)
    labels = np.empty(chunk_rows, np.uint16)
    counts = np.empty(n_components + 1, np.int64)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start, stop = chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)
        chunk_totals = totals[chunk]
        chunk_totals[:] = 0.0
        total_density = total_weight = 0.0
        n_evaluated = n_added = 0
        for batch_start in range(start, stop, batch * TILE):
            n_tiles = 0
            for first in range(batch_start, min(batch_start + batch * TILE, stop), TILE):
                tile = tiles[n_tiles * n_features * TILE :]
                log_joint = shares[n_tiles * stride :]
                number, n_lanes = first // TILE, min(TILE, stop - first)
                for lane in range(TILE):
                    row = start + np.intp(order[first + min(lane, n_lanes - 1)])
                    rows[lane] = row
                    weight = sample_weight[row] if len(sample_weight) else 1.0
                    weights[lane] = weight if lane < n_lanes else 0.0
                gather_tile(X, rows, one, shift, tile)
                prepare_tile(packed, tile, n_features, scratch)
                at = number * width
                carry_bounds(bounds, at, visit.shrink, visit.drift)
                above, below, n_listed = guesses[number] - packed.reference, 1e38, 0
                while True:
                    n_fresh = list_possible(bounds, at, levels, above, below, fresh)
                    log_joint_tile(packed, tile, n_features, scratch, fresh, n_fresh, log_joint)
                    for i in range(n_fresh):
                        components[n_listed + i] = fresh[i]
                    n_listed += n_fresh
                    worst = np.float64(worst_row(log_joint, components, n_listed, density))
                    if worst >= above:
                        break
                    # Rows turned out less probable than expected: more components may matter.
                    above, below = worst, above
                guesses[number] = worst + packed.reference
                for i in range(n_listed):
                    component = components[i]
                    peak = np.float64(packed.constants[component])
                    greatest = np.float64(tile_greatest(log_joint, component * TILE))
                    least = np.float64(tile_least(log_joint, component * TILE))
                    bounds[at + component] = least_distance(2.0 * (peak - greatest))
                    squares[component] = 2.0 * (peak - least)
                if visit.sort:
                    most_probable(log_joint, components, n_listed, density, tile_labels)
                    for lane in range(n_lanes):
                        label = np.intp(tile_labels[lane])
                        labels[rows[lane] - start] = label if label >= 0 else n_components
                normalize_tile(log_joint, n_listed, weights, hard, density, components)
                total_density += weighted_sum(weights, density)
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
        counted[chunk, 0] = n_evaluated
        counted[chunk, 1] = n_added
        if visit.sort and keep_sorted(
            labels, order, start, stop - start, counts, visit.n_mixed, chunk
        ):
            # Other tiles than before: nothing is known of them.
            for number in range(start // TILE, (stop + TILE - 1) // TILE):
                guesses[number] = -np.inf
                for j in range(width):
                    bounds[number * width + j] = _ZERO
