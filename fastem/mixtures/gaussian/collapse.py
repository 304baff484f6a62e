"""Covariances of which nothing but rounding is left."""

import numpy as np

from fastem.mixtures.gaussian.covariances import CollapsedError, Covariances
from fastem.mixtures.gaussian.stacks import order, stacked

_EPS = np.finfo(np.float64).eps
# Relative to means; that counts are kept from zero moves these by 10 units of rounding.
_ROUNDING = 32 * _EPS


def check_collapse(
    kind: Covariances, covariances: np.ndarray, precisions_cholesky: np.ndarray, means: np.ndarray
) -> None:
    """Refuse covariances without a variance that can be told from rounding.

    What is left of a feature's variance once the features before it are known is nothing if it is
    no more than rounding makes of numbers of the means' magnitude, or of the feature's variance.

    Raises
    ------
    CollapsedError
        If one is.
    """
    left = stacked(kind, np.asarray(precisions_cholesky))
    rounding = (_ROUNDING * np.abs(means).max(axis=0)) ** 2
    if order(kind) == 2:
        left = np.einsum("kii->ki", left)
        variances = np.einsum("kii->ki", stacked(kind, covariances))
        rounding = np.maximum(rounding, 4.0 * _EPS * means.shape[1] * variances)
    elif order(kind) == 0:
        rounding = rounding.mean()
    collapsed = np.argwhere(~(left**-2.0 > rounding))
    if len(collapsed):
        raise CollapsedError(kind.culprit(int(collapsed[0, 0])))
