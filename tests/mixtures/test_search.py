"""Searches that go on from a mixture's local optimum."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from homes import PoissonMixture, split_rows
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from threads import on_threads
from watchers import StopsOnce

from fastem import BernoulliMixture, GaussianMixture
from fastem.loop.model import Until
from fastem.loop.search import Settled
from fastem.mixtures.gaussian.covariances import COVARIANCES
from fastem.mixtures.gaussian.model import GaussianModel
from fastem.mixtures.sampled import Sample
from fastem.mixtures.search import PACES, MixtureMoves, Surveyed
from fastem.rows import array_rows

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{ConvergenceWarning.__module__}.ConvergenceWarning"
)


def stripes(n_rows=1000, n_stripes=4, seed=0):
    """Long clusters beside each other, which K-means cuts across."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(n_stripes, size=n_rows)
    X = rng.normal(size=(n_rows, 2)) * [20.0, 0.5]
    X[:, 1] += 4.0 * labels
    return X, labels


def blobs(n_rows=600, n_features=3, n_clusters=6, seed=0):
    rng = np.random.default_rng(seed)
    centers = 4.0 * rng.normal(size=(n_clusters, n_features))
    return centers[rng.integers(n_clusters, size=n_rows)] + rng.normal(size=(n_rows, n_features))


def ones(n_rows=500, n_features=12, n_components=4, seed=0):
    """Rows of a Bernoulli mixture, and where each belongs."""
    rng = np.random.default_rng(seed)
    probabilities = rng.choice([0.1, 0.9], size=(n_components, n_features))
    labels = rng.integers(n_components, size=n_rows)
    return (rng.random((n_rows, n_features)) < probabilities[labels]).astype(float), labels


def settled(estimator, X):
    """A fitted mixture's model, its rows, and one iteration from where the fit has ended."""
    rows = array_rows(X)
    estimator.search = None
    model = estimator._make_model(
        rows,
        n_components=len(estimator.weights_),
        total_weight=float(len(X)),
        row_unit=1.0,
        tol=0.0,
    )
    parameters = estimator._parameters()
    statistics = model.e_step(rows, parameters)
    updated = model.m_step(rows, statistics, parameters)
    reached = Settled(updated, parameters, statistics, model.objective(statistics, parameters))
    return model, rows, reached


def log_likelihood(model, X, parameters):
    """The mean over rows."""
    model.make_pass(X, None).evaluate(
        model.components(parameters), log_density=(found := np.empty(len(X)))
    )
    return found.mean()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("search", PACES)
def test_long_clusters_are_found(search, dtype):
    for seed in range(5):
        X, labels = stripes(seed=seed)
        X = X.astype(dtype)
        stuck = GaussianMixture(4, random_state=seed).fit(X)
        found = GaussianMixture(4, random_state=seed, search=search).fit(X)
        assert adjusted_rand_score(labels, stuck.predict(X)) < 0.5
        assert adjusted_rand_score(labels, found.predict(X)) > 0.99
        assert found.means_.dtype == dtype


OPTIONS = {
    "plain": {},
    "patient": {"search": "patient-breathing"},
    "hard": {"assignment": "hard"},
    "squarem": {"accelerate": "squarem"},
    "prior": {"prior": "conjugate", "reg_covar": 0.0},
    "noise": {"noise_component": "auto"},
    "missing": {"missing": "em"},
    "auto": {"init_params": "auto"},
    "random": {"init_params": "random"},
    "restarts": {"n_init": 3, "init_params": "random_from_data"},
    "few iterations": {"max_iter": 5},
    "nothing regularised": {"reg_covar": 0.0},
}


def check_search(plain, found):
    """That a fit is no worse than the same without search, and says what happened."""
    assert found.lower_bound_ >= plain.lower_bound_
    assert found.lower_bounds_[: plain.n_iter_] == plain.lower_bounds_ or found.n_init > 1
    assert found.n_iter_ == len(found.lower_bounds_) > plain.n_iter_ - 1
    slack = 1e-6  # what regularises covariances is no part of the objective
    assert all(after >= before - slack for before, after in pairwise(found.lower_bounds_))
    assert found.lower_bound_ == found.lower_bounds_[-1]
    assert np.isclose(found.weights_.sum() + getattr(found, "noise_weight_", 0.0), 1.0)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("seed", range(4))
def test_never_worse_than_without(seed, options):
    rng = np.random.default_rng(seed)
    n_components = int(rng.integers(1, 8))
    X = blobs(int(rng.integers(50, 500)), int(rng.integers(1, 5)), seed=seed)
    X = X.astype(rng.choice([np.float32, np.float64]))
    if "missing" in options:
        X[rng.random(X.shape) < 0.1] = np.nan
    sample_weight = rng.integers(0, 3, size=len(X)) * 0.5 if seed % 2 else None
    known = {"random_state": seed, **options}
    search = known.pop("search", "breathing")
    plain = GaussianMixture(n_components, **known).fit(X, sample_weight=sample_weight)
    found = GaussianMixture(n_components, search=search, **known)
    check_search(plain, found.fit(X, sample_weight=sample_weight))


def test_a_run_that_ended_just_before_it_collapsed():
    """Its search has nothing to go on from: the run is the answer."""
    rng = np.random.RandomState(102270)
    rng.choice(7), rng.choice(6), rng.choice(6), rng.choice(2), rng.choice(12)
    X = rng.normal(size=(20, 3)).astype(np.float32)
    X[0] = 1e8
    options = {"random_state": 0, "max_iter": 1, "reg_covar": 1e-9}
    plain = GaussianMixture(9, **options).fit(X)
    searched = GaussianMixture(9, search="breathing", **options).fit(X)
    assert searched.lower_bound_ >= plain.lower_bound_


@pytest.mark.parametrize("covariance_type", COVARIANCES)
def test_all_covariance_types(covariance_type):
    X = blobs(400, 3, n_clusters=5, seed=3)
    options = {"n_components": 5, "covariance_type": covariance_type, "init_params": "random"}
    for seed in range(2):
        plain = GaussianMixture(random_state=seed, **options).fit(X)
        found = GaussianMixture(random_state=seed, search="breathing", **options).fit(X)
        check_search(plain, found)
    # Random responsibilities make all components alike, and EM hardly parts them.
    assert found.lower_bound_ > plain.lower_bound_ + 0.01


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("assignment", ["soft", "hard"])
def test_iterations_at_once_are_those_one_by_one(assignment, dtype, monkeypatch):
    """Of few rows; the search takes the same way."""
    X = blobs(400, 3, n_clusters=5, seed=3).astype(dtype)
    options = {"random_state": 0, "assignment": assignment, "search": "breathing"}
    at_once = GaussianMixture(5, **options).fit(X)
    asked = []
    monkeypatch.setattr(GaussianModel, "settled", lambda *args: asked.append(args))
    monkeypatch.setattr(GaussianModel, "breathed", lambda *args: asked.append(args))
    monkeypatch.setattr(GaussianModel, "splits", lambda *args: asked.append(args))
    one_by_one = GaussianMixture(5, **options).fit(X)
    assert asked
    rtol = 1e-9 if dtype == np.float64 else 1e-4
    assert at_once.n_iter_ == one_by_one.n_iter_
    np.testing.assert_allclose(at_once.lower_bounds_, one_by_one.lower_bounds_, rtol=rtol)
    np.testing.assert_allclose(at_once.means_, one_by_one.means_, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(at_once.covariances_, one_by_one.covariances_, rtol=rtol, atol=rtol)


@pytest.mark.parametrize(
    "options",
    [{"reg_covar": 0.0}, {"prior": "conjugate"}, {"covariance_type": "diag"}, {"fixed": ["means"]}],
)
def test_what_iterations_at_once_do_not_know(options):
    X = blobs(300, 3)
    estimator = GaussianMixture(4, random_state=0, **options).fit(X)
    model, rows, reached = settled(estimator, X)
    model.prior = model.make_prior(rows) if model.make_prior else None
    until = Until(0.0, np.inf, 3)
    assert model.settled(rows, reached.parameters, until) is None
    assert model.splits(Sample(X, np.ones(300)), np.full((300, 4), 0.2), None, until) is None
    plain, rows, reached = settled(GaussianMixture(4, random_state=0).fit(X), X)
    parameters, statistics, history = plain.settled(rows, reached.parameters, until)
    assert 1 < len(history) <= 3
    before = plain.e_step(rows, reached.parameters).objective
    assert before <= statistics.objective <= plain.e_step(rows, parameters).objective
    assert plain.settled(split_rows(X, None, "five parts"), reached.parameters, until) is None


def test_a_bernoulli_mixture():
    gained = []
    for seed in range(5):
        X, _ = ones(seed=seed, n_components=8)
        start = np.random.default_rng(seed).uniform(0.45, 0.55, size=(8, X.shape[1]))
        plain = BernoulliMixture(8, probabilities_init=start).fit(X)
        found = BernoulliMixture(8, probabilities_init=start, search="breathing").fit(X)
        check_search(plain, found)
        gained.append(found.lower_bound_ - plain.lower_bound_)
        sparse = BernoulliMixture(8, probabilities_init=start, search="breathing")
        sparse.fit(sp.csr_array(X))
        # Which of two components that are alike is split is up to rounding.
        np.testing.assert_allclose(sparse.lower_bound_, found.lower_bound_, atol=1e-4)
    assert np.mean(gained) > 0.01


def test_a_bernoulli_mixture_that_has_collapsed_where_ones_are_rare():
    """Most of the sample's halves lack values that some other row has."""
    rng = np.random.default_rng(0)
    n_features, k = 800, 3
    rates = 0.9 / np.arange(1, n_features + 1)
    probabilities = np.stack([rates[rng.permutation(n_features)] for _ in range(k)])
    labels = rng.integers(k, size=9000)
    X = sp.csr_matrix(rng.random((len(labels), n_features)) < probabilities[labels])
    mean = np.tile(np.asarray(X.mean(axis=0)), (k, 1))
    mean[1:] = 0.5  # of these no row is
    start = {"weights_init": np.full(k, 1 / k), "probabilities_init": mean}
    stuck = BernoulliMixture(k, **start).fit(X)
    assert stuck.weights_[0] > 0.999
    found = BernoulliMixture(k, search="breathing", **start).fit(X)
    true = BernoulliMixture(k, probabilities_init=probabilities, max_iter=20).fit(X)
    assert adjusted_rand_score(labels, found.predict(X)) > 0.95
    assert found.score(X) > true.score(X) - 1e-3


def test_a_bernoulli_mixture_of_any_kind():
    X, _ = ones()
    smooth = {"n_components": 4, "alpha": 1.0, "random_state": 0}
    check_search(
        BernoulliMixture(**smooth).fit(X), BernoulliMixture(search="breathing", **smooth).fit(X)
    )
    gaps = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X)
    check_search(
        BernoulliMixture(4, missing="em", random_state=0).fit(gaps),
        BernoulliMixture(4, missing="em", random_state=0, search="breathing").fit(gaps),
    )


def test_a_mixture_of_ones_own():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=600)
    X = rng.poisson(np.array([[1.0, 9.0], [20.0, 3.0], [60.0, 40.0]])[labels]).astype(float)
    start = np.array([[40.0, 20.0], [41.0, 21.0], [42.0, 22.0]])
    for options in ({}, {"accelerate": "squarem"}, {"assignment": "hard"}):
        options = {"parameters_init": start, "max_iter": 10, **options}
        plain = PoissonMixture(3, **options).fit(X)
        found = PoissonMixture(3, search="breathing", **options).fit(X)
        check_search(plain, found)
    assert adjusted_rand_score(labels, found.predict(X)) > 0.95


def test_the_same_bits_for_any_number_of_threads():
    X, _ = stripes(3000)

    def fit():
        found = GaussianMixture(4, random_state=0, search="breathing").fit(X)
        return found.means_.tobytes(), found.covariances_.tobytes(), found.n_iter_

    assert len(set(on_threads((1, 2), fit))) == 1


def test_rows_in_several_parts():
    X, labels = stripes(9000)  # more than the sample
    options = {"n_components": 4, "search": "breathing", "random_state": 0}
    whole = GaussianMixture(**options).fit(X)
    parts = GaussianMixture(**options).fit(split_rows(X, None, "five parts"))
    assert adjusted_rand_score(labels, whole.predict(X)) > 0.99
    np.testing.assert_allclose(parts.means_, whole.means_, rtol=1e-8, atol=1e-8)
    assert parts.n_iter_ == whole.n_iter_


def test_splits_gain_what_they_say():
    """Jensen's inequality: all rows together gain at least what a split promises."""
    X = blobs(800, 2, n_clusters=12, seed=1)
    model, rows, reached = settled(GaussianMixture(3, random_state=0).fit(X), X)
    moves = MixtureMoves(6.0)
    offers = moves.survey(model, rows, reached)
    assert (offers.gains > 0.01).any()
    before = log_likelihood(model, X, reached.parameters)
    assert set(offers.components) == {0, 1, 2}
    for offer in range(len(offers.gains)):
        parameters = moves.grow(model, reached, offers, np.array([offer]))
        assert len(parameters.weights) == 4 and np.isclose(parameters.weights.sum(), 1.0)
        after = log_likelihood(model.resized(4), X, parameters)
        assert after >= before + offers.gains[offer] - 1e-3


def test_what_a_breath_leaves_alone_is_not_surveyed_again():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(4), size=200)
    weight = rng.uniform(0.5, 2.0, size=200)
    surveyed = Surveyed(shares, ["a", "b", "c", "d"])
    other = rng.permutation(shares[:, 1])
    again = np.stack([shares[:, 2], other, shares[:, 0] + 1e-3], axis=1)
    assert surveyed.same(again, weight) == ["c", None, "a"]
    assert Surveyed(np.empty((0, 0)), []).same(again, weight) == [None] * 3
    assert (weight @ (other - shares[:, 1]) ** 2) > 0.1 * (weight @ other**2)  # hence None


def test_a_component_of_two_blobs_is_split_between_them():
    """Whichever way they lie: features that aren't correlated say nothing of it."""
    rng = np.random.default_rng(0)
    for angle in np.linspace(0.0, np.pi, 7):
        side = np.repeat([-1.0, 1.0], 200)
        X = 0.2 * rng.normal(size=(400, 2))
        X += side[:, np.newaxis] * [np.cos(angle), np.sin(angle)]
        model, rows, reached = settled(GaussianMixture(1).fit(X), X)
        offers = MixtureMoves(6.0).survey(model, rows, reached)
        best = offers.children[int(np.argmax(offers.gains))]
        direction = best.means[1] - best.means[0]
        np.testing.assert_allclose(np.linalg.norm(direction), 2.0, atol=0.1)
        np.testing.assert_allclose(best.weights, 0.5, atol=0.01)


def test_every_blob_of_a_grid_is_found():
    rng = np.random.default_rng(0)
    labels = rng.integers(16, size=3000)
    X = np.stack([labels // 4, labels % 4], axis=1) + 0.15 * rng.normal(size=(3000, 2))
    for seed in range(4):
        found = GaussianMixture(16, random_state=seed, search="breathing").fit(X)
        assert adjusted_rand_score(labels, found.predict(X)) > 0.99


@pytest.mark.parametrize("size", [1, 3])
def test_removals_lose_least(size):
    """As by trying them all, one after the other, on all rows."""
    X = blobs(700, 3, n_clusters=5, seed=2)
    model, rows, reached = settled(GaussianMixture(8, random_state=1).fit(X), X)
    expected = reached.parameters
    for _ in range(size):
        trials = []
        for k in range(len(expected.weights)):
            weights = np.delete(expected.weights, k)
            arrays = [np.delete(array, k, axis=0) for array in model.arrays(expected)]
            trials.append(model.replaced(expected, weights / weights.sum(), arrays))
        n_components = len(expected.weights) - 1
        resized = model.resized(n_components)
        expected = max(trials, key=lambda trial: log_likelihood(resized, X, trial))
    found = MixtureMoves(8.0).shrink(model, rows, reached, size)
    np.testing.assert_array_equal(found.means, expected.means)
    np.testing.assert_allclose(found.weights, expected.weights, rtol=1e-12)


def test_no_likelihood_from_a_few_rows():
    """Rows that happen to lie on a line would be a component of their own."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 6))
    X[:7] = X[0] + 1e-4 * rng.normal(size=(7, 6))
    for seed in range(5):
        options = {"n_components": 3, "random_state": seed}
        plain = GaussianMixture(**options).fit(X)
        found = GaussianMixture(search="patient-breathing", **options).fit(X)
        few = [np.sum(fit.weights_ * len(X) < 14.0 - 0.5) for fit in (plain, found)]
        assert few[1] <= few[0]


MANY_OPTIMA = load_digits().data[:, [20, 21, 26, 28, 35, 36, 42, 43]]


@pytest.mark.parametrize("seed", range(3))
def test_who_looks_on_changes_nothing(seed):
    options = {"n_components": 10, "random_state": seed, "search": "breathing"}
    alone = GaussianMixture(**options).fit(MANY_OPTIMA)
    watched = GaussianMixture(**options).set_callbacks(StopsOnce()).fit(MANY_OPTIMA)
    np.testing.assert_array_equal(watched.means_, alone.means_)
    assert watched.lower_bounds_ == alone.lower_bounds_


def test_who_looks_on_at_few_rows_changes_nothing():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(300, 1)) + 2 * rng.integers(5, size=(300, 1))
        options = {"n_components": 5, "random_state": 0, "search": "breathing", "tol": 0.01}
        alone = GaussianMixture(**options).fit(X)
        watched = GaussianMixture(**options).set_callbacks(StopsOnce()).fit(X)
        np.testing.assert_array_equal(watched.means_, alone.means_)
        np.testing.assert_array_equal(watched.weights_, alone.weights_)


def test_a_request_to_stop_is_not_forgotten():
    options = {"n_components": 10, "random_state": 0}
    before = GaussianMixture(**options).fit(MANY_OPTIMA).n_iter_
    whole = GaussianMixture(**options, search="breathing").fit(MANY_OPTIMA).n_iter_
    for after in (before, before + 1, *range(before + 2, whole, 11)):
        watcher = StopsOnce(after)
        mixture = GaussianMixture(**options, search="breathing").set_callbacks(watcher)
        n_iter = mixture.fit(MANY_OPTIMA).n_iter_
        assert after <= n_iter == watcher.n_seen <= after + 1


def test_what_has_no_search():
    X = blobs(50)
    for name in ("weights", "means"):
        with pytest.raises(ValueError, match="'search' moves all parameters: none can be 'fixed'"):
            GaussianMixture(2, search="breathing", fixed=(name,)).fit(X)
    with pytest.raises(ValueError, match="'search' and 'noise' can't go together"):
        GaussianMixture(2, search="breathing").fit(X, noise=np.ones(3))
    with pytest.raises(ValueError, match="The 'search' parameter of GaussianMixture must be"):
        GaussianMixture(2, search="swaps").fit(X)


def test_no_search_without_iterations_or_others():
    X = blobs(50)
    start = GaussianMixture(2, search="breathing", max_iter=0, random_state=0).fit(X)
    assert start.n_iter_ == 0
    one = GaussianMixture(1, search="breathing").fit(X)
    np.testing.assert_allclose(one.means_[0], X.mean(axis=0), rtol=1e-12)
