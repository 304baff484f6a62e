import numpy as np
import pytest
from guards import Guarded
from reference import squared_distances

from fastem.kernels.distances import listed as lists
from fastem.kernels.distances import row_nearest
from fastem.kernels.distances.listed import LIST_SLACK
from fastem.kernels.distances.row_nearest import (
    empty_blocks,
    fill_blocks,
    longest_chain,
    n_scores,
    segment_vectors,
)
from fastem.kernels.distances.tile_nearest import pack_centers
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.vectors.machine import LANES, TILE

DTYPES = [np.float32, np.float64]
FEATURES = [1, 2, 3, 7, 8, 15, 16, 17, 63, 64, 65, 129, 300]
CLUSTERS = [1, 2, 3, 4, 5, 7, 9, 10, 11, 20, 63]


@kernel
def nearest_two_rows(X, rows, n_rows, scale, shift, blocks, half_norms, scores, best, second, near):
    row_nearest.nearest_two_rows(
        X, rows, 0, n_rows, scale, shift, blocks, half_norms, scores, best, second, near
    )


@kernel
def end_list(rows, n_listed, n_rows):
    lists.end_list(rows, n_listed, n_rows)


def packed(centers):
    n_clusters, n_features = centers.shape
    negated = np.empty((n_clusters + 1, n_features), np.float32)
    half_norms = np.empty(n_clusters + 1, np.float32)
    pack_centers(centers, np.zeros(n_features), 1.0, negated, half_norms)
    blocks = empty_blocks(n_features, n_clusters)
    fill_blocks(negated[:-1], blocks)
    return blocks, half_norms


def compare(X, listed, centers, scale, shift):
    """Norm, best, second best and label of each listed row, all arrays in guard padding."""
    blocks, half_norms = packed(centers)
    rows = np.empty(len(listed) + LIST_SLACK, np.int32)
    rows[: len(listed)] = listed
    end_list(rows, len(listed), len(X))
    inputs = [Guarded(array) for array in (X, rows, shift, blocks, half_norms)]
    X, rows, shift, blocks, half_norms = (guarded.array for guarded in inputs)
    scores = Guarded(np.full(n_scores(blocks), np.nan, np.float32))
    outputs = [Guarded(np.zeros(TILE, dtype)) for dtype in (np.float32, np.float32, np.int32)]
    best, second, nearest = (guarded.array for guarded in outputs)
    nearest_two_rows(
        X,
        rows,
        len(listed),
        X.dtype.type(scale),
        shift,
        blocks,
        half_norms,
        scores.array,
        best,
        second,
        nearest,
    )
    assert all(guarded.intact() for guarded in (*inputs, scores, *outputs))
    return [array[: len(listed)] for array in (scores.array, best, second, nearest)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_clusters", CLUSTERS)
@pytest.mark.parametrize("n_features", FEATURES)
def test_nearest_two_rows(n_features, n_clusters, dtype):
    rng = np.random.default_rng(n_features * n_clusters)
    X = rng.normal(size=(80, n_features)).astype(dtype)
    origin = rng.normal(size=n_features).astype(dtype)
    shift = np.zeros(n_features + LANES, dtype)
    shift[:n_features] = -origin * dtype(0.5)
    centers = rng.normal(size=(n_clusters, n_features)).astype(np.float32).astype(float)
    for listed in ([0], [79], [5, 3, 79], np.arange(16, 80)):
        norms, best, second, labels = compare(X, listed, centers, 0.5, shift)
        rows = (X[listed].astype(float) - origin) * 0.5
        squares = (rows**2).sum(axis=1)
        scores = (squared_distances(rows, centers) - squares[:, np.newaxis]) / 2
        ordered = np.sort(np.column_stack([scores, np.full(len(rows), np.inf)]), axis=1)
        tolerance = {"rtol": 1e-5, "atol": 1e-6 * n_features}
        np.testing.assert_allclose(norms, squares, **tolerance)
        np.testing.assert_allclose(best, ordered[:, 0], **tolerance)
        np.testing.assert_allclose(second, ordered[:, 1], **tolerance)
        assert ((labels >= 0) & (labels < n_clusters)).all()
        chosen = scores[np.arange(len(rows)), labels]
        np.testing.assert_allclose(chosen, ordered[:, 0], **tolerance)


@pytest.mark.parametrize("n_features", [3, 16, 70, 1100])
def test_the_lowest_of_equal_scores(n_features):
    """Whole numbers, so that all sums are exact; also a centre that float32 can't hold."""
    rng = np.random.default_rng(0)
    X = rng.integers(-3, 4, (TILE, n_features)).astype(np.float32)
    centers = rng.integers(-3, 4, (25, n_features)).astype(float)
    centers[13:] = centers[:12]
    shift = np.zeros(n_features + LANES, np.float32)
    scores = (centers**2).sum(axis=1) / 2 - X @ centers.T
    norms, best, second, labels = compare(X, np.arange(TILE), centers, 1, shift)
    np.testing.assert_array_equal(norms, (X**2).sum(axis=1))
    np.testing.assert_array_equal(best, scores.min(axis=1))
    np.testing.assert_array_equal(second, np.sort(scores, axis=1)[:, 1])
    np.testing.assert_array_equal(labels, scores.argmin(axis=1))
    centers[labels[0]] = 1e300
    with np.errstate(over="ignore"):
        _, _, _, labels_without = compare(X, np.arange(TILE), centers, 1, shift)
    assert not (labels_without == labels[0]).any()


@pytest.mark.parametrize("n_features", [1, 16, 500, 784, 5000])
@pytest.mark.parametrize("n_clusters", [1, 8, 10, 20, 100, 3000])
def test_segments_and_chains(n_features, n_clusters):
    """The sums' roundings are those that the proof of the margins counts."""
    blocks = np.empty(empty_blocks(n_features, n_clusters).shape, np.bool)
    n_vectors = -(-n_features // LANES)
    step = segment_vectors(blocks)
    starts = range(0, n_vectors, step)
    assert blocks.shape[1] == n_vectors
    assert blocks.shape[0] * blocks.shape[2] >= n_clusters
    # along a vector, across its lanes, from segment to segment
    assert longest_chain(blocks) == step + np.log2(LANES) + len(starts)
    assert longest_chain(blocks) <= n_features + np.log2(LANES) + 1


def test_end_of_a_list():
    rows = np.full(3 + LIST_SLACK, -1, np.int32)
    rows[:3] = [4, 9, 20]
    end_list(rows, 3, 22)
    np.testing.assert_array_equal(rows[:6], [4, 9, 20, 21, 21, 21])
    assert rows[-1] == 21
    end_list(rows[:LIST_SLACK], 0, 22)  # an empty list stays as it is
    np.testing.assert_array_equal(rows[:3], [4, 9, 20])
