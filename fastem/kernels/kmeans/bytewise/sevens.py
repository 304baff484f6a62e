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

_CARRIERS = 7
_LOW, _TOP = 0x7F7F7F7F, 0x01010101  # the codes' bits of a word; the bits that carry, at the bottom


@inline
def n_stored(n_quads):
    """How many words are stored for so many."""
    return n_quads - n_quads // (_CARRIERS + 1)


def _vectors(n_words, emit_eight):
    """An intrinsic's code over all vectors of a tile; the words left over are copied."""

    def emit(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        source, target = e.pointers(0, 2)
        n_quads = args[1]
        vector = ir.VectorType(ir.IntType(32), LANES)
        n_eights = e.quotient(n_quads, _CARRIERS + 1)
        n_read, n_written = n_words

        def every(value):
            return ir.Constant(vector, [value] * LANES)

        def load(number, lane):
            return e.lanes(source, number, lane, vector)

        def store(value, number, lane):
            store_at(builder, value, target, e.plus(e.times(number, TILE), lane), VECTOR_BYTES)

        with e.loop(0, n_eights) as i, e.loop(0, TILE, LANES) as lane:
            words = [load(e.plus(e.times(i, n_read), w), lane) for w in range(n_read)]
            for w, word in enumerate(emit_eight(builder, words, every)):
                store(word, e.plus(e.times(i, n_written), w), lane)
        rest = builder.srem(n_quads, ir.Constant(n_quads.type, _CARRIERS + 1))
        with e.loop(0, rest) as i, e.loop(0, TILE, LANES) as lane:
            word = load(e.plus(e.times(n_eights, n_read), i), lane)
            store(word, e.plus(e.times(n_eights, n_written), i), lane)
        return e.nothing()

    @intrinsic
    def function(typingctx, source, n_quads, target):
        return types.void(source, types.intp, target), emit

    return function


def _carry(builder, words, every):
    """Seven words of eight."""
    *words, carried = words
    for i, word in enumerate(words):
        bit = builder.and_(builder.lshr(carried, every(i)), every(_TOP))
        yield builder.or_(word, builder.shl(bit, every(7)))


def _unload(builder, words, every):
    """Eight words of seven."""
    carried = every(0)
    for i, word in enumerate(words):
        bit = builder.and_(builder.lshr(word, every(7)), every(_TOP))
        carried = builder.or_(carried, builder.shl(bit, every(i)))
        yield builder.and_(word, every(_LOW))
    yield carried


#: ``pack_words(codes, n_quads, words)``: write the ``n_stored(n_quads) * TILE`` words of a tile's
#: codes, of which each takes seven bits of a byte.
pack_words = _vectors((_CARRIERS + 1, _CARRIERS), _carry)

#: ``unpack_words(words, n_quads, codes)``: the codes again.
unpack_words = _vectors((_CARRIERS, _CARRIERS + 1), _unload)
