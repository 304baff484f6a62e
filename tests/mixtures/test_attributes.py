"""Parameters that users set by hand, without a fit."""

import math

import numpy as np
import pytest
from mixtures import random_mixture
from reference import COVARIANCE_TYPES
from sklearn.exceptions import NotFittedError

from fastem import BernoulliMixture, GaussianMixture, em, kl_divergence


class Exponentials(em.Mixture):
    def log_density(x, log_rate, rate):
        return log_rate - rate * x[0]

    def arguments(self, rates):
        return np.log(rates), rates

    def m_step(self, counts, sums):
        return counts / sums[:, 0]


def by_hand(source, *names):
    mixture = GaussianMixture(source.n_components, covariance_type=source.covariance_type)
    for name in ("weights_", "means_", *names):
        setattr(mixture, name, getattr(source, name))
    return mixture


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_a_gaussian_mixture(covariance_type):
    source = random_mixture(covariance_type, 3, 2)
    X = np.random.default_rng(0).normal(size=(50, 2))
    for names in (
        ["covariances_"],
        ["precisions_cholesky_"],
        ["covariances_", "precisions_cholesky_"],
    ):
        mixture = by_hand(source, *names)
        before = set(vars(mixture))
        assert mixture.n_features_in_ == 2
        np.testing.assert_array_equal(mixture.predict(X), source.predict(X))
        np.testing.assert_allclose(mixture.score_samples(X), source.score_samples(X), rtol=1e-10)
        np.testing.assert_allclose(mixture.covariance(), source.covariance(), rtol=1e-10)
        np.testing.assert_allclose(mixture.marginal([1]).mean(), source.mean()[1:], rtol=1e-12)
        assert mixture.bic(X) == pytest.approx(source.bic(X))
        assert mixture.sample(5)[0].shape == (5, 2)
        assert kl_divergence(source, mixture, n_samples=100).estimate == pytest.approx(0, abs=1e-9)
        assert set(vars(mixture)) == before
        with pytest.raises(ValueError, match="3 features, but GaussianMixture is expecting 2"):
            mixture.predict(np.zeros((4, 3)))


def test_lists_are_arrays():
    mixture = GaussianMixture(2, covariance_type="spherical")
    mixture.weights_, mixture.means_ = [0.25, 0.75], [[0, 0], [10, 10]]
    mixture.precisions_cholesky_ = [1, 1]
    assert mixture.predict([[1, 1], [9, 9]]).tolist() == [0, 1]
    expected = math.log(0.25) - math.log(2 * math.pi) - 1
    assert mixture.score_samples([[1, 1]])[0] == pytest.approx(expected)
    assert mixture.sample(9)[0].shape == (9, 2)
    coins = BernoulliMixture(2)
    coins.weights_, coins.probabilities_ = [0.5, 0.5], [[0.9], [0.2]]
    assert coins.predict([[1], [0]]).tolist() == [0, 1]
    assert coins.score_samples([[1]])[0] == pytest.approx(math.log(0.55))
    assert coins.n_features_in_ == 1
    own = Exponentials(2)
    own.weights_, own.parameters_ = [0.5, 0.5], [1.0, 10.0]
    assert own.predict([[3.0], [0.01]]).tolist() == [0, 1]
    expected = math.log(0.5 * math.exp(-1) + 5 * math.exp(-10))
    assert own.score_samples([[1.0]])[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("means_", [0.0, 1.0], "'means_' should have the shape of"),
        ("means_", [[0.0, np.nan], [1.0, 1.0]], "'means_' holds NaN"),
        ("means_", [["a", "b"], ["c", "d"]], "'means_' should be an array of numbers"),
        ("means_", np.zeros((3, 2)), "'weights_' should have the shape of"),
        ("weights_", [1.0], "'weights_' should have the shape of"),
        ("weights_", [-0.5, 1.5], "'weights_' should be non-negative"),
        ("weights_", [0.0, 0.0], "'weights_' should be non-negative"),
        ("precisions_cholesky_", np.ones(2), "'precisions_cholesky_' should have the shape of"),
        ("precisions_cholesky_", np.ones((2, 3)), "'precisions_cholesky_' should have the shape"),
        ("precisions_cholesky_", -np.ones((2, 2)), "'precisions_cholesky_' should be finite, with"),
        ("covariances_", np.ones((2, 2, 2)), "'covariances_' should have the shape of"),
    ],
)
def test_gaussian_parameters_that_are_refused(name, value, message):
    mixture = by_hand(random_mixture("diag", 2, 2), "precisions_cholesky_")
    setattr(mixture, name, value)
    for method in (mixture.predict, mixture.score_samples, mixture.bic):
        with pytest.raises(ValueError, match=message):
            method(np.zeros((3, 2)))
    with pytest.raises(ValueError, match=message):
        mixture.sample(3)


def test_covariances_that_are_refused():
    mixture = by_hand(random_mixture("diag", 2, 2), "covariances_")
    mixture.covariances_ = -mixture.covariances_
    with pytest.raises(ValueError, match="'diag covariance' should be positive"):
        mixture.predict(np.zeros((3, 2)))


def test_another_types_arrays_are_refused():
    X = np.random.default_rng(0).normal(size=(60, 3))
    for covariance_type in COVARIANCE_TYPES:
        for other in set(COVARIANCE_TYPES) - {covariance_type}:
            mixture = GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X)
            mixture.set_params(covariance_type=other)
            with pytest.raises(ValueError, match="'precisions_cholesky_' should have the shape of"):
                mixture.predict(X)


def test_other_mixtures_parameters_that_are_refused():
    coins = BernoulliMixture(2)
    coins.weights_ = [0.5, 0.5]
    for value in ([0.5, 0.5], [[0.5], [np.nan]], [[0.5], [1.5]], [[0.1], [0.2], [0.3]]):
        coins.probabilities_ = value
        with pytest.raises(ValueError, match=r"'(probabilities|weights)_'"):
            coins.predict([[1.0]])
    own = Exponentials(2)
    own.weights_, own.parameters_ = [0.5, 0.5], [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match="'parameters_' should be an array"):
        own.predict([[1.0]])


def test_what_is_missing_is_named():
    mixture = GaussianMixture(2)
    mixture.means_ = np.zeros((2, 2))
    with pytest.raises(NotFittedError, match="it has no 'weights_'"):
        mixture.predict([[0.0, 0.0]])
    mixture.weights_ = [0.5, 0.5]
    with pytest.raises(NotFittedError, match="it has no 'covariances_'"):
        mixture.predict([[0.0, 0.0]])
    own = Exponentials(1)
    own.weights_ = [1.0]
    with pytest.raises(NotFittedError, match="it has no 'parameters_'"):
        own.predict([[0.0]])
    assert not hasattr(GaussianMixture(), "n_features_in_")


def test_a_fit_replaces_what_was_set():
    X = np.random.default_rng(0).normal(size=(60, 3))
    mixture = by_hand(random_mixture("full", 2, 2), "covariances_").set_params(random_state=0)
    fitted = GaussianMixture(2, random_state=0).fit(X)
    mixture.fit(X)
    assert mixture.n_features_in_ == 3
    np.testing.assert_array_equal(mixture.means_, fitted.means_)
