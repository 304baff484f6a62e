import numpy as np
import pytest

from fastem.loop.reused import Reused


def test_an_array_is_given_out_again_when_nobody_holds_it():
    reused = Reused()
    first, second = reused.empty((3, 4)), reused.empty((3, 4))
    assert first is not second
    addresses = {first.ctypes.data, second.ctypes.data}
    first[:] = 1.0
    kept = {"view": first[1:], "second": second}
    del first, second
    other = reused.empty((3, 4))
    assert other.ctypes.data not in addresses
    assert (kept["view"] == 1.0).all()
    del kept["view"], kept["second"]
    again = [reused.empty((3, 4)) for _ in range(3)]
    assert addresses < {array.ctypes.data for array in again}
    assert len({array.ctypes.data for array in [*again, other]}) == 4


def test_another_shape_is_another_array():
    reused = Reused()
    address = reused.empty((6, 2)).ctypes.data
    assert reused.empty((3, 4)).shape == (3, 4)
    assert reused.empty((6, 2)).ctypes.data == address


def test_what_is_lent_is_given_out_when_nobody_else_holds_it():
    reused = Reused()
    array = np.zeros((3, 4))
    number = id(array)
    reused.lend(array)
    assert id(reused.empty((3, 4))) != number
    del array
    assert id(reused.empty((3, 4))) == number


@pytest.mark.parametrize("array", [np.zeros((3, 4), np.float32), np.zeros((6, 4))[:3]])
def test_views_and_other_dtypes_are_not_lent(array):
    reused = Reused()
    reused.lend(array)
    number = id(array)
    del array
    found = reused.empty((3, 4))
    assert id(found) != number
    assert found.dtype == np.float64
