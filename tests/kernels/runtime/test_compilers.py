import gc
import os

import pytest
from numba import njit, types
from numba.core.imputils import impl_ret_borrowed
from numba.extending import lower_builtin, overload, type_callable
from processes import run_script

from fastem.kernels.runtime.compilers import resting_collector
from fastem.kernels.runtime.compiling import kernel

_SEEN = []


def look():
    """Notes, while it is compiled, whether the collector is at work."""


@overload(look)
def _look():
    _SEEN.append(gc.isenabled())
    return lambda: None


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_rests_while_a_kernel_is_compiled(enabled):
    @kernel
    def looking():
        look()

    was = gc.isenabled()
    try:
        gc.enable() if enabled else gc.disable()
        looking()
        assert gc.isenabled() is enabled
    finally:
        gc.enable() if was else gc.disable()
    assert not any(_SEEN)


def test_the_collector_wakes_after_an_error():
    with pytest.raises(ZeroDivisionError), resting_collector(), resting_collector():
        assert not gc.isenabled()
        raise ZeroDivisionError
    assert gc.isenabled()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_the_collector_wakes_in_a_child():
    output = run_script(
        """
        import gc, os
        from fastem.kernels.runtime.compilers import resting_collector

        with resting_collector():
            pid = os.fork()
            if pid == 0:
                os._exit(0 if gc.isenabled() else 1)
            print(gc.isenabled(), os.waitpid(pid, 0)[1])
        print(gc.isenabled())
        """
    )
    assert output == "False 0\nTrue\n"


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
