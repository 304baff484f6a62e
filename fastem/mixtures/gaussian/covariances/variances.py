"""Covariances that are variances along the axes."""

import numpy as np

from fastem.mixtures.gaussian.covariances.base import CollapsedError, Covariances


class Variances(Covariances):
    """``"diag"``, ``"spherical"``, ``"tied_diag"`` and ``"tied_spherical"``, and between these."""

    _unconstrained = "diag"

    @property
    def isotropic(self) -> bool:
        """Whether they are multiples of the identity."""
        return self.model.endswith("II")

    def _one(self, n_features):
        return () if self.isotropic else (n_features,)

    def _distance(self, left, right):
        return np.abs(left / right - 1.0).max()

    def _per_component(self, values):
        return values if self.isotropic else values[:, np.newaxis]

    def estimate(self, counts, sums, scatter, means, centers, divisors, reg_covar, last=None):
        if self.isotropic:  # of which the scatter is the trace
            divisors = divisors * sums.shape[1]
        return super().estimate(counts, sums, scatter, means, centers, divisors, reg_covar, last)

    def products(self, left, right):
        products = 2.0 * left * right
        if self.isotropic:
            products = products.sum(axis=1)
        return products.sum(axis=0) if self.tied else products

    def _squares(self, counts, values):
        return self.products(0.5 * counts[:, np.newaxis] * values, values)

    def _above(self, scatter, noise):
        return np.where(scatter <= noise, 0.0, scatter)  # which keeps what is no number

    def _check_positive(self, values, name):
        if (values <= 0.0).any():
            raise ValueError(f"'{name}' should be positive")

    def regularized(self, covariances, reg_covar):
        return covariances + reg_covar

    def factor(self, covariances):
        covariances = np.asarray(covariances)
        positive = (covariances > 0.0) & np.isfinite(covariances)
        if not positive.all():
            raise CollapsedError(self.culprit(int(np.argwhere(np.atleast_1d(~positive))[0, 0])))
        return 1.0 / np.sqrt(covariances)

    def factor_precisions(self, precisions):
        return np.sqrt(precisions)

    def covariances(self, precisions_cholesky):
        return 1.0 / np.asarray(precisions_cholesky) ** 2

    def precisions(self, precisions_cholesky):
        return np.asarray(precisions_cholesky) ** 2

    def whiten(self, delta, precisions_cholesky):
        per_row = self.isotropic and not self.tied
        return delta * (precisions_cholesky[:, np.newaxis] if per_row else precisions_cholesky)

    def unwhiten(self, coordinates, precisions_cholesky):
        return self.whiten(coordinates, 1.0 / precisions_cholesky)

    def relative(self, covariances, precisions_cholesky):
        return 0.5 * np.log(covariances) + np.log(precisions_cholesky)

    def absolute(self, coordinates, precisions_cholesky):
        return np.exp(2.0 * (coordinates - np.log(precisions_cholesky)))

    def sample(self, mean, covariance, size, random_state):
        return mean + random_state.standard_normal(size=(size, len(mean))) * np.sqrt(covariance)
