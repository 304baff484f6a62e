"""A Gaussian mixture as a distribution: its moments, sums and marginals."""

from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from fastem.gaussian.covariances import COVARIANCES, CollapsedError, Covariances
from fastem.gaussian.parameters import Parameters
from fastem.mixture import check_mixing_weights


class DistributionMixin:
    """Gives a Gaussian mixture what a distribution has.

    What it returns is in float64, and mixtures among it are as good as fitted: they have default
    parameters but for ``n_components`` and ``covariance_type``, and know the features' names if
    their source does.
    """

    @classmethod
    def from_parameters(
        cls, weights: Any, means: Any, covariances: Any, covariance_type: str = "full"
    ) -> "DistributionMixin":
        """A mixture with known parameters, as good as fitted.

        Parameters
        ----------
        weights : array-like of shape (n_components,)
            Non-negative, with a sum of one.

        means : array-like of shape (n_components, n_features)

        covariances : array-like
            Shaped as ``covariances_``; positive definite.

        covariance_type : str, default='full'

        Returns
        -------
        mixture : GaussianMixture
            Fitted, with float64 parameters.

        Raises
        ------
        ValueError
            If shapes don't fit or a value is out of range.
        """
        if covariance_type not in COVARIANCES:
            raise ValueError(
                f"The 'covariance_type' parameter must be one of {list(COVARIANCES)}. "
                f"Got {covariance_type!r} instead."
            )
        means = check_array(means, dtype=np.float64)
        weights = check_mixing_weights(weights, len(means))
        covariances = COVARIANCES[covariance_type].check_covariances(covariances, *means.shape)
        return cls._of(weights, means, covariances, covariance_type)

    @classmethod
    def _of(cls, weights, means, covariances, covariance_type, feature_names=None):
        """A mixture with parameters of the right shapes."""
        mixture = cls(len(means), covariance_type=covariance_type)
        try:
            factors = COVARIANCES[covariance_type].factor(covariances)
        except CollapsedError as error:
            raise ValueError(
                f"The covariance of {error.culprit} is not positive definite, or too nearly "
                "singular for its digits."
            ) from error
        parameters = Parameters(weights, means, covariances, factors)
        vars(mixture).update(mixture._attributes(parameters, means.dtype))
        mixture.n_features_in_ = means.shape[1]
        if feature_names is not None:
            mixture.feature_names_in_ = feature_names
        mixture.converged_ = True
        mixture.n_iter_ = 0
        mixture.lower_bound_ = -np.inf
        mixture.lower_bounds_ = []
        return mixture

    def _distribution(self):
        """Weights, means and covariances; those of single precision are normalised in double."""
        check_is_fitted(self)
        weights, means, covariances, _ = self._parameters()
        return weights / weights.sum(), means, covariances

    def mean(self) -> np.ndarray:
        """The mean of the whole mixture.

        Returns
        -------
        mean : ndarray of shape (n_features,)
        """
        weights, means, _ = self._distribution()
        return weights @ means

    def covariance(self) -> np.ndarray:
        """The covariance of the whole mixture.

        By the law of total covariance it is the mean of the components' covariances plus the
        covariance of their means.

        Returns
        -------
        covariance : ndarray of shape (n_features, n_features)
        """
        weights, means, covariances = self._distribution()
        stack = _widened(_stacked(self._covariances, covariances), 3, means.shape[1])
        within = stack[0] if len(stack) == 1 else np.tensordot(weights, stack, axes=1)
        differences = means - weights @ means
        return within + (weights[:, np.newaxis] * differences).T @ differences

    def convolve(self, other: "DistributionMixin") -> "DistributionMixin":
        """The distribution of the sum of two independent variables, this one's and the other's.

        Parameters
        ----------
        other : GaussianMixture
            Fitted, with as many features.

        Returns
        -------
        mixture : GaussianMixture
            Fitted, with a component for each pair: the sum of this mixture's component i and the
            other's component j is component ``i * other_n_components + j``. Its covariance type is
            the narrowest that holds the sum of any two of these types: the components share one
            covariance if both mixtures' do, and a covariance is a matrix if either mixture's are,
            else a diagonal if either's are, else a multiple of the identity. So
            ``"tied_diag"`` and ``"spherical"`` make ``"diag"``.

        Raises
        ------
        ValueError
            If the numbers of features differ.
        """
        check_is_fitted(self)
        if not isinstance(other, DistributionMixin):
            raise TypeError(f"other should be a GaussianMixture, not {type(other).__name__}")
        weights, means, covariances = zip(self._distribution(), other._distribution(), strict=True)
        n_features = means[0].shape[1]
        if means[1].shape[1] != n_features:
            raise ValueError(
                "Both mixtures should have the same number of features, but they have "
                f"{n_features} and {means[1].shape[1]}."
            )
        kinds = self._covariances, other._covariances
        stacks = [_stacked(*pair) for pair in zip(kinds, covariances, strict=True)]
        ndim = max(stack.ndim for stack in stacks)
        stacks = [_widened(stack, ndim, n_features) for stack in stacks]
        tied = all(kind.tied for kind in kinds)
        if not tied:
            stacks = [
                np.broadcast_to(stack, (len(m), *stack.shape[1:]))
                for stack, m in zip(stacks, means, strict=True)
            ]
        sums = _sums_of_pairs(*stacks)
        names = getattr(self, "feature_names_in_", None)
        if not np.array_equal(names, getattr(other, "feature_names_in_", None)):
            names = None
        return self._of(
            np.outer(*weights).ravel(),
            _sums_of_pairs(*means),
            sums[0] if tied else sums,
            _covariance_type(ndim, tied),
            names,
        )


def _stacked(kind: Covariances, covariances):
    """Covariances with an axis for the components, of length one if they share one."""
    return covariances[np.newaxis] if kind.tied else covariances


def _widened(stack, ndim, n_features):
    """Numbers as diagonals, and diagonals as matrices, up to a number of dimensions."""
    if stack.ndim == 1 and ndim > 1:
        stack = np.repeat(stack[:, np.newaxis], n_features, axis=1)
    if stack.ndim == 2 and ndim == 3:
        stack = stack[:, :, np.newaxis] * np.eye(n_features)
    return stack


def _covariance_type(ndim, tied):
    """The covariance type whose stacks have this number of dimensions."""
    names = {
        len(kind.shape(1, 1)) + kind.tied: name
        for name, kind in COVARIANCES.items()
        if kind.tied == tied
    }
    return names[ndim]


def _sums_of_pairs(left, right):
    return (left[:, np.newaxis] + right).reshape(-1, *left.shape[1:])
