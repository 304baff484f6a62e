"""Passes over rows of which entries are missing, or that have known errors."""

import math
from typing import NamedTuple

import numpy as np

from fastem.kernels.gaussian.base import GaussianStatistics
from fastem.kernels.gaussian.incomplete.driver import Observed
from fastem.kernels.gaussian.incomplete.far import evaluate_far, far_rows
from fastem.kernels.gaussian.incomplete.grouped import GroupedPass
from fastem.kernels.gaussian.incomplete.masked import MaskedPass
from fastem.kernels.gaussian.incomplete.patterns import find_patterns
from fastem.kernels.gaussian.incomplete.rowwise import RowwisePass
from fastem.kernels.linalg.factors import product
from fastem.kernels.runtime.arrays import as_weights, read_only, unless_ones, wanted

# What rows of a pattern have in common is found once if there are so many.
_FREQUENT = 6

_NO_DENSITY = (
    "The log-density of some row is not finite: the row is too far from every component for "
    "float64, or the covariance of what was observed of it is not positive definite in spite of "
    "the covariances of its errors and of the components. Scale the data, or increase reg_covar"
)


class IncompleteStatistics(NamedTuple):
    """What the M-step needs of incomplete rows; the statistics of two parts of the data add up.

    Parameters
    ----------
    completed : GaussianStatistics
        Expected, given what was observed, of the rows as they are without gaps and errors.
    observed : ndarray of shape (n_components, n_features)
        Sums of ``w * gamma`` over the rows in which the feature was observed.
    """

    completed: GaussianStatistics
    observed: np.ndarray


class IncompletePass:
    """Passes over the rows of one part, for any covariance type.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64, C-contiguous
        NaN where nothing was observed.
    sample_weight : None or ndarray of shape (n_rows,), float64
    n_components : int
    covariance_type : str
        One of the types that have passes.
    noise : None or ndarray, dtype of X
        Of the errors, variances (n_rows, n_features) or covariances (n_rows, n_features,
        n_features). What is NaN in X has none.
    shared_noise : None or ndarray of shape (n_features, n_features), float64
        The covariance of the errors of all rows.
    """

    def __init__(
        self, X, sample_weight, n_components, covariance_type, noise=None, shared_noise=None
    ):
        self._dtype = X.dtype
        self._covariance_type = covariance_type
        X, weight = read_only(X), as_weights(unless_ones(sample_weight))
        noisy = noise is not None or shared_noise is not None
        noise = np.empty((0, X.shape[1]), X.dtype) if noise is None else noise
        noise = read_only(noise.reshape(len(noise), math.prod(noise.shape[1:])))
        shared_noise = 0.0 if shared_noise is None else shared_noise
        rows = Observed(X, read_only(np.empty(0, np.int32)), weight, noise)
        self._X, self._noise, self._shared = X, noise, shared_noise
        self._matrices = noisy or covariance_type in ("full", "tied")
        grouped = self._matrices and not noisy
        # All others work in float64.
        self._precision = X.dtype if grouped else np.dtype(np.float64)
        self._row_by_row = RowwisePass(rows, n_components, shared_noise)
        if noisy:
            self._passes = [self._row_by_row]
        elif grouped:
            self._passes = list(_by_pattern(rows, n_components))
        else:
            self._passes = [MaskedPass(X, weight, n_components)]

    def e_step(self, components, centers=None, hard=False, skip=True):
        """As ``GaussianPass.e_step``, of the rows as they are without gaps and errors.

        Returns
        -------
        IncompleteStatistics

        Raises
        ------
        ValueError
            If the log-density of a row is not finite.
        """
        parameters = self._parameters(components)
        found = [one.sums(*parameters, hard) for one in self._passes]
        objective, counts, observed, sums, scatter = (sum(v) for v in zip(*found, strict=True))
        if self._dtype == np.float32 and self._matrices and not math.isfinite(objective):
            # What is out of float32's range may be in that of float64, in which these work.
            objective, counts, observed, sums, scatter = self._row_by_row.sums(*parameters, hard)
        if not math.isfinite(objective):
            raise ValueError(_NO_DENSITY)
        if centers is not None:
            delta = components.means - centers
            moved = sums + 0.5 * counts[:, np.newaxis] * delta
            if self._matrices:
                moved = moved[:, :, np.newaxis] * delta[:, np.newaxis, :]
                scatter = scatter + moved + moved.swapaxes(1, 2)
            else:
                scatter = scatter + 2.0 * moved * delta
            sums = sums + counts[:, np.newaxis] * delta
        scatter = _shaped(scatter, self._covariance_type)
        return IncompleteStatistics(GaussianStatistics(objective, counts, sums, scatter), observed)

    def evaluate(self, components, **outputs):
        """As ``GaussianPass.evaluate``, but for the result: nothing."""
        parameters = self._parameters(components)
        outputs.setdefault("log_density", np.empty(len(self._X), self._dtype))
        for one in self._passes:
            one.evaluate(*parameters, wanted(**outputs, dtype=self._dtype))
        far = far_rows(outputs["log_density"], self._precision)
        if len(far):
            matrices = _covariance_matrices(components, self._covariance_type)
            errors = self._errors if len(self._noise) else None
            known = (components.log_weights, components.means, matrices)
            with np.errstate(all="ignore"):
                evaluate_far(self._X, far, errors, self._shared, known, outputs)

    def _errors(self, row):
        """The covariance of a row's own errors; nothing is known of what was not observed."""
        noise = np.nan_to_num(self._noise[row].astype(np.float64), nan=0.0)
        n_features = self._X.shape[1]
        return np.diag(noise) if len(noise) == n_features else noise.reshape(n_features, -1)

    def _parameters(self, components):
        """The log-weights, the means, and the covariances as the passes take them."""
        make = _covariance_matrices if self._matrices else _variances
        covariances = np.ascontiguousarray(make(components, self._covariance_type))
        return components.log_weights, components.means, covariances


def _by_pattern(rows, n_components):
    """Passes over the rows of frequent patterns, and over the others."""
    order, counts, seen = find_patterns(rows.X)
    frequent = (counts >= _FREQUENT) & seen.any(axis=1)
    rows_are = np.repeat(frequent, counts)
    if frequent.any():
        chosen = order[rows_are], counts[frequent], seen[frequent]
        yield GroupedPass(rows.X, rows.weight, n_components, *chosen)
    if not frequent.all():
        yield RowwisePass(rows._replace(order=read_only(order[~rows_are])), n_components)


def _covariance_matrices(components, covariance_type):
    """The covariance matrix of each component."""
    k, d = components.means.shape
    factors = components.precisions_cholesky
    if covariance_type in ("full", "tied"):
        roots = np.linalg.inv(factors)
        covariances = product(roots.swapaxes(-1, -2), roots)
        return np.broadcast_to(covariances, (k, d, d))
    return _variances(components, covariance_type)[:, :, np.newaxis] * np.eye(d)


def _variances(components, covariance_type):
    """The variances of each component, for types without correlations."""
    factors = components.precisions_cholesky
    factors = factors[:, np.newaxis] if covariance_type == "spherical" else factors
    return np.broadcast_to(factors, components.means.shape) ** -2.0


def _shaped(scatter, covariance_type):
    """Scatter of each component as the type's statistics have it."""
    if covariance_type not in ("full", "tied") and scatter.ndim == 3:
        scatter = np.einsum("kii->ki", scatter)
    if covariance_type.endswith("spherical"):
        scatter = scatter.sum(axis=1)
    if covariance_type.startswith("tied"):
        scatter = scatter.sum(axis=0)
    return np.array(scatter)
