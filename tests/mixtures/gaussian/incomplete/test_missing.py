"""Gaussian mixtures of rows of which entries were not observed."""

import warnings

import numpy as np
import pandas as pd
import pytest
from reference import (
    COVARIANCE_TYPES,
    conditional_gaussian,
    covariance_matrices,
    incomplete_e_step,
    incomplete_statistics,
)
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import get_tags

from fastem import GaussianMixture
from fastem.mixtures.gaussian.covariances import COVARIANCES
from fastem.rows import LocalRows, Part

MODELS = [name for name in COVARIANCES if name == COVARIANCES[name].name]
N, D, K = 240, 3, 2


def rows(share=0.25, seed=0, n=N, dtype=np.float64):
    """Two overlapping groups of rows of which entries are missing, some rows as a whole."""
    rng = np.random.default_rng(seed)
    roots = np.array(
        [[[1, 0.8, 0], [0, 1, 0.3], [0, 0, 0.7]], [[0.6, -0.5, 0], [0, 1, 0], [0, 0, 1]]]
    )
    labels = rng.integers(2, size=n)
    X = np.array([[0, 0, 0], [2.5, -1, 1]])[labels]
    X = X + np.einsum("ni,nij->nj", rng.normal(size=(n, D)), roots[labels])
    X[rng.random(X.shape) < share] = np.nan
    X[5] = np.nan
    return X.astype(dtype)


def matrices_of(mixture):
    kind = COVARIANCES[mixture.covariance_type]
    if kind.partly_shared:
        if kind.passes == "diag":
            return mixture.covariances_[:, :, np.newaxis] * np.eye(mixture.n_features_in_)
        return mixture.covariances_
    return covariance_matrices(mixture.covariances_, kind.name, *mixture.means_.shape)


def twin_em(X, start, n_iter, sample_weight=None, hard=False):
    """Plain EM from a mixture's parameters; types between use the M-step that others test."""
    kind = COVARIANCES[start.covariance_type]
    w = np.ones(len(X)) if sample_weight is None else sample_weight
    weights, means, covariances = start.weights_, start.means_, start.covariances_
    matrices, history = matrices_of(start), []
    for _ in range(n_iter):
        parameters = weights, means, matrices
        log_density, shares, filled, spreads = incomplete_e_step(X, parameters, hard=hard)
        history.append(w @ log_density / w.sum())
        shares = shares * w[:, np.newaxis]
        counts, sums, _ = incomplete_statistics(shares, filled, spreads, 0.0)
        weights, means = counts / counts.sum(), sums / counts[:, np.newaxis]
        scatter = incomplete_statistics(shares, filled, spreads, means)[2]
        if kind.tied:
            covariances = scatter.sum(axis=0) / counts.sum()
        else:
            covariances = scatter / counts[:, np.newaxis, np.newaxis]
        if kind.passes not in ("full", "tied"):
            covariances = np.einsum("...ii->...i", covariances)
        if kind.passes.endswith("spherical"):
            covariances = covariances.mean(axis=-1)
        if kind.partly_shared:
            covariances = kind.constrained(covariances, counts, start.covariances_)
            start = start.from_parameters(weights, means, covariances, kind.name)
            matrices = matrices_of(start)
        else:
            matrices = covariance_matrices(covariances, kind.name, *means.shape)
    return weights, means, covariances, history


def fitted(X, covariance_type="full", max_iter=5, **options):
    options = {"n_components": K, "tol": 0, "reg_covar": 0, "random_state": 0} | options
    mixture = GaussianMixture(
        covariance_type=covariance_type, max_iter=max_iter, missing="em", **options
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(X)


def from_start(start, X, n_iter, **options):
    return fitted(
        X,
        start.covariance_type,
        n_iter,
        n_components=len(start.weights_),
        weights_init=start.weights_,
        means_init=start.means_,
        precisions_init=start.precisions_,
        **options,
    )


@pytest.mark.parametrize("covariance_type", MODELS)
def test_the_parameters_of_plain_em(covariance_type):
    X = rows()[:80]
    start = fitted(X, covariance_type, 1)
    ours = from_start(start, X, 50)
    weights, means, covariances, history = twin_em(X, start, 50)
    np.testing.assert_allclose(ours.lower_bounds_, history, rtol=1e-9)
    np.testing.assert_allclose(ours.weights_, weights, rtol=1e-9)
    np.testing.assert_allclose(ours.means_, means, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours.covariances_, covariances, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("hard", [False, True])
def test_the_parameters_of_plain_em_with_weights(hard):
    X = rows()[:120]
    w = np.random.default_rng(1).integers(0, 3, size=len(X)).astype(float)
    start = fitted(X, "full", 1)
    options = {"assignment": "hard"} if hard else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture = from_start(start, X, 0, **options).set_params(max_iter=10)
        ours = clone(mixture).fit(X, sample_weight=w)
        repeated = clone(mixture).fit(np.repeat(X, w.astype(int), axis=0))
    weights, means, covariances, history = twin_em(X, start, 10, w, hard)
    np.testing.assert_allclose(ours.lower_bounds_, history, rtol=1e-9)
    for one in (ours, repeated):
        np.testing.assert_allclose(one.weights_, weights, rtol=1e-9)
        np.testing.assert_allclose(one.means_, means, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(one.covariances_, covariances, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("covariance_type", MODELS)
def test_em_never_falls(covariance_type):
    mixture = fitted(rows(), covariance_type, 30)
    assert np.diff(mixture.lower_bounds_).min() > -1e-10


@pytest.mark.parametrize("init_params", ["k-means++", "random", "random_from_data"])
@pytest.mark.parametrize("covariance_type", ["full", "tied", "tied_spherical"])
def test_em_never_falls_from(init_params, covariance_type):
    mixture = fitted(rows(), covariance_type, 30, init_params=init_params, reg_covar=1e-9)
    assert np.diff(mixture.lower_bounds_).min() > -1e-10
    assert np.isfinite(mixture.means_).all()


@pytest.mark.parametrize(
    "options", [{"accelerate": "squarem"}, {"assignment": "hard"}, {"n_init": 3}]
)
def test_em_never_falls_with(options):
    mixture = fitted(rows(), "full", 30, **options)
    assert np.diff(mixture.lower_bounds_).min() > -1e-10


def test_squarem_ends_where_em_does():
    X = rows()
    plain, fast = (
        fitted(X, "full", 3000, tol=1e-11, accelerate=accelerate)
        for accelerate in (None, "squarem")
    )
    assert fast.n_iter_ < plain.n_iter_
    np.testing.assert_allclose(fast.means_, plain.means_, atol=1e-3)
    assert fast.score(X) >= plain.score(X) - 1e-9


def test_float32_rows():
    X = rows(dtype=np.float32)
    single = fitted(X, "full", 20)
    double = fitted(X.astype(np.float64), "full", 20)
    assert single.means_.dtype == single.score_samples(X).dtype == np.float32
    np.testing.assert_allclose(single.means_, double.means_, atol=1e-4)
    np.testing.assert_allclose(single.covariances_, double.covariances_, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("covariance_type", MODELS)
def test_complete_rows_give_what_they_give(covariance_type, dtype):
    X = np.random.default_rng(0).normal(size=(300, 3)).astype(dtype)
    ours, plain = (
        GaussianMixture(2, covariance_type=covariance_type, random_state=0, missing=missing).fit(X)
        for missing in ("em", "error")
    )
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_", "lower_bounds_"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(plain, name))
    np.testing.assert_array_equal(ours.score_samples(X), plain.score_samples(X))
    np.testing.assert_array_equal(ours.impute(X), X)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_log_densities_are_those_of_what_was_observed(covariance_type):
    X = rows()
    mixture = fitted(X, covariance_type)
    expected = np.empty((len(X), K))
    for n, x in enumerate(X):
        seen = ~np.isnan(x)
        for k, matrix in enumerate(matrices_of(mixture)):
            expected[n, k] = np.log(mixture.weights_[k])
            if seen.any():
                marginal = multivariate_normal(mixture.means_[k, seen], matrix[np.ix_(seen, seen)])
                expected[n, k] += marginal.logpdf(x[seen])
    log_density = logsumexp(expected, axis=1)
    np.testing.assert_allclose(mixture.score_samples(X), log_density, rtol=1e-10, atol=1e-10)
    shares = np.exp(expected - log_density[:, np.newaxis])
    np.testing.assert_allclose(mixture.predict_proba(X), shares, atol=1e-10)
    np.testing.assert_array_equal(mixture.predict(X), shares.argmax(axis=1))
    assert mixture.score(X) == pytest.approx(log_density.mean(), rel=1e-12)
    assert mixture.elbo(X) == pytest.approx(log_density.sum(), rel=1e-12)
    q = np.random.default_rng(0).dirichlet(np.ones(K), size=len(X))
    assert mixture.elbo(X, q) + mixture.posterior_kl(X, q) == pytest.approx(log_density.sum())
    n_free = mixture._n_parameters()
    assert mixture.bic(X) == pytest.approx(-2 * log_density.sum() + n_free * np.log(len(X)))
    assert mixture.aic(X) == pytest.approx(-2 * log_density.sum() + 2 * n_free)
    assert mixture.icl(X) == pytest.approx(
        -2 * expected.max(axis=1).sum() + n_free * np.log(len(X))
    )
    labels = shares.argmin(axis=1)
    assert mixture.complete_log_likelihood(X, labels) == pytest.approx(expected.min(axis=1).sum())


def test_rows_in_parts():
    X = rows()
    w = np.random.default_rng(1).uniform(0.5, 2, size=N)
    parts = [Part(X[:100], w[:100], 0, 0), Part(X[100:], w[100:], 100, 1)]
    start = fitted(X, "full", 1)
    whole = from_start(start, X, 0).set_params(max_iter=5)
    split = clone(whole)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        whole.fit(X, sample_weight=w)
        split.fit(LocalRows(parts))
        started = GaussianMixture(K, missing="em", random_state=0).fit(LocalRows(parts))
    np.testing.assert_allclose(split.means_, whole.means_, rtol=1e-9)
    np.testing.assert_allclose(split.covariances_, whole.covariances_, rtol=1e-9)
    assert np.isfinite(started.means_).all()
    with pytest.raises(TypeError, match="'noise' is for rows in one array"):
        split.fit(LocalRows(parts), noise=np.ones(D))
    X[150, 1] = np.inf
    with pytest.raises(ValueError, match=r"infinity or a value too large .* in row 50 of part 1"):
        split.fit(LocalRows(parts))


def test_a_row_without_anything_observed():
    mixture = fitted(rows())
    nothing = np.full((1, D), np.nan)
    assert mixture.score_samples(nothing)[0] == pytest.approx(0.0, abs=1e-14)
    np.testing.assert_allclose(mixture.predict_proba(nothing)[0], mixture.weights_, rtol=1e-14)
    np.testing.assert_allclose(mixture.impute(nothing)[0], mixture.mean(), rtol=1e-12)


def test_recovery_where_mean_imputation_fails():
    """The second feature is missing where the first is large: at random, but not completely."""
    rng = np.random.default_rng(0)
    n = 4000
    labels = rng.integers(2, size=n)
    means = np.array([[0.0, 0.0], [6.0, -4.0]])
    covariance = np.array([[1.0, 0.9], [0.9, 1.0]])
    X = means[labels] + rng.multivariate_normal(np.zeros(2), covariance, size=n)
    X[(X[:, 0] - means[labels, 0] > 0.0) & (rng.random(n) < 0.9), 1] = np.nan
    ours = fitted(X, "full", 200, tol=1e-6)
    filled = np.where(np.isnan(X), np.nanmean(X, axis=0), X)
    imputed = GaussianMixture(2, random_state=0).fit(filled)
    order = np.argsort(ours.means_[:, 0])
    np.testing.assert_allclose(ours.means_[order], means, atol=0.12)
    for matrix in ours.covariances_:
        np.testing.assert_allclose(matrix, covariance, atol=0.15)
    order = np.argsort(imputed.means_[:, 0])
    assert np.abs(imputed.means_[order] - means).max() > 0.5


@pytest.mark.parametrize("fixed", ["weights", "means", "covariances"])
def test_what_is_fixed_stays(fixed):
    X = rows()
    start = fitted(X, "full", 1)
    mixture = from_start(start, X, 5, fixed=[fixed])
    name = f"{fixed}_"
    np.testing.assert_allclose(getattr(mixture, name), getattr(start, name), rtol=1e-12)
    assert np.diff(mixture.lower_bounds_).min() > -1e-10


def test_going_on_and_starting_again():
    X = rows()
    whole = fitted(X, "full", 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        twice = GaussianMixture(
            K, max_iter=4, tol=0, reg_covar=0, warm_start=True, random_state=0, missing="em"
        )
        twice.fit(X).fit(X)
    np.testing.assert_allclose(twice.means_, whole.means_, rtol=1e-9)
    several = fitted(X, "full", 20, n_init=4, init_params="random")
    assert several.lower_bound_ >= fitted(X, "full", 20, init_params="random").lower_bound_


def test_the_prior_keeps_components_apart_from_collapse():
    mixture = fitted(rows(), "full", 20, n_components=12, prior="conjugate", reg_covar=0)
    assert np.diff(mixture.lower_bounds_).min() > -1e-10
    assert np.linalg.eigvalsh(mixture.covariances_).min() > 1e-4


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_imputed_means(covariance_type, dtype):
    X = rows(dtype=dtype)
    mixture = fitted(X, covariance_type)
    filled = mixture.impute(X)
    assert filled.dtype == dtype
    assert not np.isnan(filled).any()
    seen = ~np.isnan(X)
    np.testing.assert_array_equal(filled[seen], X[seen])
    shares = mixture.predict_proba(X).astype(float)
    for x, there, values, share in zip(X.astype(float), seen, filled, shares, strict=True):
        given, rest = np.flatnonzero(there), np.flatnonzero(~there)
        if len(given) and len(rest):
            means = [
                conditional_gaussian(mean, matrix, given, rest, x[given])[0]
                for mean, matrix in zip(mixture.means_, matrices_of(mixture), strict=True)
            ]
            tolerance = 1e-9 if dtype == np.float64 else 1e-4
            np.testing.assert_allclose(values[rest], share @ means, rtol=0, atol=tolerance)


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_imputed_draws(covariance_type):
    mixture = fitted(rows(), covariance_type)
    x = np.array([1.0, np.nan, np.nan])
    X = np.tile(x, (40_000, 1))
    filled = mixture.impute(X, draw=True, random_state=0)
    np.testing.assert_array_equal(filled, mixture.impute(X, draw=True, random_state=0))
    assert (filled[:, 0] == 1.0).all()
    conditional = mixture.condition([0], [1.0])
    np.testing.assert_allclose(filled[:, 1:].mean(axis=0), conditional.mean(), atol=0.03)
    np.testing.assert_allclose(np.cov(filled[:, 1:].T), conditional.covariance(), atol=0.06)
    X[0] = np.nan
    assert not np.isnan(mixture.impute(X[:1], draw=True)).any()


def test_imputation_uses_what_is_known_of_the_others():
    rng = np.random.default_rng(0)
    X = rng.multivariate_normal(np.zeros(2), [[1, 0.9], [0.9, 1]], size=2000)
    holes = X.copy()
    holes[rng.random(2000) < 0.3, 1] = np.nan
    missing = np.isnan(holes)
    error = fitted(holes, "full", 50, n_components=1).impute(holes)[missing] - X[missing]
    # A standard deviation of sqrt(1 - 0.9**2) is left of one of 1.
    assert np.sqrt((error**2).mean()) == pytest.approx(np.sqrt(0.19), abs=0.03)


def test_frames_and_tags():
    X = pd.DataFrame(rows(), columns=["a", "b", "c"])
    mixture = fitted(X)
    np.testing.assert_array_equal(mixture.feature_names_in_, ["a", "b", "c"])
    assert mixture.predict(X).shape == (N,)
    assert get_tags(mixture).input_tags.allow_nan
    assert not get_tags(GaussianMixture()).input_tags.allow_nan


class TestBadInput:
    def test_no_gaps_by_default(self):
        with pytest.raises(ValueError, match="Input X contains NaN"):
            GaussianMixture(2).fit(rows())
        mixture = GaussianMixture(2).fit(np.nan_to_num(rows()))
        for method in ("predict", "predict_proba", "score_samples", "score", "impute"):
            with pytest.raises(ValueError, match="Input X contains NaN"):
                getattr(mixture, method)(rows())

    def test_infinities(self):
        X = rows()
        X[3, 1] = np.inf
        with pytest.raises(ValueError, match="contains infinity"):
            GaussianMixture(2, missing="em").fit(X)
        with pytest.raises(ValueError, match="contains infinity"):
            fitted(rows()).predict(X)

    def test_a_column_never_observed(self):
        X = rows()
        X[:, 1] = np.nan
        with pytest.raises(ValueError, match=r"Columns \[1\] of X have no observed value"):
            GaussianMixture(2, missing="em").fit(X)
        X[0, 1] = 1.0
        w = np.ones(N)
        w[0] = 0.0
        with pytest.raises(ValueError, match=r"Columns \[1\] of X have no observed value"):
            GaussianMixture(2, missing="em").fit(X, sample_weight=w)

    def test_a_column_never_observed_with_a_start(self):
        X = rows()
        start = fitted(X)
        X[:, 1] = np.nan
        with pytest.raises(ValueError, match=r"Columns \[1\] of X have no observed value"):
            from_start(start, X, 3)

    def test_a_component_that_loses_a_feature(self):
        rng = np.random.default_rng(0)
        X = np.vstack([rng.normal(size=(50, 2)), rng.normal([1000, 0], size=(50, 2))])
        X[50:, 1] = np.nan
        with pytest.raises(
            ValueError, match=r"Component \d has lost every observation of feature 1"
        ):
            GaussianMixture(2, missing="em", random_state=0).fit(X)

    def test_nothing_changes_on_failure(self):
        mixture = fitted(rows())
        before = mixture.means_.copy()
        bad = rows()
        bad[:, 2] = np.nan
        with pytest.raises(ValueError, match="no observed value"):
            mixture.fit(bad)
        np.testing.assert_array_equal(mixture.means_, before)

    def test_uniform_noise(self):
        mixture = GaussianMixture(2, missing="em", noise_component=-5.0, random_state=0)
        with pytest.raises(ValueError, match="noise component takes complete rows"):
            mixture.fit(rows())
        complete = np.nan_to_num(rows())
        with pytest.raises(ValueError, match="noise component takes complete rows"):
            mixture.fit(complete, noise=np.ones(D))
        mixture.fit(complete)
        for method in (mixture.predict, mixture.score_samples, mixture.impute):
            with pytest.raises(ValueError, match="noise component takes complete rows"):
                method(rows())
        assert mixture.predict_proba(complete).shape == (N, K + 1)

    def test_an_unknown_way(self):
        with pytest.raises(ValueError, match="'missing' parameter"):
            GaussianMixture(missing="drop").fit(rows())
