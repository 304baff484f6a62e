"""Rows whose values are hard to hold in few bits."""

import numpy as np


def mixture(rng, n_rows, n_features):
    """Normalised, with as much noise as signal."""
    means = rng.normal(size=(20, n_features))
    X = means[rng.integers(20, size=n_rows)] + rng.normal(size=(n_rows, n_features))
    return X / np.linalg.norm(X, axis=1)[:, np.newaxis]


def wild_norms(rng, n_rows, n_features):
    return rng.normal(size=(n_rows, n_features)) * np.exp(2 * rng.normal(size=(n_rows, 1)))


def wild_scales(rng, n_rows, n_features):
    return rng.normal(size=(n_rows, n_features)) * np.exp(3 * rng.normal(size=(1, n_features)))


def one_wide_feature(rng, n_rows, n_features):
    X = rng.normal(size=(n_rows, n_features))
    X[:, n_features // 2] *= 1e6
    return X


def zeros_and_duplicates(rng, n_rows, n_features):
    X = rng.normal(size=(n_rows, n_features))
    X[::3] = 0
    X[1::3] = X[1]
    return X


def tiny(rng, n_rows, n_features):
    return 1e-30 * rng.normal(size=(n_rows, n_features))


def huge(rng, n_rows, n_features):
    return 1e30 * rng.normal(size=(n_rows, n_features))


def one_far(rng, n_rows, n_features):
    X = rng.normal(size=(n_rows, n_features))
    X[5] *= 1e10
    return X


KINDS = [
    mixture, wild_norms, wild_scales, one_wide_feature, zeros_and_duplicates, tiny, huge, one_far,
]  # fmt: skip
