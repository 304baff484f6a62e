"""Kullback-Leibler divergences of Gaussians and of mixtures, in nats."""

from typing import Any

import numpy as np
from scipy.linalg import solve_triangular
from sklearn.utils import check_array

from fastem.validation import check_shape


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
        In nats, never negative; zero for equal Gaussians.

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
    return np.abs(matrix - matrix.T).max() <= 1e-5 * np.abs(matrix).max()


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
