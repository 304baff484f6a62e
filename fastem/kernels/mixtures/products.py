"""The two matrix products of a pass, for log-densities that are linear in a few terms of a row.

*Terms* are what a tile holds of its rows: the features, and maybe more, ``terms[t * TILE + lane]``.
The first product makes log-densities of terms and coefficients, the second sums of terms of
responsibilities and terms. Both keep a block of sums in registers.
"""

from contextlib import nullcontext

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.vectors.emit import (
    constant,
    data_pointer,
    fma,
    load_at,
    splat,
    store_at,
    sum_lanes,
    sum_vectors,
)
from fastem.kernels.vectors.machine import TILE, VECTOR_BYTES, WIDE_REGISTER_FILE, vector_lanes

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


def _range(builder, stop, step):
    stop = constant(stop) if isinstance(stop, int) else stop
    return cgutils.for_range_slice(builder, constant(0), stop, constant(step), ir.IntType(64))


def _at(builder, number, lane):
    """Where a lane of a tile's row of values is."""
    return builder.add(builder.mul(number, constant(TILE)), lane)


def up_to(builder, numbers, n):
    """The numbers where they are below ``n``, and ``n - 1`` for the others."""
    last = builder.sub(n, constant(1))
    return [
        builder.select(builder.icmp_signed("<", number, last), number, last) for number in numbers
    ]


def _log_densities(squares, listed=False):
    """The intrinsic for terms times coefficients, or for squares of scaled differences.

    Of the first components, or of those that are listed.
    """

    def emit(context, builder, signature, args):
        # as in tile_nearest.py
        builder.function.attributes.alignstack = VECTOR_BYTES
        x, c, b, a, out = (
            data_pointer(context, builder, signature.args[i], args[i]) for i in (0, 2, 3, 4, 6)
        )
        n_terms, n_components = args[1], args[5]
        if listed:
            numbers_of = data_pointer(context, builder, signature.args[7], args[7])
        lanes = vector_lanes(signature.args[0].dtype)
        size = signature.args[0].dtype.bitwidth // 8
        vector = ir.VectorType(x.type.pointee, lanes)
        n_vectors = min(_VECTORS, TILE // lanes)

        with (
            _range(builder, TILE, n_vectors * lanes) as (lane, _),
            _range(builder, n_components, COMPONENTS) as (k, _),
        ):
            numbers = [builder.add(k, constant(i)) for i in range(COMPONENTS)]
            if listed:
                # The padding of a block repeats the last one.
                numbers = [
                    builder.load(builder.gep(numbers_of, [number]))
                    for number in up_to(builder, numbers, n_components)
                ]
            sums = []
            for number in numbers:
                start = splat(builder, builder.load(builder.gep(a, [number])), lanes)
                sums.append([cgutils.alloca_once(builder, vector) for _ in range(n_vectors)])
                for slot in sums[-1]:
                    builder.store(start, slot)
            with _range(builder, n_terms, 1) as (t, _):
                at = _at(builder, t, lane)
                rows = [
                    load_at(builder, x, builder.add(at, constant(v * lanes)), vector, VECTOR_BYTES)
                    for v in range(n_vectors)
                ]
                for number, slots in zip(numbers, sums, strict=True):
                    place = builder.add(builder.mul(number, n_terms), t)
                    scale = splat(builder, builder.load(builder.gep(c, [place])), lanes)
                    if squares:
                        shift = splat(builder, builder.load(builder.gep(b, [place])), lanes)
                    for row, slot in zip(rows, slots, strict=True):
                        total = builder.load(slot)
                        if squares:
                            z = fma(builder, row, scale, shift)
                            total = fma(builder, builder.fneg(z), z, total)
                        else:
                            total = fma(builder, row, scale, total)
                        builder.store(total, slot)
            for number, slots in zip(numbers, sums, strict=True):
                guard = builder.icmp_signed("<", number, n_components)
                with nullcontext() if listed else builder.if_then(guard):
                    at = _at(builder, number, lane)
                    for v, slot in enumerate(slots):
                        place = builder.add(at, constant(v * lanes))
                        store_at(builder, builder.load(slot), out, place, size)
        return context.get_dummy_value()

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


def _add_terms(squares):
    """The intrinsic that adds to sums of terms, or to these and sums of their squares."""
    wanted = _TERMS // 2 if squares else _TERMS

    def emit(context, builder, signature, args):
        builder.function.attributes.alignstack = VECTOR_BYTES
        g, x, s = (data_pointer(context, builder, signature.args[i], args[i]) for i in (0, 2, 4))
        n_components, n_terms = args[1], args[3]
        lanes = vector_lanes(signature.args[2].dtype)
        vector = ir.VectorType(x.type.pointee, lanes)
        wide = ir.VectorType(ir.DoubleType(), lanes)
        place = cgutils.alloca_once_value(builder, constant(0))
        builder.store(constant(0), place)

        def rows_from(first, count, n):
            # The padding of a block repeats the last one.
            return up_to(builder, [builder.add(first, constant(i)) for i in range(count)], n)

        with (
            _range(builder, n_terms, wanted) as (t, _),
            _range(builder, n_components, COMPONENTS) as (k, _),
        ):
            components = rows_from(k, COMPONENTS, n_components)
            terms = rows_from(t, wanted, n_terms)
            sums = [None] * _BLOCK
            for lane in range(0, TILE, lanes):

                def load_rows(pointer, numbers, lane=lane):
                    places = [_at(builder, number, constant(lane)) for number in numbers]
                    return [load_at(builder, pointer, p, vector, VECTOR_BYTES) for p in places]

                shares, values = load_rows(g, components), load_rows(x, terms)
                if squares:
                    values += [builder.fmul(value, value) for value in values]
                for i, share in enumerate(shares):
                    for j, value in enumerate(values):
                        n = i * _TERMS + j
                        if sums[n] is None:
                            sums[n] = builder.fmul(share, value)
                        else:
                            sums[n] = fma(builder, share, value, sums[n])
            at = builder.load(place)
            for n in range(_BLOCK // lanes):
                total = sum_vectors(builder, sums[n * lanes : (n + 1) * lanes])
                total = total if total.type == wide else builder.fpext(total, wide)
                here = builder.add(at, constant(n * lanes))
                old = load_at(builder, s, here, wide, 8)
                store_at(builder, builder.fadd(old, total), s, here, 8)
            builder.store(builder.add(at, constant(_BLOCK)), place)
        return context.get_dummy_value()

    @intrinsic
    def function(typingctx, shares, n_components, terms, n_terms, sums):
        return types.void(shares, types.intp, terms, types.intp, sums), emit

    return function


#: Add ``sum_lanes shares[k] * terms[t]`` to float64 sums in the layout of :func:`unpack_sums`.
add_terms = _add_terms(squares=False)

#: The same, and the squares of the terms.
add_terms_and_squares = _add_terms(squares=True)


@intrinsic
def weighted_sum(typingctx, weights, values):
    """The float64 sum of weights times values over a tile; a weight of zero beats -inf."""
    dtype = weights.dtype

    def codegen(context, builder, signature, args):
        w, v = (data_pointer(context, builder, signature.args[i], args[i]) for i in (0, 1))
        lanes = vector_lanes(dtype)
        vector = ir.VectorType(w.type.pointee, lanes)
        wide = ir.VectorType(ir.DoubleType(), lanes)
        zero = ir.Constant(vector, [0.0] * lanes)
        total = ir.Constant(wide, [0.0] * lanes)
        for lane in range(0, TILE, lanes):
            weight = load_at(builder, w, constant(lane), vector, VECTOR_BYTES)
            value = load_at(builder, v, constant(lane), vector, VECTOR_BYTES)
            counts = builder.fcmp_unordered("!=", weight, zero)
            value = builder.select(counts, value, zero)
            if vector != wide:
                weight, value = builder.fpext(weight, wide), builder.fpext(value, wide)
            total = fma(builder, weight, value, total)
        return sum_lanes(builder, total)

    return types.float64(weights, values), codegen


@intrinsic
def sum_tile(typingctx, values, start):
    """The float64 sum of a tile's values from ``start`` on."""
    dtype = values.dtype

    def codegen(context, builder, signature, args):
        pointer = builder.gep(data_pointer(context, builder, values, args[0]), [args[1]])
        lanes = vector_lanes(dtype)
        vector = ir.VectorType(pointer.type.pointee, lanes)
        parts = [
            load_at(builder, pointer, constant(lane), vector, VECTOR_BYTES)
            for lane in range(0, TILE, lanes)
        ]
        while len(parts) > 1:
            parts = [builder.fadd(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        total = sum_lanes(builder, parts[0])
        return total if dtype == types.float64 else builder.fpext(total, ir.DoubleType())

    return types.float64(values, types.intp), codegen
