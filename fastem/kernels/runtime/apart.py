"""LLVM's part of a kernel's compilation, while another thread compiles the next kernel.

It is half of the work, and Numba's lock and llvmlite's allow it to one thread at a time. What
LLVM needs these for is what modules share, above all their context: here a module has its own.
"""

import contextlib
import copy
import ctypes
import os
import threading
import traceback
from concurrent.futures import Future
from functools import partial

from llvmlite import binding as llvm
from llvmlite.binding import ffi
from numba.core import config
from numba.core.codegen import JITCPUCodegen
from numba.core.compiler_lock import global_compiler_lock

_n_sharing = 0
_counting = threading.Lock()
_under_way: dict = {}


def _forget():
    global _counting, _n_sharing
    _counting, _n_sharing = threading.Lock(), 0
    _under_way.clear()


if hasattr(os, "register_at_fork"):
    # Another thread may fork while one compiles: the child, which has it not, would wait for it.
    os.register_at_fork(after_in_child=_forget)


@contextlib.contextmanager
def compiling_shared():
    """A context in which threads that compile kernels let each other in."""
    global _n_sharing
    with _counting:
        _n_sharing += 1
    try:
        yield
    finally:
        with _counting:
            _n_sharing = max(_n_sharing - 1, 0)


def is_shared():
    """Whether any thread is in such a context."""
    return _n_sharing > 0


def once(key, work):
    """A compile result as ``work()`` returns it, of another thread if that is at it already.

    Called with Numba's lock: whoever it let in meanwhile may want what is half done.
    """
    other = _under_way.get(key)
    if other is not None:
        with _unlocked():
            error = other.exception()  # not raised: an interrupt, say, was of that thread only
        if error is None:
            return other.result()._replace(metadata={})  # which each dispatcher's call writes
    own = _under_way[key] = Future()
    try:
        result = work()
    except BaseException as error:
        own.set_exception(error)
        raise
    finally:
        _under_way.pop(key, None)
    own.set_result(result)
    return result


def finished(library, modules):
    """A library's optimised code, and the machine code of it.

    Called with Numba's lock, which others may take meanwhile where compiling is shared.

    Parameters
    ----------
    library : fastem.kernels.runtime.libraries.Library
        Without modules yet; it is left as it is.
    modules : list of (str, str)
        The names of its modules, and their texts.

    Returns
    -------
    bitcode, machine_code : bytes
        Or None if that can't be done apart.
    """
    if config.LLVM_PASS_TIMINGS:  # which LLVM keeps for all threads: they crash
        return None
    try:
        linked = library._final_module.as_bitcode(), *_linked(library, set())
        with _unlocked() if library.outermost and is_shared() else contextlib.nullcontext():
            return _finish(library, modules, *linked)
    except Exception:  # another Numba, with other insides, which compiles as it always does
        return None


def _linked(library, seen):
    """The code that a library links: texts of ingredients, bitcode of what is compiled."""
    for one in library._linking_libraries:
        if one in seen:
            continue
        seen.add(one)
        texts = getattr(one, "texts", None)
        if texts is None:
            yield one._get_module_for_linking().as_bitcode()
        else:
            yield from texts
            yield from _linked(one, seen)


def _finish(library, modules, empty, *linked):
    """As Numba does, in another context."""
    with contextlib.ExitStack() as closing:
        try:
            return _finish_in(closing, library, modules, empty, *linked)
        except BaseException as error:
            # Whoever keeps an interrupt keeps what its frames hold: it was freed after the context.
            traceback.clear_frames(error.__traceback__)
            raise


def _finish_in(closing, library, modules, empty, *linked):
    context = closing.enter_context(llvm.create_context())
    machine = closing.enter_context(_machine(library._codegen))
    own = copy.copy(library)
    own._final_module = final = closing.enter_context(llvm.parse_bitcode(empty, context))
    own._codegen = copy.copy(library._codegen)
    own._codegen.__class__ = _Codegen
    own._codegen._tm = machine
    for name, text in modules:
        module = closing.enter_context(llvm.parse_assembly(text, context))
        module.name = name
        module.verify()
        own.add_llvm_module(module)
    for code in linked:
        parse = llvm.parse_assembly if isinstance(code, str) else llvm.parse_bitcode
        module = closing.enter_context(parse(code, context))
        module.data_layout = final.data_layout
        final.link_in(module)
    own._optimize_final_module()
    final.verify()
    return final.as_bitcode(), _emitted(machine, final)


class _Codegen(JITCPUCodegen):
    """Numba's, for a target machine of its own, which threads can't share."""

    def _module_pass_manager(self, **options):
        return self._without_lock("Module", *super()._module_pass_manager(**options))

    def _function_pass_manager(self, **options):
        return self._without_lock("Function", *super()._function_pass_manager(**options))

    @staticmethod
    def _without_lock(kind, manager, builder):
        manager.run = partial(_call(f"RunNew{kind}PassManager"), manager)
        return manager, builder


def _machine(codegen):
    """A target machine as Numba's."""
    options = {"opt": config.OPT}
    codegen._customize_tm_options(options)
    return llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(**options)


def _emitted(machine, module):
    """As ``machine.emit_object``."""
    with ffi.OutputString() as error:
        buffer = _call("TargetMachineEmitToMemory")(machine, module, 1, error)
        if not buffer:
            raise RuntimeError(str(error))
    try:
        start, size = (getattr(ffi.lib, f"LLVMPY_GetBuffer{what}") for what in ("Start", "Size"))
        return ctypes.string_at(start(buffer), size(buffer))
    finally:
        ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)


def _call(name):
    """A function of llvmlite's that takes long, without its lock."""
    return getattr(ffi.lib, f"LLVMPY_{name}")._cfn


@contextlib.contextmanager
def _unlocked():
    """A context without Numba's lock, however often this thread has it."""
    lock = global_compiler_lock._lock
    # As `threading.Condition` does while it waits.
    held = lock._release_save()
    try:
        yield
    finally:
        lock._acquire_restore(held)
