import numpy as np
import pytest
from reference import (
    l1_distances,
    silhouettes,
    simplified_silhouettes,
    squared_distances,
)
from sklearn import metrics

import fastem
from fastem import (
    silhouette_samples,
    silhouette_score,
    simplified_silhouette_samples,
    simplified_silhouette_score,
)


def euclidean_distances(X, Y):
    return np.sqrt(squared_distances(X, Y))


METRICS = {"euclidean": euclidean_distances, "manhattan": l1_distances, "cityblock": l1_distances}
DTYPES = [np.float32, np.float64]
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-10}


def blobs(n_rows=150, n_features=4, n_clusters=5, dtype=np.float64):
    rng = np.random.default_rng(n_rows)
    labels = rng.permutation(np.arange(n_rows) % n_clusters)
    X = 2 * rng.normal(size=(n_clusters, n_features))[labels] + rng.normal(
        size=(n_rows, n_features)
    )
    return X.astype(dtype), labels


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_as_the_textbook_and_scikit_learn(dtype, metric):
    X, labels = blobs(dtype=dtype)
    found = silhouette_samples(X, labels, metric=metric)
    assert found.dtype == dtype
    naive = silhouettes(X, labels, METRICS[metric])
    np.testing.assert_allclose(found, naive, atol=TOLERANCE[dtype])
    theirs = metrics.silhouette_samples(X, labels, metric=metric)
    np.testing.assert_allclose(found, theirs, atol=TOLERANCE[dtype])
    score = silhouette_score(X, labels, metric=metric)
    assert type(score) is float
    assert score == pytest.approx(
        metrics.silhouette_score(X, labels, metric=metric), abs=TOLERANCE[dtype]
    )


@pytest.mark.parametrize("n_clusters", [2, 40, 400, 999])
def test_few_and_many_clusters(n_clusters):
    X, labels = blobs(1000, 3, n_clusters)
    theirs = metrics.silhouette_samples(X, labels)
    np.testing.assert_allclose(silhouette_samples(X, labels), theirs, atol=1e-10)


@pytest.mark.parametrize("sample_size", [1, 30, 100, 1000])
def test_the_same_sample(sample_size):
    X, labels = blobs()
    options = {"sample_size": sample_size, "random_state": 3}
    if sample_size == 1:
        for score in (silhouette_score, metrics.silhouette_score):
            with pytest.raises(ValueError, match="Number of labels is 1"):
                score(X, labels, **options)
        return
    theirs = metrics.silhouette_score(X, labels, **options)
    assert silhouette_score(X, labels, **options) == pytest.approx(theirs, abs=1e-10)


def test_a_cluster_of_one_row_and_rows_that_coincide():
    X = np.array([[0.0], [0.0], [0.0], [1.0], [3.0], [3.0]])
    labels = [0, 0, 1, 2, 3, 3]
    found = silhouette_samples(X, labels)
    np.testing.assert_array_equal(found, silhouettes(X, labels, euclidean_distances))
    np.testing.assert_array_equal(found, [0, 0, 0, 0, 1, 1])


def test_duplicates_far_from_the_origin():
    """Where scikit-learn's squared distances cancel: rows that coincide are at distance 0."""
    X = np.repeat([[1e6 + 1 / 3, 1e6], [1e6 + 1, 1e6]], 50, axis=0)
    assert (silhouette_samples(X, np.repeat([0, 1], 50)) == 1).all()


@pytest.mark.parametrize("labels", [["a", "b"], [-1, 7], [0.5, 2.5], [True, False]])
def test_any_labels(labels):
    X, numbers = blobs(n_clusters=2)
    named = np.array(labels)[numbers]
    np.testing.assert_allclose(
        silhouette_samples(X, named), silhouette_samples(X, numbers), rtol=1e-12
    )


def test_what_may_be_passed():
    X, labels = blobs()
    X = np.round(8 * X)
    expected = silhouette_samples(X, labels)
    before = X.copy()
    for rows in (X.tolist(), X.astype(int), np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(silhouette_samples(rows, labels.tolist()), expected)
    np.testing.assert_array_equal(X, before)
    X.flags.writeable = False
    np.testing.assert_array_equal(silhouette_samples(X, labels), expected)


@pytest.mark.parametrize("name", ["silhouette_samples", "silhouette_score"])
@pytest.mark.parametrize(
    "bad",
    [
        {"labels": np.zeros(150)},
        {"labels": np.arange(150)},
        {"labels": np.zeros(149)},
        {"labels": np.zeros((150, 2))},
        {"labels": None},
        {"labels": np.array([None] * 150)},
        {"labels": np.array(["a", 1] * 75, dtype=object)},
        {"X": np.full((150, 4), np.nan)},
        {"X": np.ones(150)},
        {"X": np.ones((0, 4)), "labels": []},
    ],
)
def test_refused_in_scikit_learns_words(name, bad):
    X, labels = blobs()
    arguments = {"X": X, "labels": labels, **bad}
    with pytest.raises((ValueError, TypeError)) as theirs:
        getattr(metrics, name)(**arguments)
    with pytest.raises(type(theirs.value)) as ours:
        getattr(fastem, name)(**arguments)
    assert str(ours.value) == str(theirs.value)


def test_refused():
    X, labels = blobs()
    with pytest.raises(ValueError, match="'metric' parameter of silhouette_samples must be a str"):
        silhouette_samples(X, labels, metric="cosine")
    with pytest.raises(ValueError, match="'sample_size' parameter of silhouette_score must be"):
        silhouette_score(X, labels, sample_size=0)


# Simplified


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("given", [False, True])
def test_simplified(given, dtype, metric, monkeypatch):
    monkeypatch.setattr("fastem.silhouette._BLOCK_VALUES", 200)  # several blocks
    X, labels = blobs(dtype=dtype)
    centers = np.array([X[labels == j].mean(axis=0) for j in range(5)])
    distances = METRICS[metric](X, centers)
    own = labels if given else distances.argmin(axis=1)
    found = simplified_silhouette_samples(X, centers, labels if given else None, metric=metric)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, simplified_silhouettes(distances, own), atol=TOLERANCE[dtype])
    score = simplified_silhouette_score(X, centers, labels if given else None, metric=metric)
    assert score == pytest.approx(found.mean(), abs=TOLERANCE[dtype])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_simplified_of_any_magnitude(dtype, metric):
    X, labels = blobs(dtype=dtype)
    centers = np.array([X[labels == j].mean(axis=0) for j in range(5)])
    expected = simplified_silhouette_samples(X, centers, metric=metric)
    for exponent in (-100, 100) if dtype == np.float32 else (-1000, 1000):
        factor = dtype(2.0**exponent)
        found = simplified_silhouette_samples(factor * X, factor * centers, metric=metric)
        np.testing.assert_array_equal(found, expected)


def test_simplified_at_a_centre():
    centers = np.array([[0.0], [4.0]])
    np.testing.assert_array_equal(simplified_silhouette_samples([[0.0], [2.0]], centers), [1, 0])
    np.testing.assert_array_equal(simplified_silhouette_samples([[3.0]], centers[[0, 0]]), [0])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"centers": [[0.0, 0.0]]}, "minimum of 2 is required"),
        ({"centers": np.ones((3, 2))}, "X has 4 features, but centers have 2"),
        ({"labels": np.zeros(3, int)}, "inconsistent numbers of samples"),
        ({"labels": np.full(150, 5)}, "labels must be integers from 0 to 4"),
        ({"labels": np.full(150, -1)}, "labels must be integers from 0 to 4"),
        ({"labels": np.zeros(150)}, "labels must be integers from 0 to 4"),
        ({"metric": "cosine"}, "'metric' parameter"),
    ],
)
def test_simplified_refused(bad, message):
    X, labels = blobs()
    arguments = {"X": X, "centers": X[:5], "labels": labels, **bad}
    with pytest.raises(ValueError, match=message):
        simplified_silhouette_samples(**arguments)
