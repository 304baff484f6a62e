"""The two matrix products of a pass, for log-densities that are linear in a few terms of a row.

*Terms* are what a tile holds of its rows: the features, and maybe more, ``terms[t * TILE + lane]``.
The first product makes log-densities of terms and coefficients, the second sums of terms of
responsibilities and terms. Both keep a block of sums in registers.
"""

from contextlib import nullcontext
from itertools import product

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.emit import (
    Emitter,
    align_stack,
    constant,
    fma,
    prefetch,
    store_at,
    sum_lanes,
    sum_vectors,
)
from fastem.kernels.vectors.machine import LINE_BYTES, TILE, WIDE_REGISTER_FILE
from fastem.kernels.vectors.vector import (
    broadcast,
    double,
    lanes_of,
    load,
    multiply_add,
    sum_of_lanes,
    where,
)

COMPONENTS = 4  # components of a block
_VECTORS = 4 if WIDE_REGISTER_FILE else 2  # vectors of rows of a block, for log-densities
_TERMS = 4 if WIDE_REGISTER_FILE else 2  # terms of a block, for sums
_BLOCK = COMPONENTS * _TERMS  # sums of a block


def pad_components(values):
    """Values of the components, (n_components, ...), and zeros up to whole blocks."""
    padding = -len(values) % COMPONENTS
    padded = np.zeros((len(values) + padding, *values.shape[1:]), values.dtype)
    padded[: len(values)] = values
    return padded


# LLVM's own code, as a block's sums are more than Python has names for.


def _up_to(e, first, count, n):
    """``count`` numbers from the first on where they are below ``n``, and ``n - 1`` behind."""
    last = e.plus(n, -1)
    numbers = [e.plus(first, i) for i in range(count)]
    return [
        e.builder.select(e.builder.icmp_signed("<", number, last), number, last)
        for number in numbers
    ]


def _log_densities(squares, listed=False):
    """The intrinsic for terms times coefficients, or for squares of scaled differences.

    Of the first components, or of those that are listed.
    """

    def emit(context, builder, signature, args):
        align_stack(builder)
        e = Emitter(context, builder, signature, args)
        n_terms, n_components = args[1], args[5]
        x, c, b, a, out = e.pointers(0, 2, 3, 4, 6)
        size = signature.args[0].dtype.bitwidth // 8
        vector = e.vector(0)
        lanes = vector.count
        n_vectors = min(_VECTORS, TILE // lanes)

        with e.loop(0, TILE, n_vectors * lanes) as lane, e.loop(0, n_components, COMPONENTS) as k:
            numbers = [e.plus(k, i) for i in range(COMPONENTS)]
            if listed:
                # The padding of a block repeats the last one.
                (components,) = e.pointers(7)
                places = _up_to(e, k, COMPONENTS, n_components)
                numbers = [e.value(components, place) for place in places]
            sums = [e.places(n_vectors, e.splat(a, number, lanes)) for number in numbers]
            with e.loop(0, n_terms) as t:
                rows = [e.lanes(x, t, e.plus(lane, v * lanes), vector) for v in range(n_vectors)]
                for number, slots in zip(numbers, sums, strict=True):
                    place = e.plus(e.times(number, n_terms), t)
                    scale = e.splat(c, place, lanes)
                    shift = e.splat(b, place, lanes) if squares else None
                    for row, slot in zip(rows, slots, strict=True):
                        if squares:
                            z = fma(builder, row, scale, shift)
                            e.add_product(slot, builder.fneg(z), z)
                        else:
                            e.add_product(slot, row, scale)
            for number, slots in zip(numbers, sums, strict=True):
                guard = builder.icmp_signed("<", number, n_components)
                with nullcontext() if listed else builder.if_then(guard):
                    at = e.plus(e.times(number, TILE), lane)
                    for v, slot in enumerate(slots):
                        store_at(builder, builder.load(slot), out, e.plus(at, v * lanes), size)
        return e.nothing()

    @intrinsic
    def function(
        typingctx, terms, n_terms, coefficients, offsets, constants, n_components, log_joint
    ):
        integer = types.intp
        sig = types.void(terms, integer, coefficients, offsets, constants, integer, log_joint)
        return sig, emit

    @intrinsic
    def of_listed(
        typingctx, terms, n_terms, coefficients, offsets, constants, n_listed, log_joint, components
    ):
        first = (terms, types.intp, coefficients, offsets, constants, types.intp, log_joint)
        return types.void(*first, components), emit

    return of_listed if listed else function


#: ``log_joint[k] = constants[k] + sum_t coefficients[k, t] * terms[t]``; ``offsets`` are not used.
#: Coefficients and constants are padded by :func:`pad_components`.
linear_terms = _log_densities(squares=False)

#: ``log_joint[k] = constants[k] - sum_t (coefficients[k, t] * terms[t] + offsets[k, t])**2``.
squared_terms = _log_densities(squares=True)

#: The same for the first of the components that a further argument lists.
linear_terms_of = _log_densities(squares=False, listed=True)
squared_terms_of = _log_densities(squares=True, listed=True)


def size_of_sums(n_components, n_terms, squares):
    """How many values the sums of terms take, with their padding."""
    n_terms = 2 * n_terms if squares else n_terms
    return ceil_div(n_components, COMPONENTS) * ceil_div(n_terms, _TERMS) * _BLOCK


def unpack_sums(sums, n_components, n_terms, squares):
    """Sums of terms (n_components, n_terms), and of their squares if there are any."""
    n_blocks = ceil_div(n_components, COMPONENTS)
    each = (2, _TERMS // 2) if squares else (1, _TERMS)
    sums = sums.reshape(-1, n_blocks, COMPONENTS, *each).transpose(3, 1, 2, 0, 4)
    sums = sums.reshape(each[0], n_blocks * COMPONENTS, -1)
    return sums[:, :n_components, :n_terms]


def _blocks(e, n, size):
    """How many blocks of a size hold ``n``."""
    return e.quotient(e.plus(e.plus(n, -1), size), size)


class _Ahead:
    """The tile that comes next in ``rows``, fetched a part with each block.

    A core waits for few lines of the cache at once: to fetch a tile of 32 features in one go took
    a sixth of a pass.

    Parameters
    ----------
    e : Emitter
        Of :func:`_add_terms`' function.
    n_parts
        LLVM's.
    """

    def __init__(self, e: Emitter, n_parts):
        self._e = e
        (self._rows,) = e.pointers(5)
        n_features = e.extent(5, 1)
        self._line = LINE_BYTES * 8 // e.signature.args[5].dtype.bitwidth
        n_lines = _blocks(e, e.times(n_features, TILE), self._line)
        self._n_fetched = _blocks(e, n_lines, n_parts)
        (self._at,) = e.places(1, e.times(e.args[6], n_features))

    def fetch(self):
        """Emit it for a block."""
        e = self._e
        with e.loop(0, self._n_fetched):
            at = e.builder.load(self._at)
            prefetch(e.builder, self._rows, at)
            e.builder.store(e.plus(at, self._line), self._at)


def _add_terms(squares):
    """The intrinsic that adds to sums of terms, or to these and sums of their squares."""
    wanted = _TERMS // 2 if squares else _TERMS

    def emit(context, builder, signature, args):
        align_stack(builder)
        e = Emitter(context, builder, signature, args)
        n_components, n_terms = args[1], args[3]
        g, x, s = e.pointers(0, 2, 4)
        vector = e.vector(2)
        lanes = vector.count
        wide = ir.VectorType(ir.DoubleType(), lanes)
        (place,) = e.places(1, constant(0))
        n_blocks = e.times(_blocks(e, n_terms, wanted), _blocks(e, n_components, COMPONENTS))
        ahead = _Ahead(e, n_blocks)

        with e.loop(0, n_terms, wanted) as t:
            # The padding of a block repeats the last one.
            terms = _up_to(e, t, wanted, n_terms)
            squared = []
            for number in terms if squares else ():
                values = [e.lanes(x, number, lane, vector) for lane in range(0, TILE, lanes)]
                squared.append([builder.fmul(value, value) for value in values])
            with e.loop(0, n_components, COMPONENTS) as k:
                components = _up_to(e, k, COMPONENTS, n_components)
                ahead.fetch()
                sums = [None] * _BLOCK
                for i, lane in enumerate(range(0, TILE, lanes)):
                    shares = [e.lanes(g, number, lane, vector) for number in components]
                    values = [e.lanes(x, number, lane, vector) for number in terms]
                    values += [vectors[i] for vectors in squared]
                    for n, (share, value) in enumerate(product(shares, values)):
                        if sums[n] is None:
                            sums[n] = builder.fmul(share, value)
                        else:
                            sums[n] = fma(builder, share, value, sums[n])
                at = builder.load(place)
                for n in range(0, _BLOCK, lanes):
                    total = sum_vectors(builder, sums[n : n + lanes])
                    total = total if total.type == wide else builder.fpext(total, wide)
                    e.add_at(s, e.plus(at, n), total)
                builder.store(e.plus(at, _BLOCK), place)
        return e.nothing()

    @intrinsic
    def function(typingctx, shares, n_components, terms, n_terms, sums, rows, ahead):
        integer = types.intp
        return types.void(shares, integer, terms, integer, sums, rows, integer), emit

    return function


#: Add ``sum_lanes shares[k] * terms[t]`` to float64 sums in the layout of :func:`unpack_sums`.
#: Meanwhile the tile of the array ``rows`` from row ``ahead`` on is fetched, which need not exist.
add_terms = _add_terms(squares=False)

#: The same, and the squares of the terms.
add_terms_and_squares = _add_terms(squares=True)


@intrinsic
def add_counts(typingctx, shares, n_components, counts):
    """Add the components' sums over a tile to float64 ``counts``, padded by LANES values."""
    # LLVM's own code, as a vector's worth of components is added up at once.
    sig = types.void(shares, types.intp, counts)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        n_components = args[1]
        tile, counts = e.pointers(0, 2)
        vector = e.vector(0)
        lanes = vector.count
        wide = ir.VectorType(ir.DoubleType(), lanes)
        with e.loop(0, n_components, lanes) as first:
            numbers = _up_to(e, first, lanes, n_components)
            sums = sum_vectors(builder, [_sum_tile(e, tile, number, vector) for number in numbers])
            e.add_at(counts, first, sums if sums.type == wide else builder.fpext(sums, wide))
        return e.nothing()

    return sig, codegen


@inline
def weighted_sum(weights, values):
    """The float64 sum of weights times values over a tile; a weight of zero beats -inf."""
    lanes = lanes_of(weights)
    zero = broadcast(weights.dtype.type(0), lanes)
    total = double(zero)
    for lane in range(0, TILE, lanes):
        weight = load(weights, lane, lanes)
        value = where(zero < weight, load(values, lane, lanes), zero)
        total = multiply_add(double(weight), double(value), total)
    return sum_of_lanes(total)


def _sum_tile(e, tile, number, vector):
    """The vectors of a tile's row added up, in pairs."""
    parts = [e.lanes(tile, number, lane, vector) for lane in range(0, TILE, vector.count)]
    while len(parts) > 1:
        parts = [e.builder.fadd(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


@intrinsic
def sum_tile(typingctx, values, start):
    """The float64 sum of a tile's values from ``start`` on."""
    # LLVM's own code, as the vectors, too, are added in pairs.
    dtype = values.dtype

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        (pointer,) = e.pointers(0)
        total = sum_lanes(builder, _sum_tile(e, e.at(pointer, args[1]), 0, e.vector(0)))
        return total if dtype == types.float64 else builder.fpext(total, ir.DoubleType())

    return types.float64(values, types.intp), codegen
