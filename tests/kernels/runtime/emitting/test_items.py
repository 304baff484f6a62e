import itertools

import numpy as np
import pytest

from fastem.kernels.runtime.compiling import kernel

SHAPES = [(5,), (3, 4), (2, 3, 4)]
DTYPES = [np.float64, np.float32, np.int16, np.uint64, np.bool_, np.complex128]


@kernel
def get(array, index):
    return array[index]


@kernel
def put(array, index, value):
    array[index] = value


@kernel
def length(array):
    return len(array)


def filled(shape, dtype):
    return (np.arange(np.prod(shape)).reshape(shape) % 7).astype(dtype)


def indices_of(shape, kind):
    """All of an array's, from its beginning and, where the type has signs, from its end."""
    signed = np.dtype(kind).kind == "i"
    for index in itertools.product(*(range(-n if signed else 0, n) for n in shape)):
        yield tuple(map(kind, index)) if len(shape) > 1 else kind(index[0])


@pytest.mark.parametrize("kind", [np.intp, np.int8, np.uint64, np.uint16])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_numbers_are_read_and_written_where_numpy_has_them(shape, dtype, kind):
    array, expected = filled(shape, dtype), filled(shape, dtype)
    frozen = filled(shape, dtype)
    frozen.flags.writeable = False
    for number, index in enumerate(indices_of(shape, kind)):
        assert get(array, index) == array[index] and get(frozen, index) == frozen[index]
        value = dtype(number % 5)
        put(array, index, value)
        expected[index] = value
        np.testing.assert_array_equal(array, expected)
    assert length(array) == len(array) == length(frozen)


def test_values_of_another_type_are_cast():
    array = np.zeros((2, 2), np.float32)
    put(array, (1, 0), 3)
    put(array, (0, 1), np.float64(0.1))
    np.testing.assert_array_equal(array, np.array([[0, 0.1], [3, 0]], np.float32))


@pytest.mark.parametrize("view", [np.asfortranarray, lambda array: array[:, ::2]])
def test_other_layouts_are_left_to_numba(view):
    array = view(filled((3, 4), np.float64))
    expected = array.copy()
    put(array, (-1, 1), 100.0)
    expected[-1, 1] = 100.0
    np.testing.assert_array_equal(array, expected)
    assert get(array, (2, 1)) == 100.0 and get(array, (0, -1)) == expected[0, -1]


def test_rows_slices_and_records_are_left_to_numba():
    array = filled((3, 4), np.float64)
    np.testing.assert_array_equal(get(array, 1), array[1])
    np.testing.assert_array_equal(get(array, slice(1, 3)), array[1:3])
    put(array, 0, 5.0)
    assert (array[0] == 5.0).all() and (array[1] == [4, 5, 6, 0]).all()
    records = np.array([(1, 2.5), (3, 4.5)], [("a", np.int32), ("b", np.float64)])
    assert get(records, 1)["b"] == 4.5 and length(records) == 2


def test_arrays_without_axes_are_left_to_numba():
    array = np.array(3.0)
    assert get(array, ()) == 3.0
    put(array, (), 5.0)
    assert array == 5.0


def test_indices_are_checked_where_that_is_asked_for():
    checked = kernel(get.py_func, boundscheck=True)
    written = kernel(put.py_func, boundscheck=True)
    array = np.arange(6.0).reshape(2, 3)
    assert checked(array, (1, -3)) == 3.0
    for index in [(2, 0), (0, 3), (-3, 0), (0, -4)]:
        with pytest.raises(IndexError):
            checked(array, index)
        with pytest.raises(IndexError):
            written(array, index, 1.0)
