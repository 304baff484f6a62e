"""All that fastem uses of scikit-learn though it is private there, and may change in any release.

``tests/test_sklearn_private.py`` says which of it a release has changed.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    InvalidParameterError,
    StrOptions,
)
from sklearn.utils.validation import (
    _check_feature_names,
    _check_sample_weight,
    _get_feature_names,
    _is_arraylike_not_scalar,
    _num_samples,
)

if TYPE_CHECKING:  # scikit-learn has no types, so that what these decorate would lose its own
    _Function = TypeVar("_Function", bound=Callable[..., Any])

    def _fit_context(
        *, prefer_skip_nested_validation: bool
    ) -> Callable[[_Function], _Function]: ...

    def validate_params(
        parameter_constraints: dict[str, Any], *, prefer_skip_nested_validation: bool
    ) -> Callable[[_Function], _Function]: ...
else:
    from sklearn.base import _fit_context
    from sklearn.utils._param_validation import validate_params

__all__ = [
    "HasMethods",
    "Interval",
    "InvalidParameterError",
    "StrOptions",
    "_check_feature_names",
    "_check_sample_weight",
    "_fit_context",
    "_get_feature_names",
    "_is_arraylike_not_scalar",
    "_num_samples",
    "callback_context",
    "check_matplotlib_support",
    "validate_params",
]


def callback_context(estimator: Any, n_tasks: int, sequential: bool = True) -> Any:
    """The context that callbacks watch a fit in, or None if nobody watches.

    Parameters
    ----------
    estimator : estimator with sklearn.callback.CallbackSupportMixin
        Its ``fit`` is decorated with ``_fit_context``, which ends the callbacks.
    n_tasks : int
        Number of tasks that the fit consists of.
    sequential : bool
        Whether they follow one another; else each is given its number.
    """
    # Meta-estimators give their estimators a context without callbacks, too, which nobody watches.
    parent = getattr(estimator, "_parent_callback_ctx", None)
    of_parent = parent is not None and getattr(parent, "_callbacks", True)
    if of_parent or getattr(estimator, "_skl_callbacks", ()):
        return estimator._init_callback_context(
            max_subtasks=n_tasks, sequential_subtasks=sequential
        )
    return None
