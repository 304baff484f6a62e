import numpy as np
import pytest

from fastem.mixtures.gaussian.few.directions import least_peaked
from fastem.mixtures.halving import halvings


def test_who_takes_cuts_computes_with_its_own_settings():
    X = np.random.default_rng(0).normal(size=(20, 3))
    with np.errstate(over="raise", invalid="raise"):
        settings = np.geterr()
        assert [np.geterr() == settings for _ in halvings(X, np.ones(20))] == [True, True]


@pytest.mark.parametrize("n_features", [1, 2, 7, 70])
@pytest.mark.parametrize("flat", [False, True])
def test_many_components_are_cut_as_each_one_alone(n_features, flat):
    rng = np.random.default_rng(0)
    parts = []
    for count in (60, 90, 200):
        X = rng.gamma(1.0, size=(count, n_features)) @ rng.normal(size=(n_features, n_features))
        X += 4.0 * rng.integers(2, size=(count, 1))
        if flat:
            X[:, -1] = 0.0
        parts.append((X, rng.uniform(0.5, 2.0, count)))
    means = [np.average(X, axis=0, weights=weight) for X, weight in parts]
    covariances = [
        np.cov(X.T, aweights=weight, ddof=0).reshape(2 * X.shape[1:]) for X, weight in parts
    ]

    def fourth_moments(axes):
        for (X, weight), mean, own in zip(parts, means, axes, strict=True):
            Y = (X - mean) @ own
            yield (Y * (weight * (Y**2).sum(axis=1))[:, np.newaxis]).T @ Y

    found = least_peaked(np.array(covariances), lambda axes: np.array([*fourth_moments(axes)]))
    if n_features in (1, 70):
        assert found is None
        return
    for j, (X, weight) in enumerate(parts):
        _, first = halvings(X, weight)
        along = (X - means[j]) @ found[j] > 0.0
        assert 0 < along.sum() < len(X)
        assert np.mean(along == first) in (0.0, 1.0)
