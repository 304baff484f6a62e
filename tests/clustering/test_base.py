"""What K-means and K-medians have in common: starts, input of all kinds, scikit-learn's ways."""

import pickle
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from fastem import KMeans, KMedians
from fastem.validation import random_numbers

ESTIMATORS = [KMeans, KMedians]
METRICS = {KMeans: "euclidean", KMedians: "cityblock"}


@pytest.fixture(params=ESTIMATORS, ids=["KMeans", "KMedians"])
def estimator(request):
    return request.param


def assert_same(ours, theirs):
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    np.testing.assert_array_equal(ours.cluster_centers_, theirs.cluster_centers_)
    assert ours.inertia_ == theirs.inertia_
    assert ours.n_iter_ == theirs.n_iter_


@pytest.mark.parametrize("n_clusters", [8, 2, 1])
def test_scikit_learns_estimator_checks(n_clusters, estimator):
    results = check_estimator(estimator(n_clusters=n_clusters), on_skip=None)
    assert {result["status"] for result in results} <= {"passed", "skipped"}
    # Its array API checks skip themselves unless SCIPY_ARRAY_API is set.
    assert all("array_api" in r["check_name"] for r in results if r["status"] == "skipped")


# Extreme numbers.


@pytest.mark.parametrize("value", [0.0, 3.7, -1e5])
def test_constant_rows(value, estimator):
    X = np.full((20, 3), value)
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(1\)"):
        model = estimator(3, random_state=0).fit(X)
    assert model.inertia_ == 0
    distances = model.transform(X)
    np.testing.assert_allclose(distances[:, 0], 0, atol=1e-10)
    assert estimator is KMeans or not distances.any()
    assert np.isfinite(model.cluster_centers_).all()


def blobs():
    rng = np.random.default_rng(0)
    return rng.normal(size=(200, 3)) + 4 * rng.integers(3, size=(200, 1))


@pytest.mark.parametrize(
    ("estimator", "exponent"),
    [(KMeans, e) for e in (-990, -520, 500, 1000)]
    + [(KMedians, e) for e in (-1000, -520, 500, 1015)],
)
def test_extreme_magnitudes_scale_exactly(estimator, exponent):
    """Neither squares or sums that overflow nor squares that vanish change the clusters."""
    X = blobs()
    expected = estimator(5, random_state=0).fit(X)
    far = np.ldexp(X, exponent)
    before = far.copy()
    model = estimator(5, random_state=0).fit(far)
    np.testing.assert_array_equal(far, before)
    np.testing.assert_array_equal(model.labels_, expected.labels_)
    np.testing.assert_array_equal(
        model.cluster_centers_, np.ldexp(expected.cluster_centers_, exponent)
    )
    assert model.n_iter_ == expected.n_iter_
    np.testing.assert_array_equal(model.predict(far), expected.labels_)
    np.testing.assert_allclose(
        model.transform(far), np.ldexp(expected.transform(X), exponent), rtol=1e-12
    )
    given = estimator(5, init=far[:5]).fit(far)
    np.testing.assert_array_equal(given.labels_, estimator(5, init=X[:5]).fit(X).labels_)


@pytest.mark.parametrize("exponent", [-120, 120])
def test_extreme_magnitudes_in_float32(exponent, estimator):
    X = blobs().astype(np.float32)
    expected = estimator(5, random_state=0).fit(X)
    far = np.ldexp(X, exponent)
    model = estimator(5, random_state=0).fit(far)
    np.testing.assert_array_equal(model.labels_, expected.labels_)
    np.testing.assert_array_equal(model.predict(far), expected.labels_)


# Starts.


def test_callable_start_sees_the_data_as_they_are(estimator):
    X = np.random.default_rng(0).normal(size=(50, 3)) + 7

    def first_rows(data, n_clusters, random_state):
        np.testing.assert_array_equal(data, X)
        assert isinstance(random_state, np.random.RandomState)
        return data[:n_clusters]

    called = estimator(4, init=first_rows, n_init=1).fit(X)
    assert_same(called, estimator(4, init=X[:4]).fit(X))


def test_callable_start_may_return_sparse_rows():
    X = np.random.default_rng(0).normal(size=(50, 3)) + 7
    called = KMeans(4, init=lambda data, k, random_state: data[:k], n_init=1).fit(sp.csr_array(X))
    given = KMeans(4, init=X[:4]).fit(X)
    np.testing.assert_allclose(called.cluster_centers_, given.cluster_centers_)


RUNS = [
    ("k-means++", 1),
    ("random", 10),
    ("random_partition", 10),
    (lambda X, k, random_state: X[:k], 10),
    (np.eye(2), 1),
]


@pytest.mark.parametrize(
    ("estimator", "init", "n_runs"),
    [(cls, *run) for cls in ESTIMATORS for run in RUNS] + [(KMeans, "k-means||", 1)],
)
def test_number_of_runs(estimator, init, n_runs, capsys):
    X = np.random.default_rng(0).normal(size=(30, 2))
    estimator(2, init=init, random_state=0, verbose=1).fit(X)
    assert capsys.readouterr().out.count("Initialization complete") == n_runs


def test_the_best_of_several_runs_is_kept(estimator):
    X = np.random.default_rng(0).normal(size=(300, 2))
    model = estimator(9, init="random", n_init=6, random_state=0).fit(X)
    random_state = np.random.RandomState(0)
    runs = [estimator(9, init="random", n_init=1, random_state=random_state) for _ in range(6)]
    inertias = [run.fit(X).inertia_ for run in runs]
    assert len(set(inertias)) > 1
    assert_same(model, runs[int(np.argmin(inertias))])


INITS = ["k-means++", "random", "random_partition"]


@pytest.mark.parametrize(
    ("estimator", "init", "container"),
    [(cls, init, np.asarray) for cls in ESTIMATORS for init in INITS]
    + [(KMeans, init, sp.csr_array) for init in INITS]
    + [(KMeans, "k-means||", container) for container in (np.asarray, sp.csr_array)],
)
def test_runs_repeat(estimator, init, container):
    X = container(np.random.default_rng(0).normal(size=(200, 3)))
    first, second = (estimator(5, init=init, random_state=3).fit(X) for _ in range(2))
    assert_same(first, second)


# Input of all kinds.


DENSE = [
    np.asfortranarray,
    lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    lambda X: X[::-1][::-1],
    lambda X: X.tolist(),
    pd.DataFrame,
    lambda X: X.astype(np.float16),
    lambda X: X.astype(np.int64),
    lambda X: X.astype(np.uint8),
    lambda X: X.astype(">f8"),
    lambda X: X.astype(np.longdouble),
]


@pytest.mark.parametrize(
    ("estimator", "convert"),
    [(cls, convert) for cls in ESTIMATORS for convert in DENSE]
    + [(KMeans, sp.csc_matrix), (KMeans, sp.coo_array)],
)
def test_input_of_all_kinds(estimator, convert):
    X = np.random.default_rng(0).integers(0, 200, size=(60, 3)).astype(float)
    expected = estimator(4, random_state=0).fit(X)
    converted = convert(X)
    model = estimator(4, random_state=0).fit(converted)
    np.testing.assert_array_equal(model.labels_, expected.labels_)
    # Sparse rows can't be centred, and round differently.
    rtol = 1e-7 if sp.issparse(converted) else 0
    np.testing.assert_allclose(model.cluster_centers_, expected.cluster_centers_, rtol=rtol)
    assert model.cluster_centers_.dtype == np.float64
    np.testing.assert_array_equal(model.predict(converted), expected.labels_)


def test_booleans(estimator):
    X = np.random.default_rng(0).uniform(size=(40, 5)) < 0.4
    model = estimator(3, random_state=0).fit(X)
    assert_same(model, estimator(3, random_state=0).fit(X.astype(float)))


@pytest.mark.parametrize(
    ("model", "container"),
    [
        (KMedians(3), np.asarray),
        (KMeans(3), np.asarray),
        (KMeans(3, copy_x=False), np.asarray),
        (KMeans(3), sp.csr_matrix),
        (KMeans(3, copy_x=False), sp.csr_matrix),
    ],
)
def test_the_callers_arrays_dont_change(model, container):
    rng = np.random.default_rng(0)
    X, sample_weight, init = container(rng.normal(size=(60, 3))), rng.uniform(size=60), np.eye(3)
    arrays = [X if isinstance(X, np.ndarray) else X.data, sample_weight, init]
    copies = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    model.set_params(init=init).fit(X, sample_weight=sample_weight)
    model.predict(X), model.transform(X), model.score(X, sample_weight=sample_weight)
    model.set_params(init="k-means++", random_state=0).fit(X)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_single_weight_is_for_all_rows(estimator):
    X = np.random.default_rng(0).normal(size=(60, 3))
    model = estimator(3, random_state=0).fit(X, sample_weight=2)
    plain = estimator(3, random_state=0).fit(X)
    np.testing.assert_array_equal(model.labels_, plain.labels_)
    np.testing.assert_allclose(model.inertia_, 2 * plain.inertia_)


def test_predicting_the_other_dtype(estimator):
    X = np.random.default_rng(0).normal(size=(60, 3)) + 2
    model = estimator(3, random_state=0).fit(X)
    np.testing.assert_array_equal(model.predict(X.astype(np.float32)), model.labels_)
    assert model.transform(X.astype(np.float32)).dtype == np.float32
    single = estimator(3, random_state=0).fit(X.astype(np.float32))
    np.testing.assert_array_equal(single.predict(X), single.labels_)
    if estimator is KMeans:
        np.testing.assert_array_equal(single.predict(sp.csr_array(X)), single.labels_)


# As a scikit-learn estimator.


def test_frames_in_and_out(estimator):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 2)), columns=["a", "b"])
    model = estimator(3, random_state=0).set_output(transform="pandas")
    distances = model.fit_transform(frame)
    assert list(distances.columns) == [f"{estimator.__name__.lower()}{j}" for j in range(3)]
    assert list(model.feature_names_in_) == ["a", "b"]
    assert list(model.get_feature_names_out()) == list(distances.columns)
    expected = cdist(frame, model.cluster_centers_, METRICS[estimator])
    np.testing.assert_allclose(distances, expected, rtol=1e-7)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.rename(columns={"a": "c"}))


@pytest.mark.parametrize(
    "model",
    [
        KMeans(3, init="k-means||", random_state=0, algorithm="elkan"),
        KMedians(3, init="random", random_state=0),
    ],
)
def test_pickle_and_clone(model):
    X = np.random.default_rng(0).normal(size=(30, 2))
    model = clone(model).fit(X)
    assert clone(model).get_params() == model.get_params()
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.labels_)
    np.testing.assert_array_equal(again.transform(X), model.transform(X))


@pytest.mark.parametrize(
    ("estimator", "others"), [(KMeans, {"algorithm": ["auto", "elkan"]}), (KMedians, {})]
)
def test_grid_search_over_a_pipeline(estimator, others):
    X = np.random.default_rng(0).normal(size=(90, 2)) + 9 * np.arange(3).repeat(30)[:, None]
    name = estimator.__name__.lower()
    grid = {f"{name}__{key}": values for key, values in {"n_clusters": [2, 3], **others}.items()}
    search = GridSearchCV(
        make_pipeline(StandardScaler(), estimator(random_state=0)), grid, cv=3
    ).fit(np.random.default_rng(1).permutation(X))
    assert search.best_params_[f"{name}__n_clusters"] == 3
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_fit_predict_and_fit_transform(estimator):
    X = np.random.default_rng(0).normal(size=(60, 3))
    sample_weight = np.arange(60.0)
    model = estimator(3, random_state=0).fit(X, sample_weight=sample_weight)
    other = estimator(3, random_state=0)
    np.testing.assert_array_equal(other.fit_predict(X, sample_weight=sample_weight), model.labels_)
    np.testing.assert_array_equal(
        other.fit_transform(X, sample_weight=sample_weight), model.transform(X)
    )


LOCATIONS = {KMeans: np.mean, KMedians: np.median}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_few_long_rows(estimator, dtype, weighted):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 10_000)).astype(dtype)
    X[:20, :100] += 5
    weights = np.ones(40) if weighted else None
    model = estimator(2, random_state=0).fit(X, sample_weight=weights)
    for j, center in enumerate(model.cluster_centers_):
        members = X[model.labels_ == j].astype(float)
        np.testing.assert_allclose(center, LOCATIONS[estimator](members, axis=0), atol=1e-6)
    distances = cdist(X, model.cluster_centers_, METRICS[estimator])
    np.testing.assert_array_equal(model.labels_, distances.argmin(axis=1))
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    # Neither the rows' order nor whether one is repeated or has a weight makes a difference.
    order = rng.permutation(40)
    again = estimator(2, random_state=0).fit(X[order], sample_weight=weights)
    np.testing.assert_array_equal(again.labels_, model.labels_[order])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_fit_of_few_long_rows_adds_less_than_the_rows(estimator, dtype):
    X = np.random.default_rng(0).normal(size=(60, 30_000)).astype(dtype)
    model = estimator(3, n_init=1, random_state=0, max_iter=5)
    model.fit(X[:, :10_000])  # compiles
    tracemalloc.start()
    model.fit(X)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < X.nbytes


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("init", [*INITS, "k-means||"])
def test_a_fit_of_csr_rows_adds_less_than_a_quarter_of_them(init, dtype):
    """Beside what a few arrays of centres take, which are large where columns are many."""
    rng = np.random.default_rng(0)
    X = sp.random_array((30_000, 600), density=0.1, format="csr", dtype=dtype, rng=rng)
    model = KMeans(4, init=init, n_init=1, random_state=0, max_iter=5)
    model.fit(X[:1000])  # compiles
    size = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
    tracemalloc.start()
    model.fit(X)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < size / 4 + 10 * model.cluster_centers_.astype(np.float64).nbytes


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_fit_of_csr_rows_adds_few_arrays_of_centers(dtype):
    """Where they take more than the rows: beside the result the sums, new centres and a table."""
    rng = np.random.default_rng(0)
    columns = (40_000 ** rng.uniform(size=(1500, 40))).astype(int)
    X = sp.csr_array(
        (rng.uniform(size=columns.size), columns.ravel(), np.arange(0, columns.size + 1, 40)),
        (1500, 40_000),
    ).astype(dtype)
    X.sum_duplicates()
    model = KMeans(30, n_init=1, random_state=0, max_iter=8, tol=0)
    model.fit(X)  # compiles
    assert model.n_iter_ > 2
    tracemalloc.start()
    model.fit(X)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    centers = 30 * 40_000 * 8
    assert most < 3.8 * centers  # one of these is the result


def test_random_numbers_follow_from_the_seed():
    """Whoever has drawn from them before, or has kept them."""
    X = np.random.default_rng(0).normal(size=(200, 2))
    kept = []

    def start(X, n_clusters, random_state):
        kept.append(random_state)
        return X[random_state.permutation(len(X))[:n_clusters]]

    for seed in (7, 8):
        KMeans(3, init=start, n_init=1, random_state=seed).fit(X)
        KMedians(3, random_state=9).fit(X)
    for seed, random_state in zip((7, 8), kept, strict=True):
        expected = np.random.RandomState(seed)
        expected.permutation(len(X))
        assert random_state.uniform() == expected.uniform()
    with random_numbers(5) as first, random_numbers(5) as second:
        assert first is not second
        expected = np.random.RandomState(5).normal(size=3)
        np.testing.assert_array_equal(first.normal(size=3), expected)
        np.testing.assert_array_equal(second.normal(size=3), expected)
    with random_numbers(5) as again:  # half of a pair of normal numbers isn't left
        np.testing.assert_array_equal(again.normal(size=3), expected)
