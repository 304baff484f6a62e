"""Divergences of Gaussians and of mixtures."""

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixtures import random_mixture
from reference import (
    COVARIANCE_TYPES,
    bernoulli_e_step,
    covariance_matrices,
    gaussian_kl,
    variational_kl,
)
from scipy.integrate import quad
from scipy.stats import chi2, norm
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture as SklearnGaussianMixture

import fastem.mixtures.divergence
from fastem import BernoulliMixture, GaussianMixture, kl_divergence, kl_gaussian
from fastem.mixtures.base import BaseMixture

pairs_of_types = pytest.mark.parametrize(
    ("left", "right"), list(itertools.product(COVARIANCE_TYPES, COVARIANCE_TYPES))
)

# Two Gaussians.


def random_gaussian(n_features, seed):
    mixture = random_mixture("full", 1, n_features, seed)
    return mixture.means_[0], mixture.covariances_[0]


def test_the_textbooks_values():
    assert kl_gaussian(0.0, 1.0, 1.0, 1.0) == 0.5
    assert kl_gaussian(0.0, 100.0, 1.0, 100.0) == pytest.approx(0.005, rel=1e-15)
    assert kl_gaussian([0, 0], np.eye(2), [3, 4], np.eye(2)) == 12.5


@pytest.mark.parametrize("n_features", [1, 2, 7, 30])
@pytest.mark.parametrize("diagonal", ["", "p", "q", "pq"])
def test_kl_gaussian(n_features, diagonal):
    mean_p, cov_p = random_gaussian(n_features, 1)
    mean_q, cov_q = random_gaussian(n_features, 2)
    cov_p, cov_q = (
        np.diag(cov) if name in diagonal else cov for name, cov in (("p", cov_p), ("q", cov_q))
    )
    expected = gaussian_kl(
        mean_p,
        np.diag(cov_p) if cov_p.ndim == 1 else cov_p,
        mean_q,
        np.diag(cov_q) if cov_q.ndim == 1 else cov_q,
    )
    found = kl_gaussian(mean_p, cov_p, mean_q, cov_q)
    assert type(found) is float
    assert found == pytest.approx(expected, rel=1e-10)
    assert 0 <= kl_gaussian(mean_p, cov_p, mean_p, cov_p) < 1e-25


def test_numbers_and_lists():
    mean_p, mean_q = np.array([1.0, 2.0]), np.array([0.0, 1.5])
    expected = gaussian_kl(mean_p, 2 * np.eye(2), mean_q, 3 * np.eye(2))
    assert kl_gaussian([1, 2], 2, [0, 1.5], [[3, 0], [0, 3]]) == pytest.approx(expected, rel=1e-12)
    one = gaussian_kl(mean_p[:1], 2 * np.eye(1), mean_q[:1], 3 * np.eye(1))
    for p in itertools.product((1, [1]), (2, [2], [[2]])):
        for q in itertools.product((0, [0.0]), (3, [3], [[3.0]])):
            assert kl_gaussian(*p, *q) == pytest.approx(one, rel=1e-12)


def test_kl_gaussian_is_an_integral():
    p, q = norm(0.3, 0.7), norm(-0.5, 1.9)
    expected = quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), -12, 12, epsabs=1e-13)[0]
    assert kl_gaussian(0.3, 0.49, -0.5, 3.61) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("step", [1e-3, 1e-6, 1e-9])
def test_small_divergences_keep_their_digits(step):
    # Half of log(1 + step) - step / (1 + step), by its series.
    series = step**2 / 4 - step**3 / 3 + 3 * step**4 / 8
    for n_features in (1, 4):
        mean, cov = random_gaussian(n_features, 0)
        for p in (cov, np.diag(cov)):
            found = kl_gaussian(mean, p, mean, p * (1 + step))
            assert found == pytest.approx(n_features * series, rel=1e-5, abs=0)


finite = st.floats(-1e3, 1e3)
variance = st.floats(1e-6, 1e6)


@settings(max_examples=200, deadline=None)
@given(finite, variance, finite, variance, st.floats(0.1, 10), finite)
def test_no_divergence_is_negative_and_units_do_not_matter(m, v, n, w, scale, shift):
    kl = kl_gaussian(m, v, n, w)
    assert kl >= 0.0
    moved = kl_gaussian(scale * m + shift, scale**2 * v, scale * n + shift, scale**2 * w)
    assert moved == pytest.approx(kl, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    "arguments",
    [
        (0, 1e300, 0, 1e-300),
        (0, 1.7e308, 0, 5e-324),
        (1e308, 1, -1e308, 1),
        ([1e308, 0], np.eye(2), [-1e308, 0], np.eye(2) + 0.5),
        ([1e300, 0], [1, 1], [-1e300, 0], np.eye(2) + 0.5),
    ],
)
def test_what_floats_cannot_hold_is_infinite(arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kl_gaussian(*arguments) == math.inf


SKEWED = [[1.0, 0.5], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1, [0, 0], 1), r"'mean_q' should have the shape of \(1,\), but got \(2,\)"),
        (([[0, 0]], 1, [[0, 0]], 1), r"'mean_p' should have the shape of \(2,\)"),
        (([0, 0], [1, 1, 1], [0, 0], 1), r"'cov_p' should have the shape of \(2,\)"),
        (([0, 0], 1, [0, 0], np.eye(3)), r"'cov_q' should have the shape of \(2, 2\)"),
        (([0, 0], 1, [0, 0], np.ones((2, 2, 2))), "Found array with dim 3"),
        ((0, 0, 0, 1), "'cov_p' should be positive"),
        ((0, 1, 0, -1), "'cov_q' should be positive"),
        (([0, 0], 1, [0, 0], np.ones((2, 2))), "'cov_q' should be symmetric, positive-definite"),
        (([0, 0], SKEWED, [0, 0], 1), "'cov_p' should be symmetric, positive-definite"),
        (([0, 0], 1e-12 * np.array(SKEWED), [0, 0], 1), "'cov_p' should be symmetric"),
        (([0, 0], [[1e8, 10.0], [0.0, 1.0]], [0, 0], 1), "'cov_p' should be symmetric"),
        ((np.nan, 1, 0, 1), "mean_p contains NaN"),
        ((0, 1, 0, np.inf), "cov_q contains infinity"),
        (("a", 1, 0, 1), "could not convert string"),
        ((1j, 1, 0, 1), "Complex data not supported"),
        (([], [], [], []), "0 sample"),
    ],
)
def test_bad_gaussians(arguments, message):
    with pytest.raises(ValueError, match=message):
        kl_gaussian(*arguments)


# Two Gaussian mixtures.


def integral_of_kl(p, q):
    def integrand(x):
        log_p, log_q = p.score_samples([[x]])[0], q.score_samples([[x]])[0]
        return np.exp(log_p) * (log_p - log_q)

    return quad(integrand, -15, 15, limit=100)[0]


def component_kl(p, q):
    """Of all pairs of components."""
    both = [
        (mixture.means_, covariance_matrices(mixture.covariances_, kind, *mixture.means_.shape))
        for mixture, kind in ((p, p.covariance_type), (q, q.covariance_type))
    ]
    return [
        [gaussian_kl(mean, cov, *other) for other in zip(*both[1], strict=True)]
        for mean, cov in zip(*both[0], strict=True)
    ]


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_monte_carlo_is_an_integral(covariance_type):
    p, q = random_mixture(covariance_type, 3, 1), random_mixture("diag", 2, 1, seed=1)
    for first, second in ((p, q), (q, p)):
        expected = integral_of_kl(first, second)
        found = kl_divergence(first, second, n_samples=40_000, random_state=0)
        assert 0 < found.standard_error < 0.05 * expected + 0.01
        assert abs(found.estimate - expected) < 4 * found.standard_error


def test_the_standard_error_is_the_estimates():
    p, q = random_mixture("diag", 3, 1), random_mixture("full", 2, 1, seed=1)
    expected, n = integral_of_kl(p, q), 150
    found = [kl_divergence(p, q, n_samples=2_000, random_state=seed) for seed in range(n)]
    squares = sum(((one.estimate - expected) / one.standard_error) ** 2 for one in found)
    assert chi2.ppf(1e-3, n) < squares < chi2.ppf(1 - 1e-3, n)


@pairs_of_types
def test_one_component_each(left, right):
    p, q = random_mixture(left, 1, 3), random_mixture(right, 1, 3, seed=1)
    expected = component_kl(p, q)[0][0]
    assert kl_divergence(p, q, method="variational") == (pytest.approx(expected, rel=1e-10), 0.0)
    found = kl_divergence(p, q, n_samples=5_000, random_state=0)
    assert abs(found.estimate - expected) < 4 * found.standard_error


@pairs_of_types
def test_variational(left, right):
    p, q = random_mixture(left, 3, 4), random_mixture(right, 2, 4, seed=1)
    expected = variational_kl(p.weights_, q.weights_, component_kl(p, p), component_kl(p, q))
    found = kl_divergence(p, q, method="variational")
    assert found.estimate == pytest.approx(expected, rel=1e-10)
    assert found.standard_error == 0.0
    assert kl_divergence(p, p, method="variational").estimate == 0.0


def test_variational_is_exact_for_components_far_apart():
    means = np.array([[0.0, 0.0], [200.0, 0.0], [0.0, 300.0]])
    p = GaussianMixture.from_parameters([0.2, 0.3, 0.5], means, [1.0, 2.0, 3.0], "spherical")
    q = GaussianMixture.from_parameters([0.3, 0.3, 0.4], means + 0.5, np.eye(2), "tied")
    expected = sum(
        p.weights_[k] * (np.log(p.weights_[k] / q.weights_[k]) + component_kl(p, q)[k][k])
        for k in range(3)
    )
    assert kl_divergence(p, q, method="variational").estimate == pytest.approx(expected, rel=1e-12)
    found = kl_divergence(p, q, n_samples=20_000, random_state=0)
    assert abs(found.estimate - expected) < 4 * found.standard_error


def test_equal_mixtures():
    p = random_mixture("full", 3, 4)
    assert kl_divergence(p, p) == (0.0, 0.0)
    swapped = GaussianMixture.from_parameters(
        p.weights_[::-1], p.means_[::-1], p.covariances_[::-1]
    )
    for method in ("monte-carlo", "variational"):
        found = kl_divergence(p, swapped, method=method, n_samples=1_000)
        assert found == (pytest.approx(0.0, abs=1e-12), pytest.approx(0.0, abs=1e-12))


@pytest.mark.parametrize("method", ["monte-carlo", "variational"])
def test_components_without_weight(method):
    p, q = random_mixture("diag", 2, 2), random_mixture("full", 2, 2, seed=1)
    options = {"method": method, "n_samples": 20_000, "random_state": 0}

    def padded(mixture):
        return GaussianMixture.from_parameters(
            [*mixture.weights_, 0.0],
            [*mixture.means_, [1e200, 0.0]],
            [*mixture.covariances_, mixture.covariances_[0]],
            mixture.covariance_type,
        )

    expected = kl_divergence(p, q, **options).estimate
    error = kl_divergence(p, q, **options).standard_error
    for pair in ((padded(p), q), (p, padded(q)), (padded(p), padded(q))):
        found = kl_divergence(*pair, **options).estimate
        assert abs(found - expected) <= 6 * error + 1e-12


@pytest.mark.parametrize("method", ["monte-carlo", "variational"])
def test_mixtures_out_of_each_others_reach(method):
    p = random_mixture("full", 2, 2)
    for far, finite in ((1e6, True), (1e200, False)):
        q = GaussianMixture.from_parameters([1.0], [[far, 0.0]], np.eye(2), "tied")
        found = kl_divergence(p, q, method=method, n_samples=100)
        if finite:
            # Mostly half the squared distance.
            assert found.estimate == pytest.approx(far**2 / 2, rel=1e-4)
        else:
            assert found == (math.inf, 0.0)


def test_single_precision():
    X = np.random.default_rng(0).normal(size=(200, 3))
    q = random_mixture("diag", 2, 3)
    for method in ("monte-carlo", "variational"):
        found = [
            kl_divergence(
                GaussianMixture(2, random_state=0).fit(X.astype(dtype)),
                q,
                method=method,
                random_state=0,
            )
            for dtype in (np.float32, np.float64)
        ]
        assert all(type(value) is float for value in found[0])
        assert found[0].estimate == pytest.approx(found[1].estimate, rel=0.02)


# How it draws.


def test_draws_leave_the_mixtures_alone():
    p, q = random_mixture("full", 2, 3), random_mixture("diag", 2, 3, seed=1)
    for mixture in (p, q):
        mixture.set_params(random_state=np.random.RandomState(5))
    before = [str(mixture.random_state.get_state()) for mixture in (p, q)]
    attributes = [dict(vars(mixture)) for mixture in (p, q)]
    same = [kl_divergence(p, q, n_samples=1_000, random_state=seed) for seed in (1, 1, 2)]
    assert same[0] == same[1] != same[2]
    assert [str(mixture.random_state.get_state()) for mixture in (p, q)] == before
    for mixture, known in zip((p, q), attributes, strict=True):
        assert vars(mixture).keys() == known.keys()
        assert all(vars(mixture)[name] is value for name, value in known.items())
    # A RandomState goes on, as everywhere in scikit-learn.
    going = np.random.RandomState(1)
    assert kl_divergence(p, q, n_samples=1_000, random_state=going) == same[0]
    assert kl_divergence(p, q, n_samples=1_000, random_state=going) != same[0]


def test_blocks_are_small_and_add_up(monkeypatch):
    p, q = random_mixture("tied", 3, 2), random_mixture("diag", 2, 2, seed=1)
    monkeypatch.setattr(fastem.mixtures.divergence, "_BLOCK_SIZE", 512)
    blocks, sample = [], GaussianMixture.sample

    def recorded(self, n_samples=1):
        blocks.append(sample(self, n_samples))
        return blocks[-1]

    monkeypatch.setattr(GaussianMixture, "sample", recorded)
    found = kl_divergence(p, q, n_samples=1_000, random_state=0)
    assert [len(X) for X, _ in blocks] == [256, 256, 256, 232]
    X = np.vstack([X for X, _ in blocks])
    values = p.score_samples(X) - q.score_samples(X)
    assert found.estimate == pytest.approx(values.mean(), rel=1e-12)
    error = values.std(ddof=1) / np.sqrt(1_000)
    assert found.standard_error == pytest.approx(error, rel=1e-12)
    assert len({tuple(row) for row in X}) == 1_000


@pytest.mark.parametrize("method", ["monte-carlo", "variational"])
@pytest.mark.parametrize("kind", ["gaussian", "bernoulli"])
def test_weights_of_any_sum(kind, method):
    def make(weights, places):
        if kind == "bernoulli":
            return bernoulli_mixture(weights, places)
        return GaussianMixture.from_parameters(weights, places, [1.0, 2.0], "spherical")

    p = make([0.25, 0.75], [[0.2, 0.4], [0.9, 0.5]])
    q = make([0.5, 0.5], [[0.3, 0.3], [0.6, 0.8]])
    options = {"method": method, "n_samples": 500, "random_state": 0}
    expected = kl_divergence(p, q, **options)
    p.weights_, q.weights_ = p.weights_ / 64, q.weights_ * 8
    assert kl_divergence(p, q, **options) == expected
    np.testing.assert_array_equal(p.weights_, [0.25 / 64, 0.75 / 64])


# Two Bernoulli mixtures.


def bernoulli_mixture(weights, probabilities, **parameters):
    weights, probabilities = np.asarray(weights), np.asarray(probabilities, float)
    mixture = BernoulliMixture(
        len(weights),
        weights_init=weights,
        probabilities_init=probabilities,
        fixed=("weights", "probabilities"),
        alpha=1.0,  # as the rows of the fit may be impossible
    )
    return mixture.fit(np.zeros((4, probabilities.shape[1]))).set_params(alpha=0.0, **parameters)


def exact_kl(p, q):
    """By adding up all rows there are."""
    X = np.array(list(itertools.product([0, 1], repeat=p.n_features_in_)))
    log_p, log_q = (
        bernoulli_e_step(X, mixture.weights_, mixture.probabilities_)[0] for mixture in (p, q)
    )
    possible = np.exp(log_p) > 0
    return (np.exp(log_p) * (log_p - log_q))[possible].sum()


@pytest.fixture
def two_bernoullis():
    rng = np.random.default_rng(0)
    return (
        bernoulli_mixture([0.3, 0.7], rng.uniform(0.1, 0.9, size=(2, 6))),
        bernoulli_mixture([0.2, 0.5, 0.3], rng.uniform(0.1, 0.9, size=(3, 6))),
    )


@pytest.mark.parametrize("binarize", [None, 0.0, 3.0])
def test_bernoulli_mixtures(binarize, two_bernoullis):
    p, q = (mixture.set_params(binarize=binarize) for mixture in two_bernoullis)
    expected = exact_kl(p, q)
    found = kl_divergence(p, q, random_state=0)
    assert 0 < found.standard_error < 0.02 * expected
    assert abs(found.estimate - expected) < 4 * found.standard_error
    assert p.binarize == binarize


def test_variational_of_bernoulli_mixtures(two_bernoullis):
    p, q = two_bernoullis

    def components(left, right):
        return [
            [
                exact_kl(bernoulli_mixture([1.0], [one]), bernoulli_mixture([1.0], [other]))
                for other in right.probabilities_
            ]
            for one in left.probabilities_
        ]

    expected = variational_kl(p.weights_, q.weights_, components(p, p), components(p, q))
    found = kl_divergence(p, q, method="variational")
    assert found == (pytest.approx(expected, rel=1e-10), 0.0)


@pytest.mark.parametrize("method", ["monte-carlo", "variational"])
def test_impossible_rows_are_infinitely_far(method):
    p = bernoulli_mixture([0.5, 0.5], [[0.5, 0.5, 0.0], [0.2, 0.5, 1.0]])
    q = bernoulli_mixture([1.0], [[0.5, 0.0, 0.5]])
    mixed = bernoulli_mixture([0.5, 0.5], [[0.5, 0.0, 0.5], [0.5, 0.5, 0.5]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kl_divergence(p, q, method=method, random_state=0) == (math.inf, 0.0)
        found = kl_divergence(p, mixed, method=method, random_state=0)
    assert math.isfinite(found.estimate)
    if method == "monte-carlo":
        assert abs(found.estimate - exact_kl(p, mixed)) < 4 * found.standard_error


# Bad input.


@pytest.mark.parametrize(
    "other", [1.0, None, BernoulliMixture(), SklearnGaussianMixture(), GaussianMixture]
)
def test_mixtures_of_different_kinds(other):
    p = random_mixture("full", 2, 2)
    for pair in ((p, other), (other, p)):
        with pytest.raises(TypeError, match="two GaussianMixtures or two BernoulliMixtures, not"):
            kl_divergence(*pair)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "exact"}, "method should be 'monte-carlo' or 'variational', not 'exact'"),
        ({"method": None}, "method should be"),
        ({"n_samples": 1}, "n_samples should be an integer of at least 2, not 1"),
        ({"n_samples": -5}, "n_samples should be"),
        ({"n_samples": 100.0}, "n_samples should be"),
        ({"n_samples": "many"}, "n_samples should be"),
        ({"random_state": "seed"}, "cannot be used to seed"),
    ],
)
def test_bad_options(options, message, monkeypatch):
    monkeypatch.delattr(BaseMixture, "sample")
    with pytest.raises(ValueError, match=message):
        kl_divergence(random_mixture("full", 2, 2), random_mixture("diag", 2, 2), **options)


@pytest.mark.parametrize("method", ["monte-carlo", "variational"])
def test_mixtures_that_do_not_fit(method):
    p, q = random_mixture("full", 2, 2), random_mixture("full", 2, 3)
    with pytest.raises(ValueError, match="same number of features, but they have 2 and 3"):
        kl_divergence(p, q, method=method)
    for pair in ((p, GaussianMixture()), (GaussianMixture(), p)):
        with pytest.raises(NotFittedError):
            kl_divergence(*pair, method=method)
