"""One covariance for all components: unrestricted, diagonal, or a multiple of the identity.

What a row's log-densities have in common then is a quadratic form, which no responsibility depends
on. Its sum over the rows follows from the *total* scatter, that of all rows as one component, and
so does the scatter within the components; the total is computed once.
"""

from typing import NamedTuple

import numpy as np

from fastem.kernels.columns.moments import dense_moments
from fastem.kernels.gaussian.diag import DiagPass
from fastem.kernels.gaussian.full import FullPass
from fastem.kernels.gaussian.linear import FEATURES, WHITENED
from fastem.kernels.gaussian.linear_base import LinearPass
from fastem.kernels.gaussian.spherical import SphericalPass
from fastem.kernels.linalg.factors import factor_inverses, product

# Above this, float32 and float64 lose too many digits when they whiten rows by one matrix.
_REACH = {np.dtype(np.float32): 200.0, np.dtype(np.float64): 1e6}


class _Total(NamedTuple):
    """All rows' weight and scatter, in the type's shape, about an origin.

    ``spread`` are the features' root mean squares from there.
    """

    origin: np.ndarray
    weight: float
    scatter: np.ndarray
    spread: np.ndarray


def _variances(scatter):
    return np.diagonal(scatter) if np.ndim(scatter) == 2 else scatter


class _OneCovariance(LinearPass):
    """What the three types share."""

    _form = FEATURES

    def __init__(self, X, sample_weight, n_components):
        super().__init__(X, sample_weight, n_components)
        self._known_total = None

    def _total(self):
        if self._known_total is None:
            mean = dense_moments(self._rows).mean
            self._known_total = self._measure(mean.astype(self._rows.dtype).astype(np.float64))
        return self._known_total

    def _as_one(self, center):
        """The statistics of all rows as one "diag" component."""
        weight = self._weight if len(self._weight) else None
        labels = np.zeros(len(self._rows), np.int32)
        return DiagPass(self._rows, weight, 1).from_labels(labels, center[np.newaxis])

    def _origin(self, parameters):
        return self._total().origin

    def _objective(self, parameters, packed, log_density):
        if packed.form == FEATURES:
            log_density -= 0.5 * self._sum_of_norms(parameters.precisions_cholesky)
        return log_density

    def _about_means(self, counts, sums, means):
        sums = sums[0]
        differences = sums - counts[:, np.newaxis] * means
        return differences, self._total().scatter - self._between(means, sums + differences)

    def _from_differences(self, statistics, parameters):
        _, counts, differences, _ = statistics
        means = parameters.means - self._total().origin
        sums = 2.0 * differences + counts[:, np.newaxis] * means
        scatter = self._total().scatter - self._between(means, sums)
        return self._with_digits(statistics._replace(scatter=scatter), means)

    def _complete(self, counts):
        # The total is that of all rows, even if some belong to no component.
        weight = self._total().weight
        return abs(counts.sum() - weight) <= 1e-5 * weight

    def _resolved(self, counts, means, scatter):
        return _variances(self._total().scatter) <= self._limits.square * _variances(scatter)

    def _variances_of(self, statistics):
        return _variances(statistics.scatter) / statistics.counts.sum()

    # What a subclass writes

    def _measure(self, origin):
        """The total about an origin."""
        raise NotImplementedError

    def _between(self, means, sums):
        """The symmetric part of ``means.T @ sums``, in the type's shape."""
        raise NotImplementedError

    def _sum_of_norms(self, precisions_cholesky):
        """The sum of the whitened rows' squared norms."""
        raise NotImplementedError


class _OneVariance(_OneCovariance):
    """The types without correlations."""

    def _measure(self, origin):
        whole = self._as_one(origin)
        weight, squares = whole.counts[0], whole.scatter[0]
        return _Total(origin, weight, self._shaped(squares), np.sqrt(squares / weight))

    def _shaped(self, scatter):
        """A diagonal in the type's shape."""
        return scatter

    def _linear(self, parameters, origin):
        scales = self._scales(parameters.precisions_cholesky)
        means = parameters.means - origin
        reach = np.maximum(np.abs(means).max(axis=0), self._total().spread)
        near = ((reach * scales[0]) ** 2).max() <= self._limits.square
        if not (near and self._in_range(scales)):
            return None
        constants = self._constants(parameters, scales) - 0.5 * ((means * scales) ** 2).sum(axis=1)
        return self._packed(FEATURES, origin, means * scales**2, constants)

    def _between(self, means, sums):
        return self._shaped((means * sums).sum(axis=0))

    def _sum_of_norms(self, precisions_cholesky):
        return float((self._total().scatter * precisions_cholesky**2).sum())


class TiedDiagPass(_OneVariance, DiagPass):
    """Passes with "tied_diag" covariances."""

    def _sum_up(self, scatter):
        return scatter.sum(axis=0)

    def _pack_to_evaluate(self, parameters):
        return DiagPass._linear(self, parameters, LinearPass._origin(self, parameters))


class TiedSphericalPass(_OneVariance, SphericalPass):
    """Passes with "tied_spherical" covariances."""

    def _sum_up(self, scatter):
        return scatter.sum()

    def _shaped(self, scatter):
        return scatter.sum()

    def _pack_to_evaluate(self, parameters):
        return SphericalPass._linear(self, parameters, LinearPass._origin(self, parameters))


class TiedPass(_OneCovariance):
    """Passes with "tied" covariances.

    Where the means are too far apart, it is a pass with "full" covariances that are all the same.
    """

    def __init__(self, X, sample_weight, n_components):
        super().__init__(X, sample_weight, n_components)
        self._known_full = None

    def _measure(self, origin):
        weight, products = self._products(origin)
        return _Total(origin, weight, products, np.sqrt(np.diagonal(products) / weight))

    def _sum_up(self, scatter):
        return scatter.sum(axis=0)

    def _peaks(self, parameters):
        scales = np.diagonal(parameters.precisions_cholesky)
        return self._constants(parameters, np.broadcast_to(scales, parameters.means.shape))

    def _movement(self, old, new):
        factor = new.precisions_cholesky
        change = np.linalg.solve(old.precisions_cholesky, factor)
        shrink = min(np.linalg.svd(change, compute_uv=False)[-1], 1.0)
        drift = np.sqrt((((new.means - old.means) @ factor) ** 2).sum(axis=1))
        return np.full(len(drift), shrink), drift

    def _full(self):
        if self._known_full is None:
            sample_weight = self._weight if len(self._weight) else None
            self._known_full = FullPass(self._rows, sample_weight, self._n_components)
        return self._known_full

    def _repeated(self, parameters):
        factor = parameters.precisions_cholesky
        return parameters._replace(
            precisions_cholesky=np.broadcast_to(factor, (self._n_components, *factor.shape))
        )

    def _tied(self, statistics):
        return statistics._replace(scatter=statistics.scatter.sum(axis=0))

    def _exact_step(self, parameters, centers, hard, skip):
        return self._tied(self._full().step(self._repeated(parameters), centers, hard, skip))

    def _exact_from_labels(self, labels, centers):
        return self._tied(self._full().from_labels(labels, centers))

    def _exact_evaluate(self, parameters, **outputs):
        self._full().evaluate(self._repeated(parameters), **outputs)

    def _linear(self, parameters, origin):
        means = parameters.means - origin
        spread = np.maximum(np.abs(means).max(axis=0), self._total().spread)
        factor = parameters.precisions_cholesky
        whitened = product(means, factor)
        coefficients = product(whitened, factor.T)
        # Bounds on what is added up for a whitened feature, and for a log-density.
        reach = (spread[:, np.newaxis] * np.abs(factor)).sum(axis=0).max()
        size = (np.abs(coefficients) * spread).sum(axis=1).max()
        norm = self._limits.norm * means.shape[1]
        if reach**2 <= self._limits.square and size <= norm:
            constants = self._tied_constants(parameters, whitened)
            return self._packed(FEATURES, origin, coefficients, constants)
        return self._whitened(parameters, origin, whitened, reach)

    def _whitened(self, parameters, origin, whitened, reach):
        norms = (whitened**2).sum(axis=1)
        near = norms.max() <= self._limits.norm * whitened.shape[1]
        if not (near and reach <= _REACH[self._rows.dtype]):
            return None
        halves = np.full((len(whitened), 1), -0.5)
        return self._packed(
            WHITENED,
            origin,
            np.hstack([whitened, halves]),
            self._tied_constants(parameters, whitened),
            whitening=parameters.precisions_cholesky.T,
        )

    def _pack_to_evaluate(self, parameters):
        factor = parameters.precisions_cholesky
        origin = LinearPass._origin(self, parameters)
        means = parameters.means - origin
        roots, definite = factor_inverses(product(factor, factor.T)[np.newaxis])
        if not definite[0]:
            return None
        deviations = np.sqrt((roots[0] ** 2).sum(axis=1))
        spread = np.abs(means).max(axis=0) + deviations
        reach = (spread[:, np.newaxis] * np.abs(factor)).sum(axis=0).max()
        return self._whitened(parameters, origin, product(means, factor), reach)

    def _tied_constants(self, parameters, whitened):
        factor = parameters.precisions_cholesky
        scales = np.broadcast_to(np.diagonal(factor), whitened.shape)
        return self._constants(parameters, scales) - 0.5 * (whitened**2).sum(axis=1)

    def _between(self, means, sums):
        products = product(means.T, sums)
        return 0.5 * (products + products.T)

    def _sum_of_norms(self, precisions_cholesky):
        total = self._total().scatter
        return float((precisions_cholesky * product(total, precisions_cholesky)).sum())
