"""Adds up a component's weighted products of centred features, block of features by block.

A block's sums stay in registers, lane by lane, over all tiles of a batch; only then are the lanes
added up.
"""

from contextlib import contextmanager

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.gaussian.batch import ChosenTiles, centered
from fastem.kernels.gaussian.scatter.layout import (
    COUNT,
    PRODUCTS,
    SINGLE,
    SUMS,
    place_of,
)
from fastem.kernels.gaussian.whitening import BLOCK
from fastem.kernels.vectors.emit import Emitter, constant, store_at, sum_vectors, zeros_of
from fastem.kernels.vectors.machine import TILE, VECTOR_BYTES


class _Triangle:
    """The code for all blocks of the sums' lower triangle.

    A product's left factor is weighted, its right one isn't: weighted features are kept for the
    blocks of their row, the others are centred whenever they are needed, beside multiplications.

    Parameters
    ----------
    e : Emitter
    tiles : ChosenTiles
    kept
        The address of :func:`~fastem.kernels.gaussian.scatter.layout.scratch_size` values.
    totals
        The address of the component's totals.
    """

    def __init__(self, e: Emitter, tiles: ChosenTiles, kept, totals):
        self._e = e
        self._tiles = tiles
        self._vector = tiles.vector
        self._kept = kept
        self._totals = totals

    def add(self):
        """Emit all rows of blocks: whole ones, and one for the features that are left."""
        e, n_features = self._e, self._tiles.n_features
        whole = e.builder.and_(n_features, constant(-BLOCK))
        rest = e.builder.sub(n_features, whole)
        with e.loop(0, whole, BLOCK) as row:
            self._add_row(row, BLOCK)
        for width in range(1, BLOCK):
            with e.if_equal(rest, width):
                self._add_row(whole, width)

    def _add_row(self, row, width):
        self._add_diagonal_block(row, width)
        with self._e.loop(0, row, BLOCK) as column:
            self._add_block(row, width, column)

    def _features(self, first, width):
        """The numbers of ``width`` features, and what these are about."""
        features = [self._e.plus(first, i) for i in range(width)]
        return [(f, self._tiles.center.of(f)) for f in features]

    @contextmanager
    def _vectors(self):
        """Around what is emitted for a vector of rows: its first lane in a tile, and addresses.

        Those of the tile's features and shares, and of where weighted features are kept.
        """
        e = self._e
        with self._tiles.each() as (i, tile, shares):
            kept = e.row(self._kept, i, BLOCK * TILE)
            with e.loop(0, TILE, self._vector.count) as lane:
                yield lane, tile, shares, kept

    def _lanes(self, pointer, number, lane):
        return self._e.lanes(pointer, number, lane, self._vector)

    def _centered(self, tile, feature, lane):
        f, center = feature
        return centered(self._e.builder, self._lanes(tile, f, lane), center)

    def _add_block(self, row, width, column):
        """The products of a row's features, ``width`` of them, with BLOCK others."""
        e = self._e
        slots = e.zeros(self._vector, SUMS)
        columns = self._features(column, BLOCK)
        with self._vectors() as (lane, tile, _, kept):
            left = [self._lanes(kept, i, lane) for i in range(width)]
            for j, feature in enumerate(columns):
                right = self._centered(tile, feature, lane)
                for i in range(width):
                    e.add_product(slots[i * BLOCK + j], left[i], right)
        self._add_to_totals(slots, row, column)

    def _add_diagonal_block(self, first, width):
        """The products of ``width`` features with each other, and what has its place beside."""
        e = self._e
        slots = e.zeros(self._vector, COUNT + 1)
        features = self._features(first, width)
        with self._vectors() as (lane, tile, shares, kept):
            share = self._lanes(shares, 0, lane)
            right = [self._centered(tile, feature, lane) for feature in features]
            left = [e.builder.fmul(share, value) for value in right]
            # The first row has no other blocks: to keep its features took 8 % of the time for 2.
            with e.builder.if_then(e.builder.icmp_signed(">", first, constant(0))):
                for i, value in enumerate(left):
                    at = e.plus(lane, i * TILE)
                    store_at(e.builder, value, kept, at, VECTOR_BYTES)
            for slot, (i, j) in zip(slots, PRODUCTS, strict=False):
                if i < width:
                    e.add_product(slot, left[i], right[j])
            for slot, value in zip(slots[SINGLE:], left, strict=False):
                e.add(slot, value)
            e.add(slots[COUNT], share)
        self._add_to_totals(slots, first, first)

    def _add_to_totals(self, slots, row, column):
        """Add up the lanes."""
        e, lanes = self._e, self._vector.count
        sums = [e.builder.load(slot) for slot in slots]
        sums += [zeros_of(self._vector)] * (SUMS - len(sums))
        double = ir.VectorType(ir.DoubleType(), lanes)
        place = place_of(e, row, column)
        for i in range(0, SUMS, lanes):
            total = sum_vectors(e.builder, sums[i : i + lanes])
            if total.type != double:
                total = e.builder.fpext(total, double)
            e.add_at(self._totals, e.plus(place, i), total)


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

    Parameters are those of ``driver.accumulate_tiles``; ``totals`` are all components', as
    ``layout.py`` says, and ``scratch`` has ``layout.scratch_size`` values.
    """
    # LLVM's own code, as a block's SUMS sums are more than Python has names for.
    integer = types.intp
    sig = types.void(
        tiles, integer, chosen, integer, centers, integer, shares, integer, scratch, totals
    )

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        tiles = ChosenTiles(e)
        scratch, totals = e.pointers(8, 9)
        own_size = place_of(e, e.plus(tiles.n_features, BLOCK - 1), 0)
        totals = e.row(totals, tiles.component, own_size)
        _Triangle(e, tiles, scratch, totals).add()
        return e.nothing()

    return sig, codegen
