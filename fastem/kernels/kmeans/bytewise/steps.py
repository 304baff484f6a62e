"""Steps of centres in bytes, and by how much they change the scores of a tile's rows.

A row's *score* of a centre is ``|c|^2 / 2 - x.c``. Where a centre moves by ``d``, it changes by
``d.(c + d / 2) - x.d``. The first term is the same for all rows; the second is computed of codes,
as in ``tiles.py``, and misses at most::

    |d's rest| |x's part coded| + |x's rest| |d|

which is little as soon as steps are short: the error of codes is a share of the step, not of the
centre.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.kmeans.bytewise.sevens import CARRIERS, CarriedWord
from fastem.kernels.kmeans.bytewise.tiles import CODES, LEAST_STEP, add_byte_products
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.vectors.emit import Emitter, align_stack, constant, prefetch, store_at
from fastem.kernels.vectors.machine import LANES, LINE_BYTES, TILE, VECTOR_BYTES, WIDE_REGISTER_FILE

# Centres accumulated together, with so many vectors of rows.
_BLOCK = 10 if WIDE_REGISTER_FILE else 4
_VECTORS = 2

_MIDDLE = 64  # what is added to the codes of rows

# Covers the roundings to float32 of these terms, and of what they are multiplied by.
_RELATIVE, _TINY = 1 + 2.0**-18, 2.0**-90


class CodedSteps(NamedTuple):
    """The negated steps of centres in bytes, in blocks; the padding's are zero.

    Parameters
    ----------
    codes : ndarray of shape (n_blocks, n_quads, block), int32
        Codes of four features each, as bytes.
    starts : ndarray of shape (n,), int32
        What the sums of products start with, for what is added to the rows' codes.
    units : ndarray of shape (n,), float32
        The codes' units.
    changes : ndarray of shape (n,), float32
        What all rows' scores change by.
    terms : ndarray of shape (n, 3), float32
        The norm of what the codes leave; the step's length; and an error that doesn't depend on
        the row.
    """

    codes: np.ndarray
    starts: np.ndarray
    units: np.ndarray
    changes: np.ndarray
    terms: np.ndarray


def no_steps(n_clusters, n_features):
    """What :func:`code_steps` writes to."""
    n_blocks = ceil_div(n_clusters, _BLOCK)
    n = n_blocks * _BLOCK
    return CodedSteps(
        np.zeros((n_blocks, ceil_div(n_features, 4), _BLOCK), np.int32),
        np.zeros(n, np.int32),
        np.ones(n, np.float32),
        np.zeros(n, np.float32),
        np.zeros((n, 3), np.float32),
    )


@kernel
def code_steps(before, after, origin, scale, coded):
    """Code the steps of centres whose scaled norms are far below float32's greatest numbers.

    Parameters
    ----------
    before, after : float64 arrays of shape (n_clusters, n_features)
        The centres, in the rows' coordinates.
    origin : float64 array of shape (n_features,)
    scale : float
    coded : CodedSteps
        Gets the codes.
    """
    n_clusters, n_features = before.shape
    n_quads, n_block = coded.codes.shape[1:]
    for j in range(n_clusters):
        greatest = change = length = size = 0.0
        for f in range(n_features):
            step = (before[j, f] - after[j, f]) * scale
            old, new = (before[j, f] - origin[f]) * scale, (after[j, f] - origin[f]) * scale
            greatest = max(greatest, abs(step))
            change -= step * (0.5 * (old + new))
            length += step * step
            size += old * old + new * new
        unit = np.float64(np.float32(max(greatest / CODES, LEAST_STEP)))
        total, rest = 0, 0.0
        for quad in range(n_quads):
            word = np.uint32(0)
            for f in range(4 * quad, min(4 * quad + 4, n_features)):
                step = (before[j, f] - after[j, f]) * scale
                code = np.int32(np.rint(step / unit))
                left = step - code * unit
                rest += left * left
                total += code
                word |= np.uint32(code & 255) << np.uint32(8 * (f - 4 * quad))
            coded.codes[j // n_block, quad, j % n_block] = np.int32(word)
        length, size = np.sqrt(length), np.sqrt(size)
        coded.starts[j] = -_MIDDLE * total
        coded.units[j] = unit
        coded.changes[j] = change
        coded.terms[j, 0] = np.sqrt(rest) * _RELATIVE + _TINY
        coded.terms[j, 1] = length * _RELATIVE + _TINY
        # Of the change, a sum in float64.
        coded.terms[j, 2] = (n_features + 8) * 2.0**-51 * length * size * _RELATIVE + _TINY


@intrinsic
def step_products(typingctx, words, n_quads, coded, units, following, products):
    """The products of a tile's rows and of negated steps.

    Parameters
    ----------
    words : int32 array
        The tile's codes, from ``pack_words``. They are unpacked in registers: unpacked, those of
        784 features are more than the fastest cache holds, and fits took a sixth more time.
    n_quads : int
    coded : CodedSteps
    units : float32 array of TILE values
        The rows' steps.
    following : int32 array
        The words of a tile that are fetched meanwhile.
    products : float32 array of n * TILE values
        Gets the products, with the padding's.
    """
    sig = types.void(words, types.intp, coded, units, following, products)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        # Vectors that don't fit into registers must not straddle cache lines on the stack.
        align_stack(builder)
        x, row_units, later, output = e.pointers(0, 3, 4, 5)
        n_quads = args[1]
        c, starts, step_units = (e.field(2, name).data for name in ("codes", "starts", "units"))
        n_blocks = builder.extract_value(e.field(2, "codes").shape, 0)
        vector = ir.VectorType(ir.FloatType(), LANES)
        integers = ir.VectorType(ir.IntType(32), LANES)
        n_eights = e.quotient(n_quads, CARRIERS + 1)
        rest = builder.srem(n_quads, constant(CARRIERS + 1))

        def every(value):
            return ir.Constant(integers, [value] * LANES)

        with e.loop(0, n_blocks) as block, e.loop(0, TILE, _VECTORS * LANES) as lane:
            numbers = [e.plus(e.times(block, _BLOCK), i) for i in range(_BLOCK)]
            sums = [e.places(_VECTORS, e.splat(starts, number, LANES)) for number in numbers]
            base = e.row(c, e.times(block, _BLOCK), n_quads)
            places = [e.plus(lane, v * LANES) for v in range(_VECTORS)]

            def load_words(number):
                with builder.if_then(builder.icmp_signed("==", block, constant(0))):
                    for line in range(0, _VECTORS * LANES, LINE_BYTES // 4):
                        at = e.plus(e.times(number, TILE), e.plus(lane, line))
                        prefetch(builder, later, at)
                return [e.lanes(x, number, place, integers) for place in places]

            def add(quad, rows):
                for i, slots in enumerate(sums):
                    four = e.splat(base, e.plus(e.times(quad, _BLOCK), i), LANES)
                    for slot, row in zip(slots, rows, strict=True):
                        total = add_byte_products(builder, builder.load(slot), row, four)
                        builder.store(total, slot)

            with e.loop(0, n_eights) as eight:
                carried = [CarriedWord(builder, every) for _ in places]
                for w in range(CARRIERS):
                    packed = load_words(e.plus(e.times(eight, CARRIERS), w))
                    rows = [one.take(word) for one, word in zip(carried, packed, strict=True)]
                    add(e.plus(e.times(eight, CARRIERS + 1), w), rows)
                add(e.plus(e.times(eight, CARRIERS + 1), CARRIERS), [one.word for one in carried])
            with e.loop(0, rest) as i:
                rows = load_words(e.plus(e.times(n_eights, CARRIERS), i))
                add(e.plus(e.times(n_eights, CARRIERS + 1), i), rows)
            for number, slots in zip(numbers, sums, strict=True):
                unit = e.splat(step_units, number, LANES)
                for v, slot in enumerate(slots):
                    at = e.plus(lane, v * LANES)
                    factor = builder.fmul(e.lanes(row_units, 0, at, vector), unit)
                    value = builder.fmul(builder.sitofp(builder.load(slot), vector), factor)
                    at = e.plus(e.times(number, TILE), at)
                    store_at(builder, value, output, at, VECTOR_BYTES)
        return e.nothing()

    return sig, codegen
