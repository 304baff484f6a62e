"""Mixtures of some features given rows of the others."""

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import index
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

from fastem.mixtures.gaussian.covariances import COVARIANCES, Covariances
from fastem.mixtures.gaussian.moments import mixture_covariance, mixture_mean
from fastem.mixtures.gaussian.stacks import of_features, order, stacked


@dataclass(frozen=True, eq=False)
class Conditional:
    """Mixtures of the remaining features given rows of the others: mixture regression.

    ``conditional[i]`` is the fitted mixture given row i, and ``len(conditional)`` the number of
    rows. The covariances don't depend on the row.

    Attributes
    ----------
    weights : ndarray of shape (n_samples, n_components)
        The components' probabilities given each row.

    means : ndarray of shape (n_samples, n_components, n_features)
        The components' means given each row; read-only where they don't depend on the row.

    covariances : ndarray
        The components' covariances, shaped as a mixture's ``covariances_``.

    covariance_type : str
        Of the remaining features.

    feature_names : ndarray of shape (n_features,) or None
        Names of the remaining features, if they are known.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    covariance_type: str
    feature_names: np.ndarray | None
    _make_mixture: Callable = field(repr=False)

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, row: int) -> Any:
        row = index(row)
        return self._make_mixture(
            self.weights[row],
            self.means[row],
            self.covariances,
            self.covariance_type,
            self.feature_names,
        )

    def mean(self) -> np.ndarray:
        """The predictive mean given each row: what mixture regression predicts.

        Returns
        -------
        mean : ndarray of shape (n_samples, n_features)
        """
        return mixture_mean(self.weights, self.means)

    def covariance(self) -> np.ndarray:
        """The predictive covariance given each row, by the law of total covariance.

        Returns
        -------
        covariance : ndarray of shape (n_samples, n_features, n_features)
        """
        kind = COVARIANCES[self.covariance_type]
        return mixture_covariance(self.weights, self.means, self.covariances, kind)


def conditional_components(
    means: np.ndarray,
    covariances: np.ndarray,
    kind: Covariances,
    given: np.ndarray,
    rest: np.ndarray,
    values: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Each component's distribution of some features given rows of the others.

    Parameters
    ----------
    means : ndarray of shape (n_components, n_features)
    covariances : ndarray
        Shaped as ``covariances_``.
    kind : Covariances
    given, rest : ndarray of int
        The features that are given, and the others.
    values : ndarray of shape (n_samples, len(given))

    Returns
    -------
    means : ndarray of shape (n_samples, n_components, len(rest))
    covariances : ndarray
        Shaped as ``covariances_``.

    Notes
    -----
    With the Cholesky factor ``[[A, 0], [B, C]]`` of a covariance of the given features and the
    rest, in this order, the rest has the covariance ``C @ C.T`` and the mean ``mean_rest + B @
    inv(A) @ (value - mean_given)``.
    """
    shape = len(values), len(means), len(rest)
    if order(kind) < 2:
        return np.broadcast_to(means[:, rest], shape), of_features(kind, covariances, rest)
    features, n_given = np.concatenate([given, rest]), len(given)
    roots = np.linalg.cholesky(stacked(kind, of_features(kind, covariances, features)))
    slopes = [
        solve_triangular(root[:n_given, :n_given], root[n_given:, :n_given].T, trans=1, lower=True)
        for root in roots
    ]
    moved = np.empty(shape)
    for k, mean in enumerate(means):
        slope = slopes[0 if kind.tied else k]
        moved[:, k] = mean[rest] + (values - mean[given]) @ slope
    roots = roots[:, n_given:, n_given:]
    covariances = roots @ roots.swapaxes(-1, -2)
    return moved, covariances[0] if kind.tied else covariances
