"""Volumes of covariances that have the same shape and orientation, or the same shape.

Covariances ``volume[k] * C`` with ``|C| = 1`` are most likely where, with ``t`` the negative
logarithms of the volumes, ``log |sum_k weights[k] exp(t[k]) S[k]| - n sum_k weights[k] t[k]`` is
least. It is convex. Taking C and the volumes in turn, as Celeux and Govaert do (Pattern Recognition
28, 1995), lowers it every time, but it can take thousands of turns where the shapes of the S are
nearly disjoint; so Newton's method takes over.
"""

import numpy as np

from fastem.kernels.linalg.factors import factor_inverses

# Relative change of the volumes below which they are found. Errors of the objective are its square.
_TOL = 1e-7
_TURNS, _NEWTON_STEPS, _HALVINGS = 10, 50, 30


class Diagonals:
    """Sums of positive diagonal matrices, of which there is one in each row."""

    def __init__(self, parts: np.ndarray):
        self.parts = parts
        self.size = parts.shape[1]

    def total(self, factors: np.ndarray) -> np.ndarray:
        """The sum, each matrix times a factor."""
        return factors @ self.parts

    def log_determinant(self, total: np.ndarray) -> float:
        """Of such a sum; infinite unless it is positive definite."""
        return float(np.log(total).sum()) if (total > 0.0).all() else np.inf

    def traces(self, total: np.ndarray) -> np.ndarray:
        """Of each matrix times the inverse of a sum."""
        return (self.parts / total).sum(axis=1)

    def interactions(self, total: np.ndarray) -> np.ndarray:
        """The same of each pair of matrices, whitened."""
        whitened = self.parts / total
        return whitened @ whitened.T


class Symmetric:
    """The same for symmetric matrices."""

    def __init__(self, parts: np.ndarray):
        self.parts = parts
        self.size = parts.shape[1]

    def total(self, factors):
        return np.einsum("k,kij->ij", factors, self.parts)

    def log_determinant(self, total):
        factor, definite = factor_inverses(total[np.newaxis])
        return -2.0 * float(np.log(np.diagonal(factor[0])).sum()) if definite[0] else np.inf

    def traces(self, total):
        root = factor_inverses(total[np.newaxis])[0][0]
        return self._flat() @ (root @ root.T).ravel()

    def interactions(self, total):
        root = factor_inverses(total[np.newaxis])[0][0]
        whitened = Symmetric(root.T @ self.parts @ root)._flat()
        return whitened @ whitened.T

    def _flat(self):
        return self.parts.reshape(len(self.parts), -1)


def varying_volumes(
    covariances: Diagonals | Symmetric, weights: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Volumes of components that share the rest.

    Parameters
    ----------
    covariances : Diagonals or Symmetric
        The components' own, S.
    weights : ndarray of shape (n_components,)
        Their weights, with a sum of one.
    start : ndarray of shape (n_components,)
        Logarithms of volumes to start from.

    Returns
    -------
    volumes : ndarray of shape (n_components,)
        Not finite where there is no optimum.
    common : ndarray
        What they are volumes of, C.
    """
    logs = -start
    with np.errstate(all="ignore"):  # what isn't finite says so
        for turn in range(_TURNS + _NEWTON_STEPS):
            objective, factors, total = _objective(covariances, weights, logs)
            scale = covariances.log_determinant(total) / covariances.size
            traces = covariances.traces(total)
            volumes = traces * np.exp(scale) / covariances.size
            change = -np.log(volumes) - logs
            change -= weights @ change  # which all share has no effect
            if not np.abs(change).max() > _TOL or not np.isfinite(change).all():
                break
            if turn >= _TURNS:
                shares = factors * traces
                change = _newton(covariances, weights, factors, total, shares)
                change *= _length(covariances, weights, logs, change, objective)
            logs = logs + change
    return volumes, total * np.exp(-scale)


def _objective(covariances, weights, logs):
    """The objective, and the sum inside with its factors."""
    greatest = logs.max()
    factors = weights * np.exp(logs - greatest)
    total = covariances.total(factors)
    objective = covariances.log_determinant(total) + covariances.size * (greatest - weights @ logs)
    return objective, factors, total


def _newton(covariances, weights, factors, total, shares):
    """Newton's step, in units that make the Hessian's diagonal that of the identity or less."""
    roots = np.sqrt(shares)
    units = factors / roots
    hessian = -units[:, np.newaxis] * covariances.interactions(total) * units
    # A change that all share has no effect, so anything may be added along it.
    hessian += np.eye(len(units)) + np.outer(roots, roots) / covariances.size
    gradient = shares - covariances.size * weights
    return -np.linalg.lstsq(hessian, gradient / roots)[0] / roots


def _length(covariances, weights, logs, change, objective):
    """The first of 1, 1/2, 1/4 ... that lowers the objective; 0 if none does."""
    length = 1.0
    for _ in range(_HALVINGS):
        if _objective(covariances, weights, logs + length * change)[0] < objective:
            return length
        length *= 0.5
    return 0.0
