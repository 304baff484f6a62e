"""Rotations that make matrices nearly diagonal together."""

import numpy as np
import pytest
from scipy.stats import ortho_group

from fastem.kernels.linalg.rotations import rotated


def objective(variances, weights, equal_volumes):
    logs = np.log(variances)
    return weights @ (np.exp(logs.mean(axis=1)) if equal_volumes else logs.sum(axis=1))


@pytest.mark.parametrize("equal_volumes", [False, True])
@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_matrices_with_the_same_axes(n, equal_volumes):
    rng = np.random.default_rng(n)
    axes = ortho_group.rvs(n, random_state=rng) if n > 1 else np.ones((1, 1))
    variances = rng.uniform(0.1, 10, size=(4, n))
    variances[:, : n // 3] = 2.0  # where any axes do
    matrices = (axes * variances[:, np.newaxis]) @ axes.T
    found, diagonals = rotated(matrices, np.ones(4), np.eye(n), equal_volumes, 100, 0.0)
    np.testing.assert_allclose(found @ found.T, np.eye(n), atol=1e-12)
    again = (found * diagonals[:, np.newaxis]) @ found.T
    np.testing.assert_allclose(again, matrices, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("equal_volumes", [False, True])
def test_no_sweep_raises_the_objective(equal_volumes):
    rng = np.random.default_rng(0)
    for _ in range(20):
        rows = rng.normal(size=(5, 9, 6)) * np.exp(2 * rng.normal(size=(5, 1, 6)))
        matrices = rows.swapaxes(1, 2) @ rows
        given, weights = matrices.copy(), rng.dirichlet(np.ones(5))
        axes, diagonals = np.eye(6), np.einsum("kii->ki", matrices)
        reached = objective(diagonals, weights, equal_volumes)
        for _ in range(5):
            axes, diagonals = rotated(matrices, weights, axes, equal_volumes, 1, 0.0)
            expected = np.einsum("ji,kjl,li->ki", axes, matrices, axes)
            np.testing.assert_allclose(diagonals, expected, rtol=1e-7)
            value = objective(diagonals, weights, equal_volumes)
            assert value <= reached + 1e-12 * abs(reached)
            reached = value
        np.testing.assert_array_equal(matrices, given)
