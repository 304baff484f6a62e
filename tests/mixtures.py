"""Gaussian mixtures with random parameters."""

import numpy as np

from fastem import GaussianMixture


def random_mixture(covariance_type, n_components, n_features, seed=0):
    """Components overlap, and covariances are far from diagonal where their type allows."""
    rng = np.random.default_rng([seed, n_components, n_features])
    roots = rng.normal(size=(n_components, n_features, n_features))
    matrices = roots @ roots.swapaxes(1, 2) / n_features + 0.2 * np.eye(n_features)
    diagonals = np.einsum("kii->ki", matrices)
    covariances = {
        "full": matrices,
        "tied": matrices[0],
        "diag": diagonals,
        "spherical": diagonals[:, 0],
        "tied_diag": diagonals[0],
        "tied_spherical": diagonals[0, 0],
    }[covariance_type]
    weights = rng.dirichlet(np.full(n_components, 3.0))
    means = rng.normal(size=(n_components, n_features), scale=1.5)
    return GaussianMixture.from_parameters(weights, means, covariances, covariance_type)
