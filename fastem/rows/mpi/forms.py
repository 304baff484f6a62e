"""Statistics as bare bytes: what they are like is told once, not anew in every pass.

Pickle takes 5 us to pack a small array and 3 to unpack one, this 1 and 1.5; where ranks share a
core, and so find their caches cold, an empty iteration takes 0.095 ms instead of 0.16.
"""

from struct import Struct, error
from typing import Any

import numpy as np

_NUMBERS = {int: Struct("q"), float: Struct("d")}

#: What a value is like: its leaves' kinds, and those of the tuples around them.
Form = list


def take_apart(value: Any) -> tuple[Form, list] | None:
    """A value's form and its bytes in pieces; None of values that forms don't describe.

    They describe numbers, C-contiguous arrays of numbers, None, and plain or named tuples of these.
    """
    form: Form = []
    pieces: list = []
    try:
        return (form, pieces) if _take_apart(value, form, pieces) else None
    except error:  # an integer of more than 64 bits
        return None


def _take_apart(value, form, pieces):
    kind = type(value)
    if kind is np.ndarray:
        form.append((value.dtype, value.shape))
        pieces.append(value)
        return value.flags.c_contiguous and not value.dtype.hasobject
    if kind in _NUMBERS:
        form.append(kind)
        pieces.append(_NUMBERS[kind].pack(value))
        return True
    if value is None:
        form.append(None)
        return True
    if isinstance(value, np.number):
        form.append((value.dtype, None))
        pieces.append(value)
        return True
    # Other tuples may know more than their fields.
    if kind is tuple or (hasattr(kind, "_make") and not getattr(value, "__dict__", None)):
        form.append((kind, len(value)))
        return all(_take_apart(each, form, pieces) for each in value)
    return False


def put_together(form: Form, message: memoryview) -> Any:
    """The value of a form whose bytes a message has, in memory of its own."""
    value, _ = _put_together(iter(form), message, 0)
    return value


def _put_together(kinds, message, start):
    kind = next(kinds)
    if kind is None:
        return None, start
    if kind in _NUMBERS:
        return _NUMBERS[kind].unpack_from(message, start)[0], start + 8
    what, size = kind
    if isinstance(what, type):
        values = []
        for _ in range(size):
            value, start = _put_together(kinds, message, start)
            values.append(value)
        return (what(values) if what is tuple else what._make(values)), start
    view = np.ndarray(size or (), what, message, start)
    return (view[()] if size is None else view.copy()), start + view.nbytes
