"""Kullback-Leibler divergences of Gaussians and of mixtures, in nats."""

import copy
import math
from collections.abc import Iterator
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import kl_div, logsumexp
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted

from fastem.mixtures.attributes import as_shares, fitted_weights
from fastem.mixtures.bernoulli.estimator import BernoulliMixture
from fastem.mixtures.gaussian.distribution import check_same_features
from fastem.mixtures.gaussian.estimator import GaussianMixture
from fastem.mixtures.gaussian.stacks import order, stacked, widened
from fastem.validation import check_shape

# Numbers in a block of rows that are drawn at a time.
_BLOCK_SIZE = 1 << 19


class KLEstimate(NamedTuple):
    """An estimate of a divergence.

    Parameters
    ----------
    estimate : float
        In nats.
    standard_error : float
        Standard deviation of the estimate over random draws; zero if nothing was drawn.
    """

    estimate: float
    standard_error: float


def kl_gaussian(mean_p: Any, cov_p: Any, mean_q: Any, cov_q: Any) -> float:
    """The divergence KL(p || q) of two Gaussians, in closed form.

    Parameters
    ----------
    mean_p, mean_q : float or array-like of shape (n_features,)

    cov_p, cov_q : float or array-like of shape (n_features,) or (n_features, n_features)
        Covariances; one-dimensional the diagonals of diagonal ones, a number the variance of every
        feature. Both needn't be of the same kind.

    Returns
    -------
    kl : float
        In nats, never negative; zero for equal Gaussians, up to rounding.

    Raises
    ------
    ValueError
        If shapes don't fit, or a covariance is not symmetric and positive definite.

    Notes
    -----
    With the covariances' Cholesky factors P and Q, ``M = inv(Q) @ P`` and ``z = inv(Q) @ (mean_p -
    mean_q)``, the textbook's ``(tr(inv(cov_q) @ cov_p) - n_features + log det cov_q - log det cov_p
    + z @ z) / 2`` is half a sum of squares, those of z and of what is below M's diagonal, and of
    ``m**2 - 1 - log(m**2)`` for each m on the diagonal. No term is negative, so nothing cancels.

    The formula is in S. Kullback, Information Theory and Statistics, 1959, section 9.1.

    Examples
    --------
    >>> from fastem import kl_gaussian
    >>> kl_gaussian(0.0, 1.0, 1.0, 1.0)
    0.5
    """
    mean_p, mean_q = _check_mean(mean_p, "mean_p"), _check_mean(mean_q, "mean_q")
    check_shape(mean_q, mean_p.shape, "mean_q")
    root_p = _check_root(cov_p, len(mean_p), "cov_p")
    root_q = _check_root(cov_q, len(mean_p), "cov_q")
    return float(_kl_of_gaussians(mean_p[np.newaxis], root_p[np.newaxis], mean_q, root_q)[0])


def _check_mean(mean, name):
    mean = check_array(np.atleast_1d(mean), dtype=np.float64, ensure_2d=False, input_name=name)
    check_shape(mean, (mean.size,), name)
    return mean


def _check_root(covariance, n_features, name):
    """The Cholesky factor of a covariance matrix, or the standard deviations of a diagonal one."""
    if np.ndim(covariance) == 0:
        covariance = np.repeat(covariance, n_features)
    covariance = check_array(covariance, dtype=np.float64, ensure_2d=False, input_name=name)
    check_shape(covariance, (n_features,) * covariance.ndim, name)
    if covariance.ndim == 1:
        if (covariance <= 0.0).any():
            raise ValueError(f"'{name}' should be positive")
        return np.sqrt(covariance)
    try:
        root = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        root = None
    if root is None or not _is_symmetric(covariance):
        raise ValueError(f"'{name}' should be symmetric, positive-definite")
    return root


def _is_symmetric(matrix):
    deviations = np.sqrt(np.diag(matrix))
    return (np.abs(matrix - matrix.T) <= 1e-5 * np.outer(deviations, deviations)).all()


@np.errstate(over="ignore", divide="ignore", invalid="ignore")
def _kl_of_gaussians(means, roots, mean_q, root_q):
    """KL(p || q) of each of several Gaussians p and one q.

    ``roots`` are Cholesky factors (n_gaussians, n_features, n_features) or standard deviations
    (n_gaussians, n_features), ``root_q`` is one such.
    """
    n_features = len(mean_q)
    differences = means - mean_q
    if root_q.ndim == 1:
        z = differences / root_q
        M = roots / (root_q if roots.ndim == 2 else root_q[:, np.newaxis])
    else:
        if roots.ndim == 2:
            roots = roots[:, :, np.newaxis] * np.eye(n_features)
        z = solve_triangular(root_q, differences.T, lower=True, check_finite=False).T
        columns = roots.transpose(1, 0, 2).reshape(n_features, -1)
        columns = solve_triangular(root_q, columns, lower=True, check_finite=False)
        M = columns.reshape(n_features, -1, n_features).transpose(1, 0, 2)
    squares = (z**2).sum(axis=1)
    if M.ndim == 3:
        squares += (np.tril(M, -1) ** 2).sum(axis=(1, 2))
        M = np.einsum("kii->ki", M)
    kl = 0.5 * (squares + _excess(M).sum(axis=1))
    return np.where(np.isnan(kl), np.inf, kl)  # where infinity has met infinity or zero


def _excess(m):
    """``m**2 - 1 - log(m**2)`` of positive numbers, with the digits there are next to one."""
    e = m - 1.0
    return np.maximum(e * (e + 2.0) - 2.0 * np.log1p(e), 0.0)


def kl_divergence(
    p: GaussianMixture | BernoulliMixture,
    q: GaussianMixture | BernoulliMixture,
    *,
    method: str = "monte-carlo",
    n_samples: int = 100_000,
    random_state: Any = None,
) -> KLEstimate:
    """The divergence KL(p || q) of two mixtures, which has no closed form.

    Parameters
    ----------
    p, q : GaussianMixture or BernoulliMixture
        Fitted, both of the same kind, with as many features. Gaussian mixtures may have different
        covariance types.

    method : {'monte-carlo', 'variational'}, default='monte-carlo'
        - ``'monte-carlo'``: the mean of ``log p(x) - log q(x)`` over rows drawn from p. It has no
          bias, but may be negative where the divergence is smaller than the standard error.
        - ``'variational'``: the approximation of Hershey and Olsen from the divergences between
          components. It draws nothing; it is exact for mixtures of one component and zero for equal
          mixtures, but else neither an upper nor a lower bound, off by an unknown amount, and may
          be negative.

    n_samples : int, default=100_000
        Number of rows to draw, at least 2. They are drawn in blocks, so that memory doesn't grow.

    random_state : int, RandomState instance or None, default=None
        Determines the draws, instead of the mixtures' own.

    Returns
    -------
    kl : KLEstimate
        A named tuple of the ``estimate`` in nats and its ``standard_error``. The estimate is inf,
        with a standard error of zero, if a row that is possible under p is impossible under q. The
        variational approximation's standard error is zero.

    Raises
    ------
    TypeError
        If p and q are not mixtures of one kind.
    ValueError
        If the numbers of features differ, a parameter is out of range, or a mixture has a noise
        component.

    Notes
    -----
    J. R. Hershey and P. A. Olsen, "Approximating the Kullback Leibler divergence between Gaussian
    mixture models", ICASSP 2007, sections 2 and 7.
    """
    kind = next((kind for kind in _COMPONENT_KL if isinstance(p, kind)), None)
    if kind is None or not isinstance(q, kind):
        raise TypeError(
            "p and q should be two GaussianMixtures or two BernoulliMixtures, not "
            f"{type(p).__name__} and {type(q).__name__}"
        )
    check_is_fitted(p)
    check_is_fitted(q)
    check_same_features(p, q)
    for mixture in (p, q):
        if isinstance(mixture, GaussianMixture):
            mixture._distribution()  # which refuses a noise component
    p, q = _normalised(p), _normalised(q)
    if method == "variational":
        return KLEstimate(_variational(p, q, _COMPONENT_KL[kind]), 0.0)
    if method != "monte-carlo":
        raise ValueError(f"method should be 'monte-carlo' or 'variational', not {method!r}")
    if not isinstance(n_samples, Integral) or n_samples < 2:
        raise ValueError(f"n_samples should be an integer of at least 2, not {n_samples!r}")
    return _monte_carlo(p, q, int(n_samples), check_random_state(random_state))


def _normalised(mixture):
    """The mixture as a distribution, whatever its weights' sum."""
    mixture = copy.copy(mixture)
    mixture.weights_ = as_shares(fitted_weights(mixture))
    return mixture


def _monte_carlo(p, q, n_samples, random_state):
    count, mean, squares = 0, 0.0, 0.0
    p, q = _for_zeros_and_ones(p), _for_zeros_and_ones(q)
    for X in _draws(p, n_samples, random_state):
        values = _log_density(p, X) - _log_density(q, X)
        if values.max() == math.inf:
            return KLEstimate(math.inf, 0.0)
        # Moments of the rows so far and of these, about their common mean: Chan, Golub and LeVeque,
        # The American Statistician 37, 1983.
        difference = float(values.mean()) - mean
        share = len(values) / (count + len(values))
        squares += float(((values - values.mean()) ** 2).sum()) + difference**2 * count * share
        mean += difference * share
        count += len(values)
    return KLEstimate(mean, math.sqrt(squares / (count - 1) / count))


def _draws(mixture, n_samples, random_state) -> Iterator[np.ndarray]:
    """Blocks of rows drawn from a mixture, which doesn't notice."""
    sampler = copy.copy(mixture).set_params(random_state=random_state)
    size = max(1, _BLOCK_SIZE // mixture.n_features_in_)
    for start in range(0, n_samples, size):
        yield sampler.sample(min(size, n_samples - start))[0]


def _for_zeros_and_ones(mixture):
    """A mixture that takes the rows that it draws, which are binarized already."""
    if isinstance(mixture, BernoulliMixture):
        return copy.copy(mixture).set_params(binarize=None)
    return mixture


def _log_density(mixture, X):
    """As ``score_samples`` without its warning about impossible rows."""
    log_density = np.empty(len(X))
    mixture._make_pass(X, None).evaluate(mixture._components(), log_density=log_density)
    return log_density


def _variational(p, q, component_kl):
    """Both expected log-densities by their variational bounds, of which components' KL is left."""
    own = logsumexp(-component_kl(p, p), axis=1, b=p.weights_)
    others = logsumexp(-component_kl(p, q), axis=1, b=q.weights_)
    present = p.weights_ > 0.0
    return float(p.weights_[present] @ (own[present] - others[present]))


def _kl_of_gaussian_components(p, q):
    (means_p, roots_p), (means_q, roots_q) = _means_and_roots(p), _means_and_roots(q)
    roots_q = np.broadcast_to(roots_q, (len(means_q), *roots_q.shape[1:]))
    columns = [
        _kl_of_gaussians(means_p, roots_p, mean, root)
        for mean, root in zip(means_q, roots_q, strict=True)
    ]
    return np.stack(columns, axis=1)


def _means_and_roots(mixture):
    _, means, covariances = mixture._distribution()
    kind = mixture._covariances
    stack = widened(stacked(kind, covariances), 1, means.shape[1])
    return means, np.linalg.cholesky(stack) if order(kind) == 2 else np.sqrt(stack)


def _kl_of_bernoulli_components(p, q):
    rows = [
        (kl_div(one, q.probabilities_) + kl_div(1.0 - one, 1.0 - q.probabilities_)).sum(axis=1)
        for one in p.probabilities_
    ]
    return np.stack(rows)


_COMPONENT_KL = {
    GaussianMixture: _kl_of_gaussian_components,
    BernoulliMixture: _kl_of_bernoulli_components,
}
