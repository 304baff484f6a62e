import numpy as np
import pytest

from fastem.mixtures.memory import remembered, sharing


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
    memory = {}
    for stream in streams[1:]:
        with sharing(memory):
            np.testing.assert_array_equal(draw(values.copy(), 2, stream), alone)
    assert len(calls) == 2
    # All streams are where the call has left them.
    ahead = [stream.random_sample() for stream in streams]
    assert ahead[0] == ahead[1] == ahead[2]


def test_again_for_others(drawn):
    draw, calls = drawn
    values = np.arange(5.0)
    with sharing({}):
        draw(values, 2, np.random.RandomState(0))
        draw(values, 3, np.random.RandomState(0))
        draw(values, 2, np.random.RandomState(1))
        draw(values + 1, 2, np.random.RandomState(0))
        draw(values.astype(np.float32), 2, np.random.RandomState(0))
        assert len(calls) == 5
        draw(values, 2, np.random.RandomState(0))
        assert len(calls) == 5


def test_nothing_outlives_the_sharing(drawn):
    draw, calls = drawn
    for _ in range(2):
        with sharing({}):
            draw(np.arange(5.0), 2, np.random.RandomState(0))
    draw(np.arange(5.0), 2, np.random.RandomState(0))
    assert len(calls) == 3


def test_a_failure_is_not_remembered():
    @remembered
    def fail(message):
        raise ValueError(message)

    with sharing({}):
        for _ in range(2):
            with pytest.raises(ValueError, match="once more"):
                fail("once more")
