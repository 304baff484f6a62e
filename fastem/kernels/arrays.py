"""Arrays as the kernels take them."""

import numpy as np

from fastem.kernels.compiling import inline


def read_only(array):
    """A read-only view, so that one compiled signature serves writeable and read-only input."""
    view = np.asarray(array).view(np.ndarray)
    view.flags.writeable = False
    return view


@inline
def write_row(values, array, row):
    """``array[row] = values``, of which NumPy's assignment takes a second or so to compile."""
    for i in range(len(values)):
        array[row, i] = values[i]
