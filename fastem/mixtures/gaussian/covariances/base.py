"""What covariances of all types have in common."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils import check_array

from fastem.kernels.gaussian.base import ROUNDING_OF_MEANS
from fastem.validation import check_shape

# How far given covariances may be from their type, in standard deviations: those of single
# precision are not far.
_MISFIT = 1e-3


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

    def __reduce__(self):
        # An exception is made again from what it says, by default.
        return type(self), (self.culprit,)


class Covariances:
    """A covariance type.

    ``precisions_cholesky`` is an upper triangular P with ``P @ P.T`` the inverse of the covariance,
    so that ``(x - mean) @ P`` has independent entries of unit variance; for variances it is 1 /
    sigma.

    Parameters
    ----------
    name : str
    model : str
        Three letters that say whether the components' volumes, shapes and orientations are equal
        (E), vary (V), or are those of spheres or parallel to the axes (I).
    constrain : callable, optional
        Estimates covariances that share something, as in
        :mod:`fastem.mixtures.gaussian.covariances.constrained`.
    """

    def __init__(self, name: str, model: str, constrain: Callable | None = None):
        self.name = name
        self.model = model
        self._constrain = constrain

    @property
    def tied(self) -> bool:
        """Whether all components have one covariance."""
        return "V" not in self.model

    @property
    def partly_shared(self) -> bool:
        """Whether components that have covariances of their own share a part of these."""
        return self._constrain is not None

    @property
    def passes(self) -> str:
        """The type whose passes over the rows it takes: its own, or without what is shared."""
        return self._unconstrained if self.partly_shared else self.name

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """The shape of the covariances, and of precisions and their factors."""
        one = self._one(n_features)
        return one if self.tied else (n_components, *one)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        """The number of free parameters."""
        counts = {"I": 0, "E": 1, "V": n_components}
        sizes = 1, n_features - 1, n_features * (n_features - 1) // 2
        return sum(counts[letter] * size for letter, size in zip(self.model, sizes, strict=True))

    def estimate(
        self,
        counts: np.ndarray,
        sums: np.ndarray,
        scatter: np.ndarray,
        means: np.ndarray,
        centers: np.ndarray,
        divisors: np.ndarray,
        reg_covar: float,
        last: np.ndarray | None = None,
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
        last : None or ndarray
            Covariances of this type to go on from, if the search for the best takes steps.
        """
        # sum (x - d)(x - d)' = sum xx' - sum x d' - d sum x' + n dd', with x and d from the centre.
        delta, half_counts = means - centers, 0.5 * counts[:, np.newaxis]
        moved = scatter - self.products(sums - half_counts * delta, delta)
        del delta  # means of few long rows take a part of their memory
        # What rounding of the means leaves of equal rows is nothing.
        moved = self._above(moved, self._squares(counts, ROUNDING_OF_MEANS * means))
        divisor = divisors.sum() if self.tied else self._per_component(divisors)
        covariances = self.regularized(moved / divisor, reg_covar)
        return self.constrained(covariances, divisors, last)

    def constrained(
        self, covariances: np.ndarray, weights: np.ndarray, last: np.ndarray | None = None
    ) -> np.ndarray:
        """Covariances of this type that fit components with these covariances and weights best.

        Those of ``last``, if given, don't fit better.
        """
        if self._constrain is None or not np.isfinite(covariances).all():
            return covariances
        return self._constrain(covariances, weights / weights.sum(), last)

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
        return values if self._constrain is None else self._of_this_type(values, name)

    def _of_this_type(self, values, name):
        """Covariances or precisions, without what is left of a rounding to single precision."""
        found = self.constrained(values, np.ones(len(values)))
        if self._distance(found, values) > _MISFIT:
            parts = zip(self.model, ("volumes", "shapes", "orientations"), strict=True)
            equal = " and ".join(part for letter, part in parts if letter == "E")
            raise ValueError(f"'{name}' should have equal {equal}")
        return found

    def culprit(self, component: int) -> str:
        """Whose covariance it is, in words."""
        return "all components together" if self.tied else f"component {component}"

    #: The type without constraints, of the same shape.
    _unconstrained: str

    def _one(self, n_features):
        raise NotImplementedError

    def _distance(self, left, right):
        """The greatest difference, in standard deviations."""
        raise NotImplementedError

    def _per_component(self, values):
        """Values of the components, to be multiplied with covariances."""
        raise NotImplementedError

    def products(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """``left right' + right left'`` of each row, or their sum if tied."""
        raise NotImplementedError

    def _squares(self, counts, values):
        """Sums of so many times the squares of values, in the shape of the variances."""
        raise NotImplementedError

    def _above(self, scatter, noise):
        """Scatter without variances that aren't above these."""
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
