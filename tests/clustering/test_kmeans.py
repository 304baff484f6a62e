import copy
import warnings
from itertools import pairwise

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning

from fastem import KMeans
from fastem.clustering.euclidean.frame import measure_spread
from fastem.clustering.euclidean.model import KMeansModel
from fastem.clustering.model import ALGORITHM, assign
from fastem.kernels.clusters import Frame
from fastem.kernels.kmeans import ALGORITHMS, Lloyd, Sparse
from fastem.rows import LocalRows, Part, array_rows, reading


def test_parameters_are_scikit_learns():
    ours, theirs = KMeans().get_params(), SklearnKMeans().get_params()
    assert ours.pop("algorithm") == "auto"
    theirs.pop("algorithm")
    assert ours.pop("search") is None
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
    dense = X.toarray() if sp.issparse(X) else X
    if sample_weight is not None and (sample_weight == 0).any():
        # scikit-learn puts clusters that stay empty far from all rows.
        given = {name: parameters[name] for name in ("init", "tol", "max_iter")}
        labels, centers, inertia, n_iter = reference.lloyd(
            dense, given.pop("init"), sample_weight, **given
        )
        np.testing.assert_array_equal(ours.labels_, labels)
        np.testing.assert_allclose(ours.cluster_centers_, centers, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(ours.inertia_, inertia, rtol=1e-9, atol=1e-11)
        assert ours.n_iter_ == n_iter
        return
    assert_same_fit(ours, theirs)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    # scikit-learn's distances lose half the digits near a centre.
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


def test_rows_on_their_centers_dont_fill_empty_clusters():
    """Of three empty clusters two get the rows off their centres, one the heaviest's mean."""
    X = np.array([[1.0], [3], [2], [2], [2], [3], [1], [2]])
    model = KMeans(5, init=np.array([[2.0], [13], [6], [13], [1]]), max_iter=1, tol=0)
    with pytest.warns(ConvergenceWarning, match="distinct clusters"):
        model.fit(X)
    np.testing.assert_array_equal(model.cluster_centers_, [[2], [3], [3], [2], [1]])


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


# Reports.


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


@pytest.mark.parametrize("offset", [1e4, 1e7, 1e8])
def test_csr_far_from_zero_is_as_exact_as_dense(offset):
    X = np.random.default_rng(0).normal(size=(500, 3)) + offset
    X[:, 2] *= np.arange(500) % 3 > 0  # some are not stored
    A = sp.csr_array(X)
    for start in ({"init": X[:4], "n_init": 1}, {"n_init": 3, "random_state": 0}):
        dense, sparse = (KMeans(4, **start).fit(rows) for rows in (X, A))
        np.testing.assert_array_equal(sparse.labels_, dense.labels_)
        np.testing.assert_array_equal(sparse.predict(A), dense.labels_)
        np.testing.assert_allclose(sparse.inertia_, dense.inertia_, rtol=1e-6)
        np.testing.assert_allclose(-sparse.score(A), sparse.inertia_, rtol=1e-6)
        distances = sparse.transform(A)
        expected = np.sqrt(reference.squared_distances(X, sparse.cluster_centers_))
        np.testing.assert_allclose(distances, expected, rtol=1e-9)


def test_little_is_kept_of_rows_that_memory_does_not_hold(tmp_path, monkeypatch):
    """Of a large file even a share might be more than the memory."""
    X = np.memmap(tmp_path / "rows", dtype=np.float64, mode="w+", shape=(300, 64))
    X[:] = np.random.default_rng(0).normal(size=X.shape)
    kinds, labels = [], []
    for memory in (X.nbytes, X.nbytes - 1):
        monkeypatch.setattr(reading, "memory", lambda memory=memory: memory)
        part = Part(X)
        assign(part, ALGORITHMS["steps"], 3, Frame(np.zeros(64), 1.0), np.array(X[:3]))
        kinds.append(type(part.kept(ALGORITHM)).name)
        labels.append(part.kept(ALGORITHM).labels)
    assert kinds == ["steps", "wide"]
    np.testing.assert_array_equal(*labels)


def test_a_mapped_file_is_not_copied_into_tiles(tmp_path):
    values = np.random.default_rng(0).normal(size=(3000, 3))
    mapped = np.memmap(tmp_path / "rows", dtype=np.float64, mode="w+", shape=values.shape)
    mapped[:] = values
    kinds, labels = [], []
    for X in (values, mapped):
        part = Part(X)
        assign(part, ALGORITHMS["filtering"], 9, Frame(np.zeros(3), 1.0), np.array(values[:9]))
        kinds.append(type(part.kept(ALGORITHM)).name)
        labels.append(part.kept(ALGORITHM).labels)
    assert kinds == ["filtering", "lloyd"]
    np.testing.assert_array_equal(*labels)


@pytest.mark.parametrize("n_parts", [1, 3])
def test_clusters_whose_rows_stay_are_known(n_parts):
    """A model that knows nothing of the iterations before finds the same, bit for bit."""
    rng = np.random.default_rng(0)
    X = sp.random_array((400, 1100), density=0.05, format="csr", rng=rng)
    cuts = np.linspace(0, 400, n_parts + 1).astype(int)

    def home():
        return measure_spread(LocalRows([Part(X[a:b], None, a) for a, b in pairwise(cuts)]))

    rows, (frame, _, squares, _) = home()
    args = None, 12, Sparse, frame, X.dtype, 0.0, squares
    model = KMeansModel(*args)
    model.begin(rows)
    centers = X[:12].toarray()
    partly = []
    for step in range(12):
        statistics = model.e_step(rows, centers)
        if step == 5:  # an assignment of a copy's is not of these centres
            copy.copy(model).e_step(rows, np.roll(centers, 1, axis=0))
            statistics = model.e_step(rows, centers)
        means = model.m_step(rows, statistics, centers)
        partly.append(0 < np.count_nonzero(statistics.changed) < 12)
        assert step not in (0, 5) or len(statistics.changed) == 0  # of these nothing is known
        ignorant = KMeansModel(*args)
        other, _ = home()
        ignorant.begin(other)
        expected = ignorant.e_step(other, centers)
        np.testing.assert_allclose(statistics.inertia, expected.inertia, rtol=1e-13)
        np.testing.assert_allclose(
            means, ignorant.m_step(other, expected, centers), rtol=1e-12, atol=1e-15
        )
        centers = means.copy() if step == 4 else means
    assert any(partly)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_means_are_made_anew_unless_they_are_of_the_same_rows(container):
    rng = np.random.default_rng(0)
    X = np.repeat([[0.0, 1.0], [9.0, 1.0], [4.0, 8.0]], 40, axis=0) + rng.normal(size=(120, 2))
    rows, (frame, _, squares, _) = measure_spread(array_rows(container(X)))
    algorithm = Lloyd if container is np.asarray else Sparse
    model = KMeansModel(None, 3, algorithm, frame, X.dtype, 0.0, squares)
    model.begin(rows)

    def iterate(centers):
        statistics = model.e_step(rows, centers)
        return statistics, model.m_step(rows, statistics, centers)

    def means(centers):
        labels = ((X[:, np.newaxis] - centers) ** 2).sum(axis=2).argmin(axis=1)
        return np.array([X[labels == j].mean(axis=0) for j in range(3)])

    _, found = iterate(np.array([[0.0, 0.0], [8.0, 0.0], [4.0, 7.0]]))
    statistics, again = iterate(found)
    assert statistics.n_changed == 0 and again is found
    # No row moves, but these centres are not the means of the assignment before.
    for _ in range(2):
        other = found + 0.1 * rng.normal(size=(3, 2))
        statistics, again = iterate(other)
        assert statistics.n_changed == 0
        np.testing.assert_allclose(again, means(other), rtol=1e-12)
    # Nor are means from before another assignment.
    other = np.array([[3.0, 1.0], [9.0, 1.0], [3.0, 9.0]])
    model.e_step(rows, other)
    model.e_step(rows, other)
    statistics, again = iterate(found)
    np.testing.assert_allclose(again, means(found), rtol=1e-12)
