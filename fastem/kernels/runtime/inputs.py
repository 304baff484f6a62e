"""Two matrices whose rows are compared, as Python or a user's compiled code passes them."""

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic, overload

from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.linking import linked


def real_rows(X, name):
    """A 2-D array of real numbers; a ValueError if it is none."""
    X = np.asarray(X)
    if X.dtype.kind not in "biufO":
        raise ValueError(f"{name} must hold real numbers, not {X.dtype}")
    if X.ndim != 2:
        raise ValueError(f"{name} must be a 2-D array of rows, got {X.ndim} dimension(s)")
    return X


@kernel
def _check_shapes(X, Y, some):
    if X.shape[1] != Y.shape[1]:
        raise ValueError("X and Y must have the same number of features")
    if X.shape[1] == 0:
        raise ValueError("X and Y must have at least one feature")
    if some and len(Y) == 0:
        raise ValueError("Y must have at least one row")


def as_pair(X, Y, some=False):
    """Both as C-contiguous arrays of one dtype that the kernels are compiled for.

    Copies only what is not. With ``some``, ``Y`` must have rows.
    """
    X, Y = real_rows(X, "X"), real_rows(Y, "Y")
    dtype = np.float32 if X.dtype == Y.dtype == np.float32 else np.float64
    try:
        X, Y = (read_only(np.require(array, dtype, ["C", "A"])) for array in (X, Y))
    except (TypeError, ValueError) as error:  # objects that are no numbers
        raise ValueError(f"X and Y must hold real numbers: {error}") from error
    _check_shapes(X, Y, some)
    return X, Y


@intrinsic
def _as_read_only(typingctx, array):
    result = types.Array(array.dtype, array.ndim, "C", readonly=True)

    def codegen(context, builder, signature, args):
        return impl_ret_borrowed(context, builder, result, args[0])

    return result(array), codegen


@overload(read_only)
def _read_only(array):
    return lambda array: _as_read_only(array)


def convert(array, other):
    """In compiled code: an array as the kernels take it, of the two arrays' common dtype."""
    raise NotImplementedError("for kernels only")


@overload(convert)
def _convert_array(array, other):
    dtype = types.float32 if array.dtype == other.dtype == types.float32 else types.float64
    if array.layout == "C" and array.aligned and array.dtype == dtype:
        return lambda array, other: read_only(array)
    return lambda array, other: read_only(np.ascontiguousarray(array.astype(dtype)))


@overload(as_pair)
def _as_pair(X, Y, some=False):
    def implementation(X, Y, some=False):
        X, Y = convert(X, Y), convert(Y, X)
        _check_shapes(X, Y, some)
        return X, Y

    return implementation


def check_numbers(function, array):
    """Refuse Numba's type of an array whose values its compiled code can't compute with."""
    real = isinstance(array.dtype, types.Float | types.Integer | types.Boolean)
    if not real or array.dtype == types.float16:
        raise TypingError(
            f"{function.__name__} takes real numbers, float32, float64 or integers, "
            f"not {array.dtype}"
        )


def compiled_as(function, body, converted=True):
    """Let compiled code that calls ``function(X, Y)`` run the kernel ``body``.

    With ``converted``, arrays are brought to what :func:`convert` returns, so that one compiled
    kernel serves all layouts and integers.
    """

    call = linked(body)

    @overload(function)
    def implementation(X, Y):
        for array in (X, Y):
            if not isinstance(array, types.Array) or array.ndim != 2:
                raise TypingError(f"{function.__name__} takes two 2-D arrays, not {X} and {Y}")
            check_numbers(function, array)
        if converted:
            return lambda X, Y: call((convert(X, Y), convert(Y, X)))
        return lambda X, Y: call((X, Y))
