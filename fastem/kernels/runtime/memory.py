"""Memory that kernels work in.

In kernels, what is here is a rule of types and its code: ``np.empty`` is compiled like a function
for every kind of size and dtype first, in 45 ms, and again for callers with other options.
"""

import numpy as np
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_new_ref
from numba.core.typing.npydecl import parse_dtype
from numba.extending import lower_builtin, type_callable
from numba.np.arrayobj import make_array, populate_array

_LINE = 64  # bytes of a cache line


def aligned_array(shape, dtype):
    """An uninitialised array that starts on a cache line's boundary.

    Parameters
    ----------
    shape : int or tuple of int
    dtype : dtype
    """
    size = int(np.prod(shape))
    buffer = np.empty(size + _LINE // np.dtype(dtype).itemsize, dtype)
    start = (-buffer.ctypes.data % _LINE) // buffer.itemsize
    return buffer[start : start + size].reshape(shape)


def aligned_empty(size):
    """As :func:`aligned_array`, of float32."""
    return aligned_array(size, np.float32)


def aligned_empty_like(size, array):
    """As :func:`aligned_array`, with the dtype of ``array``."""
    return aligned_array(size, array.dtype)


def _extents(shape):
    """The types of a shape's extents."""
    return tuple(shape) if isinstance(shape, types.BaseTuple) else (shape,)


def _array_of(shape, dtype):
    """The type of such an array."""
    extents = _extents(shape)
    if all(isinstance(extent, types.Integer) for extent in extents):
        return types.Array(dtype, len(extents), "C")
    return None


@type_callable(aligned_array)
def _type_array(context):
    return lambda shape, dtype: _array_of(shape, parse_dtype(dtype))


@type_callable(aligned_empty)
def _type_empty(context):
    return lambda size: _array_of(size, types.float32)


@type_callable(aligned_empty_like)
def _type_empty_like(context):
    return lambda size, array: _array_of(size, array.dtype)


@lower_builtin(aligned_array, types.Any, types.Any)
@lower_builtin(aligned_empty, types.Any)
@lower_builtin(aligned_empty_like, types.Any, types.Any)
def _allocate(context, builder, signature, args):
    shape, result = signature.args[0], signature.return_type
    values = args[:1]
    if isinstance(shape, types.BaseTuple):
        values = cgutils.unpack_tuple(builder, args[0], len(shape))
    extents = [
        context.cast(builder, value, kind, types.intp)
        for value, kind in zip(values, _extents(shape), strict=True)
    ]
    scalar = context.get_data_type(result.dtype)
    size = context.get_abi_sizeof(scalar)
    n_bytes, strides = context.get_constant(types.intp, size), []
    for extent in reversed(extents):
        strides.insert(0, n_bytes)
        n_bytes = builder.mul(n_bytes, extent)
    block = context.nrt.meminfo_alloc_aligned(builder, n_bytes, _LINE)
    data = context.nrt.meminfo_data(builder, block)
    array = make_array(result)(context, builder)
    populate_array(
        array,
        data=builder.bitcast(data, scalar.as_pointer()),
        shape=extents,
        strides=strides,
        itemsize=size,
        meminfo=block,
    )
    return impl_ret_new_ref(context, builder, result, array._getvalue())
