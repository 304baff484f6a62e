"""Gaussian mixtures as distributions: moments, sums, marginals and conditionals."""

import itertools
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixtures import random_mixture
from reference import (
    COVARIANCE_TYPES,
    conditional_gaussian,
    covariance_matrices,
    gaussian_log_joint,
    moments_of_mixture,
)
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import kstest, norm
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture as SklearnGaussianMixture

from fastem import BernoulliMixture, GaussianMixture
from fastem.mixtures.gaussian.conditional import Conditional

every_type = pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)


def parts(mixture):
    """Weights, means and covariance matrices."""
    shape = mixture.means_.shape
    matrices = covariance_matrices(mixture.covariances_, mixture.covariance_type, *shape)
    return mixture.weights_, mixture.means_, matrices


def log_density(mixture, X):
    """By SciPy."""
    return logsumexp(gaussian_log_joint(X, *parts(mixture)), axis=1)


def density(mixture, *x):
    return np.exp(mixture.score_samples([x])[0])


def integral(function):
    return quad(function, -25, 25, limit=200, epsabs=1e-12)[0]


def assert_equal_parts(mixture, expected, rtol=1e-10):
    for found, value in zip(parts(mixture), expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=rtol, atol=1e-12)


# Moments.


@every_type
def test_moments(covariance_type):
    mixture = random_mixture(covariance_type, 4, 3)
    mean, covariance = moments_of_mixture(*parts(mixture))
    assert mixture.mean().shape == (3,)
    np.testing.assert_allclose(mixture.mean(), mean, rtol=1e-12)
    np.testing.assert_allclose(mixture.covariance(), covariance, rtol=1e-12)
    np.testing.assert_array_equal(mixture.covariance(), mixture.covariance().T)


@every_type
def test_moments_are_those_of_samples(covariance_type):
    mixture = random_mixture(covariance_type, 3, 2).set_params(random_state=0)
    X, _ = mixture.sample(40_000)
    errors = X.std(axis=0) / np.sqrt(len(X))
    assert (np.abs(X.mean(axis=0) - mixture.mean()) < 4.5 * errors).all()
    centred = X - mixture.mean()
    products = centred[:, :, np.newaxis] * centred[:, np.newaxis]
    errors = products.std(axis=0) / np.sqrt(len(X))
    assert (np.abs(products.mean(axis=0) - mixture.covariance()) < 4.5 * errors).all()


@every_type
def test_moments_are_integrals(covariance_type):
    mixture = random_mixture(covariance_type, 3, 1)
    mean = integral(lambda x: x * density(mixture, x))
    variance = integral(lambda x: (x - mean) ** 2 * density(mixture, x))
    assert mixture.mean()[0] == pytest.approx(mean, rel=1e-9)
    assert mixture.covariance()[0, 0] == pytest.approx(variance, rel=1e-9)


def test_the_covariance_far_from_zero():
    mixture = random_mixture("full", 4, 3)
    weights, means, matrices = parts(mixture)
    far = GaussianMixture.from_parameters(weights, means + 1e7, matrices)
    np.testing.assert_allclose(far.covariance(), mixture.covariance(), rtol=1e-7)


def test_one_component_has_its_own_moments():
    mixture = random_mixture("full", 1, 3)
    np.testing.assert_array_equal(mixture.mean(), mixture.means_[0])
    np.testing.assert_array_equal(mixture.covariance(), mixture.covariances_[0])


# Sums of independent variables.

MATRIX, DIAGONAL, NUMBER = ("full", "tied"), ("diag", "tied_diag"), ("spherical", "tied_spherical")


def type_of_sum(left, right):
    """The first of own covariances and the second of shared ones, as a table."""
    order = next(pair for pair in (MATRIX, DIAGONAL, NUMBER) if left in pair or right in pair)
    return order[left.startswith("tied") and right.startswith("tied")]


@pytest.mark.parametrize(
    ("left", "right"), list(itertools.product(COVARIANCE_TYPES, COVARIANCE_TYPES))
)
def test_convolve(left, right):
    x, y = random_mixture(left, 2, 3), random_mixture(right, 4, 3, seed=1)
    z = x.convolve(y)
    assert z.covariance_type == type_of_sum(left, right)
    pairs = list(itertools.product(zip(*parts(x), strict=True), zip(*parts(y), strict=True)))
    expected = [
        (weight_x * weight_y, mean_x + mean_y, matrix_x + matrix_y)
        for (weight_x, mean_x, matrix_x), (weight_y, mean_y, matrix_y) in pairs
    ]
    assert_equal_parts(z, map(np.array, zip(*expected, strict=True)))
    np.testing.assert_allclose(z.mean(), x.mean() + y.mean(), rtol=1e-10)
    np.testing.assert_allclose(z.covariance(), x.covariance() + y.covariance(), rtol=1e-10)
    X = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(z.score_samples(X), log_density(z, X), rtol=1e-10)


def test_the_narrowest_types_of_sums():
    assert type_of_sum("tied_diag", "tied_diag") == "tied_diag"
    assert type_of_sum("spherical", "tied_spherical") == "spherical"
    assert type_of_sum("tied", "spherical") == "full"


@every_type
def test_convolve_is_an_integral(covariance_type):
    x = random_mixture(covariance_type, 2, 1)
    y = random_mixture("spherical", 3, 1, seed=1)
    z = x.convolve(y)
    for at in (-3.0, 0.1, 2.0):
        expected = integral(lambda t, at=at: density(x, t) * density(y, at - t))
        assert density(z, at) == pytest.approx(expected, rel=1e-9)


def test_convolve_is_the_distribution_of_sums():
    x, y = random_mixture("diag", 3, 1), random_mixture("tied", 2, 1, seed=1)
    rng, n = np.random.RandomState(0), 5_000
    samples = [mixture.set_params(random_state=rng).sample(n)[0][:, 0] for mixture in (x, y)]
    weights, means, matrices = parts(x.convolve(y))
    deviations = np.sqrt(matrices[:, 0, 0])

    def cdf(value):
        return norm.cdf((value[:, np.newaxis] - means[:, 0]) / deviations) @ weights

    sums = samples[0] + rng.permutation(samples[1])
    assert kstest(sums, cdf).pvalue > 1e-3
    assert kstest(sums + 0.2, cdf).pvalue < 1e-6  # the test would tell


finite = st.floats(-10, 10)
positive = st.floats(0.01, 10)


@st.composite
def mixtures(draw):
    """Of one feature."""
    n_components = draw(st.integers(1, 4))
    values = [
        draw(st.lists(strategy, min_size=n_components, max_size=n_components))
        for strategy in (positive, finite, positive)
    ]
    weights, means, variances = map(np.array, values)
    weights /= weights.sum()
    return GaussianMixture.from_parameters(weights, means[:, np.newaxis], variances, "spherical")


@settings(max_examples=40, deadline=None)
@given(mixtures(), mixtures(), mixtures())
def test_sums_commute_and_associate(x, y, z):
    X = np.linspace(-20, 20, 9)[:, np.newaxis]
    sums = [x.convolve(y), y.convolve(x)]
    np.testing.assert_allclose(*(s.score_samples(X) for s in sums), rtol=1e-9)
    sums = [x.convolve(y).convolve(z), x.convolve(y.convolve(z))]
    np.testing.assert_allclose(*(s.score_samples(X) for s in sums), rtol=1e-9)


# Marginals.


@every_type
@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ([2, 0], [2, 0]),
        ((-1, 1), [3, 1]),
        (np.array([0, 3], np.uint8), [0, 3]),
        ([True, False, False, True], [0, 3]),
        (range(4), [0, 1, 2, 3]),
        (2, [2]),
        (-4, [0]),
    ],
)
def test_marginal(covariance_type, features, expected):
    mixture = random_mixture(covariance_type, 3, 4)
    marginal = mixture.marginal(features)
    assert marginal.covariance_type == covariance_type
    weights, means, matrices = parts(mixture)
    submatrices = np.array([matrix[np.ix_(expected, expected)] for matrix in matrices])
    assert_equal_parts(marginal, (weights, means[:, expected], submatrices))
    X = np.random.default_rng(0).normal(size=(5, len(expected)))
    np.testing.assert_allclose(marginal.score_samples(X), log_density(marginal, X), rtol=1e-10)


@every_type
def test_a_marginal_is_an_integral(covariance_type):
    mixture = random_mixture(covariance_type, 3, 2)
    marginal = mixture.marginal(1)
    for at in (-1.0, 0.5):
        expected = integral(lambda x, at=at: density(mixture, x, at))
        assert density(marginal, at) == pytest.approx(expected, rel=1e-9)


# Conditionals.


@every_type
def test_condition_on_a_row(covariance_type):
    mixture, chosen, rest = random_mixture(covariance_type, 3, 5), [3, -5], [1, 2, 4]
    value = np.array([0.3, -1.0])
    conditional = mixture.condition(chosen, value)
    assert conditional.covariance_type == covariance_type
    weights, means, matrices = parts(mixture)
    both = [
        conditional_gaussian(mean, matrix, [3, 0], rest, value)
        for mean, matrix in zip(means, matrices, strict=True)
    ]
    known = gaussian_log_joint(
        value[np.newaxis], weights, means[:, [3, 0]], matrices[:, [[3], [0]], [3, 0]]
    )
    posterior = np.exp(known[0] - logsumexp(known))
    assert_equal_parts(conditional, (posterior, *map(np.array, zip(*both, strict=True))), 1e-9)

    # log p(rest given value) = log p(rest, value) - log p(value)
    X = np.random.default_rng(0).normal(size=(6, 5))
    X[:, chosen] = value
    found = conditional.score_samples(X[:, rest])
    expected = log_density(mixture, X) - logsumexp(known)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@every_type
@pytest.mark.parametrize("n_components", [1, 4])
def test_condition_on_many_rows(covariance_type, n_components):
    mixture = random_mixture(covariance_type, n_components, 4)
    values = np.random.default_rng(0).normal(size=(9, 2), scale=2)
    many = mixture.condition([1, 3], values)
    assert isinstance(many, Conditional)
    assert len(many) == len(list(many)) == 9
    assert many.weights.shape == (9, n_components)
    assert many.means.shape == (9, n_components, 2)
    assert many.mean().shape == (9, 2)
    assert many.covariance().shape == (9, 2, 2)
    for row, value in enumerate(values):
        one = mixture.condition([1, 3], value)
        assert_equal_parts(many[row], parts(one))
        np.testing.assert_allclose(many.mean()[row], one.mean(), rtol=1e-10)
        np.testing.assert_allclose(many.covariance()[row], one.covariance(), rtol=1e-10)
    again = pickle.loads(pickle.dumps(many))
    np.testing.assert_array_equal(again[-1].means_, many[8].means_)
    for row in (9, -10):
        with pytest.raises(IndexError):
            many[row]
    with pytest.raises(TypeError):
        many[1.0]


@every_type
def test_predictive_moments_are_integrals(covariance_type):
    mixture = random_mixture(covariance_type, 3, 2)
    values = np.array([[-1.0], [0.5], [3.0]])
    conditional = mixture.condition(0, values)
    for row, (value,) in enumerate(values):
        total = integral(lambda y, x=value: density(mixture, x, y))
        mean = integral(lambda y, x=value: y * density(mixture, x, y)) / total
        square = integral(lambda y, x=value, mean=mean: (y - mean) ** 2 * density(mixture, x, y))
        assert conditional.mean()[row, 0] == pytest.approx(mean, rel=1e-8)
        assert conditional.covariance()[row, 0, 0] == pytest.approx(square / total, rel=1e-8)


def test_mixture_regression_finds_the_curve():
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, size=4_000)
    y = np.sin(x) + 0.1 * rng.normal(size=len(x))
    mixture = GaussianMixture(12, random_state=0).fit(np.column_stack([x, y]))
    new = np.linspace(-2.5, 2.5, 50)[:, np.newaxis]
    predicted = mixture.condition(0, new)
    assert np.abs(predicted.mean() - np.sin(new)).max() < 0.1
    deviations = np.sqrt(predicted.covariance()[:, 0, 0])
    assert (np.abs(deviations - 0.1) < 0.06).all()


@every_type
@pytest.mark.parametrize("far", [1e4, 1e8, 1e150, 1e154, 1e160, 1e200, 1e300])
def test_far_values_give_weights_all_the_same(covariance_type, far):
    mixture = random_mixture(covariance_type, 3, 3)
    conditional = mixture.condition([0, 2], [[far, -far], [0.0, 0.0], [-far, far]])
    assert (conditional.weights >= 0).all()
    np.testing.assert_allclose(conditional.weights.sum(axis=1), 1.0)
    assert np.isfinite(conditional.mean()).all()
    np.testing.assert_allclose(conditional.weights[1], mixture.condition([0, 2], [0, 0]).weights_)


@pytest.mark.parametrize("far", [1e3, 1e150, 1e160, 1e307])
def test_the_widest_component_has_the_far_values(far):
    mixture = GaussianMixture.from_parameters(
        [0.5, 0.3, 0.2, 0.0], np.zeros((4, 2)), [1.0, 2.0, 1.5, 9.0], "spherical"
    )
    for value in (far, -far):
        np.testing.assert_array_equal(mixture.condition(1, [value]).weights_, [0, 1, 0, 0])


def test_nearly_equal_features_leave_a_positive_variance():
    covariance = np.full((3, 3), 1.0) + 1e-12 * np.eye(3)
    mixture = GaussianMixture.from_parameters([1.0], np.zeros((1, 3)), covariance[np.newaxis])
    conditional = mixture.condition([0, 1], [2.0, 2.0])
    assert conditional.means_[0, 0] == pytest.approx(2.0, abs=1e-3)
    # 1e-12 (3 + 1e-12) / (2 + 1e-12), by the matrix's determinants
    assert conditional.covariances_[0, 0, 0] == pytest.approx(1.5e-12, rel=1e-3)


# What is returned is as good as fitted.


def derived(mixture):
    """Two features each."""
    yield mixture.convolve(mixture).marginal([0, 1])
    yield mixture.marginal([2, 1])
    yield mixture.condition(1, 0.5)
    yield mixture.condition([1], [[0.5], [1.5]])[1]


@every_type
def test_results_are_fitted(covariance_type):
    X = np.random.default_rng(0).normal(size=(20, 2))
    for mixture in derived(random_mixture(covariance_type, 2, 3)):
        parameters = mixture.weights_, mixture.means_, mixture.covariances_
        made = GaussianMixture.from_parameters(*parameters, covariance_type)
        assert vars(mixture).keys() == vars(made).keys()
        for name, value in vars(made).items():
            assert type(getattr(mixture, name)) is type(value), name
        np.testing.assert_allclose(mixture.precisions_, made.precisions_, rtol=1e-9, atol=1e-12)
        assert mixture.get_params() == made.get_params()
        assert mixture.n_features_in_ == 2
        assert mixture.weights_.sum() == pytest.approx(1.0, rel=1e-12)

        again = pickle.loads(pickle.dumps(mixture))
        np.testing.assert_array_equal(again.predict_proba(X), mixture.predict_proba(X))
        np.testing.assert_array_equal(again.predict(X), mixture.predict_proba(X).argmax(axis=1))
        np.testing.assert_allclose(mixture.score_samples(X), log_density(mixture, X), rtol=1e-10)
        assert np.isfinite([mixture.score(X), mixture.bic(X), mixture.icl(X)]).all()
        samples = [mixture.set_params(random_state=3).sample(5)[0] for _ in range(2)]
        np.testing.assert_array_equal(*samples)
        assert samples[0].shape == (5, 2)
        assert clone(mixture).get_params() == mixture.get_params()
        with pytest.raises(NotFittedError):
            clone(mixture).predict(X)
        with pytest.raises(ValueError, match="expecting 2 features as input"):
            mixture.predict(X[:, :1])
        assert mixture.set_params(warm_start=True, max_iter=1000).fit(X).converged_


@every_type
@pytest.mark.parametrize("init_params", ["kmeans", "k-means++"])
def test_results_of_single_precision_are_double_and_normalised(covariance_type, init_params):
    X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    # Without an iteration the seeds' weights don't sum to one.
    mixture = GaussianMixture(
        3, covariance_type=covariance_type, init_params=init_params, max_iter=0, random_state=0
    ).fit(X)
    for result in derived(mixture):
        assert result.means_.dtype == result.weights_.dtype == np.float64
        assert result.weights_.sum() == pytest.approx(1.0, rel=1e-12)
    assert mixture.mean().dtype == mixture.covariance().dtype == np.float64
    lowest, highest = mixture.means_.min(axis=0), mixture.means_.max(axis=0)
    assert ((lowest <= mixture.mean()) & (mixture.mean() <= highest)).all()


def test_names():
    rows = np.random.default_rng(0).normal(size=(40, 3))
    frame = pd.DataFrame(rows, columns=["height", "width", "depth"])
    mixture = GaussianMixture(2, random_state=0).fit(frame)
    plain = GaussianMixture(2, random_state=0).fit(rows)
    named = mixture.marginal(["depth", "height"])
    np.testing.assert_array_equal(named.feature_names_in_, ["depth", "height"])
    np.testing.assert_array_equal(named.means_, plain.marginal([2, 0]).means_)
    named.score_samples(frame[["depth", "height"]])
    with pytest.raises(ValueError, match="feature names should match"):
        named.score_samples(frame[["height", "depth"]])
    np.testing.assert_array_equal(mixture.marginal("width").feature_names_in_, ["width"])
    np.testing.assert_array_equal(
        mixture.marginal(pd.Index(["width"])).means_, mixture.marginal(1).means_
    )

    conditional = mixture.condition("width", frame[["width"]])
    np.testing.assert_array_equal(conditional.feature_names, ["height", "depth"])
    np.testing.assert_array_equal(conditional[0].feature_names_in_, ["height", "depth"])
    np.testing.assert_array_equal(conditional.means, plain.condition(1, rows[:, [1]]).means)
    with pytest.raises(ValueError, match="feature names should match"):
        mixture.condition(["width", "depth"], frame[["depth", "width"]])

    np.testing.assert_array_equal(
        mixture.convolve(mixture).feature_names_in_, mixture.feature_names_in_
    )
    assert not hasattr(mixture.convolve(plain), "feature_names_in_")
    assert not hasattr(plain.marginal([0]), "feature_names_in_")
    for chosen in ("weight", ["height", "weight"]):
        with pytest.raises(ValueError, match=r"no features named \['weight'\]"):
            mixture.marginal(chosen)
    with pytest.raises(ValueError, match=r"no features named \['height'\]"):
        plain.marginal("height")


# Bad input.


@pytest.fixture
def no_kernels(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("a kernel ran")

    monkeypatch.setattr("fastem.kernels.gaussian.exact.ExactPass.evaluate", fail)
    monkeypatch.setattr("fastem.kernels.gaussian.linear.passes.LinearPass.evaluate", fail)


@pytest.fixture(scope="module")
def mixture():
    return random_mixture("full", 2, 3)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([], "at least one feature"),
        ([False] * 3, "at least one feature"),
        ([3], r"in the range \[-3, 2\], but got \[3\]"),
        ([0, -4], r"in the range \[-3, 2\]"),
        ([1, 1], "more than once"),
        ([0, -3], "more than once"),
        ([True, False], r"'features' should have the shape of \(3,\)"),
        ([[0]], "features should have one dimension"),
        ([0.0], "integers, booleans or names"),
        ("a", "no features named"),
        ([None], "no features named"),
        ({0, 1}, "no features named"),
    ],
)
def test_bad_features(features, message, mixture, no_kernels):
    with pytest.raises(ValueError, match=message):
        mixture.marginal(features)
    with pytest.raises(ValueError, match=message):
        mixture.condition(features, [0.0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0], r"shape \(2,\), or \(n_samples, 2\) for many rows, but got \(1,\)"),
        (1.0, r"but got \(1,\)"),
        ([1.0, 2.0, 3.0], r"but got \(3,\)"),
        ([[1.0], [2.0]], r"but got \(2, 1\)"),
        (np.zeros((1, 1, 2)), "Found array with dim 3"),
        (np.empty((0, 2)), "0 sample"),
        ([np.nan, 1.0], "values contains NaN"),
        ([[0.0, 1.0], [np.inf, 1.0]], "values contains infinity"),
        (["a", "b"], "could not convert string"),
        ([1j, 0], "Complex data not supported"),
    ],
)
def test_bad_values(values, message, mixture, no_kernels):
    with pytest.raises(ValueError, match=message):
        mixture.condition([0, 2], values)


def test_nothing_remains(mixture, no_kernels):
    with pytest.raises(ValueError, match="All features are given"):
        mixture.condition([0, 1, 2], [0.0, 0.0, 0.0])


def test_bad_summands(mixture, no_kernels):
    with pytest.raises(ValueError, match="same number of features, but they have 3 and 2"):
        mixture.convolve(random_mixture("diag", 2, 2))
    for other in (1.0, None, BernoulliMixture(), SklearnGaussianMixture()):
        with pytest.raises(TypeError, match="other should be a GaussianMixture, not"):
            mixture.convolve(other)


def test_too_large_a_sum():
    wide = GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [1.0]], [1.0, 1.7e308], "spherical")
    message = "The covariance of component 3 is not positive definite"
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=message):
        wide.convolve(wide)


@pytest.mark.parametrize("scale", [1.0, 1e-12])
def test_covariances_are_symmetric_in_small_units_too(scale, no_kernels):
    skewed = scale * np.array([[1.0, 0.5], [0.0, 1.0]])
    for covariances, covariance_type in ((skewed[np.newaxis], "full"), (skewed, "tied")):
        with pytest.raises(ValueError, match="should be symmetric, positive-definite"):
            GaussianMixture.from_parameters([1.0], [[0.0, 0.0]], covariances, covariance_type)


def test_not_fitted(mixture):
    unfitted = GaussianMixture()
    for call in (
        unfitted.mean,
        unfitted.covariance,
        lambda: unfitted.convolve(mixture),
        lambda: mixture.convolve(unfitted),
        lambda: unfitted.marginal(0),
        lambda: unfitted.condition(0, 1.0),
    ):
        with pytest.raises(NotFittedError, match="This GaussianMixture instance is not fitted"):
            call()
