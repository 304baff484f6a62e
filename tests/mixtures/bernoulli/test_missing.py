"""Bernoulli mixtures of rows of which entries were not observed."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import get_tags

from fastem import BernoulliMixture
from fastem.mixtures.bernoulli.missing import filled_by_majority
from fastem.rows import LocalRows, Part

N, D, K = 300, 11, 3


def rows(share=0.3, seed=0, n=N, d=D, dtype=np.float64):
    rng = np.random.default_rng(seed)
    probabilities = rng.choice([0.1, 0.3, 0.9], size=(K, d))
    X = (rng.random((n, d)) < probabilities[rng.integers(K, size=n)]).astype(dtype)
    X[rng.random(X.shape) < share] = np.nan
    X[4] = np.nan
    return X


def log_joint_of(X, weights, probabilities):
    """Of what was observed, a feature at a time."""
    log_joint = np.tile(np.log(weights), (len(X), 1))
    for f in range(X.shape[1]):
        one, zero = X[:, f] == 1, X[:, f] == 0
        with np.errstate(divide="ignore"):
            log_joint[one] += np.log(probabilities[:, f])
            log_joint[zero] += np.log1p(-probabilities[:, f])
    return log_joint


def twin_em(X, weights, probabilities, n_iter, w, alpha=0.0, hard=False):
    seen, ones = (~np.isnan(X)).astype(float), np.nan_to_num(X)
    history = []
    for _ in range(n_iter):
        log_joint = log_joint_of(X, weights, probabilities)
        log_density = logsumexp(log_joint, axis=1)
        shares = np.exp(log_joint - log_density[:, np.newaxis])
        if hard:
            log_density = log_joint.max(axis=1)
            shares = np.eye(len(weights))[log_joint.argmax(axis=1)]
        prior = 0.0
        if alpha > 0:
            prior = alpha * (np.log(probabilities) + np.log1p(-probabilities)).sum()
        history.append((w @ log_density + prior) / w.sum())
        shares = shares * w[:, np.newaxis]
        weights = shares.sum(axis=0) / w.sum()
        probabilities = (shares.T @ ones + alpha) / (shares.T @ seen + 2 * alpha)
    return weights, probabilities, history


def fitted(X, max_iter=5, sample_weight=None, **options):
    options = {"tol": 0, "random_state": 0, "missing": "em"} | options
    mixture = BernoulliMixture(K, max_iter=max_iter, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(X, sample_weight=sample_weight)


@pytest.mark.parametrize("options", [{}, {"alpha": 0.7}, {"assignment": "hard", "alpha": 0.5}])
@pytest.mark.parametrize("d", [3, 11, 16, 150])
def test_the_parameters_of_plain_em(d, options):
    X = rows(d=d)
    w = np.random.default_rng(1).integers(0, 3, size=N).astype(float)
    probabilities = np.random.default_rng(2).uniform(0.2, 0.8, size=(K, d))
    weights = np.full(K, 1 / K)
    given = {"probabilities_init": probabilities, "weights_init": weights}
    ours = fitted(X, 50, w, **given, **options)
    repeated = fitted(np.repeat(X, w.astype(int), axis=0), 50, **given, **options)
    hard = "assignment" in options
    twin = twin_em(X, weights, probabilities, 50, w, options.get("alpha", 0.0), hard)
    for one in (ours, repeated):
        np.testing.assert_allclose(one.weights_, twin[0], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(one.probabilities_, twin[1], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(one.lower_bounds_, twin[2], rtol=1e-9)
    assert np.diff(ours.lower_bounds_).min() > -1e-12


@pytest.mark.parametrize(
    "options",
    [{}, {"accelerate": "squarem"}, {"n_init": 2}, {"fixed": ["weights"]}, {"binarize": None}],
)
def test_em_never_falls(options):
    mixture = fitted(rows(), 40, **options)
    assert np.diff(mixture.lower_bounds_).min() > -1e-12


def test_scores_are_those_of_what_was_observed():
    X = rows()
    mixture = fitted(X, alpha=0.1)
    log_joint = log_joint_of(X, mixture.weights_, mixture.probabilities_)
    log_density = logsumexp(log_joint, axis=1)
    shares = np.exp(log_joint - log_density[:, np.newaxis])
    np.testing.assert_allclose(mixture.score_samples(X), log_density, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(mixture.predict_proba(X), shares, atol=1e-12)
    np.testing.assert_array_equal(mixture.predict(X), shares.argmax(axis=1))
    assert mixture.score(X) == pytest.approx(log_density.mean())
    assert mixture.elbo(X) == pytest.approx(log_density.sum())
    n_free = K - 1 + K * D
    assert mixture.bic(X) == pytest.approx(-2 * log_density.sum() + n_free * np.log(N))
    assert mixture.score_samples(X[4:5])[0] == pytest.approx(0.0, abs=1e-14)
    np.testing.assert_allclose(mixture.predict_proba(X[4:5])[0], mixture.weights_)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_complete_rows_give_what_they_give(dtype):
    X = np.nan_to_num(rows(dtype=dtype))
    ours, plain = (
        BernoulliMixture(K, random_state=0, missing=missing).fit(X) for missing in ("em", "error")
    )
    np.testing.assert_array_equal(ours.probabilities_, plain.probabilities_)
    np.testing.assert_array_equal(ours.weights_, plain.weights_)
    np.testing.assert_array_equal(ours.score_samples(X), plain.score_samples(X))
    np.testing.assert_array_equal(ours.impute(X), X)


def test_recovery_under_values_missing_at_random():
    """The last features are mostly missing where the first is one, which filling would bias."""
    rng = np.random.default_rng(0)
    probabilities = np.array([[0.9] * 8, [0.2] * 8])
    labels = rng.integers(2, size=6000)
    X = (rng.random((6000, 8)) < probabilities[labels]).astype(float)
    X[:, 4:][(X[:, :1] == 1) & (rng.random((6000, 4)) < 0.8)] = np.nan
    mixture = BernoulliMixture(2, missing="em", random_state=0, tol=1e-8, max_iter=500).fit(X)
    order = np.argsort(-mixture.probabilities_[:, 0])
    np.testing.assert_allclose(mixture.probabilities_[order], probabilities, atol=0.05)
    filled = np.where(np.isnan(X), np.nanmean(X, axis=0) > 0.5, X)
    biased = BernoulliMixture(2, random_state=0, tol=1e-8, max_iter=500).fit(filled)
    assert np.abs(np.sort(biased.probabilities_[:, 5]) - [0.2, 0.9]).max() > 0.2


def test_imputed_probabilities_and_draws():
    X = rows()
    mixture = fitted(X, alpha=0.1)
    missing = np.isnan(X)
    filled = mixture.impute(X)
    np.testing.assert_array_equal(filled[~missing], X[~missing])
    expected = mixture.predict_proba(X) @ mixture.probabilities_
    np.testing.assert_allclose(filled[missing], expected[missing], rtol=1e-12)
    many = np.tile(X[7:8], (20_000, 1))
    drawn = mixture.impute(many, draw=True, random_state=0)
    assert set(np.unique(drawn)) <= {0.0, 1.0}
    np.testing.assert_allclose(drawn.mean(axis=0), filled[7], atol=0.02)
    np.testing.assert_array_equal(drawn, mixture.impute(many, draw=True, random_state=0))


def test_tags():
    assert get_tags(BernoulliMixture(missing="em")).input_tags.allow_nan
    assert not get_tags(BernoulliMixture()).input_tags.allow_nan
    assert clone(BernoulliMixture(missing="em")).missing == "em"


class TestBadInput:
    def test_no_gaps_by_default(self):
        with pytest.raises(ValueError, match="Input X contains NaN"):
            BernoulliMixture(2).fit(rows())

    def test_infinities_and_other_numbers(self):
        X = rows()
        X[3, 1] = np.inf
        with pytest.raises(ValueError, match="contains infinity"):
            BernoulliMixture(2, missing="em").fit(X)
        X[3, 1] = 2.0
        with pytest.raises(ValueError, match="only zeros and ones, but it holds 2"):
            BernoulliMixture(2, missing="em", binarize=None).fit(X)

    def test_gaps_in_sparse_rows(self):
        with pytest.raises(ValueError, match="of sparse rows all entries should be known"):
            BernoulliMixture(2, missing="em").fit(sp.csr_array(rows()))
        complete = sp.csr_array(np.nan_to_num(rows()))
        ours = fitted(complete)
        np.testing.assert_array_equal(
            ours.probabilities_, fitted(complete, missing="error").probabilities_
        )

    @pytest.mark.parametrize("given", [False, True])
    def test_a_column_never_observed(self, given):
        X = rows()
        X[:, 2] = np.nan
        start = {"probabilities_init": np.full((K, D), 0.5) + np.eye(K, D) / 10} if given else {}
        with pytest.raises(ValueError, match=r"Columns \[2\] of X have no observed value"):
            fitted(X, **start)

    def test_a_component_that_loses_a_feature(self):
        X = np.repeat([[1.0, 1, 1, 1, 0], [0, 0, 0, 0, np.nan]], 50, axis=0)
        start = {"probabilities_init": [[0.99999999] * 4 + [0.5], [1e-8] * 4 + [0.5]]}
        mixture = BernoulliMixture(2, missing="em", tol=0, **start)
        with pytest.raises(ValueError, match="Component 1 has lost every observation of feature 4"):
            mixture.fit(X)
        smooth = mixture.set_params(alpha=0.1, max_iter=2, tol=1.0).fit(X)
        assert smooth.probabilities_[1, 4] == pytest.approx(0.5)


@pytest.mark.parametrize("missing", ["error", "em"])
def test_sparse_rows_have_nothing_to_impute(missing):
    X = rows(share=0.0)[5:]
    mixture = fitted(X, missing=missing)
    np.testing.assert_array_equal(mixture.impute(X), X)
    for draw in (False, True):
        with pytest.raises(TypeError, match="'impute' is for dense rows: of sparse ones all"):
            mixture.impute(sp.csr_matrix(X), draw)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("threshold", "one"),
    [(0.0, 1.0), (0.5, 1.0), (np.float64(0.1), 1.0), (3e7, 4e7), (1e20, 1e21), (1e-300, 1.0)],
)
def test_gaps_to_start_from_have_the_more_frequent_value(threshold, one, dtype):
    """Also where float32 rounds a threshold, or the threshold and one to the same number."""
    column = np.array([one, one, 0.0, np.nan], dtype)
    X = np.stack([column, one - column], axis=1)  # mostly ones, and mostly zeros
    filled = filled_by_majority(LocalRows([Part(X)]), threshold).parts[0].X
    np.testing.assert_array_equal(filled[3] > threshold, [True, False])
    np.testing.assert_array_equal(filled[:3], X[:3])
