"""Calls of compiled kernels by address, so that callers don't compile them once more.

Numba copies a compiled function into each caller, and optimises it anew there: a line around
``nearest`` took ten seconds. Here the caller's machine code only names the kernel. The name covers
all that the kernel's code depends on, and an address is given to it in each process; a caller that
Numba's cache kept on disk holds no address, only what finds the kernel again.
"""

import hashlib
import importlib

from llvmlite import binding as llvm
from numba import types
from numba.core import cgutils
from numba.core.imputils import fix_returning_optional
from numba.extending import intrinsic, register_jitable

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

    def __reduce__(self):
        module = self._kernel.__module__
        names = vars(importlib.import_module(module)).items()
        name = next(name for name, value in names if value is self._kernel)
        return _found_again, (module, name, self._arguments, self.symbol)


def _symbol(kernel, arguments, result):
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
    if cache is None:  # nothing can name the code that is called: copy it
        return register_jitable(lambda arguments: kernel(*arguments))

    @intrinsic
    def call(typingctx, arguments):
        given = tuple(arguments)
        taken = tuple(types.unliteral(argument) for argument in given)
        link = _Link(kernel, taken)
        signature = link.result.signature

        def codegen(context, builder, sig, args):
            values = [
                context.cast(builder, value, source, target)
                for value, source, target in zip(
                    cgutils.unpack_tuple(builder, args[0], len(given)), given, taken, strict=True
                )
            ]
            context.environment.consts.append(link)
            types_of_call = signature.return_type, signature.args
            kind = context.call_conv.get_function_type(*types_of_call)
            function = cgutils.get_or_insert_function(builder.module, kind, link.symbol)
            status, value = context.call_conv.call_function(
                builder, function, *types_of_call, values
            )
            with cgutils.if_unlikely(builder, status.is_error):
                context.call_conv.return_status_propagate(builder, status)
            return fix_returning_optional(context, builder, signature, status, value)

        return signature.return_type(arguments), codegen

    return call
