import numpy as np
import pytest
from guards import Guarded
from reference import l1_distances

from fastem.kernels.distances import tile_nearest
from fastem.kernels.distances.tile_nearest import BLOCK, pack_centers, pad_order
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.vectors.machine import TILE

SIZES = [1, 2, 3, 4, 7, 63, 64, 65, 129]


@kernel
def nearest_two(tile, n_features, negated, half_norms, order, start, stop, best, second, labels):
    tile_nearest.nearest_two(
        tile, n_features, negated, half_norms, order, start, stop, best, second, labels
    )


@kernel
def squared_norms(tile, n_features, norms):
    tile_nearest.squared_norms(tile, n_features, norms)


def pack(centers, scale=1.0):
    """As the kernel does, in guard padding."""
    n_centers, n_features = centers.shape
    outputs = [
        Guarded(np.zeros(shape, np.float32))
        for shape in ((n_centers + 1, n_features), n_centers + 1)
    ]
    negated, half_norms = (guarded.array for guarded in outputs)
    origin = np.zeros(centers.shape[1])
    greatest = pack_centers(centers, origin, scale, negated, half_norms)
    assert all(guarded.intact() for guarded in outputs)
    return negated, half_norms, greatest


def compare(rows, centers, order=None, start=0, stop=None):
    """Best, second best and label of each row by the kernel, all arrays in guard padding."""
    n_features = rows.shape[1]
    negated, half_norms, _ = pack(centers)
    order = pad_order(np.arange(len(centers)), len(centers)) if order is None else order
    stop = len(order) if stop is None else stop
    inputs = [Guarded(array) for array in (rows.T.ravel(), negated, half_norms, order)]
    outputs = [Guarded(np.zeros(TILE, dtype)) for dtype in (np.float32, np.float32, np.int32)]
    tile, negated, half_norms, order = (guarded.array for guarded in inputs)
    nearest_two(
        tile, n_features, negated, half_norms, order, start, stop, *(o.array for o in outputs)
    )
    assert all(guarded.intact() for guarded in outputs)
    return [guarded.array for guarded in outputs]


def scores(rows, centers):
    rows, centers = rows.astype(float), centers.astype(float)
    return (centers**2).sum(axis=1) / 2 - rows @ centers.T


@pytest.mark.parametrize("n_centers", SIZES)
@pytest.mark.parametrize("n_features", [*SIZES, 300])
def test_nearest_two(n_features, n_centers):
    rng = np.random.default_rng(n_features * n_centers)
    rows = rng.normal(size=(TILE, n_features)).astype(np.float32)
    centers = rng.normal(size=(n_centers, n_features)).astype(np.float32)
    best, second, labels = compare(rows, centers)
    naive = scores(rows, centers)
    ordered = np.sort(np.column_stack([naive, np.full(TILE, np.inf)]), axis=1)
    tolerance = {"rtol": 1e-5, "atol": 1e-5 * n_features}
    np.testing.assert_allclose(best, ordered[:, 0], **tolerance)
    np.testing.assert_allclose(second, ordered[:, 1], **tolerance)
    assert ((labels >= 0) & (labels < n_centers)).all()
    np.testing.assert_allclose(naive[np.arange(TILE), labels], ordered[:, 0], **tolerance)
    clear = ordered[:, 1] - ordered[:, 0] > 1e-4 * n_features
    np.testing.assert_array_equal(labels[clear], naive.argmin(axis=1)[clear])


@pytest.mark.parametrize("n_features", [1, 3, 65])
def test_the_first_of_equal_scores_wins(n_features):
    """Small integers, so that scores are exact and ties are frequent."""
    rng = np.random.default_rng(n_features)
    rows = rng.integers(-2, 3, (TILE, n_features)).astype(np.float32)
    centers = rng.integers(-2, 3, (23, n_features)).astype(np.float32)
    centers[11:] = centers[:12]
    best, second, labels = compare(rows, centers)
    naive = scores(rows, centers)
    np.testing.assert_array_equal(labels, naive.argmin(axis=1))
    np.testing.assert_array_equal(np.column_stack([best, second]), np.sort(naive, axis=1)[:, :2])


def test_some_of_the_centers():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(TILE, 5)).astype(np.float32)
    centers = rng.normal(size=(40, 5)).astype(np.float32)
    groups = [np.array([3, 7, 30]), np.array([1, 2, 5, 8, 11]), np.array([0, 39])]
    orders = [pad_order(group, len(centers)) for group in groups]
    starts = np.cumsum([0, *map(len, orders)])
    for group, start, stop in zip(groups, starts[:-1], starts[1:], strict=True):
        best, second, labels = compare(rows, centers, np.concatenate(orders), start, stop)
        naive = scores(rows, centers[group])
        np.testing.assert_array_equal(labels, group[naive.argmin(axis=1)])
        ordered = np.sort(naive, axis=1)
        np.testing.assert_allclose(best, ordered[:, 0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(second, ordered[:, 1], rtol=1e-4, atol=1e-5)


def test_rows_of_nan_get_a_label_in_range():
    rows = np.full((TILE, 3), np.nan, np.float32)
    _, _, labels = compare(rows, np.ones((5, 3), np.float32))
    assert ((labels >= 0) & (labels < 5)).all()


@pytest.mark.parametrize("n_features", [*SIZES, 300])
def test_squared_norms(n_features):
    rows = np.random.default_rng(0).normal(size=(TILE, n_features)).astype(np.float32)
    tile, norms = Guarded(rows.T.ravel()), Guarded(np.zeros(TILE, np.float32))
    squared_norms(tile.array, n_features, norms.array)
    np.testing.assert_allclose(norms.array, (rows.astype(float) ** 2).sum(axis=1), rtol=1e-5)
    assert norms.intact()


def test_padding():
    assert pad_order(np.array([4, 2]), 9).tolist() == [4, 2, *[9] * (BLOCK - 2)]
    negated, half_norms, _ = pack(np.array([[3, 4]], np.float32))
    assert negated.tolist() == [[-3, -4], [0, 0]]
    assert half_norms.tolist() == [12.5, np.inf]


@pytest.mark.parametrize("n_centers", SIZES)
@pytest.mark.parametrize("n_features", [*SIZES, 300])
def test_pack_centers(n_features, n_centers):
    centers = np.random.default_rng(0).normal(size=(n_centers, n_features))
    negated, half_norms, greatest = pack(centers, 0.5)
    scaled = (centers * 0.5).astype(np.float32)
    norms = (scaled.astype(float) ** 2).sum(axis=1)
    np.testing.assert_array_equal(negated[:-1], -scaled)
    np.testing.assert_allclose(half_norms[:-1], norms / 2, rtol=1e-7)
    np.testing.assert_allclose(greatest, np.sqrt(norms.max()), rtol=1e-7)


def test_centers_beyond_float32_are_infinitely_far():
    negated, half_norms, greatest = pack(np.array([[1e200, 0.0], [0.0, 1e30], [3.0, 4.0]]))
    assert negated.tolist()[0] == [-np.inf, 0]
    assert half_norms.tolist() == [np.inf, np.inf, 12.5, np.inf]
    assert greatest == np.inf


# The L1 distance


@kernel
def nearest_two_manhattan(tile, n_features, centers, offsets, order, best, second, labels):
    tile_nearest.nearest_two_manhattan(
        tile, n_features, centers, offsets, order, 0, len(order), best, second, labels
    )


@kernel
def absolute_norms(tile, n_features, norms):
    tile_nearest.absolute_norms(tile, n_features, norms)


@pytest.mark.parametrize("n_centers", SIZES)
@pytest.mark.parametrize("n_features", [*SIZES, 300])
def test_nearest_two_manhattan(n_features, n_centers):
    """Small integers, so that distances are exact and ties are frequent."""
    rng = np.random.default_rng(n_features * n_centers)
    rows = rng.integers(-4, 5, (TILE, n_features)).astype(np.float32)
    centers = rng.integers(-4, 5, (n_centers, n_features)).astype(np.float32)
    padded, offsets = np.zeros((n_centers + 1, n_features), np.float32), np.zeros(n_centers + 1)
    padded[:-1], offsets[-1] = centers, np.inf
    order = pad_order(np.arange(n_centers), n_centers)
    inputs = [
        Guarded(array) for array in (rows.T.ravel(), padded, offsets.astype(np.float32), order)
    ]
    outputs = [Guarded(np.zeros(TILE, dtype)) for dtype in (np.float32, np.float32, np.int32)]
    tile, padded, offsets, order = (guarded.array for guarded in inputs)
    nearest_two_manhattan(tile, n_features, padded, offsets, order, *(o.array for o in outputs))
    assert all(guarded.intact() for guarded in outputs)
    best, second, labels = (guarded.array for guarded in outputs)
    distances = l1_distances(rows, centers)
    ordered = np.sort(np.column_stack([distances, np.full(TILE, np.inf)]), axis=1)
    np.testing.assert_array_equal(best, ordered[:, 0])
    np.testing.assert_array_equal(second, ordered[:, 1])
    np.testing.assert_array_equal(labels, distances.argmin(axis=1))


@pytest.mark.parametrize("n_features", [*SIZES, 300])
def test_absolute_norms(n_features):
    rows = np.random.default_rng(0).normal(size=(TILE, n_features)).astype(np.float32)
    tile, norms = Guarded(rows.T.ravel()), Guarded(np.zeros(TILE, np.float32))
    absolute_norms(tile.array, n_features, norms.array)
    np.testing.assert_allclose(norms.array, np.abs(rows.astype(float)).sum(axis=1), rtol=1e-5)
    assert norms.intact()
