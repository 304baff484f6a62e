import numpy as np
import pytest
import scipy.sparse as sp

from fastem.kernels.columns import inverted
from fastem.kernels.distances.sparse import sparse_rows, squared_norms
from fastem.kernels.runtime.arrays import as_weights
from fastem.kernels.seeding.csr.points import Placed, place
from fastem.kernels.seeding.csr.screen import ColumnScreen, screened_rows


def scattered(rng, shape, dtype, share=0.2):
    X = rng.normal(size=shape) * (rng.uniform(size=shape) < share)
    return sp.csr_array(X.astype(dtype))


def laid_out(points):
    """Points, CSR, as they are placed, and their number."""
    rows = sparse_rows(points)
    n_features = points.shape[1]
    placed = Placed(
        np.zeros(n_features, np.int16),
        8,
        np.empty(8 * (n_features + 1)),
        np.empty((2, 8)),
        np.empty(n_features + 1, np.int32),
        0,
    )
    n_lines = place(rows, np.arange(points.shape[0]), placed)
    return placed._replace(n_lines=n_lines), points.shape[0]


def screened(X, points, weight, scale, closest):
    """Bounds on gains, and which rows may be nearer which point."""
    rows, n_rows = sparse_rows(X), X.shape[0]
    squares = squared_norms(rows, n_rows, 1)
    block_rows = screened_rows(X, squares, scale, 1 << 40)
    assert block_rows > 0
    screen = ColumnScreen(rows, block_rows, squares, as_weights(weight), X.shape[1], scale)
    nearer = np.full(n_rows, 255, np.uint8)
    bounds = screen.bounds(*laid_out(points), closest, nearer)
    bits = np.unpackbits(nearer[:, np.newaxis], axis=1, bitorder="little").astype(bool)
    return bounds, bits[:, : points.shape[0]]


def exact_gains(X, points, scale, closest):
    X, points = (A.toarray().astype(np.longdouble) for A in (X, points))
    distances = ((X[:, np.newaxis] - points) ** 2).sum(axis=2) * scale**2
    return closest[:, np.newaxis].astype(np.longdouble) - distances


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_points", [1, 5, 8])
@pytest.mark.parametrize("scale", [2.0**-100, 1.0, 2.0**40])
def test_gains_lie_between_the_bounds(scale, n_points, dtype, monkeypatch):
    monkeypatch.setattr(inverted, "_ROWS", 100)
    rng = np.random.default_rng(n_points)
    X = scattered(rng, (700, 60), np.float64)
    X = sp.csr_array((X / scale).astype(dtype))
    points = X[rng.integers(700, size=n_points)]
    closest = rng.uniform(0, 25, size=700).astype(dtype)
    for weight in (None, rng.uniform(size=700)):
        (least, most), nearer = screened(X, points, weight, scale, closest)
        gains = exact_gains(X, points, scale, closest)
        assert nearer[gains > 0].all()
        weights = np.ones(700) if weight is None else weight
        total = weights @ np.maximum(gains, 0)
        assert (least < total).all()
        assert (total < most).all()
        # Close enough to tell most points apart, and most rows.
        assert (most - least < 2e-4 * (weights @ closest)).all()
        assert nearer[gains < -1e-2].mean() == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gains_next_to_nothing(dtype):
    """Rows that are as near to their seeds as to a point, but for the last digits."""
    rng = np.random.default_rng(0)
    X = scattered(rng, (400, 50), dtype)
    points = X[:6]
    gains = exact_gains(X, points, 1.0, np.zeros(400, dtype))[:, 2]
    for sign in (1, -1):
        closest = (-gains * (1 + sign * 4 * np.finfo(dtype).eps)).astype(dtype)
        (least, most), nearer = screened(X, points, None, 1.0, closest)
        exact = exact_gains(X, points, 1.0, closest)
        assert nearer[exact > 0].all()
        total = np.maximum(exact, 0).sum(axis=0)
        assert (least <= total).all()
        assert (total <= most).all()


def test_points_far_beyond_the_rows_are_not_bounded():
    X = scattered(np.random.default_rng(0), (50, 20), np.float64)
    far = sp.csr_array(np.full((1, 20), 1e200))
    bounds, nearer = screened(X, far, None, 1.0, np.ones(50))
    np.testing.assert_array_equal(bounds, [[0.0], [np.inf]])
    assert nearer.all()


@pytest.mark.parametrize(
    ("change", "expected"), [(None, True), ("room", False), ("large", False), ("zero", False)]
)
def test_rows_that_are_screened(change, expected):
    X = scattered(np.random.default_rng(0), (50, 20), np.float64)
    X = X * {"large": 1e30, "zero": 0.0}.get(change, 1.0)
    squares = squared_norms(sparse_rows(X), 50, 1)
    room = inverted.inverted_nbytes(X) - (change == "room")
    assert (screened_rows(X, squares, 1.0, room) > 0) == expected
