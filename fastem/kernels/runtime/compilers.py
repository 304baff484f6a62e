"""Numba's compiler, without what a first fit would wait for in vain."""

import contextlib
import gc
import os

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.compiler_lock import global_compiler_lock


def _wake_collector():
    global _resting
    if _resting:
        _resting = False
        gc.enable()


_resting = False
if hasattr(os, "register_at_fork"):
    # Another thread may fork while one compiles.
    os.register_at_fork(after_in_child=_wake_collector)


@contextlib.contextmanager
def resting_collector():
    """Leave Python's cyclic garbage where it is.

    Nearly all that Numba makes of a kernel lives until the kernel is done: to look through it, some
    hundred times, took a tenth of a first fit. What is kept meanwhile is about 10 MB.
    """
    global _resting
    with global_compiler_lock:  # one thread compiles at a time
        if _resting or not gc.isenabled():
            yield
            return
        _resting = True
        gc.disable()
        try:
            yield
        finally:
            _wake_collector()


class KernelCompiler(Compiler):
    """Compiles a kernel, and all that it calls, while the garbage collector rests."""

    def __init__(self, *args):
        with resting_collector():  # the first one has Numba learn all that it knows
            super().__init__(*args)

    def compile_extra(self, func):
        with resting_collector():
            return super().compile_extra(func)


class _Ingredient(JITCodeLibrary):
    """Code that waits to be linked into callers, where it is optimised with theirs."""

    @property
    def codegen(self):
        return self

    def set_env(self, name, env):
        """Refuse Python objects, which only code of its own could find; Numba calls this last."""
        if env.consts:
            raise NotImplementedError("an inlined function can't refer to Python objects")

    def get_pointer_to_function(self, name):
        self._ensure_finalized()
        return 0

    def _optimize_final_module(self):
        pass

    def _finalize_final_module(self):
        self._finalize_dynamic_globals()
        self._finalized = True


class InlinedCompiler(Compiler):
    """Compiles what is only ever inlined, without what the callers' compilation does anyway.

    Numba optimises each function's module as a whole, and makes machine code of it, before callers
    get it: a fifth of what a first fit waited for.
    """

    def compile_extra(self, func):
        codegen = self.state.targetctx.codegen()
        self.state.library = _Ingredient(codegen, func.__qualname__)
        return super().compile_extra(func)
