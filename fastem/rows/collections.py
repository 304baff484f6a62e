"""What estimators take in place of an array: homes of rows, and collections that become homes."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastem.rows.home import Rows
from fastem.rows.part import Part
from fastem.validation import restored_on_failure, without_rows

Method = TypeVar("Method", bound=Callable)


def is_collection(X: Any) -> bool:
    """Whether this is one of Dask's collections."""
    # Dask has been imported where one was made.
    return "dask" in sys.modules and hasattr(X, "__dask_graph__")


def home_of(X: Any, sample_weight: Any = None) -> Rows | None:
    """The home of what a user fits to, if that isn't an array or a matrix.

    This is the place where further kinds of collections become homes of rows: recognised by their
    type without an import of the package that defines it.

    Parameters
    ----------
    X : Rows, or anything else
    sample_weight : object
        As given along with ``X``.

    Returns
    -------
    Rows or None
        None for arrays, matrices and all that scikit-learn's checks convert to these.
    """
    if is_collection(X):
        from fastem.rows.dask import dask_rows

        return dask_rows(X, sample_weight)
    if not isinstance(X, Rows):
        return None
    if sample_weight is not None:
        raise ValueError("These rows bring their weights along: sample_weight should be None.")
    return X


def fitted_together(fit: Method) -> Method:
    """Have an estimator's fit end on all processes if it ends on one of them, however it does.

    It is the outermost decorator: an error may come from scikit-learn's check of the parameters.
    """

    @wraps(fit)
    def for_any_rows(self, X, *args, **options):
        if not isinstance(X, Rows):
            return fit(self, X, *args, **options)
        with restored_on_failure(self), X.together(self):
            return fit(self, X, *args, **options)

    return cast(Method, for_any_rows)


def blockwise(
    dtype_of: Callable[[Any, Any], Any], n_columns: Callable[[Any], int] | None = None
) -> Callable[[Method], Method]:
    """Have an estimator's method take rows wherever they are.

    For those of a collection it returns a lazy Dask array, for a home's what the home collects.

    Parameters
    ----------
    dtype_of : callable
        ``dtype_of(estimator, rows)`` is the results' dtype; ``rows.dtype`` is the rows'.
    n_columns : callable or None
        ``n_columns(estimator)`` is how many values a row has; None for results of one dimension.
    """

    def decorate(method):
        @wraps(method)
        def for_any_rows(self, X, *args, **options):
            in_a_home = isinstance(X, Rows)
            if not in_a_home and not is_collection(X):
                return method(self, X, *args, **options)
            if any(value is not None for value in (*args, *options.values())):
                kind = "rows in parts" if in_a_home else "a Dask collection"
                raise TypeError(f"{method.__name__} takes nothing along with {kind}")
            if in_a_home:
                with X.together():
                    return _collected(self, method.__name__, X)
            from fastem.rows.dask.lazy import lazily

            return lazily(self, method.__name__, X, dtype_of, n_columns)

        return for_any_rows

    return decorate


def _collected(estimator, method, rows):
    check_is_fitted(estimator)
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None and rows.feature_names is not None:
        if not np.array_equal(names, rows.feature_names):
            raise ValueError("The feature names should match those that were passed during fit.")
    if rows.n_rows == 0:
        raise ValueError(
            f"Found array with 0 sample(s) (shape=(0, {rows.n_features})) while a minimum of 1 is "
            f"required by {type(estimator).__name__}."
        )
    return rows.collect(_of_part, without_rows(estimator), method)


def _of_part(part: Part, estimator, method):
    return getattr(estimator, method)(part.X)
