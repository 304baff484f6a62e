"""Every refusal comes at once, before a kernel runs, and in scikit-learn's words if it has them."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.cluster import kmeans_plusplus as sklearn_kmeans_plusplus
from sklearn.exceptions import NotFittedError

import fastem.clustering.euclidean.frame
import fastem.clustering.manhattan.frame
from fastem import KMeans, KMedians, kmeans_plusplus

X = np.random.default_rng(0).normal(size=(20, 3))


@pytest.fixture(scope="module", params=[KMeans, KMedians], ids=["KMeans", "KMedians"])
def estimator(request):
    return request.param


@pytest.fixture(scope="module")
def fitted(estimator):
    return estimator(2, random_state=0).fit(X)


@pytest.fixture(autouse=True)
def no_kernels(monkeypatch):
    """The first passes over the rows fail, but for rows that K-means' tell to be infinite."""
    frame = fastem.clustering.euclidean.frame

    def fail(X):
        raise AssertionError("a kernel ran")

    def guarded(moments):
        def guard(X):
            values = X.data if sp.issparse(X) else X
            return fail(X) if np.isfinite(values).all() else moments(X)

        return guard

    for name in ("dense_moments", "sparse_moments"):
        monkeypatch.setattr(frame, name, guarded(getattr(frame, name)))
    monkeypatch.setattr(fastem.clustering.manhattan.frame, "largest_magnitude", fail)


def error_of(function, *args, **kwargs):
    """What a call raises, with KMeans' name for KMedians'."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            function(*args, **kwargs)
        except (ValueError, TypeError) as error:
            message = str(error).replace("sklearn.cluster._kmeans.", "")
            return type(error), message.replace("KMedians", "KMeans")
    return None


def with_value(value):
    bad = X.copy()
    bad[3, 1] = value
    return bad


BAD_ROWS = {
    "nan": with_value(np.nan),
    "infinity": with_value(np.inf),
    "minus infinity": with_value(-np.inf),
    "nan in float32": with_value(np.nan).astype(np.float32),
    "overflow in float16": with_value(np.nan).astype(np.float16),
    "frame with nan": pd.DataFrame(with_value(np.nan)),
    "no rows": np.empty((0, 3)),
    "no columns": np.empty((20, 0)),
    "one dimension": X[0],
    "three dimensions": X[np.newaxis],
    "scalar": 3.0,
    "complex": X + 1j,
    "strings": np.array([["a", "b"], ["c", "d"]]),
    "objects": np.array([[1, {}], [2, 3]], dtype=object),
    "ragged": [[1.0], [1.0, 2.0]],
    "nothing": None,
    "a word": "rows",
    "few rows": X[:7],
}
BAD_SPARSE_ROWS = {"nan": sp.csr_array(with_value(np.nan))}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_rows(name, estimator):
    expected = error_of(SklearnKMeans().fit, BAD_ROWS[name])
    assert expected is not None
    assert error_of(estimator().fit, BAD_ROWS[name]) == expected


def error_of_new_rows(fitted, method, rows, monkeypatch):
    """The same for rows that a fitted estimator must not look at."""
    monkeypatch.delattr(type(fitted), "_in_range")
    monkeypatch.delattr(type(fitted), "_distances")
    return error_of(getattr(fitted, method), rows)


@pytest.mark.parametrize("name", [name for name in BAD_ROWS if name != "few rows"])
@pytest.mark.parametrize("method", ["predict", "transform", "score"])
def test_new_rows(name, method, fitted, monkeypatch):
    expected = error_of(getattr(SklearnKMeans(2, random_state=0).fit(X), method), BAD_ROWS[name])
    assert expected is not None
    assert error_of_new_rows(fitted, method, BAD_ROWS[name], monkeypatch) == expected


@pytest.mark.parametrize("name", BAD_SPARSE_ROWS)
def test_sparse_rows(name):
    expected = error_of(SklearnKMeans().fit, BAD_SPARSE_ROWS[name])
    assert expected is not None
    assert error_of(KMeans().fit, BAD_SPARSE_ROWS[name]) == expected


@pytest.mark.parametrize("name", BAD_SPARSE_ROWS)
@pytest.mark.parametrize("method", ["predict", "transform", "score"])
def test_new_sparse_rows(name, method, monkeypatch):
    monkeypatch.undo()
    theirs, ours = SklearnKMeans(2, random_state=0).fit(X), KMeans(2, random_state=0).fit(X)
    expected = error_of(getattr(theirs, method), BAD_SPARSE_ROWS[name])
    assert expected is not None
    assert error_of_new_rows(ours, method, BAD_SPARSE_ROWS[name], monkeypatch) == expected


@pytest.mark.parametrize("rows", [sp.csr_matrix(X), sp.coo_array(X), *BAD_SPARSE_ROWS.values()])
@pytest.mark.parametrize("method", ["fit", "predict", "transform", "score"])
def test_sparse_rows_are_kmeans_alone(rows, method, monkeypatch):
    monkeypatch.undo()
    model = KMedians(2, random_state=0).fit(X)
    kind, message = error_of(getattr(model, method), rows)
    assert kind in (TypeError, ValueError)
    assert "Sparse data was passed" in message or "Only sparse matrices with 32-bit" in message


@pytest.mark.parametrize(
    "name", [name for name in [*BAD_ROWS, *BAD_SPARSE_ROWS] if name not in ("few rows", "64-bit")]
)
def test_rows_of_kmeans_plusplus(name):
    rows = {**BAD_SPARSE_ROWS, **BAD_ROWS}[name]
    expected = error_of(sklearn_kmeans_plusplus, rows, 2)
    assert expected is not None
    assert error_of(kmeans_plusplus, rows, 2) == expected


@pytest.mark.parametrize("method", ["predict", "transform", "score"])
def test_new_rows_of_another_width(method, fitted, monkeypatch):
    kind, message = error_of_new_rows(fitted, method, X[:, :2], monkeypatch)
    assert kind is ValueError
    assert message.startswith("X has 2 features, but KMeans is expecting 3 features")


@pytest.mark.parametrize("method", ["predict", "transform", "score"])
def test_before_fit(method, estimator):
    message = f"This {estimator.__name__} instance is not fitted yet"
    with pytest.raises(NotFittedError, match=message):
        getattr(estimator(), method)(X)


def test_a_failed_fit_leaves_the_estimator_unfitted(estimator):
    for rows, message in (
        (X, "n_samples=20 should be >= n_clusters=21"),
        (np.repeat(with_value(np.nan), 2, axis=0), "contains NaN"),
    ):
        model = estimator(21)
        with pytest.raises(ValueError, match=message):
            model.fit(rows)
        assert not hasattr(model, "n_features_in_")
        with pytest.raises(NotFittedError):
            model.predict(X)


BAD_WEIGHTS = {
    "nan": np.where(np.arange(20) == 2, np.nan, 1.0),
    "infinity": np.where(np.arange(20) == 2, np.inf, 1.0),
    "zeros": np.zeros(20),
    "too few": np.ones(19),
    "two dimensions": np.ones((20, 1)),
    "strings": np.full(20, "a"),
    "complex": np.ones(20) * 1j,
}


@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_weights(name, estimator, fitted):
    sample_weight = BAD_WEIGHTS[name]
    expected = error_of(SklearnKMeans(2).fit, X, sample_weight=sample_weight)
    assert expected is not None
    assert error_of(estimator(2).fit, X, sample_weight=sample_weight) == expected
    assert error_of(fitted.score, X, sample_weight=sample_weight) == expected


@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_weights_of_kmeans_plusplus(name):
    expected = error_of(sklearn_kmeans_plusplus, X, 2, sample_weight=BAD_WEIGHTS[name])
    assert expected is not None
    assert error_of(kmeans_plusplus, X, 2, sample_weight=BAD_WEIGHTS[name]) == expected


@pytest.mark.parametrize(
    "refused",
    [
        KMeans(2).fit,
        KMedians(2).fit,
        lambda X, sample_weight: kmeans_plusplus(X, 2, sample_weight=sample_weight),
    ],
    ids=["KMeans", "KMedians", "kmeans_plusplus"],
)
def test_negative_weights_which_scikit_learn_lets_pass(refused):
    sample_weight = np.where(np.arange(20) == 2, -1.0, 1.0)
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        refused(X, sample_weight=sample_weight)


BAD_STARTS = {
    "nan": np.full((2, 3), np.nan),
    "infinity": np.full((2, 3), np.inf),
    "too few": X[:1],
    "too many": X[:3],
    "narrow": X[:2, :2],
    "one dimension": X[0],
    "strings": [["a", "b", "c"]] * 2,
    "complex": X[:2] + 1j,
}


@pytest.mark.parametrize("name", BAD_STARTS)
def test_starts(name, estimator):
    expected = error_of(SklearnKMeans(2, init=BAD_STARTS[name]).fit, X)
    assert expected is not None
    assert error_of(estimator(2, init=BAD_STARTS[name]).fit, X) == expected


def test_sparse_start(estimator):
    with pytest.raises(ValueError, match=f"'init' parameter of {estimator.__name__} must be"):
        estimator(2, init=sp.csr_array(X[:2])).fit(X)


@pytest.mark.parametrize("name", BAD_STARTS)
def test_starts_from_a_callable(name, estimator, monkeypatch):
    monkeypatch.undo()  # the callable is called once the rows' spread is known

    def init(X, n_clusters, random_state):
        return BAD_STARTS[name]

    expected = error_of(SklearnKMeans(2, init=init).fit, X)
    assert expected is not None
    assert error_of(estimator(2, init=init).fit, X) == expected


BAD_PARAMETERS = [
    ("n_clusters", [0, -1, 2.0, "2", None, [2]]),
    ("init", ["kmeans", 3, None, True, {}]),
    ("n_init", [0, -1, 1.5, "all", None]),
    ("max_iter", [0, 2.5, "10", None]),
    ("tol", [-1e-3, "0", None, np.nan, [0.1]]),
    ("verbose", [-1, "yes", None]),
    ("random_state", [-1, 1.5, "seed", np.random.default_rng(0)]),
    ("copy_x", [1, "no", None]),
    ("algorithm", ["lloyds", "full", 1, None]),
]


@pytest.mark.parametrize(
    ("estimator", "name", "value"),
    [
        (estimator, name, value)
        for estimator in (KMeans, KMedians)
        for name, values in BAD_PARAMETERS
        for value in values
        if name in estimator().get_params()
    ],
)
def test_parameters(estimator, name, value):
    expected = error_of(SklearnKMeans(**{name: value}).fit, X)
    found = error_of(estimator(**{name: value}).fit, X)
    assert expected is not None
    assert found is not None
    if "a str among" in expected[1]:
        # Our lists of allowed words differ, and both are in any order.
        parts = expected[1].partition("{")[0], expected[1].partition("}")[2]
        assert (found[1].partition("{")[0], found[1].partition("}")[2]) == parts
        assert found[0] is expected[0]
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_clusters", 0),
        ("n_clusters", 21),
        ("n_clusters", 2.5),
        ("n_local_trials", 0),
        ("n_local_trials", 1.5),
        ("random_state", "seed"),
        ("x_squared_norms", np.ones(3)),
        ("x_squared_norms", np.full(20, np.nan)),
        ("sample_weight", 3),
    ],
)
def test_parameters_of_kmeans_plusplus(name, value):
    arguments = {"n_clusters": 2, name: value}
    expected = error_of(sklearn_kmeans_plusplus, X, **arguments)
    assert expected is not None
    assert error_of(kmeans_plusplus, X, **arguments) == expected


def test_too_many_random_rows_for_the_positive_weights(estimator, monkeypatch):
    monkeypatch.undo()
    sample_weight = (np.arange(20) < 3).astype(float)
    expected = error_of(SklearnKMeans(4, init="random").fit, X, sample_weight=sample_weight)
    assert error_of(estimator(4, init="random").fit, X, sample_weight=sample_weight) == expected


@pytest.mark.parametrize("cls", [SklearnKMeans, KMeans, KMedians])
def test_a_given_start_with_several_runs_warns(cls, monkeypatch):
    monkeypatch.undo()
    message = f"Explicit initial center position passed: performing only one init in {cls.__name__}"
    with pytest.warns(RuntimeWarning, match=f"{message} instead of n_init=3") as record:
        cls(2, init=X[:2], n_init=3).fit(X)
    assert cls is SklearnKMeans or record[0].filename == __file__


def test_elkans_algorithm_for_one_cluster_warns(monkeypatch):
    monkeypatch.undo()
    for cls in (SklearnKMeans, KMeans):
        with pytest.warns(RuntimeWarning, match="algorithm='elkan' doesn't make sense") as record:
            cls(1, algorithm="elkan").fit(X)
    assert record[0].filename == __file__
