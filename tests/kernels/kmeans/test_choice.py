"""What exact K-means algorithms are tested for besides the passes: rounding, and whole fits."""

from itertools import pairwise

import numpy as np
import pytest
from clustering_passes import DTYPES, KMEANS, WILD, check_pass, frame_for, rows_for
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from reference import squared_distances

from fastem.kernels.clusters import Frame
from fastem.kernels.kmeans import ALGORITHMS, Lloyd, Sparse, choose
from fastem.kernels.kmeans.filtering import Filtering


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("algorithm", KMEANS)
def test_rows_that_float32_cannot_tell_apart(algorithm, dtype):
    """Rows and centres a few units in the last place apart, beside a far row and a far centre."""
    rng = np.random.default_rng(0)
    unit = np.spacing(dtype(1))
    X = 1 + unit * rng.integers(-3, 4, (400, 4)).astype(dtype)
    X[7] = -3
    tested = algorithm(X, None, 12, Frame(np.ones(4), 4.0))
    labels = tested.labels.copy()
    centers = 1 + unit * rng.integers(-3, 4, (12, 4)).astype(float)
    centers[5] = 3
    for _ in range(5):
        labels = check_pass(tested, X, None, centers, labels)
        centers += unit * rng.integers(-1, 2, centers.shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("algorithm", KMEANS)
def test_norms_whose_small_terms_vanish(algorithm, dtype):
    """Added to the first feature's square one by one, the others' squares would all be lost.

    The norm would be too small by more than the bound on its rounding, and the gap too large: the
    second centre comes nearest just before the gap is used up.
    """
    n_features = 784
    row = np.full(n_features, 2.0**-12)
    row[0] = 1
    X = np.tile(row, (70, 1)).astype(dtype)
    tested = algorithm(X, None, 2, Frame(np.zeros(n_features), 1.0))
    labels = tested.labels.copy()
    for distance in (0.1, 0.0035):
        centers = np.tile(row, (2, 1))
        centers[0, 100] += 0.0045
        centers[1, 200] += distance
        centers = centers.astype(dtype).astype(float)
        labels = check_pass(tested, X, None, centers, labels)
    assert (labels == 1).all()


# Whole fits


def blobs(rng):
    return rng.normal(size=(2500, 6)) + 6 * rng.normal(size=(12, 6))[rng.integers(12, size=2500)]


def noise(rng):
    return rng.uniform(size=(3000, 9))


def pixels(rng):
    """Colours of a smooth picture, in 256 steps: many duplicates and ties."""
    x, y = np.meshgrid(np.linspace(0, 3, 60), np.linspace(0, 2, 45))
    waves = np.stack([np.sin(x + y), np.cos(2 * x - y), np.sin(x * y)], axis=-1).reshape(-1, 3)
    return np.round(127 + 100 * waves + 5 * rng.normal(size=waves.shape)).clip(0, 255)


def fit(algorithm, X, start):
    """Plain iterations until nothing changes; the history of labels and the inertias."""
    frame = frame_for(algorithm, X)
    tested = algorithm(rows_for(algorithm, X), None, len(start), frame)
    centers = start
    history, inertias = [], []
    for _ in range(300):
        statistics = tested.assign(centers)
        history.append(tested.labels.copy())
        inertias.append(tested.inertia(centers))
        if statistics.n_changed == 0:
            break
        held = statistics.weights > 0
        centers = centers.copy()
        means = statistics.sums[held] / statistics.weights[held, np.newaxis]
        centers[held] = means + frame.origin  # which the sums are relative to
        centers = centers.astype(X.dtype).astype(float)
    return history, inertias, centers


@pytest.mark.parametrize("n_clusters", [3, 20, 130])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data", [blobs, noise, pixels])
def test_fits_are_those_of_lloyd(data, dtype, n_clusters):
    X = data(np.random.default_rng(0)).astype(dtype)
    start = X[np.random.default_rng(1).choice(len(X), n_clusters, replace=False)].astype(float)
    expected, inertias, centers = fit(Lloyd, X, start)
    assert len(expected) > 4
    distances = squared_distances(X, centers)
    np.testing.assert_array_equal(expected[-1], distances.argmin(axis=1))
    for algorithm in KMEANS:
        history, _, same_centers = fit(algorithm, X, start)
        assert len(history) == len(expected)
        for labels, wanted in zip(history, expected, strict=True):
            np.testing.assert_array_equal(labels, wanted)
        # Along a curve, sums are rounded in another order.
        rounding = 1e-13 * np.abs(X).max() if algorithm is Filtering else 0
        np.testing.assert_allclose(same_centers, centers, rtol=0, atol=rounding)
    # Rounding the centres to float32 may cost that much.
    slack = 1e-12 if dtype is np.float64 else 1e-6
    for before, after in pairwise(inertias):
        assert after <= before * (1 + slack)


def test_a_sparse_fit_never_raises_the_objective():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(900, 40)) * (rng.uniform(size=(900, 40)) < 0.2)
    history, inertias, centers = fit(Sparse, X, X[:15].astype(float))
    np.testing.assert_array_equal(history[-1], squared_distances(X, centers).argmin(axis=1))
    assert len(inertias) > 4
    assert (np.diff(inertias) <= 1e-12 * inertias[0]).all()


# Whatever comes


@settings(deadline=None, max_examples=60)
@given(
    st.data(), st.integers(1, 4), st.integers(1, 100), st.integers(1, 9), st.sampled_from(DTYPES)
)
def test_no_center_is_nearer(data, n_features, n_rows, n_clusters, dtype):
    X = data.draw(arrays(dtype, (n_rows, n_features), elements=WILD, fill=WILD))
    frame = frame_for(Lloyd, X)
    sequence = [
        data.draw(arrays(np.float64, (n_clusters, n_features), elements=WILD, fill=WILD))
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    for algorithm in KMEANS:
        tested = algorithm(X, None, n_clusters, frame)
        for centers in sequence:
            tested.assign(centers)
            distances = squared_distances(X, centers)
            chosen = distances[np.arange(n_rows), tested.labels]
            np.testing.assert_allclose(chosen, distances.min(axis=1), rtol=1e-13)


def test_little_data_keeps_no_bounds():
    little, more = (16_384, 8, 8, np.float64), (16_385, 8, 8, np.float64)
    assert choose("auto", *little, sparse=False) is Lloyd
    assert choose("auto", *more, sparse=False) is ALGORITHMS["hamerly"]
    assert choose("elkan", *little, sparse=False) is ALGORITHMS["hamerly"]
