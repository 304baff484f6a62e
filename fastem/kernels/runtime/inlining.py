"""How functions are compiled that are only ever inlined.

Numba optimises each function's module as a whole, and makes machine code of it, before callers get
it: for functions that end up inside of their callers, a fifth of what a first fit waited for.
"""

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler


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
    """Numba's compiler, without what the callers' compilation does anyway."""

    def compile_extra(self, func):
        codegen = self.state.targetctx.codegen()
        self.state.library = _Ingredient(codegen, func.__qualname__)
        return super().compile_extra(func)
