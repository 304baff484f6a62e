"""Numba's compiler, without what a first fit would wait for in vain."""

import contextlib
import gc
import os
from functools import partial

from numba.core.compiler import Compiler, Flags
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import register_pass
from numba.core.ir_utils import build_definitions
from numba.core.rewrites import rewrite_registry
from numba.core.ssa import reconstruct_ssa
from numba.core.typed_passes import (
    NativeLowering,
    NopythonRewrites,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.untyped_passes import ReconstructSSA

from fastem.kernels.runtime.apart import is_shared, once
from fastem.kernels.runtime.contexts import Target, Typing
from fastem.kernels.runtime.emitting.lowering import Lowering
from fastem.kernels.runtime.libraries import Ingredient, Library


def _wake_collector():
    global _n_resting
    if _n_resting:
        _n_resting = 0
        gc.enable()


_n_resting = 0  # contexts in which it rests
if hasattr(os, "register_at_fork"):
    # Another thread may fork while one compiles.
    os.register_at_fork(after_in_child=_wake_collector)


@contextlib.contextmanager
def resting_collector():
    """Leave Python's cyclic garbage where it is.

    Nearly all that Numba makes of a kernel lives until the kernel is done: to look through it, some
    hundred times, took a tenth of a first fit. What is kept meanwhile is about 10 MB.
    """
    global _n_resting
    with global_compiler_lock:  # which a thread has unless LLVM is at its part
        if not (_n_resting or gc.isenabled()):
            yield
            return
        _n_resting += 1
        gc.disable()
        try:
            yield
        finally:
            if _n_resting == 1:
                _wake_collector()
            _n_resting = max(_n_resting - 1, 0)


# Steps that find nothing to do: kernels have no ``with`` and no closures, and call nothing that
# Numba would copy into its own representation of them. Most analyse the whole function once more.
_IDLE = {
    "IRProcessing",
    "WithLifting",
    "InlineClosureLikes",
    "MakeFunctionToJitFunction",
    "InlineInlinables",
    "FindLiterallyCalls",
    "LiteralUnroll",
    "LiteralPropagationSubPipelinePass",
    "NoPythonSupportedFeatureValidation",
    "AnnotateTypes",  # which copies all for `inspect_types`, a third of what a first fit leaves
}


class _Flags(Flags):
    """Numba's options, of which it asks all values whenever it looks for a function's code."""

    def values(self):
        return {name: option.default for name, option in self.options.items()} | self._values


@register_pass(mutates_CFG=True, analysis_only=False)
class _TypeInference(NopythonTypeInference):
    _name = "fastem_type_inference"

    def run_pass(self, state):
        context = state.typingctx
        state.typingctx = Typing(context)
        try:
            return super().run_pass(state)
        finally:
            state.typingctx = context


# Two steps without the analysis of the whole function that Numba ends them with: the next one
# analyses it anew, and all that is asked in between is the state of generators.


@register_pass(mutates_CFG=False, analysis_only=False)
class _ReconstructSSA(ReconstructSSA):
    _name = "fastem_reconstruct_ssa"

    def run_pass(self, state):
        state.func_ir = reconstruct_ssa(state.func_ir)
        self._patch_locals(state)
        state.func_ir._definitions = build_definitions(state.func_ir.blocks)
        return True


@register_pass(mutates_CFG=True, analysis_only=False)
class _StripPhis(PreLowerStripPhis):
    _name = "fastem_strip_phis"

    def run_pass(self, state):
        state.func_ir = self._strip_phi_nodes(state.func_ir)
        state.func_ir._definitions = build_definitions(state.func_ir.blocks)
        return True


@register_pass(mutates_CFG=True, analysis_only=False)
class _NopythonRewrites(NopythonRewrites):
    """Expressions of whole arrays, where there are any: it analyses the function twice."""

    _name = "fastem_nopython_rewrites"

    def run_pass(self, state):
        function = state.func_ir
        for kind in rewrite_registry.rewrites["after-inference"]:
            rewrite = kind(state)
            for block in function.blocks.values():
                if rewrite.match(function, block, state.typemap, state.calltypes):
                    return super().run_pass(state)
        return False


@register_pass(mutates_CFG=True, analysis_only=False)
class _NativeLowering(NativeLowering):
    _name = "fastem_native_lowering"

    @property
    def lowering_class(self):
        return Lowering


# What stands in for Numba's steps.
_OWN = {
    NopythonTypeInference: _TypeInference,
    ReconstructSSA: _ReconstructSSA,
    NopythonRewrites: _NopythonRewrites,
    PreLowerStripPhis: _StripPhis,
    NativeLowering: _NativeLowering,
}


class _QuickCompiler(Compiler):
    """Numba's compiler, with less of what it does time and again: a quarter of a first fit."""

    idle = frozenset(_IDLE)

    def __init__(self, *args):
        super().__init__(*args)
        self.state.flags = _Flags(self.state.flags)
        if not self._parallel:
            self.state.targetctx = Target.copied(self.state.targetctx)

    @property
    def _parallel(self):
        return self.state.flags.auto_parallel.enabled

    def define_pipelines(self):
        pipelines = super().define_pipelines()
        if self._parallel:
            return pipelines
        for pipeline in pipelines:
            pipeline.passes = [
                (_OWN.get(step, step), description)
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

    def compile_extra(self, func):
        state = self.state
        state.library = library = Library(state.targetctx.codegen(), func.__qualname__)
        library.enable_object_caching()
        library.outermost = not len(state.typingctx.callstack)
        with resting_collector():
            if not (library.outermost and is_shared()):
                return super().compile_extra(func)
            key = func, state.args, state.return_type, state.flags
            return once(key, partial(super().compile_extra, func))


class InlinedCompiler(_QuickCompiler):
    """Compiles what is only ever inlined, without what the callers' compilation does anyway.

    Numba optimises each function's module as a whole, and makes machine code of it, before callers
    get it: a fifth of what a first fit waited for.
    """

    # Such a function must not allocate: it has no expressions of whole arrays, and no references
    # that end with a variable's last use.
    idle = _QuickCompiler.idle | {"NopythonRewrites", "IRLegalization"}

    def compile_extra(self, func):
        codegen = self.state.targetctx.codegen()
        self.state.library = Ingredient(codegen, func.__qualname__)
        result = super().compile_extra(func)
        # Hundreds of objects for each function, as Numba forgets them when it keeps a result.
        result.fndesc.typemap = result.fndesc.calltypes = None
        return result
