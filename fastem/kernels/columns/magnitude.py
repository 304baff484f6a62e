"""The largest magnitude of an array's values."""

import numpy as np

from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.vector import broadcast, greater, load, store

_CHUNK_VALUES = 1 << 18
_LANES = 8


@kernel
def chunk_magnitudes(tickets, n_chunks, values, largest):
    """Each chunk's largest magnitude.

    Parameters
    ----------
    values : float array of shape (n_values,)
    largest : array of shape (n_chunks,), in the values' dtype
    """
    size = len(values)
    lanes = np.empty(_LANES, values.dtype)
    zero = broadcast(values.dtype.type(0), _LANES)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start, stop = chunk * _CHUNK_VALUES, min((chunk + 1) * _CHUNK_VALUES, size)
        whole = start + (stop - start) // _LANES * _LANES
        found = zero
        for i in range(start, whole, _LANES):
            value = load(values, i, _LANES)
            found = greater(found, greater(value, zero - value))
        store(found, lanes, 0)
        magnitude = values.dtype.type(0)
        for lane in range(_LANES):
            magnitude = max(magnitude, lanes[lane])
        for i in range(whole, stop):
            magnitude = max(magnitude, abs(values[i]))
        largest[chunk] = magnitude


def largest_magnitude(X: np.ndarray) -> float:
    """The largest magnitude of a C-contiguous array without NaN; 0 if it is empty."""
    values = read_only(X).reshape(-1)
    n_chunks = ceil_div(len(values), _CHUNK_VALUES)
    largest = np.zeros(max(n_chunks, 1), X.dtype)
    run(chunk_magnitudes, n_chunks, values, largest)
    return float(largest.max())
