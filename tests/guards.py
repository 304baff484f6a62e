"""Arrays in the midst of guard padding: vector code bypasses NUMBA_BOUNDSCHECK."""

import numpy as np


class Guarded:
    """A copy of an array, on a cache line's boundary, between margins of NaN or of -77.

    What a kernel reads out of bounds spoils its results; what it writes there, ``intact`` tells.
    """

    def __init__(self, array):
        array = np.asarray(array)
        margin = 4096
        sentinel = np.array(np.nan if array.dtype.kind == "f" else -77).astype(array.dtype)
        self._buffer = np.full(array.size + 2 * margin, sentinel, array.dtype)
        aligned = (-self._buffer.ctypes.data % 64) // array.itemsize
        start = margin // 2 + aligned
        self._inside = slice(start, start + array.size)
        self.array = self._buffer[self._inside].reshape(array.shape)
        self.array[...] = array
        self._before = self._margins()

    def _margins(self):
        start, stop = self._inside.start, self._inside.stop
        return self._buffer[:start].tobytes() + self._buffer[stop:].tobytes()

    def intact(self):
        return self._margins() == self._before
