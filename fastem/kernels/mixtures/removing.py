"""Which components are missed least."""

import math

import numpy as np

from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.memory import aligned_array

# Of shares this small, two terms of the logarithm's series have twelve digits; most shares are.
_SMALL = 1e-6
# A share of one is taken for so much less: what the others have is not known any better.
_MOST_SHARE = 1.0 - 1e-12


def removed(
    shares: np.ndarray, sample_weight: np.ndarray, weights: np.ndarray, size: int
) -> np.ndarray:
    """Components to remove, one after the other the one without which densities lose least.

    Without component k and with the other weights as they are among themselves, the density of a
    row is ``(1 - share k) / (1 - weight k)`` of what it was.

    Parameters
    ----------
    shares : ndarray of shape (n_rows, n_components), float32 or float64
        Responsibilities; what others have of a row is not the components'.
    sample_weight : ndarray of shape (n_rows,), float64
    weights : ndarray of shape (n_components,), float64
    size : int
        How many to remove; less than there are.

    Returns
    -------
    numbers : ndarray of shape (size,), int64
    """
    numbers = np.empty(size, np.int64)
    left = np.empty(len(shares))
    shares = read_only(np.ascontiguousarray(shares))
    remove(shares, read_only(sample_weight), np.array(weights, np.float64), left, numbers)
    return numbers


@kernel
def remove(shares, sample_weight, weights, left, numbers):
    """Write the numbers, as :func:`removed` returns them.

    Weights are written over: those of the removed are negative then. ``left`` receives what is left
    of the rows' densities.
    """
    n_rows, n_components = shares.shape
    total_rows = 0.0
    for i in range(n_rows):
        total_rows += sample_weight[i]
        left[i] = 1.0
    lost = aligned_array(n_components, np.float64)
    for turn in range(len(numbers)):
        total = 0.0
        for j in range(n_components):
            total += max(weights[j], 0.0)
            lost[j] = 0.0
        for i in range(n_rows):
            for j in range(n_components):
                lost[j] -= sample_weight[i] * _log_rest(shares[i, j] / left[i])
        least = -1
        for j in range(n_components):
            if weights[j] >= 0.0:  # it is still there
                lost[j] += total_rows * _log_rest(weights[j] / total)
                if least < 0 or lost[j] < lost[least]:
                    least = j
        numbers[turn] = least
        weights[least] = -1.0
        for i in range(n_rows):
            left[i] -= min(shares[i, least], _MOST_SHARE * left[i])


@inline
def _log_rest(share):
    """The logarithm of what a share leaves of one."""
    if share < _SMALL:
        return -share * (1.0 + 0.5 * share)
    return math.log1p(-min(share, _MOST_SHARE))
