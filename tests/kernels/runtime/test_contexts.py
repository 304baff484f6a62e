import numpy as np
import pytest
from numba import njit, types
from numba.core import event
from numba.core.cpu import CPUContext
from numba.core.imputils import impl_ret_borrowed
from numba.core.registry import cpu_target
from numba.extending import lower_builtin, type_callable

from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.vectors.vector import lanes_of, lowest_of


def extremes(a, b, c):
    return min(a, b), max(a, b), min(a, b, c), max(c, b, a), max(a, 2), min(1.5, c)


NUMBERS = [(1, 2, 3), (3.5, -2.0, 1.0), (2, 1.5, np.float32(7)), (np.nan, 1.0, 2.0)]
NUMBERS += [(1.0, np.nan, 2.0), (np.int32(-3), 4, np.uint8(5)), (0.0, -0.0, np.nan)]


@pytest.mark.parametrize("numbers", NUMBERS)
def test_the_least_and_greatest_number_are_pythons(numbers):
    compiled = kernel(extremes)
    for result, expected in zip(compiled(*numbers), extremes(*numbers), strict=True):
        np.testing.assert_equal(float(result), float(expected))
        assert np.signbit(result) == np.signbit(expected)


def test_the_least_number_of_arrays_and_tuples():
    compiled = kernel(lambda values: (min(values), max(*values)))
    assert compiled((3, 1, 2)) == (1, 3)


class _Compiled(event.Listener):
    """Names of the functions that are compiled."""

    def __init__(self):
        self.names = []

    def on_start(self, event):
        self.names.append(event.data["dispatcher"].py_func.__name__)

    def on_end(self, event):
        """Nothing to note."""


def test_numbers_and_constants_compile_no_function():
    @kernel
    def whole(values, a, b):
        return min(a, b) * lanes_of(values) + max(a, b, 3) + lowest_of(values)

    listener = _Compiled()
    with event.install_listener("numba:compile", listener):
        assert whole(np.zeros(2), 2, 5) == np.finfo(float).min
    assert listener.names == ["whole"]


def test_what_users_compile_is_left_to_numba():
    def least(a, b):
        return min(a, b)

    kernel(least)(np.int16(1), np.int16(2))
    listener = _Compiled()
    with event.install_listener("numba:compile", listener):
        assert njit(least)(np.int16(1), np.int16(2)) == 1
    assert listener.names[0] == "least" and len(listener.names) > 1
    assert type(cpu_target.target_context) is CPUContext


_RESOLVED = []


def same(value):
    """Notes whenever Numba asks what a call returns."""


@type_callable(same)
def _type_same(context):
    def typer(value):
        _RESOLVED.append(value)
        return value

    return typer


@lower_builtin(same, types.Any)
def _lower_same(context, builder, signature, args):
    return impl_ret_borrowed(context, builder, signature.return_type, args[0])


def _asks_often(value):
    for _ in range(3):
        value = same(same(value) + same(value))
    return value


@pytest.mark.parametrize("value", [1.5, 2])
def test_what_a_call_returns_is_found_out_once(value):
    """For each type that it is called with, however often it is called, and inferred in rounds."""
    compiled = kernel(_asks_often)
    _RESOLVED.clear()
    assert compiled(value) == 8 * value
    assert len(_RESOLVED) == len(set(_RESOLVED))
    _RESOLVED.clear()
    assert njit(_asks_often)(value) == 8 * value
    assert len(_RESOLVED) > len(set(_RESOLVED))
