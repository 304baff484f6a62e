"""How every kernel is compiled: the one place for Numba's options."""

import contextlib

import numba
from numba.extending import overload

try:
    from fastem.kernels.cache import DiskCache
except (ImportError, AttributeError):  # another Numba, with other insides: compile in each process
    DiskCache = None

# `nnan` and `ninf` stay out, so that tests for NaN and infinity survive; `reassoc` stays out, so
# that a kernel loaded from the cache rounds as the one just compiled does.
_OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz", "arcp"}}


def kernel(function):
    """Compile a function at its first call and keep the machine code on disk.

    Parameters
    ----------
    function : function
        What to compile. It runs without the GIL, divides as NumPy does, and may call other
        kernels, which become part of it.

    Returns
    -------
    dispatcher
        Numba's compiled function: callable from Python and from any ``@njit`` code.
    """
    return _cached(numba.njit(**_OPTIONS)(function))


def inline(function):
    """Compile a small function that is always inlined into the kernels that call it.

    Parameters
    ----------
    function : function
        As for :func:`kernel`.

    Returns
    -------
    dispatcher
        As for :func:`kernel`.
    """
    # Without reference counts: their atomic increments on every array argument cost more than a
    # small function does. It must not allocate, then.
    return _cached(numba.njit(**_OPTIONS, forceinline=True, _nrt=False)(function))


def variant(function):
    """Register an implementation of a placeholder that kernels call, chosen by argument types.

    Parameters
    ----------
    function : function
        The placeholder. The decorated function takes its arguments' Numba types and returns the
        implementation for them, or None. Implementations are inlined and must not allocate.
    """
    return overload(function, jit_options={**_OPTIONS, "forceinline": True, "_nrt": False})


def _cached(dispatcher):
    # With NUMBA_DISABLE_JIT there is only the Python function.
    if DiskCache is not None and hasattr(dispatcher, "_cache"):
        with contextlib.suppress(Exception):
            dispatcher._cache = DiskCache(dispatcher.py_func)
    return dispatcher
