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
from fastem.kernels.vectors.pairs import add_pair, can_pair, is_crossed


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
    paired
        LLVM's boolean of whether vectors are taken in pairs; None if there is no choice.
    """

    def __init__(self, e: Emitter, source: Source, vector, totals, paired=None):
        self._e = e
        self._source = source
        self._vector = vector
        self._totals = totals
        self._paired = paired

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
        if width == BLOCK and self._paired is not None:
            with e.builder.if_else(self._paired) as (then, otherwise):
                with then:
                    self._add_pairs(slots, rows, columns)
                with otherwise:
                    self._add_vectors(slots, rows, columns)
        else:
            self._add_vectors(slots, rows, columns)
        self._add_to_totals(slots, row, column)

    def _add_vectors(self, slots, rows, columns):
        """Add a block's products, a vector of rows at a time."""
        e, source = self._e, self._source
        with source.vectors() as (_, value, weighted):
            left = [weighted(value(feature)) for feature in rows]
            for j, feature in enumerate(columns):
                right = value(feature)
                for i, other in enumerate(left):
                    e.add_product(slots[i * BLOCK + j], other, right)

    def _add_pairs(self, slots, rows, columns):
        """Add a block's products, two vectors of rows at a time."""
        e, source, builder = self._e, self._source, self._e.builder
        with source.pairs() as pair:
            left = [pair(feature) for feature in rows]
            for j, feature in enumerate(columns):
                right = pair(feature)
                for i, other in enumerate(left):
                    add_pair(e, slots[i * BLOCK + j], is_crossed(i, j), other, right)
        left = [source.crossed(feature) for feature in rows]
        for j, feature in enumerate(columns):
            right = source.crossed(feature)
            for i, other in enumerate(left):
                if is_crossed(i, j):
                    slot = slots[i * BLOCK + j]
                    total = builder.fsub(builder.load(slot), builder.fadd(other, right))
                    builder.store(total, slot)

    def _add_diagonal_block(self, first, width):
        """The products of ``width`` features with each other, and what has its place beside."""
        e, source = self._e, self._source
        slots = e.zeros(self._vector, COUNT + 1)
        with source.fresh(source.features(first, width)) as vectors:
            for weight, left, right in vectors:
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
    paired,
):
    """Add a component's weighted sums over some tiles, about its centre, to ``totals``.

    Parameters are those of ``driver.accumulate_tiles``; ``totals`` are all components', as
    ``layout.py`` says, and ``scratch`` has ``layout.scratch_size`` values. ``paired`` is whether
    rows may be taken in pairs: the features' deviations must be of about one size.
    """
    # LLVM's own code, as a block's SUMS sums are more than Python has names for.
    integer = types.intp
    sig = types.void(
        tiles,
        integer,
        chosen,
        integer,
        centers,
        integer,
        shares,
        integer,
        scratch,
        totals,
        types.boolean,
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
                pairs = can_pair(signature.args[0].dtype)
                source = Prepared(tiles, scratch, pairs)
                paired = args[10] if pairs else None
                _Triangle(e, source, tiles.vector, totals, paired).add(tiles.n_features)
        return e.nothing()

    return sig, codegen
