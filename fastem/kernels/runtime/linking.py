"""Calls of compiled kernels by address, so that callers don't compile them once more.

Numba copies a compiled function into each caller, and optimises it anew there: a line around
``nearest`` took ten seconds. Here the caller's machine code only names the kernel. The name covers
all that the kernel's code depends on, and an address is given to it in each process; a caller that
Numba's cache kept on disk holds no address, only what finds the kernel again.
"""

import hashlib
import importlib
import secrets

from llvmlite import binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import fix_returning_optional
from numba.extending import intrinsic

from fastem.kernels.runtime.compiling import cache


class _Link:
    """A kernel, compiled for some types of arguments, that machine code calls by ``symbol``.

    Callers keep it among their constants: when one is read from disk it is made again, which gives
    the symbol its address before the caller's code needs it.
    """

    def __init__(self, kernel, arguments):
        self._kernel, self._arguments = kernel, arguments
        kernel.compile(arguments)
        self.result = kernel.overloads[arguments]
        self.symbol = _symbol(kernel, arguments, self.result)
        name = self.result.fndesc.llvm_func_name
        llvm.add_symbol(self.symbol, self.result.library.get_pointer_to_function(name))

    def cast(self, context, builder, values, given):
        """Values of some types as the kernel takes them."""
        return [
            context.cast(builder, value, source, target)
            for value, source, target in zip(values, given, self._arguments, strict=True)
        ]

    def call(self, context, builder, values):
        """Emit a call; its status and what it returned."""
        context.environment.consts.append(self)
        signature = self.result.signature
        types_of_call = signature.return_type, signature.args
        kind = context.call_conv.get_function_type(*types_of_call)
        function = cgutils.get_or_insert_function(builder.module, kind, self.symbol)
        return context.call_conv.call_function(builder, function, *types_of_call, values)

    def __reduce__(self):
        module = self._kernel.__module__
        names = vars(importlib.import_module(module)).items()
        name = next(name for name, value in names if value is self._kernel)
        return _found_again, (module, name, self._arguments, self.symbol)


def _symbol(kernel, arguments, result):
    if cache is None:  # nothing can name the code in another process
        return f"fastem.{kernel.__name__}.{secrets.token_hex(16)}"
    key = cache.link_key(kernel.py_func, arguments, result.codegen)
    return f"fastem.{kernel.__name__}.{hashlib.sha256(key.encode()).hexdigest()}"


def _found_again(module, name, arguments, symbol):
    """The link of a caller that was read from disk.

    It may have been compiled against another version. Numba compiles the caller anew if its file
    seems to be gone, which is the error to raise, whatever is wrong.
    """
    try:
        link = _Link(getattr(importlib.import_module(module), name), arguments)
    except Exception as error:
        raise FileNotFoundError(f"{module}.{name} can't be linked: {error}") from error
    if link.symbol != symbol:
        raise FileNotFoundError(f"{module}.{name} is another one now")
    return link


def linked(kernel):
    """What compiled code calls in a kernel's place, with a tuple of the arguments.

    Parameters
    ----------
    kernel : dispatcher
        From :func:`fastem.kernels.runtime.compiling.kernel`, an attribute of its module.

    Returns
    -------
    intrinsic
        ``linked(kernel)((a, b))`` is ``kernel(a, b)``.
    """

    @intrinsic
    def call(typingctx, arguments):
        link = _Link(kernel, tuple(map(types.unliteral, arguments)))
        signature = link.result.signature

        def codegen(context, builder, sig, args):
            values = cgutils.unpack_tuple(builder, args[0], len(arguments))
            values = link.cast(context, builder, values, tuple(arguments))
            status, value = link.call(context, builder, values)
            with cgutils.if_unlikely(builder, status.is_error):
                context.call_conv.return_status_propagate(builder, status)
            return fix_returning_optional(context, builder, signature, status, value)

        return signature.return_type(arguments), codegen

    return call


def task_of(kernel):
    """As :func:`linked`, for a call that any thread makes later, by :func:`perform`.

    Numba's ``prange`` passes no nested tuples to its threads, and compiles what it passes: a number
    is compiled fastest.

    Parameters
    ----------
    kernel : dispatcher
        It returns nothing, and fails only for want of memory.

    Returns
    -------
    intrinsic
        ``task_of(kernel)((a, b))`` is the address of what :func:`perform` needs. It is valid in
        the function that asked for it, up to the call of :func:`failed` for it.
    """

    @intrinsic
    def task(typingctx, arguments):
        link = _Link(kernel, tuple(map(types.unliteral, arguments)))

        def codegen(context, builder, sig, args):
            values = cgutils.unpack_tuple(builder, args[0], len(arguments))
            values = link.cast(context, builder, values, tuple(arguments))
            context.nrt.incref(builder, arguments, args[0])
            failed = ir.Constant(_FAILED, 0)
            work = _emit_work(context, builder, link, [value.type for value in values])
            kinds = [failed.type, work.type, *(value.type for value in values)]
            place = cgutils.alloca_once(builder, ir.LiteralStructType(kinds))
            for i, value in enumerate([failed, work, *values]):
                builder.store(value, cgutils.gep_inbounds(builder, place, 0, i))
            return builder.ptrtoint(place, context.get_value_type(types.intp))

        return types.intp(arguments), codegen

    return task


_FAILED = ir.IntType(32)
_WORK = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()])
_HEAD = ir.LiteralStructType([_FAILED, _WORK.as_pointer()])  # what all tasks begin with


def _emit_work(context, builder, link, kinds):
    """A function that takes a task's address and calls the kernel with what stands there."""
    name = f"{builder.function.name}.{link.symbol}"
    work = ir.Function(builder.module, _WORK, builder.module.get_unique_name(name))
    work.linkage = "internal"
    inside = ir.IRBuilder(work.append_basic_block())
    struct = ir.LiteralStructType([*_HEAD.elements, *kinds])
    place = inside.bitcast(work.args[0], struct.as_pointer())
    values = [
        inside.load(cgutils.gep_inbounds(inside, place, 0, len(_HEAD.elements) + i))
        for i in range(len(kinds))
    ]
    status, _ = link.call(context, inside, values)
    with cgutils.if_unlikely(inside, status.is_error):
        inside.store(ir.Constant(_FAILED, 1), cgutils.gep_inbounds(inside, place, 0, 0))
    inside.ret_void()
    return work


def _head(builder, address):
    return builder.inttoptr(address, _HEAD.as_pointer())


@intrinsic
def perform(typingctx, task):
    """Make the call of a task."""

    def codegen(context, builder, sig, args):
        place = _head(builder, args[0])
        work = builder.load(cgutils.gep_inbounds(builder, place, 0, 1))
        builder.call(work, [builder.bitcast(place, ir.IntType(8).as_pointer())])
        return context.get_dummy_value()

    return types.void(types.intp), codegen


@intrinsic
def failed(typingctx, task, arguments):
    """Whether a call of a task failed. Up to here its arguments are kept; call it once."""

    def codegen(context, builder, sig, args):
        kept = [types.unliteral(argument) for argument in arguments]
        kinds = [*_HEAD.elements, *map(context.get_value_type, kept)]
        place = builder.inttoptr(args[0], ir.LiteralStructType(kinds).as_pointer())
        # From memory, so that Numba can't tell that these are the references taken for the task:
        # it would drop both, and has freed arrays before the loop when a caller was compiled.
        for i, kind in enumerate(kept):
            value = builder.load(cgutils.gep_inbounds(builder, place, 0, len(_HEAD.elements) + i))
            context.nrt.decref(builder, kind, value)
        value = builder.load(cgutils.gep_inbounds(builder, place, 0, 0))
        return builder.icmp_unsigned("!=", value, ir.Constant(_FAILED, 0))

    return types.boolean(types.intp, arguments), codegen


@intrinsic
def threads_for(typingctx, n_chunks):
    """How many of Numba's threads share so many chunks; only under ``parallel=True``.

    As ``numba.get_num_threads``, which compiles to an address of this process: not to be kept on
    disk.
    """

    def codegen(context, builder, sig, args):
        kind = ir.FunctionType(args[0].type, [])
        function = cgutils.get_or_insert_function(builder.module, kind, "get_num_threads")
        n_threads = builder.call(function, [])
        fewer = builder.icmp_signed("<", args[0], n_threads)
        return builder.select(fewer, args[0], n_threads)

    return types.intp(types.intp), codegen
