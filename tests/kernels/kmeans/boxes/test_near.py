"""Boxes around tiles, and the centres that they leave out, against every row in them."""

import hard_rows
import numpy as np
import pytest
from clustering_passes import DTYPES, frame_for
from numba import njit
from reference import squared_distances

from fastem.kernels.kmeans import Lloyd
from fastem.kernels.kmeans.boxes.near import enclose_boxes, lay_out, list_near
from fastem.kernels.kmeans.boxes.order import order_on_curve
from fastem.kernels.kmeans.boxes.regions import regions_of
from fastem.kernels.vectors.machine import LANES, TILE


def in_order(X):
    """Rows of which those that follow one another are near."""
    return X[order_on_curve(X)[: len(X)]]


@njit
def near_of_tiles(boxes, packed, order, n_clusters, columns, scores, near, found):
    """Mark in ``found`` which centres each tile's box leaves, and last those of all boxes' box."""
    lay_out(packed, order, n_clusters, columns)
    n_tiles, n_features = boxes.middles.shape
    for t in range(n_tiles + 1):
        middle, half = np.empty(n_features, np.float32), np.empty(n_features, np.float32)
        if t < n_tiles:
            norm = boxes.norms[t]
            middle[:], half[:] = boxes.middles[t], boxes.halves[t]
        else:
            norm = enclose_boxes(boxes, 0, n_tiles, middle, half)
        count = list_near(middle, half, norm, packed, order, n_clusters, columns, scores, near)
        for i in range(count):
            found[t, near[i]] = True


def left(X, centers):
    """Which centres each tile's box leaves, and which all rows' box."""
    algorithm = Lloyd(X, None, len(centers), frame_for(Lloyd, X))
    boxes = regions_of(X, algorithm._frame).boxes
    width = -(-len(centers) // LANES) * LANES
    found = np.zeros((len(boxes.norms) + 1, len(centers)), bool)
    columns, scores = np.empty((X.shape[1] + 1, width), np.float32), np.empty(width, np.float32)
    packed = algorithm._pack(np.ascontiguousarray(centers, float))
    near = np.empty(width, np.int32)
    near_of_tiles(boxes, packed, algorithm._order, len(centers), columns, scores, near, found)
    return found[:-1], found[-1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [1, 2, 3, 4, 8])
def test_rows_lie_in_their_boxes(n_features, dtype):
    X = np.random.default_rng(1).normal(size=(3 * TILE + 5, n_features)).astype(dtype)
    frame = frame_for(Lloyd, X)
    boxes = regions_of(X, frame).boxes
    scaled = (X.astype(float) - frame.origin) * frame.scale
    assert len(boxes.norms) == 4
    for t, (middle, half, norm) in enumerate(zip(*boxes, strict=True)):
        rows = scaled[t * TILE : (t + 1) * TILE]
        away = np.abs(rows - middle).max(axis=0)
        assert (away <= half).all()
        assert (half <= away * (1 + 1e-5) + 1e-5).all()
        assert np.linalg.norm(rows, axis=1).max() <= norm * (1 + 1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [1, 2, 3, 8])
@pytest.mark.parametrize("rows", hard_rows.KINDS)
def test_every_rows_nearest_centre_is_left(rows, n_features, dtype):
    rng = np.random.default_rng(n_features)
    X = in_order(rows(rng, 300, n_features).astype(dtype))
    distinct = np.unique(X, axis=0).astype(float)
    centers = distinct[rng.permutation(len(distinct))[:40]]
    tiles, everything = left(X, centers)
    nearest = squared_distances(X.astype(float), centers).argmin(axis=1)
    assert tiles[np.arange(300) // TILE, nearest].all()
    assert everything[nearest].all()


@pytest.mark.parametrize("n_features", [1, 2, 3])
def test_no_others_are_left_than_some_place_in_the_box_may_be_nearest_to(n_features):
    """Each centre that is left is nearer than the one nearest the middle to one of the corners."""
    rng = np.random.default_rng(n_features)
    X = in_order(rng.normal(size=(12_800, n_features)))
    centers = rng.normal(size=(60, n_features))
    tiles, _ = left(X, centers)
    for rows, found in zip(X.reshape(-1, TILE, n_features), tiles, strict=True):
        low, high = rows.min(axis=0) - 1e-5, rows.max(axis=0) + 1e-5
        signs = np.indices((2,) * n_features).reshape(n_features, -1).T
        corners = low + signs * (high - low)
        best = squared_distances(0.5 * (low + high)[np.newaxis], centers).argmin()
        distances = squared_distances(corners, centers)
        wanted = (distances <= distances[:, best : best + 1] + 1e-3).any(axis=0)
        assert not (found & ~wanted).any()
        assert found[best]
    assert tiles.sum(axis=1).mean() < 30
