"""What ranks tell each other arrives as it was said, however it is packed."""

import pickle
import time
from abc import ABC
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from fastem.rows.mpi.exchange import _HEAD, Exchange
from fastem.rows.mpi.forms import put_together, take_apart

Named = namedtuple("Named", ["first", "second"])


class Abstract(namedtuple("Abstract", ["first"]), ABC):
    """A named tuple of another metaclass."""


class Noted(namedtuple("Noted", ["first"])):
    """One that may know more than its fields."""


class Pair(tuple):
    """Made of one argument, as a tuple is."""


def noted(value, note):
    value = Noted(value)
    value.note = note
    return value


DESCRIBED = {
    "array": np.arange(6.0).reshape(2, 3),
    "no rows": np.empty((0, 3), np.float32),
    "no dimension": np.array(2.5),
    "bytes before numbers": (np.arange(3, dtype=np.uint8), np.arange(4), 1.5, -7),
    "named": Named(np.ones(3, bool), Named(None, (1, 2.0))),
    "a class of another kind": Abstract(np.ones(2)),
    "a class without a note": Noted(1.0),
    "NumPy's numbers": (np.float64(1.5), np.int32(-3), np.float32(0.1)),
    "largest integers": (2**63 - 1, -(2**63)),
    "nothing in it": (),
}
OTHERS = {
    "columns first": np.arange(6.0).reshape(2, 3).T,
    "objects": np.array([None, "a"], object),
    "a large integer": (1.0, 2**63),
    "text": (1.0, "a"),
    "a note": noted(1.0, "more"),
    "a tuple's own class": Pair((1.0, 2.0)),
    "a moment": time.gmtime(0),
    "truth": True,
    "mapping": {"a": 1.0},
    "a list in a tuple": (np.ones(2), [1.0]),
}


def same(left, right):
    """Whether two values are of the same types, and equal."""
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right)
    if getattr(left, "__dict__", None) != getattr(right, "__dict__", None):
        return False
    if isinstance(left, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


@pytest.mark.parametrize("value", DESCRIBED.values(), ids=DESCRIBED)
def test_what_is_taken_apart_is_put_together_again(value):
    form, pieces = take_apart(value)
    message = bytearray(b"".join(pieces))
    again = put_together(form, memoryview(message))
    message[:] = bytes(len(message))  # the value has its own memory
    assert same(again, value)
    assert take_apart(pickle.loads(pickle.dumps(value)))[0] == form


@pytest.mark.parametrize("value", OTHERS.values(), ids=OTHERS)
def test_other_values_have_no_form(value):
    assert take_apart(value) is None


class _Meeting:
    """A communicator between threads."""

    def __init__(self, size):
        self.size = size
        self.barrier = Barrier(size, timeout=30)
        self.said = [b""] * size

    def rank(self, number):
        return _Member(self, number)


class _Member:
    def __init__(self, meeting, rank):
        self.meeting, self.rank, self.size = meeting, rank, meeting.size
        self.lengths = []

    def Allgather(self, sent, received):
        self.lengths.append(len(sent))
        self.meeting.said[self.rank] = bytes(sent)
        self.meeting.barrier.wait()
        received[:] = b"".join(self.meeting.said)
        self.meeting.barrier.wait()


def meet(size, program):
    """What a program returns on each of so many ranks."""
    meeting = _Meeting(size)
    with ThreadPoolExecutor(size) as threads:
        return list(threads.map(program, map(meeting.rank, range(size))))


def test_all_ranks_see_results_in_the_same_order_in_memory():
    """Else sums of them would differ by rounding."""
    strided = np.random.default_rng(0).normal(size=(400, 501))[:, ::5]

    def program(member):
        results = Exchange(member).share("it", lambda: strided)
        return [result.sum() for result in results.values()]

    one, other = meet(2, program)
    assert one == other


@pytest.mark.parametrize("joined", [True, False])
def test_ranks_hear_what_was_said(joined):
    """Of one name, alike twice and thrice, then unlike; other ranks say other kinds."""
    values = [value for value in [*DESCRIBED.values(), *OTHERS.values()] for _ in range(3)]
    said = [[*values[shift:], *values[:shift]] for shift in (0, 4, 13)]

    def program(member):
        exchange = Exchange(member)
        if not joined:
            return [exchange.share("it", lambda each=each: each) for each in said[exchange.rank]]
        with exchange.together():
            return [exchange.share("it", lambda each=each: each) for each in said[exchange.rank]]

    for heard in meet(3, program):
        for number, results in enumerate(heard):
            for rank in range(3):
                assert same(results[rank], said[rank][number])


def test_what_is_known_of_results_ends_with_a_failure():
    """A rank that fails before it has heard the others knows less than they; none is confused."""
    wide, narrow = (np.ones(4), 1.0), (np.zeros(2), 2.0, 3)

    def program(member):
        exchange = Exchange(member)
        for value in (wide, narrow):
            with pytest.raises(ZeroDivisionError), exchange.together():
                for number in range(3):
                    results = exchange.share(
                        "it", lambda n=number, v=value: v if n < 2 or member.rank else 1 / 0
                    )
                    assert all(same(result, value) for result in results.values())
        with exchange.together():
            return exchange.share("it", lambda: wide)

    for heard in meet(2, program):
        assert same(heard[0], wide) and same(heard[1], wide)


def test_statistics_that_are_alike_are_sent_bare():
    array = np.arange(1000.0)

    def program(member):
        exchange = Exchange(member)
        bare = []
        with exchange.together():
            for _ in range(4):
                exchange.share("it", lambda: (array,))
                said = member.meeting.said[member.rank]
                message = said[_HEAD.size :][: _HEAD.unpack_from(said)[2]]
                bare.append(message == array.tobytes())
        # A message longer than the one before takes two calls; the end is one, too.
        return bare, len(member.lengths)

    assert meet(2, program) == [([False, True, True, True], 6)] * 2
