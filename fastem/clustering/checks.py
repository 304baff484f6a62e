"""What a fit warns of: starts that are all the same, and clusters that are."""

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastem.sklearn_private import _is_arraylike_not_scalar

_LABEL_BLOCK = 1 << 12


def check_n_init(estimator: Any) -> int:
    """Number of runs; a warning if all of several would start from the same centres."""
    given = _is_arraylike_not_scalar(estimator.init)
    if estimator.n_init == "auto":
        once = given or (isinstance(estimator.init, str) and estimator.init.startswith("k-means"))
        return 1 if once else 10
    if given and estimator.n_init != 1:
        warnings.warn(
            "Explicit initial center position passed: performing only"
            f" one init in {estimator.__class__.__name__} instead of "
            f"n_init={estimator.n_init}.",
            RuntimeWarning,
            stacklevel=5,
        )
        return 1
    return estimator.n_init


def warn_if_indistinct(labels: np.ndarray, n_clusters: int) -> None:
    """Say so if fewer labels occur than asked for, in scikit-learn's words."""
    seen = np.zeros(n_clusters, bool)
    # A few of the rows usually have them all.
    for start in range(0, len(labels), _LABEL_BLOCK):
        seen[labels[start : start + _LABEL_BLOCK]] = True
        if seen.all():
            return
    warnings.warn(
        f"Number of distinct clusters ({np.count_nonzero(seen)}) found smaller than "
        f"n_clusters ({n_clusters}). Possibly due to duplicate points in X.",
        ConvergenceWarning,
        stacklevel=5,
    )
