"""Things without the rows that they refer to: what a part keeps while its rows are elsewhere."""

import io
import pickle
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


class _Pickler(pickle.Pickler):
    """Pickles the skeleton of a thing: its arrays, functions and classes are only numbered."""

    def __init__(self, stream, X, stand_ins):
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self._arrays = _arrays_of(X)
        self._stand_ins = stand_ins
        self.held = []

    def persistent_id(self, obj):
        if type(obj) is str:  # as most are
            return None
        if id(obj) in self._stand_ins:
            obj, _ = self._stand_ins[id(obj)]
        elif isinstance(obj, np.ndarray):
            for number, array in enumerate(self._arrays):
                if np.may_share_memory(obj, array):
                    offset = _address(obj) - _address(array)
                    place = obj.shape, obj.strides, obj.dtype, obj.flags.writeable
                    obj = _View(number, offset, *place)
                    break
        elif not callable(obj):
            return None
        self.held.append(obj)
        return len(self.held) - 1


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream, held, arrays, stand_ins):
        super().__init__(stream)
        self._held = held
        self._arrays = arrays
        self._stand_ins = stand_ins

    def persistent_load(self, pid):
        obj = self._held[pid]
        if not isinstance(obj, _View):
            return obj
        if self._arrays:
            return obj.of(self._arrays[obj.number])
        stand_in = np.broadcast_to(np.zeros((), obj.dtype), obj.shape)
        self._stand_ins[id(stand_in)] = obj, stand_in
        return stand_in


class Detached:
    """A thing without the rows that it refers to.

    Arrays that share memory with the rows are remembered by where they lie in them; others are
    held, not copied.

    Parameters
    ----------
    thing : object
        It can be pickled.
    X : ndarray, CSR matrix or None
        The rows, contiguous; None if the thing doesn't refer to them.
    before : Detached or None
        What the thing has been attached from, if it wasn't to the rows.
    """

    def __init__(self, thing: Any, X: Any = None, before: "Detached | None" = None):
        self._stand_ins: dict[int, tuple] = {}
        stream = io.BytesIO()
        pickler = _Pickler(stream, X, before._stand_ins if before else {})
        pickler.dump(thing)
        self._skeleton = stream.getvalue()
        self._held = pickler.held
        self._refers = any(isinstance(obj, _View) for obj in self._held)

    def attach(self, rows: Callable[[], Any]) -> Any:
        """The thing again; ``rows()`` returns the same rows, and is called if it refers to them."""
        return self._load(_arrays_of(rows()) if self._refers else [])

    def attach_to_nothing(self) -> Any:
        """The thing again, for who doesn't look at the rows: they seem to be zeros."""
        return self._load([])

    def _load(self, arrays):
        stream = io.BytesIO(self._skeleton)
        return _Unpickler(stream, self._held, arrays, self._stand_ins).load()
