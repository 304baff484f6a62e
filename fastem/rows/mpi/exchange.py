"""One collective call that brings all ranks either everybody's results or somebody's error."""

import pickle
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from zlib import crc32

from fastem.rows.mpi.forms import Form, put_together, take_apart

_BARE, _PICKLED, _NOTHING, _FAILED = range(4)
_HEAD = struct.Struct("qqq")  # how it went, what was done, the message's size
# Messages differ by a few bytes from pass to pass.
_ROOM = 1 << 9


class Exchange:
    """The ranks of a communicator, which all take the same calls in the same order.

    Every call is one ``Allgather``: of a buffer with room for the message of the call before, which
    a fit's passes hardly exceed; a longer one takes a second. Statistics like those of the pass
    before are bare bytes, anything else is pickled. An error is a message like others. So a rank
    that fails, wherever it does, takes part in the call that the others are at, and all raise.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        No messages are sent but through this one.
    """

    def __init__(self, comm: Any):
        self._comm = comm
        self.rank, self.size = comm.rank, comm.size
        self._make_room(0)
        # What each rank's last pickled result of a name was like: all get all messages, so that
        # all know the same. Only while all are together, since then an error is everybody's.
        self._forms: dict[tuple[str, int], Form] = {}
        self._told: BaseException | None = None
        self._joined = False

    def share(self, name: str, call: Callable[[], Any]) -> dict[int, Any]:
        """What ``call`` returns on each rank, by their numbers; not of those where it is None.

        Raises
        ------
        Exception
            What the call raises here, or else what it raises on the first rank on which it does.
        RuntimeError
            If other ranks are at a call of another name.
        """
        try:
            result = call()
            apart = take_apart(result)
            state, message = self._packed(name, result, apart)
        except BaseException as error:
            self.tell(error)
            raise
        results = {}
        for rank, (how, packed) in enumerate(self._receive(state, name, message)):
            if how == _NOTHING:
                continue
            if rank == self.rank and apart:
                results[rank] = result
            elif how == _BARE:
                results[rank] = put_together(self._forms[name, rank], packed)
            else:  # this rank's own, too: the others' copies may lie in another order in memory
                results[rank] = pickle.loads(packed)
            if how == _PICKLED and self._joined:
                told = apart if rank == self.rank else take_apart(results[rank])
                if told:
                    self._forms[name, rank] = told[0]
                else:
                    self._forms.pop((name, rank), None)
        return results

    def _packed(self, name, result, apart):
        """How a result is sent, and its bytes: bare ones if all know what it is like."""
        if result is None:
            return _NOTHING, b""
        if apart and apart[0] == self._forms.get((name, self.rank)):
            return _BARE, b"".join(apart[1])
        return _PICKLED, pickle.dumps(result, pickle.HIGHEST_PROTOCOL)

    def tell(self, error: BaseException) -> None:
        """Have all ranks raise an error."""
        self._told = error
        self._send(_FAILED, "", _packed_error(error))

    @contextmanager
    def together(self) -> Iterator[None]:
        """A context that fails on all ranks if it fails on any; contexts within are part of it."""
        if self._joined:
            yield
            return
        self._joined = True
        try:
            yield
            self._receive(_NOTHING, "the end", b"")
        except BaseException as error:
            if error is not self._told:
                self.tell(error)
            raise
        finally:
            self._joined = False
            self._told = None
            self._forms = {}

    def _receive(self, state, name, message):
        """How it went on each rank, and its message."""
        heads, messages = self._send(state, name, message)
        for rank, (how, _, _) in enumerate(heads):
            if how == _FAILED:
                self._told = _unpacked_error(messages[rank], rank)
                raise self._told
        if any(done != heads[0][1] for _, done, _ in heads):
            # All see this; none is waiting.
            self._told = RuntimeError(
                f"The ranks are at different steps of their fits, this one (rank {self.rank}) at "
                f"{name!r}: do all have the same estimator?"
            )
            raise self._told
        return [(head[0], message) for head, message in zip(heads, messages, strict=True)]

    def _send(self, state, name, message):
        """All ranks' heads and messages."""
        head = (state, crc32(name.encode()), len(message))
        packed = _HEAD.pack(*head)
        fits = False
        while not fits:
            own, received, length = self._own, self._received, len(self._own)
            sent = packed + message[: self._room]
            own[: len(sent)] = sent
            self._comm.Allgather(own, received)
            starts = range(0, len(received), length)
            heads = [
                # Most often all are the same.
                head if received.startswith(packed, start) else _HEAD.unpack_from(received, start)
                for start in starts
            ]
            longest = max([size for _, _, size in heads])
            fits = longest <= self._room
            if not fits or longest + 2 * _ROOM < self._room:
                self._make_room(longest + _ROOM)
        view = memoryview(received)
        messages = []
        for start, (_, _, size) in zip(starts, heads, strict=True):
            body = start + _HEAD.size
            messages.append(view[body : body + size])
        return heads, messages

    def _make_room(self, room):
        self._room = room
        self._own = bytearray(_HEAD.size + room)
        self._received = bytearray(self.size * len(self._own))


def _packed_error(error):
    try:
        packed = pickle.dumps(error)
        pickle.loads(packed)  # of some only this fails
    except Exception:
        packed = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return packed


def _unpacked_error(message, rank):
    try:
        error = pickle.loads(message)
    except Exception as problem:  # say, of a class that only that rank knows
        error = RuntimeError(f"an error that can't be read here: {problem}")
    error.add_note(f"This happened on rank {rank}.")
    return error
