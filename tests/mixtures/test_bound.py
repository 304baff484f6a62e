"""The bound and its gap, for every covariance type and for Bernoulli mixtures."""

import tracemalloc
import warnings

import numpy as np
import pytest
from reference import (
    COVARIANCE_TYPES,
    bernoulli_log_density,
    covariance_matrices,
    gaussian_log_joint,
)
from scipy.special import logsumexp, xlogy
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from fastem import BernoulliMixture, GaussianMixture
from fastem.mixtures import bound

MIXTURES = (*COVARIANCE_TYPES, "bernoulli")


def unfitted(kind, **options):
    if kind == "bernoulli":
        return BernoulliMixture(3, binarize=1.0, random_state=0, **options)
    return GaussianMixture(3, covariance_type=kind, random_state=0, **options)


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.normal(size=(500, 3)) + rng.integers(3, size=(500, 1)) * 2


@pytest.fixture(scope="module", params=MIXTURES)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def model(kind, X):
    return unfitted(kind).fit(X)


@pytest.fixture
def log_joint(kind, model, X):
    if kind == "bernoulli":
        return np.log(model.weights_) + bernoulli_log_density(X > 1, model.probabilities_)
    matrices = covariance_matrices(model.covariances_, kind, 3, 3)
    return gaussian_log_joint(X, model.weights_, model.means_, matrices)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(bound, "_BLOCK_SIZE", 300)


QS = ("random", "with zeros", "one-hot", "integers", "booleans", "even", "posterior", "float32")


def distribution(q, X, model):
    rng = np.random.default_rng(1)
    match q:
        case "random":
            return rng.dirichlet(np.ones(3), size=len(X))
        case "with zeros":
            drawn = rng.dirichlet(np.ones(3), size=len(X)) * (rng.random((len(X), 3)) < 0.7)
            drawn[drawn.sum(axis=1) == 0, 1] = 1
            return drawn / drawn.sum(axis=1, keepdims=True)
        case "one-hot":
            return np.eye(3)[rng.integers(3, size=len(X))]
        case "integers":
            return np.eye(3, dtype=int)[rng.integers(3, size=len(X))]
        case "booleans":
            return np.eye(3, dtype=bool)[rng.integers(3, size=len(X))]
        case "even":
            return np.full((len(X), 3), 1 / 3)
        case "posterior":
            return model.predict_proba(X)
        case "float32":
            return rng.dirichlet(np.ones(3), size=len(X)).astype(np.float32)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("q", QS)
def test_bound_and_gap_are_their_definitions(q, weighted, model, log_joint, X):
    q = distribution(q, X, model)
    w = np.random.default_rng(2).exponential(size=500) * (np.arange(500) % 9 > 0)
    given, w = (w, w) if weighted else (None, np.ones(500))
    exact, log_density = q.astype(float), logsumexp(log_joint, axis=1)
    expected = w @ (exact * log_joint).sum(axis=1)
    entropy = w @ -xlogy(exact, exact).sum(axis=1)
    log_posterior = log_joint - log_density[:, np.newaxis]
    kl = w @ (xlogy(exact, exact) - exact * log_posterior).sum(axis=1)
    found = model.expected_complete_log_likelihood(X, q, given)
    assert found == pytest.approx(expected, rel=1e-10)
    assert model.elbo(X, q, given) == pytest.approx(expected + entropy, rel=1e-10)
    assert model.posterior_kl(X, q, given) == pytest.approx(kl, rel=1e-10, abs=1e-9)
    expected = w @ (np.exp(log_posterior) * log_joint).sum(axis=1)
    found = model.expected_complete_log_likelihood(X, sample_weight=given)
    assert found == pytest.approx(expected, rel=1e-10)
    assert model.elbo(X, sample_weight=given) == pytest.approx(w @ log_density, rel=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("q", QS)
def test_bound_and_gap_sum_to_the_log_likelihood(q, dtype, model, X):
    """Also for rows so far away that their log-densities are millions below zero."""
    rows = np.vstack([X, X[:20] * 1e3]).astype(dtype)
    q = distribution(q, rows, model)
    log_density = model.score_samples(rows)
    w = np.random.default_rng(3).exponential(size=len(rows))
    # As far as the responsibilities sum to one.
    rel = 1e-14 if q.dtype != np.float32 else 1e-7
    total = model.elbo(rows, q) + model.posterior_kl(rows, q)
    assert total == pytest.approx(log_density.sum(dtype=float), rel=rel)
    assert model.posterior_kl(rows, q) >= 0
    total = model.elbo(rows, q, w) + model.posterior_kl(rows, q, w)
    assert total == pytest.approx(w @ log_density.astype(float), rel=rel)


def test_the_gap_closes_at_the_posterior(model, X):
    assert model.posterior_kl(X, model.predict_proba(X)) < 1e-9
    for q in ("random", "one-hot", "even"):
        assert model.posterior_kl(X, distribution(q, X, model)) > 1.0


def test_known_components(model, log_joint, X):
    rng = np.random.default_rng(2)
    labels, w = rng.integers(3, size=len(X)), rng.random(len(X))
    own = log_joint[np.arange(len(X)), labels]
    for given in (labels, labels.astype(np.uint8), labels.tolist()):
        assert model.complete_log_likelihood(X, given) == pytest.approx(own.sum(), rel=1e-10)
    one_hot = np.eye(3)[labels]
    assert model.elbo(X, one_hot) == pytest.approx(own.sum(), rel=1e-10)
    assert model.complete_log_likelihood(X, labels, w) == pytest.approx(w @ own, rel=1e-10)


def test_no_probability_expects_nothing_of_no_density():
    model = GaussianMixture.from_parameters([1.0, 0.0], [[0.0], [1.0]], [1.0, 1.0], "spherical")
    X, q = np.zeros((4, 1)), np.tile([1.0, 0.0], (4, 1))
    assert model.elbo(X, q) == pytest.approx(-2 * np.log(2 * np.pi))
    assert model.posterior_kl(X, q) == 0
    assert model.expected_complete_log_likelihood(X) == pytest.approx(-2 * np.log(2 * np.pi))
    assert model.elbo(X, q[:, ::-1]) == -np.inf
    assert model.posterior_kl(X, q[:, ::-1]) == np.inf


def test_impossible_rows_count_as_far_as_they_have_weight():
    fitted = {"probabilities_init": [[1.0, 0.2], [1.0, 0.6]], "fixed": ("weights", "probabilities")}
    model = BernoulliMixture(2, **fitted).fit([[1, 0], [1, 1]])
    X, q = np.array([[1, 0], [0, 1], [1, 1]]), np.full((3, 2), 0.5)
    possible = model.elbo(X[::2], q[::2])
    gap = model.posterior_kl(X[::2], q[::2])
    with pytest.warns(RuntimeWarning, match="1 rows are impossible") as record:
        assert model.elbo(X, q) == -np.inf
        assert model.posterior_kl(X, q) == gap
        w = [1, 0, 1]
        assert model.elbo(X, q, w) == possible
        assert model.elbo(X, sample_weight=w) == pytest.approx(possible + gap)
        assert model.score(X, sample_weight=w) == pytest.approx((possible + gap) / 2)
        assert model.complete_log_likelihood(X, [0, 1, 0], w) < 0
        assert np.isfinite(model.expected_complete_log_likelihood(X, sample_weight=w))
    assert {warning.filename for warning in record[:2]} == {__file__}


# EM climbs the bound.


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("assignment", ["soft", "hard"])
def test_each_half_of_an_iteration_raises_the_bound(kind, assignment, weighted, X):
    """The E-step closes the gap (or, if hard, comes as near as one-hot q can), the M-step climbs.

    What is closed by then is what ``lower_bounds_`` tells of each iteration.
    """
    w = np.random.default_rng(4).exponential(size=500) if weighted else np.ones(500)
    options = {"assignment": assignment, "tol": 0.0, "warm_start": True, "max_iter": 1}
    if kind == "bernoulli":  # from seeds it would start near the end
        options["probabilities_init"] = 0.5 + 0.2 * np.eye(3)
    else:
        options |= {"reg_covar": 0.0, "init_params": "random", "means_init": X[:3]}
    model, bounds, told = unfitted(kind, **options), [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.set_params(max_iter=0).fit(X, sample_weight=w).set_params(max_iter=1)
        for _ in range(12):
            q = model.predict_proba(X)
            if assignment == "hard":
                q = np.eye(3)[model.predict(X)]
            bounds.append(model.elbo(X, q, w))  # after an E-step
            model.fit(X, sample_weight=w)
            told.append(model.lower_bound_ * w.sum())
            bounds.append(model.elbo(X, q, w))  # after an M-step
    np.testing.assert_allclose(bounds[::2], told, rtol=1e-12)
    assert (np.diff(bounds) >= -1e-12 * np.abs(bounds[0])).all()
    assert bounds[-1] > bounds[0] + 0.5


# Memory.


def test_nothing_as_large_as_the_responsibilities_is_made(kind, X, monkeypatch):
    monkeypatch.setattr(bound, "_BLOCK_SIZE", 1 << 14)
    rows = np.tile(X, (100, 1))
    q, labels = np.full((len(rows), 30), 1 / 30), np.zeros(len(rows), int)
    options = {"max_iter": 0} if kind == "bernoulli" else {"max_iter": 0, "init_params": "random"}
    model = unfitted(kind, **options).set_params(n_components=30).fit(rows[:500])
    calls = [
        lambda: model.elbo(rows, q),
        lambda: model.posterior_kl(rows, q),
        lambda: model.expected_complete_log_likelihood(rows, q),
        lambda: model.expected_complete_log_likelihood(rows),
        lambda: model.complete_log_likelihood(rows, labels),
        lambda: model.icl(rows),
    ]
    for call in calls:
        call()
        tracemalloc.start()
        call()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < q.nbytes / 6


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
        (lambda q: np.where(q < 0.5, np.inf, q), "contains infinity"),
        (lambda q: q > 0, "a sum is off by 2"),
        (lambda q: q * 1j, "Complex data not supported"),
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
        (lambda z: z == 0, r"integers in the range \[0, 2\]"),
        (lambda z: np.where(z, 0, np.nan), "contains NaN"),
    ],
)
def test_bad_labels(change, message, X):
    model = GaussianMixture(3, random_state=0, max_iter=5).fit(X)
    with pytest.raises(ValueError, match=message):
        model.complete_log_likelihood(X, change(np.zeros(500, int)))


@pytest.mark.parametrize("method", ["elbo", "posterior_kl", "expected_complete_log_likelihood"])
def test_bad_rows_and_weights(method, X):
    q, call = np.full((500, 3), 1 / 3), lambda *args: getattr(model, method)(*args)
    model = GaussianMixture(3, random_state=0)
    with pytest.raises(NotFittedError):
        call(X, q)
    model.fit(X)
    with pytest.raises(ValueError, match="X has 2 features, but GaussianMixture is expecting 3"):
        call(X[:, :2], q)
    with pytest.raises(ValueError, match=r"sample_weight.shape == \(499,\), expected \(500,\)"):
        call(X, q, np.ones(499))
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        call(X, q, -np.ones(500))
