"""Numba's emission of a function's LLVM code, with less of it for LLVM to take away again.

Each instruction is built and written out in Python, under Numba's lock: a quarter of them was
never of use, and took a twentieth of a first fit.
"""

from numba.core.lowering import Lower
from numba.core.runtime.context import NRTContext

_COUNTED: dict = {}  # whether values of a type hold references that are counted


class Lowering(Lower):
    """Numba's, where what variables without references held before is not looked at again."""

    def _is_plain(self, name):
        if self._disable_sroa_like_opt:  # for debuggers
            return False
        return not (self.context.enable_nrt and self.context.nrt.counts(self.typeof(name)))

    def storevar(self, value, name, argidx=None):
        """Give a variable its next value."""
        if name in self._singly_assigned_vars or not self._is_plain(name):
            super().storevar(value, name, argidx)
        else:
            self.builder.store(value, self.getvar(name))

    def delvar(self, name):
        """Let go of what a variable refers to."""
        if not self._is_plain(name):
            super().delvar(name)


class References(NRTContext):
    """Numba's counting of references, which takes apart only what holds some."""

    def counts(self, ty):
        """Whether values of a type hold references that are counted."""
        if ty not in _COUNTED:
            _COUNTED[ty] = self._context.data_model_manager[ty].contains_nrt_meminfo()
        return _COUNTED[ty]

    def get_meminfos(self, builder, ty, val):
        """The types and places of a value's counts."""
        if not self.counts(ty):
            return []
        model = self._context.data_model_manager[ty]
        found = [(ty, model.get_nrt_meminfo(builder, val))] if model.has_nrt_meminfo() else []
        for kind, part in model.traverse(builder):
            if self.counts(kind):
                found.extend(self.get_meminfos(builder, kind, part(val)))
        return found
