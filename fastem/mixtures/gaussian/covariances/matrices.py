"""Covariances that are matrices."""

import numpy as np

from fastem.kernels.linalg.factors import factor_inverses, product
from fastem.mixtures.gaussian.covariances.base import CollapsedError, Covariances


class Matrices(Covariances):
    """``"full"`` and ``"tied"``, and what is between them."""

    _unconstrained = "full"

    def _one(self, n_features):
        return (n_features, n_features)

    def _distance(self, left, right):
        deviations = np.sqrt(np.einsum("...ii->...i", right))
        scales = deviations[..., np.newaxis] * deviations[..., np.newaxis, :]
        return np.abs((left - right) / scales).max()

    def _per_component(self, values):
        return values[:, np.newaxis, np.newaxis]

    def products(self, left, right):
        if self.tied:
            products = product(left.T, right)
        else:
            products = left[:, :, np.newaxis] * right[:, np.newaxis, :]
        return products + products.swapaxes(-1, -2)

    def _squares(self, counts, values):
        squares = counts[:, np.newaxis] * values**2
        return squares.sum(axis=0) if self.tied else squares

    def _above(self, scatter, noise):
        variances = np.einsum("...ii->...i", scatter)
        variances[variances <= noise] = 0.0
        return scatter

    def _check_positive(self, values, name):
        for matrix in values.reshape(-1, *values.shape[-2:]):
            atol = 1e-8 * min(1.0, np.abs(matrix).max())  # scikit-learn's, but for small units
            symmetric = np.allclose(matrix, matrix.T, atol=atol)
            if not (symmetric and (np.linalg.eigvalsh(matrix) > 0.0).all()):
                raise ValueError(f"'{name}' should be symmetric, positive-definite")

    def regularized(self, covariances, reg_covar):
        diagonal = np.einsum("...ii->...i", covariances)
        diagonal += reg_covar
        return covariances

    def factor(self, covariances):
        n_features = covariances.shape[-1]
        factors, definite = factor_inverses(covariances.reshape(-1, n_features, n_features))
        if not definite.all():
            raise CollapsedError(self.culprit(int(np.argmin(definite))))
        return factors.reshape(covariances.shape)

    def factor_precisions(self, precisions):
        flipped = np.linalg.cholesky(precisions[..., ::-1, ::-1])
        return np.ascontiguousarray(flipped[..., ::-1, ::-1])

    def covariances(self, precisions_cholesky):
        root = np.linalg.inv(precisions_cholesky)
        return root.swapaxes(-1, -2) @ root

    def precisions(self, precisions_cholesky):
        return precisions_cholesky @ precisions_cholesky.swapaxes(-1, -2)

    def whiten(self, delta, precisions_cholesky):
        if self.tied:
            return product(delta, precisions_cholesky)
        return product(delta[:, np.newaxis], precisions_cholesky)[:, 0]

    def unwhiten(self, coordinates, precisions_cholesky):
        transposed = precisions_cholesky.swapaxes(-1, -2)
        if self.tied:
            return np.linalg.solve(transposed, coordinates.T).T
        return np.linalg.solve(transposed, coordinates[:, :, np.newaxis])[:, :, 0]

    def relative(self, covariances, precisions_cholesky):
        whitened = precisions_cholesky.swapaxes(-1, -2) @ covariances @ precisions_cholesky
        coordinates = np.linalg.cholesky(whitened)
        diagonal = np.einsum("...ii->...i", coordinates)
        np.log(diagonal, out=diagonal)
        return coordinates

    def absolute(self, coordinates, precisions_cholesky):
        roots = np.array(coordinates)
        diagonal = np.einsum("...ii->...i", roots)
        np.exp(diagonal, out=diagonal)
        roots = np.linalg.solve(precisions_cholesky.swapaxes(-1, -2), roots)
        return roots @ roots.swapaxes(-1, -2)

    def sample(self, mean, covariance, size, random_state):
        return random_state.multivariate_normal(mean, covariance, size)
