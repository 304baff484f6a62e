"""One pass of a Gaussian mixture over the rows, whatever the covariances' type.

A tile of rows is read, its log-densities under all components are normalised to responsibilities,
and its contributions to the statistics are added while it is in the cache. A few tiles make a
*batch*, over which a component's contributions are gathered in registers before they are added to
its *totals*: float64 values in a layout of the covariance type's own.

What depends on the type are the placeholders below. Its implementations are registered by
``compiling.variant`` and chosen by the class of ``packed``, a NamedTuple of the type's own that
holds the parameters as its kernels want them, in the rows' dtype. They take flat arrays: the
features of a tile are at ``tile[f * TILE + lane]``, and a tile's values of component j at
``values[j * TILE + lane]``.
"""

import numpy as np

from fastem.kernels.compiling import inline, kernel
from fastem.kernels.gaussian.skipping import (
    SAMPLED,
    carry_bounds,
    list_possible,
    most_probable,
    renew_bound,
    sort_chunk,
    sort_where_it_pays,
    tile_greatest,
    tile_least,
    tile_sum,
    worst_row,
)
from fastem.kernels.parallel import next_chunk
from fastem.kernels.responsibilities import normalize_tile
from fastem.kernels.simd import LANES, TILE
from fastem.kernels.tiles import aligned_empty_like, gather_tile, load_tile


def prepare_tile(packed, tile, n_features, scratch):
    """Do what all components have in common for a tile; may leave results in ``scratch``."""
    raise NotImplementedError("for kernels only")


def log_joint_tile(packed, tile, n_features, scratch, components, n_listed, log_joint):
    """Write ``log(weight * density) - reference`` of the listed components.

    Those of ``components[:n_listed]``, as ``log_joint[j * TILE + lane]``. ``reference`` is a number
    that the pass adds to all: near the greatest constant, so that float32 keeps digits.
    """
    raise NotImplementedError("for kernels only")


def accumulate_tiles(
    packed, centers, component, tiles, n_features, chosen, n_chosen, shares, stride, scratch, totals
):
    """Add a component's statistics of some tiles to its totals.

    Parameters
    ----------
    centers : array of shape (2, n_components, n_features), the rows' dtype
        What the statistics are about: the rows of ``centers[0]`` plus those of ``centers[1]``, the
        remainders of rounding to the dtype. ``(x - centers[0]) - centers[1]`` keeps all digits.
    tiles : array
        Tile t starts at ``t * n_features * TILE``.
    chosen : array of int
        ``chosen[:n_chosen]`` are the tiles to add; in the others the component has no share.
    shares : array
        Weighted responsibilities: tile t's start at ``t * stride + component * TILE``.
    totals : array of float64
        All components' totals, in the type's layout.
    """
    raise NotImplementedError("for kernels only")


@inline
def row_at(position, start, order, is_sorted):
    """The row visited at a position among all, of the chunk that begins at ``start``."""
    return start + np.intp(order[position]) if is_sorted else position


@inline
def load_visited(X, order, is_sorted, start, first, stop, one, shift, numbers, tile):
    """Load the rows at positions ``first`` and on; lanes behind ``stop`` repeat the last."""
    if is_sorted:
        for lane in range(TILE):
            numbers[lane] = row_at(min(first + lane, stop - 1), start, order, is_sorted)
        gather_tile(X, numbers, one, shift, tile)
    else:
        load_tile(X, first, one, shift, numbers, tile)


@kernel
def em_pass(
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
    """Each chunk's totals, and what it found.

    ``objective[c]`` receives the weighted sum of the log-densities, relative to the reference, and
    that of the weights. ``counted[c]`` receives the number of pairs of a tile and a component, of
    those evaluated and of those with a share in the statistics; and for a sample of tiles the pairs
    of a row and a component, and of those with a share.
    """
    n_rows, n_features = X.shape
    n_components = centers.shape[1]
    one = X.dtype.type(1)
    shift = np.zeros(n_features + LANES, X.dtype)
    stride = n_components * TILE
    width = len(visit.shrink)
    tiles = aligned_empty_like(batch * n_features * TILE, X)
    shares = aligned_empty_like(batch * stride, X)
    scratch = aligned_empty_like(scratch_size, X)
    weights = aligned_empty_like(TILE, X)
    density = aligned_empty_like(TILE, X)
    tile_labels = aligned_empty_like(TILE, X)
    numbers = np.empty(TILE, np.int32)
    fresh, components = np.arange(n_components), np.arange(n_components)
    squares = np.empty(n_components)
    chosen = np.empty((n_components, batch), np.int64)
    n_chosen = np.zeros(n_components, np.int64)
    chunk_labels = np.empty(chunk_rows if visit.sort else 0, np.uint16)
    label_counts = np.empty(n_components + 1, np.int64)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start, stop = chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)
        chunk_totals = totals[chunk]
        chunk_totals[:] = 0.0
        total_density = total_weight = 0.0
        n_evaluated = n_added = n_sampled = n_shares = 0
        for batch_start in range(start, stop, batch * TILE):
            n_tiles = 0
            for first in range(batch_start, min(batch_start + batch * TILE, stop), TILE):
                tile = tiles[n_tiles * n_features * TILE :]
                log_joint = shares[n_tiles * stride :]
                number = first // TILE
                load_visited(
                    X, visit.order, visit.is_sorted, start, first, stop, one, shift, numbers, tile
                )
                prepare_tile(packed, tile, n_features, scratch)
                n_listed, n_fresh = 0, n_components
                above, below = -np.inf, 1e38
                if visit.skip:
                    carry_bounds(visit, number * width)
                    above = visit.guesses[number] - packed.reference
                while True:
                    if visit.skip:
                        n_fresh = list_possible(visit, number * width, above, below, fresh)
                    log_joint_tile(packed, tile, n_features, scratch, fresh, n_fresh, log_joint)
                    n_listed += n_fresh
                    if not visit.skip:
                        break
                    for i in range(n_fresh):
                        components[n_listed - n_fresh + i] = fresh[i]
                    worst = np.float64(worst_row(log_joint, components, n_listed, density))
                    visit.guesses[number] = worst + packed.reference
                    if worst >= above:
                        break
                    # Rows turned out less probable than expected: more components may matter.
                    above, below = worst, above
                if visit.skip:
                    for i in range(n_listed):
                        component = components[i]
                        peak = np.float64(packed.constants[component])
                        greatest = tile_greatest(log_joint, component * TILE)
                        least = tile_least(log_joint, component * TILE)
                        renew_bound(visit, number * width, component, peak, greatest)
                        squares[component] = 2.0 * (peak - np.float64(least))
                for lane in range(TILE):
                    weight = 0.0
                    if first + lane < stop:
                        row = row_at(first + lane, start, visit.order, visit.is_sorted)
                        weight = sample_weight[row] if len(sample_weight) else 1.0
                    weights[lane] = weight
                if visit.sort:
                    most_probable(log_joint, components, n_listed, density, tile_labels)
                    for lane in range(min(TILE, stop - first)):
                        row = row_at(first + lane, start, visit.order, visit.is_sorted)
                        label = np.intp(tile_labels[lane])
                        chunk_labels[row - start] = label if label >= 0 else n_components
                normalize_tile(log_joint, n_listed, weights, hard, density, components)
                for lane in range(TILE):
                    if weights[lane] > 0:  # not zero times -inf
                        total_density += np.float64(weights[lane]) * np.float64(density[lane])
                        total_weight += np.float64(weights[lane])
                n_evaluated += n_listed
                for i in range(n_listed):
                    component = components[i]
                    if visit.skip:
                        share = np.float64(tile_sum(log_joint, component * TILE))
                        if share * (1.0 + squares[component]) <= visit.negligible[component]:
                            continue
                    chosen[component, n_chosen[component]] = n_tiles
                    n_chosen[component] += 1
                    n_added += 1
                if number % SAMPLED == 0:
                    n_sampled += stride
                    for i in range(n_listed):
                        for lane in range(TILE):
                            n_shares += log_joint[components[i] * TILE + lane] > 1e-16
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
        n_tiles = (stop - start + TILE - 1) // TILE
        counted[chunk, 0] = n_tiles * n_components
        counted[chunk, 1] = n_evaluated
        counted[chunk, 2] = n_added
        counted[chunk, 3] = n_sampled
        counted[chunk, 4] = n_shares
        if visit.sort:
            sort_where_it_pays(visit, chunk, start, stop - start, chunk_labels, label_counts)


@kernel
def label_pass(
    tickets,
    n_chunks,
    chunk_rows,
    batch,
    scratch_size,
    X,
    sample_weight,
    packed,
    centers,
    labels,
    totals,
):
    """Each chunk's totals where every row belongs to its label alone, or to none if negative.

    Rows are visited label by label.
    """
    n_rows, n_features = X.shape
    n_components = centers.shape[1]
    one = X.dtype.type(1)
    shift = np.zeros(n_features + LANES, X.dtype)
    stride = n_components * TILE
    tiles = aligned_empty_like(batch * n_features * TILE, X)
    shares = aligned_empty_like(batch * stride, X)
    scratch = aligned_empty_like(scratch_size, X)
    shares[:] = 0.0
    numbers = np.empty(TILE, np.int32)
    chosen = np.empty(batch, np.int64)
    counts = np.empty(n_components + 1, np.int64)
    chunk_labels, order = np.empty(chunk_rows, np.int32), np.empty(chunk_rows, np.int32)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start, stop = chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)
        chunk_totals = totals[chunk]
        chunk_totals[:] = 0.0
        for row in range(start, stop):
            label = labels[row]
            chunk_labels[row - start] = label if label >= 0 else n_components
        sort_chunk(chunk_labels, order, 0, stop - start, counts)
        # Those without a label come last.
        stop -= counts[n_components] - counts[n_components - 1]
        for batch_start in range(start, stop, batch * TILE):
            batch_stop = min(batch_start + batch * TILE, stop)
            for first in range(batch_start, batch_stop, TILE):
                tile = tiles[(first - batch_start) * n_features :]
                for lane in range(TILE):
                    numbers[lane] = start + order[min(first + lane, stop - 1) - start]
                gather_tile(X, numbers, one, shift, tile)
            position = batch_start
            while position < batch_stop:
                component = np.intp(chunk_labels[order[position - start]])
                begin, n_chosen = position, 0
                while position < batch_stop:
                    local = np.intp(order[position - start])
                    if chunk_labels[local] != component:
                        break
                    t, lane = (position - batch_start) // TILE, (position - batch_start) % TILE
                    if n_chosen == 0 or chosen[n_chosen - 1] != t:
                        chosen[n_chosen] = t
                        n_chosen += 1
                    weight = sample_weight[start + local] if len(sample_weight) else 1.0
                    shares[t * stride + component * TILE + lane] = weight
                    position += 1
                accumulate_tiles(
                    packed,
                    centers,
                    component,
                    tiles,
                    n_features,
                    chosen,
                    n_chosen,
                    shares,
                    stride,
                    scratch,
                    chunk_totals,
                )
                for i in range(begin, position):
                    t, lane = (i - batch_start) // TILE, (i - batch_start) % TILE
                    shares[t * stride + component * TILE + lane] = 0.0


@kernel
def evaluate_pass(
    tickets,
    n_chunks,
    chunk_rows,
    scratch_size,
    n_components,
    X,
    packed,
    log_density,
    labels,
    responsibilities,
    log_joint,
):
    """Write what is asked for, for every row; outputs without rows are not."""
    n_rows, n_features = X.shape
    one = X.dtype.type(1)
    shift = np.zeros(n_features + LANES, X.dtype)
    tile = aligned_empty_like(n_features * TILE, X)
    shares = aligned_empty_like(n_components * TILE, X)
    scratch = aligned_empty_like(scratch_size, X)
    weights = aligned_empty_like(TILE, X)
    weights[:] = one
    density = aligned_empty_like(TILE, X)
    numbers = np.empty(TILE, np.int32)
    components = np.arange(n_components)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for first in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows), TILE):
            n_lanes = min(TILE, n_rows - first)
            load_tile(X, first, one, shift, numbers, tile)
            prepare_tile(packed, tile, n_features, scratch)
            log_joint_tile(packed, tile, n_features, scratch, components, n_components, shares)
            if len(log_joint):
                for lane in range(n_lanes):
                    for j in range(n_components):
                        log_joint[first + lane, j] = shares[j * TILE + lane] + packed.reference
            if len(labels):
                for lane in range(n_lanes):
                    label = 0
                    for j in range(1, n_components):
                        if shares[j * TILE + lane] > shares[label * TILE + lane]:
                            label = j
                    labels[first + lane] = label
            if len(log_density) or len(responsibilities):
                normalize_tile(shares, n_components, weights, False, density)
                if len(log_density):
                    for lane in range(n_lanes):
                        log_density[first + lane] = density[lane] + packed.reference
                if len(responsibilities):
                    for lane in range(n_lanes):
                        for j in range(n_components):
                            responsibilities[first + lane, j] = shares[j * TILE + lane]
