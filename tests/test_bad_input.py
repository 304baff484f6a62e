"""Every refusal comes at once, before a kernel runs, and in scikit-learn's words if it has them."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.cluster import kmeans_plusplus as sklearn_kmeans_plusplus
from sklearn.exceptions import NotFittedError

import fastem.frame
import fastem.seeding
from fastem import KMeans, kmeans_plusplus

X = np.random.default_rng(0).normal(size=(20, 3))


@pytest.fixture(scope="module")
def fitted():
    return KMeans(2, random_state=0).fit(X)


@pytest.fixture(autouse=True)
def no_kernels(monkeypatch):
    """The first passes over the rows fail, but for dense rows that those tell to be infinite."""
    dense_moments = fastem.frame.dense_moments

    def fail(X):
        assert isinstance(X, np.ndarray) and not np.isfinite(X).all(), "a kernel ran"
        return dense_moments(X)

    monkeypatch.setattr(fastem.frame, "dense_moments", fail)
    monkeypatch.setattr(fastem.frame, "sparse_moments", fail)


def error_of(function, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            function(*args, **kwargs)
        except (ValueError, TypeError) as error:
            return type(error), str(error).replace("sklearn.cluster._kmeans.", "")
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
    "sparse nan": sp.csr_array(with_value(np.nan)),
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
    "64-bit sparse": sp.csr_array(X),
    "few rows": X[:7],
}
BAD_ROWS["64-bit sparse"].indices = BAD_ROWS["64-bit sparse"].indices.astype(np.int64)
BAD_ROWS["64-bit sparse"].indptr = BAD_ROWS["64-bit sparse"].indptr.astype(np.int64)


@pytest.mark.parametrize("name", BAD_ROWS)
def test_rows(name):
    rows = BAD_ROWS[name]
    expected = error_of(SklearnKMeans().fit, rows)
    assert expected is not None
    assert error_of(KMeans().fit, rows) == expected
    if name not in ("few rows", "64-bit sparse"):
        assert error_of(kmeans_plusplus, rows, 2) == error_of(sklearn_kmeans_plusplus, rows, 2)


@pytest.mark.parametrize("name", [name for name in BAD_ROWS if name != "few rows"])
@pytest.mark.parametrize("method", ["predict", "transform", "score"])
def test_new_rows(name, method, fitted, monkeypatch):
    theirs = SklearnKMeans(2, random_state=0).fit(X)
    expected = error_of(getattr(theirs, method), BAD_ROWS[name])
    assert expected is not None
    monkeypatch.delattr(KMeans, "_in_range")
    assert error_of(getattr(fitted, method), BAD_ROWS[name]) == expected


@pytest.mark.parametrize("method", ["predict", "transform", "score"])
def test_new_rows_of_another_width(method, fitted, monkeypatch):
    monkeypatch.delattr(KMeans, "_in_range")
    with pytest.raises(ValueError, match="X has 2 features, but KMeans is expecting 3 features"):
        getattr(fitted, method)(X[:, :2])


@pytest.mark.parametrize("method", ["predict", "transform", "score"])
def test_before_fit(method):
    with pytest.raises(NotFittedError, match="This KMeans instance is not fitted yet"):
        getattr(KMeans(), method)(X)


def test_a_failed_fit_leaves_the_estimator_unfitted():
    model = KMeans(21)
    with pytest.raises(ValueError, match="n_samples=20 should be >= n_clusters=21"):
        model.fit(X)
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
def test_weights(name):
    expected = error_of(SklearnKMeans(2).fit, X, sample_weight=BAD_WEIGHTS[name])
    assert expected is not None
    assert error_of(KMeans(2).fit, X, sample_weight=BAD_WEIGHTS[name]) == expected
    error = error_of(kmeans_plusplus, X, 2, sample_weight=BAD_WEIGHTS[name])
    assert error == error_of(sklearn_kmeans_plusplus, X, 2, sample_weight=BAD_WEIGHTS[name])


def test_negative_weights_which_scikit_learn_lets_pass():
    sample_weight = np.where(np.arange(20) == 2, -1.0, 1.0)
    for refused in (
        KMeans(2).fit,
        lambda X, sample_weight: kmeans_plusplus(X, 2, sample_weight=sample_weight),
    ):
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
def test_starts(name):
    expected = error_of(SklearnKMeans(2, init=BAD_STARTS[name]).fit, X)
    assert expected is not None
    assert error_of(KMeans(2, init=BAD_STARTS[name]).fit, X) == expected


def test_sparse_start():
    with pytest.raises(ValueError, match="'init' parameter of KMeans must be"):
        KMeans(2, init=sp.csr_array(X[:2])).fit(X)


@pytest.mark.parametrize("name", BAD_STARTS)
def test_starts_from_a_callable(name, monkeypatch):
    monkeypatch.undo()  # the callable is called once the rows' mean is known

    def init(X, n_clusters, random_state):
        return BAD_STARTS[name]

    expected = error_of(SklearnKMeans(2, init=init).fit, X)
    assert expected is not None
    assert error_of(KMeans(2, init=init).fit, X) == expected


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
    ("name", "value"), [(name, value) for name, values in BAD_PARAMETERS for value in values]
)
def test_parameters(name, value):
    expected = error_of(SklearnKMeans(**{name: value}).fit, X)
    found = error_of(KMeans(**{name: value}).fit, X)
    assert expected is not None
    assert found is not None
    if "a str among" in expected[1]:
        # Our lists of allowed words are longer, and both are in any order.
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


def test_too_many_random_rows_for_the_positive_weights(monkeypatch):
    monkeypatch.undo()
    sample_weight = (np.arange(20) < 3).astype(float)
    expected = error_of(SklearnKMeans(4, init="random").fit, X, sample_weight=sample_weight)
    assert error_of(KMeans(4, init="random").fit, X, sample_weight=sample_weight) == expected


def test_a_given_start_with_several_runs_warns(monkeypatch):
    monkeypatch.undo()
    for cls in (SklearnKMeans, KMeans):
        message = "Explicit initial center position passed: performing only one init in KMeans"
        with pytest.warns(RuntimeWarning, match=f"{message} instead of n_init=3"):
            cls(2, init=X[:2], n_init=3).fit(X)
