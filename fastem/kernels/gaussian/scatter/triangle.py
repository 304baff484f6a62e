"""Adds up a component's weighted products of centred features, block of features by block.

A block's sums stay in registers, lane by lane, over all tiles of a batch; only then are the lanes
added up.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.gaussian.batch import ChosenTiles
from fastem.kernels.gaussian.scatter.layout import (
    COUNT,
    FEW_FEATURES,
    PRODUCTS,
    SINGLE,
    SUMS,
    place_of,
)
from fastem.kernels.gaussian.scatter.sources import Direct, Prepared, Source
from fastem.kernels.gaussian.whitening import BLOCK
from fastem.kernels.vectors.emit import Emitter, constant, sum_vectors, zeros_of


class _Triangle:
    """The code for all blocks of the sums' lower triangle.

    Parameters
    ----------
    e : Emitter
    source : Source
    vector
        LLVM's type of a vector of rows.
    totals
        The address of the component's totals.
    """

    def __init__(self, e: Emitter, source: Source, vector, totals):
        self._e = e
        self._source = source
        self._vector = vector
        self._totals = totals

    def add(self, n_features):
        """Emit all rows of blocks: whole ones, and one for the features that are left."""
        e = self._e
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

    def _add_block(self, row, width, column):
        """The products of ``width`` features with BLOCK others."""
        e, source = self._e, self._source
        slots = e.zeros(self._vector, SUMS)
        rows, columns = source.features(row, width), source.features(column, BLOCK)
        with source.vectors() as (_, value, weighted):
            left = [weighted(value(feature)) for feature in rows]
            for j, feature in enumerate(columns):
                right = value(feature)
                for i in range(width):
                    e.add_product(slots[i * BLOCK + j], left[i], right)
        self._add_to_totals(slots, row, column)

    def _add_diagonal_block(self, first, width):
        """The products of ``width`` features with each other, and what has its place beside."""
        e, source = self._e, self._source
        slots = e.zeros(self._vector, COUNT + 1)
        with source.fresh(source.features(first, width)) as (weight, left, right):
            for slot, (i, j) in zip(slots, PRODUCTS, strict=False):
                if i < width:
                    e.add_product(slot, left[i], right[j])
            for slot, one in zip(slots[SINGLE:], left, strict=False):
                source.add_single(slot, weight, one)
            source.add_count(slots[COUNT], weight)
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
        few = builder.icmp_signed("<=", tiles.n_features, constant(FEW_FEATURES))
        with builder.if_else(few) as (then, otherwise):
            with then:
                _Triangle(e, Direct(tiles), tiles.vector, totals).add(tiles.n_features)
            with otherwise:
                source = Prepared(tiles, scratch)
                _Triangle(e, source, tiles.vector, totals).add(tiles.n_features)
        return e.nothing()

    return sig, codegen
