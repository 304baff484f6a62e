"""How much components' responsibilities differ."""

import numpy as np

from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.compiling import kernel


def squared_differences(
    earlier: np.ndarray, responsibilities: np.ndarray, sample_weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted sums of squares over the rows, in float64.

    Parameters
    ----------
    earlier : ndarray of shape (n_rows, n_earlier)
    responsibilities : ndarray of shape (n_rows, n_components), of the same dtype
    sample_weight : ndarray of shape (n_rows,), float64

    Returns
    -------
    differences : ndarray of shape (n_earlier, n_components)
    norms : ndarray of shape (n_components,)
        Of the responsibilities themselves.
    """
    found = np.zeros((earlier.shape[1], responsibilities.shape[1]))
    norms = np.zeros(responsibilities.shape[1])
    both = (read_only(np.ascontiguousarray(values)) for values in (earlier, responsibilities))
    _add_squares(*both, read_only(sample_weight), found, norms)
    return found, norms


@kernel
def _add_squares(earlier, responsibilities, sample_weight, found, norms):
    n_rows, n_components = responsibilities.shape
    for i in range(n_rows):
        weight = sample_weight[i]
        for k in range(n_components):
            share = np.float64(responsibilities[i, k])
            norms[k] += weight * share * share
        for j in range(earlier.shape[1]):
            before = np.float64(earlier[i, j])
            for k in range(n_components):
                difference = responsibilities[i, k] - before
                found[j, k] += weight * difference * difference
