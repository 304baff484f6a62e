import gc
import os

import pytest
from numba.extending import overload
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
