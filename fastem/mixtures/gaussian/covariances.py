"""Covariance types: their shapes, checks, estimates and factors.

``precisions_cholesky`` is an upper triangular P with ``P @ P.T`` the inverse of the covariance, so
that ``(x - mean) @ P`` has independent entries of unit variance; for variances it is 1 / sigma.
"""

from typing import Any

import numpy as np
from sklearn.utils import check_array

from fastem.kernels.linalg.factors import factor_inverses, product
from fastem.validation import check_shape

# Relative rounding of a mean, with a margin.
_ROUNDING = 8 * np.finfo(np.float64).eps


class CollapsedError(ValueError):
    """A covariance that isn't positive definite."""

    def __init__(self, culprit: str):
        super().__init__(
            "Fitting the mixture model failed because some components have "
            "ill-defined empirical covariance (for instance caused by singleton "
            "or collapsed samples). Try to decrease the number of components, "
            "increase reg_covar, or scale the input data. "
            f"The covariance of {culprit} is not positive definite."
        )
        self.culprit = culprit


class Covariances:
    """A covariance type.

    Parameters
    ----------
    name : str
    tied : bool
        Whether all components have one covariance.
    """

    def __init__(self, name: str, tied: bool):
        self.name = name
        self.tied = tied

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """The shape of the covariances, and of precisions and their factors."""
        one = self._one(n_features)
        return one if self.tied else (n_components, *one)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        """The number of free parameters."""
        return self._free(n_features) * (1 if self.tied else n_components)

    def estimate(
        self,
        counts: np.ndarray,
        sums: np.ndarray,
        scatter: np.ndarray,
        means: np.ndarray,
        centers: np.ndarray,
        divisors: np.ndarray,
        reg_covar: float,
    ) -> np.ndarray:
        """Covariances about the means.

        Parameters
        ----------
        counts : ndarray of shape (n_components,)
            Sums of the responsibilities.
        sums : ndarray of shape (n_components, n_features)
            Sums of the differences from the centres.
        scatter : ndarray
            Sums of their products, in the covariances' shape.
        means, centers : ndarray of shape (n_components, n_features)
        divisors : ndarray of shape (n_components,)
            What to divide by: the counts, away from zero.
        reg_covar : float
            Added to the variances.
        """
        # sum (x - d)(x - d)' = sum xx' - sum x d' - d sum x' + n dd', with x and d from the centre.
        delta, half_counts = means - centers, 0.5 * counts[:, np.newaxis]
        moved = scatter - self.products(sums - half_counts * delta, delta)
        # What rounding of the means leaves of equal rows is nothing.
        rounding = _ROUNDING * means
        moved = self._above(moved, self.products(half_counts * rounding, rounding))
        divisor = divisors.sum() if self.tied else self._per_component(divisors)
        return self.regularized(moved / divisor, reg_covar)

    def cancellation(
        self, counts: np.ndarray, delta: np.ndarray, precisions_cholesky: np.ndarray
    ) -> float:
        """How many times its result the subtraction in :meth:`estimate` started from."""
        moved = (self.whiten(delta, precisions_cholesky) ** 2).max(axis=1)
        return float(moved @ counts / counts.sum() if self.tied else moved.max())

    def check_precisions(self, precisions: Any, n_components: int, n_features: int) -> np.ndarray:
        """Precisions in float64.

        Raises
        ------
        ValueError
            If their shape is wrong or they aren't positive definite, in scikit-learn's words.
        """
        return self._check(precisions, n_components, n_features, "precision")

    def check_covariances(self, covariances: Any, n_components: int, n_features: int) -> np.ndarray:
        """The same for covariances."""
        return self._check(covariances, n_components, n_features, "covariance")

    def _check(self, values, n_components, n_features, what):
        name = f"{self.name} {what}"
        if np.ndim(values) == 0:  # which check_array refuses
            check_shape(np.empty(()), self.shape(n_components, n_features), name)
            values = check_array([values], dtype=np.float64, ensure_2d=False)[0]
        else:
            values = check_array(
                values,
                dtype=[np.float64, np.float32],
                ensure_2d=False,
                allow_nd=len(self.shape(1, 1)) == 3,
            )
            check_shape(values, self.shape(n_components, n_features), name)
        values = np.asarray(values, np.float64)
        self._check_positive(values, name)
        return values

    def _culprit(self, component):
        return "all components together" if self.tied else f"component {component}"

    def _one(self, n_features):
        raise NotImplementedError

    def _free(self, n_features):
        raise NotImplementedError

    def _per_component(self, values):
        """Values of the components, to be multiplied with covariances."""
        raise NotImplementedError

    def products(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """``left right' + right left'`` of each row, or their sum if tied."""
        raise NotImplementedError

    def _above(self, scatter, noise):
        """Scatter without variances that aren't above those of noise."""
        raise NotImplementedError

    def _check_positive(self, values, name):
        raise NotImplementedError

    def regularized(self, covariances: np.ndarray, reg_covar: float) -> np.ndarray:
        """With ``reg_covar`` added to the variances."""
        raise NotImplementedError

    def factor(self, covariances: np.ndarray) -> np.ndarray:
        """``precisions_cholesky`` of covariances.

        Raises
        ------
        CollapsedError
            If one isn't positive definite.
        """
        raise NotImplementedError

    def factor_precisions(self, precisions: np.ndarray) -> np.ndarray:
        """``precisions_cholesky`` of precisions."""
        raise NotImplementedError

    def covariances(self, precisions_cholesky: np.ndarray) -> np.ndarray:
        """Covariances of factors."""
        raise NotImplementedError

    def precisions(self, precisions_cholesky: np.ndarray) -> np.ndarray:
        """Precisions of factors."""
        raise NotImplementedError

    def whiten(self, delta: np.ndarray, precisions_cholesky: np.ndarray) -> np.ndarray:
        """``delta @ P``, row j with component j's."""
        raise NotImplementedError

    def unwhiten(self, coordinates: np.ndarray, precisions_cholesky: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`whiten`."""
        raise NotImplementedError

    def relative(self, covariances: np.ndarray, precisions_cholesky: np.ndarray) -> np.ndarray:
        """Coordinates of covariances: numbers without bounds, zero for those of the factors."""
        raise NotImplementedError

    def absolute(self, coordinates: np.ndarray, precisions_cholesky: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`relative`."""
        raise NotImplementedError

    def sample(
        self,
        mean: np.ndarray,
        covariance: np.ndarray,
        size: int,
        random_state: np.random.RandomState,
    ) -> np.ndarray:
        """Draw rows of one Gaussian, on scikit-learn's random stream."""
        raise NotImplementedError


class Matrices(Covariances):
    """``"full"`` and ``"tied"``."""

    def _one(self, n_features):
        return (n_features, n_features)

    def _free(self, n_features):
        return n_features * (n_features + 1) // 2

    def _per_component(self, values):
        return values[:, np.newaxis, np.newaxis]

    def products(self, left, right):
        if self.tied:
            products = product(left.T, right)
        else:
            products = left[:, :, np.newaxis] * right[:, np.newaxis, :]
        return products + products.swapaxes(-1, -2)

    def _above(self, scatter, noise):
        variances = np.einsum("...ii->...i", scatter)
        variances[variances <= np.einsum("...ii->...i", noise)] = 0.0
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
            raise CollapsedError(self._culprit(int(np.argmin(definite))))
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


class Variances(Covariances):
    """``"diag"``, ``"spherical"``, ``"tied_diag"`` and ``"tied_spherical"``."""

    def __init__(self, name, tied, isotropic):
        super().__init__(name, tied)
        self.isotropic = isotropic

    def _one(self, n_features):
        return () if self.isotropic else (n_features,)

    def _free(self, n_features):
        return 1 if self.isotropic else n_features

    def _per_component(self, values):
        return values if self.isotropic else values[:, np.newaxis]

    def estimate(self, counts, sums, scatter, means, centers, divisors, reg_covar):
        if self.isotropic:  # of which the scatter is the trace
            divisors = divisors * sums.shape[1]
        return super().estimate(counts, sums, scatter, means, centers, divisors, reg_covar)

    def products(self, left, right):
        products = 2.0 * left * right
        if self.isotropic:
            products = products.sum(axis=1)
        return products.sum(axis=0) if self.tied else products

    def _above(self, scatter, noise):
        return np.where(scatter > noise, scatter, 0.0)

    def _check_positive(self, values, name):
        if (values <= 0.0).any():
            raise ValueError(f"'{name}' should be positive")

    def regularized(self, covariances, reg_covar):
        return covariances + reg_covar

    def factor(self, covariances):
        covariances = np.asarray(covariances)
        positive = (covariances > 0.0) & np.isfinite(covariances)
        if not positive.all():
            raise CollapsedError(self._culprit(int(np.argwhere(np.atleast_1d(~positive))[0, 0])))
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


COVARIANCES: dict[str, Matrices | Variances] = {
    "full": Matrices("full", tied=False),
    "tied": Matrices("tied", tied=True),
    "diag": Variances("diag", tied=False, isotropic=False),
    "spherical": Variances("spherical", tied=False, isotropic=True),
    "tied_diag": Variances("tied_diag", tied=True, isotropic=False),
    "tied_spherical": Variances("tied_spherical", tied=True, isotropic=True),
}
