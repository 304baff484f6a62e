"""Things without the rows that they refer to: what a part keeps while its rows are elsewhere."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class _View(NamedTuple):
    """Where in one of the rows' arrays an array lies."""

    number: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype
    writeable: bool

    def of(self, array: np.ndarray) -> np.ndarray:
        view: np.ndarray = np.ndarray(self.shape, self.dtype, array, self.offset, self.strides)
        if not self.writeable:
            view.flags.writeable = False
        return view


def _arrays_of(X):
    if X is None:
        return []
    return [X] if isinstance(X, np.ndarray) else [X.data, X.indices, X.indptr]


def _address(array):
    return array.__array_interface__["data"][0]


# Kinds of which there are many, known at a glance.
_PLAIN = frozenset({type(None), bool, int, float, str, np.float64})


def _copied(thing, change, copies):
    """A copy of a thing in which its arrays are changed; copies are known by what they are of.

    Objects, tuples, lists and dictionaries are copied with what is in them; all else is shared, as
    functions and classes are.
    """
    kind = type(thing)
    if kind in _PLAIN:
        return thing
    if isinstance(thing, (np.ndarray, _View)):
        return change(thing)
    if id(thing) in copies:
        return copies[id(thing)]
    if isinstance(thing, tuple):
        values = [_copied(value, change, copies) for value in thing]
        return kind(*values) if hasattr(kind, "_fields") else kind(values)
    if kind is list:
        return [_copied(value, change, copies) for value in thing]
    if kind is dict:
        return {key: _copied(value, change, copies) for key, value in thing.items()}
    attributes = getattr(thing, "__dict__", None)
    if attributes is None or callable(thing):
        return thing
    copy = copies[id(thing)] = object.__new__(kind)
    own = copy.__dict__
    for name, value in attributes.items():
        own[name] = _copied(value, change, copies)
    return copy


class Detached:
    """A thing without the rows that it refers to.

    Arrays that share memory with the rows are remembered by where they lie in them; others are
    held, not copied. What a failing step does to the thing's attributes is forgotten with it.

    Parameters
    ----------
    thing : object
        Of arrays, containers and objects with attributes.
    X : ndarray, CSR matrix or None
        The rows, contiguous; None if the thing doesn't refer to them.
    before : Detached or None
        What the thing has been attached from, if it wasn't to the rows.
    """

    def __init__(self, thing: Any, X: Any = None, before: "Detached | None" = None):
        self._arrays = _arrays_of(X)
        self._before = before._stand_ins if before else {}
        self._stand_ins: dict[int, tuple] = {}
        self._refers = False
        self._thing = _copied(thing, self._hold, {})
        self._arrays, self._before = [], {}

    def _hold(self, array):
        if id(array) in self._before:
            self._refers = True
            return self._before[id(array)][0]
        for number, whole in enumerate(self._arrays):
            if array is whole or np.may_share_memory(array, whole):
                self._refers = True
                offset = _address(array) - _address(whole)
                place = array.shape, array.strides, array.dtype, array.flags.writeable
                return _View(number, offset, *place)
        return array

    def attach(self, rows: Callable[[], Any]) -> Any:
        """The thing again; ``rows()`` returns the same rows, and is called if it refers to them."""
        arrays = _arrays_of(rows()) if self._refers else []

        def give_back(held):
            return held.of(arrays[held.number]) if type(held) is _View else held

        return _copied(self._thing, give_back, {})

    def attach_to_nothing(self) -> Any:
        """The thing again, for who doesn't look at the rows: they seem to be zeros."""
        return _copied(self._thing, self._stand_in, {})

    def _stand_in(self, held):
        if type(held) is not _View:
            return held
        stand_in = np.broadcast_to(np.zeros((), held.dtype), held.shape)
        self._stand_ins[id(stand_in)] = held, stand_in
        return stand_in
