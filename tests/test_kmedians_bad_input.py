"""Every refusal comes at once, before a kernel runs, and in scikit-learn's words."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.exceptions import NotFittedError
from test_bad_input import BAD_PARAMETERS, BAD_ROWS, BAD_STARTS, BAD_WEIGHTS, X

import fastem.l1_frame
from fastem import KMedians

DENSE_BAD_ROWS = {name: rows for name, rows in BAD_ROWS.items() if not sp.issparse(rows)}


@pytest.fixture(scope="module")
def fitted():
    return KMedians(2, random_state=0).fit(X)


@pytest.fixture(autouse=True)
def no_kernels(monkeypatch):
    """The first pass over the rows fails."""

    def fail(*args, **kwargs):
        raise AssertionError("a kernel ran")

    monkeypatch.setattr(fastem.l1_frame, "largest_magnitude", fail)


def error_of(function, *args, **kwargs):
    """What a call raises, with KMeans' name for ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            function(*args, **kwargs)
        except (ValueError, TypeError) as error:
            return type(error), str(error).replace("KMedians", "KMeans")
    return None


@pytest.mark.parametrize("name", DENSE_BAD_ROWS)
def test_rows(name):
    expected = error_of(SklearnKMeans().fit, DENSE_BAD_ROWS[name])
    assert expected is not None
    assert error_of(KMedians().fit, DENSE_BAD_ROWS[name]) == expected


@pytest.mark.parametrize("name", [name for name in DENSE_BAD_ROWS if name != "few rows"])
@pytest.mark.parametrize("method", ["predict", "transform", "score"])
def test_new_rows(name, method, fitted):
    theirs = SklearnKMeans(2, random_state=0).fit(X)
    expected = error_of(getattr(theirs, method), DENSE_BAD_ROWS[name])
    assert expected is not None
    assert error_of(getattr(fitted, method), DENSE_BAD_ROWS[name]) == expected


@pytest.mark.parametrize("rows", [rows for rows in BAD_ROWS.values() if sp.issparse(rows)])
def test_sparse_rows(rows, fitted):
    for function in (KMedians(2).fit, fitted.predict, fitted.transform, fitted.score):
        kind, message = error_of(function, rows)
        assert kind in (TypeError, ValueError)
        assert "Sparse data was passed" in message or "Only sparse matrices with 32-bit" in message


@pytest.mark.parametrize("method", ["predict", "transform", "score"])
def test_new_rows_of_another_width(method, fitted):
    with pytest.raises(ValueError, match="X has 2 features, but KMedians is expecting 3 features"):
        getattr(fitted, method)(X[:, :2])


@pytest.mark.parametrize("method", ["predict", "transform", "score"])
def test_before_fit(method):
    with pytest.raises(NotFittedError, match="This KMedians instance is not fitted yet"):
        getattr(KMedians(), method)(X)


def test_a_failed_fit_leaves_the_estimator_unfitted():
    model = KMedians(21)
    with pytest.raises(ValueError, match="n_samples=20 should be >= n_clusters=21"):
        model.fit(X)
    assert not hasattr(model, "n_features_in_")
    with pytest.raises(NotFittedError):
        model.predict(X)


@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_weights(name, fitted):
    expected = error_of(SklearnKMeans(2).fit, X, sample_weight=BAD_WEIGHTS[name])
    assert expected is not None
    assert error_of(KMedians(2).fit, X, sample_weight=BAD_WEIGHTS[name]) == expected
    assert error_of(fitted.score, X, sample_weight=BAD_WEIGHTS[name]) == expected


def test_negative_weights():
    sample_weight = np.where(np.arange(20) == 2, -1.0, 1.0)
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        KMedians(2).fit(X, sample_weight=sample_weight)


@pytest.mark.parametrize("name", BAD_STARTS)
def test_starts(name):
    expected = error_of(SklearnKMeans(2, init=BAD_STARTS[name]).fit, X)
    assert expected is not None
    assert error_of(KMedians(2, init=BAD_STARTS[name]).fit, X) == expected


@pytest.mark.parametrize("name", BAD_STARTS)
def test_starts_from_a_callable(name, monkeypatch):
    monkeypatch.undo()  # the callable is called once the rows' spread is known

    def init(X, n_clusters, random_state):
        return BAD_STARTS[name]

    expected = error_of(SklearnKMeans(2, init=init).fit, X)
    assert expected is not None
    assert error_of(KMedians(2, init=init).fit, X) == expected


def test_scalable_seeding_is_kmeans_alone():
    with pytest.raises(ValueError, match="'init' parameter of KMedians must be a str among"):
        KMedians(2, init="k-means||").fit(X)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name, values in BAD_PARAMETERS
        for value in values
        if name not in ("copy_x", "algorithm")
    ],
)
def test_parameters(name, value):
    expected = error_of(SklearnKMeans(**{name: value}).fit, X)
    found = error_of(KMedians(**{name: value}).fit, X)
    assert expected is not None
    assert found is not None
    if "a str among" in expected[1]:
        # Our lists of allowed words differ, and both are in any order.
        parts = expected[1].partition("{")[0], expected[1].partition("}")[2]
        assert (found[1].partition("{")[0], found[1].partition("}")[2]) == parts
        assert found[0] is expected[0]
    else:
        assert found == expected


def test_too_many_random_rows_for_the_positive_weights(monkeypatch):
    monkeypatch.undo()
    sample_weight = (np.arange(20) < 3).astype(float)
    expected = error_of(SklearnKMeans(4, init="random").fit, X, sample_weight=sample_weight)
    assert error_of(KMedians(4, init="random").fit, X, sample_weight=sample_weight) == expected


def test_a_given_start_with_several_runs_warns(monkeypatch):
    monkeypatch.undo()
    message = "Explicit initial center position passed: performing only one init in KMedians"
    with pytest.warns(RuntimeWarning, match=f"{message} instead of n_init=3") as record:
        KMedians(2, init=X[:2], n_init=3).fit(X)
    assert record[0].filename == __file__
