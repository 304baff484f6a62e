"""Weighted sums of products of centred features, in registers.

The lower triangle of the sums is taken in blocks of BLOCK by BLOCK features. A block's sums stay in
registers, lane by lane, over all tiles of a batch; only then are the lanes added up. The blocks on
the diagonal have room for the sums of weights and of single features beside.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastem.kernels.gaussian.whitening import BLOCK, centered, slots_of_zero
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.vectors.emit import (
    call_llvm,
    constant,
    data_pointer,
    fma,
    load_at,
    splat,
    store_at,
    sum_vectors,
)
from fastem.kernels.vectors.machine import TILE, VECTOR_BYTES, vector_lanes

# Up to so many, centring and weighting them again and again is cheaper than keeping the results.
_FEW_FEATURES = 12

_SUMS = BLOCK * BLOCK  # of a block
# Where a diagonal block keeps what.
_PRODUCTS = [(i, j) for i in range(BLOCK) for j in range(i + 1)]
_SINGLE = len(_PRODUCTS)  # the sums of its features
_COUNT = _SINGLE + BLOCK  # the sum of weights


def totals_size(n_features):
    """Number of a component's sums."""
    n_blocks = ceil_div(n_features, BLOCK)
    return _SUMS * n_blocks * (n_blocks + 1) // 2


def unpack_totals(totals, n_features):
    """Sums of weights, of features and of their products.

    Parameters
    ----------
    totals : ndarray of shape (n_components, totals_size(n_features))
    n_features : int

    Returns
    -------
    counts : ndarray of shape (n_components,)
    sums : ndarray of shape (n_components, n_features)
    products : ndarray of shape (n_components, n_features, n_features), symmetric
    """
    n_components = len(totals)
    n_blocks = ceil_div(n_features, BLOCK)
    rows, columns = np.tril_indices(n_blocks)
    totals = totals.reshape(n_components, -1, _SUMS)
    products = np.zeros((n_components, n_blocks, BLOCK, n_blocks, BLOCK))
    products[:, rows, :, columns, :] = totals.reshape(n_components, -1, BLOCK, BLOCK).swapaxes(0, 1)
    diagonal = totals[:, rows == columns]
    b = np.arange(n_blocks)
    for place, (i, j) in enumerate(_PRODUCTS):
        products[:, b, i, b, j] = diagonal[:, :, place]
    sums = diagonal[:, :, _SINGLE:_COUNT].reshape(n_components, -1)
    size = n_blocks * BLOCK
    products = products.reshape(n_components, size, size)[:, :n_features, :n_features]
    lower = np.tril(products)
    products = lower + np.tril(products, -1).swapaxes(1, 2)
    return diagonal[:, 0, _COUNT].copy(), sums[:, :n_features].copy(), products


def _place(builder, row, column):
    """Where the sums of a block begin, by the first features of its row and column."""
    n = builder.sdiv(row, constant(BLOCK))
    before = builder.sdiv(builder.mul(n, builder.add(n, constant(1))), constant(2))
    n = builder.add(before, builder.sdiv(column, constant(BLOCK)))
    return builder.mul(n, constant(_SUMS))


def scratch_size(n_features, n_tiles):
    """Number of values that ``add_products`` needs for a batch of tiles."""
    return 0 if n_features <= _FEW_FEATURES else n_tiles * (n_features + 1) * TILE


@intrinsic
def add_products(
    typingctx,
    tiles,
    n_features,
    chosen,
    n_chosen,
    centers,
    component,
    shares,
    stride,
    scratch,
    totals,
):
    """Add a component's weighted sums over some tiles, about its centre, to ``totals``.

    Parameters are those of ``driver.accumulate_tiles``; ``totals`` are all components'.
    """
    integer = types.intp
    sig = types.void(
        tiles, integer, chosen, integer, centers, integer, shares, integer, scratch, totals
    )
    lanes = vector_lanes(tiles.dtype)
    size = tiles.dtype.bitwidth // 8
    exact_centers = size == 8  # as in whitening.py

    def codegen(context, builder, signature, args):
        x, tile_numbers, c, r, z, output = (
            data_pointer(context, builder, signature.args[i], args[i]) for i in (0, 2, 4, 6, 8, 9)
        )
        _, n_features, _, n_chosen, centers_value, component, _, stride, _, _ = args
        shape = context.make_array(signature.args[4])(context, builder, centers_value).shape
        n_components = builder.extract_value(shape, 1)
        c = builder.gep(c, [builder.mul(component, n_features)])
        low = builder.gep(c, [builder.mul(n_components, n_features)])
        r = builder.gep(r, [builder.mul(component, constant(TILE))])
        zero = constant(0)
        whole = builder.and_(n_features, constant(-BLOCK))
        rest = builder.sub(n_features, whole)
        own_size = _place(builder, builder.add(n_features, constant(BLOCK - 1)), zero)
        output = builder.gep(output, [builder.mul(component, own_size)])
        word = ir.IntType(64)
        vector = ir.VectorType(x.type.pointee, lanes)

        def splat_at(pointer, index):
            return splat(builder, builder.load(builder.gep(pointer, [index])), lanes)

        def load_lanes(pointer, f, lane):
            at = builder.add(builder.mul(f, constant(TILE)), lane)
            return load_at(builder, pointer, at, vector, VECTOR_BYTES)

        def add_product(a, b, slot):
            builder.store(fma(builder, a, b, builder.load(slot)), slot)

        def add(a, slot):
            builder.store(builder.fadd(builder.load(slot), a), slot)

        def over_lanes(body):
            with cgutils.for_range_slice(builder, zero, constant(TILE), constant(lanes), word) as (
                lane,
                _,
            ):
                body(lane)

        def over_tiles(body):
            """Call ``body(number, tile, weights)`` for every chosen tile."""
            with cgutils.for_range(builder, n_chosen) as loop:
                t = builder.load(builder.gep(tile_numbers, [loop.index]))
                tile = builder.gep(x, [builder.mul(t, builder.mul(n_features, constant(TILE)))])
                body(loop.index, tile, builder.gep(r, [builder.mul(t, stride)]))

        class Direct:
            """Few features are centred and weighted whenever they are needed."""

            def features(self, first, width):
                features = [builder.add(first, constant(i)) for i in range(width)]
                return [
                    (f, splat_at(c, f), None if exact_centers else splat_at(low, f))
                    for f in features
                ]

            def over_vectors(self, body):
                def over_lanes_of(_, tile, weights):
                    def at_lane(lane):
                        share = load_lanes(weights, zero, lane)

                        def value(feature):
                            f, center, remainder = feature
                            return centered(builder, load_lanes(tile, f, lane), center, remainder)

                        body(value, share, lambda value: builder.fmul(share, value))

                    over_lanes(at_lane)

                over_tiles(over_lanes_of)

            def add_single(self, share, weighted, slot):
                add(weighted, slot)

            def add_count(self, share, slot):
                add(share, slot)

        class Prepared:
            """Many are once: centred, and multiplied by the weight's square root.

            The square root itself is one more feature.
            """

            def __init__(self):
                self.tile_size = builder.mul(builder.add(n_features, constant(1)), constant(TILE))
                over_tiles(self.prepare_tile)

            def prepare_tile(self, number, tile, weights):
                target = builder.gep(z, [builder.mul(number, self.tile_size)])
                root_at = builder.mul(n_features, constant(TILE))

                def prepare_root(lane):
                    root = call_llvm(builder, "sqrt", [load_lanes(weights, zero, lane)])
                    store_at(builder, root, target, builder.add(root_at, lane), VECTOR_BYTES)

                over_lanes(prepare_root)
                with cgutils.for_range(builder, n_features) as loop:
                    f = loop.index
                    center = splat_at(c, f)
                    remainder = None if exact_centers else splat_at(low, f)
                    for lane in range(0, TILE, lanes):
                        lane = constant(lane)
                        value = load_lanes(tile, f, lane)
                        value = centered(builder, value, center, remainder)
                        root = load_lanes(target, n_features, lane)
                        at = builder.add(builder.mul(f, constant(TILE)), lane)
                        product = builder.fmul(value, root)
                        store_at(builder, product, target, at, VECTOR_BYTES)

            def features(self, first, width):
                return [builder.add(first, constant(i)) for i in range(width)]

            def over_vectors(self, body):
                with cgutils.for_range(builder, n_chosen) as loop:
                    tile = builder.gep(z, [builder.mul(loop.index, self.tile_size)])

                    def at_lane(lane):
                        root = load_lanes(tile, n_features, lane)
                        body(lambda f: load_lanes(tile, f, lane), root, lambda value: value)

                    over_lanes(at_lane)

            def add_single(self, root, value, slot):
                add_product(root, value, slot)

            def add_count(self, root, slot):
                add_product(root, root, slot)

        def add_to_totals(slots, row, column):
            """Add up the lanes."""
            sums = [builder.load(slot) for slot in slots]
            sums += [ir.Constant(vector, [0.0] * lanes)] * (_SUMS - len(sums))
            wide = ir.VectorType(ir.DoubleType(), lanes)
            place = _place(builder, row, column)
            for i in range(0, _SUMS, lanes):
                total = sum_vectors(builder, sums[i : i + lanes])
                if size == 4:
                    total = builder.fpext(total, wide)
                at = builder.add(place, constant(i))
                old = load_at(builder, output, at, wide, 8)
                store_at(builder, builder.fadd(old, total), output, at, 8)

        def diagonal_block(source, first, width):
            slots = slots_of_zero(builder, vector, _COUNT + 1)
            features = source.features(first, width)

            def body(value_of, share, weigh):
                values = [value_of(feature) for feature in features]
                weighted = [weigh(value) for value in values]
                for slot, (i, j) in zip(slots, _PRODUCTS, strict=False):
                    if i < width:
                        add_product(weighted[i], values[j], slot)
                for i in range(width):
                    source.add_single(share, weighted[i], slots[_SINGLE + i])
                source.add_count(share, slots[_COUNT])

            source.over_vectors(body)
            add_to_totals(slots, first, first)

        def block(source, row, width, column):
            slots = slots_of_zero(builder, vector, BLOCK * BLOCK)
            rows, columns = source.features(row, width), source.features(column, BLOCK)

            def body(value_of, _, weigh):
                weighted = [weigh(value_of(feature)) for feature in rows]
                for j, feature in enumerate(columns):
                    value = value_of(feature)
                    for i in range(width):
                        add_product(weighted[i], value, slots[i * BLOCK + j])

            source.over_vectors(body)
            add_to_totals(slots, row, column)

        def row_of_blocks(source, row, width):
            with cgutils.for_range_slice(builder, zero, row, constant(BLOCK), word) as (column, _):
                block(source, row, width, column)
            diagonal_block(source, row, width)

        def triangle(source):
            with cgutils.for_range_slice(builder, zero, whole, constant(BLOCK), word) as (row, _):
                row_of_blocks(source, row, BLOCK)
            for width in range(1, BLOCK):
                with builder.if_then(builder.icmp_signed("==", rest, constant(width))):
                    row_of_blocks(source, whole, width)

        few = builder.icmp_signed("<=", n_features, constant(_FEW_FEATURES))
        with builder.if_else(few) as (then, otherwise):
            with then:
                triangle(Direct())
            with otherwise:
                triangle(Prepared())
        return context.get_dummy_value()

    return sig, codegen
