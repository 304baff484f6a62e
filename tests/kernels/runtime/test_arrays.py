import sys
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from fastem.kernels.runtime.arrays import large_empty


@njit
def floats(shape):
    return large_empty(shape, np.float32)


@njit
def like(X):
    return large_empty(X.shape, X.dtype)


@pytest.mark.parametrize("size", [0, 1, 1000, (1 << 20) - 1, 1 << 20, (1 << 22) + 3])
def test_large_empty(size):
    X = floats(size)
    assert X.shape == (size,)
    assert X.dtype == np.float32
    X[:] = 1.0
    assert X.sum(dtype=float) == size
    Y = like(X.astype(np.float64).reshape(1, size))
    assert Y.shape == (1, size)
    assert Y.dtype == np.float64
    Y[:] = 2.0
    assert Y.sum() == 2.0 * size


def asks_for_huge_pages(array):
    """Whether Linux was told so for the pages in an array's middle."""
    address = array.ctypes.data + array.nbytes // 2
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, *others = line.split()
        if first == "VmFlags:" and inside:
            return "hg" in others
        if "-" in first:
            start, stop = (int(end, 16) for end in first.split("-"))
            inside = start <= address < stop
    raise AssertionError("no memory there")


def test_huge_pages():
    if sys.platform != "linux":
        assert floats(1 << 25).shape == (1 << 25,)
        return
    # As NumPy does, which leaves it where the kernel can't.
    assert asks_for_huge_pages(floats(1 << 25)) == asks_for_huge_pages(np.empty(1 << 25))
