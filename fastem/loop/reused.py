"""Arrays that are written anew as soon as nobody holds them."""

import sys

import numpy as np


def _holders(arrays, i):
    return sys.getrefcount(arrays[i])


# Of an array that is in a list and nowhere else, as this interpreter counts.
_NONE = _holders([np.empty(0)], 0)


class Reused:
    """Arrays of float64 as ``numpy.empty`` makes them, given out again when nobody holds them.

    Nor a view of them: the interpreter's reference counts tell.

    An iteration's new centres are as large as those before the last, which are forgotten then. The
    system takes up to 0.25 s for the pages of a new array of 480 MB, longer than a pass over rows.
    """

    def __init__(self):
        self._arrays = []

    def lend(self, array: np.ndarray) -> None:
        """Give out this array, too, if it is float64 and has memory of its own."""
        if array.dtype == np.float64 and array.flags.carray and array.flags.owndata:
            self._arrays.append(array)

    def empty(self, shape: tuple[int, ...]) -> np.ndarray:
        """An array whose values are anything."""
        for i in range(len(self._arrays)):
            if self._arrays[i].shape == shape and _holders(self._arrays, i) == _NONE:
                return self._arrays[i]
        array = np.empty(shape)
        self._arrays.append(array)
        return array
