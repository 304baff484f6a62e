"""The sums of products of centred features over some tiles of a batch."""

import numpy as np
import pytest
from guards import Guarded
from reference import scatter_statistics

from fastem.kernels.gaussian.scatter.layout import scratch_size, totals_size, unpack_totals
from fastem.kernels.gaussian.scatter.triangle import add_products
from fastem.kernels.gaussian.sweep import split
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.vectors.machine import TILE

N_TILES, CHOSEN, N_COMPONENTS = 4, [3, 1], 3


@kernel
def products_of(tiles, n_features, chosen, n_chosen, centers, shares, scratch, totals):
    stride = centers.shape[1] * TILE
    for j in range(centers.shape[1]):
        add_products(
            tiles, n_features, chosen, n_chosen, centers, j, shares, stride, scratch, totals
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_features", [1, 3, 4, 7, 12, 13, 16, 33])
def test_sums(n_features, dtype):
    rng = np.random.default_rng(n_features)
    rows = (100 + rng.normal(size=(N_TILES, TILE, n_features))).astype(dtype)
    shares = rng.uniform(size=(N_TILES, N_COMPONENTS, TILE)).astype(dtype)
    centers = 100 + rng.normal(size=(N_COMPONENTS, n_features)) / 3
    tiles = Guarded(rows.transpose(0, 2, 1).ravel())
    given = [Guarded(shares.ravel()), Guarded(np.empty(scratch_size(N_TILES), dtype))]
    totals = Guarded(np.zeros((N_COMPONENTS, totals_size(n_features))))
    for _ in range(2):
        products_of(
            tiles.array,
            n_features,
            np.array([*CHOSEN, 0]),
            len(CHOSEN),
            split(centers, dtype),
            *(guard.array for guard in given),
            totals.array,
        )
    responsibilities = shares[CHOSEN].swapaxes(0, 1).reshape(N_COMPONENTS, -1).T.astype(float)
    expected = scatter_statistics(rows[CHOSEN].reshape(-1, n_features), responsibilities, centers)
    tolerance = 1e-4 if dtype == np.float32 else 1e-11
    for got, wanted in zip(unpack_totals(totals.array, n_features), expected, strict=True):
        np.testing.assert_allclose(got, 2 * wanted, rtol=tolerance, atol=128 * tolerance)
    assert all(guard.intact() for guard in (tiles, *given, totals))
