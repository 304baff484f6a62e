"""How every kernel is compiled: the one place for Numba's options."""

import contextlib
import functools
import warnings
from typing import Any

import numba
from numba.core.compiler import Compiler
from numba.extending import overload, register_jitable

# The latest whose insides the quicker compilers know. A later one compiles by itself, which takes
# longer.
_KNOWN_NUMBA = (0, 68)
InlinedCompiler: Any
KernelCompiler: Any
compiling_shared: Any
if numba.version_info.short <= _KNOWN_NUMBA:
    from fastem.kernels.runtime.apart import compiling_shared
    from fastem.kernels.runtime.compilers import InlinedCompiler, KernelCompiler
else:
    InlinedCompiler = KernelCompiler = Compiler
    compiling_shared = contextlib.nullcontext

cache: Any
try:
    from fastem.kernels.runtime import cache
except (ImportError, AttributeError) as error:  # another Numba, with other insides
    cache = None
    warnings.warn(
        "fastem can't keep compiled kernels on disk, and compiles them in each process: its cache "
        f"doesn't know Numba {numba.__version__} ({error})",
        RuntimeWarning,
        stacklevel=2,
    )

# `nnan` and `ninf` stay out, so that tests for NaN and infinity survive; `reassoc` stays out, so
# that a kernel loaded from the cache rounds as the one just compiled does.
_OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz", "arcp"}}

# Without reference counts, whose atomic increments for every array argument cost more than a small
# function does (it must not allocate, then); and without the wrappers for calls from Python and C,
# each of which would compile another copy of the body.
_INLINED = {
    "forceinline": True,
    "_nrt": False,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "pipeline_class": InlinedCompiler,
}


def _compiled(function, **options):
    if numba.config.DISABLE_JIT:
        raise ImportError(
            "fastem's kernels are compiled by Numba, which NUMBA_DISABLE_JIT has switched off: "
            "unset it before fastem is used"
        )
    return numba.njit(**_OPTIONS, no_cfunc_wrapper=True, **options)(function)


# Of Numba's threads, `prange` alone: array expressions would be compiled for seconds.
_PARALLEL = {
    "prange": True,
    "comprehension": False,
    "reduction": False,
    "inplace_binop": False,
    "setitem": False,
    "numpy": False,
    "stencil": False,
    "fusion": False,
}


def kernel(function, **options):
    """Compile a function at its first call and keep the machine code on disk.

    Parameters
    ----------
    function : function
        What to compile. It runs without the GIL, divides as NumPy does, and may call other
        kernels, which become part of it.
    **options
        Further ones of Numba's.

    Returns
    -------
    dispatcher
        Numba's compiled function: callable from Python and from any ``@njit`` code.
    """
    dispatcher = _compiled(function, pipeline_class=KernelCompiler, **options)
    if cache is not None:
        if hasattr(dispatcher, "_cache"):
            dispatcher._cache = cache.DiskCache(function)
        else:
            cache.say_once(f"Numba {numba.__version__} has no place for another cache than its own")
    return dispatcher


def parallel_kernel(function):
    """As :func:`kernel`, with ``prange`` on Numba's threads."""
    return kernel(function, parallel=_PARALLEL)


def inline(function):
    """Compile a small function that is always inlined into the kernels that call it.

    Parameters
    ----------
    function : function
        As for :func:`kernel`.

    Returns
    -------
    function
        The function itself: called from Python it is interpreted.
    """
    return register_jitable(**_OPTIONS, **_INLINED)(function)


def variant(function, of):
    """Register what a placeholder does in calls whose first argument is of a class.

    Parameters
    ----------
    function : function
        The placeholder, which kernels call. What is decorated has its parameters, is inlined into
        the kernels, and must not allocate.
    of : class or tuple of classes
        NamedTuples, or Numba's types.
    """
    classes = of if isinstance(of, tuple) else (of,)

    def register(implementation):
        @functools.wraps(implementation)  # whose parameters Numba takes for those of `choose`
        def choose(first, *others, **named):
            if getattr(first, "instance_class", None) in classes or isinstance(first, classes):
                return implementation
            return None

        overload(function, jit_options={**_OPTIONS, **_INLINED})(choose)
        return implementation

    return register


def foreign(function, checked=False):
    """Compile a user's function, to become part of its callers. It isn't kept on disk.

    Parameters
    ----------
    function : function
        May allocate, unlike what :func:`inline` takes.
    checked : bool
        Whether an index out of range raises IndexError.

    Returns
    -------
    dispatcher
    """
    return _compiled(function, forceinline=True, boundscheck=checked)


def body(function):
    """Compile a function that kernels call by its address; it isn't kept on disk.

    Parameters
    ----------
    function : function
        As for :func:`inline`, it must not allocate; what it calls may.

    Returns
    -------
    dispatcher
    """
    return _compiled(function, _nrt=False)
