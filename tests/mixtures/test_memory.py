import numpy as np
import pytest

from fastem.mixtures.memory import Memory, is_shared, remembered, sharing
from fastem.rows import array_rows
from fastem.rows.stream import StreamedRows, streamed_parts


@pytest.fixture
def drawn():
    """A remembered function, and the arguments of its calls."""
    calls = []

    @remembered
    def draw(values, n, stream):
        calls.append((values, n))
        return values[:n] + stream.random_sample(n)

    return draw, calls


def test_once_for_the_same_arguments(drawn):
    draw, calls = drawn
    values, streams = np.arange(5.0), [np.random.RandomState(3) for _ in range(3)]
    alone = draw(values, 2, streams[0])
    memory = Memory()
    for stream in streams[1:]:
        with sharing(memory):
            np.testing.assert_array_equal(draw(values.copy(), 2, stream), alone)
    assert len(calls) == 2
    # All streams are where the call has left them.
    ahead = [stream.random_sample() for stream in streams]
    assert ahead[0] == ahead[1] == ahead[2]


@pytest.mark.filterwarnings("error")
def test_streams_of_any_bit_generator(drawn):
    draw, calls = drawn
    generators = np.random.MT19937, np.random.PCG64, np.random.Philox
    with sharing(Memory()):
        for number, generator in enumerate(generators):
            streams = [np.random.RandomState(generator(seed)) for seed in (0, 0, 1)]
            first, again, other = (draw(np.arange(5.0), 2, stream) for stream in streams)
            np.testing.assert_array_equal(first, again)
            assert (first != other).all()
            assert len(calls) == 2 * (number + 1)
            assert streams[0].random_sample() == streams[1].random_sample()


def test_again_for_others(drawn):
    draw, calls = drawn
    values = np.arange(5.0)
    with sharing(Memory()):
        draw(values, 2, np.random.RandomState(0))
        draw(values, 3, np.random.RandomState(0))
        draw(values, 2, np.random.RandomState(1))
        draw(values + 1, 2, np.random.RandomState(0))
        draw(values.astype(np.float32), 2, np.random.RandomState(0))
        assert len(calls) == 5
        draw(values, 2, np.random.RandomState(0))
        assert len(calls) == 5


def test_rows_are_told_apart_by_values_and_weights():
    calls = []

    @remembered
    def count(rows, n, *, known):
        calls.append(known)
        return rows.n_rows + n

    X = np.arange(12.0).reshape(6, 2)
    halves = [array_rows(np.vstack([X, X])[6 * i :][:6], None) for i in range(2)]
    weighted = array_rows(X, np.ones(6))
    zeros = array_rows(np.where(X == 0.0, -0.0, X), None)
    with sharing(Memory()):
        for n, rows in enumerate([*halves, array_rows(X, None), weighted, zeros, weighted]):
            assert count(rows, 1, known=n) == 7
    assert calls == [0, 3, 4]


def test_rows_elsewhere_are_not_remembered():
    X, calls = np.ones((3, 2)), []
    file = StreamedRows(streamed_parts([lambda: X], [len(X)], None), 2, X.dtype, False)

    @remembered
    def count(rows):
        calls.append(rows)
        return rows.n_rows

    with sharing(Memory()):
        assert [count(file) for _ in range(2)] == [3, 3]
        assert not is_shared(file) and is_shared(array_rows(X, None))
    assert len(calls) == 2 and not is_shared(array_rows(X, None))


def test_nothing_outlives_the_sharing(drawn):
    draw, calls = drawn
    for _ in range(2):
        with sharing(Memory()):
            draw(np.arange(5.0), 2, np.random.RandomState(0))
    draw(np.arange(5.0), 2, np.random.RandomState(0))
    assert len(calls) == 3


def test_a_failure_is_not_remembered():
    @remembered
    def fail(message):
        raise ValueError(message)

    with sharing(Memory()):
        for _ in range(2):
            with pytest.raises(ValueError, match="once more"):
                fail("once more")
