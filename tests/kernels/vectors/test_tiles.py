import numpy as np
import pytest
from guards import Guarded

from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.tiles import gather_tile, load_tile

FEATURES = [1, 2, 3, 4, 5, 7, 15, 16, 17, 63, 64, 65, 129]
DTYPES = [np.float32, np.float64]


@kernel
def load(X, first_row, scale, shift, tile):
    load_tile(X, first_row, scale, shift, tile)


@kernel
def gather(X, rows, scale, shift, tile):
    gather_tile(X, rows, scale, shift, tile)


def make(n_rows, n_features, dtype, tile_dtype):
    rng = np.random.default_rng(n_rows * n_features)
    X = Guarded(rng.normal(size=(n_rows, n_features)).astype(dtype))
    shift = np.zeros(n_features + LANES, dtype)
    shift[:n_features] = rng.integers(-4, 5, n_features)
    tile = Guarded(np.zeros(n_features * TILE, tile_dtype))
    return X, dtype(0.25), shift, tile


def expected(X, rows, scale, shift, tile_dtype):
    exact = X[rows].astype(np.longdouble) * scale + shift[: X.shape[1]]
    return exact.astype(X.dtype).astype(tile_dtype).T


@pytest.mark.parametrize("tile_dtype", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", FEATURES)
def test_load_tile(n_features, dtype, tile_dtype):
    for n_rows in (1, 2, 7, 63, 64, 65, 129, 200):
        X, scale, shift, tile = make(n_rows, n_features, dtype, tile_dtype)
        for first in range(0, n_rows, TILE):
            tile.array[:] = np.nan
            load(X.array, first, scale, shift, tile.array)
            lanes = np.minimum(first + np.arange(TILE), n_rows - 1)
            np.testing.assert_allclose(
                tile.array.reshape(n_features, TILE),
                expected(X.array, lanes, scale, shift, tile_dtype),
                rtol=np.finfo(X.array.dtype).eps if dtype is not tile_dtype else 0,
            )
            assert tile.intact()


@pytest.mark.parametrize("row_dtype", [np.int32, np.int64])
@pytest.mark.parametrize("tile_dtype", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", FEATURES)
def test_gather_tile(n_features, dtype, tile_dtype, row_dtype):
    rng = np.random.default_rng(0)
    for n_rows in (1, 3, 65, 200):
        X, scale, shift, tile = make(n_rows, n_features, dtype, tile_dtype)
        for rows in (rng.integers(0, n_rows, TILE), np.full(TILE, n_rows - 1)):
            tile.array[:] = np.nan
            gather(X.array, rows.astype(row_dtype), scale, shift, tile.array)
            np.testing.assert_allclose(
                tile.array.reshape(n_features, TILE),
                expected(X.array, rows, scale, shift, tile_dtype),
                rtol=np.finfo(X.array.dtype).eps if dtype is not tile_dtype else 0,
            )
            assert tile.intact()
