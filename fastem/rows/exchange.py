"""One collective call that brings all ranks either everybody's results or somebody's error."""

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from zlib import crc32

import numpy as np

_DONE, _NOTHING, _FAILED = range(3)
_HEAD = 3 * 8  # bytes: how it went, what was done, the message's size
# Messages differ by a few bytes from pass to pass.
_ROOM = 1 << 9


class Exchange:
    """The ranks of a communicator, which all take the same calls in the same order.

    Every call is one ``Allgather``: of a buffer with room for the message of the call before, which
    a fit's passes hardly exceed; a longer one takes a second. An error is a message like others. So
    a rank that fails, wherever it does, takes part in the call that the others are at, and all
    raise.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        No messages are sent but through this one.
    """

    def __init__(self, comm: Any):
        self._comm = comm
        self.rank, self.size = comm.rank, comm.size
        self._room = 0
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
            message = b"" if result is None else pickle.dumps(result, pickle.HIGHEST_PROTOCOL)
        except BaseException as error:
            self.tell(error)
            raise
        return self._receive(_NOTHING if result is None else _DONE, name, message)

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

    def _receive(self, state, name, message):
        heads, messages = self._send(state, name, message)
        failed = np.flatnonzero(heads[:, 0] == _FAILED)
        if len(failed):
            self._told = _unpacked_error(messages[failed[0]], failed[0])
            raise self._told
        if (heads[:, 1] != heads[0, 1]).any():
            # All see this; none is waiting.
            self._told = RuntimeError(
                f"The ranks are at different steps of their fits, this one (rank {self.rank}) at "
                f"{name!r}: do all have the same estimator?"
            )
            raise self._told
        done = np.flatnonzero(heads[:, 0] == _DONE)
        return {int(rank): pickle.loads(messages[rank]) for rank in done}

    def _send(self, state, name, message):
        """All ranks' heads and messages."""
        head = np.array([state, crc32(name.encode()), len(message)], np.int64)
        fits = False
        while not fits:
            own = np.zeros(_HEAD + self._room, np.uint8)
            own[:_HEAD] = head.view(np.uint8)
            sent = message[: self._room]
            own[_HEAD : _HEAD + len(sent)] = np.frombuffer(sent, np.uint8)
            received = np.empty((self.size, len(own)), np.uint8)
            self._comm.Allgather(own, received)
            heads = received[:, :_HEAD].copy().view(np.int64)
            longest = int(heads[:, 2].max())
            fits = longest <= self._room
            if not fits or longest + _ROOM < self._room // 2:
                self._room = longest + _ROOM
        return heads, [
            row[_HEAD : _HEAD + size] for row, size in zip(received, heads[:, 2], strict=True)
        ]


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
