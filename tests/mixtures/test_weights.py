"""Weights of rows that are far from one, and criteria of weighted rows."""

import math

import numpy as np
import pytest
from reference import COVARIANCE_TYPES

from fastem import BernoulliMixture, GaussianMixture, em

FACTORS = (5e-324, 1e-310, 1e-46, 1e38, 1e304)


class Exponentials(em.Mixture):
    def log_density(x, log_rate, rate):
        return log_rate - rate * x[0]

    def arguments(self, rates):
        return np.log(rates), rates

    def m_step(self, counts, sums):
        return counts / sums[:, 0]


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(size=(60, 2)), rng.normal(size=(60, 2)) + 4])


def same_attributes(fitted, plain, names, rtol):
    for name in (*names, "weights_", "lower_bound_"):
        np.testing.assert_allclose(
            getattr(fitted, name), getattr(plain, name), rtol=rtol, atol=rtol, err_msg=name
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_weights_times_a_constant_are_the_same_weights(covariance_type, dtype, X):
    X = X.astype(dtype)
    model = GaussianMixture(2, covariance_type=covariance_type, random_state=0)
    plain = model.fit(X)
    means, covariances, bound = plain.means_, plain.covariances_, plain.lower_bound_
    score = plain.score(X)
    for factor in FACTORS:
        found = GaussianMixture(2, covariance_type=covariance_type, random_state=0)
        found.fit(X, sample_weight=np.full(len(X), factor))
        np.testing.assert_allclose(found.means_, means, rtol=1e-4)
        np.testing.assert_allclose(found.covariances_, covariances, rtol=1e-4, atol=1e-6)
        assert found.lower_bound_ == pytest.approx(bound, rel=1e-6)
        weight = np.full(len(X), factor)
        assert found.score(X, sample_weight=weight) == pytest.approx(score, rel=1e-6)


@pytest.mark.parametrize("init_params", ["k-means++", "random", "random_from_data"])
def test_starts_of_far_weights(init_params, X):
    for factor in FACTORS:
        model = GaussianMixture(2, init_params=init_params, random_state=0)
        model.fit(X, sample_weight=np.full(len(X), factor))
        assert np.isfinite(model.means_).all()
        # Whatever the start, no worse than one component but for the tolerance.
        assert model.score(X) > GaussianMixture(1).fit(X).score(X) - 0.01


@pytest.mark.parametrize("factor", [1e-9, 1e-6, 1e-2, 1e6])
@pytest.mark.parametrize("covariance_type", [name for name in COVARIANCE_TYPES if "tied" in name])
@pytest.mark.parametrize("init_params", ["k-means++", "random_from_data"])
def test_the_unit_of_weights_is_nothing_to_seeds(init_params, covariance_type, factor, X):
    def fitted(weight):
        model = GaussianMixture(
            2, covariance_type=covariance_type, init_params=init_params, random_state=1, tol=1e-6
        )
        return model.fit(X, sample_weight=np.full(len(X), weight))

    same_attributes(fitted(factor), fitted(1.0), ("means_", "covariances_"), rtol=1e-7)


def test_a_light_seed_leaves_a_covariance():
    """The second moment of all rows less that of the seeds, of which one hardly weighs anything."""
    X = np.random.default_rng(0).normal(size=(40, 2))
    X[0] = 1000.0, -500.0
    weight = np.ones(40)
    weight[0] = 1e-4
    for seed in range(10):
        start = GaussianMixture(
            3, covariance_type="tied", init_params="k-means++", random_state=seed, max_iter=0
        ).fit(X, sample_weight=weight)
        assert (np.linalg.eigvalsh(start.covariances_) > 0.0).all()


def test_other_mixtures_of_far_weights(X):
    ones = X > 1
    plain = BernoulliMixture(2, random_state=0).fit(ones)
    positive = np.abs(X)
    rates = Exponentials(2, random_state=0).fit(positive)
    for factor in FACTORS:
        weight = np.full(len(X), factor)
        found = BernoulliMixture(2, random_state=0).fit(ones, sample_weight=weight)
        same_attributes(found, plain, ["probabilities_"], 1e-9)
        found = Exponentials(2, random_state=0).fit(positive, sample_weight=weight)
        same_attributes(found, rates, ["parameters_"], 1e-9)


def test_pseudo_counts_count_as_rows_whatever_the_weights(X):
    """One component's probabilities are (sum + alpha) / (count + 2 alpha), by hand."""
    ones = X > 1
    for factor in (1e-12, 3.0, 1e12):
        model = BernoulliMixture(1, alpha=2.0).fit(ones, sample_weight=np.full(len(X), factor))
        expected = (factor * ones.sum(axis=0) + 2.0) / (factor * len(X) + 4.0)
        np.testing.assert_allclose(model.probabilities_[0], expected, rtol=1e-12)


def test_a_users_m_step_sees_the_weights_that_were_given(X):
    seen = []

    class Watching(Exponentials):
        def m_step(self, counts, sums):
            seen.append(counts.sum())
            return super().m_step(counts, sums)

    for factor in (1e-30, 1.0, 1e30):
        seen.clear()
        Watching(1).fit(np.abs(X), sample_weight=np.full(len(X), factor))
        np.testing.assert_allclose(seen, factor * len(X), rtol=1e-12)


def test_sums_over_rows_with_far_weights(X):
    model = GaussianMixture(2, random_state=0).fit(X)
    log_density = model.score_samples(X)
    q = np.full((len(X), 2), 0.5)
    for factor in (1e-300, 1e-20, 1e20, 1e300):
        weight = np.full(len(X), factor)
        assert model.elbo(X, sample_weight=weight) == pytest.approx(
            factor * log_density.sum(), rel=1e-12
        )
        both = model.elbo(X, q, weight) + model.posterior_kl(X, q, weight)
        assert both == pytest.approx(factor * log_density.sum(), rel=1e-12)
    # One row of the least weight there is: its product is no more than 4 digits of it.
    assert model.score(X[:1], sample_weight=[5e-324]) == pytest.approx(log_density[0], rel=1e-12)


@pytest.mark.parametrize("criterion", ["aic", "bic", "icl"])
def test_a_weight_of_two_is_the_row_twice(criterion, X):
    rng = np.random.default_rng(5)
    times = rng.integers(0, 4, size=len(X))
    repeated = np.repeat(X, times, axis=0)
    ones = X > 1
    for model, rows, again in (
        (GaussianMixture(2, random_state=0), X, repeated),
        (BernoulliMixture(2, random_state=0), ones, np.repeat(ones, times, axis=0)),
        (Exponentials(2, random_state=0), np.abs(X), np.abs(repeated)),
    ):
        model.fit(rows)
        found = getattr(model, criterion)(rows, sample_weight=times)
        assert found == pytest.approx(getattr(model, criterion)(again), rel=1e-12)
        assert found != pytest.approx(getattr(model, criterion)(rows), rel=1e-3)


def test_criteria_of_a_table_of_patterns():
    """One component of one feature: all by hand."""
    patterns, counts = np.array([[0.0], [1.0]]), np.array([30.0, 10.0])
    model = BernoulliMixture(1).fit(patterns, sample_weight=counts)
    log_likelihood = 30 * math.log(0.75) + 10 * math.log(0.25)
    assert model.aic(patterns, sample_weight=counts) == pytest.approx(-2 * log_likelihood + 2)
    expected = -2 * log_likelihood + math.log(40)
    assert model.bic(patterns, sample_weight=counts) == pytest.approx(expected)
    assert model.icl(patterns, sample_weight=counts) == pytest.approx(expected)
