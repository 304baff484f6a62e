import numpy as np
import pytest

from fastem.kernels.mixtures.alike import squared_differences


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_squares(dtype):
    rng = np.random.default_rng(0)
    earlier, now = rng.dirichlet(np.ones(5), 70).astype(dtype), rng.random((70, 3)).astype(dtype)
    weight = rng.uniform(0.5, 2.0, 70)
    differences, norms = squared_differences(earlier, now, weight)
    apart = earlier[:, :, np.newaxis].astype(float) - now[:, np.newaxis].astype(float)
    np.testing.assert_allclose(differences, np.einsum("i,ijk->jk", weight, apart**2))
    np.testing.assert_allclose(norms, weight @ now.astype(float) ** 2)
