"""Numba's compiler, without what a first fit would wait for in vain."""

import contextlib
import gc
import os

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, Flags
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NopythonTypeInference


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


# Steps that find nothing to do: kernels have no ``with`` and no closures, and call nothing that
# Numba would copy into its own representation of them. Most analyse the whole function once more.
_IDLE = {
    "WithLifting",
    "InlineClosureLikes",
    "MakeFunctionToJitFunction",
    "InlineInlinables",
    "FindLiterallyCalls",
    "LiteralUnroll",
    "LiteralPropagationSubPipelinePass",
    "NoPythonSupportedFeatureValidation",
}


class _Flags(Flags):
    """Numba's options, of which it asks all values whenever it looks for a function's code."""

    def values(self):
        return {name: option.default for name, option in self.options.items()} | self._values


class _Typing:
    """Numba's typing context, which finds out once what a call with arguments of some types is.

    Types are inferred in rounds, in each of which Numba resolves every call of a function anew.
    """

    def __init__(self, context):
        self._context = context
        self._resolved = {}

    def __getattr__(self, name):
        return getattr(self._context, name)

    def resolve_function_type(self, func, args, kws):
        key = func, tuple(args), tuple(sorted(kws.items()))
        if key not in self._resolved:
            signature = self._context.resolve_function_type(func, args, kws)
            if signature is None:
                return None
            self._resolved[key] = signature
        return self._resolved[key]


@register_pass(mutates_CFG=True, analysis_only=False)
class _TypeInference(NopythonTypeInference):
    _name = "fastem_type_inference"

    def run_pass(self, state):
        context = state.typingctx
        state.typingctx = _Typing(context)
        try:
            return super().run_pass(state)
        finally:
            state.typingctx = context


class _QuickCompiler(Compiler):
    """Numba's compiler, with less of what it does time and again: a sixth of a first fit."""

    idle = frozenset(_IDLE)

    def define_pipelines(self):
        pipelines = super().define_pipelines()
        if self.state.flags.auto_parallel.enabled:
            return pipelines
        for pipeline in pipelines:
            pipeline.passes = [
                (_TypeInference if step is NopythonTypeInference else step, description)
                for step, description in pipeline.passes
                if step.__name__ not in self.idle
            ]
            pipeline.finalize()
        return pipelines


class KernelCompiler(_QuickCompiler):
    """Compiles a kernel, and all that it calls, while the garbage collector rests."""

    def __init__(self, *args):
        with resting_collector():  # the first one has Numba learn all that it knows
            super().__init__(*args)
        self.state.flags = _Flags(self.state.flags)

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


class InlinedCompiler(_QuickCompiler):
    """Compiles what is only ever inlined, without what the callers' compilation does anyway.

    Numba optimises each function's module as a whole, and makes machine code of it, before callers
    get it: a fifth of what a first fit waited for.
    """

    # Such a function must not allocate: it has no expressions of whole arrays.
    idle = _QuickCompiler.idle | {"NopythonRewrites"}

    def compile_extra(self, func):
        codegen = self.state.targetctx.codegen()
        self.state.flags = _Flags(self.state.flags)
        self.state.library = _Ingredient(codegen, func.__qualname__)
        return super().compile_extra(func)
