"""What all mixtures share, seen through GaussianMixture."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from fastem import BernoulliMixture, GaussianMixture


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.normal(size=(300, 2)) + rng.integers(3, size=(300, 1)) * 3


@pytest.fixture(scope="module")
def model(X):
    return GaussianMixture(3, random_state=0).fit(X)


# Criteria.


def test_icl_is_bic_with_the_most_probable_components(model, X):
    complete = model.complete_log_likelihood(X, model.predict(X))
    assert model.icl(X) == pytest.approx(-2 * complete + 17 * np.log(300))
    bic = -2 * model.score_samples(X).sum() + 17 * np.log(300)
    assert model.bic(X) == pytest.approx(bic)
    lost = np.log(model.predict_proba(X).max(axis=1)).sum()
    assert model.icl(X) == pytest.approx(model.bic(X) - 2 * lost)


def test_icl_chooses_separated_groups_that_bic_splits():
    rng = np.random.default_rng(1)
    X = rng.standard_t(4, size=(2000, 1)) + 30 * rng.integers(2, size=(2000, 1))
    models = [GaussianMixture(k, random_state=0, max_iter=500).fit(X) for k in (1, 2, 4)]
    assert int(np.argmin([model.bic(X) for model in models])) == 2
    assert int(np.argmin([model.icl(X) for model in models])) == 1


def test_lower_bound_is_the_mean_log_density(X):
    model = GaussianMixture(3, random_state=0, tol=1e-10, max_iter=5000).fit(X)
    assert model.lower_bound_ == model.lower_bounds_[-1]
    assert model.score(X) == pytest.approx(model.lower_bound_, abs=1e-9)
    sample_weight = np.random.default_rng(1).uniform(size=300)
    model.fit(X, sample_weight=sample_weight)
    expected = np.average(model.score_samples(X), weights=sample_weight)
    assert model.score(X, sample_weight=sample_weight) == pytest.approx(expected)
    assert model.lower_bound_ == pytest.approx(expected, abs=1e-9)


def test_a_hard_bound_is_the_mean_complete_log_likelihood(X):
    model = GaussianMixture(3, random_state=0, assignment="hard").fit(X)
    complete = model.complete_log_likelihood(X, model.predict(X)) / 300
    assert model.lower_bound_ == pytest.approx(complete, abs=1e-3)
    assert (np.diff(model.lower_bounds_) >= -1e-12).all()


# Fits.


def test_fit_predict_is_fit_and_predict(X):
    model = GaussianMixture(3, random_state=0)
    np.testing.assert_array_equal(model.fit_predict(X), model.predict(X))
    sample_weight = np.arange(300.0)
    labels = model.fit_predict(X, sample_weight=sample_weight)
    weighted = GaussianMixture(3, random_state=0).fit(X, sample_weight=sample_weight)
    np.testing.assert_array_equal(labels, weighted.predict(X))


def test_a_fit_without_iterations_is_its_start(X):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = GaussianMixture(2, max_iter=0, n_init=2, random_state=0).fit(X)
    assert not model.converged_
    assert (model.n_iter_, model.lower_bound_, model.lower_bounds_) == (0, -np.inf, [])
    assert model.predict(X).max() == 1


@pytest.mark.parametrize("init_params", ["kmeans", "random"])
def test_streams_of_another_bit_generator(init_params, X):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [
            GaussianMixture(
                3,
                init_params=init_params,
                tol=1.0,
                random_state=np.random.RandomState(np.random.PCG64(seed)),
            ).fit(X)
            for seed in (0, 0, 1)
        ]
    np.testing.assert_array_equal(found[0].means_, found[1].means_)
    assert (found[0].means_ != found[2].means_).any()


def test_rows_are_left_as_they_are(X):
    rows = X.copy()
    rows.flags.writeable = False
    GaussianMixture(3, init_params="random", random_state=0).fit(rows).predict_proba(rows)
    np.testing.assert_array_equal(rows, X)


def test_a_fit_from_extreme_rows_leaves_them_as_they_are(X):
    for factor in (2.0**450, 2.0**-450):
        rows = X * factor
        expected = GaussianMixture(3, n_init=2, random_state=0, reg_covar=0.0).fit(X)
        model = GaussianMixture(3, n_init=2, random_state=0, reg_covar=0.0).fit(rows)
        np.testing.assert_array_equal(rows, X * factor)
        np.testing.assert_allclose(model.means_ / factor, expected.means_)
        np.testing.assert_array_equal(model.predict(rows), expected.predict(X))


def test_sample_follows_the_mixture(model):
    model.set_params(random_state=1)
    rows, labels = model.sample(20_000)
    np.testing.assert_array_equal(model.sample(20_000)[0], rows)
    assert rows.shape == (20_000, 2)
    assert (np.diff(labels) >= 0).all()
    for j in range(3):
        np.testing.assert_allclose(rows[labels == j].mean(axis=0), model.means_[j], atol=0.1)
        np.testing.assert_allclose(np.cov(rows[labels == j].T), model.covariances_[j], atol=0.1)
    np.testing.assert_allclose(np.bincount(labels) / 20_000, model.weights_, atol=0.02)


@pytest.mark.parametrize("total", [2.0**-7, 1.0, 8.0])
def test_samples_of_weights_of_any_sum(model, total):
    plain = GaussianMixture.from_parameters([0.25, 0.25, 0.5], model.means_, model.covariances_)
    scaled = GaussianMixture.from_parameters([0.25, 0.25, 0.5], model.means_, model.covariances_)
    scaled.weights_ *= total
    expected, found = (mixture.set_params(random_state=3).sample(50) for mixture in (plain, scaled))
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[0], expected[0])


def test_samples_of_a_start(X):
    """Its components have a row each."""
    model = GaussianMixture(3, init_params="random_from_data", max_iter=0, random_state=0).fit(X)
    counts = np.bincount(model.sample(3000)[1], minlength=3)
    assert counts.min() > 900


# scikit-learn's callbacks.


class Recorder:
    def __init__(self, stop=None, fail=None):
        self.calls, self.fitted = [], []
        self.stop, self.fail = stop, fail

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        self.calls.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.calls.append(f"begin {context.task_name} {context.task_id}")

    def on_fit_task_end(self, estimator, context, *, X, metadata, fitted_estimator):
        name = f"{context.task_name} {context.task_id}"
        self.calls.append(f"end {name}")
        self.fitted.append(fitted_estimator)
        self.X, self.metadata = X, metadata
        if name == self.fail:
            raise KeyboardInterrupt
        return name == self.stop


@pytest.mark.parametrize("accelerate", [None, "squarem"])
def test_callbacks_see_runs_and_iterations(accelerate, X):
    recorder, sample_weight = Recorder(), np.ones(300)
    model = GaussianMixture(3, n_init=2, random_state=0, accelerate=accelerate)
    model.set_callbacks(recorder).fit(X, sample_weight=sample_weight)
    assert recorder.calls[:3] == ["begin fit 0", "begin run 0", "begin iteration 0"]
    assert recorder.calls[-3:] == ["end run 1", "end fit 0", "teardown"]
    assert recorder.X is X
    assert recorder.metadata["sample_weight"] is sample_weight
    np.testing.assert_array_equal(recorder.fitted[-1].means_, model.means_)
    first_run = recorder.calls[: recorder.calls.index("end run 0")]
    n_iter = sum(call.startswith("end iteration") for call in first_run)
    scores = [fitted.score(X) for fitted in recorder.fitted[:n_iter]]
    if accelerate is None:
        assert (np.diff(scores) > 0).all()
    unwatched = GaussianMixture(3, n_init=2, random_state=0, accelerate=accelerate).fit(X)
    np.testing.assert_array_equal(unwatched.means_, model.means_)


@pytest.mark.parametrize("n_rows", [300, 20_000])
@pytest.mark.parametrize(
    "model",
    [
        GaussianMixture(3, max_iter=5, random_state=0),
        GaussianMixture(3, covariance_type="diag", max_iter=5, random_state=0),
        GaussianMixture(3, missing="em", max_iter=5, random_state=0),
        BernoulliMixture(3, max_iter=5, random_state=0),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_weights_of_one_are_no_weights(model, n_rows):
    X = np.random.default_rng(0).normal(size=(n_rows, 4))
    if getattr(model, "missing", None) == "em":
        X[::7, 1] = np.nan
    fitted = [clone(model).fit(X, sample_weight=w) for w in (None, np.ones(n_rows))]
    assert fitted[0].lower_bounds_ == fitted[1].lower_bounds_
    np.testing.assert_array_equal(fitted[0].weights_, fitted[1].weights_)


def test_a_callback_can_stop_iterations_and_runs(X):
    model = GaussianMixture(3, random_state=0, n_init=3).set_callbacks(Recorder("iteration 1"))
    with pytest.warns(ConvergenceWarning):
        model.fit(X)
    assert model.n_iter_ == 2
    recorder = Recorder("run 0")
    GaussianMixture(3, random_state=0, n_init=3).set_callbacks(recorder).fit(X)
    assert "begin run 1" not in recorder.calls


def test_scikit_learns_callbacks(X, capsys):
    monitor = ScoringMonitor(scoring=lambda estimator, X, y: estimator.score(X))
    model = GaussianMixture(3, random_state=0).set_callbacks(ProgressBar(), monitor).fit(X)
    assert "GaussianMixture - run #0" in capsys.readouterr().out
    rows = monitor.get_logs(select="most_recent").data
    assert sum(row["task_name"] == "iteration" for row in rows) == model.n_iter_


def test_an_interrupted_fit_changes_nothing(X):
    model = GaussianMixture(3, random_state=0).set_callbacks(Recorder(fail="iteration 1"))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    with pytest.raises(NotFittedError):
        model.predict(X)
    assert not hasattr(model, "n_features_in_")
    model.set_callbacks().fit(X)
    before = {name: value for name, value in vars(model).items() if name != "_skl_callbacks"}
    model.set_callbacks(Recorder(fail="iteration 1"))
    with pytest.raises(KeyboardInterrupt):
        model.fit(np.hstack([X, X]))
    assert all(vars(model)[name] is value for name, value in before.items())
