"""Plane rotations that make many matrices nearly diagonal together.

B. N. Flury and W. Gautschi, "An algorithm for simultaneous orthogonal transformation of several
positive definite symmetric matrices to nearly diagonal form", SIAM Journal on Scientific and
Statistical Computing 7, 1986: a sweep visits each pair of axes and turns its plane.
"""

import math

import numpy as np

from fastem.kernels.runtime.compiling import inline, kernel

# Turns of a plane in a visit: the second catches up with weights that the first has changed.
_TURNS = 2
# A turn's gain, relative to the weights, that is nothing but rounding: a plane in which all
# matrices are spheres has no axes.
_NO_GAIN = 1e-20


def rotated(
    matrices: np.ndarray,
    weights: np.ndarray,
    orientation: np.ndarray,
    equal_volumes: bool,
    n_sweeps: int,
    tol: float,
) -> tuple[np.ndarray, np.ndarray]:
    """An orientation in which matrices are more nearly diagonal than in the given one.

    With ``v[k, j]`` the diagonals in the orientation, a sweep lowers ``sum_k weights[k] sum_j
    log(v[k, j])``, or with equal volumes ``sum_k weights[k] prod_j v[k, j] ** (1 / n)``.

    Parameters
    ----------
    matrices : ndarray of shape (n_matrices, n, n), float64
        Symmetric, positive definite.
    weights : ndarray of shape (n_matrices,), float64
    orientation : ndarray of shape (n, n), float64
        Orthogonal; the axes are its columns.
    equal_volumes : bool
    n_sweeps : int
        Most sweeps.
    tol : float
        Gain of a sweep, relative to the weights, that is the last.

    Returns
    -------
    orientation : ndarray of shape (n, n)
    variances : ndarray of shape (n_matrices, n)
        The diagonals in it.
    """
    axes = np.ascontiguousarray(orientation.T)
    # In units, a power of two, in which products of variances are within range.
    exponent = np.frexp(np.abs(matrices).max())[1]
    turned = np.ascontiguousarray(axes @ np.ldexp(matrices, -exponent) @ orientation)
    _sweep(turned, np.array(weights, np.float64), axes, equal_volumes, n_sweeps, tol)
    return np.ascontiguousarray(axes.T), np.ldexp(np.einsum("kii->ki", turned), exponent)


@kernel
def _sweep(matrices, weights, axes, equal_volumes, n_sweeps, tol):
    n_matrices, n, _ = matrices.shape
    shares = weights.copy()
    planes = np.empty((n_matrices, 3))
    for _ in range(n_sweeps):
        if equal_volumes:
            _share_volumes(matrices, weights, shares)
        gains = 0.0
        for p in range(n):
            for q in range(p + 1, n):
                angle, gain = _angle(matrices, shares, planes, p, q, equal_volumes)
                if gain > 0.0:
                    gains += gain
                    _turn(matrices, axes, p, q, math.cos(angle), math.sin(angle))
        if gains <= tol:
            return


@inline
def _share_volumes(matrices, weights, shares):
    """Weights times geometric means of the diagonals, relative to the greatest."""
    n_matrices, n, _ = matrices.shape
    greatest = -math.inf
    for k in range(n_matrices):
        total = 0.0
        for j in range(n):
            total += math.log(matrices[k, j, j])
        shares[k] = total / n
        if weights[k] > 0.0:
            greatest = max(greatest, shares[k])
    for k in range(n_matrices):
        shares[k] = weights[k] * math.exp(shares[k] - greatest) if weights[k] > 0.0 else 0.0


@inline
def _angle(matrices, shares, planes, p, q, equal_volumes):
    """By what angle to turn a plane, and what is gained at least, relative to the weights.

    A turn by half of phi makes ``m + r`` and ``m - r`` of the two variances, ``r = h cos(phi) +
    b sin(phi)``. Objectives are concave in ``r ** 2``, so their tangents bound them from above, and
    these are least where a quadratic form is greatest: no turn raises the objective.
    """
    n = matrices.shape[1]
    for k in range(len(matrices)):
        planes[k, 0] = matrices[k, p, p]
        planes[k, 1] = matrices[k, q, q]
        planes[k, 2] = matrices[k, p, q]
    angle, gains = 0.0, 0.0
    for _ in range(_TURNS):
        total, hh, hb, bb = 0.0, 0.0, 0.0, 0.0
        for k in range(len(matrices)):
            half, off = 0.5 * (planes[k, 0] - planes[k, 1]), planes[k, 2]
            product = planes[k, 0] * planes[k, 1]
            # Without variance there is nothing to weight by; the caller finds it on the diagonal.
            weight = shares[k] / product if product > 0.0 else 0.0
            total += shares[k]
            hh += weight * half * half
            hb += weight * half * off
            bb += weight * off * off
        x, y = hh - bb, 2.0 * hb
        length = math.sqrt(x * x + y * y)
        gain = 0.5 * (y * y / (length + x) if x > 0.0 else length - x)
        if not gain > _NO_GAIN * total:
            break
        gains += gain / total
        turn = 0.25 * math.atan2(y, x)
        cos, sin = math.cos(turn), math.sin(turn)
        for k in range(len(matrices)):
            a, c, b = planes[k, 0], planes[k, 1], planes[k, 2]
            first = cos * cos * a + 2.0 * cos * sin * b + sin * sin * c
            second = sin * sin * a - 2.0 * cos * sin * b + cos * cos * c
            if equal_volumes and shares[k] > 0.0:
                shares[k] *= (first / a * (second / c)) ** (1.0 / n)
            planes[k, 0], planes[k, 1] = first, second
            planes[k, 2] = cos * sin * (c - a) + (cos * cos - sin * sin) * b
        angle += turn
    return angle, gains


@inline
def _turn(matrices, axes, p, q, cos, sin):
    n = axes.shape[0]
    for k in range(len(matrices)):
        for j in range(n):
            a, b = matrices[k, p, j], matrices[k, q, j]
            matrices[k, p, j] = cos * a + sin * b
            matrices[k, q, j] = cos * b - sin * a
        for j in range(n):
            a, b = matrices[k, j, p], matrices[k, j, q]
            matrices[k, j, p] = cos * a + sin * b
            matrices[k, j, q] = cos * b - sin * a
    for j in range(n):
        a, b = axes[p, j], axes[q, j]
        axes[p, j] = cos * a + sin * b
        axes[q, j] = cos * b - sin * a
