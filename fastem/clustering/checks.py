"""What a fit warns of: starts that are all the same, and clusters that are."""

from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastem.sklearn_private import _is_arraylike_not_scalar
from fastem.warning import warn_user


def check_n_init(estimator: Any) -> int:
    """Number of runs; a warning if all of several would start from the same centres."""
    given = _is_arraylike_not_scalar(estimator.init)
    if estimator.n_init == "auto":
        once = given or (isinstance(estimator.init, str) and estimator.init.startswith("k-means"))
        return 1 if once else 10
    if given and estimator.n_init != 1:
        warn_user(
            "Explicit initial center position passed: performing only"
            f" one init in {estimator.__class__.__name__} instead of "
            f"n_init={estimator.n_init}.",
            RuntimeWarning,
        )
        return 1
    return estimator.n_init


def warn_if_indistinct(seen: np.ndarray) -> None:
    """Say so if not all labels occur, in scikit-learn's words.

    Parameters
    ----------
    seen : ndarray of shape (n_clusters,), bool
        Which labels do.
    """
    if not seen.all():
        warn_user(
            f"Number of distinct clusters ({np.count_nonzero(seen)}) found smaller than "
            f"n_clusters ({len(seen)}). Possibly due to duplicate points in X.",
            ConvergenceWarning,
        )
