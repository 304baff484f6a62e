"""K-means as a limit and as a case of EM: known covariances of sigma**2 I, and hard assignments."""

import numpy as np
import pytest
from reference import COVARIANCE_TYPES, gaussian_m_step

from fastem import GaussianMixture, KMeans

K, N_ROWS, N_FEATURES = 5, 600, 3
SIGMAS = (1.0, 0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4, 1e-5)


pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def X():
    """Groups that overlap: K-means and EM with sigma = 1 go different ways."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(N_ROWS, N_FEATURES)) + rng.integers(-2, 3, size=(N_ROWS, 1))


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(1).exponential(size=N_ROWS)


def mixture(covariance_type, sigma, X, **options):
    """A mixture that starts from the first rows; unless told otherwise only the means move."""
    identity = np.eye(N_FEATURES) / sigma**2
    precisions = {
        "full": np.tile(identity, (K, 1, 1)),
        "tied": identity,
        "diag": np.tile(np.diag(identity), (K, 1)),
        "spherical": np.full(K, sigma**-2.0),
        "tied_diag": np.diag(identity),
        "tied_spherical": sigma**-2.0,
    }[covariance_type]
    return GaussianMixture(
        K,
        covariance_type=covariance_type,
        weights_init=np.full(K, 1 / K),
        means_init=X[:K],
        precisions_init=precisions,
        reg_covar=0.0,
        **{"fixed": ("weights", "covariances"), "tol": 1e-300, "max_iter": 200, **options},
    )


def k_means(X, sample_weight=None, init=None):
    return KMeans(K, init=X[:K] if init is None else init, tol=0).fit(
        X, sample_weight=sample_weight
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_responsibilities_harden_and_the_fit_becomes_k_means(covariance_type, weighted, X, weights):
    w = weights if weighted else None
    kmeans = k_means(X, w)
    softness, distances = [], []
    for sigma in SIGMAS:
        model = mixture(covariance_type, sigma, X, max_iter=1000).fit(X, sample_weight=w)
        responsibilities = model.predict_proba(X)
        softness.append(1 - responsibilities.max(axis=1).mean())
        distances.append(np.abs(model.means_ - kmeans.cluster_centers_).max())
        bounds = np.array(model.lower_bounds_)
        assert (np.diff(bounds) >= -1e-12 * np.abs(bounds[1:])).all()
    assert softness[0] > 0.1
    assert distances[0] > 0.5
    assert (np.diff(softness) <= 1e-15).all()
    assert (np.diff(distances) <= 1e-12).all()
    assert distances[-1] < 1e-8
    np.testing.assert_array_equal(responsibilities, np.eye(K)[kmeans.labels_])
    np.testing.assert_array_equal(model.predict(X), kmeans.labels_)


@pytest.mark.parametrize("accelerate", [None, "squarem"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_log_densities_of_minus_ten_thousand_millions(covariance_type, dtype, accelerate, X):
    rows = X.astype(dtype)
    model = mixture(covariance_type, 1e-5, rows, accelerate=accelerate).fit(rows)
    # Leaps may lead to another local optimum, at which K-means doesn't move either.
    kmeans = k_means(rows, init=model.means_ if accelerate else None)
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(model.means_, kmeans.cluster_centers_, rtol=0, atol=20 * eps)
    np.testing.assert_array_equal(model.predict(rows), kmeans.labels_)
    responsibilities = model.predict_proba(rows)
    np.testing.assert_array_equal(responsibilities, np.eye(K)[kmeans.labels_])
    distances = ((rows - model.means_.astype(float)[kmeans.labels_]) ** 2).sum(axis=1)
    peak = -np.log(K) - N_FEATURES / 2 * np.log(2 * np.pi * 1e-10)
    expected = peak - distances / 2e-10
    assert expected.min() < -1e10
    np.testing.assert_allclose(model.score_samples(rows), expected, rtol=100 * eps)
    assert model.elbo(rows, responsibilities) == pytest.approx(expected.sum(), rel=10 * eps)
    assert model.posterior_kl(rows, responsibilities) == pytest.approx(0, abs=eps * 1e10)
    bounds = np.array(model.lower_bounds_)
    assert (np.diff(bounds) >= -4 * eps * np.abs(bounds[1:])).all()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sigma", [1.0, 1e-5])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_hard_assignments_to_equal_spheres_are_k_means(
    covariance_type, sigma, weighted, X, weights
):
    """Step by step: each iteration's objective is a line in K-means' inertia."""
    w = weights if weighted else None
    kmeans = k_means(X, w)
    model = mixture(covariance_type, sigma, X, assignment="hard").fit(X, sample_weight=w)
    np.testing.assert_allclose(model.means_, kmeans.cluster_centers_, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(model.predict(X), kmeans.labels_)
    peak = -np.log(K) - N_FEATURES / 2 * np.log(2 * np.pi * sigma**2)
    total_weight = w.sum() if weighted else N_ROWS
    expected = peak - np.array(kmeans.inertias_) / (2 * sigma**2 * total_weight)
    np.testing.assert_allclose(model.lower_bounds_[: kmeans.n_iter_], expected, rtol=1e-12)
    np.testing.assert_allclose(model.lower_bounds_[kmeans.n_iter_ :], expected[-1], rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sigma", [1e-5, 1.0, 1e5])
def test_hard_assignments_need_not_know_a_shared_variance(sigma, dtype, X):
    """Whatever it starts from, the M-step sets it to the mean squared distance in a coordinate."""
    rows = X.astype(dtype)
    options = {"assignment": "hard", "fixed": ("weights",), "max_iter": 50}
    model = mixture("tied_spherical", sigma, rows).set_params(**options).fit(rows)
    kmeans = k_means(rows)
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(model.means_, kmeans.cluster_centers_, rtol=0, atol=20 * eps)
    np.testing.assert_array_equal(model.predict(rows), kmeans.labels_)
    variance = kmeans.inertia_ / (N_ROWS * N_FEATURES)
    assert float(model.covariances_) == pytest.approx(variance, rel=20 * eps)


def test_a_learned_shared_variance_is_the_textbooks(X, weights):
    """A fixed point of the M-step written out; soft assignments leave more variance than hard."""
    model = mixture("tied_spherical", 1.0, X, fixed=("weights",), tol=1e-14)
    model.set_params(max_iter=5000).fit(X, sample_weight=weights)
    assert model.converged_
    responsibilities = model.predict_proba(X) * weights[:, np.newaxis]
    _, means, variance = gaussian_m_step(X, responsibilities, "tied_spherical")
    np.testing.assert_allclose(model.means_, means, atol=1e-5)
    assert float(model.covariances_) == pytest.approx(variance, rel=1e-6)
    hard = mixture("tied_spherical", 1.0, X, fixed=("weights",), assignment="hard")
    assert variance > hard.fit(X, sample_weight=weights).covariances_
