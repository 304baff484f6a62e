import numpy as np
import pytest

from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.memory import aligned_array, aligned_empty, aligned_empty_like


@kernel
def arrays(n, m, like):
    return (
        aligned_array(n, np.int32),
        aligned_array((n, m), np.float64),
        aligned_array((3, 2), like.dtype),
        aligned_empty(5),
        aligned_empty(n),
        aligned_empty_like(m, like),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "m"), [(0, 0), (1, 3), (7, 100)])
@pytest.mark.parametrize("function", [arrays, arrays.py_func])
def test_shapes_dtypes_and_cache_lines(function, n, m, dtype):
    found = function(n, np.int32(m), np.zeros(1, dtype))
    shapes = [(n,), (n, m), (3, 2), (5,), (n,), (m,)]
    dtypes = [np.int32, np.float64, dtype, np.float32, np.float32, dtype]
    for array, shape, wanted in zip(found, shapes, dtypes, strict=True):
        assert array.shape == shape
        assert array.dtype == wanted
        assert array.flags.c_contiguous
        assert array.size == 0 or array.ctypes.data % 64 == 0


def test_each_array_has_memory_of_its_own():
    found = arrays(40, 30, np.zeros(1))
    for number, array in enumerate(found):
        array[:] = number
    for number, array in enumerate(found):
        assert (array == number).all()


def test_more_than_there_is():
    with pytest.raises(MemoryError):
        arrays(1 << 58, 1, np.zeros(1))
