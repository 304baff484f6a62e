"""``init_params="auto"``: the best of three starts after a few iterations."""

import warnings

import numba
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score

from fastem import GaussianMixture
from fastem.mixtures.gaussian import model
from fastem.mixtures.gaussian.covariances import COVARIANCES


def stripes(n=900, k=3, seed=0):
    """Clusters thirty times as long as wide, side by side."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(k, size=n)
    return rng.normal(size=(n, 2)) * [30, 1] + np.outer(labels, [0, 6]), labels


def auto(n_components, **options):
    options = {"random_state": 0, "init_params": "auto", **options}
    return GaussianMixture(n_components, **options)


@pytest.mark.parametrize("k", [2, 3, 4, 5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_long_parallel_clusters(k, seed):
    X, labels = stripes(k=k, seed=seed)
    options = {"max_iter": 500, "random_state": seed}
    if k == 2:  # by default three clusters are found with some seeds
        by_default = GaussianMixture(k, **options).fit(X)
        assert adjusted_rand_score(labels, by_default.predict(X)) < 0.1
    assert adjusted_rand_score(labels, auto(k, **options).fit_predict(X)) > 0.95


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_is_where_twenty_iterations_of_the_default_lead_or_better(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(400, 3)) + 2 * rng.integers(4, size=(400, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        options = {"random_state": seed, "tol": 0}
        by_default = GaussianMixture(4, max_iter=21, **options).fit(X)
        best = auto(4, max_iter=1, **options).fit(X)
    assert best.lower_bounds_[0] >= by_default.lower_bounds_[20] - 1e-12


def test_candidates_that_converge_or_fall_behind_end_early(monkeypatch):
    """The best is the same as if each took all its iterations, in fewer passes."""

    # Far outliers have a component from K-means, which no other start comes near.
    rng = np.random.default_rng(16)
    X = 6 * rng.normal(size=(4, 2))[rng.integers(4, size=1500)] + rng.normal(size=(1500, 2))
    X[:30] = rng.uniform(-60, 60, (30, 2))

    def passes_and_start(tol, hopeless):
        passes, e_step = [], model.GaussianModel.e_step

        def counted(*args, **options):
            passes.append(args)
            return e_step(*args, **options)

        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            patch.setattr(model.GaussianModel, "e_step", counted)
            patch.setattr(model, "_HOPELESS", hopeless)
            fitted = auto(5, tol=tol, max_iter=1).fit(X)
        return len(passes), fitted

    n_all, best_of_all = passes_and_start(0.0, np.inf)
    n_hopeful, best_of_hopeful = passes_and_start(0.0, model._HOPELESS)
    n_converged, best_of_converged = passes_and_start(1e-3, np.inf)
    assert n_hopeful < n_all and n_converged < n_all
    np.testing.assert_array_equal(best_of_hopeful.means_, best_of_all.means_)
    np.testing.assert_allclose(best_of_converged.means_, best_of_all.means_, atol=0.5)


@pytest.mark.parametrize("covariance_type", COVARIANCES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_covariance_type(covariance_type, dtype):
    X, labels = stripes()
    mixture = auto(3, covariance_type=covariance_type, max_iter=1000).fit(X.astype(dtype))
    assert mixture.means_.dtype == dtype
    np.testing.assert_allclose(mixture.weights_.sum(), 1, rtol=1e-5)
    assert np.diff(mixture.lower_bounds_).min() > -1e-4
    if covariance_type in ("full", "tied", "diag", "tied_diag"):
        assert adjusted_rand_score(labels, mixture.predict(X.astype(dtype))) > 0.95


def test_more_rows_than_the_samples():
    X, labels = stripes(n=25_000)
    mixture = auto(3).fit(X)
    assert adjusted_rand_score(labels, mixture.predict(X)) > 0.95
    assert mixture.weights_.sum() == pytest.approx(1)


def test_weights():
    """Rows of no weight are as good as missing."""
    X, _ = stripes(n=400)
    weight = np.arange(400) % 3.0
    weighted = auto(3).fit(X, sample_weight=weight)
    some = auto(3).fit(X[weight > 0], sample_weight=weight[weight > 0])
    np.testing.assert_allclose(weighted.means_, some.means_, rtol=1e-8)


def test_the_same_bits_for_any_number_of_threads():
    X, _ = stripes(n=5000)
    before = numba.get_num_threads()
    try:
        fits = []
        for n_threads in (1, before):
            numba.set_num_threads(n_threads)
            fits.append(auto(4).fit(X))
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(fits[0].covariances_, fits[1].covariances_)


@pytest.mark.parametrize(
    "options",
    [
        {"reg_covar": 0},
        {"assignment": "hard"},
        {"n_init": 2},
        {"prior": "conjugate"},
        {"accelerate": "squarem"},
    ],
    ids=str,
)
def test_with_other_options(options):
    X, labels = stripes()
    assert adjusted_rand_score(labels, auto(3, **options).fit_predict(X)) > 0.95


def test_given_parameters_stay():
    X, _ = stripes()
    means = np.array([[0.0, 0], [0, 6], [0, 12]])
    mixture = auto(3, means_init=means, fixed=("means",)).fit(X)
    np.testing.assert_array_equal(mixture.means_, means)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "X",
    [
        np.zeros((6, 2)),
        np.repeat([[0.0, 1], [5, 1]], 5, axis=0),
        np.arange(4.0)[:, np.newaxis],
        np.eye(4, 7),
    ],
    ids=["equal rows", "two places", "few rows", "more features than rows"],
)
def test_hard_cases(X):
    mixture = auto(3).fit(X)
    assert np.isfinite(mixture.means_).all()
    assert np.isfinite(mixture.score(X))


def test_all_starts_collapse():
    X = np.repeat([[0.0, 1], [5, 1]], 5, axis=0)
    with pytest.raises(ValueError, match="reg_covar"):
        auto(2, reg_covar=0).fit(X)


def test_one_component():
    X, _ = stripes()
    np.testing.assert_allclose(auto(1).fit(X).means_[0], X.mean(axis=0), rtol=1e-9)


def test_fewer_rows_of_positive_weight_than_components():
    X = np.random.default_rng(0).normal(size=(9, 2))
    for n_positive in (1, 2):
        weight = (np.arange(9) < n_positive).astype(float)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            mixture = auto(3).fit(X, sample_weight=weight)
        assert np.isfinite(mixture.lower_bounds_).all()
        np.testing.assert_allclose(mixture.mean(), weight @ X / n_positive, rtol=1e-6)
