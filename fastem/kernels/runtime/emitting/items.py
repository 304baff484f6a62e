"""Items of arrays, for each of which Numba lays the whole array on the stack first."""

import operator

from numba.core import types
from numba.np.arrayobj import fix_integer_index, load_item, store_item


def array_code(context, function, sig):
    """What emits a call's code if it is for a number in an array, or an array's length, else None.

    Parameters
    ----------
    context : numba.core.cpu.CPUContext
    function : numba type or str
    sig : numba.core.typing.Signature
    """
    emit = _CODES.get(getattr(function, "typing_key", None))
    if emit is None or not _is_plain(sig.args[0]):
        return None
    if emit is not _length and not _is_item(context, *sig.args[:2]):
        return None
    return lambda builder, values, loc=None: emit(context, builder, sig, *values)


def _is_plain(kind):
    if type(kind) is not types.Array or kind.layout != "C":
        return False
    return isinstance(kind.dtype, types.Number | types.Boolean)


def _is_item(context, kind, index):
    if context.enable_boundscheck:
        return False
    kinds = _kinds(index)
    return len(kinds) == kind.ndim > 0 and all(isinstance(one, types.Integer) for one in kinds)


def _kinds(index):
    return tuple(index) if isinstance(index, types.BaseTuple) else (index,)


def _length(context, builder, sig, array):
    return _extent(context, builder, sig.args[0], array, 0)


def _get(context, builder, sig, array, index):
    place = _place(context, builder, sig, array, index)
    return load_item(context, builder, sig.args[0], place)


def _set(context, builder, sig, array, index, value):
    place = _place(context, builder, sig, array, index)
    value = context.cast(builder, value, sig.args[2], sig.args[0].dtype)
    store_item(context, builder, sig.args[0], value, place)


_CODES = {operator.getitem: _get, operator.setitem: _set, len: _length}


def _extent(context, builder, kind, array, axis):
    shape = context.data_model_manager[kind].get_field_position("shape")
    return builder.extract_value(array, [shape, axis])


def _place(context, builder, sig, array, index):
    """The address of an item."""
    kind, index_kind = sig.args[:2]
    axes = range(kind.ndim)
    indices = [index]
    if isinstance(index_kind, types.BaseTuple):
        indices = [builder.extract_value(index, axis) for axis in axes]
    shape = [_extent(context, builder, kind, array, axis) for axis in axes]
    number = None
    for axis, one in enumerate(_kinds(index_kind)):
        value = fix_integer_index(context, builder, one, indices[axis], shape[axis])
        for extent in shape[axis + 1 :]:
            value = builder.mul(value, extent)
        number = value if number is None else builder.add(number, value)
    data = context.data_model_manager[kind].get_field_position("data")
    return builder.gep(builder.extract_value(array, data), [number])
