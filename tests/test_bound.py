"""The bound and its gap, for every covariance type."""

import numpy as np
import pytest
from reference import COVARIANCE_TYPES, covariance_matrices, gaussian_log_joint
from scipy.special import logsumexp, xlogy

from fastem import GaussianMixture, bound


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.normal(size=(500, 3)) + rng.integers(3, size=(500, 1)) * 2


@pytest.fixture(scope="module", params=COVARIANCE_TYPES)
def model(request, X):
    return GaussianMixture(3, covariance_type=request.param, random_state=0).fit(X)


@pytest.fixture
def log_joint(model, X):
    matrices = covariance_matrices(model.covariances_, model.covariance_type, 3, 3)
    return gaussian_log_joint(X, model.weights_, model.means_, matrices)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(bound, "_BLOCK_SIZE", 300)


def distributions(X, model):
    """Many kinds of q: random, one-hot, even, the posterior."""
    rng = np.random.default_rng(1)
    return {
        "random": rng.dirichlet(np.ones(3), size=len(X)),
        "one-hot": np.eye(3)[rng.integers(3, size=len(X))],
        "even": np.full((len(X), 3), 1 / 3),
        "posterior": model.predict_proba(X),
        "float32": rng.dirichlet(np.ones(3), size=len(X)).astype(np.float32),
    }


@pytest.mark.parametrize("kind", ["random", "one-hot", "even", "posterior"])
def test_bound_and_gap_are_their_definitions(kind, model, log_joint, X):
    q = distributions(X, model)[kind]
    log_density = logsumexp(log_joint, axis=1)
    expected = (q * log_joint).sum()
    entropy = -xlogy(q, q).sum()
    kl = (xlogy(q, q) - q * (log_joint - log_density[:, np.newaxis])).sum()
    assert model.expected_complete_log_likelihood(X, q) == pytest.approx(expected, rel=1e-10)
    assert model.elbo(X, q) == pytest.approx(expected + entropy, rel=1e-10)
    assert model.posterior_kl(X, q) == pytest.approx(kl, rel=1e-10, abs=1e-9)
    posterior = np.exp(log_joint - log_density[:, np.newaxis])
    expected = (posterior * log_joint).sum()
    assert model.expected_complete_log_likelihood(X) == pytest.approx(expected, rel=1e-10)
    assert model.elbo(X) == pytest.approx(log_density.sum(), rel=1e-10)


@pytest.mark.parametrize("kind", ["random", "one-hot", "even", "posterior", "float32"])
def test_bound_and_gap_sum_to_the_log_likelihood(kind, model, X):
    q = distributions(X, model)[kind]
    total = model.score_samples(X).sum()
    rel = 1e-12 if kind != "float32" else 1e-6
    assert model.elbo(X, q) + model.posterior_kl(X, q) == pytest.approx(total, rel=rel)
    assert model.posterior_kl(X, q) >= 0


def test_the_gap_closes_at_the_posterior(model, X):
    assert model.posterior_kl(X, model.predict_proba(X)) < 1e-9
    for kind in ("random", "one-hot", "even"):
        assert model.posterior_kl(X, distributions(X, model)[kind]) > 1.0


def test_identity_in_float32(model, X):
    rows = X.astype(np.float32)
    q = distributions(X, model)["random"]
    total = model.score_samples(rows).sum(dtype=float)
    assert model.elbo(rows, q) + model.posterior_kl(rows, q) == pytest.approx(total, rel=1e-6)


def test_known_components(model, log_joint, X):
    labels = np.random.default_rng(2).integers(3, size=len(X))
    expected = log_joint[np.arange(len(X)), labels].sum()
    for given in (labels, labels.astype(np.uint8), labels.tolist()):
        assert model.complete_log_likelihood(X, given) == pytest.approx(expected, rel=1e-10)
    one_hot = np.eye(3)[labels]
    assert model.elbo(X, one_hot) == pytest.approx(expected, rel=1e-10)


def test_no_probability_expects_nothing_of_no_density():
    model = GaussianMixture.from_parameters([1.0, 0.0], [[0.0], [1.0]], [1.0, 1.0], "spherical")
    X, q = np.zeros((4, 1)), np.tile([1.0, 0.0], (4, 1))
    assert model.elbo(X, q) == pytest.approx(-2 * np.log(2 * np.pi))
    assert model.posterior_kl(X, q) == 0
    assert model.expected_complete_log_likelihood(X) == pytest.approx(-2 * np.log(2 * np.pi))
    assert model.posterior_kl(X, q[:, ::-1]) == np.inf


# Bad input.


@pytest.mark.parametrize("method", ["elbo", "posterior_kl", "expected_complete_log_likelihood"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q: q[:-1], r"shape of \(500, 3\), but got \(499, 3\)"),
        (lambda q: q[:, :2], r"shape of \(500, 3\), but got \(500, 2\)"),
        (lambda q: q[:, 0], "Expected 2D array, got 1D array"),
        (lambda q: q * 1.1, "should be normalized"),
        (lambda q: (q * 1.001).astype(np.float32), "should be normalized"),
        (lambda q: q * [[-1.0, 1, 1]], "should not be negative"),
        (lambda q: np.where(q < 0.5, np.nan, q), "contains NaN"),
    ],
)
def test_bad_responsibilities(method, change, message, X):
    model = GaussianMixture(3, random_state=0, max_iter=5).fit(X)
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(X, change(np.full((500, 3), 1 / 3)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z: z[:-1], r"shape of \(500,\), but got \(499,\)"),
        (lambda z: z[:, np.newaxis], r"shape of \(500,\), but got \(500, 1\)"),
        (lambda z: z - 1, r"integers in the range \[0, 2\]"),
        (lambda z: z + 3, r"integers in the range \[0, 2\]"),
        (lambda z: z + 0.5, r"integers in the range \[0, 2\]"),
        (lambda z: z.astype(str), r"integers in the range \[0, 2\]"),
    ],
)
def test_bad_labels(change, message, X):
    model = GaussianMixture(3, random_state=0, max_iter=5).fit(X)
    with pytest.raises(ValueError, match=message):
        model.complete_log_likelihood(X, change(np.zeros(500, int)))
