"""Codes of seven bits: the eighth bits of seven bytes hold another one.

So a float32 row's codes take less than a quarter of it. A *word* is four codes of one row, as for
``tiles.py``; seven words carry eight, and what is left over is stored as it is.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.emit import Emitter, store_at
from fastem.kernels.vectors.machine import LANES, TILE, VECTOR_BYTES

CARRIERS = 7
_LOW, _TOP = 0x7F7F7F7F, 0x01010101  # the codes' bits of a word; the bits that carry, at the bottom


@inline
def n_stored(n_quads):
    """How many words are stored for so many."""
    return n_quads - n_quads // (CARRIERS + 1)


class CarriedWord:
    """The eighth word of a vector of rows, while the code that unpacks the seven is emitted.

    Parameters
    ----------
    builder : IRBuilder
    every : callable
        Makes a vector of copies of an integer.
    """

    def __init__(self, builder, every):
        self._builder, self._every = builder, every
        self._taken, self.word = 0, every(0)

    def take(self, packed):
        """The next of the seven words; its carried bits go to ``word``, whole after all."""
        builder, every = self._builder, self._every
        bits = builder.and_(builder.lshr(packed, every(7)), every(_TOP))
        self.word = builder.or_(self.word, builder.shl(bits, every(self._taken)))
        self._taken += 1
        return builder.and_(packed, every(_LOW))


@intrinsic
def pack_words(typingctx, codes, n_quads, words):
    """Write the ``n_stored(n_quads) * TILE`` words of a tile's codes.

    Each of these takes seven bits of a byte. What is left over of eights is copied.
    """

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        source, target = e.pointers(0, 2)
        n_quads = args[1]
        vector = ir.VectorType(ir.IntType(32), LANES)
        n_eights = e.quotient(n_quads, CARRIERS + 1)

        def every(value):
            return ir.Constant(vector, [value] * LANES)

        def load(number, lane):
            return e.lanes(source, number, lane, vector)

        def store(value, number, lane):
            store_at(builder, value, target, e.plus(e.times(number, TILE), lane), VECTOR_BYTES)

        with e.loop(0, n_eights) as i, e.loop(0, TILE, LANES) as lane:
            first = e.times(i, CARRIERS + 1)
            carried = load(e.plus(first, CARRIERS), lane)
            for w in range(CARRIERS):
                bits = builder.and_(builder.lshr(carried, every(w)), every(_TOP))
                word = builder.or_(load(e.plus(first, w), lane), builder.shl(bits, every(7)))
                store(word, e.plus(e.times(i, CARRIERS), w), lane)
        rest = builder.srem(n_quads, ir.Constant(n_quads.type, CARRIERS + 1))
        with e.loop(0, rest) as i, e.loop(0, TILE, LANES) as lane:
            word = load(e.plus(e.times(n_eights, CARRIERS + 1), i), lane)
            store(word, e.plus(e.times(n_eights, CARRIERS), i), lane)
        return e.nothing()

    return types.void(codes, types.intp, words), codegen
