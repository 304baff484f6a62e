"""Arrays as the kernels take them."""

from typing import NamedTuple

import numpy as np

from fastem.kernels.runtime.compiling import inline


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


@inline
def write_row(values, array, row):
    """``array[row] = values``, of which NumPy's assignment takes a second or so to compile."""
    for i in range(len(values)):
        array[row, i] = values[i]
