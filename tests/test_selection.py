import pickle
import threading
import warnings
from functools import wraps

import numba
import numpy as np
import pandas as pd
import pytest
from numba import njit
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.model_selection import GridSearchCV

from fastem import BernoulliMixture, CriterionSearch, GaussianMixture
from fastem.em import Mixture
from fastem.mixtures import sampled
from fastem.mixtures import starts as all_starts
from fastem.mixtures.gaussian import starts
from fastem.mixtures.memory import remembered


class ExponentialMixture(Mixture):
    @njit
    def log_density(x, log_rate, rate):
        return log_rate - rate * x[0]

    def arguments(self, rates):
        return np.log(rates), rates

    def m_step(self, counts, sums):
        return counts / sums[:, 0]


def gaussian_rows(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(240, 2)) + rng.integers(3, size=(240, 1)) * [[6.0, 3.0]]


def binary_rows():
    rng = np.random.default_rng(1)
    return (rng.random((300, 6)) < np.where(rng.random((300, 1)) < 0.5, 0.9, 0.1)).astype(float)


PROBLEMS = [
    (GaussianMixture(random_state=0, init_params="auto"), gaussian_rows()),
    (BernoulliMixture(random_state=0), binary_rows()),
    (ExponentialMixture(random_state=0, max_iter=300), np.random.default_rng(2).exponential(
        np.repeat([1.0, 50.0], 150)
    )[:, np.newaxis]),
]  # fmt: skip
GRID = {"n_components": [1, 2, 3, 4]}


@pytest.mark.parametrize(("mixture", "X"), PROBLEMS)
@pytest.mark.parametrize("criterion", ["bic", "aic", "icl"])
def test_the_same_as_a_loop(mixture, X, criterion):
    search = CriterionSearch(mixture, GRID, criterion=criterion).fit(X)
    fits = [clone(mixture).set_params(n_components=k).fit(X) for k in GRID["n_components"]]
    for name in ("bic", "aic", "icl"):
        expected = [getattr(fitted, name)(X) for fitted in fits]
        np.testing.assert_allclose(search.results_[name], expected, rtol=1e-12)
    likelihoods = [fitted.score_samples(X).sum() for fitted in fits]
    np.testing.assert_allclose(search.results_["log_likelihood"], likelihoods, rtol=1e-12)
    np.testing.assert_array_equal(search.results_["converged"], [f.converged_ for f in fits])
    best = int(np.argmin([getattr(fitted, criterion)(X) for fitted in fits]))
    assert search.best_index_ == best
    assert search.best_params_ == {"n_components": best + 1}
    np.testing.assert_array_equal(search.best_estimator_.weights_, fits[best].weights_)
    np.testing.assert_array_equal(search.criterion == criterion, True)
    np.testing.assert_array_equal(search.results_["criterion"], search.results_[criterion])


def test_finds_the_number_of_clusters():
    search = CriterionSearch(GaussianMixture(random_state=0), GRID).fit(gaussian_rows())
    assert search.best_params_ == {"n_components": 3}


def test_long_parallel_clusters_do_not_mislead_it():
    """K-means' start finds none of them, so that the criterion would ask for more components."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(900, 2)) * [30, 1] + [0, 6] * rng.integers(2, size=(900, 1))
    grid = {"n_components": [1, 2, 3, 4], "covariance_type": ["full", "tied"]}
    search = CriterionSearch(GaussianMixture(random_state=0), grid).fit(X)
    assert search.best_params_ == {"n_components": 2, "covariance_type": "tied"}
    assert search.best_estimator_.init_params == "auto"


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("case", ["plain", "weighted", "restarts", "stream", "gaps", "noise"])
def test_fits_that_share_their_start_are_those_alone(case, n_jobs):
    """To the bit, and what they share is found once."""
    X, fit_options = gaussian_rows(), {}
    options = {
        "restarts": {"n_init": 2, "random_state": np.random.RandomState(5)},
        "stream": {"random_state": np.random.RandomState(np.random.PCG64(5))},
        "gaps": {"missing": "em"},
        "noise": {"noise_component": "auto"},
    }.get(case, {})
    if case == "weighted":
        fit_options["sample_weight"] = np.random.default_rng(0).integers(0, 3, len(X))
    if case == "gaps":
        X[::7, 0] = np.nan
    mixture = GaussianMixture(**{"random_state": 0, **options})
    grid = {"n_components": [1, 2, 3], "covariance_type": ["full", "tied", "spherical"]}
    results = CriterionSearch(mixture, grid, n_jobs=n_jobs).fit(X, **fit_options).results_
    for parameters, bic in zip(results["params"], results["bic"], strict=True):
        alone = CriterionSearch(
            clone(mixture).set_params(init_params="auto"), {k: [v] for k, v in parameters.items()}
        )
        assert alone.fit(X, **fit_options).results_["bic"] == bic
        fitted = clone(mixture).set_params(init_params="auto", **parameters).fit(X, **fit_options)
        for name in ("weights_", "means_", "covariances_"):
            np.testing.assert_array_equal(
                getattr(fitted, name), getattr(alone.best_estimator_, name)
            )


def test_what_fits_share_is_found_once(monkeypatch):
    calls = []

    def counted(function, name):
        def call(*args, **known):
            calls.append(name)
            return function(*args, **known)

        return call

    for module, name in (
        (sampled, "_drawn"),
        (sampled, "_ward_merges"),
        (sampled, "kmeans_clusters"),
        (all_starts, "_clusters"),
    ):
        inner = getattr(module, name).__wrapped__
        outer = remembered(wraps(inner)(counted(inner, name)))
        monkeypatch.setattr(module, name, outer)
    monkeypatch.setattr(starts, "kmeans_clusters", sampled.kmeans_clusters)
    grid = {"n_components": [2, 3, 4], "covariance_type": ["full", "tied", "diag", "spherical"]}
    # Rows that each fit converts for itself are equal all the same.
    CriterionSearch(GaussianMixture(random_state=0), grid).fit(gaussian_rows().tolist())
    assert calls.count("_drawn") == 2  # for clusters in their own metric, and for the hierarchy
    assert calls.count("_ward_merges") == 1
    assert calls.count("kmeans_clusters") == calls.count("_clusters") == 3


def test_fits_of_other_rows_share_nothing():
    """An estimator's own parameter, searched over, may change the rows that its fits see."""

    class Scaled(GaussianMixture):
        def __init__(self, n_components=1, *, factor=1.0, random_state=None, init_params="kmeans"):
            super().__init__(n_components, random_state=random_state, init_params=init_params)
            self.factor = factor

        def fit(self, X, y=None, sample_weight=None):
            return super().fit(self.factor * X, y, sample_weight)

    X = gaussian_rows() * [1.0, 30.0]
    factors = [np.ones(2), np.array([1.0, 1 / 90])]  # K-means then finds other clusters
    mixture = Scaled(3, random_state=0)
    search = CriterionSearch(mixture, {"factor": factors}, criterion=spread_of_means).fit(X)
    for factor, found in zip(factors, search.results_["criterion"], strict=True):
        alone = clone(mixture).set_params(factor=factor, init_params="auto").fit(X)
        assert found == spread_of_means(alone, X)


def spread_of_means(mixture, X):
    return float(np.ptp(mixture.means_))


def test_a_start_in_the_grid_stays():
    grid = {"init_params": ["kmeans", "random_from_data"]}
    search = CriterionSearch(GaussianMixture(2, random_state=0), grid).fit(gaussian_rows())
    for name, bic in zip(grid["init_params"], search.results_["bic"], strict=True):
        mixture = GaussianMixture(2, init_params=name, random_state=0).fit(gaussian_rows())
        assert bic == pytest.approx(mixture.bic(gaussian_rows()), rel=1e-12)


def test_number_of_parameters():
    """One component of three features: means, and covariances of each type."""
    grid = {"covariance_type": ["full", "diag", "spherical"]}
    X = np.random.default_rng(0).normal(size=(50, 3))
    search = CriterionSearch(GaussianMixture(), grid).fit(X)
    np.testing.assert_array_equal(search.results_["n_parameters"], [3 + 6, 3 + 3, 3 + 1])


def test_a_callable_criterion():
    def held_out(estimator, rows):
        return -estimator.score(gaussian_rows(seed=1))

    X = gaussian_rows()
    search = CriterionSearch(GaussianMixture(random_state=0), GRID, criterion=held_out).fit(X)
    loop = GaussianMixture(init_params="auto", random_state=0)
    fits = [clone(loop).set_params(n_components=k).fit(X) for k in GRID["n_components"]]
    expected = [held_out(fitted, X) for fitted in fits]
    np.testing.assert_array_equal(search.results_["criterion"], expected)
    assert search.best_index_ == np.argmin(expected)


def test_weights_are_as_good_as_repeated_rows():
    X = gaussian_rows()
    counts = np.random.default_rng(0).integers(1, 4, len(X))
    grid = {"n_components": [1, 2, 3]}
    start = GaussianMixture(tol=1e-8, max_iter=1000, random_state=0)
    weighted = CriterionSearch(start, grid).fit(X, sample_weight=counts).results_
    repeated = CriterionSearch(start, grid).fit(np.repeat(X, counts, axis=0)).results_
    for name in ("aic", "bic", "icl", "log_likelihood", "n_parameters"):
        np.testing.assert_allclose(weighted[name], repeated[name], rtol=1e-6)


def test_results_are_a_data_frame():
    grid = [{"n_components": [1, 2]}, {"covariance_type": ["diag"], "means_init": [[[0.0, 0.0]]]}]
    search = CriterionSearch(GaussianMixture(random_state=0), grid).fit(gaussian_rows())
    frame = pd.DataFrame(search.results_)
    assert len(frame) == 3
    assert list(frame.columns) == [
        "param_covariance_type", "param_means_init", "param_n_components", "params", "criterion",
        "aic", "bic", "icl", "log_likelihood", "n_parameters", "time", "converged", "error",
    ]  # fmt: skip
    assert frame.params[2] == {"covariance_type": "diag", "means_init": [[0.0, 0.0]]}
    assert frame.param_covariance_type.isna().tolist() == [True, True, False]
    assert frame.error.isna().all() and (frame.time > 0).all() and frame.converged.all()


def test_failures_are_recorded():
    X = gaussian_rows()[:4]
    grid = {"n_components": [1, 2, 5, -1]}
    search = CriterionSearch(GaussianMixture(random_state=0), grid)
    with pytest.warns(FitFailedWarning, match="2 fits failed out of a total of 4"):
        search.fit(X)
    results = search.results_
    assert results["error"][0] is None and results["error"][1] is None
    assert "Expected n_samples >= n_components" in results["error"][2]
    assert "'n_components' parameter of GaussianMixture" in results["error"][3]
    assert np.isnan(results["bic"][2:]).all() and not results["converged"][2:].any()
    assert search.best_index_ in (0, 1)


def test_all_fail():
    with pytest.raises(ValueError, match=r"All the 4 fits failed.\n4 fits failed: .*contains NaN"):
        CriterionSearch(GaussianMixture(), GRID).fit(np.full((9, 2), np.nan))
    search = CriterionSearch(GaussianMixture(), GRID, criterion=lambda estimator, X: np.nan)
    with pytest.raises(ValueError, match="the criterion is not a number"):
        search.fit(gaussian_rows())
    assert not hasattr(search, "results_")


@pytest.mark.parametrize("n_jobs", [2, -1])
def test_several_at_a_time_with_a_share_of_the_threads(n_jobs, monkeypatch):
    seen = []

    class Watched(GaussianMixture):
        def fit(self, X, y=None, sample_weight=None):
            seen.append((threading.get_ident(), numba.get_num_threads()))
            return super().fit(X, y, sample_weight)

    total = numba.get_num_threads()
    mixture = Watched(random_state=0, max_iter=300)
    one, several = (CriterionSearch(mixture, GRID, n_jobs=n).fit(gaussian_rows())
                    for n in (None, n_jobs))  # fmt: skip
    for name in ("aic", "bic", "icl", "converged"):
        np.testing.assert_array_equal(one.results_[name], several.results_[name])
    assert seen[:4] == [(threading.get_ident(), total)] * 4
    jobs = min(2 if n_jobs == 2 else total, total, 4)
    if jobs > 1:
        assert all(ident != threading.get_ident() for ident, _ in seen[4:])
    assert {threads for _, threads in seen[4:]} == {total // jobs}
    assert numba.get_num_threads() == total


def test_best_estimators_methods():
    X = gaussian_rows()
    search = CriterionSearch(GaussianMixture(random_state=0), GRID)
    with pytest.raises(NotFittedError):
        search.predict(X)
    search.fit(pd.DataFrame(X, columns=["a", "b"]))
    frame = pd.DataFrame(X, columns=["a", "b"])
    for name in ("predict", "predict_proba", "score_samples", "score"):
        expected = getattr(search.best_estimator_, name)(frame)
        np.testing.assert_array_equal(getattr(search, name)(frame), expected)
    assert search.sample(5)[0].shape == (5, 2)
    assert search.n_features_in_ == 2
    assert list(search.feature_names_in_) == ["a", "b"]
    again = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(again.predict(frame), search.predict(frame))
    unfitted = clone(search)
    assert not hasattr(unfitted, "results_") and "GaussianMixture" in repr(unfitted)
    assert not hasattr(search, "transform")


def test_without_refit():
    search = CriterionSearch(GaussianMixture(random_state=0), GRID, refit=False)
    search.fit(gaussian_rows())
    assert search.best_params_ == {"n_components": 3}
    assert not hasattr(search, "best_estimator_")
    with pytest.raises(AttributeError, match="refit=False"):
        search.predict(gaussian_rows())


def test_nothing_is_changed():
    X = gaussian_rows()
    X.flags.writeable = False
    mixture, grid = GaussianMixture(random_state=np.random.RandomState(0)), {**GRID}
    results = [CriterionSearch(mixture, grid).fit(X).results_["bic"] for _ in range(2)]
    np.testing.assert_array_equal(*results)
    assert grid == GRID and not hasattr(mixture, "weights_")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"criterion": "dic"}, "'criterion' parameter"),
        ({"param_grid": 3}, "'param_grid' parameter"),
        ({"param_grid": {"n_components": 3}}, "needs to be a list or a numpy array"),
        ({"estimator": object()}, "'estimator' parameter"),
        ({"n_jobs": 1.5}, "'n_jobs' parameter"),
        ({"param_grid": {"n_components": []}}, "non-empty sequence"),
    ],
)
def test_refusals(options, message):
    arguments = {"estimator": GaussianMixture(), "param_grid": GRID, **options}
    with pytest.raises((TypeError, ValueError), match=message):
        CriterionSearch(**arguments).fit(gaussian_rows())


class Recorder:
    max_propagation_depth = None

    def __init__(self):
        self.calls = []

    def setup(self, estimator, context):
        self.calls.append("setup")

    def teardown(self, estimator, context):
        self.calls.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.calls.append(f"{context.estimator_name} {context.task_name} {context.task_id}")

    def on_fit_task_end(self, estimator, context):
        pass


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_callbacks_see_every_fit(n_jobs):
    recorder = Recorder()
    search = CriterionSearch(GaussianMixture(random_state=0), GRID, n_jobs=n_jobs)
    search.set_callbacks(recorder).fit(gaussian_rows())
    assert recorder.calls[0] == "setup" and recorder.calls[-1] == "teardown"
    for number in range(4):
        # One task for both: the search's for this combination and the mixture's fit.
        assert recorder.calls.count(f"GaussianMixture fit {number}") == 1
    assert "GaussianMixture iteration 0" in recorder.calls


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_progress_bar(n_jobs, capsys):
    search = CriterionSearch(GaussianMixture(random_state=0), GRID, n_jobs=n_jobs)
    search.set_callbacks(ProgressBar()).fit(gaussian_rows())
    assert "CriterionSearch" in capsys.readouterr().out


def test_grid_search_works_as_well():
    X = gaussian_rows()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search = GridSearchCV(GaussianMixture(random_state=0), GRID, cv=3).fit(X)
    assert search.best_params_["n_components"] == 3
    assert search.best_estimator_.predict(X).shape == (len(X),)


def test_no_combination():
    search = CriterionSearch(GaussianMixture(), [])
    with pytest.raises(ValueError, match="No fits were performed"):
        search.fit([[0.0], [1.0]])
