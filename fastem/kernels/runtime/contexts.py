"""Numba's typing and target contexts, without what they do time and again for a kernel."""

import functools
import operator

from numba.core import types
from numba.core.cpu import CPUContext
from numba.core.typing import signature
from numba.cpython.builtins import do_minmax

from fastem.kernels.runtime.emitting.items import array_code
from fastem.kernels.runtime.emitting.lowering import References

# The least or greatest of some numbers, which Numba compiles like a function for each type and
# number of them, in 20 to 30 ms.
_EXTREMES = {min: operator.lt, max: operator.gt}

_OPERATIONS: dict = {}  # what operators return for numbers, in all functions
_SIZES: dict = {}


def _of_numbers(arguments):
    return all(isinstance(argument, types.Number) for argument in arguments)


def _is_extreme(function, arguments):
    key = getattr(function, "typing_key", None)
    return key in _EXTREMES and len(arguments) > 1 and _of_numbers(arguments)


def _is_operation(function, arguments):
    key = getattr(function, "typing_key", None)
    return getattr(key, "__module__", None) == "_operator" and _of_numbers(arguments)


class Typing:
    """Numba's typing context, which finds out once what a call with arguments of some types is.

    Types are inferred in rounds, in each of which Numba resolves every call of a function anew.

    Parameters
    ----------
    context : numba.core.typing.Context
    """

    def __init__(self, context):
        self._context = context
        self._resolved = {}

    def __getattr__(self, name):
        return getattr(self._context, name)

    def resolve_function_type(self, func, args, kws):
        """The signature of a call."""
        if not kws and _is_extreme(func, args):
            plain = [types.unliteral(argument) for argument in args]
            return signature(self._context.unify_types(*plain), *plain)
        key = func, tuple(args), tuple(sorted(kws.items()))
        resolved = _OPERATIONS if _is_operation(func, args) else self._resolved
        if key not in resolved:
            result = self._context.resolve_function_type(func, args, kws)
            if result is None:
                return None
            resolved[key] = result
        return resolved[key]


class Target(CPUContext):
    """Numba's target context while it compiles one function; see :meth:`copied`."""

    @classmethod
    def copied(cls, context):
        """One that shares all that Numba's own context knows and learns."""
        target = context.subtarget()
        target.__class__ = cls
        vars(target).pop("nrt", None)  # which is kept, and knows the other context
        return target

    def get_abi_sizeof(self, ty):
        """Find a type's size once: Numba asks for each variable's, by a module of LLVM."""
        if ty not in _SIZES:
            _SIZES[ty] = super().get_abi_sizeof(ty)
        return _SIZES[ty]

    @functools.cached_property
    def nrt(self):
        """What emits counts of references."""
        return References(self, self.enable_nrt)

    def refresh(self):
        """Learn of intrinsics that were met since the compiler was made, when all else was."""
        for registry in list(self._registries):
            self.install_registry(registry)

    def get_function(self, fn, sig, _firstcall=True):
        """What emits a call's code."""
        if sig.pysig is None and _is_extreme(fn, sig.args):
            compare = _EXTREMES[fn.typing_key]
            return lambda builder, values, loc=None: do_minmax(
                self, builder, sig.args, values, compare
            )
        return array_code(self, fn, sig) or super().get_function(fn, sig, _firstcall)
