"""Gaussian mixtures of rows whose errors are known."""

import warnings

import numpy as np
import pytest
from reference import (
    covariance_matrices,
    gaussian_log_joint,
    incomplete_e_step,
    incomplete_statistics,
    true_values,
)
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from fastem import GaussianMixture
from fastem.mixtures.gaussian.incomplete.errors import check_errors

TYPES = ["full", "tied", "diag", "spherical"]
FORMS = ["variances", "covariances", "one diagonal", "one matrix"]
N, D, K = 120, 3, 2


def problem(form, seed=0, dtype=np.float64, n=N):
    """Rows with errors, the noise as a user gives it, and the errors' covariance for each row."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=n)
    X = np.array([[0, 0, 0], [4.0, -3, 2]])[labels] + rng.normal(size=(n, D)) * [1.0, 0.5, 2.0]
    roots = rng.normal(size=(n, D, D)) * rng.uniform(0.1, 1.2, size=(n, 1, 1))
    covariances = roots @ roots.swapaxes(1, 2)
    variances = np.einsum("nii->ni", covariances)
    noise = {
        "variances": variances,
        "covariances": covariances,
        "one diagonal": variances[0],
        "one matrix": covariances[0],
    }[form]
    if form in ("variances", "one diagonal"):
        covariances = np.broadcast_to(noise, (n, D))[:, :, np.newaxis] * np.eye(D)
    elif form == "one matrix":
        covariances = np.broadcast_to(noise, (n, D, D))
    X += np.einsum("nij,nj->ni", np.linalg.cholesky(covariances), rng.normal(size=(n, D)))
    noise = noise.astype(dtype)
    return X.astype(dtype), noise, covariances


def with_gaps(X, share=0.2):
    X = X.copy()
    X[np.random.default_rng(1).random(X.shape) < share] = np.nan
    return X


def fitted(X, noise, covariance_type="full", max_iter=5, sample_weight=None, **options):
    options = {"tol": 0, "reg_covar": 1e-9, "random_state": 0, "missing": "em"} | options
    mixture = GaussianMixture(K, covariance_type=covariance_type, max_iter=max_iter, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(X, sample_weight=sample_weight, noise=noise)


def matrices_of(mixture):
    return covariance_matrices(mixture.covariances_, mixture.covariance_type, *mixture.means_.shape)


def twin(X, errors, start, n_iter, w, fixed=()):
    """Extreme deconvolution, a row and component at a time."""
    kind = start.covariance_type
    weights, means, covariances = start.weights_, start.means_, start.covariances_
    history = []
    for _ in range(n_iter):
        matrices = covariance_matrices(covariances, kind, K, D)
        log_density, shares, rows, spreads = incomplete_e_step(
            X, (weights, means, matrices), errors
        )
        history.append(w @ log_density / w.sum())
        shares = shares * w[:, np.newaxis]
        counts, sums, _ = incomplete_statistics(shares, rows, spreads, 0.0)
        if "weights" not in fixed:
            weights = counts / counts.sum()
        if "means" not in fixed:
            means = sums / counts[:, np.newaxis]
        scatter = incomplete_statistics(shares, rows, spreads, means)[2]
        if "covariances" in fixed:
            continue
        covariances = scatter / counts[:, np.newaxis, np.newaxis]
        if kind == "tied":
            covariances = scatter.sum(axis=0) / counts.sum()
        covariances = covariances + 1e-9 * np.eye(D)
        if kind in ("diag", "spherical"):
            covariances = np.einsum("kii->ki", covariances)
        if kind == "spherical":
            covariances = covariances.mean(axis=1)
    return weights, means, covariances, history


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("covariance_type", TYPES)
def test_the_parameters_of_plain_extreme_deconvolution(covariance_type, form, gaps):
    X, noise, errors = problem(form)
    if gaps:
        X = with_gaps(X)
    w = np.random.default_rng(2).uniform(0.5, 2, size=N)
    start = fitted(X, noise, covariance_type, 1)
    ours = fitted(
        X,
        noise,
        covariance_type,
        15,
        sample_weight=w,
        weights_init=start.weights_,
        means_init=start.means_,
        precisions_init=start.precisions_,
    )
    weights, means, covariances, history = twin(X, errors, start, 15, w)
    np.testing.assert_allclose(ours.lower_bounds_, history, rtol=1e-9)
    np.testing.assert_allclose(ours.weights_, weights, rtol=1e-9)
    np.testing.assert_allclose(ours.means_, means, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours.covariances_, covariances, rtol=1e-9, atol=1e-9)
    assert np.diff(history).min() > -1e-9


@pytest.mark.parametrize("fixed", [["weights"], ["means"], ["covariances"], ["means", "weights"]])
def test_what_is_fixed_stays(fixed):
    X, noise, errors = problem("covariances")
    start = fitted(X, noise, "full", 1)
    given = {
        "weights_init": start.weights_,
        "means_init": start.means_,
        "precisions_init": start.precisions_,
    }
    ours = fitted(X, noise, "full", 5, fixed=fixed, **given)
    twins = twin(X, errors, start, 5, np.ones(N), fixed)
    for name, value in zip(("weights_", "means_", "covariances_"), twins, strict=False):
        np.testing.assert_allclose(getattr(ours, name), value, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_float32(form):
    X, noise, _ = problem(form)
    single = fitted(X.astype(np.float32), noise.astype(np.float32), "full", 10)
    double = fitted(X, noise, "full", 10)
    assert single.means_.dtype == np.float32
    np.testing.assert_allclose(single.means_, double.means_, atol=1e-3)
    np.testing.assert_allclose(single.covariances_, double.covariances_, atol=5e-3)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_the_fit_without_noise_as_the_noise_vanishes(covariance_type):
    X = problem("variances")[0]
    plain = fitted(X, None, covariance_type, 10, missing="error")
    for size in (1e-6, 1e-12, 0.0):
        ours = fitted(X, np.full(D, size), covariance_type, 10, missing="error")
        tolerance = 100 * size + 1e-9
        np.testing.assert_allclose(ours.means_, plain.means_, atol=tolerance)
        np.testing.assert_allclose(ours.covariances_, plain.covariances_, atol=tolerance)
        np.testing.assert_allclose(ours.lower_bounds_, plain.lower_bounds_, atol=tolerance)


def test_recovery_where_ignoring_the_noise_fails():
    """Two thin sheets that errors larger than their distance blur into one."""
    rng = np.random.default_rng(0)
    n = 20_000
    labels = rng.integers(2, size=n)
    true = np.stack([rng.normal(size=n) * 3, np.where(labels, 1.0, -1.0)], axis=1)
    true[:, 1] += 0.1 * rng.normal(size=n)
    noise = np.stack([np.full(n, 0.5), rng.choice([0.05, 1.0], size=n)], axis=1) ** 2
    X = true + np.sqrt(noise) * rng.normal(size=(n, 2))
    start = {"means_init": [[0.0, -0.5], [0.0, 0.5]], "tol": 1e-7}
    ours = fitted(X, noise, "full", 500, **start)
    order = np.argsort(ours.means_[:, 1])
    np.testing.assert_allclose(ours.means_[order, 1], [-1, 1], atol=0.03)
    np.testing.assert_allclose(ours.covariances_[:, 1, 1], 0.01, atol=0.006)
    np.testing.assert_allclose(ours.covariances_[:, 0, 0], 9.0, atol=0.3)
    ignoring = fitted(X, None, "full", 500, **start)
    assert ignoring.covariances_[:, 1, 1].max() > 0.1


@pytest.mark.parametrize("form", FORMS)
def test_scores_under_noise(form):
    X, noise, errors = problem(form)
    mixture = fitted(X, noise)
    parameters = mixture.weights_, mixture.means_, matrices_of(mixture)
    log_joint = np.vstack(
        [
            gaussian_log_joint(x[np.newaxis], *parameters[:2], parameters[2] + error)
            for x, error in zip(X, errors, strict=True)
        ]
    )
    log_density = logsumexp(log_joint, axis=1)
    shares = np.exp(log_joint - log_density[:, np.newaxis])
    np.testing.assert_allclose(mixture.score_samples(X, noise=noise), log_density, rtol=1e-10)
    np.testing.assert_allclose(mixture.predict_proba(X, noise=noise), shares, atol=1e-10)
    np.testing.assert_array_equal(mixture.predict(X, noise=noise), shares.argmax(axis=1))
    assert mixture.score_samples(X).mean() < log_density.mean() + 1.0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("covariance_type", TYPES)
def test_denoised_rows(covariance_type, form):
    X, noise, errors = problem(form)
    X = with_gaps(X)
    mixture = fitted(X, noise, covariance_type)
    values, covariances = mixture.denoise(X, noise)
    shares = mixture.predict_proba(X, noise)
    matrices = matrices_of(mixture)
    for n in range(N):
        own = [
            true_values(X[n], mean, matrix, errors[n])[1:]
            for mean, matrix in zip(mixture.means_, matrices, strict=True)
        ]
        mean = sum(r * m for r, (m, _) in zip(shares[n], own, strict=True))
        spread = sum(
            r * (C + np.outer(m - mean, m - mean)) for r, (m, C) in zip(shares[n], own, strict=True)
        )
        np.testing.assert_allclose(values[n], mean, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(covariances[n], spread, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [1.0, 1e-50, 1e50])
@pytest.mark.parametrize("form", FORMS)
def test_errors_of_float32_rows_keep_their_digits(form, size):
    """Also those that are nothing in float32, or infinite."""
    X, noise, _ = problem(form)
    X, noise = with_gaps(X).astype(np.float32), size * noise
    mixture = GaussianMixture.from_parameters(
        [0.3, 0.7], [np.zeros(D), np.ones(D)], [np.eye(D)] * 2
    )
    mixture.missing = "em"
    single, double = mixture.denoise(X, noise), mixture.denoise(X.astype(np.float64), noise)
    for ours, expected in zip(single, double, strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-12, 1e-3, 1.0, 1e12])
def test_denoised_rows_have_possible_covariances(size):
    """Symmetric, and positive semi-definite: what small errors leave isn't lost to cancellation."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, D)) @ rng.normal(size=(D, D))
    matrix = np.cov(X.T)
    noise = size * rng.uniform(0.5, 2.0, size=X.shape)
    mixture = GaussianMixture.from_parameters([1.0], [X.mean(axis=0)], [matrix])
    values, covariances = mixture.denoise(X, noise)
    np.testing.assert_array_equal(covariances, covariances.swapaxes(1, 2))
    least = np.linalg.eigvalsh(covariances)[:, 0]
    largest = np.einsum("nii->n", covariances)
    assert (least >= -1e-15 * largest).all()
    for n in range(len(X)):
        # (1/S + 1/N)^-1, in a form that needs no inverse of the errors.
        error = np.diag(noise[n])
        expected = np.linalg.solve(np.eye(D) + error @ np.linalg.inv(matrix), error)
        rounding = 1e-15 * np.trace(matrix)
        np.testing.assert_allclose(covariances[n], expected, rtol=1e-7, atol=rounding)
    if size < 1e-20:
        np.testing.assert_allclose(values, X, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_denoised_and_filled_rows_of_any_scale(scale):
    X, noise, _ = problem("variances")
    X = with_gaps(X)
    mixture = GaussianMixture.from_parameters(
        [0.3, 0.7], [np.zeros(D), np.ones(D)], [np.eye(D)] * 2
    )
    large = GaussianMixture.from_parameters(
        mixture.weights_, scale * mixture.means_, scale**2 * mixture.covariances_
    )
    mixture.missing = large.missing = "em"
    values, covariances = mixture.denoise(X, noise)
    ours, within = large.denoise(scale * X, scale**2 * noise)
    np.testing.assert_allclose(ours / scale, values, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(within / scale**2, covariances, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(large.impute(scale * X) / scale, mixture.impute(X), rtol=1e-9)


def test_denoised_rows_are_nearer_the_truth():
    rng = np.random.default_rng(0)
    matrix = [[1, 0.95], [0.95, 1]]
    true = rng.multivariate_normal([0, 0], matrix, size=2000)
    noise = rng.uniform(0.1, 1.0, size=(2000, 2))
    X = true + np.sqrt(noise) * rng.normal(size=(2000, 2))
    mixture = GaussianMixture.from_parameters([1.0], [[0, 0]], [matrix])
    values, covariances = mixture.denoise(X, noise)
    assert ((values - true) ** 2).mean() < 0.5 * ((X - true) ** 2).mean()
    scaled = (values - true) / np.sqrt(np.einsum("nii->ni", covariances))
    assert (scaled**2).mean() == pytest.approx(1.0, abs=0.06)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("covariance_type", ["EVE", "VVE"])
@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_shared_orientations_of_any_scale(covariance_type, scale):
    X = problem("variances")[0]
    X = with_gaps(X)
    options = {"covariance_type": covariance_type, "missing": "em", "reg_covar": 0.0}
    options |= {"random_state": 0, "max_iter": 5, "tol": 0.0}
    mixture = GaussianMixture(2, **options).fit(X)
    scaled = GaussianMixture(2, **options).fit(scale * X)
    np.testing.assert_allclose(scaled.means_ / scale, mixture.means_, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        scaled.covariances_ / scale**2, mixture.covariances_, rtol=1e-6, atol=1e-6
    )


def test_what_was_not_observed_has_no_noise():
    X, noise, _ = problem("covariances")
    X = with_gaps(X)
    ours = fitted(X, noise)
    unknown = noise.copy()
    missing = np.isnan(X)
    unknown[missing[:, :, np.newaxis] | missing[:, np.newaxis, :]] = np.nan
    np.testing.assert_array_equal(fitted(X, unknown).means_, ours.means_)
    np.testing.assert_array_equal(ours.score_samples(X, unknown), ours.score_samples(X, noise))


def test_noise_is_not_changed_nor_copied():
    X, noise, _ = problem("covariances")
    kept = noise.copy()
    noise.flags.writeable = False
    fitted(X, noise)
    np.testing.assert_array_equal(noise, kept)
    assert check_errors(noise, X).own is noise


BAD = {
    "a number": (1.0, "should have the shape"),
    "too few rows": (np.ones((N - 1, D)), "should have the shape"),
    "too many features": (np.ones((N, D + 1)), "should have the shape"),
    "four dimensions": (np.ones((N, D, D, 1)), "should have the shape"),
    "words": ([["a"] * D] * N, "real numbers"),
    "infinity": (np.where(np.eye(N, D), np.inf, 1.0), "infinity"),
    "nan": (np.where(np.eye(N, D), np.nan, 1.0), "NaN where X has a value"),
    "negative": (np.where(np.arange(N)[:, np.newaxis] == 7, -1.0, np.ones(D)), "row 7"),
    "negative for all": (-np.ones(D), "negative variance"),
    "not symmetric": (
        np.tile(np.eye(D) + 0.1 * np.eye(D, k=1), (N, 1, 1)),
        "not symmetric.* row 0",
    ),
    "indefinite": (
        np.where(
            np.arange(N)[:, np.newaxis, np.newaxis] == 9, 2 * np.ones((D, D)) - np.eye(D), np.eye(D)
        ),
        "not positive semi-definite, in row 9",
    ),
    "indefinite for all": (2 * np.ones((D, D)) - np.eye(D), "not positive semi-definite"),
    "correlated without variance": (
        np.array([[0, 0.1, 0], [0.1, 1, 0], [0, 0, 1]]),
        "not symmetric|not positive semi-definite",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_noise(name):
    X = problem("variances")[0]
    noise, said = BAD[name]
    mixture = fitted(X, np.ones(D))
    before = mixture.means_
    for method in (mixture.fit, mixture.score_samples, mixture.predict, mixture.predict_proba):
        with pytest.raises((ValueError, TypeError), match=said):
            method(X, noise=noise)
    with pytest.raises((ValueError, TypeError), match=said):
        mixture.denoise(X, noise)
    assert mixture.means_ is before


def test_noise_without_any_is_fine():
    X = problem("variances")[0]
    singular = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert np.isfinite(fitted(X, singular).means_).all()
    assert np.isfinite(fitted(X, np.zeros((N, D, D))).means_).all()


def test_noise_of_two_meanings():
    X = problem("variances")[0][:D]
    with pytest.raises(ValueError, match="might be the variances of each row or one covariance"):
        GaussianMixture(1).fit(X, noise=np.eye(D))


def test_gaps_need_leave_with_noise_too():
    X, noise, _ = problem("variances")
    with pytest.raises(ValueError, match="Input X contains NaN"):
        GaussianMixture(2).fit(with_gaps(X), noise=noise)


@pytest.mark.parametrize("form", FORMS)
def test_labels_of_the_rows_fitted(form):
    X, noise, _ = problem(form)
    mixture = GaussianMixture(K, random_state=0)
    expected = clone(mixture).fit(X, noise=noise).predict(X, noise)
    np.testing.assert_array_equal(mixture.fit_predict(X, noise=noise), expected)
