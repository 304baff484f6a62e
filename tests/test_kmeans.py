import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import reference
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from fastem import KMeans
from fastem.kernels.kmeans import ALGORITHMS


@pytest.mark.parametrize(
    "estimator", [KMeans(), KMeans(n_clusters=2), KMeans(n_clusters=1)], ids=["8", "2", "1"]
)
def test_scikit_learns_estimator_checks(estimator):
    results = check_estimator(estimator, on_skip=None)
    assert {result["status"] for result in results} <= {"passed", "skipped"}
    # Its array API checks skip themselves unless SCIPY_ARRAY_API is set.
    assert all("array_api" in r["check_name"] for r in results if r["status"] == "skipped")


def test_parameters_are_scikit_learns():
    ours, theirs = KMeans().get_params(), SklearnKMeans().get_params()
    assert ours.pop("algorithm") == "auto"
    theirs.pop("algorithm")
    assert ours == theirs


# The same results as scikit-learn's.


def assert_same_fit(ours, theirs, rtol=1e-10):
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    assert ours.labels_.dtype == theirs.labels_.dtype
    assert ours.n_iter_ == theirs.n_iter_
    scale = np.abs(theirs.cluster_centers_).max()
    np.testing.assert_allclose(
        ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-9, atol=1e-12 * scale
    )
    assert ours.cluster_centers_.dtype == theirs.cluster_centers_.dtype
    np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=rtol, atol=1e-13 * scale**2)
    assert type(ours.inertia_) is float


def problem(seed):
    """A small problem without ties, the same for the same seed."""
    rng = np.random.default_rng(seed)
    n_rows, n_features = int(rng.integers(1, 200)), int(rng.integers(1, 9))
    n_clusters = int(rng.integers(1, min(n_rows, 15) + 1))
    X = rng.normal(size=(n_rows, n_features))
    kind = rng.choice(["plain", "far", "blobs", "sparse"])
    if kind == "far":
        X += 1e3
    elif kind == "blobs":
        X += 10 * rng.integers(3, size=(n_rows, 1))
    elif kind == "sparse":
        X = sp.csr_array(X * (rng.uniform(size=X.shape) < 0.4))
    weights = {
        "none": None,
        "uniform": rng.uniform(0.1, 2, size=n_rows),
        "zeros": rng.permutation(np.arange(n_rows) % 3).astype(float) + (n_rows < 2),
    }[rng.choice(["none", "uniform", "zeros"])]
    parameters = {
        "n_clusters": n_clusters,
        "tol": float(rng.choice([0, 1e-4, 1e-2])),
        "max_iter": int(rng.choice([1, 2, 5, 300])),
        "random_state": seed,
    }
    return rng, X, weights, parameters


@pytest.mark.parametrize("algorithm", ["auto", *ALGORITHMS])
@pytest.mark.parametrize("seed", range(40))
def test_given_start(seed, algorithm):
    rng, X, sample_weight, parameters = problem(seed)
    shape = parameters["n_clusters"], X.shape[1]
    # A wide start leaves clusters empty.
    parameters["init"] = X.mean(axis=0) + rng.normal(size=shape) * rng.choice([1.0, 20.0])
    if sample_weight is not None and sp.issparse(X) and shape[0] > np.count_nonzero(sample_weight):
        parameters["init"] = X.toarray()[: shape[0]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = SklearnKMeans(**parameters).fit(X, sample_weight=sample_weight)
        ours = KMeans(algorithm=algorithm, **parameters).fit(X, sample_weight=sample_weight)
    assert_same_fit(ours, theirs)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    # scikit-learn's distances lose half the digits near a centre.
    dense = X.toarray() if sp.issparse(X) else X
    squares = reference.squared_distances(dense, ours.cluster_centers_)
    scale = np.abs(dense).max()
    np.testing.assert_allclose(ours.transform(X) ** 2, squares, rtol=1e-9, atol=1e-13 * scale**2)
    np.testing.assert_allclose(
        ours.score(X, sample_weight=sample_weight),
        theirs.score(X, sample_weight=sample_weight),
        rtol=1e-9,
        atol=1e-13 * scale**2,
    )


def more_rows(X, sample_weight):
    """The problem with more than 100 rows, from which k-means++ draws as scikit-learn does."""
    copies = 1 + 100 // X.shape[0]
    rng = np.random.default_rng(X.shape[0])
    X = (sp.vstack if sp.issparse(X) else np.concatenate)([X] * copies)
    X = sp.csr_array(X) if sp.issparse(X) else X
    values = X.data if sp.issparse(X) else X
    values += rng.normal(size=values.shape)
    return X, None if sample_weight is None else np.concatenate([sample_weight] * copies)


@pytest.mark.parametrize("init", ["k-means++", "random"])
@pytest.mark.parametrize("seed", range(100, 140))
def test_same_random_state(seed, init):
    rng, X, sample_weight, parameters = problem(seed)
    X, sample_weight = more_rows(X, sample_weight)
    parameters["init"] = init
    parameters["n_init"] = int(rng.integers(1, 4))
    if sample_weight is not None and init == "random":
        sample_weight = sample_weight + 0.1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = SklearnKMeans(**parameters).fit(X, sample_weight=sample_weight)
        ours = KMeans(**parameters).fit(X, sample_weight=sample_weight)
    assert_same_fit(ours, theirs)


@pytest.mark.parametrize("n_clusters", [1, 12])
def test_one_cluster_and_as_many_as_rows(n_clusters):
    X = np.random.default_rng(0).normal(size=(12, 3))
    theirs = SklearnKMeans(n_clusters, init=X[:n_clusters]).fit(X)
    ours = KMeans(n_clusters, init=X[:n_clusters]).fit(X)
    assert_same_fit(ours, theirs)


@pytest.mark.parametrize("load", [load_iris, load_digits])
def test_real_data(load):
    data = load()
    n_clusters = len(data.target_names)
    theirs = SklearnKMeans(n_clusters, random_state=0).fit(data.data)
    assert_same_fit(KMeans(n_clusters, random_state=0).fit(data.data), theirs)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_matrix])
def test_float32_stays_float32(container):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 8)).astype(np.float32)
    if container is np.asarray:
        X += 3  # only dense rows are centred
    init = X[:9]
    X = container(X)
    theirs = SklearnKMeans(9, init=init, max_iter=10).fit(X)
    ours = KMeans(9, init=init, max_iter=10).fit(X)
    assert np.mean(ours.labels_ == theirs.labels_) > 0.99  # theirs round in float32
    double = KMeans(9, init=init.astype(float), max_iter=10).fit(X.astype(float))
    assert np.mean(ours.labels_ == double.labels_) > 0.999
    assert ours.cluster_centers_.dtype == np.float32
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, atol=1e-3)
    np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=1e-4)
    assert ours.transform(X).dtype == np.float32
    np.testing.assert_allclose(ours.transform(X), theirs.transform(X), atol=2e-3)
    dense = X if isinstance(X, np.ndarray) else X.toarray()
    exact = reference.squared_distances(dense, ours.cluster_centers_).min(axis=1).sum()
    np.testing.assert_allclose(ours.inertia_, exact, rtol=1e-9)
    np.testing.assert_allclose(-ours.score(X), exact, rtol=1e-6)


def test_many_iterations_report_the_limit():
    X = np.random.default_rng(0).uniform(size=(500, 2))
    theirs = SklearnKMeans(20, init=X[:20], max_iter=4, tol=0).fit(X)
    ours = KMeans(20, init=X[:20], max_iter=4, tol=0).fit(X)
    assert ours.n_iter_ == 4
    assert_same_fit(ours, theirs)


# The same results as the textbook's.


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_plain_lloyd_on_grids(data):
    """Grids are full of ties, duplicates and empty clusters; powers of two make them exact."""
    n_rows = data.draw(st.sampled_from([1, 2, 4, 8, 32, 64]))
    n_features = data.draw(st.integers(1, 3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n_clusters = data.draw(st.integers(1, min(n_rows, 6)))
    X = rng.integers(0, data.draw(st.sampled_from([2, 4, 16])), size=(n_rows, n_features)) * 1.0
    init = rng.integers(0, 16, size=(n_clusters, n_features)) * 1.0
    sample_weight = rng.choice([0.5, 1.0, 2.0], size=n_rows) if data.draw(st.booleans()) else None
    algorithm = data.draw(st.sampled_from(list(ALGORITHMS)))
    # One iteration: after it the centres are no longer exact, and ties are broken by rounding.
    _, centers, inertia, _ = reference.lloyd(X, init, sample_weight, max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = KMeans(n_clusters, init=init, max_iter=1, tol=0, algorithm=algorithm)
        model.fit(X, sample_weight=sample_weight)
    np.testing.assert_allclose(model.cluster_centers_, centers, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(model.inertia_, inertia, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("n_clusters", [1, 2, 3, 7, 64, 65])
def test_plain_lloyd_on_noise(algorithm, n_clusters):
    rng = np.random.default_rng(n_clusters)
    X = rng.normal(size=(300, 6))
    sample_weight = rng.integers(0, 4, size=300) / 10
    labels, centers, inertia, n_iter = reference.lloyd(X, X[:n_clusters], sample_weight, tol=1e-5)
    model = KMeans(n_clusters, init=X[:n_clusters], tol=1e-5, algorithm=algorithm)
    if algorithm == "elkan" and n_clusters == 1:
        with pytest.warns(RuntimeWarning, match="doesn't make sense for a single cluster"):
            model.fit(X, sample_weight=sample_weight)
    else:
        model.fit(X, sample_weight=sample_weight)
    np.testing.assert_array_equal(model.labels_, labels)
    np.testing.assert_allclose(model.cluster_centers_, centers, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(model.inertia_, inertia, rtol=1e-11)
    assert model.n_iter_ == n_iter


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_weights_that_dont_add_up_exactly_leave_empty_clusters_empty(algorithm):
    """Sums that are updated row by row must not leave rounding behind in an emptied cluster."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    sample_weight = np.full(400, 0.1)
    # The second centre is nearest to some rows at first and to none once the first one has moved.
    for seed in range(20):
        init = np.random.default_rng(seed).normal(size=(12, 2)) * 3
        labels, centers, _, n_iter = reference.lloyd(X, init, sample_weight, max_iter=30)
        model = KMeans(12, init=init, tol=0, max_iter=30, algorithm=algorithm)
        model.fit(X, sample_weight=sample_weight)
        np.testing.assert_array_equal(model.labels_, labels)
        np.testing.assert_allclose(model.cluster_centers_, centers, rtol=1e-9, atol=1e-12)
        assert model.n_iter_ == n_iter


def test_more_clusters_than_different_rows_warn():
    X = np.array([[0.0, 0], [0, 1], [1, 0], [1, 0]])
    theirs = SklearnKMeans(4, init=X)
    with pytest.warns(ConvergenceWarning) as expected:
        theirs.fit(X)
    with pytest.warns(ConvergenceWarning) as record:
        ours = KMeans(4, init=X).fit(X)
    assert [str(w.message) for w in record] == [str(w.message) for w in expected]
    assert record[0].filename == __file__
    assert_same_fit(ours, theirs)


@pytest.mark.parametrize("value", [0.0, 3.7, -1e5])
def test_constant_rows(value):
    X = np.full((20, 3), value)
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(1\)"):
        model = KMeans(3, random_state=0).fit(X)
    assert model.inertia_ == 0
    np.testing.assert_allclose(model.transform(X)[:, 0], 0, atol=1e-10)
    assert np.isfinite(model.cluster_centers_).all()


# Extreme numbers.


@pytest.mark.parametrize("exponent", [-990, -520, 500, 1000])
def test_extreme_magnitudes_scale_exactly(exponent):
    """Neither squares that overflow nor squares that vanish change the clusters."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3)) + 4 * rng.integers(3, size=(200, 1))
    expected = KMeans(5, random_state=0).fit(X)
    far = np.ldexp(X, exponent)
    before = far.copy()
    model = KMeans(5, random_state=0).fit(far)
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
    given = KMeans(5, init=far[:5]).fit(far)
    np.testing.assert_array_equal(given.labels_, KMeans(5, init=X[:5]).fit(X).labels_)


@pytest.mark.parametrize("exponent", [-120, 120])
def test_extreme_magnitudes_in_float32(exponent):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(200, 3)) + 4 * rng.integers(3, size=(200, 1))).astype(np.float32)
    expected = KMeans(5, random_state=0).fit(X)
    far = np.ldexp(X, exponent)
    model = KMeans(5, random_state=0).fit(far)
    np.testing.assert_array_equal(model.labels_, expected.labels_)
    np.testing.assert_array_equal(model.predict(far), expected.labels_)


# Starts.


def test_callable_start_sees_the_data_as_they_are():
    X = np.random.default_rng(0).normal(size=(50, 3)) + 7

    def first_rows(data, n_clusters, random_state):
        np.testing.assert_array_equal(data, X)
        assert isinstance(random_state, np.random.RandomState)
        return data[:n_clusters]

    called = KMeans(4, init=first_rows, n_init=1).fit(X)
    given = KMeans(4, init=X[:4]).fit(X)
    np.testing.assert_array_equal(called.cluster_centers_, given.cluster_centers_)
    sparse = KMeans(4, init=lambda data, k, random_state: data[:k], n_init=1).fit(sp.csr_array(X))
    np.testing.assert_allclose(sparse.cluster_centers_, given.cluster_centers_)


@pytest.mark.parametrize(
    ("init", "n_runs"),
    [
        ("k-means++", 1),
        ("k-means||", 1),
        ("random", 10),
        ("random_partition", 10),
        (lambda X, k, random_state: X[:k], 10),
        (np.eye(2), 1),
    ],
)
def test_number_of_runs(init, n_runs, capsys):
    X = np.random.default_rng(0).normal(size=(30, 2))
    KMeans(2, init=init, random_state=0, verbose=1).fit(X)
    assert capsys.readouterr().out.count("Initialization complete") == n_runs


def test_verbose_prints_as_scikit_learn(capsys):
    X = np.random.default_rng(0).normal(size=(60, 2))
    for tol in (0, 1e-2):
        printed = []
        for cls in (SklearnKMeans, KMeans):
            cls(3, init=X[:3], tol=tol, verbose=1).fit(X)
            printed.append(capsys.readouterr().out.split())
        assert len(printed[0]) == len(printed[1])
        for theirs, ours in zip(*printed, strict=True):
            try:
                np.testing.assert_allclose(float(ours.strip(".,")), float(theirs.strip(".,")))
            except ValueError:
                assert ours == theirs


# Input of all kinds.


@pytest.mark.parametrize(
    "convert",
    [
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
        sp.csc_matrix,
        sp.coo_array,
    ],
)
def test_input_of_all_kinds(convert):
    X = np.random.default_rng(0).integers(0, 200, size=(60, 3)).astype(float)
    expected = KMeans(4, random_state=0).fit(X)
    converted = convert(X)
    model = KMeans(4, random_state=0).fit(converted)
    np.testing.assert_array_equal(model.labels_, expected.labels_)
    np.testing.assert_allclose(model.cluster_centers_, expected.cluster_centers_)
    assert model.cluster_centers_.dtype == np.float64
    np.testing.assert_array_equal(model.predict(converted), expected.labels_)


def test_booleans():
    X = np.random.default_rng(0).uniform(size=(40, 5)) < 0.4
    model = KMeans(3, random_state=0).fit(X)
    expected = KMeans(3, random_state=0).fit(X.astype(float))
    np.testing.assert_array_equal(model.labels_, expected.labels_)
    assert model.inertia_ == expected.inertia_


@pytest.mark.parametrize("copy_x", [True, False])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_matrix])
def test_the_callers_arrays_dont_change(copy_x, container):
    rng = np.random.default_rng(0)
    X, sample_weight, init = container(rng.normal(size=(60, 3))), rng.uniform(size=60), np.eye(3)
    arrays = [X if isinstance(X, np.ndarray) else X.data, sample_weight, init]
    copies = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    model = KMeans(3, init=init, copy_x=copy_x).fit(X, sample_weight=sample_weight)
    model.predict(X), model.transform(X), model.score(X, sample_weight=sample_weight)
    KMeans(3, random_state=0, copy_x=copy_x).fit(X)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_single_weight_is_for_all_rows():
    X = np.random.default_rng(0).normal(size=(60, 3))
    model = KMeans(3, random_state=0).fit(X, sample_weight=2)
    plain = KMeans(3, random_state=0).fit(X)
    np.testing.assert_array_equal(model.labels_, plain.labels_)
    np.testing.assert_allclose(model.inertia_, 2 * plain.inertia_)


def test_predicting_the_other_dtype():
    X = np.random.default_rng(0).normal(size=(60, 3)) + 2
    model = KMeans(3, random_state=0).fit(X)
    np.testing.assert_array_equal(model.predict(X.astype(np.float32)), model.labels_)
    assert model.transform(X.astype(np.float32)).dtype == np.float32
    single = KMeans(3, random_state=0).fit(X.astype(np.float32))
    np.testing.assert_array_equal(single.predict(X), single.labels_)
    np.testing.assert_array_equal(single.predict(sp.csr_array(X)), single.labels_)


# As a scikit-learn estimator.


def test_frames_in_and_out():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 2)), columns=["a", "b"])
    model = KMeans(3, random_state=0).set_output(transform="pandas")
    distances = model.fit_transform(frame)
    assert list(distances.columns) == ["kmeans0", "kmeans1", "kmeans2"]
    assert list(model.feature_names_in_) == ["a", "b"]
    assert list(model.get_feature_names_out()) == list(distances.columns)
    np.testing.assert_allclose(
        distances, euclidean_distances(frame, model.cluster_centers_), rtol=1e-7
    )
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.rename(columns={"a": "c"}))


def test_pickle_and_clone():
    X = np.random.default_rng(0).normal(size=(30, 2))
    model = KMeans(3, init="k-means||", random_state=0, algorithm="elkan").fit(X)
    assert clone(model).get_params() == model.get_params()
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.labels_)
    np.testing.assert_array_equal(again.transform(X), model.transform(X))


def test_grid_search_over_a_pipeline():
    X = np.random.default_rng(0).normal(size=(90, 2)) + 9 * np.arange(3).repeat(30)[:, None]
    search = GridSearchCV(
        make_pipeline(StandardScaler(), KMeans(random_state=0)),
        {"kmeans__n_clusters": [2, 3], "kmeans__algorithm": ["auto", "elkan"]},
        cv=3,
    ).fit(np.random.default_rng(1).permutation(X))
    assert search.best_params_["kmeans__n_clusters"] == 3
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_fit_predict_and_fit_transform():
    X = np.random.default_rng(0).normal(size=(60, 3))
    sample_weight = np.arange(60.0)
    model = KMeans(3, random_state=0).fit(X, sample_weight=sample_weight)
    other = KMeans(3, random_state=0)
    np.testing.assert_array_equal(other.fit_predict(X, sample_weight=sample_weight), model.labels_)
    np.testing.assert_array_equal(
        other.fit_transform(X, sample_weight=sample_weight), model.transform(X)
    )


@pytest.mark.parametrize("init", ["k-means++", "k-means||", "random", "random_partition"])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_runs_repeat(init, container):
    X = container(np.random.default_rng(0).normal(size=(200, 3)))
    first, second = (KMeans(5, init=init, random_state=3).fit(X) for _ in range(2))
    np.testing.assert_array_equal(first.labels_, second.labels_)
    np.testing.assert_array_equal(first.cluster_centers_, second.cluster_centers_)
    assert first.inertia_ == second.inertia_


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("separation", [0.0, 1.0, 9.0, 11.0, 1e3, 1e6])
def test_inertia_is_precise_however_far_apart_the_clusters_are(separation, weighted, dtype):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(3000, 3)) + separation * rng.integers(-1, 2, size=(3000, 1)) + 5.0
    X = X.astype(dtype)
    weight = rng.random(3000) if weighted else np.ones(3000)
    for max_iter in (2, 300):
        kmeans = KMeans(3, random_state=0, max_iter=max_iter).fit(X, sample_weight=weight)
        centers = kmeans.cluster_centers_.astype(float)
        distances = ((X.astype(float) - centers[kmeans.labels_]) ** 2).sum(axis=1)
        np.testing.assert_allclose(kmeans.inertia_, weight @ distances, rtol=1e-12)
