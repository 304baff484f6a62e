"""Eigenvalues and eigenvectors of small matrices."""

import numpy as np
import pytest

from fastem.mixtures.gaussian.covariances.axes import variances_and_axes


@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (3, 5, 5), (2, 40, 40)])
def test_as_numpys(shape):
    roots = np.random.default_rng(0).normal(size=shape)
    matrices = roots @ roots.swapaxes(-1, -2)
    given = matrices.copy()
    variances, axes = variances_and_axes(matrices)
    np.testing.assert_array_equal(matrices, given)
    np.testing.assert_allclose(variances, np.linalg.eigvalsh(matrices), rtol=1e-9)
    found = (axes * variances[..., np.newaxis, :]) @ axes.swapaxes(-1, -2)
    np.testing.assert_allclose(found, matrices, rtol=1e-9, atol=1e-12)
    identity = np.broadcast_to(np.eye(shape[-1]), shape)
    np.testing.assert_allclose(axes.swapaxes(-1, -2) @ axes, identity, atol=1e-12)
