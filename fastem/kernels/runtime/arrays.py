"""Arrays as the kernels take them."""

import mmap
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from fastem.kernels.runtime.chunks import round_up
from fastem.kernels.runtime.compiling import inline

# Arrays of so many bytes get huge pages, as NumPy's do.
_LARGE = 1 << 22
_PAGES = 1 << 16  # bytes of one or several pages, on any machine
_HUGE = getattr(mmap, "MADV_HUGEPAGE", None)  # Linux has it


def read_only(array):
    """A read-only view, so that one compiled signature serves writeable and read-only input."""
    view = np.asarray(array).view(np.ndarray)
    view.flags.writeable = False
    return view


def as_weights(sample_weight):
    """Rows' weights in float64, read-only; an empty array in place of None."""
    return read_only(
        np.empty(0) if sample_weight is None else np.asarray(sample_weight, np.float64)
    )


def unless_ones(sample_weight):
    """Weights, or None in place of ones: mixtures' passes then take less time, to the same bits."""
    if sample_weight is None or not len(sample_weight) or sample_weight[0] != 1:
        return sample_weight
    return None if np.all(np.equal(sample_weight, 1)) else sample_weight


class Outputs(NamedTuple):
    """What a pass that evaluates rows writes to: empty where it isn't wanted.

    Parameters
    ----------
    log_density : ndarray of shape (n_rows,)
    labels : ndarray of shape (n_rows,), int32 or int64
    responsibilities, log_joint : ndarray of shape (n_rows, n_components)
    """

    log_density: np.ndarray
    labels: np.ndarray
    responsibilities: np.ndarray
    log_joint: np.ndarray


def wanted(log_density=None, labels=None, responsibilities=None, log_joint=None, dtype=np.float64):
    """Outputs with empty arrays in place of None."""
    none = np.empty((0, 0), dtype)
    return Outputs(
        np.empty(0, dtype) if log_density is None else log_density,
        np.empty(0, np.int64) if labels is None else labels,
        none if responsibilities is None else responsibilities,
        none if log_joint is None else log_joint,
    )


@intrinsic
def _ask_for_huge_pages(typingctx, address, size):
    """Tell Linux that memory is better given in pages of megabytes; elsewhere nothing."""

    def codegen(context, builder, signature, args):
        if _HUGE is not None:
            place, number = ir.IntType(8).as_pointer(), ir.IntType(32)
            kind = ir.FunctionType(number, [place, args[1].type, number])
            function = cgutils.get_or_insert_function(builder.module, kind, "madvise")
            address = builder.inttoptr(args[0], place)
            builder.call(function, [address, args[1], ir.Constant(number, _HUGE)])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen


@register_jitable
def large_empty(shape, dtype):
    """In compiled code: ``np.empty`` for what may be large.

    In pages of 4 KiB it took as long to get memory for the distances of ``squared_euclidean`` as
    to compute them.
    """
    array = np.empty(shape, dtype)
    if array.nbytes >= _LARGE:
        start = round_up(array.ctypes.data, _PAGES)
        _ask_for_huge_pages(start, array.ctypes.data + array.nbytes - start)
    return array


@inline
def write_row(values, array, row):
    """``array[row] = values``, of which NumPy's assignment takes a second or so to compile."""
    for i in range(len(values)):
        array[row, i] = values[i]
