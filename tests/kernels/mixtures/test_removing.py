import numpy as np
import pytest

from fastem.kernels.mixtures.removing import removed


def losses(joint, sample_weight, weights):
    """What densities lose by each component's absence, by the densities themselves."""
    total = sample_weight @ np.log(joint.sum(axis=1) / weights.sum())
    for k in range(len(weights)):
        others = np.delete(joint, k, axis=1).sum(axis=1)
        yield total - sample_weight @ np.log(others / np.delete(weights, k).sum())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("noisy", [False, True])
def test_those_that_are_missed_least(dtype, noisy):
    rng = np.random.default_rng(0)
    for _ in range(10):
        weights = rng.dirichlet(np.ones(6))
        joint = rng.gamma(0.3, size=(200, 6)) * weights + 1e-9
        other = rng.gamma(0.3, size=(200, 1)) * noisy
        sample_weight = rng.uniform(0.2, 2.0, 200)
        shares = joint / (joint.sum(axis=1, keepdims=True) + other)
        found = removed(shares.astype(dtype), sample_weight, weights, 3)
        left = np.arange(6)
        for number in found:
            whole = np.column_stack([joint[:, left], other])
            own = np.append(weights[left], 0.0)
            lost = list(losses(whole, sample_weight, own))[: len(left)]
            assert left[np.argmin(lost)] == number
            left = left[left != number]


def test_rows_of_one_component_alone():
    """It is not removed, and after it was, nothing is left of its rows."""
    shares = np.eye(3)[np.repeat([0, 1, 2], [50, 5, 1])]
    weights = np.array([50, 5, 1]) / 56
    np.testing.assert_array_equal(removed(shares, np.ones(56), weights, 2), [2, 1])


def test_a_component_without_weight():
    shares = np.column_stack([np.full(9, 0.5), np.zeros(9), np.full(9, 0.5)])
    np.testing.assert_array_equal(removed(shares, np.ones(9), np.array([0.5, 0.0, 0.5]), 1), [1])
