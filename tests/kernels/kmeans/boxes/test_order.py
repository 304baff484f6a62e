"""The order in which neighbouring rows are together."""

import numpy as np
import pytest
from clustering_passes import DTYPES

from fastem.kernels.kmeans.boxes.order import cells_on_curve, order_on_curve
from fastem.kernels.vectors.machine import TILE


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(1, 1), (64, 3), (65, 2), (5000, 1), (300_000, 2), (4096, 3), (2000, 8)]
)
def test_every_row_once_and_the_last_one_to_the_end_of_the_tile(shape, dtype):
    X = np.random.default_rng(5).normal(size=shape).astype(dtype)
    order = order_on_curve(X)
    assert order.dtype == np.int32
    assert len(order) == -(-len(X) // TILE) * TILE
    np.testing.assert_array_equal(np.sort(order[: len(X)]), np.arange(len(X)))
    assert (order[len(X) :] == order[len(X) - 1]).all()


@pytest.mark.parametrize("n_features", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_on_the_curve_are_near_those_before(n_features, dtype):
    X = np.random.default_rng(0).uniform(size=(4000, n_features)).astype(dtype)
    X[:, 0] = X[:, 0] if n_features != 5 else 3.0  # which tells nothing
    ordered = X[order_on_curve(X)[:4000]]
    ways = [np.abs(np.diff(rows, axis=0)).sum(axis=1).mean() for rows in (X, ordered)]
    assert ways[1] < 0.6 * ways[0]


@pytest.mark.parametrize("n_rows", [20_000, 300_000])
def test_tiles_are_as_small_as_squares_of_so_many_rows(n_rows):
    X = np.random.default_rng(1).uniform(size=(n_rows, 2))
    tiles = X[order_on_curve(X)].reshape(-1, TILE, 2)[:-1]
    widths = np.ptp(tiles, axis=1)
    assert np.median(widths) < 2 * np.sqrt(TILE / n_rows)


@pytest.mark.parametrize("grid", [(1, 5), (2, 1), (2, 4), (3, 3), (5, 2), (8, 2)])
def test_the_curve_visits_every_cell_and_goes_to_a_neighbour(grid):
    n_features, n_bits = grid
    cells = cells_on_curve(n_features, n_bits)
    np.testing.assert_array_equal(np.sort(cells), np.arange(2 ** (n_features * n_bits)))
    places = np.array([cells >> f * n_bits & (1 << n_bits) - 1 for f in range(n_features)])
    assert (np.abs(np.diff(places, axis=1)).sum(axis=0) == 1).all()


def test_rows_of_a_cell_are_in_their_own_order():
    X = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.4, 0.4]])
    order = order_on_curve(X)[:5].tolist()
    assert order[:2] == [0, 4]  # of one cell
    assert order[3] == 3  # the cell opposite comes between the other two


def test_far_rows_do_not_blur_it():
    X = np.random.default_rng(6).normal(size=(19_968, 2))
    near = X[order_on_curve(X)].reshape(-1, TILE, 2)
    X[[7, 9000]] = [[1e150], [-1e150]]
    X[11, 0] = 1e12
    blurred = X[order_on_curve(X)].reshape(-1, TILE, 2)
    assert np.median(np.ptp(blurred, axis=1)) < 1.2 * np.median(np.ptp(near, axis=1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_columns_that_are_narrow_or_as_wide_as_the_dtype(dtype):
    tiny, huge = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
    X = np.zeros((300, 2), dtype)
    X[:, 0] = np.where(np.arange(300) % 2, 9 * tiny, 0)
    X[:, 1] = np.linspace(-1, 1, 300) * np.float64(huge)
    with np.errstate(all="raise", under="ignore"):
        order = order_on_curve(X)[:300]
    np.testing.assert_array_equal(np.sort(order), np.arange(300))
    # The second column's cells one after the other.
    assert (np.diff(X[order, 1] > 0) != 0).sum() <= 3
