"""All that fastem uses of scikit-learn though it is private there, and may change in any release.

``tests/test_sklearn_private.py`` says which of it a release has changed.
"""

from typing import Any

from sklearn.base import _fit_context
from sklearn.utils._param_validation import (
    Interval,
    InvalidParameterError,
    StrOptions,
    validate_params,
)
from sklearn.utils.validation import (
    _check_feature_names,
    _check_sample_weight,
    _get_feature_names,
    _is_arraylike_not_scalar,
)

__all__ = [
    "Interval",
    "InvalidParameterError",
    "StrOptions",
    "_check_feature_names",
    "_check_sample_weight",
    "_fit_context",
    "_get_feature_names",
    "_is_arraylike_not_scalar",
    "callback_context",
    "validate_params",
]


def callback_context(estimator: Any, n_tasks: int) -> Any:
    """The context that callbacks watch a fit in, or None if nobody watches.

    Parameters
    ----------
    estimator : estimator with sklearn.callback.CallbackSupportMixin
        Its ``fit`` is decorated with ``_fit_context``, which ends the callbacks.
    n_tasks : int
        Number of tasks that the fit consists of.
    """
    if hasattr(estimator, "_skl_callbacks") or hasattr(estimator, "_parent_callback_ctx"):
        return estimator._init_callback_context(max_subtasks=n_tasks)
    return None
