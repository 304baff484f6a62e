import numpy as np
import pytest

from fastem.rows import LocalRows, Part, array_rows
from fastem.rows.choice import choose_rows


def numpys_choice(n_rows, sample_weight, seed, size):
    weights = np.ones(n_rows) if sample_weight is None else sample_weight
    state = np.random.RandomState(seed)
    chosen = state.choice(n_rows, size=size, replace=False, p=weights / weights.sum())
    return chosen, state.uniform()


@pytest.mark.parametrize("n_rows", [1, 2, 3, 10, 1000, 65_536, 200_000])
@pytest.mark.parametrize("weighted", [False, True])
def test_same_rows_as_numpy(n_rows, weighted):
    rng = np.random.default_rng(n_rows)
    sample_weight = rng.uniform(size=n_rows) * (rng.uniform(size=n_rows) < 0.7) + 1e-9
    sample_weight = sample_weight if weighted else None
    rows = array_rows(np.zeros((n_rows, 1)), sample_weight)
    for seed in range(12):
        size = min(n_rows, 1 + seed * seed)
        state = np.random.RandomState(seed)
        chosen = choose_rows(rows, state, size)
        expected, following = numpys_choice(n_rows, sample_weight, seed, size)
        np.testing.assert_array_equal(chosen, expected)
        assert state.uniform() == following


@pytest.mark.parametrize("weighted", [False, True])
def test_same_rows_from_parts(weighted):
    rng = np.random.default_rng(0)
    X, sample_weight = np.zeros((500, 1)), rng.uniform(size=500)
    parts = [
        Part(X[a:b], sample_weight[a:b] if weighted else None, a)
        for a, b in ((0, 1), (1, 300), (300, 500))
    ]
    for seed in range(10):
        chosen = choose_rows(LocalRows(parts), np.random.RandomState(seed), 100)
        expected, _ = numpys_choice(500, sample_weight if weighted else None, seed, 100)
        np.testing.assert_array_equal(chosen, expected)


def test_values_at_a_step_are_searched_as_numpy_does():
    """Where rounding decides between two rows, the cumulative sums are formed."""

    class State:
        def random_sample(self, size):
            return values[:size]

    n_rows = 1000
    steps = np.cumsum(np.full(n_rows, 1 / n_rows))
    steps /= steps[-1]
    values = np.concatenate([steps[:-1], np.nextafter(steps[:-1], 0)])
    rows = array_rows(np.zeros((n_rows, 1)))
    expected = np.unique(np.searchsorted(steps, values[:400], side="right"))
    chosen = choose_rows(rows, State(), 400)
    np.testing.assert_array_equal(np.sort(chosen), expected[:400])


def test_too_few_positive_weights():
    rows = array_rows(np.zeros((5, 1)), np.array([0, 1.0, 0, 2, 0]))
    assert sorted(choose_rows(rows, np.random.RandomState(0), 2)) == [1, 3]
    with pytest.raises(ValueError, match="Fewer non-zero entries in p than size"):
        choose_rows(rows, np.random.RandomState(0), 3)
