"""The conjugate prior of Gaussian mixtures."""

import numpy as np
import pytest
from scipy.optimize import minimize

from fastem import GaussianMixture
from fastem.mixtures.gaussian.covariances import COVARIANCES

TYPES = [name for name, kind in COVARIANCES.items() if name == kind.name]
every_type = pytest.mark.parametrize("covariance_type", TYPES)


pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def two_groups(distance, n_rows=60, n_features=3):
    rng = np.random.default_rng(0)
    y = np.arange(n_rows) % 3 // 2
    mixing = np.eye(n_features) + 0.4 * rng.normal(size=(2, n_features, n_features))
    X = np.einsum("ni,nij->nj", rng.normal(size=(n_rows, n_features)), mixing[y])
    X[:, 0] += distance * y
    return X, y


def fitted(X, covariance_type, sample_weight=None, **options):
    options = {"tol": 1e-10, "max_iter": 500, "reg_covar": 0.0, "random_state": 0, **options}
    mixture = GaussianMixture(2, covariance_type=covariance_type, prior="conjugate", **options)
    return mixture.fit(X, sample_weight=sample_weight)


def published(X, y, covariance_type):
    """The mode for known components, by the formulas of Fraley and Raftery (2007)."""
    (n_rows, d), k = X.shape, 2
    shrinkage, degrees, center = 0.01, d + 2, X.mean(axis=0)
    variance = np.cov(X.T)
    counts = np.bincount(y).astype(float)
    own = np.array([X[y == j].mean(axis=0) for j in range(k)])
    means = (counts[:, np.newaxis] * own + shrinkage * center) / (counts + shrinkage)[:, np.newaxis]
    scatter = np.array([(X[y == j] - own[j]).T @ (X[y == j] - own[j]) for j in range(k)])
    factors = shrinkage * counts / (shrinkage + counts)
    scatter += np.einsum("k,ki,kj->kij", factors, own - center, own - center)
    matrix = variance / k ** (2 / d)
    number = np.trace(variance) / d / k ** (2 / d)
    diagonals, traces = np.einsum("kii->ki", scatter), np.einsum("kii->k", scatter)
    own = diagonals + number
    covariances = {
        "EVI": lambda: published_evi(own, n_rows + degrees + 2 + k),
        "VEI": lambda: published_vei(own, counts * d + degrees + 3),
        "full": lambda: (scatter + matrix) / (counts + degrees + d + 2)[:, None, None],
        "tied": lambda: (scatter.sum(axis=0) + matrix) / (n_rows + degrees + d + 1 + k),
        "diag": lambda: (diagonals + number) / (counts + degrees + 3)[:, None],
        "tied_diag": lambda: (diagonals.sum(axis=0) + number) / (n_rows + degrees + 2 + k),
        "spherical": lambda: (traces + number) / (counts * d + degrees + d + 2),
        "tied_spherical": lambda: (traces.sum() + number) / (n_rows * d + degrees + 2 + k * d),
    }[covariance_type]()
    return means, covariances


def published_evi(own, divisor):
    """As mclust: the volume is a mean of the components' volumes."""
    volumes = np.exp(np.log(own).mean(axis=1))
    return own / volumes[:, np.newaxis] * volumes.sum() / divisor


def published_vei(own, divisors):
    """As mclust: volumes and the shape in turn."""
    shape = np.ones(own.shape[1])
    for _ in range(200):
        volumes = (own / shape).sum(axis=1) / divisors
        shape = (own / volumes[:, np.newaxis]).sum(axis=0)
        shape /= np.exp(np.log(shape).mean())
    return volumes[:, np.newaxis] * shape


PUBLISHED = [name for name in TYPES if name.islower() or name in ("EVI", "VEI")]


@pytest.mark.parametrize("covariance_type", PUBLISHED)
def test_known_components_have_the_published_mode(covariance_type):
    X, y = two_groups(distance=300.0)
    mixture = fitted(X, covariance_type)
    order = np.argsort(mixture.means_[:, 0])
    means, covariances = published(X, y, covariance_type)
    np.testing.assert_allclose(mixture.means_[order], means, rtol=1e-9)
    found = np.asarray(mixture.covariances_)
    found = found if covariance_type.startswith("tied") else found[order]
    # Volumes in steps have as many digits as the steps aim for.
    rtol = 1e-6 if covariance_type == "VEI" else 1e-9
    np.testing.assert_allclose(found, covariances, rtol=rtol, atol=1e-12)
    np.testing.assert_allclose(mixture.weights_[order], np.bincount(y) / 60, rtol=1e-9)


@every_type
@pytest.mark.parametrize("accelerate", [None, "squarem"])
def test_the_posterior_never_falls(covariance_type, accelerate):
    X, _ = two_groups(distance=2.0)
    weight = np.random.default_rng(1).integers(1, 4, size=len(X))
    for sample_weight in (None, weight):
        mixture = fitted(X, covariance_type, sample_weight, accelerate=accelerate, max_iter=60)
        assert (np.diff(mixture.lower_bounds_) > -1e-11).all()
        assert mixture.lower_bounds_[-1] > mixture.lower_bounds_[0]


def log_prior(X, means, covariances):
    """Up to a constant, of matrices that belong to each component alone."""
    d = X.shape[1]
    scale = np.cov(X.T) / 2 ** (2 / d)
    delta = means - X.mean(axis=0)
    inverses = np.linalg.inv(covariances)
    total = (1 + d + 2 + d + 1) * np.linalg.slogdet(covariances)[1].sum()
    total += 0.01 * np.einsum("ki,kij,kj->", delta, inverses, delta)
    return -0.5 * (total + np.einsum("ij,kji->", scale, inverses))


def test_the_objective_is_the_log_posterior_and_scipy_finds_no_better():
    X, _ = two_groups(distance=2.0)
    mixture = fitted(X, "full")
    n, (k, d) = len(X), mixture.means_.shape

    def posterior(x, mixture=mixture):
        split = np.split(x, [k, k + k * d])
        weights = mixture.weights_ * np.exp(split[0])
        means = mixture.means_ + split[1].reshape(k, d)
        roots = np.linalg.cholesky(mixture.covariances_) @ (np.eye(d) + split[2].reshape(k, d, d))
        covariances = roots @ roots.swapaxes(1, 2)
        other = GaussianMixture.from_parameters(weights / weights.sum(), means, covariances)
        return (other.score_samples(X).sum() + log_prior(X, means, covariances)) / n

    zero = np.zeros(k + k * d + k * d * d)
    assert mixture.lower_bound_ == pytest.approx(posterior(zero), abs=1e-8)
    result = minimize(lambda x: -posterior(x), zero, options={"maxiter": 20})
    assert -result.fun < posterior(zero) + 1e-7


@every_type
def test_components_of_few_rows_do_not_collapse(covariance_type):
    X, _ = two_groups(distance=2.0)
    X = np.vstack([X, np.full((2, 3), 50.0)])
    mixture = fitted(X, covariance_type)
    assert mixture.weights_.min() == pytest.approx(2 / 62, rel=1e-6)
    assert np.isfinite(mixture.score(X))
    kind = COVARIANCES[covariance_type]
    if not kind.tied and covariance_type not in ("EVI", "EEV", "EVE", "EVV"):
        without = GaussianMixture(2, covariance_type=covariance_type, reg_covar=0.0, random_state=0)
        with pytest.raises(ValueError, match="increase reg_covar"):
            without.fit(X)


def test_weights_count_rows():
    """Integers are as good as repeated rows."""
    X, _ = two_groups(distance=3.0)
    weight = np.random.default_rng(2).integers(1, 4, size=len(X)).astype(float)
    start = {
        "weights_init": [0.5, 0.5],
        "means_init": [[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]],
        "precisions_init": [np.eye(3), np.eye(3)],
    }
    repeated = fitted(np.repeat(X, weight.astype(int), axis=0), "full", **start)
    weighted = fitted(X, "full", weight, **start)
    np.testing.assert_allclose(weighted.covariances_, repeated.covariances_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(weighted.lower_bounds_[:9], repeated.lower_bounds_[:9], rtol=1e-10)
    with pytest.raises(ValueError, match="total weight above 1"):
        fitted(X, "full", weight / weight.sum())


def test_a_fit_in_two_parts():
    X, _ = two_groups(distance=2.0)
    whole = fitted(X, "full", max_iter=9, tol=0.0)
    parts = fitted(X, "full", max_iter=4, tol=0.0, warm_start=True)
    history = parts.lower_bounds_ + parts.set_params(max_iter=5).fit(X).lower_bounds_
    np.testing.assert_allclose(history, whole.lower_bounds_, rtol=1e-12)


def test_only_known_priors():
    with pytest.raises(ValueError, match="The 'prior' parameter"):
        GaussianMixture(2, prior="wishart").fit(two_groups(1.0)[0])
