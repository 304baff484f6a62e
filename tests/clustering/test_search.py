"""Searches that go on from a run's local optimum, for either metric."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import StandardScaler
from threads import on_threads
from watchers import StopsOnce, Watching

from fastem import KMeans, KMedians
from fastem.clustering.euclidean.frame import measure_spread
from fastem.clustering.euclidean.model import KMeansModel
from fastem.clustering.euclidean.search import make_search
from fastem.clustering.search import PACES, ClusterMoves
from fastem.clustering.seeding import Given
from fastem.kernels.kmeans import choose
from fastem.loop.fit import fit
from fastem.rows import LocalRows, Part

ESTIMATORS = [KMeans, KMedians]
IDS = ["KMeans", "KMedians"]


def grid(side=5, n_rows=2500, noise=0.2, seed=0, dtype=np.float64):
    """Rows about the points of a grid, and where each belongs."""
    rng = np.random.default_rng(seed)
    points = np.stack(np.meshgrid(range(side), range(side)), axis=-1).reshape(-1, 2)
    labels = rng.integers(len(points), size=n_rows)
    X = points[labels] + noise * rng.uniform(-1, 1, size=(n_rows, 2))
    return X.astype(dtype), labels


def in_order(centers):
    """Those of a grid, whose order may depend on ties that rounding breaks."""
    return centers[np.lexsort(np.rint(centers).T)]


@pytest.mark.parametrize("search", PACES)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=IDS)
def test_the_rectangles_local_optimum_is_left(estimator, search):
    """The textbook's: two long clusters, where the rectangle's short sides should be apart."""
    X = np.array([[0.0, 0.0], [0.0, 1.0], [4.0, 0.0], [4.0, 1.0]])
    start = np.array([[2.0, 0.0], [2.0, 1.0]])
    stuck = estimator(2, init=start).fit(X)
    found = estimator(2, init=start, search=search).fit(X)
    assert stuck.inertia_ == (16.0 if estimator is KMeans else 8.0)
    assert found.inertia_ == (1.0 if estimator is KMeans else 2.0)
    assert adjusted_rand_score([0, 0, 1, 1], found.labels_) == 1.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=IDS)
def test_every_blob_of_a_grid_is_found(estimator, dtype):
    X, labels = grid(dtype=dtype)
    default = [estimator(25, random_state=seed).fit(X) for seed in range(5)]
    assert min(adjusted_rand_score(labels, fit.labels_) for fit in default) < 0.99
    for seed in range(5):
        found = estimator(25, random_state=seed, search="breathing").fit(X)
        assert adjusted_rand_score(labels, found.labels_) == 1.0
        assert found.cluster_centers_.dtype == dtype


@pytest.mark.parametrize("search", PACES)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=IDS)
@pytest.mark.parametrize("seed", range(12))
def test_never_worse_than_without(estimator, seed, search):
    rng = np.random.default_rng(seed)
    n_rows, n_features = int(rng.integers(20, 400)), int(rng.integers(1, 6))
    n_clusters = int(rng.integers(1, 20))
    X = rng.normal(size=(n_rows, n_features)) + rng.normal(size=n_features)
    X = X.astype(rng.choice([np.float32, np.float64]))
    sample_weight = rng.integers(0, 3, size=n_rows) * 1.0 if seed % 2 else None
    options = {
        "init": ["k-means++", "random", "random_partition"][seed % 3],
        "n_init": 1 + seed % 3,
        "max_iter": [300, 3][seed % 4 == 3],
        "random_state": seed,
    }
    plain = estimator(n_clusters, **options).fit(X, sample_weight=sample_weight)
    found = estimator(n_clusters, **options, search=search).fit(X, sample_weight=sample_weight)
    assert found.inertia_ <= plain.inertia_ * (1 + 1e-9)
    # All that is said of the clusters goes together.
    np.testing.assert_array_equal(found.predict(X), found.labels_)
    np.testing.assert_allclose(
        -found.score(X, sample_weight=sample_weight), found.inertia_, rtol=1e-9
    )
    assert len(found.cluster_centers_) == n_clusters
    assert found.n_iter_ == len(found.inertias_) > plain.n_iter_ * (n_clusters == 1)
    assert (np.diff(found.inertias_) <= 1e-9 * found.inertias_[0]).all()
    assert found.inertia_ <= found.inertias_[-1] * (1 + 1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=IDS)
def test_the_same_bits_for_any_number_of_threads(estimator):
    X, _ = grid(n_rows=20_000, noise=0.6)
    model = estimator(25, random_state=1, search="breathing")
    found = on_threads((1, 2), lambda: clone(model).fit(X))
    assert found[0].inertias_ == found[1].inertias_
    np.testing.assert_array_equal(found[0].cluster_centers_, found[1].cluster_centers_)


def test_sparse_rows_and_dense_ones_alike():
    X, _ = grid()
    X = np.where(X > 0, X, 0.0)
    dense = KMeans(25, random_state=0, search="breathing").fit(X)
    sparse = KMeans(25, random_state=0, search="breathing").fit(sp.csr_array(X))
    np.testing.assert_allclose(sparse.inertia_, dense.inertia_, rtol=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=IDS)
def test_weights_are_repetitions(estimator):
    X, _ = grid(n_rows=600)
    weights = np.random.default_rng(1).integers(1, 4, size=600)
    start = X[:25]
    weighted = estimator(25, init=start, search="breathing").fit(X, sample_weight=weights)
    repeated = estimator(25, init=start, search="breathing").fit(np.repeat(X, weights, axis=0))
    np.testing.assert_allclose(weighted.inertia_, repeated.inertia_, rtol=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=IDS)
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_as_many_clusters_as_distinct_rows_and_more(estimator):
    X = np.repeat(np.arange(6.0)[:, np.newaxis], 5, axis=0)
    for n_clusters in (5, 6, 9):
        found = estimator(n_clusters, random_state=0, search="patient-breathing").fit(X)
        assert found.inertia_ == (0.0 if n_clusters > 5 else 2.5 if estimator is KMeans else 5.0)
    one = estimator(1, search="breathing").fit(X)
    assert one.inertia_ == estimator(1).fit(X).inertia_
    rows = np.arange(4.0).reshape(2, 2)
    assert estimator(2, search="breathing").fit(rows).inertia_ == 0.0


def test_a_memory_mapped_file(tmp_path):
    X, _ = grid()
    np.save(tmp_path / "rows.npy", X)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    found = KMeans(25, random_state=0, search="breathing").fit(mapped)
    assert found.inertia_ == KMeans(25, random_state=0, search="breathing").fit(X).inertia_


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_rows_of_extreme_magnitude(factor):
    X, _ = grid(n_rows=500)
    start = X[:25]
    ordinary = KMeans(25, init=start, search="breathing").fit(X)
    extreme = KMeans(25, init=start * factor, search="breathing").fit(X * factor)
    np.testing.assert_allclose(
        in_order(extreme.cluster_centers_ / factor), in_order(ordinary.cluster_centers_), rtol=1e-9
    )


def _fit_parts(X, splits, sample_weight=None):
    parts = [
        Part(X[first:last], None if sample_weight is None else sample_weight[first:last], first)
        for first, last in pairwise(splits)
    ]
    rows, (frame, variance, squares, factor) = measure_spread(LocalRows(parts))
    algorithm = choose("auto", *X.shape, 25, X.dtype, False)
    start = Given(X[:25])
    model = KMeansModel(start, 25, algorithm, frame, X.dtype, 1e-4 * variance, squares, factor)
    return fit(model, rows, max_iter=100, search=make_search("breathing"))


@pytest.mark.parametrize("weighted", [False, True])
def test_rows_in_several_parts_are_as_good_as_in_one(weighted):
    X, _ = grid(n_rows=1500)
    sample_weight = np.random.default_rng(0).uniform(0.5, 2, size=1500) if weighted else None
    one = _fit_parts(X, [0, 1500], sample_weight)
    several = _fit_parts(X, [0, 100, 101, 900, 1500], sample_weight)
    np.testing.assert_allclose(several.objective, one.objective, rtol=1e-12)
    np.testing.assert_allclose(in_order(several.parameters), in_order(one.parameters), rtol=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=IDS)
def test_estimators_search_among_rows_in_several_parts(estimator):
    X, _ = grid(n_rows=1200)
    one = estimator(25, init=X[:25], search="breathing").fit(X)
    rows = LocalRows([Part(X[first:last], None, first) for first, last in pairwise([0, 500, 1200])])
    several = estimator(25, init=X[:25], search="breathing").fit(rows)
    np.testing.assert_allclose(several.inertia_, one.inertia_, rtol=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=IDS)
def test_a_name_that_there_is_not(estimator):
    words = "must be a str among {'breathing', 'patient-breathing'} or None. Got 'swap' instead."
    with pytest.raises(ValueError, match="The 'search' parameter of") as error:
        estimator(2, search="swap").fit(np.eye(4))
    assert words in str(error.value)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=IDS)
def test_verbose_says_what_the_search_does(estimator, capsys):
    X, _ = grid()
    fitted = estimator(25, init=X[:25], search="breathing", verbose=1).fit(X)
    lines = capsys.readouterr().out.splitlines()
    searched = [line for line in lines if line.startswith("Search by ")]
    assert searched[0].startswith("Search by 12: ")
    # A third of 12, and of 4; or a quarter, of which a quarter is none.
    last = (4, 1) if estimator is KMeans else (3, 3)
    assert searched[-2:] == [f"Search by {size}: no better." for size in last]
    assert any("inertia" in line for line in searched)
    assert fitted.n_iter_ == len(fitted.inertias_)


class Watcher(Watching):
    """Counts iterations, keeps what an estimator would be after them, and stops them all late."""

    def __init__(self, last):
        self.last = last
        self.inertias = []

    def on_fit_task_end(self, estimator, context, *, X, fitted_estimator):
        if context.task_name == "iteration":
            self.inertias.append(-fitted_estimator.score(X))
        return len(self.inertias) >= self.last


def test_callbacks_see_the_best_clusters_so_far():
    X, _ = grid()
    watcher = Watcher(last=10**9)
    fitted = KMeans(25, random_state=0, search="breathing").set_callbacks(watcher).fit(X)
    assert len(watcher.inertias) == fitted.n_iter_
    assert (np.diff(watcher.inertias) <= 1e-9 * watcher.inertias[0]).all()
    assert watcher.inertias[-1] == pytest.approx(fitted.inertia_)


@pytest.mark.parametrize("last", [1, 4, 20])
def test_a_callback_can_stop_a_search(last):
    X, _ = grid()
    watcher = Watcher(last)
    fitted = KMeans(25, random_state=0, search="breathing").set_callbacks(watcher).fit(X)
    assert last <= fitted.n_iter_ <= last + 1
    np.testing.assert_array_equal(fitted.predict(X), fitted.labels_)
    assert -fitted.score(X) == pytest.approx(fitted.inertia_)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=IDS)
def test_a_request_to_stop_is_not_forgotten(estimator):
    """Whichever iteration it follows: the last before the search, or any of this."""
    X, _ = grid()
    options = {"random_state": 0, "search": "breathing"}
    before = estimator(25, random_state=0).fit(X).n_iter_
    whole = estimator(25, **options).fit(X).n_iter_
    assert whole > before + 9
    for after in (before, before + 1, *range(before + 2, whole, 5)):
        watcher = StopsOnce(after)
        fitted = estimator(25, **options).set_callbacks(watcher).fit(X)
        # One more iteration may label the rows by the best clusters that were found.
        assert after <= fitted.n_iter_ == watcher.n_seen <= after + 1


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=IDS)
def test_who_looks_on_changes_nothing(estimator):
    X, _ = grid()
    alone = estimator(25, random_state=0, search="breathing").fit(X)
    watched = clone(alone).set_callbacks(StopsOnce()).fit(X)
    np.testing.assert_array_equal(watched.cluster_centers_, alone.cluster_centers_)
    assert watched.inertias_ == alone.inertias_


def test_few_clusters_end_lower_than_restarts():
    X = StandardScaler().fit_transform(load_breast_cancer().data)

    def mean_inertia(**options):
        return np.mean([KMeans(5, random_state=i, **options).fit(X).inertia_ for i in range(10)])

    assert mean_inertia(search="breathing") < mean_inertia(n_init=10)


def test_a_progress_bar_shows_a_search(capsys):
    X, _ = grid()
    KMeans(25, random_state=0, search="breathing").set_callbacks(ProgressBar()).fit(X)
    assert "KMeans - run #0" in capsys.readouterr().out


def test_moves_leave_the_model_as_it_is():
    moves = ClusterMoves(None, None, None)
    model = KMeansModel(None, 3, None, None, np.float64, 0.0, 1.0)
    assert moves.resized(model, 5).n_clusters == 5
    assert moves.n_components(model) == 3


def test_hopeless_breaths_end_early():
    """After the iteration that tells, where any distance from the best is too far."""
    X, _ = grid(n_rows=1000, noise=0.6)
    n_iter, objectives = [], []
    for hopeless in (0.0, np.inf):
        rows, (frame, variance, squares, factor) = measure_spread(LocalRows([Part(X, None, 0)]))
        algorithm = choose("auto", *X.shape, 25, X.dtype, False)
        start = Given(X[:25])
        model = KMeansModel(start, 25, algorithm, frame, X.dtype, 1e-4 * variance, squares, factor)
        search = make_search("breathing")
        search.pace = search.pace._replace(hopeless=hopeless)
        run = fit(model, rows, max_iter=100, search=search)
        n_iter.append(run.n_iter)
        objectives.append(run.objective)
    plain = KMeans(25, init=X[:25], n_init=1).fit(X)
    assert n_iter[0] < n_iter[1]
    assert max(objectives) <= plain.inertia_ * (1 + 1e-9)
